"""Many beats into one: the largest code, the smallest or the sum, and the index of the largest."""

from __future__ import annotations

from enum import Enum
from typing import Any

from amaranth import Module, Mux, Signal, unsigned
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from hwsim.errors import HwsimError
from hwsim.fixed import Format, Overflow
from rtl.parts import arith
from rtl.parts.loops import Loop, nest
from rtl.parts.stream import Beat, Slice, blank, flat


class Combine(Enum):
    """How the codes of one channel become one."""

    MAX = "max"
    MIN = "min"
    SUM = "sum"


class Running(wiring.Component):
    """Combine the codes of each channel over `positions`, exactly.

    Ports: `i`, a stream of `beat`, for each output pixel `positions` times `channel_beats` beats,
    the channel beats innermost; `o`, a stream of `out` with the same lanes, `channel_beats` beats
    for each output pixel, `last` where the input's beat has it. A sum starts at `initial`; each
    partial sum is brought into the codes of `out` by `overflow`. A maximum or minimum must have the
    input's format and ignores both.

    A beat a cycle, without gaps between pixels; latency 1 cycle from a channel's last code.
    `i.ready` and `o` come from registers. Memory: one word of the lanes' results for each channel
    beat, or registers where there is but one.

    Raises `HwsimError` for no positions or channel beats, other lanes, or a maximum in another
    format.
    """

    def __init__(
        self,
        beat: Beat,
        out: Beat,
        *,
        positions: int,
        channel_beats: int,
        combine: Combine,
        initial: int = 0,
        overflow: Overflow = Overflow.WRAP,
    ) -> None:
        if positions < 1 or channel_beats < 1:
            raise HwsimError(
                "a reduction's positions and channel beats must be at least 1, "
                f"not {positions} and {channel_beats}"
            )
        if out.lanes != beat.lanes:
            raise HwsimError(f"a reduction's output lanes must be {beat.lanes}, not {out.lanes}")
        if combine is not Combine.SUM and out.code != beat.code:
            raise HwsimError(
                f"a {combine.value}imum's output codes must be {beat.code}, not {out.code}"
            )
        self.beat, self.out, self.combine, self.initial = beat, out, combine, initial
        self.positions, self.channel_beats, self.overflow = positions, channel_beats, overflow
        super().__init__({"i": In(beat.stream), "o": Out(out.stream)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.cut = cut = Slice(self.out)
        wiring.connect(m, cut.o, wiring.flipped(self.o))
        taken = Signal()
        channel = Loop(m, "channel", self.channel_beats)
        position = Loop(m, "position", self.positions, {"first": _first(self.positions)})
        nest(m, taken, [channel, position])
        held = self._held(m, channel, taken, cut.i.payload)
        m.d.comb += [
            taken.eq(self.i.valid & cut.i.ready),
            self.i.ready.eq(cut.i.ready),
            cut.i.valid.eq(self.i.valid & position.last),
            cut.i.payload.last.eq(self.i.payload.last),
        ]
        for k in range(self.beat.lanes):
            code, start = self.i.payload.data[k], position.now["first"]
            before = Signal(self.out.code, name=f"before_{k}")
            m.d.comb += before.eq(held[k * self.out.width : (k + 1) * self.out.width])
            if self.combine is Combine.MAX:
                value = Mux(start | (code > before), code, before)
            elif self.combine is Combine.MIN:
                value = Mux(start | (code < before), code, before)
            else:
                total = Mux(start, self.initial, before) + code
                value = arith.overflow(m, total, self._format, self.overflow)
            m.d.comb += cut.i.payload.data[k].eq(value)
        return m

    @property
    def _format(self) -> Format:
        return Format(self.out.is_signed, self.out.width)

    def _held(self, m: Module, channel: Loop, taken: Any, value: Any) -> Any:
        """What earlier positions gave for the channels of the present beat."""
        bits = unsigned(self.out.lanes * self.out.width)
        if self.channel_beats == 1:
            held = blank(bits, "held")
            with m.If(taken):
                m.d.sync += held.eq(flat(value))
            return held
        m.submodules.store = store = memory.Memory(shape=bits, depth=self.channel_beats, init=[])
        read, write = store.read_port(), store.write_port()
        # The next beat is of other channels: its word is read while this one is written.
        m.d.comb += [
            read.addr.eq(channel.following),
            read.en.eq(taken),
            write.addr.eq(channel.index),
            write.data.eq(flat(value)),
            write.en.eq(taken),
        ]
        return read.data


class Across(wiring.Component):
    """Combine the codes of each beat into one, exactly, by a tree.

    Ports: `i` (In), a stream of `beat`; `o` (Out), one of `out`, 1 lane. A beat a cycle, latency 1
    cycle; no path between the two sides. `last` passes through.
    """

    def __init__(self, beat: Beat, combine: Combine) -> None:
        ends = arith.bounds(Signal(beat.code))
        times = beat.lanes if combine is Combine.SUM else 1
        self.combine, self.out = combine, Beat.of(1, Format.holding(*(times * e for e in ends)))
        super().__init__({"i": In(beat.stream), "o": Out(self.out.stream)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.cut = cut = Slice(self.out)
        wiring.connect(m, cut.o, wiring.flipped(self.o))
        values: list[Any] = list(self.i.payload.data)
        while len(values) > 1:
            pairs = zip(values[::2], values[1::2], strict=False)
            left = values[len(values) & ~1 :]
            values = [self._pair(a, b) for a, b in pairs] + left
        m.d.comb += [
            cut.i.valid.eq(self.i.valid),
            self.i.ready.eq(cut.i.ready),
            cut.i.payload.last.eq(self.i.payload.last),
            cut.i.payload.data[0].eq(values[0]),
        ]
        return m

    def _pair(self, a: Any, b: Any) -> Any:
        if self.combine is Combine.SUM:
            return a + b
        return Mux(a > b, a, b) if self.combine is Combine.MAX else Mux(a < b, a, b)


class FirstLargest(wiring.Component):
    """Give the index of the first largest of each pixel's codes.

    Ports: `i`, a stream of `beat` (1 lane), `channels` beats for each pixel; `o`, a stream of
    `out`, 1 lane of codes of `fmt`, with `last` where the pixel's final beat has it. A beat a
    cycle, without gaps; latency 1 cycle. `i.ready` and `o` come from registers.

    Raises `HwsimError` for more lanes, no channels, or a format that does not hold the last index.
    """

    def __init__(self, beat: Beat, channels: int, fmt: Format) -> None:
        if beat.lanes != 1:
            raise HwsimError(f"an index's input lanes must be 1, not {beat.lanes}")
        if channels < 1:
            raise HwsimError(f"an index's channels must be at least 1, not {channels}")
        if fmt.max < channels - 1:
            raise HwsimError(f"an index's format must hold {channels - 1}, not only {fmt.max}")
        self.beat, self.channels, self.out = beat, channels, Beat.of(1, fmt)
        super().__init__({"i": In(beat.stream), "o": Out(self.out.stream)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.cut = cut = Slice(self.out)
        wiring.connect(m, cut.o, wiring.flipped(self.o))
        taken, wins, place = Signal(), Signal(), Signal(range(self.channels))
        channel = Loop(m, "channel", self.channels, {"first": _first(self.channels)})
        best, best_place = blank(self.beat.code, "best"), blank(range(self.channels), "best_place")
        code = self.i.payload.data[0]
        m.d.comb += [
            taken.eq(self.i.valid & cut.i.ready),
            channel.step.eq(taken),
            wins.eq(channel.now["first"] | (code > best)),
            place.eq(Mux(wins, channel.index, best_place)),
            self.i.ready.eq(cut.i.ready),
            cut.i.valid.eq(self.i.valid & channel.last),
            cut.i.payload.last.eq(self.i.payload.last),
            cut.i.payload.data[0].eq(place),
        ]
        with m.If(taken):
            m.d.sync += [best_place.eq(place), best.eq(Mux(wins, code, best))]
        return m


def _first(count: int) -> list[int]:
    return [int(k == 0) for k in range(count)]
