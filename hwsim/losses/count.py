"""What casts do to codes, counted: wraps, saturations, lost bits, and what would lose nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from hwsim.fixed import Format, Overflow, Rounding, shift_round
from hwsim.ops.base import IntArray


@dataclass(frozen=True, slots=True)
class Extent:
    """The least and the largest of some reals, and the fraction bits that hold all of them.

    `grain` is None where all of them are 0; it may be negative.
    """

    low: Fraction
    high: Fraction
    grain: int | None

    @classmethod
    def of(cls, codes: IntArray, frac_bits: int) -> Extent:
        """Of codes with so many fraction bits; there must be one at least."""
        bits = int(np.bitwise_or.reduce(np.abs(codes), axis=None))
        grain = frac_bits - ((bits & -bits).bit_length() - 1) if bits else None
        unit = Fraction(2) ** -frac_bits
        return cls(int(codes.min()) * unit, int(codes.max()) * unit, grain)

    @classmethod
    def between(cls, low: int, high: int, frac_bits: int) -> Extent:
        """Of all codes from `low` to `high`."""
        unit = Fraction(2) ** -frac_bits
        return cls(low * unit, high * unit, frac_bits)

    def __or__(self, other: Extent) -> Extent:
        grains = [grain for grain in (self.grain, other.grain) if grain is not None]
        ends = min(self.low, other.low), max(self.high, other.high)
        return Extent(*ends, max(grains, default=None))

    def format(self, frac_bits: int | None = None, *, signed: bool = False) -> Format:
        """The narrowest format that loses nothing, or one of so many fraction bits that holds all.

        It is signed where there are numbers below 0, or where that is asked for.
        """
        if frac_bits is None:
            frac_bits = 0 if self.grain is None else self.grain
        unit = Fraction(2) ** frac_bits
        low, high = math.floor(self.low * unit), math.ceil(self.high * unit)
        return Format.holding(min(low, -1 if signed else 0), high, frac_bits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """What happened to numbers that were assigned to a format.

    `wrapped` came back at the other end, `saturated` stopped at an end, `zeroed` became 0 because
    they were out of range, `clamped` stopped at the end of a table, `rounded` lost fraction bits
    that were not 0, `loss` (a real) at most.
    """

    codes: int = 0
    wrapped: int = 0
    saturated: int = 0
    zeroed: int = 0
    clamped: int = 0
    rounded: int = 0
    loss: float = 0.0
    extent: Extent | None = None

    def __add__(self, other: Count) -> Count:
        extents = [e for e in (self.extent, other.extent) if e is not None]
        return Count(
            codes=self.codes + other.codes,
            wrapped=self.wrapped + other.wrapped,
            saturated=self.saturated + other.saturated,
            zeroed=self.zeroed + other.zeroed,
            clamped=self.clamped + other.clamped,
            rounded=self.rounded + other.rounded,
            loss=max(self.loss, other.loss),
            extent=extents[0] | extents[-1] if extents else None,
        )

    @property
    def overflows(self) -> int:
        """Numbers that were out of range, whatever became of them."""
        return self.wrapped + self.saturated + self.zeroed + self.clamped

    @property
    def events(self) -> int:
        """Numbers out of range, and numbers that lost bits."""
        return self.overflows + self.rounded


@dataclass(frozen=True, slots=True)
class Into:
    """A format that numbers are assigned to, and how."""

    format: Format
    rounding: Rounding
    overflow: Overflow

    @property
    def least(self) -> int:
        """The smallest code that an assignment leaves."""
        symmetric = self.overflow is Overflow.SAT_SYM and self.format.signed
        return -self.format.max if symmetric else self.format.min

    def outside(self, codes: Any) -> int:
        """How many whole numbers, at the format's binary point, are out of its range."""
        return int(np.count_nonzero((codes < self.least) | (codes > self.format.max)))

    def happened(self, outside: int) -> dict[str, int]:
        """The counter of a Count that numbers out of range belong to."""
        return {_COUNTER[self.overflow]: outside}

    def count(self, codes: IntArray, frac_bits: int) -> Count:
        """What an assignment of codes with so many fraction bits does."""
        if not codes.size:
            return Count()
        drop = frac_bits - self.format.frac_bits
        rounded = shift_round(np, codes, drop, self.rounding)
        lost, loss = 0, 0.0
        if drop > 0:
            apart = np.abs(codes * 2.0**-frac_bits - rounded * 2.0**-self.format.frac_bits)
            if drop <= 62:
                rest = codes - (rounded << drop)
                lost = int(np.count_nonzero(rest))
                apart = np.abs(rest) * 2.0**-frac_bits
            else:
                lost = int(np.count_nonzero(codes))
            loss = float(apart.max())
        return Count(
            codes=codes.size,
            rounded=lost,
            loss=loss,
            extent=Extent.of(codes, frac_bits),
            **self.happened(self.outside(rounded)),
        )


_COUNTER = {
    Overflow.WRAP: "wrapped",
    Overflow.SAT: "saturated",
    Overflow.SAT_SYM: "saturated",
    Overflow.SAT_ZERO: "zeroed",
}
