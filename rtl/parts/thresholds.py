"""How many thresholds of a row a code reaches: all compared at once, or found by a search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.hdl import Shape, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from rtl.parts import arith
from rtl.parts.multicycle import Timing, beat_at_work
from rtl.parts.pipeline import ChannelConstants, Lane, Pipeline, constant_shape
from rtl.parts.pointwise import by_bits
from rtl.parts.requantizer import trimmed
from rtl.parts.rom import constant_memory
from rtl.parts.stream import Beat, Join, blank

Range = tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Ladder:
    """The thresholds of each channel in order, and `base + step * n` where a code reaches n.

    There is one row, or one a channel, and as many bases and steps. Codes lie in `x`; what is given
    are codes of `out`.
    """

    rows: tuple[tuple[int, ...], ...]
    base: tuple[int, ...]
    step: tuple[int, ...]
    x: Range
    out: Format

    def __post_init__(self) -> None:
        if len({len(row) for row in self.rows}) != 1 or len(self.base) != len(self.step):
            raise HwsimError("thresholds must be rows of one length, with a base and a step each")

    @property
    def count(self) -> int:
        """Thresholds of a channel."""
        return len(self.rows[0])

    @property
    def bits(self) -> int:
        """Bits of the number that a code reaches, which a search finds one after the other."""
        return self.count.bit_length()

    @property
    def met(self) -> Range:
        """The range of thresholds that need to be told apart."""
        return self.x[0], self.x[1] + 1

    def row(self, channel: int) -> list[int]:
        """A channel's thresholds, those that all codes reach, or none, as the nearest such."""
        low, high = self.met
        return [min(max(value, low), high) for value in self.rows[channel % len(self.rows)]]

    def filled(self, channel: int) -> list[int]:
        """The same, filled up to a power of two with what no code reaches."""
        row = self.row(channel)
        return [*row, *[self.met[1]] * ((1 << self.bits) - len(row))]

    def ends(self) -> dict[str, tuple[int, ...]]:
        """Base and step by the names that a lane has them under."""
        return {"base": self.base, "step": self.step}


def _spread(values: Sequence[int], channels: int) -> list[int]:
    return [values[c % len(values)] for c in range(channels)]


def _check(ladder: Ladder, lanes: int, channels: int) -> None:
    if lanes < 1 or channels % lanes:
        raise HwsimError(f"thresholds' lanes must divide {channels} channels, not be {lanes}")
    sizes = {len(ladder.rows), len(ladder.base)}
    if not sizes <= {1, channels}:
        raise HwsimError(f"thresholds must have 1 or {channels} rows, not {max(sizes)}")


def stepped(m: Module, lane: Lane, count: Any, ladder: Ladder) -> Any:
    """`base + step * count`, by wiring and one adder for every size of step."""
    steps = sorted(set(ladder.step))
    most = ladder.count
    ends = [s * n for s in steps for n in (0, most)]
    moved = Signal(arith.holding(min(ends), max(ends)))
    if isinstance(lane["step"], Const):
        m.d.comb += moved.eq(_times(count, lane["step"].value))
    else:
        with m.Switch(Value.cast(lane["step"]).as_unsigned()):
            for value in steps:
                with m.Case(value & ((1 << len(Value.cast(lane["step"]))) - 1)):
                    m.d.comb += moved.eq(_times(count, value))
    code = Signal(arith.shape_of(ladder.out))
    m.d.comb += code.eq(lane["base"] + moved)
    return code


def _times(count: Any, step: int) -> Any:
    """A count times a number, without a multiplier: shifts and sums of its digits."""
    size, out = abs(step), Const(0)
    for place in range(size.bit_length()):
        if size >> place & 1:
            out = out + (count << place)
    return -out if step < 0 else out


