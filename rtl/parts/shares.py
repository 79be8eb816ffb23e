"""What share of a sum each term is: a reciprocal for each sum, then a product for each term.

A reciprocal travels as one word, its significand below and how far it goes right above. Both ways
to work it out have one end: a product, a constant or two that its rounding adds, a right shift by
the word's places, one more rounded bit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from amaranth import Cat, Const, Module, Signal
from amaranth.hdl import Shape, Value

from hwsim.fixed import Format, Overflow
from hwsim.ops.floats import FRACTION
from hwsim.ops.share import SUM_FRACTION
from rtl.parts import arith
from rtl.parts.pipeline import Lane, Stage

Range = tuple[int, int]
FIXED = 31  # bits of gemmlowp's fixed-point numbers, without their sign
TIE = 2 * FRACTION + 1  # the place of the highest bit that a product of significands can have
BELOW_HALF = 50  # a product of significands goes right so far, or farther, and nothing is left


@dataclass(frozen=True, slots=True)
class Ranges:
    """Proven bounds of terms and sums, the most that a result may be before it saturates.

    The whole is `2**bits`.
    """

    term: Range
    total: Range
    most: int
    bits: int = 8


class ShareArithmetic(ABC):
    """One way to work out shares, for proven ranges of terms and sums."""

    significand: int  # bits of a reciprocal's

    def __init__(self, ranges: Ranges) -> None:
        self.ranges = ranges

    @property
    @abstractmethod
    def places(self) -> Range:
        """The least and the greatest field above a reciprocal's significand."""

    @property
    def word(self) -> Format:
        """A reciprocal's significand and places."""
        return Format.uint(self.significand + arith.holding(*self.places).width)

    @property
    @abstractmethod
    def shifts(self) -> Range:
        """The least and the greatest right shift of a product, to twice the result."""

    @property
    @abstractmethod
    def term(self) -> Shape:
        """The shape of a term where it meets the reciprocal."""

    @abstractmethod
    def begun(self, m: Module, lane: Lane) -> Lane:
        """From a term `a` and a word `b` to operands `x` and `m`, and how far `y` goes right."""

    @abstractmethod
    def nudge(self, product: Any) -> Any:
        """What a product's first rounding adds to it."""

    @property
    def vanishes(self) -> bool:
        """Whether nothing is left of any product: every share is 0."""
        return self.shifts[0] > self.product

    @property
    def product(self) -> int:
        """Bits of a product."""
        return self.term.width + self.significand

    @property
    def ends(self) -> list[Stage]:
        """The stages from a product `y` to twice the result, cut off."""
        return [self._nudged, self._shifted]

    def _nudged(self, m: Module, lane: Lane) -> Lane:
        product = Value.cast(lane["y"])
        total = Signal(len(product) + 1)
        m.d.comb += total.eq(product + self.nudge(product))
        return {**lane, "y": total}

    def _shifted(self, m: Module, lane: Lane) -> Lane:
        least, most = self.shifts
        product = Value.cast(lane["y"])
        out = Signal(max(len(product) - least, 1))
        with m.Switch(lane["shift"]):
            for shift in range(least, most + 1):
                with m.Case(shift - least):
                    m.d.comb += out.eq(product >> shift)
        return {"y": out}


class NewtonDivision(ShareArithmetic):
    """gemmlowp's: a reciprocal of 31 bits; the product is rounded at 31 bits, then once more.

    The places count how far the sum went left to have 31 bits.
    """

    significand = FIXED

    @property
    def places(self) -> Range:
        """Of the largest sum, and of the least."""
        low, high = self.ranges.total
        return FIXED - high.bit_length(), FIXED - low.bit_length()

    @property
    def shifts(self) -> Range:
        """By 12, 31 and 31 less the whole's bits where a sum has 32; one less to twice that."""
        low, high = self.places
        far = SUM_FRACTION + FIXED - self.ranges.bits + FIXED - 2
        return far - high, far - low

    @property
    def term(self) -> Shape:
        """As it comes."""
        return arith.holding(*self.ranges.term)

    def begun(self, m: Module, lane: Lane) -> Lane:
        """The more a sum went left, the less a product goes right."""
        word, term = Value.cast(lane["b"]), Signal(self.term)
        shift = Signal(arith.holding(0, self.places[1] - self.places[0]))
        m.d.comb += [term.eq(lane["a"]), shift.eq(self.places[1] - word[FIXED:])]
        return {"x": term, "m": word[:FIXED], "shift": shift}

    def nudge(self, product: Any) -> Any:
        """Half of what is cut off first."""
        return Const(1 << FIXED - 1)


class FloatDivision(ShareArithmetic):
    """In float32: the reciprocal of `2**-bits` of the sum, then the product, each rounded.

    The places are the sum's exponent. A product P that the first rounding takes to a tie lies at
    most half its last place below it, whatever the bits between: that half is added, no more.
    """

    significand = FRACTION + 2

    @property
    def _even(self) -> int:
        """How far a product goes right, to twice the result, where both exponents are equal."""
        return 2 * FRACTION - self.ranges.bits

    @property
    def places(self) -> Range:
        """Those of the least and the largest sum."""
        low, high = self.ranges.total
        return low >> FRACTION, high >> FRACTION

    @property
    def shifts(self) -> Range:
        """As far as the result neither saturates nor is 0 whatever the significands are."""
        (low, high), (least, most) = self.places, self.ranges.term
        saturating = TIE - 1 - (self.ranges.most.bit_length() + 1)
        even = self._even
        bounds = (even + low - (most >> FRACTION), even + high - (least >> FRACTION))
        first, last = (min(max(end, saturating - 1), BELOW_HALF - 1) for end in bounds)
        return first, last

    @property
    def term(self) -> Shape:
        """A significand."""
        return Shape(FRACTION + 1)

    def begun(self, m: Module, lane: Lane) -> Lane:
        """Terms without the highest bit of a significand are far too small to count."""
        term, word = Value.cast(lane["a"]), Value.cast(lane["b"])
        least, most = self.shifts
        shift = Signal(arith.holding(0, most - least))
        far = word[self.significand :] - term[FRACTION:] + (self._even - least)
        m.d.comb += shift.eq(arith.clip(m, far, 0, most - least))
        return {
            "x": Cat(term[:FRACTION], Const(1, 1)),
            "m": word[: self.significand],
            "shift": shift,
        }

    def nudge(self, product: Any) -> Any:
        """Half the last place of a significand of 24 bits."""
        upper = Value.cast(product)[TIE]
        return Cat(Const(0, FRACTION - 1), ~upper, upper)


class Rounded:
    """The result of a product: twice it, cut off, becomes a code of `out` by a zero point."""

    def __init__(self, division: ShareArithmetic, zero_point: int, out: Format) -> None:
        self.division, self.zero_point, self.out = division, zero_point, out

    @property
    def stages(self) -> list[Stage]:
        """From a product `y` and how far it goes right to the code `y`."""
        return [*self.division.ends, self._code]

    def _code(self, m: Module, lane: Lane) -> Lane:
        twice = Value.cast(lane["y"])
        moved = Signal(arith.holding(self.zero_point, (1 << len(twice)) + self.zero_point))
        m.d.comb += moved.eq(((twice + 1) >> 1) + self.zero_point)
        return {"y": arith.overflow(m, moved, self.out, Overflow.SAT)}
