"""Adapters between streams of codes and AXI4-Stream (Arm IHI 0051)."""

from __future__ import annotations

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwsim.errors import HwsimError
from rtl.parts.stream import Beat, Slice


def lane_bits(beat: Beat) -> int:
    """Bits of TDATA that one code takes: its width in whole bytes."""
    return -(-beat.width // 8) * 8


def tdata_bits(beat: Beat) -> int:
    """Width of TDATA: all lanes, lane 0 lowest."""
    return beat.lanes * lane_bits(beat)


class AxisIn(wiring.Component):
    """From an AXI4-Stream receiver port to a stream of codes.

    Ports: `tdata` (In, `tdata_bits(beat)`), `tvalid` (In), `tlast` (In), `tready` (Out, from a
    register); `o` (Out), a stream of `beat`. Each code is the low bits of its lane of whole bytes.
    Latency 1 cycle, one beat a cycle. With `beats` given, `last` is made by counting so many beats
    a tensor and `tlast` is not looked at, so that a sender's slip cannot shift the layers behind.
    """

    def __init__(self, beat: Beat, beats: int | None = None) -> None:
        if beats is not None and beats < 1:
            raise HwsimError(f"a tensor's beats must be at least 1, not {beats}")
        self.beat, self.beats = beat, beats
        super().__init__(
            {
                "tdata": In(tdata_bits(beat)),
                "tvalid": In(1),
                "tlast": In(1),
                "tready": Out(1),
                "o": Out(beat.stream),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.slice = cut = Slice(self.beat)
        step, last = lane_bits(self.beat), Signal()
        m.d.comb += [
            cut.i.valid.eq(self.tvalid),
            cut.i.payload.last.eq(last),
            self.tready.eq(cut.i.ready),
        ]
        for k in range(self.beat.lanes):
            m.d.comb += cut.i.payload.data[k].eq(self.tdata[k * step : k * step + self.beat.width])
        if self.beats is None:
            m.d.comb += last.eq(self.tlast)
        else:
            count = Signal(range(self.beats))
            m.d.comb += last.eq(count == self.beats - 1)
            with m.If(self.tvalid & self.tready):
                m.d.sync += count.eq(count + 1)
                with m.If(last):
                    m.d.sync += count.eq(0)
        wiring.connect(m, cut.o, wiring.flipped(self.o))
        return m


class AxisOut(wiring.Component):
    """From a stream of codes to an AXI4-Stream transmitter port.

    Ports: `i` (In), a stream of `beat`; `tdata` (Out, `tdata_bits(beat)`), `tvalid` (Out), `tlast`
    (Out), `tready` (In). Signed codes are sign-extended to whole bytes, unsigned ones padded with
    zeros. Latency 1 cycle, one beat a cycle; all outputs come from registers.
    """

    def __init__(self, beat: Beat) -> None:
        self.beat = beat
        super().__init__(
            {
                "i": In(beat.stream),
                "tdata": Out(tdata_bits(beat)),
                "tvalid": Out(1),
                "tlast": Out(1),
                "tready": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.slice = cut = Slice(self.beat)
        step = lane_bits(self.beat)
        wiring.connect(m, wiring.flipped(self.i), cut.i)
        m.d.comb += [
            self.tvalid.eq(cut.o.valid),
            self.tlast.eq(cut.o.payload.last),
            cut.o.ready.eq(self.tready),
        ]
        for k in range(self.beat.lanes):
            m.d.comb += self.tdata[k * step : (k + 1) * step].eq(cut.o.payload.data[k])
        return m