class Comparators(wiring.Component):
    """Every threshold compared with each code in the same cycle.

    Ports: `i` (In), a stream of `lanes` codes of `in_format`, a divisor of `channels`; `o` (Out),
    one of the ladder's. Constants that differ between beats come from a read-only memory (with
    `block`, block RAM). One beat a cycle, latency `latency` cycles, backpressure honoured; no path
    between `o.ready` and `i.ready`. `last` passes through.
    """

    def __init__(
        self, ladder: Ladder, *, lanes: int, channels: int, in_format: Format, block: bool = False
    ) -> None:
        _check(ladder, lanes, channels)
        self.ladder, self.lanes = ladder, lanes
        self.constants = constants_of(ladder, lanes=lanes, channels=channels, block=block)
        self.beat, self.target = Beat.of(lanes, in_format), Beat.of(lanes, ladder.out)
        super().__init__({"i": In(self.beat.stream), "o": Out(self.target.stream)})

    @property
    def latency(self) -> int:
        """Cycles from a beat's arrival to its being offered, when nothing stalls."""
        return 4 + int(self.constants.stored)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        pipe = Pipeline(m, self.i, self.target)
        codes = [{"x": trimmed(code, self.ladder.x)} for code in self.i.payload.data]
        lanes = pipe.register(codes)
        fetched = self.constants.fetch(m, taken=self.i.valid & self.i.ready, advance=pipe.advance)
        lanes = [{**lane, **more} for lane, more in zip(lanes, fetched, strict=True)]
        if self.constants.stored:
            lanes = pipe.register(lanes)  # a block memory's output is too late for a comparison
        done = pipe.run(lanes, [self._compared, self._counted, self._ended])
        pipe.finish([lane["y"] for lane in done], self.o)
        return m

    def _compared(self, m: Module, lane: Lane) -> Lane:
        reached = Signal(self.ladder.count)
        x = Value.cast(lane["x"])
        bits = [x >= lane[f"t{k}"] for k in range(self.ladder.count)]
        m.d.comb += reached.eq(Cat(*bits))
        return {"reached": reached, "base": lane["base"], "step": lane["step"]}

    def _counted(self, m: Module, lane: Lane) -> Lane:
        """Thresholds are in order, so that the bits are ones up to the number that is reached."""
        count = Signal(self.ladder.bits)
        bits = lane["reached"]
        for place in range(self.ladder.bits):
            size = 1 << place
            ends = [
                bits[n - 1] & (~bits[n + size - 1] if n + size <= self.ladder.count else 1)
                for n in range(size, self.ladder.count + 1, 2 * size)
            ]
            m.d.comb += count[place].eq(Cat(*ends).any())
        return {"count": count, "base": lane["base"], "step": lane["step"]}

    def _ended(self, m: Module, lane: Lane) -> Lane:
        return {"y": stepped(m, lane, lane["count"], self.ladder)}


def constants_of(
    ladder: Ladder, *, lanes: int, channels: int, block: bool = False
) -> ChannelConstants:
    """What lanes need of each channel to compare all thresholds."""
    rows = [ladder.row(channel) for channel in range(channels)]
    fields = {f"t{k}": [row[k] for row in rows] for k in range(ladder.count)}
    fields |= {name: _spread(values, channels) for name, values in ladder.ends().items()}
    return ChannelConstants(fields, lanes=lanes, channels=channels, block=block)


