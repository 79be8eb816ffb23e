"""Operators on each code by itself: limits and tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hwsim.ops import Relu, Table
from rtl.layers.base import OnLanes, Pointwise
from rtl.layers.layer import Layer
from rtl.layers.memory import Memory
from rtl.layers.plans import LanePlan
from rtl.parts import pointwise
from rtl.parts.lanes import Lanes
from rtl.parts.stream import Beat


def mapped(of: OnLanes, plan: LanePlan, beats: tuple[Beat, ...], *parts: Any) -> Layer:
    """The plan's lanes of codes through one part, or several in series."""
    out = Beat.of(plan.lanes, of.task.out.format)
    return Layer(beats, out, [Lanes(beats[0], plan.lanes), *parts])


class Clipped(Pointwise):
    """Two comparisons."""

    name = "compare"

    def lacks(self) -> str | None:
        """Every limit can be built."""
        return None

    def multipliers(self, plan: LanePlan) -> int:
        """Nothing is multiplied."""
        return 0

    def memories(self, plan: LanePlan) -> Sequence[Memory]:
        """None."""
        return ()

    def lower(self, plan: LanePlan, beats: tuple[Beat, ...]) -> Layer:
        """A clipper on each lane."""
        op: Relu = self.task.op
        fmt = self.task.x.format
        top = fmt.max if op.maximum is None else op.maximum
        part = pointwise.clipper(plan.lanes, fmt=fmt, lo=op.zero_point, hi=top)
        return mapped(self, plan, beats, part)


class LookedUp(Pointwise):
    """A read-only memory a lane."""

    name = "memory"

    def lacks(self) -> str | None:
        """Every table can be built."""
        return None

    def multipliers(self, plan: LanePlan) -> int:
        """Nothing is multiplied."""
        return 0

    def memories(self, plan: LanePlan) -> Sequence[Memory]:
        """The table, a lane."""
        op: Table = self.task.op
        return [Memory(op.values.size, op.out.width, written=False)] * plan.lanes

    def lower(self, plan: LanePlan, beats: tuple[Beat, ...]) -> Layer:
        """A look-up on each lane."""
        op: Table = self.task.op
        values, fmt = op.values.tolist(), self.task.x.format
        part = pointwise.Lookup(values, plan.lanes, in_format=fmt, out=op.out, first=op.first)
        return mapped(self, plan, beats, part)
