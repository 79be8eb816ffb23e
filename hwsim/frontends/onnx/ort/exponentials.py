"""Exponentials, logarithms and what is made of them, as ONNX Runtime 1.32 computes them on x86-64.

Each was compared bit for bit with the runtime. Exp and Erf are MLAS's (`compute.cpp`, `erf.cpp`),
with fused multiply-adds; the exponential inside of Elu, Selu, Celu and Softplus and the logarithm
are Eigen's (`GenericPacketMathFunctions.h`), without. Eigen takes elements four by four: of a
tensor whose size is no multiple of 4 the last ones come from the C library, and may differ in
their last bit.
"""

from __future__ import annotations

import numpy as np

from hwsim.frontends.onnx.ort.float_math import horner, sigmoid, tanh
from hwsim.frontends.shared.fused import fma
from hwsim.frontends.shared.values import FloatArray

F32 = np.float32
ONE, HALF = F32(1), F32(0.5)
LOG2_E, SHIFTER = F32(1.44269504088896341), F32(12582912)  # 1.5 * 2**23 rounds to whole numbers
LN2_PARTS = F32(-6.93145752e-1), F32(-1.42860677e-6)
EXP = tuple(float.fromhex(c) for c in (
    "0x1.694000p-10", "0x1.125edcp-7", "0x1.555b5ap-5", "0x1.555450p-3", "0x1.fffff6p-2", "0x1p0",
    "0x1p0",
))  # fmt: skip
ERF_EXP = (
    1.38319808e-3, 8.37550033e-3, 4.16689515e-2, 1.66664466e-1, 4.99999851e-1, 1.0, 1.0,
)  # fmt: skip
ERF_SMALL = (
    -5.99104969e-4, 4.99339588e-3, -2.67667342e-2, 1.12818025e-1, -3.76124859e-1, 1.28379151e-1,
)  # fmt: skip
ERF_LARGE = (
    1.72948930e-5, -3.83208680e-4, 3.88393435e-3, -2.42545605e-2, 1.06777847e-1, 6.34846687e-1,
    1.28717512e-1,
)  # fmt: skip
ERF_SPLIT, ERF_TOP = F32(0.921875), F32(3.925)


def exp(x: FloatArray) -> FloatArray:
    """Exp."""
    return _exp(np.clip(x, F32(-103.9720840454), F32(88.7762626647950)), EXP)


def _exp(x: FloatArray, coefficients: tuple[float, ...]) -> FloatArray:
    """2**m times a polynomial of what is left."""
    whole = fma(x, LOG2_E, SHIFTER) - SHIFTER
    rest = fma(whole, LN2_PARTS[1], fma(whole, LN2_PARTS[0], x))
    return _by_power_of_two(horner(rest, coefficients), whole)


def _by_power_of_two(x: FloatArray, whole: FloatArray) -> FloatArray:
    """x * 2**whole, rounded once where that is below the smallest normal number."""
    out: FloatArray = np.ldexp(x.astype(np.float64), whole.astype(np.int64)).astype(np.float32)
    return out


def erf(x: FloatArray) -> FloatArray:
    """Erf."""
    size = np.minimum(np.abs(x), ERF_TOP)
    small = fma(horner(size * size, ERF_SMALL), size, size)
    large = fma(horner(size, ERF_LARGE), size, size)
    found = np.where(size > ERF_SPLIT, ONE - _exp(-large, ERF_EXP), small)
    out: FloatArray = np.copysign(found, x).astype(np.float32)
    return out


def gelu(x: FloatArray) -> FloatArray:
    """Gelu by the error function."""
    return HALF * x * (erf(x * F32(0.70710678118654752440)) + ONE)


def gelu_tanh(x: FloatArray) -> FloatArray:
    """Gelu by the hyperbolic tangent; FastGelu."""
    inner = x * (F32(0.035677408136300125) * x * x + F32(0.7978845608028654))
    return HALF * x * (tanh(inner) + ONE)


def quick_gelu(x: FloatArray, alpha: float) -> FloatArray:
    """x * sigmoid(alpha * x); SiLU with an alpha of 1."""
    return x * sigmoid(F32(alpha) * x)


def packet_exp(x: FloatArray) -> FloatArray:
    """Eigen's exponential."""
    x = np.clip(x, F32(-104), F32(88.723))
    whole = np.floor(x * LOG2_E + HALF)
    rest = whole * F32(2.12194440e-4) + (whole * F32(-0.693359375) + x)
    square = rest * rest
    even = square * F32(1.37449637986719608306884765625e-3) + F32(4.166965186595916748046875e-2)
    odd = square * F32(8.36894474923610687255859375e-3) + F32(0.16666518151760101318359375)
    even = square * even + F32(0.49999988079071044921875)
    return _by_power_of_two(square * (rest * odd + even) + (rest + ONE), whole)


def log(x: FloatArray) -> FloatArray:
    """Log: that of 0 is minus infinity, of infinity itself, of what is below 0 no number."""
    part, power = np.frexp(np.maximum(x, np.finfo(np.float32).tiny))
    below = part < F32(0.707106781186547524)
    y = (part - ONE) + np.where(below, part, F32(0))
    top = y * F32(0.18256296349849254) + F32(1.0000000190281063)
    top = y * (y * top + F32(1.0000000190281136))
    bottom = y * F32(0.049616247954120038) + F32(0.59923249590823520)
    bottom = y * (y * bottom + F32(1.4999999999999927)) + ONE
    found = (power - below).astype(np.float32) * F32(0.6931471805599453) + top / bottom
    found = np.where(x == np.inf, x, found)
    out: FloatArray = np.where(x > 0, found, np.where(x == 0, F32(-np.inf), F32(np.nan)))
    return out


def log1p(x: FloatArray) -> FloatArray:
    """log(1 + x) of what is not below 0: a logarithm whose argument's rounding is made good."""
    total = ONE + x
    kept = np.where(total == ONE, F32(2), total) - ONE
    out: FloatArray = np.where(total == ONE, x, x * (log(total) / kept))
    return out


def softplus(x: FloatArray) -> FloatArray:
    """Softplus."""
    return np.maximum(x, F32(0)) + log1p(packet_exp(-np.abs(x)))


def elu(x: FloatArray, alpha: float) -> FloatArray:
    """x, or alpha * (exp(x) - 1) below 0."""
    out: FloatArray = np.where(x >= 0, x, F32(alpha) * (packet_exp(x) - ONE))
    return out


def celu(x: FloatArray, alpha: float) -> FloatArray:
    """max(0, x) + min(0, alpha * (exp(x / alpha) - 1))."""
    below = F32(alpha) * elu(x / F32(alpha), 1.0)
    out: FloatArray = np.maximum(x, F32(0)) + np.minimum(F32(0), below)
    return out


def selu(x: FloatArray, alpha: float, gamma: float) -> FloatArray:
    """gamma times x, or alpha * gamma times exp(x) - 1 below 0."""
    below = F32(gamma) * F32(alpha) * (packet_exp(x) - ONE)
    out: FloatArray = np.where(x > 0, F32(gamma) * x, below)
    return out


def softsign(x: FloatArray) -> FloatArray:
    """x / (1 + |x|), by a reciprocal."""
    return ONE / (ONE + np.abs(x)) * x


def power(x: FloatArray, exponent: float, *, multiplies: bool = True) -> FloatArray:
    """Pow: small whole exponents multiply, if wanted; others are rounded once here."""
    if multiplies and exponent in (2.0, 3.0):
        return x * x if exponent == 2.0 else x * x * x
    out: FloatArray = np.power(x.astype(np.float64), float(exponent)).astype(np.float32)
    return out
