"""Codes times constants: a product a cycle, bit by bit, or limb by limb on one multiplier."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from amaranth.hdl import Shape

from hwsim.errors import HwsimError
from hwsim.forms.requantizers import Form
from rtl.layers.base import MULTIPLIER, Option, Pointwise
from rtl.layers.cost import multicycle_tables, pipelined_tables, rescaler_multipliers
from rtl.layers.elementwise import mapped
from rtl.layers.layer import Layer
from rtl.layers.memory import Memory
from rtl.layers.plans import LanePlan, SerialPlan, serial_plans
from rtl.parts.multicycle import Multiplication, Serial, Shared
from rtl.parts.pipeline import ChannelConstants
from rtl.parts.recipes import Recipe, recipe
from rtl.parts.requantizer import Fields, Requantizer
from rtl.parts.requantizer import plan as stages
from rtl.parts.requantizer_multicycle import MulticycleRequantizer, cycles, product_shapes
from rtl.parts.stream import Beat


class Rescaled(Pointwise):
    """The shared base of operators that take each code times a constant of its channel.

    `form` is the integer form that is equal on the proven range; after `period` codes its constants
    come again. The first item of an option's cost is in look-up tables, multipliers among them.
    """

    @property
    @abstractmethod
    def form(self) -> Form:
        """The cheapest integer form that is equal on the proven range of the input."""

    def formless(self) -> str | None:
        """Why there is no integer form; None where there is one."""
        try:
            self.form  # noqa: B018
        except HwsimError as error:
            return str(error)
        return None

    @property
    def period(self) -> int:
        """The number of codes after which the constants come again."""
        return self.task.x.channels

    @property
    def bounds(self) -> tuple[int, int]:
        """The proven range of the input's codes."""
        return self.task.x.lo, self.task.x.hi

    @abstractmethod
    def tables(self, plan: LanePlan) -> int:
        """Look-up tables that it takes, by a rough estimate."""

    @property
    @abstractmethod
    def fields(self) -> Fields:
        """The constants of the form, by name."""

    def cost(self, plan: LanePlan) -> tuple[int, ...]:
        """How a plan ranks."""
        return self.tables(plan) + MULTIPLIER * self.multipliers(plan), plan.lanes

    def option(self, plan: LanePlan) -> Option:
        """A plan as an option."""
        return Option(self.cost(plan), self.cycles(plan), plan, self.multipliers(plan))

    def options(self) -> Sequence[Option]:
        """One for each width."""
        return [self.option(self.plan(lanes)) for lanes in self.widths()]

    def memories(self, plan: LanePlan) -> Sequence[Memory]:
        """The constants, where they differ between beats."""
        constants = ChannelConstants(self.fields, lanes=plan.lanes, channels=self.period)
        if not constants.stored:
            return ()
        block = plan.block_constants
        return (Memory(constants.blocks, constants.width, written=False, block=block),)

    def ahead(self, plan: LanePlan) -> Sequence[Any]:
        """The parts in series ahead of the requantizer."""
        return ()

    def _part(self, kind: Any, plan: LanePlan, *more: Any) -> Any:
        """A requantizer of some kind for this task."""
        return kind(
            self.form,
            *more,
            lanes=plan.lanes,
            channels=self.period,
            in_format=self.task.x.format,
            in_range=self.bounds,
            block=plan.block_constants,
        )


class Pipelined(Rescaled):
    """A product of each lane in every cycle."""

    name = "pipelined"

    def lacks(self) -> str | None:
        """Every form can be built."""
        return self.formless()

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

    def tables(self, plan: LanePlan) -> int:
        """By the kind of form."""
        return pipelined_tables(self.form, plan.lanes)

    @cached_property
    def fields(self) -> Fields:
        """As they are, and how far each channel is shifted."""
        return stages(self.form, self.bounds)[0]

    def lower(self, plan: LanePlan, beats: tuple[Beat, ...]) -> Layer:
        """A multiplication, an addition, a shift and their rounding on each lane."""
        return mapped(self, plan, beats, *self.ahead(plan), self._part(Requantizer, plan))


class Multicycle(Rescaled):
    """The shared base of those that work on a code of each lane for several cycles."""

    @abstractmethod
    def multiplication(self, plan: LanePlan) -> Multiplication:
        """How products are made."""

    @cached_property
    def recipe(self) -> Recipe:
        """The form with its one product."""
        return recipe(self.form, self.bounds)

    @property
    def fields(self) -> Fields:
        """The multipliers hold their channels' shifts."""
        return self.recipe.fields

    def lacks(self) -> str | None:
        """Every form with a product that takes a multiplier can be built."""
        formless = self.formless()
        if formless is None and not rescaler_multipliers(self.form, self.bounds, 1, self.period):
            return "its products are wiring"
        return formless

    @cached_property
    def operands(self) -> tuple[Shape, Shape]:
        """The shapes of the product's code and constant."""
        return product_shapes(self.recipe)

    def each(self, plan: LanePlan) -> int:
        """Cycles a beat."""
        return cycles(self.recipe, self.multiplication(plan), self.operands)

    def cycles(self, plan: LanePlan) -> int:
        """Several a beat."""
        return -(-self.task.codes // plan.lanes) * self.each(plan)

    def why(self, plan: LanePlan) -> str:
        """A beat in several cycles."""
        return f"{plan.lanes} codes in {self.each(plan)} cycles"

    def multipliers(self, plan: LanePlan) -> int:
        """None, or one a lane."""
        return plan.lanes * self.multiplication(plan).multipliers(*self.operands)

    def tables(self, plan: LanePlan) -> int:
        """By the widths of the operands and the kind of form."""
        way = self.multiplication(plan)
        return multicycle_tables(self.form, self.recipe, way, self.operands, lanes=plan.lanes)

    def lower(self, plan: LanePlan, beats: tuple[Beat, ...]) -> Layer:
        """One component for all lanes."""
        part = self._part(MulticycleRequantizer, plan, self.multiplication(plan))
        return mapped(self, plan, beats, *self.ahead(plan), part)


class Serially(Multicycle):
    """Shift and add, one or two bits of each code a cycle: no multiplier."""

    name = "serial"
    plan_type = SerialPlan

    def options(self) -> Sequence[Option]:
        """One for each width and number of bits."""
        return [self.option(plan) for plan in serial_plans(self.name, self.widths())]

    def multiplication(self, plan: LanePlan) -> Multiplication:
        """So many bits."""
        assert isinstance(plan, SerialPlan)
        return Serial(bits=plan.bits)


class ByLimbs(Multicycle):
    """One multiplier a lane for all limbs of a product, one after another."""

    name = "shared"

    def multiplication(self, plan: LanePlan) -> Multiplication:
        """Limb by limb."""
        return Shared()
