"""Tables of the reference kernels and TensorFlow Lite Micro, by gemmlowp's 32-bit arithmetic.

Sources: TensorFlow Lite `quantization_util.cc`, `reference/softmax.h`; TensorFlow Lite Micro's
`tanh.cc`, `reference/integer_ops/logistic.h`.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError
from hwsim.frontends.tflite.fixed_point import LONG, divided
from hwsim.ops.base import IntArray

INTEGER_BITS = 5  # of a scaled distance
RANGE = 31.0  # distances beyond it, in units of the exponential, give 0
CURVE_BITS = 4  # of what the tangent and the logistic are taken


def multiplier(value: float) -> tuple[int, int]:
    """A real as `m * 2**(shift - 31)` with m of 31 bits; HwsimError where it is not finite."""
    if not math.isfinite(value):
        raise HwsimError(f"scales must have finite ratios, not {value}")
    fraction, shift = math.frexp(value)
    m = math.floor(fraction * 2**31 + 0.5)
    return (m // 2, shift + 1) if m == 2**31 else (m, shift)


def exponentials(scale: float, beta: float) -> IntArray:
    """The terms of a softmax for distances of 0 to 255 from the largest code; 31 fraction bits."""
    scaled, near = distances(scale, beta)
    return np.asarray(np.where(near, LONG.exp_on_negative(scaled, INTEGER_BITS), 0), np.int64)


def distances(scale: float, beta: float) -> tuple[IntArray, npt.NDArray[np.bool_]]:
    """Those distances, negative, in five integer bits, and which of them count."""
    m, left = multiplier(min(beta * scale * 2.0 ** (31 - INTEGER_BITS), 2.0**31 - 1))
    if left < 1:
        raise HwsimError(f"a softmax's scale times beta must be above 2**-26, not {scale * beta}")
    least = -math.floor(RANGE * 2.0 ** (31 - INTEGER_BITS) / 2.0**left)
    distance = -np.arange(256, dtype=np.int64)
    near = distance >= least
    return LONG.times(np.where(near, distance, 0) << left, m), near


def tanh(x: IntArray, scale: float) -> IntArray:
    """tanh of codes without their zero point, 7 fraction bits: TensorFlow Lite Micro's."""
    scaled, inside = _in_four_bits(x, scale)
    codes = np.clip(divided(LONG.tanh(scaled, CURVE_BITS), 24), -128, 127)
    return np.where(inside, codes, np.where(x > 0, 127, -128))


def logistic(x: IntArray, scale: float) -> IntArray:
    """1 / (1 + exp(-x)) of the same, 8 fraction bits from -128 on: TensorFlow Lite Micro's."""
    scaled, inside = _in_four_bits(x, scale)
    codes = np.clip(divided(LONG.logistic(scaled, CURVE_BITS), 23) - 128, -128, 127)
    return np.where(inside, codes, np.where(x > 0, 127, -128))


def _in_four_bits(x: IntArray, scale: float) -> tuple[IntArray, npt.NDArray[np.bool_]]:
    """Codes as numbers with four integer bits, and which of them lie where no curve is flat."""
    fine = scale * 2.0**27
    m, left = multiplier(fine)
    radius = math.floor(15 * 2.0**27 / 2.0 ** math.frexp(fine)[1])
    inside = np.abs(x) < radius
    held = np.where(inside, x, 0)
    return divided(LONG.times(held << max(left, 0), m), max(-left, 0)), inside
