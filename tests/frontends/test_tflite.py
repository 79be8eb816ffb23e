"""TensorFlow Lite files: whole models, state, and what is no such file."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support import rtl_designs, tflite_run
from support.mutants import mutated, sentences
from support.published import folder
from support.seeds import seeded
from support.tflite_forms import feeds, written
from support.tflite_maker import Maker
from support.tflite_memories import lstm, svdf
from support.tflite_models import Lite, Written
from support.tflite_operators import OPERATORS

import hwsim
from hwsim import HwsimError
from hwsim.frontends.shared.builder import RuntimeDifference
from hwsim.frontends.tflite.scaled import double
from rtl.build import Request, build
from rtl.plan.depths import with_depths
from rtl.plan.search import plan_for_cycles
from rtl.sim.verify import verify

RUNTIMES = pytest.mark.needs("ai_edge_litert", "tflite_micro")
PUBLISHED = sorted((folder() / "tflite").glob("*.tflite"))


def dense(path: Path, **changes: object) -> Path:
    """A file of one dense layer; changes go to the tensor of its input."""
    lite = Lite()
    fields = {"shape": (1, 4), "dtype": "int8", "scales": (0.5,), "zero_points": (3,)} | changes
    x = lite.add(Written("x", **fields))
    w = lite.constant("w", np.array([[1, -2, 3, 4], [5, 6, 7, -8]], np.int8), 0.25)
    y = lite.codes("y", (1, 2), 1.0, -1)
    lite.node("FULLY_CONNECTED", [x, w], [y])
    path.write_bytes(lite.build([x], [y]))
    return path


def test_a_layer_without_a_bias_is_what_pencil_and_paper_give(tmp_path):
    graph = hwsim.load(dense(tmp_path / "m.tflite"))
    x = np.array([[3, 4, 103, -128]], np.int8)  # less 3: 0, 1, 100, -131
    first, second = 0 - 2 + 300 - 524, 0 + 6 + 700 + 1048  # times 1/8
    want = [round(first / 8) - 1, min(round(second / 8) - 1, 127)]
    assert hwsim.emulate(graph, x).tolist() == [want]


@RUNTIMES
@pytest.mark.needs("models")
@pytest.mark.parametrize("like", tflite_run.SETS)
@pytest.mark.parametrize("path", PUBLISHED, ids=lambda p: p.stem)
def test_a_published_model_gives_the_integers_of_every_kernel_set(path, like, seed):
    graph = hwsim.load(path, like=like)
    (port,) = graph.inputs
    rng = np.random.default_rng(seed)
    x = rng.integers(-128, 128, (60, *port.type.shape)).astype(np.int8)
    x[30:] = np.clip(rng.normal(port.type.zero_point, 25, x[30:].shape), -128, 127)
    (want,) = tflite_run.ran(path.read_bytes(), like, {port.name: x})
    assert np.array_equal(hwsim.emulate(graph, x), want)


def counter(initial: int) -> bytes:
    """A variable to which each step adds its input, through MAXIMUM, and shows it."""
    lite = Lite()
    x, kept = lite.codes("x", (1, 3), 0.5, 0), lite.codes("kept", (1, 3), 0.5, 0)
    y = lite.codes("y", (1, 3), 0.5, 0)
    handle = lite.add(Written("handle", (), "resource"))
    lite.node("VAR_HANDLE", [], [handle], name="largest")
    lite.node("READ_VARIABLE", [handle], [kept])
    lite.node("MAXIMUM", [x, kept], [y])
    lite.node("ASSIGN_VARIABLE", [handle, y], [])
    lite.first = [("largest", np.full((1, 3), initial, np.int8))]
    return lite.build([x], [y])


@RUNTIMES
@pytest.mark.parametrize("like", tflite_run.SETS)
def test_a_variable_keeps_what_the_step_before_assigned(like, tmp_path, rng):
    model = counter(-20)
    (tmp_path / "m.tflite").write_bytes(model)
    steps = rng.integers(-128, 100, (12, 3)).astype(np.int8)
    graph = hwsim.load(tmp_path / "m.tflite", like=like)
    got = hwsim.emulate(graph, steps[None])
    assert np.array_equal(got[0], np.maximum(np.maximum.accumulate(steps), -20))
    (want,) = tflite_run.ran(model, like, {"x": steps})
    assert np.array_equal(got[0], want)


def overwritten(dtype: str) -> bytes:
    """A tensor that LiteRT's memory planner gives up although it is read once more."""
    lite = Lite()
    x, kept, flat, again, product, last = (
        lite.codes(name, shape, 0.5, 0, dtype)
        for name, shape in (
            ("x", (1, 6)), ("kept", (1, 6)), ("wide", (1, 6, 1)), ("again", (1, 6)),
            ("product", (1, 6)), ("last", (1, 6, 1)),
        )
    )  # fmt: skip
    axis = lite.constant("axis", np.array(2, np.int32))
    factor = lite.constant("factor", np.full((1, 6), 6, dtype), 0.5)
    lite.node("RELU", [x], [kept])
    lite.node("EXPAND_DIMS", [kept, axis], [flat])
    lite.node("SQUEEZE", [flat], [again], axes=[2])
    lite.node("MUL", [again, factor], [product])
    lite.node("RELU", [flat], [last])
    out = lite.codes("out", (1, 6), 1.0, 0, dtype)
    lite.node("QUANTIZE", [product], [out])
    return lite.build([x], [out, last])


