"""Each TensorFlow Lite operator alone gives the integers of each kernel set."""

from __future__ import annotations

import functools
import itertools
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from support import tflite_run
from support.tflite_forms import FORMS, WRONG, feeds, written
from support.tflite_maker import Build, Maker
from support.tflite_models import Lite, Written
from support.tflite_operators import OPERATORS, WIDE, weighted16

import hwsim
from hwsim import HwsimError
from hwsim.frontends.shared.builder import RuntimeDifference
from hwsim.frontends.tflite.handlers import HANDLERS
from hwsim.frontends.tflite.pairs import vector_run
from hwsim.frontends.tflite.read import read

pytestmark = [
    pytest.mark.needs("ai_edge_litert", "tflite_micro"),
    pytest.mark.filterwarnings("ignore::hwsim.saturation.InputSaturation"),
]
SAMPLES = 4

NO_INT16 = {
    "ARG_MAX",
    "ARG_MIN",
    "DIV",
    "LOG",
    "ELU",
    "L2_NORMALIZATION",
    "LOG_SOFTMAX",
    "RELU_0_TO_1",
    "SQUARED_DIFFERENCE",
    "DEPTH_TO_SPACE",
    "HARD_SWISH",
    "RELU_N1_TO_1",
    "SPACE_TO_DEPTH",
}
NO_INT16_MICRO = {
    "EXP", "GATHER", "GELU", "MIRROR_PAD", "REDUCE_MAX", "REDUCE_MIN", "RESIZE_BILINEAR", "SQRT",
}  # fmt: skip


def compared(
    build: Build, like: str, seed: int, powers: bool, odd: bool, path: Path, wide: bool = False
) -> tuple[int, int] | None:
    """Outputs compared and different; None where the kernel set cannot run the model."""
    model, lite, inputs = written(build, seed, powers=powers, odd=odd, wide=wide)
    path.write_bytes(model)
    given = feeds(lite, inputs, SAMPLES, seed + 1)
    try:
        expected = tflite_run.ran(model, like, given)
    except tflite_run.NotRunError:
        return None
    graph = read(path, like)
    fed = {name: x[None] if graph.state else x for name, x in given.items()}  # steps of a sequence
    got = hwsim.emulate(graph, fed)
    found = list(got.values()) if isinstance(got, dict) else [got]
    found = [ours[0] if graph.state else ours for ours in found]
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
    different = sum(int((a != b).sum()) for a, b in zip(found, expected, strict=True))
    return sum(values.size for values in found), different


@pytest.mark.parametrize("like", tflite_run.SETS)
@pytest.mark.parametrize("name", FORMS)
def test_an_operator_gives_the_integers_of_a_kernel_set(name, like, tmp_path, seed):
    path = tmp_path / "m.tflite"
    odds = (True,) if name.endswith("of uint8") else (False, True)
    for number, build in enumerate(FORMS[name]):
        for powers, odd in itertools.product((False, True), odds):
            here = zlib.crc32(f"{seed} {number} {powers} {odd}".encode())
            if (name, like) in WRONG:
                path.write_bytes(written(build, here, powers=powers, odd=odd)[0])
                with pytest.raises(HwsimError, match=name.partition(" of ")[0]):
                    read(path, like)
                continue
            counts = compared(build, like, here, powers, odd, path)
            if counts is None:  # then it is refused, with those that can
                with pytest.raises(HwsimError, match="a kernel set that can run it: "):
                    read(path, like)
                continue
            assert counts[0] > 0
            assert counts[1] == 0, f"model {number}, powers {powers}, odd {odd}"


def test_each_operator_that_is_read_is_compared(seed):
    """Alone, or beside what it needs; the rows of docs/tflite.md are of the same forms."""
    lites = [
        written(build, seed, powers=True, odd=False)[1]
        for builds in FORMS.values()
        for build in builds
    ]
    ops = {op for lite in lites for op, *_ in lite.nodes}
    assert sorted(HANDLERS.keys() - ops) == []


