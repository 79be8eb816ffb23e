"""Functions of one sum, however they are written, and outputs of any kind: QONNX's codes."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from support.float_graphs import between_convolutions, executed_by_names, parsed
from support.seeds import seeded

import hwsim
from hwsim.frontends.shared.builder import RuntimeDifference
from rtl.layers.table import unsupported

ONE = "one = Constant<value_float: float = 1.0>() "
FUNCTIONS = {
    "abs": "b = Abs(a)",
    "atan": "b = Atan(a)",
    "celu": "b = Celu<alpha: float = 0.5>(a)",
    "cos": "b = Cos(a)",
    "neg": "r = Relu(a) b = Neg(r)",
    "exp": "s = Abs(a) n = Neg(s) b = Exp(n)",
    "log": ONE + "s = Abs(a) t = Add(s, one) b = Log(t)",
    "sqrt": "r = Relu(a) b = Sqrt(r)",
    "reciprocal": ONE + "s = Abs(a) t = Add(s, one) b = Reciprocal(t)",
    "a number over it": ONE + "s = Abs(a) t = Add(s, one) b = Div(one, t)",
    "square": "two = Constant<value_float: float = 2.0>() b = Pow(a, two)",
    "square as a product": "b = Mul(a, a)",
    "silu": "s = Sigmoid(a) b = Mul(a, s)",
    "quick gelu": ONE + "k = Add(one, one) t = Mul(a, k) s = Sigmoid(t) b = Mul(a, s)",
    "mish": "s = Softplus(a) t = Tanh(s) b = Mul(a, t)",
    "softsign": ONE + "s = Abs(a) t = Add(one, s) b = Div(a, t)",
    "shrinking": "t = Tanh(a) b = Sub(a, t)",
    "maxout": "k = Constant<value_float: float = 0.3>() t = Mul(a, k) b = Max(a, t)",
    "chosen": (
        "z = Constant<value_float: float = 0.0>() k = Constant<value_float: float = 0.1>() "
        "g = Greater(a, z) t = Mul(a, k) b = Where(g, a, t)"
    ),
    "masked": (
        "z = Constant<value_float: float = 0.2>() g = Greater(a, z) f = Cast<to: int = 1>(g) "
        "b = Mul(a, f)"
    ),
}  # fmt: skip


def images(*shape: int) -> np.ndarray:
    return np.random.default_rng(seeded(3)).normal(0, 1, (48, *shape)).astype(np.float32)


@pytest.mark.parametrize("body", FUNCTIONS.values(), ids=FUNCTIONS)
def test_a_function_of_a_sum_has_one_quantizer_and_qonnxs_codes(body):
    model, x = between_convolutions(body, np.random.default_rng(seeded(7))), images(4, 8, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeDifference)  # of last bits, which do not matter here
        made = hwsim.quantize(model, x)
    assert [row["tensor"] for row in made.rows if "tensor" in row] == ["x", "b"]
    found = hwsim.emulate(made.graph, x[:4])
    assert found.tolist() == executed_by_names(made.proto, {"x": x[:4]})["y"].tolist()
    assert made.sqnr > 28 and not unsupported(made.graph)


LAYERS = "a = MatMul(x, v) b = MatMul(x, w) "
OUTPUTS = {
    "a residual sum": "r = Relu(b) y = Add(a, r)",
    "a sum and its function": "t = Add(a, b) y = Relu(t)",
    "a product": "s = Sigmoid(b) y = Mul(a, s)",
    "a function that no port has": "s = Sigmoid(a) y = Mul(a, s)",
    "two side by side": "s = Sigmoid(a) t = Tanh(b) y = Concat<axis: int = 1>(s, t)",
    "sums side by side": "y = Concat<axis: int = 1>(a, b)",
    "the larger one": "y = Max(a, b)",
    "a mean": "y = ReduceMean<axes: ints = [1]>(a)",
    "an average of maps": (
        "s = Constant<value_ints: ints = [-1, 2, 2, 2]>() m = Reshape(a, s) "
        "t = GlobalAveragePool(m) y = Flatten(t)"
    ),
    "maps of a dense layer": "s = Constant<value_ints: ints = [-1, 2, 2, 2]>() y = Reshape(a, s)",
    "the largest": "y = ReduceMax<axes: ints = [1], keepdims: int = 0>(a)",
    "a normalized row": "y = LayerNormalization(a, g)",
}  # fmt: skip


@pytest.mark.parametrize("body", OUTPUTS.values(), ids=OUTPUTS)
def test_outputs_that_a_port_cannot_compute_are_codes_under_their_own_names(body):
    rng = np.random.default_rng(seeded(11))
    constants = {name: rng.normal(0, 0.4, (8, 8)).astype(np.float32) for name in "vw"}
    constants["g"] = rng.uniform(0.5, 2, 8).astype(np.float32)
    model = parsed(f"net (float[N,8] x) => (float y) {{{LAYERS}{body}}}", constants)
    x = images(8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeDifference)
        made = hwsim.quantize(model, x)
    assert [port.name for port in made.graph.outputs] == ["y"]
    found = hwsim.emulate(made.graph, x[:6])
    assert found.tolist() == executed_by_names(made.proto, {"x": x[:6]})["y"].tolist()
    assert made.sqnr > 25 and not unsupported(made.graph)


def test_a_function_alone_is_a_model_too():
    model, x = parsed("net (float[N,8] x) => (float[N,8] y) {y = Softplus(x)}", {}), images(8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeDifference)
        made = hwsim.quantize(model, x)
    assert made.sqnr > 30
    found = hwsim.emulate(made.graph, x[:6])
    assert found.tolist() == executed_by_names(made.proto, {"x": x[:6]})["y"].tolist()


def test_a_quotient_that_is_no_number_for_two_codes_is_refused_so():
    rng = np.random.default_rng(seeded(11))
    constants = {name: rng.normal(0, 0.4, (8, 8)).astype(np.float32) for name in "vw"}
    body = "a = MatMul(x, v) b = MatMul(x, w) y = Div(a, b)"
    model = parsed(f"net (float[N,8] x) => (float[N,8] y) {{{body}}}", constants)
    with pytest.raises(hwsim.HwsimError, match="must be a number for all codes, not NaN as of 0 /"):
        hwsim.quantize(model, images(8))
