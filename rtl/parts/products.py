"""Sums of products, folded: the hardware under dense layers and convolutions of every kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from amaranth import Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwsim.fixed import Format
from hwsim.ops.accumulate import Stepwise
from hwsim.ops.base import IntArray
from rtl.parts import arith
from rtl.parts.fold import Fold, Schedule
from rtl.parts.multiply import times
from rtl.parts.rom import constant_memory
from rtl.parts.stored_weights import StoredWeights
from rtl.parts.stream import Beat, Slice, blank

Range = tuple[int, int]
TREE = 4  # addends of one adder stage between two ranks of registers


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
    `stored` says what the memory of weights holds and how that is multiplied. With a `schedule` a
    vector comes as the beats that this names, side by side where lanes have their own, and the
    memory holds the words that it keeps, each with the mark of a sum's end.
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
        schedule: Schedule | None = None,
    ) -> None:
        self.rule, self.block, self.schedule = rule, block, schedule
        self.fmt, self.out, self.weight, self.fold = fmt, out, weight, fold
        self.weights, self.bias, self.stored = weights, bias, stored
        self.own_beats = schedule is not None and schedule.lanes > 1
        self.in_beat = Beat.of((fold.pe if self.own_beats else fold.group_lanes) * fold.simd, fmt)
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
        valid = Signal()
        codes = blank(self.in_beat, "codes")
        with m.If(enable):
            m.d.sync += [valid.eq(self.i.valid), codes.eq(self.i.payload)]
        word = self._weight_word(m, self.i.valid & enable)
        flags: tuple[Any, ...] = (valid, codes.last)
        if self.schedule is not None:
            flags = (*flags, word[-1])
        products = self._products(m, enable, codes, word)
        flags = self._follow(m, enable, flags, 1)
        if self.rule is not None:
            products = self._cast_products(m, enable, self.rule, products)
            flags = self._follow(m, enable, flags, 1)
        sums = products
        if self.rule is None or not self.rule.ordered:
            sums, depth = self._trees(m, enable, products)
            flags = self._follow(m, enable, flags, depth)
        self._accumulate(m, enable, flags, sums, cut)
        return m

    def _follow(self, m: Module, enable: Any, flags: Any, ranks: int) -> Any:
        """Delay flags by as many ranks as the data."""
        for _ in range(ranks):
            delayed = tuple(Signal() for _ in flags)
            with m.If(enable):
                m.d.sync += [d.eq(f) for d, f in zip(delayed, flags, strict=True)]
            flags = delayed
        return flags

    def _weight_word(self, m: Module, taken: Any) -> Any:
        """The weights that meet the beat taken now, a cycle later; None if they never change."""
        if self.fold.cycles == 1:
            return None
        width = self.fold.multipliers * self.stored.width
        stored = self.stored.words(self.weights)
        if self.schedule is None:
            words = pack(self.fold.words(stored), self.stored.width)
        else:
            kept = pack(self.schedule.words(self.fold, stored), self.stored.width)
            marked = zip(kept, self.schedule.ends.tolist(), strict=True)
            words = [word | end << width for word, end in marked]
        shape = unsigned(width + (self.schedule is not None))
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
                vector = lane if self.own_beats else lane // fold.pe
                code = codes.data[vector * fold.simd + term]
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
        self, m: Module, enable: Any, flags: Any, sums: list[list[Any]], cut: Any
    ) -> None:
        """Add one fold's sums to the running ones, or to the bias at the start of a vector."""
        folds, done = self.fold.term_folds, Signal()
        valid, last, *ends = flags
        starts = self._biases(m, valid & enable & done)
        fresh = self._places(m, valid & enable, done, *ends)
        for lane, (parts, start) in enumerate(zip(sums, starts, strict=True)):
            running = blank(self.wide, f"running_{lane}")
            total = Signal(self.wide, name=f"total_{lane}")
            before = Mux(fresh, start, running) if folds > 1 else start
            m.d.comb += total.eq(self._added(m, before, parts))
            with m.If(valid & enable):
                m.d.sync += running.eq(total)
            m.d.comb += cut.i.payload.data[lane].eq(total)
        m.d.comb += [cut.i.valid.eq(valid & done), cut.i.payload.last.eq(last & done)]

    def _places(self, m: Module, taken: Any, done: Any, ends: Any = None) -> Any:
        """Whether a word is the first of its sum; `done` tells whether it is the last."""
        if ends is not None:
            fresh = Signal(init=1)
            m.d.comb += done.eq(ends)
            with m.If(taken):
                m.d.sync += fresh.eq(ends)
            return fresh
        folds = self.fold.term_folds
        count = Signal(range(folds))
        m.d.comb += done.eq(count == folds - 1)
        with m.If(taken):
            m.d.sync += count.eq(Mux(done, 0, count + 1))
        return count == 0

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