@pytest.mark.parametrize("like", tflite_run.SETS)
@pytest.mark.parametrize("name", WIDE)
def test_an_operator_of_int16_gives_the_integers_of_a_kernel_set(name, like, tmp_path, seed):
    path, total = tmp_path / "m.tflite", 0
    lacks = name in NO_INT16 or (name in NO_INT16_MICRO and like == "tflm")
    if lacks or (name, like) == ("SUM", "reference"):
        model, *_ = written(WIDE[name][0], seed, powers=True, odd=True, wide=True)
        path.write_bytes(model)
        with pytest.raises(hwsim.HwsimError, match=f"{name}.*(no kernel|is wrong)"):
            read(path, like)
        return
    for number, build in enumerate(WIDE[name]):
        for powers in (False, True):
            here = zlib.crc32(f"{seed} {number} {powers} int16".encode())
            counts = compared(build, like, here, powers, True, path, wide=True)
            if counts is None:  # unlike scales that are powers of two
                assert name in ("ADD", "SUB") and like != "tflm" and powers
                with pytest.raises(hwsim.HwsimError, match="only tflm has a kernel for others"):
                    read(path, like)
                continue
            if name != "GELU" or not announced(path, like):
                assert counts[1] == 0, f"model {number}, powers {powers}"
            total += counts[0]
    assert total > 0


def refusal(path: Path, like: str) -> str | None:
    """What a model is refused with; None where it is read."""
    try:
        read(path, like)
    except hwsim.HwsimError as error:
        return str(error)
    return None


def announced(path: Path, like: str) -> bool:
    """Whether a model's load says that the runtime may give other codes."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        read(path, like)
    return any(issubclass(one.category, RuntimeDifference) for one in said)


@pytest.mark.parametrize("like", tflite_run.SETS[1:])
def test_a_gelu_whose_table_the_last_bits_decide_is_announced(like, tmp_path):
    """Scales at which LiteRT's own error function moves an entry, and 128 codes with it."""
    lite = Lite()
    x = lite.codes("x", (1, 65536), 0.0001192143972730264, 0, "int16")
    y = lite.codes("y", (1, 65536), 4.8589423386147246e-05, 0, "int16")
    lite.node("GELU", [x], [y], approximate=False)
    model = lite.build([x], [y])
    (tmp_path / "m.tflite").write_bytes(model)
    codes = np.arange(-32768, 32768).astype(np.int16)[None]
    with pytest.warns(RuntimeDifference, match="GELU of int16.* of the 513 entries"):
        graph = read(tmp_path / "m.tflite", like)
    (want,) = tflite_run.ran(model, like, {"x": codes})
    off = np.abs(hwsim.emulate(graph, codes).astype(np.int64) - want)
    assert off.max() <= 1 and np.count_nonzero(off) <= 256


