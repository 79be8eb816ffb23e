"""The sum of float32 numbers from 0 up, one after the other."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.hdl import Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from rtl.parts.loops import Loop
from rtl.parts.stream import Beat, Slice

FRACTION = 23  # stored bits of a significand
BITS = 31  # of a pattern
GUARD = 2  # bits below the sum's last that are kept, the lowest for all below


class FloatSum(wiring.Component):
    """Add `terms` float32 numbers in turn, each sum rounded to nearest, ties to even.

    Ports: `i` (In), a stream of bit patterns (31 bits, 1 lane), `terms` for each result; `o` (Out),
    a stream of the sums, `last` where the input's beat has it. A term takes 2 cycles: the larger of
    it and the sum so far is found, then the other is added. `i.ready` and `o` come from registers.
    Sums must stay finite.

    Raises `HwsimError` for no terms.
    """

    def __init__(self, terms: int) -> None:
        if terms < 1:
            raise HwsimError(f"a float32 sum's terms must be at least 1, not {terms}")
        self.terms, self.beat = terms, Beat.of(1, Format.uint(BITS))
        super().__init__({"i": In(self.beat.stream), "o": Out(self.beat.stream)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.cut = cut = Slice(self.beat)
        wiring.connect(m, cut.o, wiring.flipped(self.o))
        term = Loop(m, "term", self.terms, {"first": [int(k == 0) for k in range(self.terms)]})
        adding, ends, last = Signal(), Signal(), Signal()
        large, small, total = Signal(BITS), Signal(BITS), Signal(BITS)
        code, before = self.i.payload.data[0], Signal(BITS)
        taken = Signal()
        found = added(m, large, small)
        m.d.comb += [
            taken.eq(self.i.valid & self.i.ready),
            self.i.ready.eq(~adding),
            term.step.eq(taken),
            before.eq(Mux(term.now["first"], 0, total)),
            cut.i.valid.eq(adding & ends),
            cut.i.payload.data[0].eq(found),
            cut.i.payload.last.eq(last),
        ]
        with m.If(taken):
            wins = code > before
            m.d.sync += [
                large.eq(Mux(wins, code, before)),
                small.eq(Mux(wins, before, code)),
                adding.eq(1),
                ends.eq(term.last),
                last.eq(self.i.payload.last),
            ]
        with m.Elif(adding & (cut.i.ready | ~ends)):
            m.d.sync += [total.eq(found), adding.eq(0)]
        return m


def added(m: Module, large: Any, small: Any) -> Signal:
    """The rounded sum of two patterns, the first not the smaller."""
    significands, exponents = [], []
    for name, pattern in (("large", large), ("small", small)):
        exponent = Value.cast(pattern)[FRACTION:]
        held, low = Signal(FRACTION + 1, name=f"{name}_sig"), Signal(8, name=f"{name}_exp")
        m.d.comb += [
            held.eq(Cat(Value.cast(pattern)[:FRACTION], exponent.any())),
            low.eq(Mux(exponent.any(), exponent, 1)),
        ]
        significands.append(held)
        exponents.append(low)
    moved = _moved(m, significands[1], exponents[0] - exponents[1])
    total = Signal(FRACTION + 2 + GUARD)
    m.d.comb += total.eq((significands[0] << GUARD) + moved)
    carry = total[-1]
    # The hidden bit of a significand counts as one more of the exponent below.
    kept = Mux(carry, total[GUARD + 1 :], total[GUARD : FRACTION + 1 + GUARD])
    half = Mux(carry, total[GUARD], total[GUARD - 1])
    below = Mux(carry, total[:GUARD].any(), total[: GUARD - 1].any())
    base = Signal(8)
    m.d.comb += base.eq(exponents[0] - 1 + carry)
    out = Signal(BITS)
    m.d.comb += out.eq(Cat(Const(0, FRACTION), base) + kept + (half & (below | kept[0])))
    return out


def _moved(m: Module, significand: Any, distance: Any) -> Any:
    """A significand with guard bits, shifted right; what is dropped stays in the lowest bit."""
    wide = Cat(Const(0, GUARD), significand)
    width = FRACTION + 1 + GUARD
    far, steps = Signal(), Signal(5)
    gap = Signal(8)
    m.d.comb += [gap.eq(distance), far.eq(gap >= width), steps.eq(gap)]
    bits: Any = wide
    for k in range(5):
        step, moved = 1 << k, Signal(width, name=f"aligned_{k}")
        with m.If(steps[k]):
            m.d.comb += moved.eq(Cat(bits[: step + 1].any(), bits[step + 1 :]))
        with m.Else():
            m.d.comb += moved.eq(bits)
        bits = moved
    return Mux(far, significand.any(), bits)
