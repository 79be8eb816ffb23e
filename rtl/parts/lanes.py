"""Converters between numbers of lanes: the only parts that change how many codes a beat carries."""

from __future__ import annotations

import math

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwsim.errors import HwsimError
from rtl.parts.stream import Beat, blank


class Widen(wiring.Component):
    """Gather `lanes / beat.lanes` beats into one, the first in the lowest lanes.

    Ports: `i` (In), a stream of `beat`; `o` (Out), one of `beat.with_lanes(lanes)`. `lanes` must be
    a multiple of `beat.lanes`, and each tensor's codes a multiple of `lanes`. Takes a beat a cycle;
    latency 1 cycle after the last of a group. `i.ready` depends on `o.ready` in the same cycle.
    """

    def __init__(self, beat: Beat, lanes: int) -> None:
        if lanes < 1 or lanes % beat.lanes:
            raise HwsimError(f"wider lanes must be a multiple of {beat.lanes}, not {lanes}")
        self.beat, self.wide = beat, beat.with_lanes(lanes)
        super().__init__({"i": In(beat.stream), "o": Out(self.wide.stream)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        narrow, wide = self.beat.lanes, self.wide.lanes
        ratio = wide // narrow
        place, full = Signal(range(ratio)), Signal()
        held = blank(self.wide, "held")
        m.d.comb += [
            self.i.ready.eq(~full | self.o.ready),
            self.o.valid.eq(full),
            self.o.payload.eq(held),
        ]
        with m.If(self.o.ready):
            m.d.sync += full.eq(0)
        with m.If(self.i.valid & self.i.ready):
            # A shift register costs no write multiplexer: the first beat ends in the lowest lanes.
            for k in range(wide):
                source = held.data[k + narrow] if k + narrow < wide else None
                new = self.i.payload.data[k + narrow - wide] if source is None else source
                m.d.sync += held.data[k].eq(new)
            m.d.sync += [held.last.eq(self.i.payload.last), place.eq(place + 1)]
            with m.If(place == ratio - 1):
                m.d.sync += [place.eq(0), full.eq(1)]
        return m


class Narrow(wiring.Component):
    """Deal one beat out as `beat.lanes / lanes` beats, the lowest lanes first.

    Ports: `i` (In), a stream of `beat`; `o` (Out), one of `beat.with_lanes(lanes)`. `lanes` must
    divide `beat.lanes`. Gives a beat a cycle, latency 1 cycle. `o` comes from registers; `i.ready`
    depends on `o.ready` in the same cycle. `last` is on the last part of a last beat.
    """

    def __init__(self, beat: Beat, lanes: int) -> None:
        if lanes < 1 or beat.lanes % lanes:
            raise HwsimError(f"narrower lanes must divide {beat.lanes}, not be {lanes}")
        self.beat, self.narrow = beat, beat.with_lanes(lanes)
        super().__init__({"i": In(beat.stream), "o": Out(self.narrow.stream)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        narrow, wide = self.narrow.lanes, self.beat.lanes
        left = Signal(range(wide // narrow + 1))  # parts still to give
        held = blank(self.beat, "held")
        m.d.comb += [
            self.o.valid.eq(left != 0),
            self.o.payload.last.eq(held.last & (left == 1)),
            self.i.ready.eq((left == 0) | ((left == 1) & self.o.ready)),
        ]
        m.d.comb += [self.o.payload.data[k].eq(held.data[k]) for k in range(narrow)]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += left.eq(left - 1)
            m.d.sync += [held.data[k].eq(held.data[k + narrow]) for k in range(wide - narrow)]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [left.eq(wide // narrow), held.eq(self.i.payload)]
        return m


class Lanes(wiring.Component):
    """Convert between any two numbers of lanes; through their common multiple where none divides.

    Ports: `i` (In), a stream of `beat`; `o` (Out), one of `beat.with_lanes(lanes)`. Each tensor's
    codes must be a multiple of both. Equal lanes pass straight through (latency 0, no hardware).
    Otherwise the narrower side moves a beat a cycle.
    """

    def __init__(self, beat: Beat, lanes: int) -> None:
        if lanes < 1:
            raise HwsimError(f"a beat's lanes must be at least 1, not {lanes}")
        self.beat, self.lanes = beat, lanes
        super().__init__({"i": In(beat.stream), "o": Out(beat.with_lanes(lanes).stream)})

    @property
    def latency(self) -> int:
        """Cycles from the last input beat of a group to the first output beat of it."""
        common = math.lcm(self.beat.lanes, self.lanes)
        return int(common != self.beat.lanes) + int(common != self.lanes)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        common = math.lcm(self.beat.lanes, self.lanes)
        source = wiring.flipped(self.i)
        if common != self.beat.lanes:
            m.submodules.widen = widen = Widen(self.beat, common)
            wiring.connect(m, source, widen.i)
            source = widen.o
        if common != self.lanes:
            m.submodules.narrow = narrow = Narrow(self.beat.with_lanes(common), self.lanes)
            wiring.connect(m, source, narrow.i)
            source = narrow.o
        wiring.connect(m, source, wiring.flipped(self.o))
        return m