SUMS = ("CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "DEPTHWISE_CONV_2D")
BIASES = [(np.int64, 0), (np.int64, 4), (np.int32, 0), (np.int32, 2), (None, 0), (None, 2)]


@pytest.mark.parametrize("like", tflite_run.SETS)
@pytest.mark.parametrize("op", SUMS)
def test_sums_of_int16_are_rounded_as_the_type_of_their_bias_says(op, like, tmp_path, seed):
    """Or refused, where the kernel would read a bias as what it is not, or crash without one."""
    read_so, path = 0, tmp_path / "m.tflite"
    for (kind, told), several in itertools.product(BIASES, (False, True)):
        build = functools.partial(
            weighted16, op=op, kind=kind, told=0 if op == "DEPTHWISE_CONV_2D" else told,
            several=several,
        )  # fmt: skip
        model, *_ = written(build, seed, powers=False, odd=False, wide=True)
        path.write_bytes(model)
        said = refusal(path, like)
        if said is not None:
            assert "its bias must be of int" in said or "must have a bias" in said
            continue
        here = zlib.crc32(f"{seed} {kind} {told} {several}".encode())
        size, different = compared(build, like, here, False, False, path, wide=True) or (0, 0)
        assert size > 0 and different == 0, f"{kind}, told {told}, several {several}"
        read_so += 1
    assert read_so >= (2 if op == "DEPTHWISE_CONV_2D" else 6)


TYPES = [("int16", "int8"), ("int16", "int32"), ("int32", "int16"), ("int32", "int8"),
         ("int8", "int16"), ("int8", "int32")]  # fmt: skip


@pytest.mark.parametrize("like", tflite_run.SETS)
@pytest.mark.parametrize("types", TYPES, ids="-".join)
def test_codes_of_one_type_become_those_of_another(types, like, tmp_path, seed):
    for number in range(6):
        rng, lite = np.random.default_rng(seed + number), Lite()
        before, after = types
        scale = {"int8": 2.0**-6, "int16": 2.0**-13, "int32": 2.0**-24}
        scales = [
            float(np.float32(scale[t] * rng.uniform(0.7, 1.4) ** (number % 2))) for t in types
        ]
        zeros = [int(rng.integers(-60, 60)) if t == "int8" else 0 for t in types]
        x, y = (
            lite.codes(name, (1, 400), step, zero, kind)
            for name, step, zero, kind in zip("xy", scales, zeros, types, strict=True)
        )
        lite.node("QUANTIZE", [x], [y])
        model = lite.build([x], [y])
        (tmp_path / "m.tflite").write_bytes(model)
        ends = np.iinfo(before)
        codes = rng.integers(ends.min, ends.max + 1, (2, 400)).astype(before)
        codes[0, :2] = ends.min, ends.max
        if after == "int32" and before == "int8" and like != "tflm":
            with pytest.raises(hwsim.HwsimError, match=f"{like} has no kernel from int8 to int32"):
                read(tmp_path / "m.tflite", like)
            continue
        (want,) = tflite_run.ran(model, like, {"x": codes})
        assert np.array_equal(hwsim.emulate(read(tmp_path / "m.tflite", like), codes), want)


@pytest.mark.parametrize("like", tflite_run.SETS)
def test_a_softmax_of_int8_may_give_int16(like, tmp_path, seed):
    for number in range(8):
        rng, lite = np.random.default_rng(seed + number), Lite()
        x = lite.codes("x", (1, 13), float(np.float32(rng.uniform(0.01, 0.2))), 5)
        y = lite.codes("y", (1, 13), 2.0**-16, -32768, "int16")
        lite.node("SOFTMAX", [x], [y], beta=1.0)
        model = lite.build([x], [y])
        (tmp_path / "m.tflite").write_bytes(model)
        codes = rng.integers(-128, 128, (40, 13)).astype(np.int8)
        (want,) = tflite_run.ran(model, like, {"x": codes})
        assert np.array_equal(hwsim.emulate(read(tmp_path / "m.tflite", like), codes), want)


@pytest.mark.parametrize("like", ["tflm", "builtin"])
def test_sums_of_32_bits_wrap(like, tmp_path, seed):
    rng, lite = np.random.default_rng(seed), Lite()
    x = lite.codes("x", (1, 900), 2.0**-8, 0, "int16")
    y = lite.codes("y", (1, 4), 2.0**-8, 0, "int16")
    weights = rng.integers(-127, 128, (4, 900)).astype(np.int8)
    w = lite.constant("w", weights, 2.0**-14)
    b = lite.constant("b", rng.integers(-(2**31), 2**31, 4).astype(np.int32), 2.0**-22)
    lite.node("FULLY_CONNECTED", [x, w, b], [y], bias_type=2)
    model = lite.build([x], [y])
    (tmp_path / "m.tflite").write_bytes(model)
    codes = np.where(weights >= 0, 32767, -32768).astype(np.int16)
    (want,) = tflite_run.ran(model, like, {"x": codes})
    graph = read(tmp_path / "m.tflite", like)
    assert np.array_equal(hwsim.emulate(graph, codes), want)
    assert any("wrapped" in node.name for node in graph.nodes)


def test_a_shape_that_is_an_input_is_the_outputs_own(tmp_path, seed):
    """Of a transposed convolution; TensorFlow Lite Micro does not look at it."""
    maker = Maker(np.random.default_rng(seed), powers=False, odd=True)
    x, w = maker.x(4, 4, 3), maker.weights((5, 2, 2, 3), 0, 5)
    shape = maker.lite.add(Written("shape", (4,), "int32"))
    given = [shape, w, x, maker.bias(x, w, 5)]
    y = maker.node("TRANSPOSE_CONV", given, maker.y(8, 8, 5), padding=0, stride_w=2, stride_h=2)
    model = maker.lite.build([x], y)
    (tmp_path / "m.tflite").write_bytes(maker.lite.build([shape, x], y))
    codes = np.random.default_rng(seed).integers(-128, 128, (6, 4, 4, 3)).astype(np.int8)
    (want,) = tflite_run.ran(model, "tflm", {maker.lite.tensors[x].name: codes})
    graph = read(tmp_path / "m.tflite", "tflm")
    assert len(graph.inputs) == 1
    assert np.array_equal(hwsim.emulate(graph, codes), want)


def test_int16_with_a_zero_point_is_refused(tmp_path, seed):
    maker = Maker(np.random.default_rng(seed), powers=False, odd=False, wide=True)
    x = maker.fixed(0.25, 3, 4)
    y = maker.node("RELU", [x], maker.fixed(0.25, 0, 4))
    (tmp_path / "m.tflite").write_bytes(maker.lite.build([x], y))
    with pytest.raises(hwsim.HwsimError, match="'t0' of int16 must have zero point 0, not 3"):
        read(tmp_path / "m.tflite", None)


def test_kernel_sets_differ_from_one_another(tmp_path, seed):
    """One that was taken for another would be noticed."""
    model, lite, inputs = written(OPERATORS["CONV_2D"][0], seed, powers=True, odd=True)
    (tmp_path / "m.tflite").write_bytes(model)
    x = feeds(lite, inputs, 64, seed)
    found = [hwsim.emulate(read(tmp_path / "m.tflite", like), x) for like in tflite_run.SETS]
    equal = {(i, j) for i, j in itertools.combinations(range(4), 2) if (found[i] == found[j]).all()}
    assert equal == {(0, 1)}  # Micro and the reference kernels: the same for convolutions


@pytest.mark.parametrize("like", tflite_run.SETS)
def test_a_multiplier_below_a_half_of_the_last_bit_gives_nothing(like, tmp_path, seed):
    """As converters write a channel that batch normalization left with weights near 0."""
    rng = np.random.default_rng(seed)
    lite = Lite()
    scales = [2.0**-8, 1e-11, 2.0**-31, 2.0**-32, 2.0**-33]
    bias = np.array([7, 2**30 - 9, -(2**30) + 5, 2**30 + 128, -(2**30) - 128], np.int32)
    x = lite.codes("x", (1, 5, 5, 3), 1.0, -7)
    w = lite.constant("w", rng.integers(-127, 128, (5, 2, 2, 3)).astype(np.int8), *scales)
    y = lite.codes("y", (1, 4, 4, 5), 1.0, 11)
    node = {"padding": 1, "stride_h": 1, "stride_w": 1, "activation": "NONE"}
    lite.node("CONV_2D", [x, w, lite.constant("b", bias, *scales)], [y], **node)
    model = lite.build([x], [y])
    (tmp_path / "m.tflite").write_bytes(model)
    given = {"x": rng.integers(-128, 128, (SAMPLES, 5, 5, 3)).astype(np.int8)}
    got = hwsim.emulate(read(tmp_path / "m.tflite", like), given)
    assert (got == tflite_run.ran(model, like, given)[0]).all()
    assert set(np.unique(got[..., 1])) == {11}


LAYERS = {
    "CONV_2D": ((1, 1, 1, 4), (64, 1, 1, 4)),
    "DEPTHWISE_CONV_2D": ((1, 1, 1, 64), (1, 1, 1, 64)),
    "FULLY_CONNECTED": ((1, 4), (64, 4)),
    "TRANSPOSE_CONV": ((1, 1, 1, 4), (64, 1, 1, 4)),
}
"""Shapes of inputs and weights of layers that make 64 codes."""


@pytest.mark.parametrize("like", tflite_run.SETS)
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("op", LAYERS)
def test_multipliers_have_the_precision_of_a_kernel_set(op, dtype, like, tmp_path, rng):
    """Sums so near to ties that products of scales in float32 and float64 give other codes."""
    if (dtype, like) == ("uint8", "tflm"):
        return  # has no such kernels
    zero, shapes = 128 * (dtype == "uint8"), LAYERS[op]
    compared = 0
    for _ in range(4):
        steps = [float(np.float32(rng.uniform(1e-4, 2e-4))) for _ in range(2)]
        single = float(np.float32(steps[0]) * np.float32(steps[1]))
        out = float(np.float32(single * 2.0**23 * rng.uniform(1, 2)))
        middle = (steps[0] * steps[1] + single) / 2 / out
        sums = np.round((rng.integers(-120, 120, 64) + 0.5) / middle).astype(np.int32)
        lite = Lite()
        x = lite.codes("x", shapes[0], steps[0], zero, dtype)
        w = lite.constant("w", np.full(shapes[1], 1 + zero, dtype), steps[1], zero=zero)
        made = (*shapes[0][:-1], 64)
        y = lite.codes("y", made, out, zero, dtype)
        options = {} if op == "FULLY_CONNECTED" else {"padding": 1, "stride_w": 1, "stride_h": 1}
        options |= {"multiplier": 1} if op == "DEPTHWISE_CONV_2D" else {}
        given = [x, w, lite.constant("b", sums, single)]
        if op == "TRANSPOSE_CONV":
            given = [lite.constant("shape", np.array(made, np.int32)), w, x, given[2]]
        lite.node(op, given, [y], **options)
        model, codes = lite.build([x], [y]), np.full(shapes[0], zero, dtype)
        (tmp_path / "m.tflite").write_bytes(model)
        (want,) = tflite_run.ran(model, like, {"x": codes})
        got = hwsim.emulate(read(tmp_path / "m.tflite", like), codes)
        assert (got == want).all()
        compared += want.size
    assert compared == 256


@pytest.mark.parametrize(
    ("first", "second", "run"),
    [
        ((1, 5, 9, 1), (1, 5, 9, 7), (7, 8)),
        ((1, 1, 9, 7), (1, 5, 9, 7), (63, 16)),
        ((1, 1, 1, 1), (1, 5, 9, 7), (315, 8)),
        ((3, 4), (3, 4), (12, 16)),
        ((2, 1, 5, 1, 3, 1), (1, 3, 1, 6, 1, 2), (0, 16)),
    ],
)
def test_a_sum_that_broadcasts_is_added_in_runs(first, second, run):
    assert vector_run(first, second) == vector_run(second, first) == run


@pytest.mark.parametrize("op", ["SOFTMAX", "LOG_SOFTMAX"])
def test_a_softmax_of_a_scale_that_the_kernel_cannot_take_is_refused(op, tmp_path):
    for scale, taken in ((2.0**-26, True), (2.0**-27, False)):
        lite = Lite()
        x = lite.codes("x", (1, 5), scale, 0)
        y = lite.codes("y", (1, 5), *((2.0**-8, -128) if op == "SOFTMAX" else (2.0**-4, 127)))
        lite.node(op, [x], [y], **({"beta": 1.0} if op == "SOFTMAX" else {}))
        (tmp_path / "m.tflite").write_bytes(lite.build([x], [y]))
        said = refusal(tmp_path / "m.tflite", "reference")
        assert said is None if taken else "scale times beta must be above 2**-26" in str(said)


def test_a_transposed_convolution_without_inputs_is_refused(tmp_path):
    lite = Lite()
    y = lite.codes("y", (1, 5, 5, 2), 0.5, 0)
    lite.node("TRANSPOSE_CONV", [], [y], padding=0, stride_w=1, stride_h=1)
    (tmp_path / "m.tflite").write_bytes(lite.build([], [y]))
    assert "TRANSPOSE_CONV" in str(refusal(tmp_path / "m.tflite", "tflm"))