@RUNTIMES
@pytest.mark.parametrize("dtype", ["int8", "int16"])
@pytest.mark.parametrize("like", tflite_run.SETS)
def test_a_tensor_that_is_overwritten_before_it_is_read_is_named(dtype, like, tmp_path, rng):
    model = overwritten(dtype)
    (tmp_path / "m.tflite").write_bytes(model)
    x = rng.integers(1, 100, (4, 6)).astype(dtype)
    _, last = tflite_run.ran(model, like, {"x": x})
    if like == "tflm" or (like, dtype) == ("xnnpack", "int8"):
        got = hwsim.emulate(hwsim.load(tmp_path / "m.tflite", like=like), x)
        assert np.array_equal(got["last"], last) and np.array_equal(last[..., 0], x)
        return
    assert not np.array_equal(last[..., 0], x)  # LiteRT's own memory is no longer the tensor's
    with pytest.raises(HwsimError, match="writes its result over 'wide', which is read later"):
        hwsim.load(tmp_path / "m.tflite", like=like)


@RUNTIMES
@pytest.mark.parametrize("like", tflite_run.SETS)
@pytest.mark.parametrize("make", [lstm, svdf], ids=lambda f: f.__name__)
def test_a_layer_with_a_memory_goes_on_where_the_step_before_ended(make, like, tmp_path, seed):
    for number in range(4):
        model, lite, (x,) = written(make, seed + number, powers=False, odd=True)
        (tmp_path / "m.tflite").write_bytes(model)
        steps = feeds(lite, [x], 9, seed)[lite.tensors[x].name]
        (want,) = tflite_run.ran(model, like, {lite.tensors[x].name: steps})
        got = hwsim.emulate(hwsim.load(tmp_path / "m.tflite", like=like), steps[None])
        assert np.array_equal(got[0], want), f"model {number}"


