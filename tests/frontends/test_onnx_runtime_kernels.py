"""Each rule by which ONNX Runtime takes an integer kernel, or does not: what decides, by name."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from support.onnx_builder import Q, activation
from support.onnx_compare import load
from support.onnx_kernels import emulated, outcome
from support.onnx_nets import Net, feeds, row
from support.onnx_run import run_ort

Build = Callable[[Net], onnx.ModelProto]
X = 0.03  # the scale of Net's input


def biased(n: Net, op: str, ratio: float) -> onnx.ModelProto:
    """A layer whose int32 bias has `ratio` times the scale of its sums."""
    shape = (4, 3, 3, 3) if op == "Conv" else (12, 7)
    w = n.weights(shape, 1, pow2=False, dtype="int8")
    outputs = shape[0] if op == "Conv" else shape[1]
    codes = n.constant("b", n.rng.integers(-3000, 3000, outputs).astype(np.int32))
    scale = np.float32(w.scale[0] * np.float32(X) * np.float32(ratio))
    bias = n.do("DequantizeLinear", codes, n.constant("bs", scale), n.constant("bz", np.int32(0)))
    x = n.start(3, 6, 5) if op == "Conv" else n.start(12)
    out = n.do(op, x, w.real(n, "w", 0), bias)
    return n.model((n.round(out, 0.3), 4 if op == "Conv" else 2, "float32"))


@pytest.mark.parametrize("ratio", [0.5, 0.99, 1.02, 3.7, 100])
def test_qgemm_takes_the_codes_of_a_bias_whatever_their_scale(
    ratio: float, tmp_path: Path, seed: int
) -> None:
    assert outcome(biased(Net(), "Gemm", ratio), tmp_path, seed) == (["QGemm"], "", 0)


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_convolution_takes_a_bias_up_to_the_runtimes_own_tolerance(
    sign: int, tmp_path: Path, seed: int
) -> None:
    """Within 1e-6 + 1% of the scale of its sums; past it float32, with the bias's own reals."""
    unit = float(Net().weights((4, 3, 3, 3), 1, pow2=False, dtype="int8").scale[0]) * X
    tolerance = 0.01 + 1e-6 / unit
    within = biased(Net(), "Conv", 1 + sign * tolerance * 0.999)
    past = biased(Net(), "Conv", 1 + sign * tolerance * 1.001)
    assert outcome(within, tmp_path, seed) == (["QLinearConv"], "", 0)
    ran, said, differ = outcome(past, tmp_path, seed)
    assert (ran, differ) == ([], 0)
    assert "one code in 200,000" in said


def conv(n: Net) -> str:
    return n.do("Conv", n.start(3, 6, 5), n.kernel((4, 3, 3, 3), 0))


SHAPES: dict[str, tuple[Build, bool]] = {
    "Reshape": (lambda n: behind(n, n.do("Reshape", conv(n), n.ints(0, -1)), 2), True),
    "Flatten": (lambda n: behind(n, n.do("Flatten", conv(n)), 2), False),
    "Unsqueeze": (lambda n: behind(n, n.do("Unsqueeze", conv(n), n.ints(2)), 5), True),
    "average, Squeeze": (
        lambda n: behind(n, n.do("Squeeze", average(n), n.ints(2, 3)), 2),
        True,
    ),
    "average, Flatten": (lambda n: behind(n, n.do("Flatten", average(n)), 2), False),
}


def average(n: Net) -> str:
    return n.do("GlobalAveragePool", n.start(3, 6, 5))


def behind(n: Net, tensor: str, rank: int) -> onnx.ModelProto:
    return n.model((n.round(tensor, 0.3), rank, "float32"))


@pytest.mark.parametrize("case", SHAPES)
def test_a_quantizer_moves_through_shape_operators_but_not_through_flatten(
    case: str, tmp_path: Path, seed: int
) -> None:
    build, fused = SHAPES[case]
    ran, said, differ = outcome(build(Net()), tmp_path, seed)
    assert bool(ran) is fused
    if fused:
        assert said == ""
    else:
        assert ("exact ties" if "average" in case else "one code in 200,000") in said
    assert differ == 0 or "average" in case


def quantized_often(n: Net, count: int, x: str) -> str:
    """Through so many pairs of quantizer and dequantizer, of scales that are far apart."""
    for _ in range(count):
        q = activation(
            n.dtype,
            scale=float(n.rng.uniform(0.02, 0.05)),
            zero_point=int(n.rng.integers(-60, 60)),
        )
        given = n.parameters(n.name("q"), q)
        x = n.do("DequantizeLinear", n.do("QuantizeLinear", x, *given), *given)
    return x


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("count", [2, 3, 4])
def test_rows_of_quantizers_become_one_as_in_the_runtime(
    count: int, dtype: str, tmp_path: Path, seed: int
) -> None:
    """The float bias behind them too, which is rounded before the last ones are merged."""
    n = Net(dtype, seed)
    x = quantized_often(n, count, n.input("x", (12,)))
    bias = n.constant("bias", n.rng.normal(0, 1, 7).astype(np.float32))
    out = n.do("Gemm", x, n.kernel((12, 7), 1), bias)
    assert outcome(n.model((n.round(out, 0.3), 2, "float32")), tmp_path, seed) == (["QGemm"], "", 0)


