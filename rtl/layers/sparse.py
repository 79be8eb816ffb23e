"""Dense layers and convolutions that skip their zeros: words of weights that are all 0."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar

import numpy as np

from rtl.layers.folds import layer_fold, scattered
from rtl.layers.layer import Layer
from rtl.layers.memory import Memory, fifo_memory
from rtl.layers.plans import FoldPlan
from rtl.layers.weighted import Folded
from rtl.parts.fifo import Fifo
from rtl.parts.fold import BoolArray, Fold, Schedule, words_of
from rtl.parts.replay import PickBeats
from rtl.parts.stream import Beat

WORTH = 0.75
"""The share of a fold's cycles that may be left at most: less saved is not worth the order."""
ORDER = 60
"""Look-up tables of the counters that pick beats, roughly."""
BLOCK = 150
"""Look-up tables that a block RAM for one more copy of the vector is worth: an ECP5 has 400."""


class Sparse(Folded):
    """Each sum's terms in turn, but for those whose weights of one cycle are all 0.

    One memory holds the words that are left, another which beat of the vector each meets; the
    vector is held whole while the next one comes in. So a vector takes as many cycles as words are
    left, or as it has beats, whichever are more. A product of 0 changes no sum, nor one of a
    step-wise accumulator, which begins with a bias in its own format.
    """

    name = "sparse"
    by_lane: ClassVar[bool] = False

    def lacks(self) -> str | None:
        """It needs zeros enough, in sums that all take the same inputs."""
        if layer_fold(self.op).groups > 1:
            return "the layer has groups"
        few = np.count_nonzero(self.op.weights) > WORTH * self.op.weights.size
        return "too few of its weights are 0" if few else None

    def _saves(self, fold: Fold) -> bool:
        """Whether a fold has words enough that are 0, and takes codes in the stream's own order."""
        if fold.output_folds == 1 or fold.term_folds == 1 or (self.by_lane and fold.pe == 1):
            return False
        if self.order is not None or scattered(self.op, fold):
            return False
        return max(self._words(fold), fold.term_folds) <= WORTH * fold.cycles

    def _used(self, fold: Fold) -> BoolArray:
        """(output fold, term fold, lane): what is used of the words; each sum has one at least."""
        split = self._codes_used(fold.simd).reshape(fold.term_folds, fold.output_folds, fold.pe)
        used: BoolArray = split.transpose(1, 0, 2).copy()
        if not self.by_lane:
            used = np.logical_or.reduce(used, axis=2, keepdims=True)
        used[:, 0] |= ~used.any(axis=1)
        return used

    def _codes_used(self, simd: int) -> BoolArray:
        """(term fold, output): whether so many neighbours have a weight that is not 0."""
        if simd not in self._by_simd:
            weights = self.op.weights.reshape(-1, simd, self.op.outputs)
            self._by_simd[simd] = (weights != 0).any(axis=1)
        return self._by_simd[simd]

    @cached_property
    def _by_simd(self) -> dict[int, BoolArray]:
        return {}

    def _words(self, fold: Fold) -> int:
        return int(words_of(self._used(fold)).sum())

    def _copies(self, fold: Fold) -> list[Memory]:
        """Two vectors, once or for each lane."""
        held = Memory(2 * fold.term_folds, fold.simd * self.task.x.format.width, written=True)
        return [held] * (fold.pe if self.by_lane else 1)

    def _order(self, fold: Fold, *, block: bool) -> Memory:
        """The beats that the words meet."""
        places = (fold.pe if self.by_lane else 1) * (fold.term_folds - 1).bit_length()
        return Memory(self._words(fold), places, written=False, block=block)

    def _backlog(self, fold: Fold) -> int:
        """Beats of sums that an even reader of the same pace leaves waiting, at most.

        Sums end as unevenly as their words are many; two vectors in a row show it.
        """
        counts = words_of(self._used(fold))
        vector = max(int(counts.sum()), fold.term_folds)
        ended = np.concatenate([np.cumsum(counts), np.cumsum(counts) + vector])
        ahead = np.arange(len(ended)) - ended * (fold.output_folds / vector)
        return math.ceil((ahead - np.minimum.accumulate(ahead)).max() - 1e-9) + 1

    def folds(self) -> Sequence[Fold]:
        """Those that save cycles enough."""
        return [fold for fold in Folded.folds(self) if self._saves(fold)]

    def area(self, plan: FoldPlan) -> int:
        """The counters besides, the copies and the order of their beats."""
        fold = plan.fold
        more = [*self._copies(fold)[1:], self._order(fold, block=False)]
        held = sum(
            m.blocks * BLOCK if m.blocks else m.bits // (8 if m.written else 16) for m in more
        )
        return Folded.area(self, plan) + ORDER + held

    def cycles(self, plan: FoldPlan) -> int:
        """The words that are left, the beats of each vector, or the codes that it takes in."""
        fold = plan.fold
        vector = max(self._words(fold), fold.term_folds)
        return max(self.positions * vector, self.task.x.size // fold.simd)

    def why(self, plan: FoldPlan) -> str:
        """Words that are left."""
        left, fold = self._words(plan.fold), plan.fold
        return (
            f"{left:,} of {fold.cycles:,} words of weights are used, "
            f"{fold.multipliers:,} multipliers"
        )

    def memories(self, plan: FoldPlan) -> Sequence[Memory]:
        """Window, two vectors, the order of their beats, words that are left, biases, sums."""
        fold, left = plan.fold, self._words(plan.fold)
        return [
            *self.window_memories(plan),
            *self._copies(fold),
            self._order(fold, block=plan.block_constants),
            *self.constant_memories(plan, left, fold.multipliers * self.stored.width + 1),
            *fifo_memory(self._backlog(fold), fold.pe * self.task.out.format.width),
        ]

    def lower(self, plan: FoldPlan, beats: tuple[Beat, ...]) -> Layer:
        """A serial window, the beats that are met in turn, their sums, and room for a burst."""
        fold = plan.fold
        schedule = Schedule.of(self._used(fold))
        sums = self.sums(plan, schedule)
        beat = beats[0].with_lanes(fold.simd)
        picked = PickBeats(beat, fold.term_folds, schedule.beats, block=plan.block_constants)
        parts = [*self.serial(plan, beats[0]), picked, sums]
        if (backlog := self._backlog(fold)) > 1:
            parts.append(Fifo(sums.out_beat, backlog))
        return Layer(beats, sums.out_beat, parts)


class SparseByLane(Sparse):
    """The same with a copy of the vector for each lane, which skips its own zeros.

    The lanes of one word wait for that of them that has most left.
    """

    name = "sparse by lane"
    by_lane = True


SKIPPING = (Sparse.name, SparseByLane.name)
"""What holds a vector whole before its first sum."""
