"""Vectors given more than once: all their beats in turn, or those that a schedule names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from hwsim.errors import HwsimError
from hwsim.ops.base import IntArray
from rtl.parts.loops import Loop, nest
from rtl.parts.rom import constant_memory
from rtl.parts.stream import Beat, blank, flat


class Replay(wiring.Component):
    """Give each vector of `beats` beats `times` times over: once as it comes, then from a memory.

    Ports: `i` (In) and `o` (Out), streams of `beat`. Latency 0 in the first pass; a beat a cycle.
    `i.ready` depends on `o.ready` in the same cycle. `last` shows in the final pass only.
    """

    def __init__(self, beat: Beat, beats: int, times: int) -> None:
        if beats < 1 or times < 2:
            raise HwsimError(f"a replay must have beats and at least 2 times, not {beats}, {times}")
        self.beat, self.beats, self.times = beat, beats, times
        super().__init__({"i": In(beat.stream), "o": Out(beat.stream)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        index, following = Signal(range(self.beats)), Signal(range(self.beats))
        turn, moved, ends = Signal(range(self.times)), Signal(), Signal()
        held_last = Signal()
        first = turn == 0
        store = self._store(m, index, following, first & moved)
        m.d.comb += [
            moved.eq(self.o.valid & self.o.ready),
            ends.eq(index == self.beats - 1),
            self.o.valid.eq(self.i.valid | ~first),
            self.i.ready.eq(self.o.ready & first),
            self.o.payload.data.eq(Mux(first, Cat(self.i.payload.data), store)),
            self.o.payload.last.eq(ends & (turn == self.times - 1) & held_last),
            following.eq(Mux(moved, Mux(ends, 0, index + 1), index)),
        ]
        m.d.sync += index.eq(following)
        with m.If(moved & ends):
            m.d.sync += turn.eq(Mux(turn == self.times - 1, 0, turn + 1))
        with m.If(moved & first):
            m.d.sync += held_last.eq(self.i.payload.last)
        return m

    def _store(self, m: Module, index: Any, following: Any, write: Any) -> Any:
        """The code words of earlier beats; the read address is that of the next cycle."""
        bits = self.beat.lanes * self.beat.width
        if self.beats == 1:
            held = blank(unsigned(bits), "held")
            with m.If(write):
                m.d.sync += held.eq(Cat(self.i.payload.data))
            return held
        m.submodules.store = store = memory.Memory(shape=unsigned(bits), depth=self.beats, init=[])
        port = store.write_port()
        m.d.comb += [port.addr.eq(index), port.data.eq(Cat(self.i.payload.data)), port.en.eq(write)]
        read = store.read_port()
        m.d.comb += read.addr.eq(following)
        return read.data


class PickBeats(wiring.Component):
    """Give beats of each vector in the order of `order`: some several times, some never.

    `order` is (entries, beats side by side). Ports: `i` (In), a stream of `beat`, and `o` (Out),
    one of as many side by side; a vector has `beats` of them. It is held whole, once for each place
    in `o`, and the next one comes in meanwhile: a vector takes as many cycles as it has beats, or
    as `order` has entries, whichever are more. 2 cycles from a vector's last beat to the first that
    is given. `i.ready` and `o.valid` come from registers. `last` is on the final entry, of a vector
    that ended with it. With `block` the order lies in block RAM.
    """

    def __init__(self, beat: Beat, beats: int, order: IntArray, *, block: bool = False) -> None:
        if beats < 2 or len(order) < 2 or order.min() < 0 or order.max() >= beats:
            raise HwsimError(
                "an order must have at least 2 entries, of a vector of at least 2 beats, and name "
                f"its beats, not be {order.tolist()} of {beats}"
            )
        self.beat, self.beats, self.order, self.block = beat, beats, order, block
        out = beat.with_lanes(beat.lanes * order.shape[1])
        super().__init__({"i": In(beat.stream), "o": Out(out.stream)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shape, stores = unsigned(self.beat.lanes * self.beat.width), []
        for place in range(self.order.shape[1]):
            stores.append(memory.Memory(shape=shape, depth=2 * self.beats, init=[]))
            m.submodules[f"store_{place}"] = stores[-1]
        whole, freed, full = Signal(), Signal(), Signal(range(3))  # vectors that can be read
        m.d.sync += full.eq(full + whole - freed)
        m.d.comb += self.i.ready.eq(~full[1])
        lasts = self._write(m, [store.write_port() for store in stores], whole)
        self._read(m, [store.read_port() for store in stores], full.any(), freed, lasts)
        return m

    def _write(self, m: Module, ports: Sequence[Any], whole: Any) -> Any:
        """One vector after the other into either half; whether each had `last`."""
        put, lasts = Signal(), Signal(2)
        place, half = Loop(m, "place", self.beats), Loop(m, "half", 2)
        nest(m, put, [place, half])
        m.d.comb += [
            put.eq(self.i.valid & self.i.ready),
            whole.eq(half.step),
        ]
        for port in ports:
            m.d.comb += [
                port.en.eq(put),
                port.addr.eq(self._address(half.index, place.index)),
                port.data.eq(flat(self.i.payload)),
            ]
        with m.If(whole):
            m.d.sync += lasts.bit_select(half.index, 1).eq(self.i.payload.last)
        return lasts

    def _read(self, m: Module, ports: Sequence[Any], here: Any, freed: Any, lasts: Any) -> None:
        enable, issue, valid, last = Signal(), Signal(), Signal(), Signal()
        turn, half = Loop(m, "turn", len(self.order)), Loop(m, "read_half", 2)
        nest(m, issue, [turn, half])
        bits = (self.beats - 1).bit_length()
        rows = [sum(n << k * bits for k, n in enumerate(row)) for row in self.order.tolist()]
        m.submodules.order = order = constant_memory(
            unsigned(bits * len(ports)), rows, block=self.block
        )
        entry = order.read_port()
        m.d.comb += [
            entry.addr.eq(Mux(turn.step, turn.following, turn.index)),
            enable.eq(~valid | self.o.ready),
            issue.eq(enable & here),
            freed.eq(half.step),
            self.o.valid.eq(valid),
            Cat(*self.o.payload.data).eq(Cat(*(port.data for port in ports))),
            self.o.payload.last.eq(last),
        ]
        for k, port in enumerate(ports):
            named = entry.data[k * bits : (k + 1) * bits]
            m.d.comb += [port.en.eq(issue), port.addr.eq(self._address(half.index, named))]
        with m.If(enable):
            m.d.sync += [
                valid.eq(issue),
                last.eq(turn.last & lasts.bit_select(half.index, 1)),
            ]

    def _address(self, half: Any, place: Any) -> Any:
        return Mux(half, place + self.beats, place)
