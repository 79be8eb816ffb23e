"""Operators on pairs of codes, whose tensors may broadcast."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any

from hwsim.errors import HwsimError
from hwsim.fixed import Format, Rounding
from hwsim.forms.adders import SumForm, TabledSum, WeightedSum, choose_add, table_sum
from hwsim.forms.requantizers import Output
from hwsim.ops import Mul, ScaledAdd, TensorType
from hwsim.ops.pairs import lefts
from rtl.layers.base import MULTIPLIER, Counts, Option, Pointwise
from rtl.layers.cost import hard_multipliers
from rtl.layers.layer import Gathered, Layer
from rtl.layers.memory import Memory
from rtl.layers.plans import LanePlan
from rtl.parts import pointwise
from rtl.parts.arith import holding
from rtl.parts.lanes import Lanes
from rtl.parts.multiply import limb_shapes
from rtl.parts.spread import Repeats, spread
from rtl.parts.stream import Beat


class Paired(Pointwise):
    """The shared base of functions of two codes: a part behind both inputs, which may broadcast."""

    @abstractmethod
    def part(self, plan: LanePlan) -> Any:
        """The component with ports `a`, `b`, `o` and a `target`, on the plan's lanes."""

    def repeats(self, plan: LanePlan, index: int) -> Repeats:
        """How an input becomes as large as the output."""
        return Repeats.of(self.task.inputs[index].shape, self.task.out.shape, plan.lanes)

    def input_lanes(self, plan: LanePlan, index: int) -> int:
        """A beat, or a code that serves all lanes."""
        return self.repeats(plan, index).lanes

    def used(self, plan: LanePlan, index: int, output: int) -> Counts:
        """A code for a code; where one broadcasts, all that is repeated together."""
        return self.repeats(plan, index).used()

    def repeated(self, index: int) -> Format:
        """The codes that are repeated where an input broadcasts."""
        return self.task.inputs[index].format

    def ahead(self, plan: LanePlan, index: int) -> Sequence[Any]:
        """The parts in series ahead of the repetition."""
        return ()

    def memories(self, plan: LanePlan) -> Sequence[Memory]:
        """What is repeated."""
        found = []
        for index in range(len(self.task.inputs)):
            repeats = self.repeats(plan, index)
            width = repeats.lanes * self.repeated(index).width
            found.append(Memory(repeats.stored, width, written=True))
        return found

    def lower(self, plan: LanePlan, beats: tuple[Beat, ...]) -> Layer:
        """Both inputs brought to the plan's lanes and the output's size, then the part."""
        ways: list[list[Any]] = []
        for index, beat in enumerate(beats):
            repeats = self.repeats(plan, index)
            ways.append([Lanes(beat, repeats.lanes), *self.ahead(plan, index)])
            if repeats.some:
                ways[-1].append(spread(Beat.of(repeats.lanes, self.repeated(index)), repeats))
        part = self.part(plan)
        return Layer(beats, part.target, [], Gathered(beats, ways, part, [part.a, part.b]))


class Summed(Paired):
    """The shared base of sums of two codes: an adder a lane."""

    name = "adder"

    @property
    @abstractmethod
    def form(self) -> SumForm | None:
        """The integer form that agrees on all pairs of codes."""

    def multipliers(self, plan: LanePlan) -> int:
        """Constants are multiplied by adders."""
        return 0

    def part(self, plan: LanePlan) -> pointwise.Adder:
        """The adders."""
        a, b = self.task.inputs
        form = self.form
        if form is None:
            raise HwsimError("an add must have an integer form that agrees on all pairs of codes")
        return pointwise.Adder(form, plan.lanes, a_format=a.format, b_format=b.format)


class Added(Summed):
    """Pairs of codes, their binary points aligned, added or subtracted at full precision."""

    def lacks(self) -> str | None:
        """Every sum can be built."""
        return None

    @property
    def form(self) -> SumForm:
        """Shifts and an addition."""
        point = self.task.out.format.frac_bits
        ma, mb = (1 << (point - x.format.frac_bits) for x in self.task.inputs)
        out = Output(format=self.task.out.format)
        return WeightedSum(
            ma=ma, mb=self.task.op.sign * mb, r=0, shift=0, rounding=Rounding.TRN, out=out
        )


