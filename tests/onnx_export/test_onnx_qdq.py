"""What is written with QuantizeLinear gives a Graph's codes in ONNX Runtime, or is refused."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from support.cases import CASES, weights
from support.cli_calls import refused, run
from support.onnx_run import run_ort, session_of
from support.published import folder
from support.qdq_graphs import network
from support.seeds import seeded
from support.small_graphs import one

import hwsim
from hwsim.errors import HwsimError
from hwsim.fixed import Format, Overflow, Rounding
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.onnx_export import to_model
from hwsim.onnx_export.qdq_proofs import equal_channels
from hwsim.ops import (
    Cast,
    Conv1D,
    Conv2D,
    Dense,
    Quant,
    Relu,
    Requantize,
    Scheme,
    Table,
    TensorType,
    Window,
)
from hwsim.state import State

MODELS = Path(hwsim.__file__).resolve().parent.parent / "examples" / "models"
F32 = np.float32


def by_runtime(model: Any, x: np.ndarray) -> dict[str, np.ndarray]:
    session, _ = session_of(model, optimize=True)
    names = [port.name for port in session.get_outputs()]
    return dict(zip(names, session.run(names, {session.get_inputs()[0].name: x}), strict=True))


@pytest.mark.parametrize("name", ["digits_cnn_int8", "digits_cnn_asym", "digits_dw_skip"])
def test_a_model_from_qdq_is_written_as_qdq_with_the_same_kernels_and_codes(name):
    path = MODELS / f"{name}.onnx"
    graph = hwsim.load(path)
    model, facts = to_model(graph, form="qdq", samples=4)
    x = np.random.default_rng(seeded(11)).uniform(-1.2, 1.2, (500, 1, 8, 8)).astype(F32)
    theirs, ours = run_ort(onnx.load(path), {"image": x}), run_ort(model, {"image": x})
    assert np.array_equal(theirs.codes["logits"], ours.codes["logits"])
    assert ours.ops.count("QLinearConv") == theirs.ops.count("QLinearConv")
    assert np.array_equal(hwsim.emulate(hwsim.load(model), x), ours.outputs["logits"])
    assert facts["in_integers"] == []


def scales(rng: np.random.Generator, powers: bool, count: int) -> np.ndarray:
    if powers:
        return (2.0 ** -rng.integers(5, 9, count)).astype(F32)
    return rng.uniform(0.004, 0.02, count).astype(F32)


def layer(rng: np.random.Generator, kind: str, *, powers: bool, channels: bool) -> Graph:
    """A layer with scales of its own, a requantizer as ONNX Runtime computes it, a ReLU perhaps."""
    fmt = Format(bool(rng.integers(2)), 8)
    zero = int(rng.integers(fmt.min, fmt.max + 1))
    sx = scales(rng, powers, 1)
    shapes = {"dense": (12,), "conv2d": (6, 5, 4), "depthwise": (6, 5, 4), "conv1d": (9, 4)}
    kernels = {"dense": (12,), "conv2d": (3, 2, 4), "depthwise": (3, 3, 1), "conv1d": (3, 4)}
    outputs = 4
    fields = weights(f"qdq-{kind}", "s8", *kernels[kind], outputs)
    fields["weights"] = rng.integers(-128, 128, fields["weights"].shape)
    fields["bias"] = rng.integers(-3000, 3000, outputs)
    sw = scales(rng, powers, outputs if channels else 1)
    fields |= {"weight_scale": tuple(map(float, sw)), "zero_point": zero}
    if kind == "dense":
        op: Any = Dense(**fields)
    elif kind == "conv1d":
        op = Conv1D(**fields, window=Window((3,), (2,), (1, 1)))
    else:
        kernel = (3, 3) if kind == "depthwise" else (3, 2)
        window = Window(kernel, (1, 2), (1, 0, 1, 1))
        op = Conv2D(**fields, window=window, groups=4 if kind == "depthwise" else 1)
    x = TensorType(shapes[kind], fmt, Quant((float(sx[0]),), zero))
    sy = scales(rng, powers, 1) * F32(2 if powers else rng.uniform(20, 60))
    factors = (sx * sw).astype(F32) / sy
    out = Format(fmt.signed, int(rng.choice([8, 8, 5])))
    y = int(rng.integers(out.min, out.max + 1))
    to8 = Requantize(
        scheme=Scheme.F32_RNE_OUT,
        multiplier=tuple(map(float, factors)),
        out=out,
        zero_point=y,
        quant=Quant((float(sy[0]),), y),
    )
    middle = [Relu()] if rng.integers(3) == 0 else []
    axes = (len(x.shape) - 1, *range(len(x.shape) - 1)) if len(x.shape) > 1 else None
    graph = one(op, *middle, to8, x=x, axes=axes)
    return replace(graph, outputs=(replace(graph.outputs[0], axes=axes),))


@pytest.mark.parametrize("kind", ["dense", "conv1d", "conv2d", "depthwise"])
@pytest.mark.parametrize("powers", [True, False], ids=["ties", "scales"])
def test_layers_of_any_scales_and_zero_points_have_the_codes_of_the_runtime(kind, powers):
    rng, compared = np.random.default_rng([seeded(21), len(kind), powers]), 0
    for turn in range(6):
        graph = layer(rng, kind, powers=powers, channels=turn % 2 == 0)
        model = hwsim.to_onnx(graph, form="qdq", samples=2)
        (port,) = graph.inputs
        span = port.type.scales()[0] * 300
        shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim][1:]
        x = rng.uniform(-span, span, (400, *shape)).astype(F32)
        want, got = hwsim.emulate(graph, x), by_runtime(model, x)["y"]
        compared += want.size
        assert np.array_equal(want, got)
    assert compared > 9000


def test_a_layer_from_signed_to_unsigned_codes_has_no_integer_kernel_and_is_refused():
    rng = np.random.default_rng(seeded(9))
    graph = layer(rng, "dense", powers=False, channels=True)
    (x,), last = graph.inputs, graph.nodes[-1]
    turned = Format(not x.type.format.signed, 8)
    other = replace(last.op, out=turned, zero_point=3, quant=Quant((0.1,), 3))
    with pytest.raises(HwsimError, match="the same type before and behind"):
        to_model(graph.with_op(last.name, other), form="qdq")


def readable(seed: int) -> Graph:
    """The first random network from a seed on that hwsim reads."""
    for turn in range(9):
        try:
            return hwsim.load(network(seed + 1000 * turn))
        except HwsimError:
            continue
    raise AssertionError(f"one of nine networks from seed {seed} on must be readable")


@pytest.mark.parametrize("seed", range(8))
def test_random_qdq_networks_are_written_or_refused_in_a_sentence(seed):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = readable(seeded(seed))
        assert to_model(graph, samples=6)[1]["check"]["compared"] > 0
    said, facts = written(graph)
    if said is None:
        assert facts["check"]["by"][-1] == "hwsim, read again"
    else:
        assert "these have none: node" in said or "in rare cases: " in said


@pytest.mark.parametrize("rounding", [Rounding.TRN, Rounding.RND, Rounding.RND_MIN_INF])
def test_other_roundings_become_nearest_of_twice_the_sums_where_weights_have_a_bit_to_spare(
    rounding,
):
    rng = np.random.default_rng([seeded(5), len(rounding.value)])
    x = TensorType((16,), Format.parse("s8.4"))
    dense = Dense(
        weights=rng.integers(-63, 64, (16, 5)),
        bias=rng.integers(-99, 99, 5),
        weight_format=Format.parse("s7.5"),
        bias_frac=9,
    )
    cast = Cast(out=Format.parse("s8.3"), rounding=rounding, overflow=Overflow.SAT)
    graph = one(dense, cast, x=x)
    model = hwsim.to_onnx(graph, form="qdq")
    reals = rng.integers(-128, 128, (3000, 16)).astype(F32) / F32(16)
    assert np.array_equal(hwsim.emulate(graph, reals), by_runtime(model, reals)["y"])


def test_a_multiplier_one_step_of_float32_away_is_another_requantizer():
    op = Requantize(
        scheme=Scheme.F32_RNE_OUT, multiplier=(0.000031, 0.3771), out=Format.int(8), zero_point=3
    )
    sums = TensorType((2,), Format.int(24))
    own = np.array(op.multiplier, F32)
    assert equal_channels(op, own, sums).all()
    assert equal_channels(op, np.nextafter(own, F32(1)), sums).tolist() == [False, True]
    few = TensorType((2,), Format.int(9))
    assert equal_channels(op, np.nextafter(own, F32(1)), few).all()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_each_operator_alone_is_written_and_equal_or_refused_by_name(case):
    graph = case.graph()
    said, facts = written(graph)
    if said is not None:
        assert f"node 'op' ({case.op.kind})" in said
        _, facts = to_model(graph, form="qdq", mixed=True, samples=5)
        assert facts["in_integers"] == ["op"]
    assert facts["check"]["compared"] >= 5


def written(graph: Graph) -> tuple[str | None, Any]:
    """What is said of a graph that is refused, and else what there is to say of its file."""
    try:
        return None, to_model(graph, form="qdq", samples=5)[1]
    except HwsimError as error:
        return str(error), None


def test_functions_of_a_code_are_found_and_others_refused():
    x = TensorType((6,), Format.int(8), Quant((0.05,), 3))
    quant = Quant((float(F32(1 / 128)),), -2)
    reals = ((np.arange(-128, 128) - 3).astype(F32) * F32(0.05)).astype(F32)
    ramp = np.where(reals >= 0, reals, reals * F32(0.2)).astype(F32)
    codes = np.clip(np.rint(ramp / F32(quant.scale[0])) - 2, -128, 127).astype(int)
    for values, op in ((codes, "LeakyRelu"), (np.roll(codes, 1), None)):
        graph = one(Table(values=values, out=Format.int(8), quant=quant), x=x)
        if op is None:
            with pytest.raises(HwsimError, match="no ONNX operator between"):
                to_model(graph, form="qdq")
        else:
            assert op in to_model(graph, form="qdq")[1]["nodes"]


def test_state_and_codes_at_the_ends_stay_integers():
    x = TensorType((4,), Format.int(8), Quant((0.5,), 1))
    port = InputPort(name="x", tensor="x", type=x, element="int8")
    held = State(name="h", tensor="h", type=x, next="x", initial=7)
    nodes = (Node("r", Relu(zero_point=1), ("h",), "r"),)
    end = OutputPort(name="y", tensor="r", element="int8")
    graph = Graph((port,), nodes, (end,), (held,))
    model, facts = to_model(graph, form="qdq")
    assert [p["type"] for p in facts["inputs"] + facts["outputs"]] == ["int8"] * 4
    assert facts["check"]["compared"] > 0 and model.graph.output[1].name == "h.next"


@pytest.mark.needs("models")
@pytest.mark.parametrize("name", ["ad01_int8", "kws_ref_model"])
def test_a_published_tflite_model_is_refused_by_name_and_written_with_integers_between(name):
    graph = hwsim.load(folder() / "tflite" / f"{name}.tflite")
    with pytest.raises(HwsimError, match=r"steps of gemmlowp_double in 1?\d+ of \d+ channels"):
        to_model(graph, form="qdq")
    _, facts = to_model(graph, form="qdq", mixed=True)
    assert facts["check"]["compared"] >= 16 * 12 and facts["in_integers"]


def test_the_command_names_what_would_help(tmp_path, capsys):
    dense = Dense(**weights("q", "s16", 4, 2))
    graph = one(dense, Cast(out=Format.int(8)), x=TensorType((4,), Format.int(8)))
    graph.save(tmp_path / "m.hwsim")
    out = tmp_path / "m.onnx"
    said = refused(capsys, "to-onnx", tmp_path / "m.hwsim", "-o", out, "--as", "qdq")
    assert "--mixed" in said and not out.exists()
    status, said, _ = run(
        capsys, "to-onnx", tmp_path / "m.hwsim", "-o", out, "--as", "qdq", "--mixed"
    )
    assert status == 0 and "in operators on whole numbers: n0" in said and out.exists()
