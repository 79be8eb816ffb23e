"""Streams of tensor codes: the beat, and the parts that hold, copy, pair and join them.

A stream carries one tensor after another in row-major order, channels innermost, `lanes` codes a
beat (lane 0 first), with `last` on the final beat of each tensor. Every part keeps the rules of
`amaranth.lib.stream`: once `valid` is raised the payload stays until `ready`, and no `valid` output
depends on a `ready` input in the same cycle. All parts are cleared by the domain's reset.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hwsim.errors import HwsimError
from hwsim.fixed import Format


class Beat(data.StructLayout):
    """The payload of one beat: `data`, an array of `lanes` codes of `width` bits, and `last`.

    Use it wherever Amaranth takes a shape. Raises `HwsimError` for no lanes or no bits.
    """

    def __init__(self, lanes: int, width: int, signed_: bool = True) -> None:
        if lanes < 1:
            raise HwsimError(f"a beat's lanes must be at least 1, not {lanes}")
        if width < 1:
            raise HwsimError(f"a beat's code width must be at least 1 bit, not {width}")
        self.lanes, self.width, self.is_signed = lanes, width, signed_
        super().__init__({"data": data.ArrayLayout(self.code, lanes), "last": 1})

    @classmethod
    def of(cls, lanes: int, fmt: Format) -> Beat:
        """A beat of codes of `fmt`."""
        return cls(lanes, fmt.width, fmt.signed)

    @property
    def code(self) -> Any:
        """The Amaranth shape of one code."""
        return signed(self.width) if self.is_signed else unsigned(self.width)

    @property
    def stream(self) -> Any:
        """The signature of a stream of such beats, seen from its source."""
        return stream.Signature(self)

    def with_lanes(self, lanes: int) -> Beat:
        """The same codes, another number of them a beat."""
        return Beat(lanes, self.width, self.is_signed)


def signature(lanes: int, fmt_width: int, signed_: bool = True) -> Any:
    """The signature of a stream of `Beat(lanes, fmt_width, signed_)`."""
    return Beat(lanes, fmt_width, signed_).stream


def blank(shape: Any, name: str) -> Any:
    """A payload register, without a reset: what it holds means nothing until `valid` says so."""
    return Signal(shape, name=name, reset_less=True)


class Slice(wiring.Component):
    """A register slice that cuts every path between its two sides.

    Ports: `i` (In) and `o` (Out), streams of `shape`. Latency 1 cycle, one beat a cycle, holds up
    to two beats. `i.ready`, `o.valid` and `o.payload` come straight from registers.
    """

    def __init__(self, shape: Any) -> None:
        self.shape = shape
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        valid, full = Signal(), Signal()  # `full`: the spare register holds a second beat
        first, spare = blank(self.shape, "first"), blank(self.shape, "spare")
        m.d.comb += [self.i.ready.eq(~full), self.o.valid.eq(valid), self.o.payload.eq(first)]
        with m.If(~full):
            m.d.sync += spare.eq(self.i.payload)
        with m.If(self.o.ready | ~valid):
            with m.If(full):
                m.d.sync += [first.eq(spare), full.eq(0)]
            with m.Else():
                m.d.sync += [first.eq(self.i.payload), valid.eq(self.i.valid)]
        with m.Else():
            m.d.sync += full.eq(full | self.i.valid)
        return m


class Fork(wiring.Component):
    """Give every beat to each of `n` consumers once, each at its own time.

    Ports: `i` (In) and `o[0..n-1]` (Out), streams of `shape`. Latency 0; one beat a cycle when all
    consumers are ready. `i.ready` depends on every `o[k].ready` in the same cycle. The input moves
    on when the slowest consumer has the beat.
    """

    def __init__(self, shape: Any, n: int = 2) -> None:
        if n < 1:
            raise HwsimError(f"a fork's consumers must be at least 1, not {n}")
        self.n = n
        sig = stream.Signature(shape)
        super().__init__({"i": In(sig), "o": Out(sig).array(n)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        served, now = Signal(self.n), Signal(self.n)
        for k in range(self.n):
            m.d.comb += [
                self.o[k].payload.eq(self.i.payload),
                self.o[k].valid.eq(self.i.valid & ~served[k]),
                now[k].eq(served[k] | self.o[k].ready),
            ]
        m.d.comb += self.i.ready.eq(now.all())
        with m.If(self.i.valid):
            m.d.sync += served.eq(now & ~self.i.ready.replicate(self.n))
        return m


class Join(wiring.Component):
    """Pair the beats of two streams that carry tensors of equally many beats.

    Ports: `a` and `b` (In), streams of the beats `a` and `b`; `o` (Out), a stream of the struct
    `{"a": codes of a, "b": codes of b, "last": 1}`. Latency 0, one pair a cycle. `a.ready` depends
    on `b.valid` and `o.ready` in the same cycle, and the other way round. `last` is that of `a`.
    """

    def __init__(self, a: Beat, b: Beat) -> None:
        layout = data.StructLayout(
            {
                "a": data.ArrayLayout(a.code, a.lanes),
                "b": data.ArrayLayout(b.code, b.lanes),
                "last": 1,
            }
        )
        super().__init__({"a": In(a.stream), "b": In(b.stream), "o": Out(stream.Signature(layout))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += [
            self.o.payload.a.eq(self.a.payload.data),
            self.o.payload.b.eq(self.b.payload.data),
            self.o.payload.last.eq(self.a.payload.last),
            self.o.valid.eq(self.a.valid & self.b.valid),
            self.a.ready.eq(self.b.valid & self.o.ready),
            self.b.ready.eq(self.a.valid & self.o.ready),
        ]
        return m


class Distribute(wiring.Component):
    """Hand a stream's beats out in turn: a block to each of several streams, again and again.

    `blocks[k]` is the beats of output `k` in one round, and `rounds` rounds are a tensor. Ports:
    `i` (In) and `o[0..n-1]` (Out), streams of `beat`. Latency 0, one beat a cycle. `i.ready`
    depends on the `ready` of the output whose turn it is in the same cycle. `last` is on the final
    beat of an output's last block.
    """

    def __init__(self, beat: Beat, blocks: Sequence[int], rounds: int) -> None:
        if not blocks or min(blocks) < 1:
            raise HwsimError(f"the beats of each block must be at least 1, not {list(blocks)}")
        self.blocks, self.rounds = tuple(blocks), rounds
        super().__init__({"i": In(beat.stream), "o": Out(beat.stream).array(len(blocks))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        final = len(self.blocks) - 1
        turn, count = Signal(range(final + 1)), Signal(range(max(self.blocks)))
        round_, moved = Signal(range(self.rounds)), Signal()
        m.d.comb += moved.eq(self.i.valid & self.i.ready)
        for k, beats in enumerate(self.blocks):
            mine, ends = turn == k, count == beats - 1
            m.d.comb += [
                self.o[k].payload.data.eq(self.i.payload.data),
                self.o[k].payload.last.eq(ends & (round_ == self.rounds - 1)),
                self.o[k].valid.eq(self.i.valid & mine),
            ]
            with m.If(mine):
                m.d.comb += self.i.ready.eq(self.o[k].ready)
                with m.If(moved):
                    m.d.sync += count.eq(Mux(ends, 0, count + 1))
                    with m.If(ends):
                        m.d.sync += turn.eq(0 if k == final else k + 1)
                        if k == final:
                            m.d.sync += round_.eq(Mux(round_ == self.rounds - 1, 0, round_ + 1))
        return m


class Interleave(wiring.Component):
    """Interleave streams: a block of beats from each in turn, again and again.

    `blocks[k]` is the beats that stream `k` gives in one round: along the channels its channels /
    lanes, which must be a whole number. Ports: `i[0..n-1]` (In) and `o` (Out), streams of `beat`.
    Latency 0, one beat a cycle. `i[k].ready` depends on `o.ready` in the same cycle. `last` is that
    of the last stream, in the final beat of its block.
    """

    def __init__(self, beat: Beat, blocks: Sequence[int]) -> None:
        if not blocks or min(blocks) < 1:
            raise HwsimError(f"the beats of each block must be at least 1, not {list(blocks)}")
        self.blocks = tuple(blocks)
        super().__init__({"i": In(beat.stream).array(len(blocks)), "o": Out(beat.stream)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        final = len(self.blocks) - 1
        turn, count = Signal(range(final + 1)), Signal(range(max(self.blocks)))
        moved = Signal()
        m.d.comb += moved.eq(self.o.valid & self.o.ready)
        with m.Switch(turn):
            for k, beats in enumerate(self.blocks):
                source = self.i[k]
                with m.Case(k):
                    m.d.comb += [
                        self.o.payload.data.eq(source.payload.data),
                        self.o.valid.eq(source.valid),
                        source.ready.eq(self.o.ready),
                    ]
                    ends = count == beats - 1
                    if k == final:
                        m.d.comb += self.o.payload.last.eq(source.payload.last & ends)
                    with m.If(moved):
                        m.d.sync += count.eq(count + 1)
                        with m.If(ends):
                            m.d.sync += [count.eq(0), turn.eq(0 if k == final else k + 1)]
        return m


def flat(payload: Any) -> Any:
    """The codes of a beat as one vector of bits, lane 0 lowest."""
    return Cat(*(payload.data[k] for k in range(len(payload.data))))