@RUNTIMES
@pytest.mark.parametrize("like", tflite_run.SETS)
def test_filters_over_time_have_the_precision_of_a_kernel_set(like, tmp_path):
    """Sums that products of scales in float32 and float64 bring to other codes of the state."""
    rng = np.random.default_rng(seeded(5))
    x = rng.integers(-128, 128, 60)
    weights = rng.integers(-127, 128, (100_000, 60))
    scales = np.float32(0.0317), np.float32(0.00973), np.float32(0.000301)
    single = float(scales[0] * scales[1] / scales[2])
    exact = float(scales[0]) * float(scales[1]) / float(scales[2])
    sums = weights @ x
    first, second = double(sums, single), double(sums, exact)
    near = np.flatnonzero((first != second) & (np.abs(first) < 32000))
    assert near.size >= 8
    lite, size, step = Lite(), near.size, float(scales[2] * np.float32(2.0**-10))
    given = lite.codes("x", (1, 60), float(scales[0]), 0)
    held = [
        lite.constant("features", weights[near].astype(np.int8), float(scales[1])),
        lite.constant("times", np.ones((size, 1), np.int16), 2.0**-10),
        lite.constant("bias", -first[near].astype(np.int32), step),
        lite.held("state", size, float(scales[2]), 0, "int16"),
    ]
    y = lite.codes("y", (1, size), step, 0)
    lite.node("SVDF", [given, *held], [y], rank=1, activation="RELU")
    model = lite.build([given], [y])
    (tmp_path / "m.tflite").write_bytes(model)
    codes = x[None].astype(np.int8)
    (want,) = tflite_run.ran(model, like, {"x": codes})
    got = hwsim.emulate(hwsim.load(tmp_path / "m.tflite", like=like), codes)
    assert np.array_equal(got, want)
    assert np.any(want) == (like == "tflm")  # less what float32 gives


@RUNTIMES
@pytest.mark.parametrize("like", tflite_run.SETS)
def test_an_lstm_has_the_precision_of_a_kernel_set(like, tmp_path):
    """Drawn so that LiteRT's gates, with products of scales in float32, show it in one code."""
    seed = 531736236
    model, lite, (x,) = written(lstm, seed, powers=False, odd=True)
    (tmp_path / "m.tflite").write_bytes(model)
    steps = feeds(lite, [x], 240, seed + 1)["x"][:52]
    (want,) = tflite_run.ran(model, like, {"x": steps})
    got = hwsim.emulate(hwsim.load(tmp_path / "m.tflite", like=like), steps[None])
    assert np.array_equal(got[0], want)


@RUNTIMES
def test_filters_over_time_without_a_relu_are_micros_alone(tmp_path):
    _, lite, (x,) = written(svdf, 3, powers=False, odd=True)
    lite.nodes[-1][3]["activation"] = 0
    (tmp_path / "m.tflite").write_bytes(lite.build([x], [len(lite.tensors) - 1]))
    hwsim.load(tmp_path / "m.tflite", like="tflm")
    with pytest.raises(HwsimError, match=r"SVDF 'y' without a fused RELU .* can run it: tflm"):
        hwsim.load(tmp_path / "m.tflite", like="builtin")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"dtype": "float32", "scales": (), "zero_points": ()}, "'x' must be quantized"),
        ({"scales": (), "zero_points": ()}, "'x' must be quantized, with a scale"),
        ({"scales": (0.5, 0.25), "zero_points": (0, 0)}, "'x' must have one scale, not 2"),
        ({"scales": (-0.5,)}, "'x' must have finite scales above 0"),
        ({"zero_points": (1, 2)}, "'x' must have a zero point for each"),
        ({"dtype": "int32"}, "'x' must be of int8 or uint8 or int16, not int32"),
        ({"shape": (2, 4)}, "FULLY_CONNECTED 'y': its output must be of shape (2, 2), not (2,)"),
        ({"shape": (1, 5)}, "its weights must take 5 codes, not 4"),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(changes, said, tmp_path):
    path = dense(tmp_path / "m.tflite", **changes)
    with pytest.raises(HwsimError) as refused:
        hwsim.load(path)
    assert said in str(refused.value) and str(path) in str(refused.value)


def floats_behind(op: str, **options: object) -> bytes:
    """Codes of a layer as floats, and an operator on those."""
    lite = Lite()
    x, real = lite.codes("x", (1, 6), 0.25, 3), lite.add(Written("real", (1, 6), "float32"))
    y = lite.add(Written("y", (1, 6), "float32"))
    lite.node("DEQUANTIZE", [x], [real])
    lite.node(op, [real], [y], **options)
    return lite.build([x], [y])


