"""What is side by side, averages over windows that reach out, and weights of two layers."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from support.float_graphs import executed_by_names, parsed
from support.seeds import seeded

import hwsim
from hwsim.compress.float_model import FloatModel
from hwsim.frontends.shared.builder import RuntimeDifference
from rtl.layers.table import unsupported


def images(*shape: int) -> np.ndarray:
    return np.random.default_rng(seeded(3)).normal(0, 1, (48, *shape)).astype(np.float32)


def checked(model: onnx.ModelProto, x: np.ndarray, *, sqnr: float, **options: Any) -> Any:
    """What is made of a model, which has QONNX's codes and hardware."""
    made = hwsim.quantize(model, x, **options)
    found = hwsim.emulate(made.graph, x[:4])
    executed = executed_by_names(made.proto, {"x": x[:4]})["y"]
    assert found.tolist() == executed.tolist() and np.unique(executed).size > 10
    assert made.sqnr > sqnr and not unsupported(made.graph)
    return made


def weights(**shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seeded(9))
    return {name: rng.normal(0, 0.4, shape).astype(np.float32) for name, shape in shapes.items()}


def test_groups_that_share_a_tensor_have_one_format():
    body = """net (float[N,4,6,6] x) => (float[N,3,6,6] y) {
        a = Conv(x, k) r = Relu(a) s = Conv(x, l) t = Tanh(s) u = Sigmoid(a)
        one = Concat<axis: int = 1>(r, t) other = Concat<axis: int = 1>(t, u)
        v = Conv(one, m) w = Conv(other, n) y = Add(v, w)}"""
    held = weights(k=(4, 4, 1, 1), l=(4, 4, 1, 1), m=(3, 8, 1, 1), n=(3, 8, 1, 1))
    made = checked(parsed(body, held), images(4, 6, 6), sqnr=25)
    scales = {row["tensor"]: row["scale"] for row in made.rows if "tensor" in row}
    assert scales["r"] == scales["t"] == scales["u"]


@pytest.mark.parametrize("options", [{}, {"scheme": "affine", "bits": "w8a7"}], ids=str)
def test_outputs_of_different_ranges_side_by_side_keep_the_finest_scale(options):
    body = """net (float[N,8] x) => (float[N,12] y) {
        a = MatMul(x, k) c = Sigmoid(a) b = MatMul(x, l) s = Mul(b, c) p = Mul(s, big)
        y = Concat<axis: int = 1>(c, p, c)}"""
    held = weights(k=(8, 4), l=(8, 4)) | {"big": np.float32(100)}
    x = images(8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeDifference)  # of scales that are no powers of two
        made = checked(parsed(body, held), x, sqnr=30, **options)
    reals = onnxruntime.InferenceSession(
        parsed(body, held).SerializeToString(), providers=["CPUExecutionProvider"]
    ).run(None, {"x": x})[0]
    found = hwsim.emulate(made.graph, x)
    # In one scale for all, codes of 100 times as much would leave nothing of probabilities.
    assert np.abs(found - reals)[:, :4].max() < 0.02 and np.abs(reals)[:, 4:8].max() > 100


def test_a_constant_beside_codes_becomes_codes_with_them():
    body = """net (float[N,4,2,2] x) => (float[N,5,6] y) {
        f = Constant<value_ints: ints = [-1, 4, 4]>() t = Reshape(x, f)
        u = Transpose<perm: ints = [0, 2, 1]>(t) e = MatMul(u, k)
        z = Concat<axis: int = 1>(token, e) p = Add(z, place) y = MatMul(p, l)}"""
    held = weights(k=(4, 12), l=(12, 6), place=(1, 5, 12)) | {
        "token": 2 * weights(token=(1, 1, 12))["token"]
    }
    model = parsed(body, held)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 1
    checked(model, images(4, 2, 2), sqnr=25)


POOLS = {
    "padding that does not count": "kernel_shape: ints = [3, 3], pads: ints = [1, 1, 1, 1]",
    "windows that reach beyond": (
        "kernel_shape: ints = [3, 3], strides: ints = [2, 2], ceil_mode: int = 1"
    ),
    "both": (
        "kernel_shape: ints = [3, 2], strides: ints = [2, 2], pads: ints = [1, 0, 1, 1], "
        "ceil_mode: int = 1"
    ),
    "padding that counts": (
        "kernel_shape: ints = [3, 3], strides: ints = [2, 2], pads: ints = [1, 1, 0, 0], "
        "ceil_mode: int = 1, count_include_pad: int = 1"
    ),
    "as large as the map": 'kernel_shape: ints = [2, 3], auto_pad: string = "SAME_UPPER"',
    "the same from below": (
        'kernel_shape: ints = [3, 2], strides: ints = [2, 1], auto_pad: string = "SAME_LOWER"'
    ),
}  # fmt: skip


@pytest.mark.parametrize("how", POOLS.values(), ids=POOLS)
@pytest.mark.parametrize("sizes", ["6,6", "7,8"])
def test_averages_of_what_lies_in_a_map_alone_are_the_runtimes_and_qonnxs_codes(how, sizes):
    nodes = f"r = Relu(x) a = AveragePool<{how}>(r) y = Conv(a, k)"
    body = f"net (float[N,3,{sizes}] x) => (float[N,2,H,W] y) {{{nodes}}}"
    model, x = parsed(body, weights(k=(2, 3, 1, 1))), images(3, *map(int, sizes.split(",")))
    checked(model, x, sqnr=28)
    ready = FloatModel.of(model, Path("net.onnx"))
    (found,) = ready.run([{"x": x}], ["y"])
    reals = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    ).run(None, {"x": x})[0]
    np.testing.assert_allclose(found["y"], reals, rtol=1e-5, atol=1e-6)


def test_averages_along_a_line_that_leave_padding_out_have_qonnxs_codes():
    how = "kernel_shape: ints = [3], pads: ints = [1, 1]"
    body = f"net (float[N,3,9] x) => (float[N,2,9] y) {{a = AveragePool<{how}>(x) y = Conv(a, k)}}"
    checked(parsed(body, weights(k=(2, 3, 1))), images(3, 9), sqnr=25)


def test_weights_that_two_layers_read_along_different_axes_have_scales_of_their_own():
    body = """net (float[N,8] x) => (float[N,8] y) {
        a = Gemm<transB: int = 1>(x, k, c) r = Relu(a) y = Gemm(r, k)}"""
    checked(parsed(body, weights(k=(5, 8), c=(5,))), images(8), sqnr=28)


def test_what_no_output_needs_is_left_out():
    body = """net (float[N,8] x) => (float[N,5] y) {
        a = MatMul(x, k) y = Relu(a) t = Hardmax(a) u = LRN<size: int = 3>(t)}"""
    made = checked(parsed(body, weights(k=(8, 5))), images(8), sqnr=30)
    assert {node.op_type for node in made.proto.graph.node} == {"Quant", "MatMul", "Relu"}
