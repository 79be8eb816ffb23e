"""The quotient of two tensors, rounded to whole numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from numbers import Integral
from typing import ClassVar

import numpy as np

from hwsim.fixed import Array, Format, Namespace, Overflow, Rounding, overflow, round_real
from hwsim.ops.base import Carrier, Constants, Quant, TensorType, require
from hwsim.ops.floats import BITS, LARGEST, POWERS, numbers_of
from hwsim.ops.pairs import Pairwise

MOST_FACTOR = 1 << 24


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Quotient(Pairwise):
    """`factor` times codes of the first tensor over those of the second, rounded, and a zero point.

    The first tensor's codes must be 0 or more, the second's 1 or more. The result saturates at the
    codes of `out`. With `floats` the codes of both are bit patterns of float32 numbers, whose
    quotient is meant; it is rounded once.
    """

    kind: ClassVar[str] = "quotient"
    out: Format
    factor: int = 1
    rounding: Rounding = Rounding.RND_CONV
    zero_point: int = 0
    quant: Quant | None = None
    floats: bool = False

    def __post_init__(self) -> None:
        require(
            isinstance(self.factor, Integral) and 0 <= self.factor < MOST_FACTOR,
            f"a quotient's factor must be a whole number from 0 to {MOST_FACTOR - 1}, not "
            f"{self.factor}",
        )
        require(
            self.out.min <= self.zero_point <= self.out.max,
            f"a quotient's zero point must be a code of {self.out}, not {self.zero_point}",
        )

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        """The quotients of the ends, since they rise with the first and fall with the second."""
        a, b = inputs
        require(
            a.lo >= 0 and b.lo >= 1,
            f"a quotient must be of codes of 0 or more over codes of 1 or more, not from {a.lo} "
            f"over codes from {b.lo}",
        )
        if self.floats:
            require(
                a.hi <= LARGEST and b.hi <= LARGEST,
                f"a quotient's codes must be bit patterns of finite float32 numbers, in {BITS}",
            )
        lo, hi = self.code(a.lo, b.hi), self.code(a.hi, b.lo)
        return TensorType(self.shape(inputs), self.out, self.quant, (lo, hi))

    def code(self, a: int, b: int) -> int:
        """The quotient of two codes, in plain integers."""
        ratio = Fraction(self.factor) * self._number(a) / self._number(b)
        doubled = 2 * ratio.numerator // ratio.denominator  # floor of twice the ratio
        low = doubled >> 1
        half = 2 * ratio == doubled and doubled & 1
        match self.rounding:
            case Rounding.TRN | Rounding.TRN_ZERO:
                whole = low
            case Rounding.CEIL | Rounding.UP:
                whole = low + (ratio != low)
            case Rounding.RND_ZERO | Rounding.RND_MIN_INF:
                whole = low + (doubled & 1 and not half)
            case Rounding.RND_CONV:
                whole = low + (low & 1 if half else doubled & 1)
            case _:
                whole = low + (doubled & 1)
        return min(max(int(whole) + self.zero_point, self.out.min), self.out.max)

    def _number(self, code: int) -> Fraction:
        return (
            Fraction(float(numbers_of(np, np.array(code), POWERS)))
            if self.floats
            else Fraction(code)
        )

    def bound(self, inputs: Sequence[TensorType]) -> int:
        """The scaled codes and the divisors doubled, or bit patterns."""
        a, b = (x.magnitude for x in inputs)
        if self.floats:
            return max(a, b, self.out.max)
        return 2 * max(a * self.factor, b) + abs(self.zero_point) + 1

    def carriers(self, inputs: Sequence[TensorType]) -> tuple[Carrier, ...]:
        """Whole division, or the bits of patterns."""
        return (Carrier.INT64,)

    def prepare(self, inputs: Sequence[TensorType], carrier: Carrier) -> Constants:
        """What bit patterns are worth."""
        return {"powers": POWERS} if self.floats else {}

    def pair(self, xp: Namespace, a: Array, b: Array, k: Constants) -> Array:
        """Float64 quotients of float32 numbers keep their side of every tie; else whole division.

        A quotient of numbers of 24 bits, times a factor of 24 bits, is a tie or at least 2**-50 of
        itself away from it.
        """
        if self.floats:
            numbers = (numbers_of(xp, x, k["powers"]) for x in (a, b))
            top, bottom = numbers
            limit = float(1 << self.out.width + 1)
            ratio = xp.minimum(top * float(self.factor) / bottom, xp.full_like(bottom, limit))
            whole = xp.astype(round_real(xp, ratio, self.rounding), xp.int64)
        else:
            whole = self._whole(xp, a * self.factor, b)
        return overflow(xp, whole + self.zero_point, self.out, Overflow.SAT)

    def _whole(self, xp: Namespace, top: Array, bottom: Array) -> Array:
        floor = top // bottom
        rest = 2 * (top - floor * bottom)
        match self.rounding:
            case Rounding.TRN | Rounding.TRN_ZERO:
                return floor
            case Rounding.CEIL | Rounding.UP:
                up = rest > 0
            case Rounding.RND_ZERO | Rounding.RND_MIN_INF:
                up = rest > bottom
            case Rounding.RND_CONV:
                up = (rest > bottom) | ((rest == bottom) & ((floor & 1) == 1))
            case _:
                up = rest >= bottom
        return floor + xp.astype(up, xp.int64)