@RUNTIMES
@pytest.mark.parametrize("like", tflite_run.SETS)
@pytest.mark.parametrize(
    ("op", "options"), [("SOFTMAX", {"beta": 1.0}), ("LOGISTIC", {}), ("TANH", {})]
)
def test_a_function_of_floats_at_the_end_is_announced_but_for_its_last_bits(
    op, options, like, tmp_path, rng
):
    model = floats_behind(op, **options)
    (tmp_path / "m.tflite").write_bytes(model)
    with pytest.warns(RuntimeDifference, match=f"{op} of floats .* last bits"):
        graph = hwsim.load(tmp_path / "m.tflite", like=like)
    x = rng.integers(-20, 20, (50, 6)).astype(np.int8)
    (want,) = tflite_run.ran(model, like, {"x": x})
    got = hwsim.emulate(graph, x)
    assert got.dtype == want.dtype == np.float32
    assert np.abs(got.view(np.int32) - want.view(np.int32)).max() < 32  # of 2**23 in a binade


@pytest.mark.parametrize(
    ("op", "said"),
    [
        ("RSQRT", "'real'.* must be quantized: of models that compute in floats, hybrid"),
        ("COS", "has COS"),
    ],
)
def test_floats_that_are_computed_with_are_refused(op, said, tmp_path):
    (tmp_path / "m.tflite").write_bytes(floats_behind(op))
    with pytest.raises(HwsimError, match=said):
        hwsim.load(tmp_path / "m.tflite")


def test_an_input_of_floats_is_quantized_in_one_way(tmp_path):
    lite = Lite()
    x, y, z = (
        lite.add(Written("x", (1, 4), "float32")),
        *(lite.codes(name, (1, 4), scale, 0) for name, scale in (("y", 0.5), ("z", 0.25))),
    )
    lite.node("QUANTIZE", [x], [y])
    lite.node("QUANTIZE", [x], [z])
    (tmp_path / "m.tflite").write_bytes(lite.build([x], [y, z]))
    with pytest.raises(HwsimError, match="input 'x' must be quantized in one way"):
        hwsim.load(tmp_path / "m.tflite")


def test_operators_that_are_not_read_are_all_listed(tmp_path):
    lite = Lite()
    x, y, z = (lite.codes(name, (1, 4), 0.5, 0) for name in "xyz")
    lite.node("COS", [x], [y])
    lite.node("SIN", [y], [z])
    (tmp_path / "m.tflite").write_bytes(lite.build([x], [z]))
    with pytest.raises(HwsimError, match=r"has COS \('y'\), SIN \('z'\)"):
        hwsim.load(tmp_path / "m.tflite")


def test_a_kernel_set_that_is_unknown_names_those_that_are(tmp_path):
    path = dense(tmp_path / "m.tflite")
    for like in ("onnxruntime", ""):
        with pytest.raises(HwsimError, match="one of tflm, reference, builtin, xnnpack"):
            hwsim.load(path, like=like)
    with pytest.raises(HwsimError, match="must be one of onnxruntime, tvm"):
        hwsim.load("examples/models/digits_cnn_int8.onnx", like="tflm")


def damaged(name: str, seed: int, count: int) -> Iterator[bytes]:
    """A model of an operator's, or with a variable, damaged in so many ways."""
    rng, model = np.random.default_rng(seed), counter(5)
    if name != "variable":
        maker = Maker(rng, powers=False, odd=True)
        build = OPERATORS[name][rng.integers(0, len(OPERATORS[name]))]
        outputs = build(maker)
        model = maker.lite.build(maker.inputs, outputs)
    return (mutated(model, rng) for _ in range(count))


@pytest.mark.parametrize("name", ["CONV_2D", "SPLIT_V", "STRIDED_SLICE", "SOFTMAX", "variable"])
def test_a_damaged_file_is_a_sentence_or_a_graph(name, tmp_path, seed):
    said = sentences(hwsim.load, damaged(name, seed, 100), tmp_path / "m.tflite")
    assert 0 < said.count(None) < len(said) == 100


@pytest.mark.slow
def test_twenty_thousand_damaged_files_are_sentences_or_graphs(tmp_path, seed):
    names = [*OPERATORS, "variable"]
    files = (data for k in range(400) for data in damaged(names[k % len(names)], seed + k, 50))
    said = sentences(hwsim.load, files, tmp_path / "m.tflite")
    assert len(said) == 20_000 and 1_000 < said.count(None) < 19_000


