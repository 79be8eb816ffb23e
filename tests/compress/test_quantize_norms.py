"""Normalizations in parts, as exporters write them, are one operator: with QONNX's codes."""

from __future__ import annotations

import warnings

import numpy as np
import onnx
import pytest
from support.float_graphs import executed_by_names, parsed
from support.seeds import seeded

import hwsim
from hwsim.frontends.shared.builder import RuntimeDifference
from rtl.layers.table import unsupported

TWO = "two = Constant<value_float: float = 2.0>() one = Constant<value_float: float = 1.0>() "
SHIFT = TWO + "e = Constant<value_float: float = 1e-5>() "
LAYER = SHIFT + "m = ReduceMean<axes: ints = [{axis}]>(a) d = Sub(a, m) s = {square} "
ROOT = "v = ReduceMean<axes: ints = [{axis}]>(s) t = Add(v, e) r = Sqrt(t) "
ROWS = {
    "a layer's": LAYER + ROOT + "q = Div(d, r) w = Mul(q, g) b = Add(w, h)",
    "a layer's, its factor first": LAYER + ROOT + "q = Div(d, r) w = Mul(g, q) b = Add(h, w)",
    "a layer's times a reciprocal": LAYER.replace("{square}", "Mul(d, d)") + ROOT
    + "i = Reciprocal(r) b = Mul(d, i)",
    "a root mean square's": SHIFT + "s = Pow(a, two) " + ROOT
    + "i = Div(one, r) q = Mul(a, i) b = Mul(g, q)",
    "a root mean square's as a quotient": SHIFT + "s = Mul(a, a) " + ROOT
    + "q = Div(a, r) b = Mul(q, g)",
    "a length's": "n = ReduceL2<axes: ints = [{axis}]>(a) "
    "l = Constant<value_float: float = 1e-12>() t = Max(n, l) b = Div(a, t)",
}  # fmt: skip


def model(body: str, *, opset: int = 13) -> onnx.ModelProto:
    """Rows of 12 between two dense layers."""
    rng = np.random.default_rng(seeded(4))
    constants = {"v0": rng.normal(0, 0.4, (12, 12)), "w0": rng.normal(0, 0.4, (12, 3))}
    constants |= {"g": rng.uniform(0.5, 2, 12), "h": rng.normal(0, 0.3, 12)}
    text = f"{{a = MatMul(x, v0) {body} y = MatMul(b, w0)}}".replace("{axis}", "-1")
    return parsed(
        "net (float[N,5,12] x) => (float[N,5,3] y) " + text.replace("{square}", "Pow(d, two)"),
        {name: array.astype(np.float32) for name, array in constants.items()},
        opset=opset,
    )


def quantized(proto: onnx.ModelProto, x: np.ndarray) -> hwsim.QuantizedModel:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeDifference)  # of float32's last bits
        return hwsim.quantize(proto, x)


def rows(*shape: int) -> np.ndarray:
    return np.random.default_rng(seeded(8)).normal(0, 1, (48, *shape)).astype(np.float32)


@pytest.mark.parametrize("body", ROWS.values(), ids=ROWS)
def test_parts_of_a_norm_of_rows_have_one_quantizer_and_qonnxs_codes(body):
    x = rows(5, 12)
    made = quantized(model(body), x)
    assert [row["tensor"] for row in made.rows if "tensor" in row] == ["x", "a", "b"]
    assert sum(node.op.kind == "rsqrt" for node in made.graph.nodes) == 1
    found = hwsim.emulate(made.graph, x[:8])
    assert found.tolist() == executed_by_names(made.proto, {"x": x[:8]})["y"].tolist()
    assert made.sqnr > 25 and not unsupported(made.graph)


def test_onnxs_own_norm_of_root_mean_squares_is_read_too():
    x = rows(5, 12)
    made = quantized(model("b = RMSNormalization(a, g)", opset=23), x)
    parts = quantized(model(ROWS["a root mean square's"]), x)
    whole, other = (hwsim.emulate(one.graph, x[:8]) for one in (made, parts))
    assert whole.tolist() == executed_by_names(made.proto, {"x": x[:8]})["y"].tolist()
    assert whole.tolist() == other.tolist()


def test_rows_of_zeros_have_length_0_and_stay():
    x = rows(5, 12)
    x[:, 2] = 0
    made = quantized(model(ROWS["a length's"]), x)
    found = hwsim.emulate(made.graph, x[:8])
    assert not found[:, 2].any() and found[:, 1].any()


NEARLY = {
    "a factor a row": SHIFT + "s = Mul(a, a) " + ROOT + "q = Div(a, r) b = Mul(q, places)",
    "a factor an element": SHIFT + "s = Mul(a, a) " + ROOT + "q = Div(a, r) b = Mul(q, every)",
    "an offset a row": LAYER + ROOT + "q = Div(d, r) b = Add(q, places)",
    "a length with an upper limit": "n = ReduceL2<axes: ints = [-1]>(a) "
    "l = Constant<value_float: float = 0.0>() u = Constant<value_float: float = 1.0>() "
    "t = Clip(n, l, u) b = Div(a, t)",
    "a length with an upper limit alone": "n = ReduceL2<axes: ints = [-1]>(a) "
    "u = Constant<value_float: float = 1e-7>() t = Clip(n, , u) b = Div(a, t)",
    "a length with two limits below": "n = ReduceL2<axes: ints = [-1]>(a) "
    "l = Constant<value_float: float = 1e-9>() u = Constant<value_float: float = 5.0>() "
    "t = Max(n, l, u) b = Div(a, t)",
}  # fmt: skip


