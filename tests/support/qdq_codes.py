"""Random networks of operators on codes: QLinearConv and others."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from support.onnx_builder import MICROSOFT, Array, Q
from support.qdq_blocks import max_pooled
from support.qdq_network import Network, Tensor, halved
from support.qdq_styles import Shape


def of_codes(n: Network, x: Tensor) -> onnx.ModelProto:
    """QLinear operators, and an end in codes or reals."""
    code, shape, q = x.code, x.shape, x.q
    for _ in range(int(n.rng.integers(1, 4))):
        block = n.pick(("conv", "conv", "add", "pool", "function", "average"))
        if block == "conv" or shape[0] == 0:
            code, shape, q = code_conv(n, code, shape, q)
        elif block == "add":
            other, _, p = code_conv(n, code, shape, q, same=True)
            code, q = code_op(n, "QLinearAdd", [(code, q), (other, p)], q.scale * 1.3)
        elif block == "pool" and min(shape[1:]) > 1:
            code, shape = max_pooled(n, code), halved(shape)
        elif block == "average" and min(shape[1:]) > 1:
            code, q = code_op(n, "QLinearAveragePool", [(code, q)], q.scale,
                                   kernel_shape=[2, 2], strides=[2, 2])  # fmt: skip
            shape = halved(shape)
        else:
            code, q = code_op(n, "QLinearLeakyRelu", [(code, q)], q.scale, alpha=0.1)
    if n.chance(0.6):
        code, q = code_op(n, "QLinearGlobalAveragePool", [(code, q)], q.scale / 2)
        code, shape = n.do("Flatten", code), shape[:1]
        code, shape, q = code_gemm(n, code, shape, q)
    if n.ports in ("both", "output"):
        return n.model((code, len(shape) + 1, q.dtype))
    real = n.do("DequantizeLinear", code, *n.given(q))
    return n.model((real, len(shape) + 1, "float32"))


def code_op(
    n: Network, op: str, inputs: list[tuple[str, Q]], scale: float, **attributes: Any
) -> tuple[str, Q]:
    y = n.quantity(scale)
    given = [name for code, q in inputs for name in (code, *n.given(q))]
    return n.do(op, *given, *n.given(y), domain=MICROSOFT, **attributes), y


def code_weights(n: Network, shape: tuple[int, ...], q: Q) -> tuple[list[str], str, Array]:
    """Weights with their parameters, an int32 bias, and what the sums' codes are worth."""
    w = n.weights(shape, shape[0] if n.per_channel else 1, pow2=n.pow2, dtype=n.weight_dtype)
    bias = n.rng.integers(-900, 900, shape[0]).astype(np.int32)
    names = w.add(n, n.new("w"))
    sums = (np.float32(q.scale) * w.scale).astype(np.float32)
    return names, n.constant(n.new("bias"), bias), sums


def code_conv(
    n: Network, code: str, shape: Shape, q: Q, same: bool = False
) -> tuple[str, Shape, Q]:
    out = shape[0] if same else int(n.rng.integers(2, 6))
    size = 1 if same or min(shape[1:]) < 3 else 3
    names, bias, sums = code_weights(n, (out, shape[0], size, size), q)
    y = n.quantity(n.spread(sums, size * size * shape[0]))
    inputs = [code, *n.given(q), *names, *n.given(y), bias]
    code = n.do("QLinearConv", *inputs, kernel_shape=[size, size])
    return code, (out, *(s - size + 1 for s in shape[1:])), y


def code_gemm(n: Network, code: str, shape: Shape, q: Q) -> tuple[str, Shape, Q]:
    names, bias, sums = code_weights(n, (5, shape[0]), q)
    y = n.quantity(n.spread(sums, shape[0]))
    inputs = [code, *n.given(q), *names, bias, *n.given(y)]
    return n.do("QGemm", *inputs, domain=MICROSOFT, transB=1, alpha=1.0), (5,), y
