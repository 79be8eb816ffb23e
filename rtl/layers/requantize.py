"""Requantizers and casts, and what all operators share that multiply a code by a constant."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import fields, replace
from functools import cached_property, lru_cache
from itertools import accumulate
from typing import Any

from hwsim.forms.choose import choose
from hwsim.forms.requantizers import Form
from hwsim.ops import Cast, Requantize
from rtl.layers.base import Option, Pointwise
from rtl.layers.cost import rescaler_multipliers
from rtl.layers.elementwise import mapped
from rtl.layers.layer import Layer
from rtl.layers.memory import Memory
from rtl.layers.plans import LanePlan
from rtl.parts import pointwise
from rtl.parts.pipeline import ChannelConstants
from rtl.parts.requantizer import Requantizer
from rtl.parts.requantizer import plan as stages
from rtl.parts.stream import Beat
from rtl.targets import REFERENCE


class Rescaled(Pointwise):
    """The shared base of operators that take each code times a constant of its channel.

    `form` is the integer form that is equal on the proven range; after `period` codes its constants
    come again. Here a multiplier a lane takes a code each cycle.
    """

    name = "pipelined"

    @property
    @abstractmethod
    def form(self) -> Form:
        """The cheapest integer form that is equal on the proven range of the input."""

    @property
    def period(self) -> int:
        """The number of codes after which the constants come again."""
        return self.task.x.channels

    def lacks(self) -> str | None:
        """Every form can be built."""
        return None

    @property
    def bounds(self) -> tuple[int, int]:
        """The proven range of the input's codes."""
        return self.task.x.lo, self.task.x.hi

    def options(self) -> Sequence[Option]:
        """One for each number of lanes, and none cheaper than one that is slower."""
        plans = [self.plan(lanes) for lanes in self.widths()]
        most = accumulate((self.multipliers(plan) for plan in plans), max)
        return [
            Option((multipliers, plan.lanes), self.cycles(plan), plan)
            for multipliers, plan in zip(most, plans, strict=True)
        ]

    @cached_property
    def _multipliers(self) -> dict[int, int]:
        """Those of all lanes' products, by the number of lanes."""
        return {
            lanes: rescaler_multipliers(self.form, self.bounds, lanes, self.period)
            for lanes in self.widths()
        }

    def multipliers(self, plan: LanePlan) -> int:
        """Those of each lane's product."""
        return self._multipliers[plan.lanes]

    def memories(self, plan: LanePlan) -> Sequence[Memory]:
        """The constants, where they differ between beats."""
        varying, _ = stages(self.form, self.bounds)
        constants = ChannelConstants(varying, lanes=plan.lanes, channels=self.period)
        if not constants.stored:
            return ()
        return (Memory(constants.blocks, constants.width, written=False),)

    def lower(self, plan: LanePlan, beats: tuple[Beat, ...]) -> Layer:
        """A multiplication, an addition, a shift and their rounding on each lane."""
        part = Requantizer(
            self.form,
            lanes=plan.lanes,
            channels=self.period,
            in_format=self.task.x.format,
            in_range=self.bounds,
        )
        return mapped(self, plan, beats, part)


class Requantized(Rescaled):
    """A requantizer of any scheme."""

    @cached_property
    def form(self) -> Form:
        """The cheapest form with the same thresholds."""
        return requantizer_form(self.task.op, *self.bounds)


@lru_cache(maxsize=4096)
def requantizer_form(op: Requantize, lo: int, hi: int) -> Form:
    """The cheapest integer form with the thresholds of `op` on lo..hi; found once for each."""
    distinct = tuple(dict.fromkeys(op.multiplier))
    if len(distinct) == len(op.multiplier):
        return choose(op, lo, hi, operand_bits=REFERENCE.operand_bits)
    distinct_op = replace(op, multiplier=distinct)
    form = choose(distinct_op, lo, hi, operand_bits=REFERENCE.operand_bits)
    places = [distinct.index(d) for d in op.multiplier]
    several: dict[str, Any] = {
        f.name: tuple(value[place] for place in places)
        for f in fields(form)
        if isinstance(value := getattr(form, f.name), tuple) and len(value) > 1
    }
    return replace(form, **several)


class Casted(Pointwise):
    """A shift, its rounding and its overflow."""

    name = "shift"

    def lacks(self) -> str | None:
        """Every cast can be built."""
        return None

    def multipliers(self, plan: LanePlan) -> int:
        """Nothing is multiplied."""
        return 0

    def memories(self, plan: LanePlan) -> Sequence[Memory]:
        """None."""
        return ()

    def lower(self, plan: LanePlan, beats: tuple[Beat, ...]) -> Layer:
        """A caster on each lane."""
        op: Cast = self.task.op
        src = self.task.x.format
        modes: dict[str, Any] = {"rounding": op.rounding, "overflow": op.overflow}
        part: Any
        if op.channels is None:
            part = pointwise.caster(plan.lanes, src=src, dst=op.out, **modes)
        else:
            part = pointwise.ChannelCaster(op.channels, plan.lanes, src=src, out=op.out, **modes)
        return mapped(self, plan, beats, part)