@pytest.mark.parametrize("body", NEARLY.values(), ids=NEARLY)
def test_what_only_looks_like_a_norm_of_rows_has_qonnxs_codes_or_is_refused(body):
    rng, x = np.random.default_rng(seeded(4)), rows(12, 12)
    constants = {"v0": rng.normal(0, 0.4, (12, 12)), "w0": rng.normal(0, 0.4, (12, 3))}
    constants |= {"places": rng.uniform(0.5, 2, (12, 1)), "every": rng.uniform(0.5, 2, (12, 12))}
    text = f"{{a = MatMul(x, v0) {body} y = MatMul(b, w0)}}".replace("{axis}", "-1")
    proto = parsed(
        "net (float[N,12,12] x) => (float[N,12,3] y) " + text.replace("{square}", "Pow(d, two)"),
        {name: array.astype(np.float32) for name, array in constants.items()},
        opset=13,
    )
    try:
        made = quantized(proto, x)
    except hwsim.HwsimError:
        return
    found = hwsim.emulate(made.graph, x[:4])
    assert found.tolist() == executed_by_names(made.proto, {"x": x[:4]})["y"].tolist()
    assert made.sqnr > 25


MAPS = "net (float[N,4,6,6] x) => (float[N,3,6,6] y) {a = Conv(x, k) "
ALONG = {
    "a layer's along channels": LAYER.replace("{square}", "Mul(d, d)") + ROOT
    + "q = Div(d, r) w = Mul(q, g) b = Add(w, h)",
    "a root mean square's along channels": SHIFT + "s = Mul(a, a) " + ROOT
    + "q = Div(a, r) b = Mul(g, q)",
    "groups'": (
        "s = Constant<value_ints: ints = [0, 2, -1]>() l = Reshape(a, s) "
        "n = InstanceNormalization(l, ones, zeros) f = Constant<value_ints: ints = [0, 4, 6, 6]>() "
        "q = Reshape(n, f) w = Mul(q, g) t = Add(w, h) b = Relu(t)"
    ),
}  # fmt: skip


@pytest.mark.parametrize("body", ALONG.values(), ids=ALONG)
def test_parts_of_a_norm_of_maps_have_qonnxs_codes(body):
    rng, x = np.random.default_rng(seeded(4)), rows(4, 6, 6)
    constants = {"k": rng.normal(0, 0.5, (4, 4, 1, 1)), "u": rng.normal(0, 0.5, (3, 4, 1, 1))}
    constants |= {"g": rng.uniform(0.5, 2, (4, 1, 1)), "h": rng.normal(0, 0.3, (4, 1, 1))}
    constants |= {"ones": np.ones(2), "zeros": np.zeros(2)}
    proto = parsed(
        MAPS + body.replace("{axis}", "1") + " y = Conv(b, u)}",
        {name: array.astype(np.float32) for name, array in constants.items()},
        opset=13,
    )
    made = quantized(proto, x)
    assert [row["tensor"] for row in made.rows if "tensor" in row] == ["x", "a", "b"]
    found = hwsim.emulate(made.graph, x[:4])
    assert found.tolist() == executed_by_names(made.proto, {"x": x[:4]})["y"].tolist()
    assert made.sqnr > 25 and not unsupported(made.graph)


GROUPS = (
    "net (float[N,4,4,4] x) => (float[N,3] y) {a = Conv(x, k) "
    "s = Constant<value_ints: ints = [0, 2, -1]>() l = Reshape(a, s) "
    "n = InstanceNormalization(l, ones, zeros) f = Constant<value_ints: ints = [SHAPE]>() "
    "q = Reshape(n, f) w = Mul(q, g) p = REST y = Gemm(o, u)}"
)
POOLED = "AveragePool<kernel_shape: ints = [2, 2], strides: ints = [2, 2]>(w) o = Flatten(p)"
TURNED = "Transpose<perm: ints = [0, 2, 1]>(w) o = Flatten(p)"


@pytest.mark.parametrize(
    ("shape", "factors", "rest", "read"),
    [
        ("0, 4, 2, 8", (4, 1, 1), POOLED, True),
        ("0, 4, 4, 4", (4, 1, 1), POOLED, True),
        ("0, 4, 16", (4, 1), TURNED, True),
        ("0, 2, 8, 4", (2, 1, 1), POOLED, True),
        ("0, 4, 2, 8", (2, 1), POOLED, False),
    ],
)
def test_a_norm_of_groups_gives_the_shape_of_its_last_reshape(shape, factors, rest, read):
    rng, x = np.random.default_rng(seeded(4)), rows(4, 4, 4)
    sizes = 64 if rest == TURNED else 16
    constants = {"k": rng.normal(0, 0.5, (4, 4, 1, 1)), "u": rng.normal(0, 0.5, (sizes, 3))}
    constants |= {"g": rng.uniform(0.5, 2, factors), "ones": np.ones(2), "zeros": np.zeros(2)}
    proto = parsed(
        GROUPS.replace("SHAPE", shape).replace("REST", rest),
        {name: array.astype(np.float32) for name, array in constants.items()},
        opset=13,
    )
    if not read:
        with pytest.raises(hwsim.HwsimError, match="Mul 'w': its constant must be one value"):
            quantized(proto, x)
        return
    made = quantized(proto, x)
    found = hwsim.emulate(made.graph, x[:4])
    assert found.tolist() == executed_by_names(made.proto, {"x": x[:4]})["y"].tolist()
    assert made.sqnr > 25
