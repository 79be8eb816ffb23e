"""ONNX (QDQ and QLinear): emulated integers equal ONNX Runtime's, all optimizations on."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import digits
import numpy as np
import onnx
import pytest
from onnx import helper
from support import onnx_models as om
from support.onnx_builder import MICROSOFT, Array, Builder, Q, activation
from support.onnx_compare import differences, emulated, load

import hwsim
from hwsim.frontends.onnx.ort import float_math
from hwsim.frontends.shared.builder import RuntimeDifference
from hwsim.frontends.shared.fused import fma
from hwsim.ops import Requantize, ScaledAdd, Scheme

MODELS = Path(digits.__file__).parent / "models"
Build = Callable[..., onnx.ModelProto]


CONVS: dict[str, dict[str, Any]] = {
    "plain": {},
    "depthwise": {"group": 4},
    "grouped": {"group": 2},
    "per tensor": {"per_channel": False},
    "no bias": {"bias": False},
    "strided": {"strides": (2, 2), "pads": (1, 1, 1, 1)},
    "uneven pads": {"pads": (0, 1, 2, 1)},
    "relu": {"then": "Relu"},
    "clip": {"then": "Clip"},
    "pointwise": {"kernel": (1, 1)},
}
DENSES: dict[str, dict[str, Any]] = {
    "plain": {},
    "per channel": {"trans_b": True, "per_channel": True},
    "no bias": {"bias": False},
    "relu": {"then": "Relu"},
}
CASES: dict[str, Build] = {
    **{f"conv {name}": partial(om.conv, **spec) for name, spec in CONVS.items()},
    **{f"gemm {name}": partial(om.gemm, **spec) for name, spec in DENSES.items()},
    "matmul": om.matmul,
    "add": om.add,
    "concat": om.concat,
    "concat of one scale": partial(om.concat, equal=True),
    "max pool": partial(om.pool, "MaxPool"),
    "padded max pool": partial(om.pool, "MaxPool", kernel_shape=(3, 3), pads=(1, 1, 1, 1)),
    "ceiled max pool": partial(
        om.pool, "MaxPool", kernel_shape=(3, 3), strides=(2, 2), ceil_mode=1, size=(8, 8)
    ),
    "average pool": partial(om.pool, "AveragePool"),
    "global average pool": partial(om.pool, "GlobalAveragePool"),
    **{
        f"qlinear {name}, {'real' if ends else 'integer'} ends": partial(build, ends=ends)
        for ends in (True, False)
        for name, build in {
            "conv": partial(om.qlinear_conv, pads=(1, 1, 1, 1)),
            "matmul": om.qlinear_matmul,
            "gemm": om.qgemm,
            "add": om.qlinear_add,
            "concat": om.qlinear_concat,
            "average pool": partial(om.qlinear_pool, "QLinearAveragePool"),
            "global average pool": partial(om.qlinear_pool, "QLinearGlobalAveragePool"),
        }.items()
    },
    **{op: partial(om.unary, op) for op in om.UNARY},
}


@pytest.mark.parametrize("pow2", [False, True], ids=["any scale", "powers of two"])
@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("case", CASES)
def test_one_operator_gives_the_same_integers(
    case: str, dtype: str, pow2: bool, tmp_path: Path, seed: int
) -> None:
    model = CASES[case](seed % 1000, dtype=dtype, pow2=pow2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore" if "average pool" in case else "error", RuntimeDifference)
        graph = load(model, tmp_path)
    assert differences(graph, model, om.feeds(model, batch=64, seed=seed)) == 0


@pytest.mark.parametrize("pow2", [False, True])
def test_uint8_weights_with_a_zero_point(pow2: bool, tmp_path: Path, seed: int) -> None:
    model = om.conv(weight_dtype="uint8", per_channel=False, pow2=pow2)
    graph = load(model, tmp_path)
    assert differences(graph, model, om.feeds(model, batch=64, seed=seed)) == 0
    assert graph.nodes[0].op.zero_point == om.quantization(model, "x").zero_point  # type: ignore[attr-defined]


@pytest.mark.parametrize("build", [om.conv, om.gemm, om.qlinear_conv, om.qgemm])
def test_ties_tell_where_the_zero_point_is_added(build: Build, tmp_path: Path, seed: int) -> None:
    """The mutant: the same graph with the zero point added before the rounding."""
    model = build(pow2=True)
    graph, feeds = load(model, tmp_path), om.feeds(model, batch=400, seed=seed)
    node = next(n for n in graph.nodes if isinstance(n.op, Requantize))
    mutant = graph.with_op(node.name, replace(node.op, scheme=Scheme.F32_RNE_IN))
    assert differences(graph, model, feeds) == 0
    assert differences(mutant, model, feeds) > 0


@pytest.mark.parametrize("name", ["digits_cnn_int8", "digits_cnn_asym", "digits_dw_skip"])
def test_a_trained_model_gives_the_same_integers_on_the_whole_test_split(name: str) -> None:
    path = MODELS / f"{name}.onnx"
    model, data = onnx.load(path), digits.load()
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeDifference)
        graph = hwsim.load(path)
    feeds = {graph.inputs[0].name: data.test_images}
    assert differences(graph, model, feeds) == 0
    reals = emulated(graph, feeds)[graph.outputs[0].name]
    assert (reals.argmax(axis=1) == data.test_labels).mean() >= 0.97


# The multiplier's precision


def close_calls(sx: Any, sw: Any, sy: Any) -> Array:
    """Sums within two of each threshold of the rounding, as far as they are exact in float32."""
    step = float(np.float32(sx * sw) / sy)
    near = [int((k + 0.5) / step) + j for k in range(-128, 128) for j in (-2, -1, 0, 1, 2)]
    return np.array([n for n in near if abs(n) < 2**24 - 1000], np.int32)


@pytest.mark.parametrize("op", ["QGemm", "QLinearConv"])
def test_multipliers_are_float32_at_each_step(
    op: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    """Sums (here: biases) next to each threshold; a multiplier rounded once is the mutant."""
    wrong = caught = trials = 0
    while trials < 8:
        sx, sw, sy = (np.float32(rng.uniform(*r)) for r in ((0.001, 0.1), (1e-4, 1e-3), (1, 4)))
        once = float(np.float32(float(sx) * float(sw) / float(sy)))
        if once == float(np.float32(sx * sw) / sy):
            continue
        trials += 1
        bias = close_calls(sx, sw, sy)
        b = Builder(0)
        shape = (1,) if op == "QGemm" else (1, 1, 1)
        weights = np.zeros((1, bias.size) if op == "QGemm" else (bias.size, *shape), np.int8)
        x = b.code_input("x", shape, Q("uint8", float(sx), 0), ends=False)
        w = [b.constant("w", weights), b.constant("ws", sw), b.constant("wz", np.int8(0))]
        y = list(b.parameters("y", Q("uint8", float(sy), 127)))
        tail = [b.constant("bias", bias)]
        inputs = [*x, *w, *(tail + y if op == "QGemm" else y + tail)]
        domain = {"domain": MICROSOFT} if op == "QGemm" else {}
        b.node(op, inputs, "out", **domain)
        model = b.finish("out", rank=len(shape) + 1, dtype="uint8")
        graph, feeds = load(model, tmp_path), {"x": np.zeros((1, *shape), np.uint8)}
        wrong += differences(graph, model, feeds)
        node = graph.nodes[1]
        mutant = graph.with_op(node.name, replace(node.op, multiplier=(once,)))  # type: ignore[call-arg]
        caught += differences(mutant, model, feeds)
    assert wrong == 0
    assert caught > 0


# Add, on all pairs


def add_model(scales: tuple[float, float, float], zeros: tuple[int, int, int], dtype: str) -> Any:
    b = Builder(0)
    inputs: list[str] = []
    for name, scale, zero in zip("ab", scales, zeros, strict=False):
        inputs += b.code_input(name, (256,), Q(dtype, scale, zero), ends=False)
    inputs += b.parameters("y", Q(dtype, scales[2], zeros[2]))
    b.node("QLinearAdd", inputs, "out", domain=MICROSOFT)
    return b.finish("out", rank=2, dtype=dtype)


def all_pairs(dtype: str) -> dict[str, Array]:
    info = np.iinfo(dtype)
    codes = np.arange(info.min, info.max + 1).astype(dtype)
    a, b = np.meshgrid(codes, codes, indexing="ij")
    return {"a": a, "b": b}


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_a_scaled_add_agrees_on_all_65536_pairs(
    dtype: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    """Scales as drawn, equal ones, and an output of twice a scale, where near ties abound."""
    info, wrong = np.iinfo(dtype), 0
    for trial in range(30):
        sa, sb, sc = (float(np.float32(s)) for s in rng.uniform(0.01, 0.2, 3))
        scales = [(sa, sb, sc), (sa, sa, sc), (sa, sb, float(np.float32(2 * sa)))][trial % 3]
        zeros = [int(z) for z in rng.integers(info.min, info.max + 1, 3)]
        model = add_model(scales, (zeros[0], zeros[1], zeros[2]), dtype)
        graph = load(model, tmp_path)
        wrong += differences(graph, model, all_pairs(dtype))
    assert wrong == 0


@pytest.mark.parametrize(
    ("scales", "zeros"),
    [
        ((0.10129519551992416, 0.09640436619520187, 0.1367286741733551), (88, 219, 54)),
        ((0.10066314786672592, 0.16829609870910645, 0.013823297806084156), (135, 159, 142)),
        ((0.17119789123535156, 0.016000308096408844, 0.03477809950709343), (101, 235, 66)),
        ((0.07521411031484604, 0.12129069864749908, 0.18664002418518066), (164, 115, 185)),
    ],
)
def test_the_offset_of_a_scaled_add_is_fused_too(
    scales: tuple[float, float, float], zeros: tuple[int, int, int], tmp_path: Path
) -> None:
    """Cases in which rounding each product of the offset (the mutant) changes some pair."""
    model = add_model(scales, zeros, "uint8")
    graph = load(model, tmp_path)
    (node,) = graph.nodes
    assert isinstance(node.op, ScaledAdd)
    ra, rb = node.op.ratios
    za, zb, zc = (np.float32(z) for z in zeros)
    apart = float(zc - (np.float32(ra) * za + np.float32(rb) * zb))
    mutant = graph.with_op(node.name, replace(node.op, offset=apart))
    assert differences(graph, model, all_pairs("uint8")) == 0
    assert differences(mutant, model, all_pairs("uint8")) > 0


# Functions of one value


HARD = {"alpha": 0.21, "beta": 0.47}


@pytest.mark.parametrize(
    ("op", "function", "attributes"),
    [
        ("Sigmoid", float_math.sigmoid, {}),
        ("Tanh", float_math.tanh, {}),
        ("HardSigmoid", partial(float_math.hard_sigmoid, **HARD), HARD),
        ("HardSwish", float_math.hard_swish, {}),
        ("LeakyRelu", partial(float_math.leaky_relu, alpha=0.013), {"alpha": 0.013}),
    ],
)
def test_a_function_has_the_runtimes_bits(
    op: str, function: Callable[[Array], Array], attributes: dict[str, float], seed: int
) -> None:
    x = np.random.default_rng(seed).normal(0, 4, 50_001).astype(np.float32)
    node = helper.make_node(op, ["x"], ["y"], **attributes)
    ports = [helper.make_tensor_value_info(n, 1, ["n"]) for n in "xy"]
    graph = helper.make_graph([node], "f", ports[:1], ports[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (expected,) = om.run_ort(model, {"x": x}).outputs.values()
    assert np.array_equal(function(x).view(np.int32), expected.view(np.int32))


def test_fma_rounds_once() -> None:
    """1 + 2**-12 squared, less its rounded square: what two roundings lose."""
    x = np.float32(1 + 2.0**-12)
    rest = fma(x, x, -np.float32(x * x))
    assert float(rest) == 2.0**-24
    assert np.float32(x * x) - np.float32(x * x) == 0


# Known differences, and where the runtime leaves its integer kernels


def test_an_average_pool_may_differ_at_exact_ties_only(tmp_path: Path, seed: int) -> None:
    model = om.pool("AveragePool", equal=True)
    with pytest.warns(RuntimeDifference, match="ties may round the other way"):
        graph = load(model, tmp_path)
    feeds = om.feeds(model, batch=200, seed=seed)
    got, (expected,) = (
        hwsim.emulate(graph, feeds["x"], codes=False),
        om.run_ort(model, feeds).outputs.values(),
    )
    sums = hwsim.trace(graph, feeds["x"])[graph.nodes[0].output].transpose(0, 3, 1, 2)
    differ = got != expected
    assert differ.mean() < 0.05
    assert np.all(sums[differ] % 4 == 2)


@pytest.mark.parametrize(
    ("case", "build"),
    [
        ("a clip inside the range", partial(om.conv, then="ClipInside")),
        ("int8 codes at the input", None),
    ],
)
def test_a_layer_that_the_runtime_leaves_in_floats_is_announced(
    case: str, build: Build | None, tmp_path: Path, seed: int
) -> None:
    model = build() if build else int8_input_conv()
    with pytest.warns(RuntimeDifference, match="float32"):
        graph = load(model, tmp_path)
    feeds = om.feeds(model, batch=64, seed=seed)
    result = om.run_ort(model, feeds)
    assert not any(op.startswith("QLinear") for op in result.ops)
    (expected,) = result.outputs.values()
    (got,) = emulated(graph, feeds).values()
    assert (got != expected).mean() < 1e-3


def int8_input_conv() -> onnx.ModelProto:
    b = Builder(3)
    x = activation("int8", scale=0.03, zero_point=-7)
    code, scale, zero = b.code_input("x", (4, 7, 6), x, ends=False)
    real = b.node("DequantizeLinear", [code, scale, zero], "x_dq")
    w = b.weights((8, 4, 3, 3), 1, pow2=False, dtype="int8")
    out = b.node("Conv", [real, w.real(b, "w", 0)], "conv")
    y = activation("int8", scale=0.4, zero_point=5)
    scale, zero = b.parameters("y", y)
    return b.finish(b.node("QuantizeLinear", [out, scale, zero], "y"), rank=4, dtype="int8")
