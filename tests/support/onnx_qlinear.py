"""Synthetic ONNX models of one integer operator (QLinearConv, QGemm, ...) each; see onnx_models.

They run between float ends (QuantizeLinear, DequantizeLinear) or, with ``ends=False``, on integer
ports. ONNX Runtime has no kernels for int8 inputs with uint8 weights.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import onnx

from support.onnx_builder import MICROSOFT, Builder, Q
from support.onnx_specs import SHAPE, ConvSpec, DenseSpec, two_sources


def qlinear_conv(seed: int = 0, *, ends: bool = True, **spec: Any) -> onnx.ModelProto:
    """A QLinearConv; keywords are ``ConvSpec``'s (``then`` is not used)."""
    s, b = ConvSpec(**spec), Builder(seed)
    x, w, y = s.quantities(b)
    inputs = [*b.code_input("x", (s.channels, *s.size), x, ends=ends), *w.add(b, "w")]
    inputs += b.parameters("y", y)
    if s.bias:
        inputs.append(b.constant("bias", w.bias(b, s.filters, x).codes))
    return finish_codes(b, b.node("QLinearConv", inputs, "y_q", **s.attributes()), y, ends, rank=4)


def finish_codes(b: Builder, code: str, y: Q, ends: bool, *, rank: int) -> onnx.ModelProto:
    """End the model with a DequantizeLinear (the parameters exist) or with the codes."""
    if not ends:
        return b.finish(code, rank=rank, dtype=y.dtype)
    out = b.node("DequantizeLinear", [code, "y_scale", "y_zero_point"], "y")
    return b.finish(out, rank=rank)


def qlinear_matmul(seed: int = 0, *, ends: bool = True, **spec: Any) -> onnx.ModelProto:
    """A QLinearMatMul; keywords are ``DenseSpec``'s, no bias."""
    s, b = DenseSpec(**spec), Builder(seed)
    x, w, y = s.quantities(b)
    inputs = [*b.code_input("x", (s.features,), x, ends=ends), *w.add(b, "w")]
    code = b.node("QLinearMatMul", [*inputs, *b.parameters("y", y)], "y_q")
    return finish_codes(b, code, y, ends, rank=2)


def qgemm(seed: int = 0, *, ends: bool = True, **spec: Any) -> onnx.ModelProto:
    """A com.microsoft QGemm; keywords are ``DenseSpec``'s."""
    s, b = DenseSpec(**spec), Builder(seed)
    x, w, y = s.quantities(b)
    inputs = [*b.code_input("x", (s.features,), x, ends=ends), *w.add(b, "w")]
    inputs.append(b.constant("bias", w.bias(b, s.units, x).codes) if s.bias else "")
    inputs += b.parameters("y", y)
    code = b.node("QGemm", inputs, "y_q", domain=MICROSOFT, transB=int(s.trans_b), alpha=1.0)
    return finish_codes(b, code, y, ends, rank=2)


def qlinear_add(
    seed: int = 0, *, ends: bool = True, dtype: str = "uint8", pow2: bool = False
) -> onnx.ModelProto:
    """A com.microsoft QLinearAdd."""
    b, (x, other, y) = Builder(seed), two_sources(dtype, pow2=pow2)
    inputs = b.code_input("x", SHAPE, x, ends=ends) + b.code_input("b", SHAPE, other, ends=ends)
    inputs += b.parameters("y", y)
    return finish_codes(b, b.node("QLinearAdd", inputs, "y_q", domain=MICROSOFT), y, ends, rank=4)


def qlinear_concat(
    seed: int = 0, *, ends: bool = True, dtype: str = "uint8", pow2: bool = False
) -> onnx.ModelProto:
    """A com.microsoft QLinearConcat along the channels."""
    b, (x, other, y) = Builder(seed), two_sources(dtype, pow2=pow2)
    inputs = [*b.parameters("y", y), *b.code_input("x", SHAPE, x, ends=ends)]
    inputs += b.code_input("b", SHAPE, other, ends=ends)
    code = b.node("QLinearConcat", inputs, "y_q", domain=MICROSOFT, axis=1)
    return finish_codes(b, code, y, ends, rank=4)


def qlinear_pool(
    op: str,
    seed: int = 0,
    *,
    ends: bool = True,
    dtype: str = "uint8",
    pow2: bool = False,
    **attributes: Any,
) -> onnx.ModelProto:
    """A com.microsoft ``QLinearAveragePool`` or ``QLinearGlobalAveragePool`` (NCHW)."""
    b, (x, _, y) = Builder(seed), two_sources(dtype, pow2=pow2)
    y = replace(y, scale=y.scale / (4 if "Global" in op else 2))
    if op == "QLinearAveragePool":
        attributes = {"kernel_shape": (2, 2), "strides": (2, 2)} | attributes
    inputs = [*b.code_input("x", (4, 8, 6), x, ends=ends), *b.parameters("y", y)]
    code = b.node(op, inputs, "y_q", domain=MICROSOFT, **attributes)
    return finish_codes(b, code, y, ends, rank=4)
