"""One over the square root of each code: a memory of all of them, or a digit a cycle."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import cached_property

from hwsim.ops import Rsqrt
from rtl.layers.base import Option, Pointwise
from rtl.layers.elementwise import mapped
from rtl.layers.layer import Layer
from rtl.layers.memory import Memory
from rtl.layers.plans import LanePlan
from rtl.parts.pointwise import Lookup
from rtl.parts.rsqrt import BITS, STEPS, ReciprocalRoot, Sum
from rtl.parts.stream import Beat

MOST_ENTRIES = 1 << 12
"""Codes whose results lie in a memory."""


class Rooted(Pointwise):
    """The shared base: no multipliers, and an estimate of look-up tables to rank by."""

    def multipliers(self, plan: LanePlan) -> int:
        """Nothing is multiplied."""
        return 0

    def option(self, lanes: int, tables: int) -> Option:
        """A plan as an option."""
        plan = self.plan(lanes)
        return Option((tables, lanes), self.cycles(plan), plan)


class LookedUpRoot(Rooted):
    """A read-only memory a lane."""

    name = "memory"

    def lacks(self) -> str | None:
        """Few codes."""
        if self.entries <= MOST_ENTRIES:
            return None
        return f"at most {MOST_ENTRIES} codes have their roots in a memory, not {self.entries}"

    @property
    def entries(self) -> int:
        """The codes that can occur."""
        return self.task.x.hi - self.task.x.lo + 1

    def options(self) -> Sequence[Option]:
        """One for each width."""
        each = -(-self.entries // 16) * self.task.out.format.width
        return [self.option(lanes, 30 + lanes * each) for lanes in self.widths()]

    def memories(self, plan: LanePlan) -> Sequence[Memory]:
        """The results, a lane."""
        return [Memory(self.entries, self.task.out.format.width, written=False)] * plan.lanes

    def lower(self, plan: LanePlan, beats: tuple[Beat, ...]) -> Layer:
        """A look-up on each lane."""
        op: Rsqrt = self.task.op
        x, out = self.task.x, self.task.out.format
        values = [op.code(code) for code in range(x.lo, x.hi + 1)]
        part = Lookup(values, plan.lanes, in_format=x.format, out=out, first=x.lo)
        return mapped(self, plan, beats, part)


class DigitByDigit(Rooted):
    """A root and a quotient by one subtraction a lane and cycle."""

    name = "digits"

    def lacks(self) -> str | None:
        """Every one can be built."""
        return None

    def options(self) -> Sequence[Option]:
        """One for each width."""
        each = 2 * self.sum.width + 7 * BITS + 2 * self.task.out.format.width + 60
        return [self.option(lanes, 30 + lanes * each) for lanes in self.widths()]

    @cached_property
    def sum(self) -> Sum:
        """What is under the root."""
        return Sum(Fraction(self.task.op.offset), (self.task.x.lo, self.task.x.hi))

    @property
    def each(self) -> int:
        """Cycles a beat."""
        return self.sum.cycles + STEPS

    def cycles(self, plan: LanePlan) -> int:
        """Many a beat."""
        return -(-self.task.codes // plan.lanes) * self.each

    def why(self, plan: LanePlan) -> str:
        """A beat in several cycles."""
        return f"{plan.lanes} codes in {self.each} cycles"

    def memories(self, plan: LanePlan) -> Sequence[Memory]:
        """None."""
        return ()

    def lower(self, plan: LanePlan, beats: tuple[Beat, ...]) -> Layer:
        """One component for all lanes."""
        part = ReciprocalRoot(
            plan.lanes,
            total=self.sum,
            bits=self.task.op.bits,
            in_format=self.task.x.format,
            out=self.task.out.format,
        )
        return mapped(self, plan, beats, part)
