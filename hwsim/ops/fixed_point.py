"""Products with a 31-bit multiplier and their roundings, as requantizers compute them in int64."""

from __future__ import annotations

from typing import Any

import numpy as np

from hwsim.fixed import Array, Namespace
from hwsim.ops.base import Constants

LIMB = 31  # low bits of a sum whose product with a 31-bit multiplier passes int64
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
