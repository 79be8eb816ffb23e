"""Streams of constants, and of entries that a code and its place, or two codes, pick."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth import Cat, Module, Signal
from amaranth.hdl import Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwsim.fixed import Format
from rtl.parts.pipeline import ChannelConstants, Lane, Pipeline
from rtl.parts.pointwise import PairMap, by_bits, read_only
from rtl.parts.stream import Beat


class Recital(wiring.Component):
    """A beat of constants for each beat that comes, whatever it holds.

    After all of `values` they begin anew. Ports: `i` (In), a stream of `lanes` codes of
    `in_format`; `o` (Out), one of `out`. Latency 2 cycles, one beat a cycle; no path between
    `o.ready` and `i.ready`.
    """

    latency = 2

    def __init__(
        self,
        values: Sequence[int],
        lanes: int,
        *,
        in_format: Format,
        out: Format,
        block: bool = False,
    ) -> None:
        self.lanes, self.out = lanes, Beat.of(lanes, out)
        self.constants = ChannelConstants(
            {"y": values}, lanes=lanes, channels=len(values), block=block
        )
        super().__init__({"i": In(Beat.of(lanes, in_format).stream), "o": Out(self.out.stream)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        pipe = Pipeline(m, self.i, self.out)
        pipe.register([])
        taken = self.i.valid & self.i.ready
        lanes = self.constants.fetch(m, taken=taken, advance=pipe.advance)
        pipe.finish([lane["y"] for lane in lanes], self.o)
        return m


class ChannelLookup(wiring.Component):
    """A table of a function of one code for each channel, one read-only memory a lane.

    `tables[c][k]` is the result for the code `first + k` of channel `c`; other codes may not come.
    Ports: `i` (In), a stream of `lanes` codes of `in_format`; `o` (Out), one of `out`. Latency 2
    cycles, one beat a cycle; no path between `o.ready` and `i.ready`.
    """

    latency = 2

    def __init__(
        self,
        tables: Sequence[Sequence[int]],
        lanes: int,
        *,
        first: int,
        in_format: Format,
        out: Format,
    ) -> None:
        self.tables, self.lanes, self.first = tables, lanes, first
        self.bits, self.out = (len(tables[0]) - 1).bit_length(), Beat.of(lanes, out)
        super().__init__({"i": In(Beat.of(lanes, in_format).stream), "o": Out(self.out.stream)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        pipe = Pipeline(m, self.i, self.out)
        pipe.register([])
        turns = len(self.tables) // self.lanes
        turn = Signal(range(turns))
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += turn.eq(turn + 1)
            with m.If(turn == turns - 1):
                m.d.sync += turn.eq(0)
        found = [
            read_only(
                m, self._rows(k), self.out.code, self._place(code, turn), pipe.advance, f"rom_{k}"
            )
            for k, code in enumerate(self.i.payload.data)
        ]
        pipe.finish(found, self.o)
        return m

    def _rows(self, lane: int) -> list[int]:
        """The tables of a lane's channels, each as long as a power of two."""
        spare = [0] * ((1 << self.bits) - len(self.tables[0]))
        return [v for table in self.tables[lane :: self.lanes] for v in (*table, *spare)]

    def _place(self, code: Any, turn: Signal) -> Value:
        """Where the entry of a code lies."""
        offset = (Value.cast(code) - self.first)[: self.bits]
        return Cat(offset, turn) if len(self.tables) > self.lanes else offset


class PairLookup(PairMap):
    """A table of a function of two codes, one read-only memory a lane.

    `values[i][j]` is the result for the codes `formats[0].min + i` and `formats[1].min + j`. Ports
    as a PairMap's; latency 2 cycles.
    """

    latency = 2

    def __init__(
        self,
        values: Sequence[Sequence[int]],
        lanes: int,
        *,
        formats: tuple[Format, Format],
        out: Format,
    ) -> None:
        a, b = formats
        rows = [by_bits(row, b) for row in values]
        order = by_bits(range(len(rows)), a)
        self.rows = [value for k in order for value in rows[k]]
        super().__init__(lanes, formats=formats, out=out)

    def codes(self, m: Module, pipe: Pipeline, pairs: list[Lane]) -> list[Any]:
        """A row of the first code, an entry of the second."""
        pipe.register([])
        return [
            read_only(
                m,
                self.rows,
                self.target.code,
                Cat(Value.cast(pair["b"]), Value.cast(pair["a"])),
                pipe.advance,
                f"rom_{k}",
            )
            for k, pair in enumerate(pairs)
        ]
