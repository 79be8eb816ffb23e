"""Between two ends: the float32 arithmetic by which the plugin makes places of reals, and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hwsim.frontends.shared.values import FloatArray
from hwsim.ops.base import IntArray

F32 = np.float32
ALIKE = 5e-5
"""How near all offsets of channels must be to the first one for the plugin to take that for all."""
NOTHING = 1e-5
"""An offset that is smaller, as a share of the range of places, is none."""
SYMMETRIC = -128 / 127
NEARLY = 0.002
"""How far the ends' ratio may be from that of int8 for the plugin to take int8."""


def fused(values: FloatArray, factor: Any, offset: Any) -> FloatArray:
    """A product and a sum that are rounded to float32 at once.

    In float64 the product is exact; the sum's own rounding decides of one in about 2**29 near ties.
    """
    wide = np.asarray(values, F32).astype(np.float64)
    return np.asarray(wide * np.float64(factor) + np.float64(offset)).astype(F32)


def factor_and_offset(
    low: FloatArray, high: FloatArray, levels: int
) -> tuple[FloatArray, FloatArray]:
    """What makes places of reals between two ends, in the plugin's order of roundings."""
    top = F32(levels - 1)
    with np.errstate(all="ignore"):
        return np.asarray(top / (high - low), F32), np.asarray(-low * top / (high - low), F32)


@dataclass(frozen=True, slots=True, eq=False)
class KernelLine:
    """The end of a layer's kernel: a factor and an offset, for all channels or for each.

    Places count from `lowest`, -128 where the plugin takes int8. `last` says that the kernel then
    gives integers, so that a factor alone is the reciprocal of what it divides by.
    """

    factor: FloatArray
    offset: FloatArray
    levels: int
    lowest: int = 0
    last: bool = True

    @classmethod
    def between(
        cls,
        low: FloatArray,
        high: FloatArray,
        levels: int,
        *,
        lowest: int = 0,
        last: bool = True,
    ) -> KernelLine:
        """With the plugin's own simplifications."""
        factor, offset = factor_and_offset(low, high, levels)
        if offset.size > 1 and (np.abs(offset - offset[0]) < ALIKE).all():
            offset = offset[:1]
        factor, offset = (x[:1] if (x == x[0]).all() else x for x in (factor, offset))
        offset = offset + F32(lowest)
        if offset.size == 1 and abs(float(offset[0])) < (levels - 1) * NOTHING:
            offset = np.zeros(1, F32)
        return cls(factor, offset, levels, lowest, last)

    @property
    def plain(self) -> bool:
        """Whether it is one for all channels."""
        return self.factor.size == self.offset.size == 1

    def places(self, values: FloatArray) -> IntArray:
        """Places from 0 on of float32 values."""
        with np.errstate(over="ignore"):
            if not self.plain:
                return self.rounded(values * self.factor + self.offset)
            if self.offset[0]:
                return self.rounded(fused(values, self.factor, self.offset))
            return self.rounded(values * (again(self.factor) if self.last else self.factor))

    def rounded(self, steps: FloatArray) -> IntArray:
        """The nearest whole numbers, the even one of two, and no others than there are."""
        wide = np.clip(np.rint(steps), self.lowest, self.lowest + self.levels - 1)
        return np.asarray(wide - self.lowest, np.int64)

    def weighted(self, sums: FloatArray, scale: FloatArray, bias: FloatArray) -> IntArray:
        """Of whole numbers times `scale` plus `bias`, into which a dense layer takes the line."""
        scale, bias = scale * self.factor, bias * self.factor + self.offset
        return self.rounded(sums * scale + bias)


def again(factor: FloatArray) -> FloatArray:
    """The reciprocal of the reciprocal."""
    return np.asarray(F32(1) / (F32(1) / factor))


def is_signed(least: np.float32, most: np.float32, levels: int) -> bool:
    """Whether the plugin takes int8 without a zero point for codes between these ends."""
    ratio = SYMMETRIC if levels == 256 else -1.0
    return bool(least < 0 < most) and abs(float(least) / float(most) - ratio) < NEARLY


def shift_of(least: np.float32, most: np.float32, levels: int) -> np.float32:
    """The place of 0 as the plugin computes it, a whole number but for its rounding."""
    return np.float32(-(F32(levels - 1) * least) / (most - least) + F32(0))


def whole_again(least: np.float32, most: np.float32, levels: int) -> tuple[np.float32, np.float32]:
    """The lowest real and the step of a quantizer that was taken apart and put together again."""
    top = F32(levels - 1)
    step = (most - least) / top
    if is_signed(least, most, levels):
        lowest = F32(-128 if levels == 256 else -127)
        low, high = lowest * step, F32(127) * step
    else:
        shift = shift_of(least, most, levels)
        low, high = (F32(0) - shift) * step, (top - shift) * step
    return low, (high - low) / top
