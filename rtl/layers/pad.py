"""A code around a tensor and between its codes: beats that a counter puts into the stream."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from hwsim.ops import Pad
from rtl.layers.base import Counts, OnLanes, divisors
from rtl.layers.layer import Layer
from rtl.layers.memory import Memory
from rtl.layers.plans import LanePlan
from rtl.layers.select import in_bursts
from rtl.parts.lanes import Lanes
from rtl.parts.resample import Insert, merged
from rtl.parts.stream import Beat, Slice


class Framed(OnLanes):
    """Counters over all axes."""

    name = "insert"

    def lacks(self) -> str | None:
        """Every one can be built."""
        return None

    def widths(self) -> Sequence[int]:
        """What divides the channels and all that comes between them."""
        op: Pad = self.task.op
        before, after, between = op.amounts(self.task.x)[-1]
        channels = self.task.x.channels
        return divisors(math.gcd(channels, before, after)) if not between else (1,)

    def cycles(self, plan: LanePlan) -> int:
        """A beat a cycle."""
        return self.task.out.size // plan.lanes

    def multipliers(self, plan: LanePlan) -> int:
        """Nothing is multiplied."""
        return 0

    def memories(self, plan: LanePlan) -> Sequence[Memory]:
        """None."""
        return ()

    def used(self, plan: LanePlan, index: int, output: int) -> Counts:
        """The codes of its input among those before it, and the first of a tensor at least."""
        real = np.ones((), bool)
        for each in self.real():
            real = np.logical_and.outer(real, each)
        return np.maximum(np.cumsum(real.ravel()), 1)

    def real(self) -> list[list[bool]]:
        """For each axis, which indices of the output are some of the input."""
        op: Pad = self.task.op
        found = []
        for size, (before, after, between) in zip(
            self.task.x.shape, op.amounts(self.task.x), strict=True
        ):
            inside = [k % (between + 1) == 0 for k in range((size - 1) * (between + 1) + 1)]
            found.append([False] * before + inside + [False] * after)
        return found

    def gathers(self, plan: LanePlan, index: int, map_cycles: int, pace: float) -> int:
        """What comes while it gives codes of its own."""
        return in_bursts(self.used(plan, 0, 0), map_cycles, pace)

    def lower(self, plan: LanePlan, beats: tuple[Beat, ...]) -> Layer:
        """One part, and registers."""
        op: Pad = self.task.op
        beat, real = beats[0].with_lanes(plan.lanes), self.real()
        real[-1] = real[-1][:: plan.lanes]
        part = Insert(beat, real=merged(real), code=op.code)
        return Layer(beats, beat, [Lanes(beats[0], plan.lanes), part, Slice(beat)])
