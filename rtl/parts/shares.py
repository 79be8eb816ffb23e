"""What share of a sum each term is: a reciprocal for each sum, then a product for each term.

A reciprocal travels as one word, its significand below and how far it goes right above. Both ways
to work it out have one end: a product, a constant or two that its rounding adds, a right shift by
the word's places, one more rounded bit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.hdl import Shape, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwsim.fixed import Format, Overflow
from hwsim.ops.fixed_point import FIRST_RECIPROCAL, NEWTON_STEPS
from hwsim.ops.floats import FRACTION
from hwsim.ops.share import SUM_FRACTION
from rtl.parts import arith
from rtl.parts.multicycle import BeatAtWork, Multiplication, Timing, beat_at_work, registered
from rtl.parts.multiply import gather, partial_products
from rtl.parts.pipeline import Lane, Pipeline, Stage
from rtl.parts.pointwise import PairMap
from rtl.parts.stream import Beat, Join, blank

Range = tuple[int, int]
FIXED = 31  # bits of gemmlowp's fixed-point numbers, without their sign
REST = 27  # of what a Newton step leaves: less than 1/17 of 2**29, and a sign
PRODUCTS = 1 + 2 * NEWTON_STEPS
EXPONENT = 8  # bits of a float32's
DIGITS = 26  # of 2**48 over a significand
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


class Reciprocals(wiring.Component, ABC):
    """The shared base of reciprocals of sums, in several cycles.

    Ports: `i` (In), a stream of `lanes` sums of `in_format`; `o` (Out), one of the division's
    words. A beat every `cycles` cycles, latency `cycles` + 1; backpressure honoured; `o` comes from
    registers, and no path leads from `o.ready` to `i.ready`. `last` passes through.
    """

    cycles: int

    def __init__(self, lanes: int, *, division: ShareArithmetic, in_format: Format) -> None:
        self.division, self.target = division, Beat.of(lanes, division.word)
        super().__init__({"i": In(Beat.of(lanes, in_format).stream), "o": Out(self.target.stream)})

    @abstractmethod
    def found(self, m: Module, timing: Timing, total: Any, k: int) -> tuple[Any, Any]:
        """The significand and the places that lane `k` has in cycle `cycles`."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        work = beat_at_work(m, self.i, self.o, self.target, self.cycles)
        for k in range(self.target.lanes):
            significand, places = self.found(m, work.timing, self.i.payload.data[k], k)
            with m.If(work.leaves):
                m.d.sync += work.offer.data[k].eq(Cat(significand, places))
        return m


class NewtonReciprocals(Reciprocals):
    """Three Newton steps from a line, their products one after the other by one `multiplication`.

    No step saturates: what they start from is at most 1/17 off.
    """

    def __init__(
        self,
        lanes: int,
        *,
        division: NewtonDivision,
        in_format: Format,
        multiplication: Multiplication,
    ) -> None:
        self.multiplication = multiplication
        self.moves = division.places[1] - division.places[0]
        self.each, self.cycles = newton_cycles(division, multiplication)
        super().__init__(lanes, division=division, in_format=in_format)

    def found(self, m: Module, timing: Timing, total: Any, k: int) -> tuple[Any, Any]:
        """The sum as a half of 31 bits, then x in turn with what it leaves of 1."""
        half, places = self._normalized(m, timing, total, k)
        turn = Signal(range(self.each + 1), name=f"turn_{k}")  # 0 before the first product
        product_of = Signal(range(PRODUCTS + 1), name=f"product_of_{k}")
        first = timing.cycle == self.moves + 1
        done = turn == self.each
        begin = first | (done & (product_of != PRODUCTS - 1))
        x, rest = blank(FIXED, f"x_{k}"), blank(Shape(REST, True), f"rest_{k}")
        # Even products but the first are of x and what it leaves, the others of the half.
        follows = Signal(range(PRODUCTS + 1), name=f"follows_{k}")
        m.d.comb += follows.eq(Mux(first, 0, product_of + 1))
        steps = ~follows[0] & ~first
        factor = Signal(Shape(FIXED + 1, True), name=f"factor_{k}")
        m.d.comb += factor.eq(
            Mux(product_of[0], x, Mux(product_of == 0, FIRST_RECIPROCAL[1], rest))
        )
        inner = Timing(load=begin, cycle=turn)
        product = self.multiplication.multiply(m, inner, Mux(steps, x, half), factor, f"newton_{k}")
        high = (product >> FIXED) + product[FIXED - 1]
        with m.If(timing.load):
            m.d.sync += turn.eq(0)
        with m.Elif(begin):
            m.d.sync += [turn.eq(1), product_of.eq(follows)]
        with m.Elif((turn != 0) & ~done):
            m.d.sync += turn.eq(turn + 1)
        with m.If(done & (timing.cycle != self.cycles)):
            with m.If(product_of[0]):
                m.d.sync += rest.eq((1 << FIXED - 2) - high)
            with m.Else():
                step = Mux(product_of == 0, high, high << 2)
                m.d.sync += x.eq(Mux(product_of == 0, FIRST_RECIPROCAL[0], x) + step)
        top = x[-1]  # 2x is 2**31, which saturates
        return Cat(top, x[:-1] | top.replicate(FIXED - 1)), places

    def _normalized(self, m: Module, timing: Timing, total: Any, k: int) -> tuple[Any, Any]:
        """A sum moved left, a bit a cycle, until its highest bit is one, and how often."""
        low, high = self.division.places
        half, places = blank(FIXED, f"half_{k}"), blank(arith.holding(low, high), f"places_{k}")
        with m.If(timing.load):
            m.d.sync += [half.eq(Value.cast(total) << low), places.eq(low)]
        with m.Elif((timing.cycle <= self.moves) & ~half[-1]):
            m.d.sync += [half.eq(half << 1), places.eq(places + 1)]
        return half, places


