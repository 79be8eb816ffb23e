"""Synthetic ONNX models for tests: one quantized operator each, seeded weights, and ONNX Runtime.

Every builder returns a checked ``onnx.ModelProto``. The QDQ builders have float ports ``x`` (and
``b`` where there are two inputs) and ``y``; the graph is Q, DQ, operator, Q, DQ, which is the form
that ONNX Runtime turns into integer kernels when all its optimizations are on. (With a bare int8
input in front of the DQ, without the Q, x86 builds leave the operator in float32.) The builders
of ``onnx_qlinear`` write the integer operators themselves. ``onnx_specs`` lists what varies.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx

from support.onnx_builder import Builder, Q, activation
from support.onnx_qlinear import (
    qgemm,
    qlinear_add,
    qlinear_concat,
    qlinear_conv,
    qlinear_matmul,
    qlinear_pool,
)
from support.onnx_run import Result, feeds, quantization, run_ort
from support.onnx_specs import SHAPE, ConvSpec, DenseSpec, source, two_sources

__all__ = [
    "UNARY",
    "Result",
    "add",
    "concat",
    "conv",
    "feeds",
    "gemm",
    "matmul",
    "pool",
    "qgemm",
    "qlinear_add",
    "qlinear_concat",
    "qlinear_conv",
    "qlinear_matmul",
    "qlinear_pool",
    "quantization",
    "run_ort",
    "unary",
]


def conv(seed: int = 0, **spec: Any) -> onnx.ModelProto:
    """A QDQ convolution; keywords are ``ConvSpec``'s. Depthwise is ``group == channels``."""
    s, b = ConvSpec(**spec), Builder(seed)
    x, w, y = s.quantities(b)
    inputs = [b.real_input("x", (s.channels, *s.size), x), w.real(b, "w", 0)]
    if s.bias:
        inputs.append(w.bias(b, s.filters, x).real(b, "bias", 0))
    out = b.node("Conv", inputs, "conv", **s.attributes())
    return b.finish(b.qdq(after(b, out, s.then, y), y, "y"), rank=4)


def after(b: Builder, tensor: str, then: str | None, y: Q) -> str:
    """``tensor`` through the named activation, or as it is.

    ONNX Runtime drops a ReLU or Clip that its Q repeats. "ClipInside" ends inside the Q's range:
    ONNX Runtime then computes the convolution in float32 (FusedConv).
    """
    if then in ("Clip", "ClipInside"):
        high = (y.info.max - y.zero_point) * y.scale * (0.3 if then == "ClipInside" else 1.0)
        limits = [b.constant("low", np.float32(0)), b.constant("high", np.float32(high))]
        return b.node("Clip", [tensor, *limits], "clip")
    return tensor if then is None else b.node(then, [tensor], then.lower())


def gemm(seed: int = 0, **spec: Any) -> onnx.ModelProto:
    """A QDQ Gemm (ONNX Runtime: QGemm); keywords are ``DenseSpec``'s."""
    s, b = DenseSpec(**spec), Builder(seed)
    x, w, y = s.quantities(b)
    inputs = [b.real_input("x", (s.features,), x), w.real(b, "w", 0 if s.trans_b else 1)]
    if s.bias:
        inputs.append(w.bias(b, s.units, x).real(b, "bias", 0))
    out = b.node("Gemm", inputs, "gemm", transB=int(s.trans_b))
    return b.finish(b.qdq(after(b, out, s.then, y), y, "y"), rank=2)


def matmul(seed: int = 0, **spec: Any) -> onnx.ModelProto:
    """A QDQ MatMul (ONNX Runtime: QLinearMatMul); keywords are ``DenseSpec``'s, no bias."""
    s, b = DenseSpec(**spec), Builder(seed)
    x, w, y = s.quantities(b)
    inputs = [b.real_input("x", (s.features,), x), w.real(b, "w", 1)]
    out = b.node("MatMul", inputs, "matmul")
    return b.finish(b.qdq(out, y, "y"), rank=2)


def add(seed: int = 0, *, dtype: str = "uint8", pow2: bool = False) -> onnx.ModelProto:
    """A QDQ Add of two inputs of unlike scales (ONNX Runtime: QLinearAdd)."""
    b, (x, other, y) = Builder(seed), two_sources(dtype, pow2=pow2)
    inputs = [b.real_input("x", SHAPE, x), b.real_input("b", SHAPE, other)]
    return b.finish(b.qdq(b.node("Add", inputs, "add"), y, "y"), rank=4)


def concat(
    seed: int = 0, *, dtype: str = "uint8", pow2: bool = False, equal: bool = False, axis: int = 1
) -> onnx.ModelProto:
    """A QDQ Concat (ONNX Runtime: QLinearConcat); ``equal`` gives all tensors one scale."""
    b, (x, other, y) = Builder(seed), two_sources(dtype, pow2=pow2)
    if equal:
        other = y = x
    inputs = [b.real_input("x", SHAPE, x), b.real_input("b", SHAPE, other)]
    return b.finish(b.qdq(b.node("Concat", inputs, "concat", axis=axis), y, "y"), rank=4)


def pool(
    op: str,
    seed: int = 0,
    *,
    dtype: str = "uint8",
    pow2: bool = False,
    equal: bool = False,
    size: tuple[int, int] = (8, 6),
    **attributes: Any,
) -> onnx.ModelProto:
    """A QDQ ``MaxPool``, ``AveragePool`` or ``GlobalAveragePool``; attributes are ONNX's.

    A MaxPool has equal scales on both sides always: it only moves codes.
    """
    b, (x, _, y) = Builder(seed), two_sources(dtype, pow2=pow2)
    y = x if equal or op == "MaxPool" else replace(y, scale=y.scale / (4 if "Global" in op else 2))
    if op != "GlobalAveragePool":
        attributes = {"kernel_shape": (2, 2), "strides": (2, 2)} | attributes
    out = b.node(op, [b.real_input("x", (4, *size), x)], "pool", **attributes)
    return b.finish(b.qdq(out, y, "y"), rank=4)


def unary(
    op: str, seed: int = 0, *, dtype: str = "uint8", pow2: bool = False, **attributes: Any
) -> onnx.ModelProto:
    """A QDQ function of one code: a key of ``UNARY``; attributes are ONNX's."""
    b = Builder(seed)
    x = source(dtype, pow2=pow2)
    scale, zero_point = UNARY[op]
    y = activation(dtype, scale=scale if pow2 else scale * 1.013, zero_point=zero_point)
    inputs = [b.real_input("x", SHAPE, x)]
    if op == "Clip":
        inputs += [b.constant("low", np.float32(-0.6)), b.constant("high", np.float32(0.9))]
    return b.finish(b.qdq(b.node(op, inputs, "unary", **attributes), y, "y"), rank=4)


# Output scale and zero point (from the middle of the range) that suit each function.
UNARY = {
    "Clip": (2.0**-7, 11),
    "Elu": (2.0**-5, -61),
    "HardSigmoid": (2.0**-8, -127),
    "LeakyRelu": (2.0**-5, -61),
    "Relu": (2.0**-5, -127),
    "Sigmoid": (2.0**-8, -127),
    "Tanh": (2.0**-7, 5),
}
