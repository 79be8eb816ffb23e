"""Casts of codes from one fixed-point format to another, alike for all channels or not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth import Const, Module, Mux, Signal
from amaranth.hdl import Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwsim.errors import HwsimError
from hwsim.fixed import Format, Overflow, Rounding
from rtl.parts import arith
from rtl.parts.pointwise import Map
from rtl.parts.stream import Beat, Slice


def caster(lanes: int, *, src: Format, dst: Format, rounding: Rounding, overflow: Overflow) -> Map:
    """A `Map` that brings codes of `src` to the format `dst`, as `hwsim.fixed.cast` does."""

    def function(m: Module, code: Any) -> Any:
        return arith.cast(m, code, src, dst, rounding, overflow)

    return Map(function, lanes, in_format=src, out=dst)


class ChannelCaster(wiring.Component):
    """Codes of `src` brought to a format for each channel, at the binary point of `out`.

    `channels` are the formats, None for a channel that is always 0. Ports: `i` (In), a stream of
    `lanes` codes of `src`, a divisor of the channels; `o` (Out), one of `out`. A lane computes the
    formats of its own channels and picks one by a count of beats. Latency 1 cycle, one beat a
    cycle; no path between the two sides.
    """

    def __init__(
        self,
        channels: Sequence[Format | None],
        lanes: int,
        *,
        src: Format,
        out: Format,
        rounding: Rounding,
        overflow: Overflow,
    ) -> None:
        if lanes < 1 or len(channels) % lanes:
            raise HwsimError(f"a caster's lanes must divide {len(channels)} channels, not {lanes}")
        self.channels, self.lanes, self.src, self.out = channels, lanes, src, Beat.of(lanes, out)
        self.target, self.modes = out, (rounding, overflow)
        super().__init__({"i": In(Beat.of(lanes, src).stream), "o": Out(self.out.stream)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.slice = cut = Slice(self.out)
        m.d.comb += [
            cut.i.valid.eq(self.i.valid),
            self.i.ready.eq(cut.i.ready),
            cut.i.payload.last.eq(self.i.payload.last),
        ]
        blocks = len(self.channels) // self.lanes
        block = Signal(range(blocks))
        if blocks > 1:
            with m.If(self.i.valid & self.i.ready):
                m.d.sync += block.eq(Mux(block == blocks - 1, 0, block + 1))
        for k in range(self.lanes):
            code = self._lane(m, self.i.payload.data[k], self.channels[k :: self.lanes], block)
            m.d.comb += cut.i.payload.data[k].eq(code)
        wiring.connect(m, cut.o, wiring.flipped(self.o))
        return m

    def _lane(self, m: Module, code: Any, formats: Sequence[Format | None], block: Any) -> Any:
        """The code in the format of the block."""
        distinct = list(dict.fromkeys(formats))
        found = [self._cast(m, code, fmt) for fmt in distinct]
        if len(found) == 1:
            return found[0]
        out = Signal(arith.shape_of(self.target))
        with m.Switch(block):
            for fmt, value in zip(distinct, found, strict=True):
                with m.Case(*(b for b, f in enumerate(formats) if f == fmt)):
                    m.d.comb += out.eq(value)
        return out

    def _cast(self, m: Module, code: Any, fmt: Format | None) -> Any:
        if fmt is None:
            return Const(0)
        value = arith.cast(m, code, self.src, fmt, *self.modes)
        return Value.cast(value) << (self.target.frac_bits - fmt.frac_bits)
