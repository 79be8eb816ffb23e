"""Float32 numbers from 0 up as codes: their bit patterns, which rise as the numbers do.

A bit pattern of at most 31 bits stands for `significand * 2**(exponent - 150)`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hwsim.fixed import Array, Format, Namespace
from hwsim.ops.base import IntArray

BITS = Format.uint(31)
"""The format of bit patterns."""

FRACTION = 23  # stored bits of a significand
LARGEST = 0x7F7FFFFF
SMALL = 2.0**-125
"""Sums of two float32 numbers are exact below it: whole multiples of the least one, of 24 bits."""
POWERS: npt.NDArray[np.float64] = 2.0 ** (np.maximum(np.arange(255), 1) - 150.0)
"""What the lowest bit of a significand is worth, by the exponent's bits."""


def patterns(values: npt.ArrayLike) -> IntArray:
    """The bit patterns of numbers from 0 up, rounded to float32."""
    held = np.asarray(values, np.float64).astype(np.float32)
    return held.view(np.int32).astype(np.int64)


def numbers_of(xp: Namespace, bits: Array, powers: Array) -> Array:
    """The numbers of bit patterns (int64), exact in float64; `powers` are POWERS."""
    exponent = bits >> FRACTION
    hidden = xp.astype(exponent > 0, xp.int64) << FRACTION
    significand = xp.astype((bits & ((1 << FRACTION) - 1)) + hidden, xp.float64)
    scale = xp.take(powers, xp.reshape(exponent, (-1,)), axis=0)
    return significand * xp.reshape(scale, bits.shape)


def bits_of(xp: Namespace, numbers: Array, powers: Array) -> Array:
    """The bit patterns of float32 numbers from 0 up, as int64; `powers` are POWERS."""
    wide = xp.reshape(xp.astype(numbers, xp.float64), (-1,))
    starts = powers[1:] * 2.0**FRACTION  # the least number of each exponent
    exponent = xp.astype(xp.searchsorted(starts, wide, side="right"), xp.int64)
    significand = xp.astype(wide / xp.take(powers, exponent, axis=0), xp.int64)
    hidden = xp.astype(exponent > 0, xp.int64) << FRACTION
    return xp.reshape((exponent << FRACTION) + significand - hidden, numbers.shape)
