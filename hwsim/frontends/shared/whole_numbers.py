"""Floats that are whole numbers of a step: of a power of two, or of any float32."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hwsim.frontends.shared.values import FloatArray
from hwsim.ops.base import IntArray

Reals = npt.NDArray[np.float64]

FLOAT_BITS = 24  # of a float32's significand
MOST_APART = 62
MOST_BITS = 24  # of the whole numbers of any step
SMALLEST = range(1, 128)  # what the smallest number of all may be


def whole_numbers(values: FloatArray) -> tuple[IntArray, int] | None:
    """Float32 numbers as whole numbers of `2**power`, the largest power that holds them all.

    None where they are too far apart for int64.
    """
    fraction, exponent = np.frexp(values.astype(np.float64))
    significands = np.rint(fraction * 2.0**FLOAT_BITS).astype(np.int64)
    there = significands != 0
    if not there.any():
        return np.zeros(values.shape, np.int64), 0
    held = significands[there]
    powers = exponent[there] - FLOAT_BITS + np.log2((held & -held).astype(np.float64)).astype(int)
    power, top = int(powers.min()), int(exponent[there].max())
    if top - power > MOST_APART:
        return None
    return np.rint(np.ldexp(values.astype(np.float64), -power)).astype(np.int64), power


def in_steps(values: FloatArray) -> tuple[IntArray, np.float32] | None:
    """Float32 numbers as `float32(whole number * step)` for some step; None if they are not.

    The largest step of those that make the smallest number at most the last of SMALLEST.
    """
    different = np.unique(np.abs(values)).astype(np.float64)
    different = different[different > 0]
    if not different.size:
        return np.zeros(values.shape, np.int64), np.float32(1)
    low, high = (
        0.5 * (different + np.nextafter(different.astype(np.float32), np.float32(end)))
        for end in (0, np.inf)
    )
    for smallest in SMALLEST:
        counts = np.rint(different * (smallest / different[0]))
        if counts[-1] >= 2.0**MOST_BITS:
            return None
        between = float((low / counts).max()), float((high / counts).min())
        middle = np.float32((between[0] + between[1]) / 2)
        near = (middle, *(np.nextafter(middle, np.float32(end)) for end in (0, np.inf)))
        step = next((s for s in near if _are(counts, s, different)), None)
        if step is not None:
            return np.rint(values.astype(np.float64) / float(step)).astype(np.int64), step
    return None


def _are(counts: Reals, step: np.float32, values: Reals) -> bool:
    return np.array_equal(counts.astype(np.float32) * step, values.astype(np.float32))
