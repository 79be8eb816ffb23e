"""Sums of products, folded: the hardware under dense layers and convolutions of every kind.

A layer is seen as a sequence of *vectors* (the inputs of one sum). `groups` is how many different
vectors one output position has (1 but for grouped convolutions). Folding says how much of that work
one cycle does: `group_lanes` vectors side by side, `pe` outputs of each, `simd` terms of each sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from amaranth import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.ops.accumulate import Stepwise
from hwsim.ops.base import IntArray
from rtl.parts import arith
from rtl.parts.multiply import times
from rtl.parts.rom import constant_memory
from rtl.parts.stored_weights import StoredWeights
from rtl.parts.stream import Beat, Slice, blank

Range = tuple[int, int]
TREE = 4  # addends of one adder stage between two ranks of registers


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """How one sum-of-products layer is folded onto multipliers."""

    groups: int
    terms: int
    outputs: int  # of one group
    group_lanes: int = 1
    pe: int = 1
    simd: int = 1

    def __post_init__(self) -> None:
        for lanes, whole, what in (
            (self.group_lanes, self.groups, "group_lanes"),
            (self.pe, self.outputs, "pe"),
            (self.simd, self.terms, "simd"),
        ):
            if lanes < 1 or whole % lanes:
                raise HwsimError(f"{what} must divide {whole}, not be {lanes}")
        if self.group_lanes > 1 and self.pe != self.outputs:
            raise HwsimError(
                f"pe must be all {self.outputs} outputs of a group where group_lanes is above 1, "
                f"not {self.pe}"
            )

    @property
    def multipliers(self) -> int:
        """Products of one cycle."""
        return self.group_lanes * self.pe * self.simd

    @property
    def group_folds(self) -> int:
        """Turns over the groups."""
        return self.groups // self.group_lanes

    @property
    def output_folds(self) -> int:
        """Times that a vector is used, for `pe` outputs each time."""
        return self.outputs // self.pe

    @property
    def term_folds(self) -> int:
        """Cycles for one sum."""
        return self.terms // self.simd

    @property
    def cycles(self) -> int:
        """Cycles for one output position."""
        return self.group_folds * self.output_folds * self.term_folds

    def words(self, weights: IntArray) -> IntArray:
        """(groups, terms, outputs) in the order of use: (cycle, group lane, pe, simd)."""
        split = weights.reshape(
            self.group_folds,
            self.group_lanes,
            self.term_folds,
            self.simd,
            self.output_folds,
            self.pe,
        )
        ordered = split.transpose(0, 4, 2, 1, 5, 3)
        return ordered.reshape(self.cycles, self.group_lanes, self.pe, self.simd)

    def biases(self, bias: IntArray) -> IntArray:
        """Biases in the order of use: (group fold x output fold, group lane, pe)."""
        split = bias.reshape(self.group_folds, self.group_lanes, self.output_folds, self.pe)
        ordered = split.transpose(0, 2, 1, 3)
        return ordered.reshape(-1, self.group_lanes, self.pe)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRule:
    """How hardware follows a step-wise accumulator: products lose `drop` bits and are cast.

    `ordered` tells that some partial sum may overflow without wrapping, so that terms must be added
    one after the other as they come; otherwise an adder tree does, modulo the width.
    """

    acc: Stepwise
    drop: int
    ordered: bool


class SumOfProducts(wiring.Component):
    """Multiply, add and accumulate one fold of a layer a cycle.

    Ports: `i` (In), a stream of `group_lanes * simd` input codes a beat, `term_folds` beats a
    vector, each vector `output_folds` times (`Replay`), group after group; `o` (Out), a stream of
    `group_lanes * pe` sums a beat, as codes of `out`. `weights` is (groups, terms, outputs), `bias`
    (groups * outputs,). With a `rule` products and sums are cast at each step. Takes a beat a
    cycle; `latency` cycles from a sum's last beat to the sum. A stalled output stops the whole
    pipeline; `i.ready` comes from a register. With `block` weights and biases lie in block RAM.
    `stored` says what the memory of weights holds and how that is multiplied.
    """

    def __init__(
        self,
        *,
        fmt: Format,
        out: Format,
        weight: Format,
        stored: StoredWeights,
        fold: Fold,
        weights: IntArray,
        bias: IntArray,
        rule: StepRule | None = None,
        block: bool = False,
    ) -> None:
        self.rule, self.block = rule, block
        self.fmt, self.out, self.weight, self.fold = fmt, out, weight, fold
        self.weights, self.bias, self.stored = weights, bias, stored
        self.in_beat = Beat.of(fold.group_lanes * fold.simd, fmt)
        self.out_beat = Beat.of(fold.group_lanes * fold.pe, out)
        # Partial sums carry the sign that the finished sum may lack.
        self.wide = signed(out.width + (not out.signed))
        super().__init__({"i": In(self.in_beat.stream), "o": Out(self.out_beat.stream)})

    @property
    def latency(self) -> int:
        """Cycles: operands, products, adder tree, output register."""
        tree = 0 if self.rule is not None and self.rule.ordered else len(_ranks(self.fold.simd))
        return 3 + tree + (self.rule is not None)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.cut = cut = Slice(self.out_beat)
        wiring.connect(m, cut.o, wiring.flipped(self.o))
        enable = cut.i.ready
        m.d.comb += self.i.ready.eq(enable)
        # Operands: the beat and its word of weights, both in registers.
        valid, last = Signal(), Signal()
        codes = blank(self.in_beat, "codes")
        with m.If(enable):
            m.d.sync += [valid.eq(self.i.valid), codes.eq(self.i.payload)]
        word = self._weight_word(m, self.i.valid & enable)
        products = self._products(m, enable, codes, word)
        valid, last = self._follow(m, enable, (valid, codes.last), 1)
        if self.rule is not None:
            products = self._cast_products(m, enable, self.rule, products)
            valid, last = self._follow(m, enable, (valid, last), 1)
        sums = products
        if self.rule is None or not self.rule.ordered:
            sums, depth = self._trees(m, enable, products)
            valid, last = self._follow(m, enable, (valid, last), depth)
        self._accumulate(m, enable, valid, last, sums, cut)
        return m

    def _follow(self, m: Module, enable: Any, flags: Any, ranks: int) -> Any:
        """Delay valid and last by as many ranks as the data."""
        for _ in range(ranks):
            delayed = Signal(), Signal()
            with m.If(enable):
                m.d.sync += [d.eq(f) for d, f in zip(delayed, flags, strict=True)]
            flags = delayed
        return flags

    def _weight_word(self, m: Module, taken: Any) -> Any:
        """The weights that meet the beat taken now, a cycle later; None if they never change."""
        if self.fold.cycles == 1:
            return None
        words = pack(self.fold.words(self.stored.words(self.weights)), self.stored.width)
        shape = unsigned(self.fold.multipliers * self.stored.width)
        m.submodules.weights = store = constant_memory(shape, words, block=self.block)
        read = store.read_port()
        address = Signal(range(len(words)))
        m.d.comb += [read.addr.eq(address), read.en.eq(taken)]
        with m.If(taken):
            m.d.sync += address.eq(Mux(address == len(words) - 1, 0, address + 1))
        return read.data

    def _products(self, m: Module, enable: Any, codes: Any, word: Any) -> list[list[Any]]:
        """One register for each product, by output lane."""
        fold = self.fold
        products: list[list[Any]] = []
        for lane in range(fold.group_lanes * fold.pe):
            row = []
            for term in range(fold.simd):
                code = codes.data[lane // fold.pe * fold.simd + term]
                value, ends = self._product(m, code, word, lane, term)
                product = blank(self._product_shape(ends), f"product_{lane}_{term}")
                with m.If(enable):
                    m.d.sync += product.eq(value)
                row.append(product)
            products.append(row)
        return products

    def _product(self, m: Module, code: Any, word: Any, lane: int, term: int) -> tuple[Any, Range]:
        """A code times its weight, by adders where that is a constant; and its bounds."""
        low, high = arith.bounds(code)
        if word is None:
            group, output = divmod(lane, self.fold.pe)
            factor = int(self.weights[group, term, output])
            ends = sorted((low * factor, high * factor))
            return times(code, factor), (ends[0], ends[1])
        place = (lane * self.fold.simd + term) * self.stored.width
        value = self.stored.product(m, code, word[place : place + self.stored.width])
        return value, arith.bounds(value)

    def _product_shape(self, ends: Range) -> Any:
        """Modulo the sum's width where only sums matter, whole where it is rounded first."""
        if self.rule is None:
            return self._held(ends)
        return signed(self.fmt.width + self.weight.width + 1)

    def _held(self, ends: Range) -> Any:
        """The shape of a part of a sum: no wider than its bounds ask for, nor than the sum."""
        shape = arith.holding(*ends)
        return shape if shape.width < self.wide.width else self.wide

    def _cast_products(
        self, m: Module, enable: Any, rule: StepRule, rows: list[list[Any]]
    ) -> list[list[Any]]:
        """Each product as a code of the accumulator, in a register."""
        cast = []
        for lane, row in enumerate(rows):
            codes = []
            for term, product in enumerate(row):
                rounded = arith.shift_round(m, product, rule.drop, rule.acc.rounding)
                code = arith.overflow(m, rounded, rule.acc.format, rule.acc.overflow)
                held = blank(self.wide, f"cast_{lane}_{term}")
                with m.If(enable):
                    m.d.sync += held.eq(code)
                codes.append(held)
            cast.append(codes)
        return cast

    def _trees(self, m: Module, enable: Any, rows: list[list[Any]]) -> tuple[list[list[Any]], int]:
        """The sum of each row, with registers after every `TREE` addends."""
        ranks = _ranks(self.fold.simd)
        for rank in range(len(ranks)):
            shorter = []
            for lane, row in enumerate(rows):
                parts = []
                for k, part in enumerate(_chunks(row, TREE)):
                    ends = [arith.bounds(addend) for addend in part]
                    least, most = (sum(end) for end in zip(*ends, strict=True))
                    total = blank(self._held((least, most)), f"sum_{rank}_{lane}_{k}")
                    with m.If(enable):
                        m.d.sync += total.eq(_balanced(part))
                    parts.append(total)
                shorter.append(parts)
            rows = shorter
        return rows, len(ranks)

    def _accumulate(
        self, m: Module, enable: Any, valid: Any, last: Any, sums: list[list[Any]], cut: Any
    ) -> None:
        """Add one fold's sums to the running ones, or to the bias at the start of a vector."""
        folds, done = self.fold.term_folds, Signal()
        starts = self._biases(m, valid & enable & done)
        count = Signal(range(folds))
        m.d.comb += done.eq(count == folds - 1)
        with m.If(valid & enable):
            m.d.sync += count.eq(Mux(done, 0, count + 1))
        for lane, (parts, start) in enumerate(zip(sums, starts, strict=True)):
            running = blank(self.wide, f"running_{lane}")
            total = Signal(self.wide, name=f"total_{lane}")
            before = Mux(count == 0, start, running) if folds > 1 else start
            m.d.comb += total.eq(self._added(m, before, parts))
            with m.If(valid & enable):
                m.d.sync += running.eq(total)
            m.d.comb += cut.i.payload.data[lane].eq(total)
        m.d.comb += [cut.i.valid.eq(valid & done), cut.i.payload.last.eq(last & done)]

    def _added(self, m: Module, before: Any, parts: Sequence[Any]) -> Any:
        """The running sum and what comes to it: a finished tree, or term after term."""
        if self.rule is None or not self.rule.ordered:
            return before + parts[0]
        acc = self.rule.acc
        for part in parts:
            before = arith.overflow(m, before + part, acc.format, acc.overflow)
        return before

    def _biases(self, m: Module, finished: Any) -> list[Any]:
        """The bias of each lane for the vector being summed; they turn as vectors finish."""
        rows = self.fold.biases(self.bias).reshape(-1, self.out_beat.lanes)
        if len(rows) == 1:
            return [Const(int(b), self.wide) for b in rows[0]]
        width = Format.holding(min(int(rows.min()), -1), max(int(rows.max()), 0)).width
        words = pack(rows, width)
        shape = unsigned(width * self.out_beat.lanes)
        m.submodules.biases = store = constant_memory(shape, words, block=self.block)
        read = store.read_port()
        turn, following = Signal(range(len(words))), Signal(range(len(words)))
        m.d.comb += [
            following.eq(Mux(finished, Mux(turn == len(words) - 1, 0, turn + 1), turn)),
            read.addr.eq(following),
        ]
        m.d.sync += turn.eq(following)
        return [
            read.data[k * width : (k + 1) * width].as_signed() for k in range(self.out_beat.lanes)
        ]


def pack(rows: IntArray, width: int) -> list[int]:
    """Each row's codes as one word, the first lowest, in two's complement of `width` bits."""
    mask = (1 << width) - 1
    flat = np.asarray(rows).reshape(len(rows), -1).tolist()
    return [sum((code & mask) << (k * width) for k, code in enumerate(row)) for row in flat]


def _ranks(terms: int) -> list[int]:
    """Addends left after each rank of the adder tree."""
    ranks = []
    while terms > 1:
        terms = -(-terms // TREE)
        ranks.append(terms)
    return ranks


def _chunks(row: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [row[k : k + size] for k in range(0, len(row), size)]


def _balanced(addends: Sequence[Any]) -> Any:
    """A balanced tree of two-input adders."""
    if len(addends) == 1:
        return addends[0]
    middle = len(addends) // 2
    return _balanced(addends[:middle]) + _balanced(addends[middle:])
