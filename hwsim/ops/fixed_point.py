"""Fixed-point arithmetic of 32 and 16 bits in int64: products, roundings, gemmlowp's reciprocal."""

from __future__ import annotations

from typing import Any

import numpy as np

from hwsim.fixed import Array, Namespace
from hwsim.ops.base import Constants

LIMB = 31  # low bits of a sum whose product with a 31-bit multiplier passes int64
FIRST_RECIPROCAL = (1515870810, -1010580540)  # 48/17 and -32/17, 29 fraction bits
NEWTON_STEPS = 3
LIMBS_BOUND = (1 << 62) + (1 << 33)  # no whole number met in two limbs is larger


def limb_shifts(right: np.ndarray[Any, Any]) -> Constants:
    """Half steps and shifts, channel by channel, of the two limbs of a product."""
    low, high = np.minimum(right, LIMB), np.maximum(right - LIMB, 0)
    return {
        "low_half": np.where(right <= LIMB, 1 << (low - 1), 0),
        "high_half": np.where(high > 0, 1 << np.maximum(high - 1, 0), 0),
        "low_right": low,
        "high_left": LIMB - low,
        "high_right": high,
        "most": 1 << (62 - (LIMB - low)),
    }


def wide_product(xp: Namespace, x: Array, k: Constants) -> Array:
    """`x * m` of up to 93 bits, rounded with ties up and kept to 62 bits: two limbs in int64."""
    mask = (1 << LIMB) - 1
    low = (x & mask) * k["m"]
    high = (x >> LIMB) * k["m"] + (low >> LIMB) + k["high_half"]
    low = (low & mask) + k["low_half"]
    high = xp.clip(high + (low >> LIMB), -k["most"], k["most"])
    low = low & mask
    return ((high << k["high_left"]) >> k["high_right"]) + (low >> k["low_right"])


def high_product(xp: Namespace, a: Array, m: Array) -> Array:
    """gemmlowp's saturating rounding doubling high multiplication of 32-bit values, in int64."""
    product = a * m
    negative = xp.astype(product < 0, xp.int64)
    nudged = product + (1 << 30) + negative * (1 - (1 << 31))
    quotient = xp.abs(nudged) >> 31
    return xp.where(nudged < 0, -quotient, quotient)


def divide_by_power(xp: Namespace, x: Array, right: Array) -> Array:
    """gemmlowp's rounding division by a power of two: ties away from zero."""
    mask = (1 << right) - 1
    threshold = (mask >> 1) + xp.astype(x < 0, xp.int64)
    return (x >> right) + xp.astype((x & mask) > threshold, xp.int64)


def half_product(xp: Namespace, a: Array, b: Array, width: int = 32) -> Array:
    """The rounding doubling high product of numbers of `width` bits, ties up."""
    return (a * b + (1 << width - 2)) >> width - 1


def saturating_left(xp: Namespace, x: Array, left: int, width: int = 32) -> Array:
    """A left shift that saturates at `width` bits."""
    limit = (1 << width - 1 - left) - 1
    shifted = xp.clip(x, -limit - 1, limit + 1) << left
    return xp.clip(shifted, -(1 << width - 1), (1 << width - 1) - 1)


def rounded_constant(value: int, width: int) -> int:
    """A constant of 32 bits with `width`, ties away from zero."""
    drop = 32 - width
    size = (abs(value) + (1 << drop >> 1)) >> drop
    return size if value >= 0 else -size


def reciprocal_of_half(xp: Namespace, half: Array, width: int = 32) -> Array:
    """1 / (2 * half) for halves from 1/2 to 1, with `width - 1` fraction bits; `width - 3` of them.

    Three Newton steps from `48/17 - 32/17 * half` (gemmlowp, one_over_one_plus_x_for_x_in_0_1).
    """
    first, slope = (rounded_constant(value, width) for value in FIRST_RECIPROCAL)
    x = first + half_product(xp, half, xp.full_like(half, slope), width)
    for _ in range(NEWTON_STEPS):
        rest = (1 << width - 3) - half_product(xp, half, x, width)
        x = x + saturating_left(xp, half_product(xp, x, rest, width), 2, width)
    return x
