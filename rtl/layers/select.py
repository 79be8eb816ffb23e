"""Indices of an axis: beats left out, held or replayed, or read from a memory in any order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property, lru_cache

import numpy as np

from hwsim.ops import Select
from rtl.layers.base import Counts, OnLanes, Task, divisors
from rtl.layers.layer import Layer
from rtl.layers.memory import Memory
from rtl.layers.plans import LanePlan
from rtl.parts.lanes import Lanes
from rtl.parts.permute import Reorder, Repeat
from rtl.parts.resample import Resample
from rtl.parts.stream import Beat, Slice

ROUNDS = 8  # after how many rounds at most writer and reader have found their pace
BACK = "its indices go backwards"
FORTH = "its indices never go backwards, for which it takes less"


class Selected(OnLanes):
    """What the ways to select have in common: parts of an axis, each some beats long."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.op: Select = task.op

    @cached_property
    def rises(self) -> bool:
        """Whether no index is below the one before it."""
        return all(a <= b for a, b in zip(self.op.indices, self.op.indices[1:], strict=False))

    @cached_property
    def once(self) -> bool:
        """Whether no index comes more than once."""
        return len(set(self.op.indices)) == len(self.op.indices)

    @property
    def rounds(self) -> int:
        """How often the axis is gone through."""
        return math.prod(self.task.x.shape[: self.op.axis])

    @property
    def inner(self) -> int:
        """Codes at each index of the axis."""
        return math.prod(self.task.x.shape[self.op.axis + 1 :])

    def widths(self) -> Sequence[int]:
        """Divisors of the channels; along the channels what takes whole beats."""
        return [lanes for lanes in divisors(self.task.out.channels) if self.parts(lanes)]

    def parts(self, lanes: int) -> tuple[int, int, tuple[int, ...]] | None:
        """Beats of a part, parts of a round and those that are taken; None where beats are cut."""
        length = self.task.x.shape[self.op.axis]
        if self.op.axis < len(self.task.x.shape) - 1:
            return self.inner // lanes, length, self.op.indices
        groups = np.array(self.op.indices).reshape(-1, lanes)
        whole = (groups == groups[:, :1] + np.arange(lanes)).all() and not (
            groups[:, 0] % lanes
        ).any()
        if length % lanes or not whole:
            return None
        return 1, length // lanes, tuple((groups[:, 0] // lanes).tolist())

    def times(self, lanes: int) -> tuple[int, int, list[int]]:
        """Beats of a part, and how often each part of a round is taken."""
        found = self.parts(lanes)
        assert found is not None
        words, length, places = found
        return words, length, np.bincount(places, minlength=length).tolist()

    def multipliers(self, plan: LanePlan) -> int:
        """Nothing is multiplied."""
        return 0

    def _beats(self, plan: LanePlan, beats: tuple[Beat, ...]) -> Beat:
        return beats[0].with_lanes(plan.lanes)


class Kept(Selected):
    """Beats are left out or held: no memory."""

    name = "in-step"

    def lacks(self) -> str | None:
        """Why beats alone do not do."""
        if not self.rises:
            return BACK
        return None if self.widths() else "it repeats parts that are longer than a beat"

    def widths(self) -> Sequence[int]:
        """Where parts are repeated, lanes that make each a beat."""
        every = Selected.widths(self)
        return every if self.once else [lanes for lanes in every if self.times(lanes)[0] == 1]

    def cycles(self, plan: LanePlan) -> int:
        """A beat that is left out takes one too."""
        words, _, times = self.times(plan.lanes)
        return self.rounds * words * sum(max(count, 1) for count in times)

    def memories(self, plan: LanePlan) -> Sequence[Memory]:
        """None."""
        return ()

    def used(self, plan: LanePlan, index: int, output: int) -> Counts:
        """All up to its place."""
        places, codes = np.array(self.op.indices), np.arange(1, self.inner + 1)
        taken = np.add.outer(places * self.inner, codes).ravel()
        whole = self.task.x.shape[self.op.axis] * self.inner
        return np.add.outer(np.arange(self.rounds) * whole, taken).ravel()

    def gathers(self, plan: LanePlan, index: int, map_cycles: int, pace: float) -> int:
        """What it takes in a burst, where some beats are held longer than others."""
        return 0 if self.once else in_bursts(self.used(plan, 0, 0), map_cycles, pace)

    def lower(self, plan: LanePlan, beats: tuple[Beat, ...]) -> Layer:
        """One part, and registers."""
        beat = self._beats(plan, beats)
        words, _, times = self.times(plan.lanes)
        part = Resample(beat, words=words, times=times, rounds=self.rounds)
        return Layer(beats, beat, [Lanes(beats[0], plan.lanes), part, Slice(beat)])


