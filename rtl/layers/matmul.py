"""The product of two computed tensors of matrices: rows again for each block of columns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from hwsim.fixed import Format
from hwsim.ops import MatMul
from rtl.layers.base import MULTIPLIER, Counts, OnLanes, Option, Task, divisors
from rtl.layers.cost import hard_multipliers
from rtl.layers.layer import Gathered, Layer
from rtl.layers.memory import Memory
from rtl.layers.plans import LanePlan
from rtl.parts.arith import holding
from rtl.parts.lanes import Lanes
from rtl.parts.multiply import limb_shapes
from rtl.parts.permute import Reread
from rtl.parts.pointwise import Multiplier
from rtl.parts.reduce import Combine, Running
from rtl.parts.stream import Beat


class RowsByColumns(OnLanes):
    """The first factor is read a row at a time, as often as there are blocks of columns.

    The second lies in a memory of two tensors of matrices, read as often as there are rows. The
    plan's lanes are columns side by side, a multiplier and a running sum each.
    """

    name = "rows-by-columns"

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.op: MatMul = task.op
        a, b = (kind.shape for kind in task.inputs)
        self.rows, self.terms, self.columns = a[-2], a[-1], b[-1]
        self.outer = math.prod(a[:-2])

    def lacks(self) -> str | None:
        """The axes ahead of the matrices must be alike."""
        a, b = (kind.shape[:-2] for kind in self.task.inputs)
        if a == b:
            return None
        return (
            f"the axes ahead of both matrices must be alike, not {a} and {b}; an Expand ahead of "
            "the product makes them so"
        )

    def widths(self) -> Sequence[int]:
        """Divisors of the columns."""
        return divisors(self.columns)

    def cycles(self, plan: LanePlan) -> int:
        """A product a lane and cycle."""
        return self.outer * self.rows * self.terms * self.columns // plan.lanes

    def why(self, plan: LanePlan) -> str:
        """What is multiplied."""
        return f"{self.rows} rows of {self.terms} for {self.columns} columns, {plan.lanes} at once"

    def multipliers(self, plan: LanePlan) -> int:
        """Those under the pieces of both factors, for each lane."""
        a, b = (limb_shapes(holding(*ends)) for ends in self.op.centred(self.task.inputs))
        return plan.lanes * sum(hard_multipliers(p, q) for p in a for q in b)

    def options(self) -> Sequence[Option]:
        """One for each width, by their multipliers."""
        plans = [self.plan(lanes) for lanes in self.widths()]
        return [
            Option((MULTIPLIER * needed, plan.lanes), self.cycles(plan), plan, needed)
            for plan in plans
            for needed in (self.multipliers(plan),)
        ]

    def memories(self, plan: LanePlan) -> Sequence[Memory]:
        """Two rows, and two tensors of the second factor's matrices."""
        a, b = self.task.inputs
        words = self.terms * self.columns // plan.lanes
        return (
            Memory(2 * self.terms, a.format.width, written=True),
            Memory(2 * words, plan.lanes * b.format.width, written=True),
        )

    def input_lanes(self, plan: LanePlan, index: int) -> int:
        """A code that serves all columns, or those of a beat."""
        return plan.lanes if index else 1

    def used(self, plan: LanePlan, index: int, output: int) -> Counts:
        """All up to its row, or to the end of its matrix."""
        row = np.arange(self.task.out.size) // self.columns
        if index:
            return (row // self.rows + 1) * self.terms * self.columns
        return (row + 1) * self.terms

    def lower(self, plan: LanePlan, beats: tuple[Beat, ...]) -> Layer:
        """Both factors brought to pairs that belong to one sum after the other, then the sums."""
        lanes, blocks = plan.lanes, self.columns // plan.lanes
        a, b = (beat.with_lanes(self.input_lanes(plan, k)) for k, beat in enumerate(beats))
        again = Reread(
            a,
            words=self.terms,
            counts=(blocks, self.terms),
            strides=(0, 1),
            blocks=self.outer * self.rows,
            copies=lanes,
        )
        turned = Reread(
            b,
            words=self.terms * blocks,
            counts=(self.rows, blocks, self.terms),
            strides=(0, 1, blocks),
            blocks=self.outer,
        )
        ways: list[list[Any]] = [
            [Lanes(beats[0], 1), again],
            [Lanes(beats[1], lanes), turned],
        ]
        product, out = self._product(plan), Beat.of(lanes, self.task.out.format)
        total = Running(
            product.target, out, positions=self.terms, channel_beats=1, combine=Combine.SUM
        )
        return Layer(beats, out, [total], Gathered(beats, ways, product, [product.a, product.b]))

    def _product(self, plan: LanePlan) -> Multiplier:
        factors = self.op.centred(self.task.inputs)
        ends = [p * q for p in factors[0] for q in factors[1]]
        a, b = (kind.format for kind in self.task.inputs)
        return Multiplier(
            plan.lanes,
            formats=(a, b),
            zero_points=self.op.zero_points,
            factors=factors,
            out=Format.holding(min(ends), max(ends)),
        )