class Search(wiring.Component):
    """A binary search in a memory of thresholds, one a lane: a comparison for each bit.

    Ports as those of `Comparators`. A beat every `cycles` cycles, latency `cycles` + 1; `o` comes
    from registers, and no path leads from `o.ready` to `i.ready`.
    """

    def __init__(
        self, ladder: Ladder, *, lanes: int, channels: int, in_format: Format, block: bool = False
    ) -> None:
        _check(ladder, lanes, channels)
        self.ladder, self.lanes, self.channels, self.block = ladder, lanes, channels, block
        self.blocks = blocks_of(ladder, lanes, channels)
        ends = {name: _spread(values, channels) for name, values in ladder.ends().items()}
        self.constants = ChannelConstants(ends, lanes=lanes, channels=channels, block=block)
        self.cycles = ladder.bits + 1
        self.beat, self.target = Beat.of(lanes, in_format), Beat.of(lanes, ladder.out)
        super().__init__({"i": In(self.beat.stream), "o": Out(self.target.stream)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        work = beat_at_work(m, self.i, self.o, self.target, self.cycles)
        blocks = self._block(m, work.timing.load)
        constants = self.constants.held(m, advance=work.leaves)
        for k, fields in enumerate(constants):
            count = self._found(m, k, work.timing, blocks)
            code = stepped(m, fields, count, self.ladder)
            with m.If(work.leaves):
                m.d.sync += work.offer.data[k].eq(code)
        return m

    def _block(self, m: Module, load: Any) -> tuple[Any, Any]:
        """Which rows the beat at work is of, and the one that is taken next."""
        block, following = Signal(range(self.blocks)), Signal(range(self.blocks))
        with m.If(load):
            m.d.sync += [
                block.eq(following),
                following.eq(Mux(following == self.blocks - 1, 0, following + 1)),
            ]
        return block, following

    def _found(self, m: Module, k: int, timing: Timing, blocks: tuple[Any, Any]) -> Any:
        """How many thresholds lane `k`'s code reaches, from the cycle after the last comparison."""
        rows = [self.ladder.filled(block * self.lanes + k) for block in range(self.blocks)]
        store = constant_memory(
            arith.holding(*self.ladder.met), [v for row in rows for v in row], block=self.block
        )
        m.submodules[f"thresholds_{k}"] = store
        code = trimmed(self.i.payload.data[k], self.ladder.x)
        return searched(m, self.ladder, store.read_port(), timing, code, blocks, k)


def searched(
    m: Module,
    ladder: Ladder,
    port: Any,
    timing: Timing,
    code: Any,
    rows: tuple[Any, Any],
    k: int,
) -> Any:
    """How many thresholds lane `k`'s code reaches, from the cycle after the last comparison.

    `port` reads filled rows, one after the other; `rows` are that of the beat at work, and of the
    one that is taken next. `code` is taken with the load.
    """
    bits, load, cycle = ladder.bits, timing.load, timing.cycle
    x, count = blank(code.shape(), f"x_{k}"), blank(bits, f"count_{k}")
    with m.If(load):
        m.d.sync += x.eq(code)
    reached = Signal(name=f"reached_{k}")
    m.d.comb += reached.eq(x >= port.data)
    place = Signal(bits, name=f"place_{k}")
    now = Signal(bits, name=f"now_{k}")  # the count with the bit that is found in this cycle
    for turn in range(bits):
        bit = bits - 1 - turn
        below = (1 << bit) - 1
        with m.If(cycle == turn + 1):
            m.d.comb += now.eq(Mux(reached, count | (1 << bit), count))
            if bit:
                m.d.comb += place.eq(now | (below >> 1))
    with m.If((cycle != 0) & (cycle <= bits)):
        m.d.sync += count.eq(now)
    with m.If(load):
        m.d.sync += count.eq(0)
    first = (1 << (bits - 1)) - 1
    starts = (cycle == 0) | (cycle == bits + 1)
    at = Cat(Mux(starts, first, place)[:bits], Mux(starts, rows[1], rows[0]))
    m.d.comb += port.addr.eq(at)
    return count


class RowSearch(wiring.Component):
    """A binary search in the row that a code of another stream picks, one memory a lane.

    The ladder has a row, a base and a step for each code of `formats[0]`, the least first. Ports:
    `a` and `b` (In), streams of `lanes` codes of `formats`, taken in pairs; `o` (Out), one of the
    ladder's. A beat every `cycles` cycles, latency `cycles` + 1; backpressure honoured; `o` comes
    from registers, and no path leads from `o.ready` to `a.ready` or `b.ready`. `last` is that of
    `a`. Bases and steps that differ lie in another memory a lane.
    """

    def __init__(
        self, ladder: Ladder, *, lanes: int, formats: tuple[Format, Format], block: bool = False
    ) -> None:
        if not len(ladder.rows) == len(ladder.base) == 1 << formats[0].width:
            raise HwsimError(f"chosen thresholds must have a row for each code of {formats[0]}")
        self.ladder, self.block, self.cycles = ladder, block, ladder.bits + 1
        self.order = by_bits(range(len(ladder.rows)), formats[0])
        self.beats = (Beat.of(lanes, formats[0]), Beat.of(lanes, formats[1]))
        self.target = Beat.of(lanes, ladder.out)
        a, b = self.beats
        super().__init__({"a": In(a.stream), "b": In(b.stream), "o": Out(self.target.stream)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.join = join = Join(*self.beats)
        wiring.connect(m, wiring.flipped(self.a), join.a)
        wiring.connect(m, wiring.flipped(self.b), join.b)
        work = beat_at_work(m, join.o, self.o, self.target, self.cycles)
        rows = [value for row in self.order for value in self.ladder.filled(row)]
        for k in range(self.target.lanes):
            shape = arith.holding(*self.ladder.met)
            store = constant_memory(shape, rows, block=self.block)
            m.submodules[f"thresholds_{k}"] = store
            chosen = Value.cast(join.o.payload.a[k]).as_unsigned()
            held = blank(len(chosen), f"row_{k}")
            with m.If(work.timing.load):
                m.d.sync += held.eq(chosen)
            code = trimmed(join.o.payload.b[k], self.ladder.x)
            both, timing = (held, chosen), work.timing
            count = searched(m, self.ladder, store.read_port(), timing, code, both, k)
            ends = self._ends(m, k, chosen, timing.load)
            with m.If(work.leaves):
                m.d.sync += work.offer.data[k].eq(stepped(m, ends, count, self.ladder))
        return m

    def _ends(self, m: Module, k: int, row: Any, load: Any) -> Lane:
        """Base and step of the row of the beat at work."""
        ends = self.ladder.ends()
        lane: dict[str, Any] = {
            name: Const(values[0], constant_shape(values))
            for name, values in ends.items()
            if len(set(values)) == 1
        }
        varying = row_fields(self.ladder)
        if not varying:
            return lane
        words, start = [0] * len(self.order), 0
        for name, shape in varying.items():
            mask = (1 << shape.width) - 1
            for place, source in enumerate(self.order):
                words[place] |= (ends[name][source] & mask) << start
            start += shape.width
        store = constant_memory(start, words, block=self.block)
        m.submodules[f"ends_{k}"] = store
        port = store.read_port()
        m.d.comb += [port.addr.eq(row), port.en.eq(load)]
        start = 0
        for name, shape in varying.items():
            lane[name] = Signal(shape, name=f"{name}_{k}")
            m.d.comb += lane[name].eq(port.data[start : start + shape.width])
            start += shape.width
        return lane


def row_fields(ladder: Ladder) -> dict[str, Shape]:
    """The shapes of base and step, where they differ between rows."""
    ends = ladder.ends()
    return {name: constant_shape(values) for name, values in ends.items() if len(set(values)) > 1}


def blocks_of(ladder: Ladder, lanes: int, channels: int) -> int:
    """Rows of thresholds in the memory of a lane."""
    rows = [ladder.row(c) for c in range(channels)]
    alike = all(rows[c] == rows[c % lanes] for c in range(channels))
    return 1 if alike else channels // lanes
