"""What share of a sum each of its terms is: a reciprocal a sum, a product a term."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from amaranth.hdl import Shape

from hwsim import ops
from hwsim.fixed import Format
from hwsim.ops.floats import FRACTION
from rtl.layers.base import MULTIPLIER, Option
from rtl.layers.cost import hard_multipliers
from rtl.layers.pairs import Paired
from rtl.layers.plans import LanePlan, SerialPlan, serial_plans
from rtl.parts.multicycle import Multiplication, Serial, Shared
from rtl.parts.multiply import limb_shapes
from rtl.parts.reciprocals import FloatReciprocals, NewtonReciprocals, newton_cycles
from rtl.parts.share_lanes import MulticycleShares, PipelinedShares, share_cycles
from rtl.parts.shares import FIXED, FloatDivision, NewtonDivision, Ranges, Rounded

TERMS, TOTALS = 0, 1


class Shares(Paired):
    """The shared base: reciprocals before they are repeated, by one multiplication a lane."""

    def lacks(self) -> str | None:
        """In float32 twice a share must have no more bits than a significand."""
        most = self.task.op.out.max - self.task.op.zero_point
        newton = self.task.op.division is ops.Division.NEWTON
        if newton or most.bit_length() <= FRACTION:
            return None
        return f"shares in float32 must have at most {FRACTION} bits, not {most.bit_length()}"

    @cached_property
    def division(self) -> NewtonDivision | FloatDivision:
        """How a share is worked out."""
        op: ops.Share = self.task.op
        term, total = ((x.lo, x.hi) for x in self.task.inputs)
        ranges = Ranges(term, total, op.out.max - op.zero_point, op.bits)
        newton = op.division is ops.Division.NEWTON
        return NewtonDivision(ranges) if newton else FloatDivision(ranges)

    @cached_property
    def end(self) -> Rounded:
        """From a product to the code."""
        op: ops.Share = self.task.op
        return Rounded(self.division, op.zero_point, op.out)

    def repeated(self, index: int) -> Format:
        """Terms, and reciprocals of sums."""
        return self.division.word if index == TOTALS else self.task.x.format

    @abstractmethod
    def multiplication(self, plan: LanePlan) -> Multiplication:
        """How the products of Newton steps are made."""

    @abstractmethod
    def each(self, plan: LanePlan) -> int:
        """Cycles from one beat of terms to the next."""

    @abstractmethod
    def products(self, plan: LanePlan) -> tuple[int, int]:
        """Hard multipliers under the product of one lane, and its look-up tables, about."""

    def each_sum(self, plan: LanePlan) -> int:
        """Cycles from one reciprocal to the next."""
        if isinstance(self.division, NewtonDivision):
            return newton_cycles(self.division, self.multiplication(plan))[1]
        return FloatReciprocals.cycles

    def cycles(self, plan: LanePlan) -> int:
        """The slower of both."""
        sums = self.task.inputs[TOTALS].size // self.repeats(plan, TOTALS).lanes
        terms = -(-self.task.out.size // plan.lanes)
        return max(sums * self.each_sum(plan), terms * self.each(plan))

    def why(self, plan: LanePlan) -> str:
        """Both paces."""
        return f"a sum in {self.each_sum(plan)} cycles, {plan.lanes} terms in {self.each(plan)}"

    def multipliers(self, plan: LanePlan) -> int:
        """That of a reciprocal's lane, and those of the products; none where all shares are 0."""
        if self.division.vanishes:
            return 0
        own = self.multiplication(plan).multipliers(Shape(FIXED), Shape(FIXED + 1, True))
        if isinstance(self.division, FloatDivision):
            own = 0
        return own * self.repeats(plan, TOTALS).lanes + plan.lanes * self.products(plan)[0]

    def option(self, plan: LanePlan) -> Option:
        """A plan as an option, by what Yosys was seen to make of a few."""
        newton = isinstance(self.division, NewtonDivision)
        tables = self.repeats(plan, TOTALS).lanes * (600 if newton else 300)
        tables += plan.lanes * self.products(plan)[1]
        needed = self.multipliers(plan)
        cost = (tables + MULTIPLIER * needed, plan.lanes)
        return Option(cost, self.cycles(plan), plan, needed)

    def options(self) -> Sequence[Option]:
        """One for each width."""
        return [self.option(self.plan(lanes)) for lanes in self.widths()]

    def ahead(self, plan: LanePlan, index: int) -> Sequence[Any]:
        """Reciprocals of the sums."""
        if index == TERMS:
            return ()
        lanes, total = self.repeats(plan, TOTALS).lanes, self.task.inputs[TOTALS]
        if isinstance(self.division, FloatDivision):
            return [FloatReciprocals(lanes, division=self.division, in_format=total.format)]
        made = NewtonReciprocals(
            lanes,
            division=self.division,
            in_format=total.format,
            multiplication=self.multiplication(plan),
        )
        return [made]


class MulticycleShared(Shares):
    """The shared base of those that work on a beat of terms for several cycles."""

    def each(self, plan: LanePlan) -> int:
        """Those of the product, and of its end."""
        return share_cycles(self.end, self.multiplication(plan))

    def part(self, plan: LanePlan) -> MulticycleShares:
        """A multiplication a lane."""
        return MulticycleShares(
            plan.lanes,
            end=self.end,
            in_format=self.task.x.format,
            multiplication=self.multiplication(plan),
        )


class SharedSerially(MulticycleShared):
    """Shift and add: no multiplier."""

    name = "serial"
    plan_type = SerialPlan

    def options(self) -> Sequence[Option]:
        """One for each width and number of bits."""
        return [self.option(plan) for plan in serial_plans(self.name, self.widths())]

    def multiplication(self, plan: LanePlan) -> Multiplication:
        """So many bits a cycle."""
        assert isinstance(plan, SerialPlan)
        return Serial(bits=plan.bits)

    def products(self, plan: LanePlan) -> tuple[int, int]:
        """None; a second bit a cycle needs another multiple."""
        assert isinstance(plan, SerialPlan)
        return 0, 120 + 40 * plan.bits


class SharedByLimbs(MulticycleShared):
    """One multiplier a lane for all limbs of a product, one after another."""

    name = "shared"

    def multiplication(self, plan: LanePlan) -> Multiplication:
        """Limb by limb."""
        return Shared()

    def products(self, plan: LanePlan) -> tuple[int, int]:
        """One."""
        return 1, 220


class SharedAtOnce(Shares):
    """A beat of terms a cycle; reciprocals by one multiplier a lane."""

    name = "pipelined"

    def multiplication(self, plan: LanePlan) -> Multiplication:
        """Limb by limb."""
        return Shared()

    def each(self, plan: LanePlan) -> int:
        """One."""
        return 1

    def products(self, plan: LanePlan) -> tuple[int, int]:
        """Those under the pieces of both operands."""
        term, factor = self.division.term, Shape(self.division.significand)
        pieces = [limb_shapes(shape) for shape in (term, factor)]
        return sum(hard_multipliers(a, b) for a in pieces[0] for b in pieces[1]), 200

    def part(self, plan: LanePlan) -> PipelinedShares:
        """Products, a stage after the other."""
        return PipelinedShares(plan.lanes, end=self.end, in_format=self.task.x.format)
