"""Terms times reciprocals, which gives shares: a beat every cycle, or in several."""

from __future__ import annotations

from typing import Any

from amaranth import Module
from amaranth.hdl import Shape
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwsim.fixed import Format
from rtl.parts.multicycle import BeatAtWork, Multiplication, beat_at_work, registered
from rtl.parts.multiply import gather, partial_products
from rtl.parts.pipeline import Lane, Pipeline
from rtl.parts.pointwise import PairMap
from rtl.parts.shares import Rounded
from rtl.parts.stream import Beat, Join


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
