"""Codes that are one more or one less where they are on a list of their channel."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Module, Signal
from amaranth.hdl import Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwsim.fixed import Format
from hwsim.forms.ladders import Nudged
from rtl.parts import arith
from rtl.parts.pipeline import ChannelConstants, Lane, Pipeline
from rtl.parts.requantizer import Range, trimmed
from rtl.parts.stream import Beat


def moved_constants(form: Nudged, *, lanes: int, channels: int, block: bool) -> ChannelConstants:
    """The codes of each channel that are moved, by the names that a lane has them under."""
    fields = {
        f"{name}{place}": [row[place] for row in rows]
        for name, rows in (("up", form.up), ("down", form.down))
        for place in range(len(rows[0]))
    }
    return ChannelConstants(fields, lanes=lanes, channels=channels, block=block)


class Mover(wiring.Component):
    """One more for a code that is in its channel's row of `up`, one less for one in `down`.

    Ports: `i` (In) and `o` (Out), streams of `lanes` codes of `in_format`, which lie in `in_range`
    before and after. Rows come from a read-only memory where they differ between beats (with
    `block`, block RAM). One beat a cycle, latency `latency` cycles, backpressure honoured; no path
    between `o.ready` and `i.ready`. `last` passes through.
    """

    def __init__(
        self,
        form: Nudged,
        *,
        lanes: int,
        channels: int,
        in_format: Format,
        in_range: Range,
        block: bool = False,
    ) -> None:
        self.form, self.lanes, self.range = form, lanes, in_range
        self.constants = moved_constants(form, lanes=lanes, channels=channels, block=block)
        self.beat = self.target = Beat.of(lanes, in_format)
        super().__init__({"i": In(self.beat.stream), "o": Out(self.target.stream)})

    @property
    def latency(self) -> int:
        """Cycles from a beat's arrival to its being offered, when nothing stalls."""
        return 3 + int(self.constants.stored)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        pipe = Pipeline(m, self.i, self.target)
        lanes = pipe.register([{"x": trimmed(c, self.range)} for c in self.i.payload.data])
        fetched = self.constants.fetch(m, taken=self.i.valid & self.i.ready, advance=pipe.advance)
        lanes = [{**lane, **more} for lane, more in zip(lanes, fetched, strict=True)]
        if self.constants.stored:
            lanes = pipe.register(lanes)  # a block memory's output is too late for a comparison
        done = pipe.run(lanes, [self._found, self._moved])
        pipe.finish([lane["x"] for lane in done], self.o)
        return m

    def _found(self, m: Module, lane: Lane) -> Lane:
        """Which list the code is on."""
        x, out = Value.cast(lane["x"]), {"x": lane["x"]}
        for name, rows in (("up", self.form.up), ("down", self.form.down)):
            found = Signal()
            m.d.comb += found.eq(Cat(x == lane[f"{name}{k}"] for k in range(len(rows[0]))).any())
            out[name] = found
        return out

    def _moved(self, m: Module, lane: Lane) -> dict[str, Any]:
        x = Signal(arith.holding(*self.range))
        m.d.comb += x.eq(lane["x"] + lane["up"] - lane["down"])
        return {"x": x}