class ScaledAdded(Summed):
    """Pairs of codes through the cheapest form that agrees on all of them."""

    def lacks(self) -> str | None:
        """Tables hold sums of up to 62 bits; whether others fit is found by enumeration."""
        op: ScaledAdd = self.task.op
        exact = op.divisor is None or math.frexp(op.divisor)[0] == 0.5
        if exact and _has_tables(op, *self.task.inputs):
            return None
        if self.form is not None:
            return None
        return (
            "no integer form agrees with it on all pairs of codes; an add with one rounding "
            "(QLinearAdd), or scales that are no ratios of round numbers, have one"
        )

    @cached_property
    def form(self) -> SumForm | None:
        """By enumeration."""
        return add_form(self.task.op, *self.task.inputs)

    def memories(self, plan: LanePlan) -> Sequence[Memory]:
        """Besides what is repeated a table for each input, where the form has them."""
        return [*super().memories(plan), *summed_tables(self.form, self.task.inputs, plan.lanes)]


def summed_tables(form: SumForm | None, inputs: Sequence[TensorType], lanes: int) -> list[Memory]:
    """The memories of a form with a table for each input; none for others."""
    found: list[Memory] = []
    if isinstance(form, TabledSum):
        for kind, rows in zip(inputs, (form.table_a, form.table_b), strict=True):
            width = holding(min(*rows, 0), max(*rows, 0)).width
            found += [Memory(1 << kind.format.width, width, written=False)] * lanes
    return found


class Multiplied(Paired):
    """A multiplier a lane."""

    name = "multiplier"

    def lacks(self) -> str | None:
        """Every product can be built."""
        return None

    def multipliers(self, plan: LanePlan) -> int:
        """Those under the pieces of both factors."""
        a, b = (limb_shapes(holding(*ends)) for ends in self.task.op.centred(self.task.inputs))
        return plan.lanes * sum(hard_multipliers(p, q) for p in a for q in b)

    def options(self) -> Sequence[Option]:
        """One for each width, by their multipliers."""
        plans = [self.plan(lanes) for lanes in self.widths()]
        return [
            Option((MULTIPLIER * needed, plan.lanes), self.cycles(plan), plan, needed)
            for plan in plans
            for needed in (self.multipliers(plan),)
        ]

    def part(self, plan: LanePlan) -> pointwise.Multiplier:
        """The multipliers."""
        a, b = self.task.inputs
        op: Mul = self.task.op
        return pointwise.Multiplier(
            plan.lanes,
            formats=(a.format, b.format),
            zero_points=op.zero_points,
            factors=op.centred((a, b)),
            out=self.task.out.format,
        )


class Chosen(Paired):
    """A comparison and a choice a lane."""

    name = "compare"

    def lacks(self) -> str | None:
        """Every one can be built."""
        return None

    def multipliers(self, plan: LanePlan) -> int:
        """Nothing is multiplied."""
        return 0

    def part(self, plan: LanePlan) -> pointwise.Chooser:
        """The choices."""
        a, b = self.task.inputs
        return pointwise.Chooser(
            plan.lanes,
            formats=(a.format, b.format),
            lefts=lefts((a, b)),
            larger=self.task.op.larger,
            out=self.task.out.format,
        )


@lru_cache(maxsize=256)
def add_form(op: ScaledAdd, a: TensorType, b: TensorType) -> SumForm | None:
    """The cheapest integer form of a scaled add for all pairs of codes; found once for each."""
    return choose_add(op, a, b)


@lru_cache(maxsize=256)
def _has_tables(op: ScaledAdd, a: TensorType, b: TensorType) -> bool:
    """Whether both addends of all pairs of codes fit tables."""
    return table_sum(op, a, b) is not None
