"""Requantizers and casts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from functools import cached_property, lru_cache
from typing import Any

from hwsim.forms.choose import choose
from hwsim.forms.requantizers import Form
from hwsim.ops import Cast, Requantize
from rtl.layers.base import Pointwise
from rtl.layers.elementwise import mapped
from rtl.layers.layer import Layer
from rtl.layers.memory import Memory
from rtl.layers.plans import LanePlan
from rtl.layers.rescale import ByLimbs, Pipelined, Rescaled, Serially
from rtl.parts import caster
from rtl.parts.stream import Beat
from rtl.targets import REFERENCE


class Requantizing(Rescaled):
    """The shared base of requantizers of any scheme."""

    @cached_property
    def form(self) -> Form:
        """The cheapest form with the same thresholds."""
        return requantizer_form(self.task.op, *self.bounds)


class Requantized(Pipelined, Requantizing):
    """A code a lane and cycle."""


class RequantizedSerially(Serially, Requantizing):
    """Shift and add."""


class RequantizedByLimbs(ByLimbs, Requantizing):
    """A multiplier a lane, used several times for a code."""


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
            part = caster.caster(plan.lanes, src=src, dst=op.out, **modes)
        else:
            part = caster.ChannelCaster(op.channels, plan.lanes, src=src, out=op.out, **modes)
        return mapped(self, plan, beats, part)
