"""The largest code, the smallest, the sum or the mean along any axes of a tensor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from numbers import Integral
from typing import Any, ClassVar

import numpy as np

from hwsim.fixed import (
    Array,
    Format,
    Namespace,
    Overflow,
    overflow,
    overflow_range,
    round_int,
    shift_round,
)
from hwsim.ops.accumulate import EXACT, Balanced, Exact, Float32, Stepwise
from hwsim.ops.base import (
    ALL_CARRIERS,
    MOVING_CARRIERS,
    Carrier,
    Constants,
    Op,
    Quant,
    Range,
    TensorType,
    require,
)
from hwsim.ops.floats import BITS, LARGEST, POWERS, SMALL, bits_of, numbers_of


class Reduction(Enum):
    """How codes become one."""

    MAX = "max"  # the largest
    MIN = "min"  # the smallest
    SUM = "sum"  # their sum
    MEAN = "mean"  # their sum, in steps of 1/n of theirs


ADDING = (Reduction.SUM, Reduction.MEAN)
CLAMPING = (Overflow.SAT, Overflow.SAT_SYM)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Reduce(Op):
    """The codes along `axes` (the batch apart, from 0) made one; each axis stays, 1 long.

    A sum is of `x - zero_point`. It is exact, or takes its terms row-major through an accumulator:
    one after the other (`Stepwise`), as a tree (`Balanced`) or as bit patterns of float32 numbers
    (`Float32`).
    """

    kind: ClassVar[str] = "reduce"
    reduction: Reduction
    axes: tuple[int, ...]
    zero_point: int = 0
    accumulator: Exact | Stepwise | Balanced | Float32 = EXACT

    def __post_init__(self) -> None:
        require(
            len(self.axes) > 0
            and all(isinstance(axis, Integral) for axis in self.axes)
            and list(self.axes) == sorted(set(self.axes)),
            f"a reduction's axes must be whole numbers in rising order, not {self.axes}",
        )
        adds, acc = self.reduction in ADDING, self.accumulator
        require(
            adds or self.zero_point == 0,
            f"the zero point of a reduction by {self.reduction.value} must be 0",
        )
        require(
            acc == EXACT or (self.reduction is Reduction.SUM and self.zero_point == 0),
            "an accumulator with a format must be of a sum with zero point 0",
        )
        require(
            not isinstance(acc, Stepwise) or acc.order is None,
            "a reduction's accumulator must add row by row, in no order of its own",
        )

    def terms(self, x: TensorType) -> int:
        """How many codes become one."""
        return math.prod(x.shape[axis] for axis in self.axes)

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        """The axes become 1 long; a sum's format holds all sums, a maximum's is the input's."""
        (x,) = inputs
        rank = len(x.shape)
        require(
            self.axes[0] >= 0 and self.axes[-1] < rank,
            f"a reduction's axes must be among {rank} from 0 on, not {self.axes}",
        )
        require(
            len(x.scales()) == 1 or self.axes[-1] < rank - 1,
            "a tensor reduced along its channels must have one scale for all of them",
        )
        shape = tuple(1 if k in self.axes else size for k, size in enumerate(x.shape))
        if self.reduction not in ADDING:
            return x.with_shape(shape)
        if isinstance(self.accumulator, Float32):
            return TensorType(shape, BITS, None, self._float_range(x))
        if not isinstance(self.accumulator, Exact):
            return TensorType(shape, self.accumulator.format, None, self.stepped(x).range)
        return self.sums(x.with_shape(shape), self.terms(x))

    def sums(self, x: TensorType, n: int) -> TensorType:
        """The type of exact sums of `n` codes of type `x`, in its shape."""
        require(
            x.format.min <= self.zero_point <= x.format.max,
            f"a reduction's zero_point must be a code of {x.format}, not {self.zero_point}",
        )
        lo, hi = n * (x.lo - self.zero_point), n * (x.hi - self.zero_point)
        frac, quant = x.format.frac_bits, x.quant
        if quant is not None:
            quant = replace(quant, zero_point=0)
        if self.reduction is Reduction.MEAN:
            if quant is None and n & (n - 1) == 0:
                frac += n.bit_length() - 1
            else:
                quant = Quant(tuple(scale / n for scale in x.scales()))
        return TensorType(x.shape, Format.holding(lo, hi, frac), quant, (lo, hi))

    def _float_range(self, x: TensorType) -> Range:
        """The sums of all smallest and of all largest terms, since sums rise with each term."""
        require(
            x.quant is None and x.lo >= 0 and x.hi <= LARGEST,
            f"the input of a float32 sum must hold bit patterns of finite numbers from 0 up, not "
            f"codes from {x.lo} to {x.hi}",
        )
        ends = np.array([[x.lo], [x.hi]]).repeat(self.terms(x), axis=1)
        low, high = bits_of(np, _in_turn(np, numbers_of(np, ends.T, POWERS)), POWERS).tolist()
        require(high <= LARGEST, "a float32 sum must be finite for all codes of its input")
        return low, high

    def bound(self, inputs: Sequence[TensorType]) -> int:
        """Codes, or the sum of magnitudes and the zero points apart."""
        (x,) = inputs
        if self.reduction not in ADDING:
            return x.magnitude
        if isinstance(self.accumulator, Float32):
            return self._float_range(x)[1]
        if not isinstance(self.accumulator, Exact):
            return self.stepped(x).bound(x.magnitude)
        return self.terms(x) * (x.magnitude + abs(self.zero_point))

    def carriers(self, inputs: Sequence[TensorType]) -> tuple[Carrier, ...]:
        """Codes are compared or added; bit patterns are integers."""
        if isinstance(self.accumulator, Float32):
            return (Carrier.INT64,)
        return ALL_CARRIERS if self.reduction in ADDING else MOVING_CARRIERS

    def prepare(self, inputs: Sequence[TensorType], carrier: Carrier) -> Constants:
        """What is taken off an exact sum, or the steps of another."""
        if isinstance(self.accumulator, Exact):
            return {"offset": self.terms(inputs[0]) * self.zero_point}
        if isinstance(self.accumulator, Float32):
            return {"powers": POWERS}
        return {"steps": self.stepped(inputs[0])}

    def run(self, xp: Namespace, xs: Sequence[Array], k: Constants) -> Array:
        """One function of the namespace, or the steps over the codes of one result side by side."""
        (x,) = xs
        axes = tuple(axis + 1 for axis in self.axes)
        if self.reduction is Reduction.MAX:
            return xp.max(x, axis=axes, keepdims=True)
        if self.reduction is Reduction.MIN:
            return xp.min(x, axis=axes, keepdims=True)
        if "offset" in k:
            total = xp.sum(x, axis=axes, keepdims=True, dtype=x.dtype)
            return total - k["offset"] if k["offset"] else total
        kept = [axis for axis in range(x.ndim) if axis not in axes]
        shape = [1 if axis in axes else size for axis, size in enumerate(x.shape)]
        terms = xp.reshape(xp.permute_dims(x, (*axes, *kept)), (-1, math.prod(shape)))
        if "powers" in k:
            total = _in_turn(xp, numbers_of(xp, terms, k["powers"]))
            sums = bits_of(xp, total, k["powers"])
        else:
            sums = k["steps"].run(xp, terms)
        return xp.reshape(sums, tuple(shape))

    def stepped(self, x: TensorType) -> SteppedSum:
        """The sum of an input of type `x` through an accumulator with a format."""
        require(
            x.quant is None,
            "the input of an accumulator with a format must have a power-of-two format",
        )
        assert not isinstance(self.accumulator, Exact | Float32)
        return SteppedSum(self.accumulator, self.terms(x), x)


