"""Dense layers and convolutions: windows, and folded sums of products."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from amaranth.hdl import Shape

from hwsim.fixed import Format
from hwsim.ops import Conv, Stepwise, Weighted, Window
from hwsim.ops.base import IntArray
from rtl.layers.base import MULTIPLIER, Counts, Implementation, Option, Task
from rtl.layers.cost import hard_multipliers
from rtl.layers.folds import every_fold, given_order, is_free, layer_fold, scattered
from rtl.layers.layer import Layer
from rtl.layers.memory import Memory, fifo_memory
from rtl.layers.plans import FoldPlan
from rtl.layers.walk import Walk
from rtl.layers.windows import POINT, moves, ring_memory
from rtl.parts import window
from rtl.parts.arith import holding
from rtl.parts.fifo import Fifo
from rtl.parts.fold import Fold, Schedule
from rtl.parts.lanes import Lanes
from rtl.parts.products import StepRule, SumOfProducts
from rtl.parts.replay import Replay
from rtl.parts.stored_weights import StoredWeights, stored_weights
from rtl.parts.stream import Beat

SERIAL_WINDOW = 190
"""Look-up tables and registers of a serial window or a vector's copy, however many lanes."""


class Folded(Implementation[FoldPlan]):
    """Each sum's terms and outputs in turn on some multipliers, or all at once on adders."""

    name = "folded"
    plan_type = FoldPlan

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.op: Weighted = task.op
        self.window: Window = self.op.window if isinstance(self.op, Conv) else POINT

    def lacks(self) -> str | None:
        """Every layer can be folded."""
        return None

    @cached_property
    def held(self) -> tuple[IntArray, IntArray]:
        """Weights and biases as the accumulator takes them."""
        if isinstance(self.op.accumulator, Stepwise):
            steps = self.op.steps(self.task.x)
            return steps.weights, steps.bias
        weights, bias, _ = self.op.aligned(self.task.x)
        return weights, bias

    @cached_property
    def weight(self) -> Format:
        """The narrowest signed format of the weights as hardware holds them."""
        weights = self.held[0]
        return Format.holding(min(int(weights.min()), -1), max(int(weights.max()), 0))

    @cached_property
    def stored(self) -> StoredWeights:
        """What a memory holds of the weights, and what multiplies by it."""
        encoding = self.op.encoding
        if encoding is not None:
            finer = self.task.out.format.frac_bits - self.task.x.format.frac_bits
            encoding = encoding.shifted(max(finer - self.op.weight_format.frac_bits, 0))
        return stored_weights(self.weight, encoding)

    @cached_property
    def shifts(self) -> int:
        """Bits that one product of shifts chooses and adds, roughly; 0 for a multiplier."""
        return 0 if self.op.encoding is None else self.stored.shift_bits

    @cached_property
    def free(self) -> bool:
        """Whether the order of the sums cannot matter."""
        return is_free(self.op, self.task.x)

    @cached_property
    def order(self) -> tuple[int, ...] | None:
        """The order in which terms must be added, where it matters and is not the stream's own."""
        return None if self.free else given_order(self.op)

    @cached_property
    def positions(self) -> int:
        """Output positions: how often the whole set of sums is computed."""
        return self.task.out.size // self.task.out.channels

    def plan(self, fold: Fold) -> FoldPlan:
        """The plan of a fold, with the window that it needs."""
        parallel = self.order is not None or scattered(self.op, fold)
        return FoldPlan(implementation=self.name, fold=fold, parallel_window=parallel)

    def options(self) -> Sequence[Option]:
        """All folds, unrolled products as multipliers. Cheap is a small area, then a square."""
        found = []
        for fold in self.folds():
            plan = self.plan(fold)
            cost = (self.area(plan), fold.pe + fold.simd, fold.pe)
            found.append(Option(cost, self.cycles(plan), plan, fold.multipliers * self._ranked))
        return found

    def folds(self) -> Sequence[Fold]:
        """Those to choose from."""
        whole = layer_fold(self.op)
        return every_fold(whole.groups, whole.terms, whole.outputs)

    def area(self, plan: FoldPlan) -> int:
        """Look-up tables or registers, whichever are more, roughly, and what multipliers are worth.

        A step more in a chain of steps, which is a longer cycle, is as dear as a multiplier.
        """
        fold = plan.fold
        adder = self.task.x.format.width + self.op.weight_format.width
        chain = 0 if self.free else fold.simd - 1
        window = self._parallel_area(fold) if plan.parallel_window else SERIAL_WINDOW
        table = 0 if self.op.encoding is None else self.stored.table_bits
        product = MULTIPLIER * self._ranked + adder + self.shifts + table
        return fold.multipliers * product + chain * MULTIPLIER + window

    @cached_property
    def _ranked(self) -> int:
        """Multipliers that a product ranks as: one at least, by the format that weights came in.

        One where every product is a shift, which adders make.
        """
        if self.shifts:
            return 1
        code, weight = self.task.x.format, self.op.weight_format
        return max(
            1,
            hard_multipliers(Shape(code.width, code.signed), Shape(weight.width, weight.signed)),
        )

    def _parallel_area(self, fold: Fold) -> int:
        """A pixel that gathers and one at the window's corner, the window, and a copy dealt out."""
        rows, columns = self.window.kernel
        pixels = 2 + rows * (columns - 1)
        if fold.group_folds * fold.term_folds > 1:
            pixels += rows * columns
        return pixels * self.task.x.channels * self.task.x.format.width

    def cycles(self, plan: FoldPlan) -> int:
        """Its multiplications, or the codes that it takes in."""
        x, fold = self.task.x, plan.fold
        if plan.parallel_window:
            return self._parallel_cycles(fold)
        return max(self.positions * fold.cycles, -(-x.size // self.input_lanes(plan, 0)))

    def _parallel_cycles(self, fold: Fold) -> int:
        """Cycles behind a parallel window, which walks over padded positions, one a cycle."""
        if not moves(self.window):
            return self.positions * fold.cycles
        return self._walk.cycles(fold.cycles, _ahead(fold))

    @cached_property
    def _walk(self) -> Walk:
        """The way of a parallel window."""
        return Walk.of(self.window, self.task.x.shape)

    def why(self, plan: FoldPlan) -> str:
        """Multiplications and what they share."""
        macs = self.op.work(self.task.inputs).macs
        return f"{macs:,} multiplications on {plan.fold.multipliers:,} multipliers"

    def multipliers(self, plan: FoldPlan) -> int:
        """Weights that never change are multiplied by adders."""
        return plan.fold.multipliers * self._each if plan.fold.cycles > 1 else 0

    @cached_property
    def _each(self) -> int:
        """Hard multipliers under one product of an input code and a stored weight."""
        code, factor = self.task.x.format, self.stored.factor
        return 0 if factor is None else hard_multipliers(Shape(code.width, code.signed), factor)

    def adder_bits(self, plan: FoldPlan) -> int:
        """Unrolled: a term for each weight that is not 0, at least as wide as its code.

        Folded shifts: for each product the code, its negation, which has the same last bit, or 0.
        """
        if plan.fold.cycles > 1:
            return plan.fold.multipliers * (self.task.x.format.width - 1) if self.shifts else 0
        return int(np.count_nonzero(self.op.weights)) * self.task.x.format.width

    def memories(self, plan: FoldPlan) -> Sequence[Memory]:
        """Window, gathered and replayed vectors, weights and biases."""
        fold = plan.fold
        words = fold.cycles if fold.cycles > 1 else 0
        found = [*self.window_memories(plan), *self._vector_memories(plan)]
        return [*found, *self.constant_memories(plan, words, fold.multipliers * self.stored.width)]

    def window_memories(self, plan: FoldPlan) -> Iterator[Memory]:
        """Rows of the map."""
        x, fold = self.task.x, plan.fold
        if not moves(self.window):
            return
        if not plan.parallel_window:
            yield ring_memory(self.window, x, fold.group_lanes * fold.simd)
        elif self.window.kernel[0] > 1:
            columns = x.shape[1] + self.window.padding[1] + self.window.padding[3]
            width = (self.window.kernel[0] - 1) * x.channels * x.format.width
            yield Memory(columns if columns > 1 else 0, width, written=True)

    def _vector_memories(self, plan: FoldPlan) -> Iterator[Memory]:
        fold = plan.fold
        bits = fold.group_lanes * fold.simd * self.task.x.format.width
        if fold.output_folds == 1:
            return
        if not plan.parallel_window and not moves(self.window):
            yield from fifo_memory(fold.group_folds * fold.term_folds, bits)
        if fold.term_folds > 1:
            yield Memory(fold.term_folds, bits, written=True)

    def constant_memories(self, plan: FoldPlan, words: int, width: int) -> Iterator[Memory]:
        """So many words of weights, and biases where they take turns."""
        fold = plan.fold
        yield Memory(words, width, written=False, block=plan.block_constants)
        turns = fold.group_folds * fold.output_folds
        if turns > 1:
            bias = self.held[1]
            shape = holding(min(int(bias.min()), -1), max(int(bias.max()), 0))
            width = fold.group_lanes * fold.pe * shape.width
            yield Memory(turns, width, written=False, block=plan.block_constants)

    def input_lanes(self, plan: FoldPlan, index: int) -> int:
        """The terms of one cycle."""
        return plan.fold.group_lanes * plan.fold.simd

    def output_lanes(self, plan: FoldPlan, given: Sequence[int]) -> tuple[int, ...]:
        """The sums that end together."""
        return (plan.fold.group_lanes * plan.fold.pe,)

    def used(self, plan: FoldPlan, index: int, output: int) -> Counts:
        """The whole vector or window of its position."""
        x, out = self.task.x, self.task.out
        places = np.arange(out.size) // out.channels
        if not isinstance(self.op, Conv):
            return (places + 1) * x.channels
        pixels = window.window_need(self.window, x.shape, parallel=plan.parallel_window)
        return pixels[places] * x.channels

    def gathers(self, plan: FoldPlan, index: int, map_cycles: int, pace: float) -> int:
        """What a parallel window takes in a burst, between two maps most of all.

        It keeps no pixel that comes early. A serial window's ring does, and a dense layer's FIFO.
        """
        if not plan.parallel_window or not moves(self.window):
            return 0
        x, whole = self.task.x, self.cycles(plan)
        taken_at = np.array(self._walk.times(plan.fold.cycles, _ahead(plan.fold)))
        taken = window.window_need(self.window, x.shape, parallel=True) * x.channels
        lacking = np.concatenate([taken, taken + x.size]) - taken_at * (map_cycles / whole) / pace
        return max(math.ceil((lacking - np.minimum.accumulate(lacking)).max()), 0)

    def lower(self, plan: FoldPlan, beats: tuple[Beat, ...]) -> Layer:
        """Windows (serial or parallel), replay, and the folded sums."""
        fold, products = plan.fold, self.sums(plan)
        if plan.parallel_window:
            parts = self._parallel(beats[0], fold)
        else:
            parts = self.serial(plan, beats[0])
            if fold.output_folds > 1 and not moves(self.window):
                # The next vector gathers here while the present one is replayed.
                parts.insert(1, Fifo(products.in_beat, fold.group_folds * fold.term_folds))
        if fold.output_folds > 1:
            parts.append(Replay(products.in_beat, fold.term_folds, fold.output_folds))
        return Layer(beats, products.out_beat, [*parts, products])

    def sums(self, plan: FoldPlan, schedule: Schedule | None = None) -> SumOfProducts:
        """The folded sums of all words, or of those of a schedule."""
        weights, bias = self.held
        return SumOfProducts(
            fmt=self.task.x.format,
            out=self.task.out.format,
            weight=self.weight,
            stored=self.stored,
            fold=plan.fold,
            weights=_by_group(
                self.op, weights if self.order is None else weights[list(self.order)]
            ),
            bias=bias,
            rule=self._rule(),
            block=plan.block_constants,
            schedule=schedule,
        )

    def serial(self, plan: FoldPlan, beat: Beat) -> list[Any]:
        """Lanes, and a window that gives its codes in turn."""
        x, lanes = self.task.x, self.input_lanes(plan, 0)
        parts: list[Any] = [Lanes(beat, lanes)]
        if moves(self.window):
            parts.append(
                window.SerialWindow(
                    beat.with_lanes(lanes),
                    x.shape,
                    self.window,
                    pad_code=self.op.zero_point,
                    blocks=plan.fold.group_folds,
                )
            )
        return parts

    def _rule(self) -> StepRule | None:
        """The accumulator's rule, if it has steps."""
        acc = self.op.accumulator
        if not isinstance(acc, Stepwise):
            return None
        return StepRule(acc=acc, drop=self.op.steps(self.task.x).drop, ordered=not self.free)

    def _parallel(self, beat: Beat, fold: Fold) -> list[Any]:
        """A whole window a beat, dealt out in the order of the fold."""
        x, order = self.task.x, self.order
        pixel = beat.with_lanes(x.channels)
        parts: list[Any] = [Lanes(beat, x.channels)]
        if moves(self.window):
            pad = self.op.zero_point
            parts.append(window.ParallelWindow(pixel, x.shape, self.window, pad_code=pad))
        per_group = x.channels // fold.groups
        deals = []
        for group_fold in range(fold.group_folds):
            for term_fold in range(fold.term_folds):
                lanes = []
                for g in range(fold.group_lanes):
                    group = group_fold * fold.group_lanes + g
                    for s in range(fold.simd):
                        term = term_fold * fold.simd + s
                        place, channel = divmod(term if order is None else order[term], per_group)
                        lanes.append(place * x.channels + group * per_group + channel)
                deals.append(tuple(lanes))
        whole = pixel.with_lanes(x.channels * self.window.size)
        return [*parts, window.PickLanes(whole, tuple(deals))]


def _ahead(fold: Fold) -> int:
    """Cycles before the end of a window's sums at which the next window is taken.

    The sums of further outputs are made from a copy.
    """
    deals = fold.group_folds * fold.term_folds
    return (fold.output_folds - 1) * fold.term_folds if deals > 1 else 0


def _by_group(op: Weighted, weights: Any) -> Any:
    """Weights as (groups, terms, outputs of a group)."""
    groups = op.groups if isinstance(op, Conv) else 1
    return weights.reshape(len(weights), groups, -1).transpose(1, 0, 2)
