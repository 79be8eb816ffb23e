"""Functions of a float32 exactly as ONNX Runtime 1.32 computes them on x86-64 with FMA.

Each was compared bit for bit with the runtime. Sources: ONNX operator definitions, and those of
`hwsim/float_functions.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hwsim import float_functions
from hwsim.frontends.shared.fused import fma
from hwsim.frontends.shared.values import FloatArray

F32 = np.float32


def horner(x: FloatArray, coefficients: Sequence[float]) -> FloatArray:
    """A polynomial by fused multiply-adds, the highest power's coefficient first."""
    total: FloatArray = np.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        total = fma(total, x, F32(coefficient))
    return total


def unit(x: FloatArray) -> FloatArray:
    """x, kept from 0 to 1."""
    out: FloatArray = np.clip(x, F32(0), F32(1))
    return out


def sigmoid(x: FloatArray) -> FloatArray:
    """MLAS's logistic function."""
    out: FloatArray = float_functions.sigmoid(np, np.asarray(x, F32))
    return out


def tanh(x: FloatArray) -> FloatArray:
    """MLAS's hyperbolic tangent."""
    out: FloatArray = float_functions.tanh(np, np.asarray(x, F32))
    return out


def hard_sigmoid(x: FloatArray, alpha: float, beta: float) -> FloatArray:
    """max(0, min(1, alpha * x + beta))."""
    return unit(F32(alpha) * x + F32(beta))


def hard_swish(x: FloatArray) -> FloatArray:
    """x * max(0, min(1, x / 6 + 1/2))."""
    return x * hard_sigmoid(x, 1 / 6, 0.5)


def leaky_relu(x: FloatArray, alpha: float) -> FloatArray:
    """x, or alpha * x below 0."""
    return np.where(x >= 0, x, F32(alpha) * x)


def quantize_linear(x: FloatArray, scale: float, zero_point: int, low: int, high: int) -> Any:
    """QuantizeLinear: float32 quotient, to nearest even, then the zero point, saturated (int64).

    What is no number gets the lowest code.
    """
    with np.errstate(over="ignore"):
        ratio = np.asarray(x, np.float32) / F32(scale)
    ratio = np.where(np.isnan(ratio), F32(-np.inf), ratio)
    whole = np.clip(np.rint(ratio), low - zero_point, high - zero_point)
    return whole.astype(np.int64) + zero_point
