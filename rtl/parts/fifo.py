"""A first-in first-out queue whose capacity is exactly what a depth proof asks for."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hwsim.errors import HwsimError
from rtl.parts.stream import blank
from rtl.targets import REFERENCE

SHALLOW = REFERENCE.block_ram.distributed[0]  # entries of one column of distributed memory


class Fifo(wiring.Component):
    """A queue of exactly `depth` beats: so many, and not one more, are taken before one leaves.

    Ports: `i` (In) and `o` (Out), streams of `shape`. One beat a cycle at any depth. Latency 1
    cycle up to a depth of 16 (registers or distributed memory, read in the same cycle), 2 cycles
    above (block memory with a registered read). `i.ready` comes from a register, except at depth 1,
    where it depends on `o.ready` in the same cycle.
    """

    def __init__(self, shape: Any, depth: int) -> None:
        if depth < 1:
            raise HwsimError(f"a FIFO's depth must be at least 1, not {depth}")
        self.shape, self.depth = shape, depth
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    @property
    def latency(self) -> int:
        """Cycles from a beat's arrival in an empty queue to its being offered."""
        return 1 if self.depth <= SHALLOW else 2

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if self.depth == 1:
            self._register(m)
        else:
            self._memory(m)
        return m

    def _register(self, m: Module) -> None:
        valid, held = Signal(), blank(self.shape, "held")
        m.d.comb += [
            self.i.ready.eq(~valid | self.o.ready),
            self.o.valid.eq(valid),
            self.o.payload.eq(held),
        ]
        with m.If(self.i.ready):
            m.d.sync += [valid.eq(self.i.valid), held.eq(self.i.payload)]

    def _memory(self, m: Module) -> None:
        m.submodules.store = store = memory.Memory(shape=self.shape, depth=self.depth, init=[])
        write = store.write_port()
        put, get, full = Signal(), Signal(), Signal()
        level = Signal(range(self.depth + 1))  # beats inside, those in the read register too
        m.d.comb += [
            self.i.ready.eq(~full),
            put.eq(self.i.valid & ~full),
            get.eq(self.o.valid & self.o.ready),
            write.data.eq(self.i.payload),
            write.en.eq(put),
        ]
        with m.If(put & ~get):
            m.d.sync += [level.eq(level + 1), full.eq(level == self.depth - 1)]
        with m.If(get & ~put):
            m.d.sync += [level.eq(level - 1), full.eq(0)]
        self._advance(m, write.addr, put)
        if self.depth <= SHALLOW:
            read = store.read_port(domain="comb")
            m.d.comb += self.o.valid.eq(level != 0)
            self._advance(m, read.addr, get)
        else:
            read = store.read_port()
            self._read_ahead(m, read, put, get)
        m.d.comb += self.o.payload.eq(read.data)

    def _read_ahead(self, m: Module, read: Any, put: Any, get: Any) -> None:
        """Move the oldest beat to the memory's read register whenever that is free."""
        valid, fetch = Signal(), Signal()
        waiting = Signal(range(self.depth + 1))  # beats still in the memory
        m.d.comb += [
            fetch.eq((waiting != 0) & (~valid | get)),
            read.en.eq(fetch),
            self.o.valid.eq(valid),
        ]
        with m.If(put & ~fetch):
            m.d.sync += waiting.eq(waiting + 1)
        with m.If(fetch & ~put):
            m.d.sync += waiting.eq(waiting - 1)
        with m.If(fetch | get):
            m.d.sync += valid.eq(fetch)
        self._advance(m, read.addr, fetch)

    def _advance(self, m: Module, address: Any, step: Any) -> None:
        """Drive a ring address by a pointer that moves on `step`."""
        pointer = Signal.like(address)
        m.d.comb += address.eq(pointer)
        with m.If(step):
            m.d.sync += pointer.eq(pointer + 1)
            with m.If(pointer == self.depth - 1):
                m.d.sync += pointer.eq(0)