def newton_cycles(division: NewtonDivision, multiplication: Multiplication) -> tuple[int, int]:
    """Cycles of a product with its addition, and of a whole reciprocal."""
    low, high = division.places
    each = multiplication.cycles(Shape(FIXED), Shape(FIXED + 1, True)) + 1
    return each, high - low + 2 + PRODUCTS * each


class FloatReciprocals(Reciprocals):
    """Long division, a digit a cycle: 2**47 over the sum's significand, rounded to nearest.

    There are no ties but those of powers of two, which are exact.
    """

    cycles = DIGITS + 1

    def found(self, m: Module, timing: Timing, total: Any, k: int) -> tuple[Any, Any]:
        """A subtraction a cycle."""
        divisor, exponent = blank(FRACTION + 1, f"divisor_{k}"), blank(EXPONENT, f"exponent_{k}")
        rest, quotient = blank(FRACTION + 2, f"rest_{k}"), blank(DIGITS, f"quotient_{k}")
        less = Signal(FRACTION + 3, name=f"less_{k}")
        m.d.comb += less.eq(rest - divisor)
        with m.If(timing.load):
            bits = Value.cast(total)
            m.d.sync += [
                divisor.eq(Cat(bits[:FRACTION], Const(1, 1))),
                exponent.eq(bits[FRACTION:]),
                rest.eq(1 << FRACTION),
            ]
        with m.Elif(timing.cycle != self.cycles):
            m.d.sync += [
                rest.eq(Mux(less[-1], rest, less) << 1),
                quotient.eq(Cat(~less[-1], quotient)),
            ]
        return (quotient + 1)[1 : FRACTION + 3], exponent


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


class PipelinedShares(PairMap):
    """Terms times reciprocals, a multiplication a lane in every cycle.

    Ports as a PairMap's, of terms of `in_format` and the division's words.
    """

    def __init__(self, lanes: int, *, end: Rounded, in_format: Format) -> None:
        self.end = end
        super().__init__(lanes, formats=(in_format, end.division.word), out=end.out)

    def codes(self, m: Module, pipe: Pipeline, pairs: list[Lane]) -> list[Any]:
        """Operands, products, their sum, its end."""
        division = self.end.division
        products = [partial_products("x", "m", "y"), gather("y", 0, (1 << division.product) - 1)]
        stages = [division.begun, *products, *self.end.stages]
        return [lane["y"] for lane in pipe.run(pipe.register(pairs), stages)]


class MulticycleShares(wiring.Component):
    """Terms times reciprocals, in several cycles a beat.

    Ports: `a` and `b` (In), streams of `lanes` terms of `in_format` and of words, taken in pairs;
    `o` (Out), one of codes. A beat every `cycles` cycles, latency `cycles` + 1; backpressure
    honoured; `o` comes from registers, and no path leads from `o.ready` to `a.ready` or `b.ready`.
    `last` is that of `a`.
    """

    def __init__(
        self, lanes: int, *, end: Rounded, in_format: Format, multiplication: Multiplication
    ) -> None:
        self.end, self.multiplication = end, multiplication
        self.beats = (Beat.of(lanes, in_format), Beat.of(lanes, end.division.word))
        self.target, self.cycles = Beat.of(lanes, end.out), share_cycles(end, multiplication)
        a, b = self.beats
        super().__init__({"a": In(a.stream), "b": In(b.stream), "o": Out(self.target.stream)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.join = join = Join(*self.beats)
        wiring.connect(m, wiring.flipped(self.a), join.a)
        wiring.connect(m, wiring.flipped(self.b), join.b)
        work = beat_at_work(m, join.o, self.o, self.target, self.cycles)
        for k in range(self.target.lanes):
            pair = {"a": join.o.payload.a[k], "b": join.o.payload.b[k]}
            code = self._code(m, work, pair, k)
            with m.If(work.leaves):
                m.d.sync += work.offer.data[k].eq(code)
        return m

    def _code(self, m: Module, work: BeatAtWork, pair: Lane, k: int) -> Any:
        """The code that lane `k` gives in cycle `cycles` after a load."""
        lane = self.end.division.begun(m, pair)
        held = registered(
            m, {name: lane[name] for name in ("m", "shift")}, f"{k}", work.timing.load
        )
        product = self.multiplication.multiply(m, work.timing, lane["x"], held["m"], f"lane_{k}")
        lane = {"y": product, "shift": held["shift"]}
        for depth, stage in enumerate(self.end.stages):
            if depth:
                lane = registered(m, lane, f"{depth}_{k}")
            lane = stage(m, lane)
        return lane["y"]


def share_cycles(end: Rounded, multiplication: Multiplication) -> int:
    """Cycles from one beat of shares to the next."""
    division = end.division
    return multiplication.cycles(division.term, Shape(division.significand)) + len(end.stages)
