"""gemmlowp's fixed-point functions, for the tables that the reference kernels amount to.

Source: gemmlowp `fixedpoint.h`, TensorFlow Lite `quantization_util.cc`.
"""

from __future__ import annotations

import math

import numpy as np

from hwsim.ops.base import IntArray
from hwsim.ops.fixed_point import divide_by_power, high_product

INTEGER_BITS = 5  # of a scaled distance
RANGE = 31.0  # distances beyond it, in units of the exponential, give 0
ROUGH_EXP = 1895147668  # exp(-1/8), 31 fraction bits
THIRD = 715827883
BARREL = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)
"""exp(-2**k) for k from -2 on, 31 fraction bits."""


def multiplier(value: float) -> tuple[int, int]:
    """A real as `m * 2**(shift - 31)` with m of 31 bits."""
    fraction, shift = math.frexp(value)
    m = math.floor(fraction * 2**31 + 0.5)
    return (m // 2, shift + 1) if m == 2**31 else (m, shift)


def divided(values: IntArray, right: int) -> IntArray:
    """By a power of two, ties away from zero."""
    return np.asarray(divide_by_power(np, values, np.array(right)), np.int64)


def _high(a: IntArray, b: IntArray | int) -> IntArray:
    return np.asarray(high_product(np, a, np.asarray(b, np.int64)), np.int64)


def exp_on_negative(values: IntArray, integer_bits: int) -> IntArray:
    """exp of values of 0 or less with so many integer bits; 31 fraction bits."""
    fraction = 31 - integer_bits
    quarter = 1 << fraction - 2
    rest = (values & quarter - 1) - quarter
    x = (rest << integer_bits) + (1 << 28)
    square = _high(x, x)
    cube, fourth = _high(square, x), _high(square, square)
    inner = divided(_high(divided(fourth, 2) + cube, THIRD) + square, 1)
    result = ROUGH_EXP + _high(x + inner, ROUGH_EXP)
    remainder = rest - values
    for exponent, factor in zip(range(-2, 5), BARREL, strict=True):
        if integer_bits > exponent:
            taken = (remainder & (1 << fraction + exponent)) != 0
            result = np.where(taken, _high(result, factor), result)
    return np.asarray(np.where(values == 0, 2**31 - 1, result), np.int64)


def exponentials(scale: float, beta: float) -> IntArray:
    """The terms of a softmax for distances of 0 to 255 from the largest code; 31 fraction bits."""
    m, left = multiplier(min(beta * scale * 2.0 ** (31 - INTEGER_BITS), 2.0**31 - 1))
    least = -math.floor(RANGE * 2.0 ** (31 - INTEGER_BITS) / 2.0**left)
    distance = -np.arange(256, dtype=np.int64)
    near = distance >= least
    scaled = _high(np.where(near, distance, 0) << left, m)
    return np.asarray(np.where(near, exp_on_negative(scaled, INTEGER_BITS), 0), np.int64)


def reciprocal(a: IntArray) -> IntArray:
    """1 / (1 + a) for a from 0 to 1 with 31 fraction bits, by three Newton steps; 29 of them."""
    half = (a + 2**31) >> 1
    x = 1515870810 + _high(half, -1010580540)
    for _ in range(3):
        x = x + shifted(_high(x, 2**29 - _high(half, x)), 2)
    return x


def shifted(x: IntArray, left: int) -> IntArray:
    """A left shift that saturates at 32 bits."""
    limit = (1 << 31 - left) - 1
    clipped = np.where(x < -limit, -(2**31), x << left)
    return np.where(x > limit, 2**31 - 1, clipped)


def tanh(x: IntArray, scale: float) -> IntArray:
    """tanh of codes without their zero point, 7 fraction bits: TensorFlow Lite Micro's."""
    fine = scale * 2.0**27
    m, left = multiplier(fine)
    radius = math.floor(15 * 2.0**27 / 2.0 ** math.frexp(fine)[1])
    inside = np.abs(x) < radius
    held = np.where(inside, x, 0)
    scaled = divided(_high(held << max(left, 0), m), max(-left, 0))
    positive = shifted(reciprocal(exp_on_negative(-np.abs(scaled), 5)) - 2**29, 2)
    signed = np.where(scaled == 0, 0, np.where(scaled < 0, -positive, positive))
    codes = np.clip(divided(signed, 24), -128, 127)
    return np.where(inside, codes, np.where(x > 0, 127, -128))
