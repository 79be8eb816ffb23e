"""Change the order of codes, or repeat them: a memory of two blocks, written straight."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from amaranth import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from hwsim.errors import HwsimError
from rtl.parts.loops import Loop, nest
from rtl.parts.stream import Beat, Slice


class Reread(wiring.Component):
    """Blocks of a stream, each read as nested loops go over it.

    A block is `words` beats, and `blocks` of them are a tensor. `counts` are the turns of the
    loops, the outermost first, and `strides` the beats by which a turn moves on; where that is 0 a
    part of the block is repeated. A beat leaves with `copies` copies of its codes.

    Ports: `i` (In), a stream of `beat`, and `o` (Out), one of `out`. A block leaves when it is
    whole inside; the next is written meanwhile, so that a beat a cycle passes. Latency: its beats
    and 3 cycles. Backpressure is honoured; it empties without new input.
    """

    def __init__(
        self,
        beat: Beat,
        *,
        words: int,
        counts: Sequence[int],
        strides: Sequence[int],
        blocks: int = 1,
        copies: int = 1,
    ) -> None:
        self.beat, self.out = beat, beat.with_lanes(beat.lanes * copies)
        self.words, self.blocks, self.copies = words, blocks, copies
        self.counts, self.strides = list(counts), list(strides)
        super().__init__({"i": In(beat.stream), "o": Out(self.out.stream)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        size = self.words
        m.submodules.store = store = memory.Memory(
            shape=unsigned(self.beat.lanes * self.beat.width), depth=2 * size, init=[]
        )
        m.submodules.slice = cut = Slice(self.out)
        write, read = store.write_port(), store.read_port()
        inward, outward = Signal(), Signal()  # the half that is written, and the one that is read
        whole = Signal(range(3))  # blocks inside
        taken, stored, given = Signal(), Signal(), Signal()
        place = Signal(range(size))
        m.d.comb += [
            self.i.ready.eq(whole != 2),
            taken.eq(self.i.valid & self.i.ready),
            stored.eq(taken & (place == size - 1)),
            write.en.eq(taken),
            write.addr.eq(place + Mux(inward, size, 0)),
            write.data.eq(Cat(self.i.payload.data)),
        ]
        with m.If(taken):
            m.d.sync += place.eq(Mux(place == size - 1, 0, place + 1))
        m.d.sync += [inward.eq(inward ^ stored), outward.eq(outward ^ given)]
        m.d.sync += whole.eq(whole + stored - given)
        valid, last = Signal(), Signal()
        fetch, address, final = Signal(), Signal(range(size)), Signal()
        m.d.comb += [
            fetch.eq((whole != 0) & (cut.i.ready | ~valid)),
            given.eq(fetch & final),
            read.en.eq(fetch),
            read.addr.eq(address + Mux(outward, size, 0)),
            cut.i.valid.eq(valid),
            cut.i.payload.data.as_value().eq(read.data.replicate(self.copies)),
            cut.i.payload.last.eq(last),
        ]
        block = Signal(range(self.blocks))
        final_block = block == self.blocks - 1
        with m.If(given):
            m.d.sync += block.eq(Mux(final_block, 0, block + 1))
        with m.If(cut.i.ready | ~valid):
            m.d.sync += [valid.eq(fetch), last.eq(final & final_block)]
        self.walk(m, fetch, address, final)
        wiring.connect(m, cut.o, wiring.flipped(self.o))
        return m

    def walk(self, m: Module, step: Any, address: Any, final: Any) -> None:
        """Nested counters over the loops; the address moves by a constant at each carry.

        With each `step` a beat is read at `address`; `final` tells the last of a block.
        """
        counts = [Signal(range(n), name=f"axis_{k}") for k, n in enumerate(self.counts)]
        carry: Any = step
        back = 0  # what the inner loops have added to the address when they all end
        moves = []
        for k in reversed(range(len(counts))):
            ends = Signal(name=f"ends_{k}")
            m.d.comb += ends.eq(counts[k] == self.counts[k] - 1)
            moves.append((carry & ~ends, self.strides[k] - back))
            with m.If(carry):
                m.d.sync += counts[k].eq(Mux(ends, 0, counts[k] + 1))
            back += (self.counts[k] - 1) * self.strides[k]
            carry = carry & ends
        m.d.comb += final.eq(carry)
        for moved, distance in moves:
            with m.If(moved):
                m.d.sync += address.eq(address + distance)
        with m.If(carry):
            m.d.sync += address.eq(0)


class Permute(Reread):
    """Transpose a tensor of `shape`: axis k of the output is axis `axes[k]` of the input.

    Ports: `i` (In) and `o` (Out), streams of `beat`, one code a beat. Latency and backpressure are
    those of a Reread with the tensor for a block.
    """

    def __init__(self, beat: Beat, shape: Sequence[int], axes: Sequence[int]) -> None:
        if beat.lanes != 1:
            raise HwsimError(f"a permuted stream must have one lane, not {beat.lanes}")
        strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
        super().__init__(
            beat,
            words=math.prod(shape),
            counts=[shape[axis] for axis in axes],
            strides=[strides[axis] for axis in axes],
        )


class Repeat(Reread):
    """Give each block of `words` beats `times[k]` times, k its place in a round of blocks.

    Ports: `i` (In) and `o` (Out), streams of `beat`; `rounds` rounds are a tensor. Latency and
    backpressure are those of a Reread.
    """

    def __init__(self, beat: Beat, *, words: int, times: Sequence[int], rounds: int) -> None:
        self.times = tuple(times)
        blocks = len(self.times) * rounds
        super().__init__(beat, words=words, counts=(words,), strides=(1,), blocks=blocks)

    def walk(self, m: Module, step: Any, address: Any, final: Any) -> None:
        """A counter over the beats, one over the turns, and one that knows how many there are."""
        beat = Loop(m, "beat", self.words)
        place = Loop(m, "place", len(self.times), {"turns": [n - 1 for n in self.times]})
        turn = Signal(range(max(self.times)))
        done = turn == place.now["turns"]
        whole = nest(m, step, [beat])
        m.d.comb += [address.eq(beat.index), final.eq(whole & done), place.step.eq(final)]
        with m.If(whole):
            m.d.sync += turn.eq(Mux(done, 0, turn + 1))


class Reorder(Reread):
    """Give parts of each block in any order: `places` are those of `words` beats that are read.

    A block is `length` parts of `words` beats each, and `blocks` of them are a tensor. Ports: `i`
    (In) and `o` (Out), streams of `beat`. Latency and backpressure are those of a Reread.
    """

    def __init__(
        self, beat: Beat, *, words: int, length: int, places: Sequence[int], blocks: int
    ) -> None:
        self.part, self.places = words, tuple(places)
        counts = (len(self.places), words)
        super().__init__(
            beat, words=words * length, counts=counts, strides=(words, 1), blocks=blocks
        )

    def walk(self, m: Module, step: Any, address: Any, final: Any) -> None:
        """A counter over the beats of a part, added to where the part begins."""
        beat = Loop(m, "beat", self.part)
        starts = [place * self.part for place in self.places]
        place = Loop(m, "place", len(self.places), {"start": starts})
        m.d.comb += final.eq(nest(m, step, [beat, place]))
        m.d.comb += address.eq(place.now["start"] + beat.index)
