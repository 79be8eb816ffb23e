"""Reciprocals of sums, as the words that products of shares take: in several cycles each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.hdl import Shape, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwsim.fixed import Format
from hwsim.ops.fixed_point import FIRST_RECIPROCAL, NEWTON_STEPS
from hwsim.ops.floats import FRACTION
from rtl.parts import arith
from rtl.parts.multicycle import Multiplication, Timing, beat_at_work
from rtl.parts.shares import FIXED, NewtonDivision, ShareArithmetic
from rtl.parts.stream import Beat, blank

REST = 27  # of what a Newton step leaves: less than 1/17 of 2**29, and a sign
PRODUCTS = 1 + 2 * NEWTON_STEPS
EXPONENT = 8  # bits of a float32's
DIGITS = 26  # of 2**48 over a significand


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
