"""A stallable pipeline that works on each lane of a stream, stage by stage."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from amaranth import Module, Mux, Signal
from amaranth.hdl import Const, Value
from amaranth.lib import wiring

from rtl.parts.rom import constant_memory
from rtl.parts.stream import Beat, Slice

Lane = Mapping[str, Any]  # the named values of one lane in one stage
Stage = Callable[[Module, Lane], Lane]


class Pipeline:
    """Registers between the stages of a stream component, all moved by one enable.

    The enable holds the whole pipeline only when a finished beat cannot leave; bubbles move on, so
    it empties without new input. It ends in a `Slice`, which cuts the path of `o.ready`.
    """

    def __init__(self, m: Module, source: Any, out: Beat) -> None:
        self.m, self.out = m, Slice(out)
        m.submodules.out = self.out
        self.advance = Signal()
        self.valid: Any = source.valid
        self.last: Any = source.payload.last
        self.depth = 0
        m.d.comb += source.ready.eq(self.advance)

    def register(self, lanes: Sequence[Lane]) -> list[Lane]:
        """Every value of every lane one cycle later; constants stay constants."""
        moved: list[Lane] = [
            {name: self._delayed(value, f"{name}_{self.depth}_{k}") for name, value in lane.items()}
            for k, lane in enumerate(lanes)
        ]
        valid, last = Signal(name=f"valid_{self.depth}"), Signal(name=f"last_{self.depth}")
        with self.m.If(self.advance):
            self.m.d.sync += [valid.eq(self.valid), last.eq(self.last)]
        self.valid, self.last = valid, last
        self.depth += 1
        return moved

    def _delayed(self, value: Any, name: str) -> Any:
        value = Value.cast(value)
        if isinstance(value, Const):
            return value
        held = Signal(value.shape(), name=name, reset_less=True)
        with self.m.If(self.advance):
            self.m.d.sync += held.eq(value)
        return held

    def run(self, lanes: Sequence[Lane], stages: Sequence[Stage]) -> list[Lane]:
        """Each stage on each lane, with a register after every stage but the last."""
        for index, stage in enumerate(stages):
            if index:
                lanes = self.register(lanes)
            lanes = [stage(self.m, lane) for lane in lanes]
        return list(lanes)

    def finish(self, codes: Sequence[Any], target: Any) -> None:
        """Offer one code a lane to the port `target`, through the slice."""
        m, end = self.m, self.out.i
        m.d.comb += [
            self.advance.eq(end.ready | ~self.valid),
            end.valid.eq(self.valid),
            end.payload.last.eq(self.last),
            *(end.payload.data[k].eq(code) for k, code in enumerate(codes)),
        ]
        wiring.connect(m, self.out.o, wiring.flipped(target))


class ChannelConstants:
    """Values that belong to channels, delivered beside the codes of each beat.

    `fields` maps a name to `channels` integers. A field that is the same for every beat of a pixel
    becomes a constant of its lane; the rest go to one read-only memory, a word a beat (in block RAM
    where `block` says so).
    """

    def __init__(
        self,
        fields: Mapping[str, Sequence[int]],
        *,
        lanes: int,
        channels: int,
        block: bool = False,
    ) -> None:
        self.lanes, self.blocks, self.block = lanes, channels // lanes, block
        self.fixed: dict[str, Sequence[int]] = {}
        self.varying: dict[str, Sequence[int]] = {}
        for name, values in fields.items():
            spread = [values[c % len(values)] for c in range(channels)]
            repeats = all(v == spread[c % lanes] for c, v in enumerate(spread))
            (self.fixed if repeats else self.varying)[name] = spread

    @property
    def stored(self) -> bool:
        """Whether there is a memory."""
        return bool(self.varying)

    @property
    def width(self) -> int:
        """Bits of one word of the memory."""
        return self.lanes * sum(constant_shape(v).width for v in self.varying.values())

    def fetch(self, m: Module, *, taken: Any, advance: Any) -> list[dict[str, Any]]:
        """The fields of each lane, valid one cycle after the beat is taken (`advance` enables)."""
        return self._fields(m, lambda rows: self._read(m, rows, taken, advance))

    def held(self, m: Module, *, advance: Any) -> list[dict[str, Any]]:
        """The fields of each lane for one beat, until `advance`; from the next cycle of the next.

        In the first cycle after a reset they mean nothing.
        """
        return self._fields(m, lambda rows: self._hold(m, rows, advance))

    def _fields(self, m: Module, read: Callable[[list[int]], Any]) -> list[dict[str, Any]]:
        """The fields of each lane, cut out of the word that `read` makes of the memory's rows."""
        out: list[dict[str, Any]] = [
            {
                name: Const(values[k], constant_shape([values[k]]))
                for name, values in self.fixed.items()
            }
            for k in range(self.lanes)
        ]
        if self.stored:
            word = read(self._rows())
            start = 0
            for k in range(self.lanes):
                for name, values in self.varying.items():
                    shape = constant_shape(values)
                    field = Signal(shape, name=f"{name}_rom_{k}")
                    m.d.comb += field.eq(word[start : start + shape.width])
                    start += shape.width
                    out[k][name] = field
        return out

    def _rows(self) -> list[int]:
        """The words of the memory."""
        widths = {name: constant_shape(values).width for name, values in self.varying.items()}
        rows = []
        for block in range(self.blocks):
            row, start = 0, 0
            for k in range(self.lanes):
                for name, values in self.varying.items():
                    code = values[block * self.lanes + k] & ((1 << widths[name]) - 1)
                    row |= code << start
                    start += widths[name]
            rows.append(row)
        return rows

    def _store(self, m: Module, rows: list[int]) -> Any:
        """The read port of the memory."""
        m.submodules.constants = store = constant_memory(self.width, rows, block=self.block)
        return store.read_port()

    def _hold(self, m: Module, rows: list[int], advance: Any) -> Any:
        port, block = self._store(m, rows), Signal(range(self.blocks))
        following = Signal(range(self.blocks))
        m.d.comb += [following.eq(block), port.addr.eq(following)]
        with m.If(advance):
            m.d.comb += following.eq(Mux(block == self.blocks - 1, 0, block + 1))
        m.d.sync += block.eq(following)
        return port.data

    def _read(self, m: Module, rows: list[int], taken: Any, advance: Any) -> Any:
        port, block_of_next = self._store(m, rows), Signal(range(self.blocks))
        m.d.comb += [port.addr.eq(block_of_next), port.en.eq(advance)]
        with m.If(taken):
            m.d.sync += block_of_next.eq(block_of_next + 1)
            with m.If(block_of_next == self.blocks - 1):
                m.d.sync += block_of_next.eq(0)
        return port.data


def constant_shape(values: Sequence[int]) -> Any:
    """The narrowest shape with all of `values`."""
    from rtl.parts.arith import holding

    return holding(min(values), max(values))