@pytest.mark.slow
@pytest.mark.needs("models")
@pytest.mark.parametrize("path", PUBLISHED, ids=lambda p: p.stem)
def test_a_damaged_published_model_is_a_sentence_or_a_graph(path, tmp_path, rng):
    files = (mutated(path.read_bytes(), rng) for _ in range(300))
    assert len(sentences(hwsim.load, files, tmp_path / "m.tflite")) == 300


def test_one_table_that_is_named_very_often_is_no_endless_work(tmp_path):
    lite = Lite()
    x, y = lite.codes("x", (1, 4), 0.5, 0), lite.codes("y", (1, 4), 0.5, 0)
    lite.node("RELU", [x], [y])
    lite.repeated = 1 << 16
    (tmp_path / "m.tflite").write_bytes(lite.build([x], [y]))
    with pytest.raises(HwsimError, match="more tables than it has room for"):
        hwsim.load(tmp_path / "m.tflite")


@pytest.mark.slow
@pytest.mark.needs("verilator", "yosys")
@pytest.mark.parametrize("name", ["CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "AVERAGE_POOL_2D", "MEAN"])
@pytest.mark.parametrize("like", tflite_run.SETS)
def test_an_operator_is_the_same_in_hardware(name, like, tmp_path, seed):
    for number, powers in itertools.product((0, 1), (False, True)):
        maker = Maker(np.random.default_rng(seed + number), powers, odd=True)
        outputs = OPERATORS[name][number](maker)
        (tmp_path / "m.tflite").write_bytes(maker.lite.build(maker.inputs, outputs))
        graph = hwsim.load(tmp_path / "m.tflite", like=like)
        out = tmp_path / f"out{number}{powers}"
        build(graph, out, Request(rtl_only=True))
        outcome = verify(out, samples=20, seed=seed % 1000)
        assert outcome.ok and outcome.different == 0 and outcome.compared > 0


def _joined(m: Maker, op: str) -> list[int]:
    return m.node(op, [m.x(6), m.x(6, top=5)], m.y(6))


def _dense(m: Maker) -> list[int]:
    x, w = m.x(6), m.weights((3, 6), 0, 3)
    return m.node("FULLY_CONNECTED", [x, w, m.bias(x, w, 3)], m.y(3, top=8))


def _curve(m: Maker, op: str, **options: float) -> list[int]:
    return m.node(op, [m.x(6, top=8)], m.fixed(2.0**-15, 0, 6), **options)


INT16 = {
    "FULLY_CONNECTED": _dense,
    "ADD": lambda m: _joined(m, "ADD"),
    "MUL": lambda m: _joined(m, "MUL"),
    "LEAKY_RELU": lambda m: m.node("LEAKY_RELU", [m.x(6, top=8)], m.y(6), alpha=0.13),
    "MEAN": lambda m: m.node("MEAN", [m.x(3, 2), m.ints([1])], m.y(2, top=2.0), keep_dims=False),
    "LOGISTIC": lambda m: _curve(m, "LOGISTIC"),
    "TANH": lambda m: _curve(m, "TANH"),
    "SOFTMAX": lambda m: _curve(m, "SOFTMAX", beta=1.0),
}


@pytest.mark.parametrize("name", INT16)
def test_an_operator_of_int16_is_the_same_in_hardware(name, tmp_path, seed):
    maker = Maker(np.random.default_rng(seed), powers=False, odd=False, wide=True)
    outputs = INT16[name](maker)
    (tmp_path / "m.tflite").write_bytes(maker.lite.build(maker.inputs, outputs))
    graph = hwsim.load(tmp_path / "m.tflite")
    rng = np.random.default_rng(seed)
    x = {p.name: rng.integers(-32768, 32768, (3, *p.type.shape)) for p in graph.inputs}
    plan = with_depths(graph, plan_for_cycles(graph, 1 << 30))
    got, _ = rtl_designs.simulate(graph, plan, x)
    want = hwsim.emulate(graph, x, codes=True)
    (port,) = graph.outputs
    assert np.array_equal(got[port.name], want)