@pytest.mark.parametrize(("count", "ran"), [(2, ["QLinearConv"]), (3, []), (4, [])])
def test_a_bias_of_an_earlier_scale_leaves_its_convolution_in_float32(
    count: int, ran: list[str], tmp_path: Path, seed: int
) -> None:
    """It was made int32 before the last pairs became one, and fits the sums no more."""
    n = Net()
    x = quantized_often(n, count, n.input("x", (3, 6, 5)))
    bias = n.constant("bias", n.rng.normal(0, 1, 4).astype(np.float32))
    out = n.do("Conv", x, n.kernel((4, 3, 3, 3), 0), bias)
    model = n.model((n.round(out, 0.05), 4, "float32"))
    kernels, said, differ = outcome(model, tmp_path, seed)
    assert (kernels, differ) == (ran, 0)
    assert ("one code in 200,000" in said) is (not ran)


def test_sums_that_pass_32_bits_are_announced(tmp_path: Path, seed: int) -> None:
    n = Net()
    w = n.weights((12, 7), 1, pow2=False, dtype="int8")
    codes = n.constant("b", np.array([2**31 - 1, *range(6)], np.int32))
    scale = n.constant("bs", np.float32(w.scale[0] * np.float32(X)))
    bias = n.do("DequantizeLinear", codes, scale, n.constant("bz", np.int32(0)))
    out = n.do("Gemm", n.start(12), w.real(n, "w", 1), bias)
    model = n.model((n.round(out, 0.3), 2, "float32"))
    ran, said, differ = outcome(model, tmp_path, seed)
    assert ran == ["QGemm"]
    assert "wrap around at 32 bits" in said
    assert differ > 0


WIDE: dict[tuple[str, str, str], tuple[list[str], str]] = {
    # activations, weights, operator: kernels, what is said
    ("uint16", "int8", "Conv"): ([], "one code in 1,000"),
    ("int16", "uint8", "Conv"): ([], "one code in 1,000"),
    ("uint16", "int16", "MatMul"): ([], "one code in 1,000"),
    ("uint16", "int8", "MatMul"): (["MatMulNBits"], "nearly all values differ"),
    ("int16", "uint8", "MatMul"): (["MatMulNBits"], "nearly all values differ"),
    ("uint8", "uint16", "MatMul"): ([], "one code in 200,000"),
}


@pytest.mark.parametrize("case", WIDE, ids=lambda c: " ".join(c))
def test_width_and_type_of_weights_decide_what_is_said(
    case: tuple[str, str, str], tmp_path: Path, seed: int
) -> None:
    dtype, kind, op = case
    n, info = Net(dtype), np.iinfo(dtype)
    middle = (int(info.min) + int(info.max) + 1) // 2
    x = n.qdq(
        n.input("x", (3, 6, 5) if op == "Conv" else (12,)), Q(dtype, 8 / 2**info.bits, middle)
    )
    shape = (4, 3, 3, 3) if op == "Conv" else (12, 7)
    ends = np.iinfo(kind)
    codes = n.rng.integers(ends.min, ends.max, shape).astype(kind)
    zero = np.array((int(ends.min) + int(ends.max) + 1) // 2, kind)
    scale = np.float32(2.1 / 2**ends.bits)
    names = [n.constant(f"w{i}", v) for i, v in enumerate((codes, scale, zero))]
    out = n.do(op, x, n.do("DequantizeLinear", *names))
    y = n.qdq(out, Q(dtype, 30 / 2**info.bits, middle + 5))
    model = n.model((y, 4 if op == "Conv" else 2, "float32"))
    model.opset_import[0].version = 21
    model.ir_version = 10
    kernels, text = WIDE[case]
    ran, said, differ = outcome(model, tmp_path, seed)
    assert ran == kernels
    assert text in said
    total = 48 * (48 if op == "Conv" else 7)
    assert differ > total / 2 if ran else differ <= max(2, total / 50)


TAILS: dict[str, tuple[Build, bool]] = {
    "Gemm": (
        lambda n: n.model((n.do("Gemm", n.start(12), n.kernel((12, 7), 1)), 2, "float32")),
        True,
    ),
    "MatMul": (
        lambda n: n.model((n.do("MatMul", n.start(12), n.kernel((12, 7), 1)), 2, "float32")),
        True,
    ),
    "Conv": (lambda n: n.model((conv(n), 4, "float32")), False),
    "Gemm with a float bias": (
        lambda n: n.model((n.do("Gemm", n.start(12), n.kernel((12, 7), 1), row(n)), 2, "float32")),
        False,
    ),
    "MatMul and Add": (
        lambda n: n.model(
            (n.do("Add", n.do("MatMul", n.start(12), n.kernel((12, 7), 1)), row(n)), 2, "float32")
        ),
        False,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TAILS)
def test_reals_of_a_last_layer_are_the_runtimes_or_differ_in_their_last_bits(
    case: str, tmp_path: Path, seed: int
) -> None:
    build, exact = TAILS[case]
    model = build(Net())
    ran, said, differ = outcome(model, tmp_path, seed)
    assert bool(ran) is exact
    if exact:
        assert (said, differ) == ("", 0)
        return
    assert "last bits" in said
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = load(model, tmp_path)
    data = feeds(model, seed)
    (expected,) = run_ort(model, data).outputs.values()
    (got,) = emulated(graph, data).values()
    assert np.abs(got - expected).max() <= 2e-6 * np.abs(expected).max()