class Replayed(Selected):
    """Parts of several beats are repeated from a memory of two of them."""

    name = "two-parts"

    def lacks(self) -> str | None:
        """Why there is nothing to repeat."""
        if not self.rises:
            return BACK
        return None if self.widths() else "it repeats nothing that is longer than a beat"

    def widths(self) -> Sequence[int]:
        """Lanes that make a part several beats."""
        if self.once:
            return ()
        return [lanes for lanes in Selected.widths(self) if self.times(lanes)[0] > 1]

    def cycles(self, plan: LanePlan) -> int:
        """The beats that come in or go out, as far as two parts can be ahead."""
        words, _, times = self.times(plan.lanes)
        return self.rounds * words * repeating(tuple(times))

    def memories(self, plan: LanePlan) -> Sequence[Memory]:
        """Two parts."""
        width = plan.lanes * self.task.x.format.width
        return (Memory(2 * self.inner // plan.lanes, width, written=True),)

    def used(self, plan: LanePlan, index: int, output: int) -> Counts:
        """All of its part."""
        places = np.repeat((np.array(self.op.indices) + 1) * self.inner, self.inner)
        whole = self.task.x.shape[self.op.axis] * self.inner
        return np.add.outer(np.arange(self.rounds) * whole, places).ravel()

    def lower(self, plan: LanePlan, beats: tuple[Beat, ...]) -> Layer:
        """What is taken at all, then the memory."""
        beat = self._beats(plan, beats)
        words, _, times = self.times(plan.lanes)
        parts = [Lanes(beats[0], plan.lanes)]
        if 0 in times:
            once = [min(count, 1) for count in times]
            parts.append(Resample(beat, words=words, times=once, rounds=self.rounds))
        some = [count for count in times if count]
        return Layer(
            beats, beat, [*parts, Repeat(beat, words=words, times=some, rounds=self.rounds)]
        )


class Reordered(Selected):
    """The whole axis in a memory: one is written while another is read in any order."""

    name = "two-blocks"

    def lacks(self) -> str | None:
        """Why less does it."""
        return FORTH if self.rises else None

    def cycles(self, plan: LanePlan) -> int:
        """A beat a cycle."""
        return self.task.codes // plan.lanes

    def memories(self, plan: LanePlan) -> Sequence[Memory]:
        """Both blocks."""
        x = self.task.x
        block = x.shape[self.op.axis] * self.inner // plan.lanes
        return (Memory(2 * block, plan.lanes * x.format.width, written=True),)

    def used(self, plan: LanePlan, index: int, output: int) -> Counts:
        """The whole block."""
        whole = self.task.x.shape[self.op.axis] * self.inner
        made = len(self.op.indices) * self.inner
        return np.repeat((np.arange(self.rounds) + 1) * whole, made)

    def lower(self, plan: LanePlan, beats: tuple[Beat, ...]) -> Layer:
        """One part."""
        beat, found = self._beats(plan, beats), self.parts(plan.lanes)
        assert found is not None
        words, length, places = found
        part = Reorder(beat, words=words, length=length, places=places, blocks=self.rounds)
        return Layer(beats, beat, [Lanes(beats[0], plan.lanes), part])


def in_bursts(used: Counts, map_cycles: int, pace: float) -> int:
    """Codes that must have gathered where outputs leave evenly and need codes that `used` tells."""
    every = np.concatenate([used, used + used[-1]])
    lacking = every - np.arange(len(every)) * (map_cycles / len(used)) / pace
    return max(math.ceil((lacking - np.minimum.accumulate(lacking)).max()), 0)


@lru_cache(maxsize=256)
def repeating(times: tuple[int, ...]) -> int:
    """Cycles of a round, in parts, of a memory of two parts that gives each so many times.

    A part that is given no time is left out before the memory; that takes as long as to write it.
    """
    written, read = 0, [0, 0]
    ends = []
    for _ in range(ROUNDS):
        for count in times:
            if not count:
                written += 1
                continue
            written = max(written, read[-2]) + 1
            read = [read[-1], max(read[-1], written) + count]
        ends.append(read[-1])
    return ends[-1] - ends[-2]
