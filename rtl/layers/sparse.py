"""Dense layers and convolutions that skip their zeros: words of weights that are all 0."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from rtl.layers.folds import layer_fold, scattered
from rtl.layers.layer import Layer
from rtl.layers.memory import Memory
from rtl.layers.plans import FoldPlan
from rtl.layers.weighted import Folded
from rtl.parts.fold import BoolArray, Fold, Schedule
from rtl.parts.replay import PickBeats
from rtl.parts.stream import Beat

WORTH = 0.75
"""The share of a fold's cycles that may be left at most: less saved is not worth the order."""
ORDER = 60
"""Look-up tables of the counters that pick beats, roughly."""


class Sparse(Folded):
    """Each sum's terms in turn, but for those whose weights of one cycle are all 0.

    One memory holds the words that are left, another which beat of the vector each meets; the
    vector is held whole while the next one comes in. So a vector takes as many cycles as words are
    left, or as it has beats, whichever are more.
    """

    name = "sparse"

    def lacks(self) -> str | None:
        """It needs enough words that are 0, and a vector that several of them meet in turn."""
        return None if self._worth else "too few of its weights are 0"

    @cached_property
    def _worth(self) -> Sequence[Fold]:
        """The folds that save cycles enough."""
        whole, weights = layer_fold(self.op), self.op.weights
        if whole.groups > 1 or np.count_nonzero(weights) > WORTH * weights.size:
            return ()
        return tuple(fold for fold in Folded.folds(self) if self._saves(fold))

    def _saves(self, fold: Fold) -> bool:
        """Whether a fold has words enough that are 0, and takes codes in the stream's own order."""
        if fold.output_folds == 1 or fold.term_folds == 1:
            return False
        if self.order is not None or scattered(self.op, fold):
            return False
        return max(self._words(fold), fold.term_folds) <= WORTH * fold.cycles

    def _used(self, fold: Fold) -> BoolArray:
        """The words that are used; where steps are cast, the first of each sum is one."""
        weights = self.op.weights.reshape(fold.terms, fold.outputs)
        return fold.used(weights, start=not self.free)

    def _words(self, fold: Fold) -> int:
        return int(np.count_nonzero(self._used(fold)))

    def folds(self) -> Sequence[Fold]:
        """Those that save cycles enough."""
        return self._worth

    def area(self, plan: FoldPlan) -> int:
        """The counters besides."""
        return Folded.area(self, plan) + ORDER

    def cycles(self, plan: FoldPlan) -> int:
        """The words that are left, the beats of each vector, or the codes that it takes in."""
        fold = plan.fold
        vector = max(self._words(fold), fold.term_folds)
        return max(self.positions * vector, self.task.x.size // fold.simd)

    def why(self, plan: FoldPlan) -> str:
        """Words that are left."""
        left, fold = self._words(plan.fold), plan.fold
        return (
            f"{left:,} of {fold.cycles:,} words of weights are not 0, "
            f"{fold.multipliers:,} multipliers"
        )

    def memories(self, plan: FoldPlan) -> Sequence[Memory]:
        """Window, two vectors, the order of their beats, words that are left and biases."""
        fold, left = plan.fold, self._words(plan.fold)
        places = (fold.term_folds - 1).bit_length()
        return [
            *self.window_memories(plan),
            Memory(2 * fold.term_folds, fold.simd * self.task.x.format.width, written=True),
            Memory(left, places, written=False, block=plan.block_constants),
            *self.constant_memories(plan, left, fold.multipliers * self.stored.width + 1),
        ]

    def lower(self, plan: FoldPlan, beats: tuple[Beat, ...]) -> Layer:
        """A serial window, the beats that are met in turn, and their sums."""
        fold = plan.fold
        schedule = Schedule.of(self._used(fold))
        sums = self.sums(plan, schedule)
        picked = PickBeats(
            sums.in_beat, fold.term_folds, schedule.beats, block=plan.block_constants
        )
        return Layer(beats, sums.out_beat, [*self.serial(plan, beats[0]), picked, sums])