def _in_turn(xp: Namespace, terms: Array) -> Array:
    """Float32 sums of numbers (terms, sums), one term after the other, held in float64.

    A sum of two float32 numbers, rounded to float64 and then to float32, is rounded rightly. Sums
    below `SMALL` are exact, and left as they are: a GPU's float32 has no denormal numbers.
    """
    total = terms[0, :]
    for k in range(1, terms.shape[0]):
        wide = total + terms[k, :]
        rounded = xp.astype(xp.astype(wide, xp.float32), xp.float64)
        total = xp.where(wide < SMALL, wide, rounded)
    return total


class SteppedSum:
    """A sum of `count` codes of type `x` through an accumulator with a format.

    Where no step can overflow, overflow wraps, all terms have one sign and sums are clamped, or
    there are no more than two terms, the order cannot matter.
    """

    def __init__(self, acc: Stepwise | Balanced, count: int, x: TensorType) -> None:
        self.acc, self.count = acc, count
        self.drop = x.format.frac_bits - acc.format.frac_bits
        ends = [round_int(end, self.drop, acc.rounding) for end in (x.lo, x.hi)]
        fmt, mode = acc.format, acc.overflow
        self.least = -fmt.max if mode is Overflow.SAT_SYM and fmt.signed else fmt.min
        self.terms_fit = self.least <= ends[0] and ends[1] <= fmt.max
        self.lo, self.hi = overflow_range(ends[0], ends[1], fmt, mode)
        self.raw = max(map(abs, ends))

    @property
    def fits(self) -> bool:
        """Whether no step can overflow."""
        low, high = self._sums
        return self.terms_fit and self.least <= low and high <= self.acc.format.max

    @property
    def any_order(self) -> bool:
        """Whether the result is that of any order of the terms."""
        one_sign = self.lo >= 0 or self.hi <= 0
        mode = self.acc.overflow
        alike = mode is Overflow.WRAP or (mode in CLAMPING and one_sign)
        return self.fits or alike or self.count <= 2

    @property
    def range(self) -> Range:
        """Proven bounds of the result: of clamping sums those of the ends, since they rise."""
        if self.acc.overflow in CLAMPING or self.fits:
            low, high = (min(max(end, self.least), self.acc.format.max) for end in self._sums_of())
            return low, high
        return self.least, self.acc.format.max

    @property
    def _sums(self) -> Range:
        """Bounds of every partial sum before it is brought into range."""
        return min(self.lo, self.count * self.lo), max(self.hi, self.count * self.hi)

    def _sums_of(self) -> Range:
        """The sums of all smallest and of all largest terms."""
        return self.count * self.lo, self.count * self.hi

    def bound(self, magnitude: int) -> int:
        """The largest magnitude met by `run`, for inputs up to `magnitude`."""
        rounding = magnitude << max(-self.drop, 0), magnitude + (1 << max(self.drop, 0))
        top = max(*rounding, self.raw, *map(abs, self._sums))
        return top if self.fits else top + (1 << self.acc.format.width)

    def run(self, xp: Namespace, terms: Array) -> Array:
        """The sums of input codes (terms, sums)."""
        terms = shift_round(xp, terms, self.drop, self.acc.rounding)
        if not self.terms_fit:
            terms = self._fit(xp, terms)
        if self.any_order:
            total = xp.sum(terms, axis=0, dtype=terms.dtype)
            return total if self.fits else self._fit(xp, total)
        rows = [terms[k, :] for k in range(self.count)]
        if isinstance(self.acc, Balanced):
            return self._tree(xp, rows)
        total = rows[0]
        for row in rows[1:]:
            total = self._fit(xp, total + row)
        return total

    def _tree(self, xp: Namespace, rows: Sequence[Array]) -> Array:
        """The left subtree has as many terms as the largest power of two below their number."""
        if len(rows) == 1:
            return rows[0]
        left = 1 << (len(rows) - 1).bit_length() - 1
        return self._fit(xp, self._tree(xp, rows[:left]) + self._tree(xp, rows[left:]))

    def _fit(self, xp: Namespace, codes: Array) -> Any:
        return overflow(xp, codes, self.acc.format, self.acc.overflow)
