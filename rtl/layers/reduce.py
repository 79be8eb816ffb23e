"""The largest code, the smallest or the sum along any axes: running results, an axis at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from hwsim.fixed import Format, Overflow
from hwsim.ops import Balanced, Exact, Float32, Reduce, Reduction, Stepwise
from rtl.layers.base import Counts, OnLanes, Task, divisors
from rtl.layers.layer import Layer
from rtl.layers.memory import Memory
from rtl.layers.plans import LanePlan
from rtl.parts import caster
from rtl.parts.float_sum import FloatSum
from rtl.parts.lanes import Lanes
from rtl.parts.reduce import Across, Combine, Running
from rtl.parts.stream import Beat

COMBINE = {Reduction.MAX: Combine.MAX, Reduction.MIN: Combine.MIN}


@dataclass(frozen=True, slots=True)
class Stage:
    """Neighbouring axes made one: `positions` codes each, with `channels` codes between them.

    `total` codes of the input are in each result so far.
    """

    positions: int
    channels: int
    total: int


class Reduced(OnLanes):
    """A running result for each group of neighbouring axes, the innermost first."""

    name = "running"

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.op: Reduce = task.op

    def lacks(self) -> str | None:
        """A tree of sums that clamp, and one accumulator for axes apart, are not streamed."""
        acc = self.op.accumulator
        if isinstance(acc, Float32):
            (stage, *others) = self.stages
            if others or stage.channels > 1:
                return "a sum of float32 numbers must be along the innermost axes, side by side"
            return None
        if isinstance(acc, Exact) or self.op.stepped(self.task.x).any_order:
            return None
        if isinstance(acc, Balanced):
            return (
                "a tree of sums that can overflow adds in an order that no stream comes in; an "
                "accumulator that wraps, or one with more integer bits, has hardware"
            )
        if len(self.stages) > 1:
            return (
                "a sum that can overflow at each step must be along neighbouring axes; an "
                "accumulator that wraps, or one with more integer bits, has hardware"
            )
        return None

    @property
    def stages(self) -> list[Stage]:
        """What is made one, the innermost first; at least one."""
        shape, axes = self.task.x.shape, self.op.axes
        runs = [
            (reduced, math.prod(shape[axis] for axis in run))
            for reduced, run in groupby(range(len(shape)), key=axes.__contains__)
        ]
        found, channels, total = [], 1, 1
        for reduced, size in reversed(runs):
            if reduced:
                total *= size
                found.append(Stage(size, channels, total))
            else:
                channels *= size
        return found

    @property
    def across(self) -> bool:
        """Whether the channels become one, so that the codes of a beat do."""
        return len(self.task.x.shape) - 1 in self.op.axes

    def widths(self) -> Sequence[int]:
        """Divisors of the channels; one where those become one in an order."""
        if self.across and not isinstance(self.op.accumulator, Exact):
            return (1,)
        return divisors(self.task.x.channels)

    def output_lanes(self, plan: LanePlan, given: Sequence[int]) -> tuple[int, ...]:
        """As many, or one where the codes of a beat become one."""
        return (1 if self.across else plan.lanes,)

    def cycles(self, plan: LanePlan) -> int:
        """A beat a cycle; a float32 number takes two."""
        rate = 2 if isinstance(self.op.accumulator, Float32) else 1
        return rate * self.task.x.size // plan.lanes

    def multipliers(self, plan: LanePlan) -> int:
        """Nothing is multiplied."""
        return 0

    def format(self, stage: Stage) -> Format:
        """Of the codes that a stage gives."""
        x, out = self.task.x, self.task.out.format
        last = stage == self.stages[-1]
        if last or self.op.reduction in COMBINE or not isinstance(self.op.accumulator, Exact):
            return out
        return self.op.sums(x, stage.total).format

    def memories(self, plan: LanePlan) -> Sequence[Memory]:
        """What runs of each channel, where there are several beats of them."""
        (lanes,) = self.output_lanes(plan, ())
        return [
            Memory(stage.channels // lanes, lanes * self.format(stage).width, True)
            for stage in self.stages
            if stage.channels > lanes
        ]

    def used(self, plan: LanePlan, index: int, output: int) -> Counts:
        """All up to the last code of its result."""
        shape = self.task.x.shape
        places = np.arange(self.task.x.size).reshape(shape)
        return np.asarray(places.max(axis=self.op.axes)).reshape(-1) + 1

    def lower(self, plan: LanePlan, beats: tuple[Beat, ...]) -> Layer:
        """A cast of each code where the sum has steps, then the stages."""
        op, lanes = self.op, plan.lanes
        parts: list[Any] = [Lanes(beats[0], lanes)]
        if isinstance(op.accumulator, Float32):
            part = FloatSum(op.terms(self.task.x))
            return Layer(beats, part.beat, [*parts, part])
        beat, overflow = beats[0].with_lanes(lanes), Overflow.WRAP
        acc = op.accumulator
        if isinstance(acc, Stepwise | Balanced):
            overflow = acc.overflow
            parts.append(
                caster.caster(
                    lanes,
                    src=self.task.x.format,
                    dst=acc.format,
                    rounding=acc.rounding,
                    overflow=overflow,
                )
            )
            beat = Beat.of(lanes, acc.format)
        zero, combine, beats_of_one = op.zero_point, COMBINE.get(op.reduction, Combine.SUM), 1
        if self.across and lanes > 1:
            parts.append(Across(beat, combine))
            beat, beats_of_one, lanes = parts[-1].out, lanes, 1
        for stage in self.stages:
            out = Beat.of(lanes, self.format(stage))
            parts.append(
                Running(
                    beat,
                    out,
                    positions=stage.positions // beats_of_one,
                    channel_beats=stage.channels // lanes,
                    combine=combine,
                    initial=-stage.positions * zero,
                    overflow=overflow,
                )
            )
            beat, zero, beats_of_one = out, 0, 1
        return Layer(beats, beat, parts)
