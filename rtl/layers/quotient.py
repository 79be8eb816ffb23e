"""The quotient of two tensors: long division, a bit a stage."""

from __future__ import annotations

from hwsim.ops import Quotient
from hwsim.ops.floats import FRACTION
from rtl.layers.pairs import Paired
from rtl.layers.plans import LanePlan
from rtl.parts.divider import Divider

NORMAL = 1 << FRACTION  # the least pattern of a number with a whole significand


class LongDivision(Paired):
    """A pipeline a lane."""

    name = "long-division"

    def lacks(self) -> str | None:
        """Of float32 numbers, those that are at most as large as what they are divided by."""
        a, b = self.task.inputs
        op: Quotient = self.task.op
        if not op.floats or (b.lo >= NORMAL and a.hi >> FRACTION <= b.lo >> FRACTION):
            return None
        return (
            "a quotient of float32 numbers must have divisors that are normal and no smaller than "
            "what they divide, as far as the ranges prove it"
        )

    def multipliers(self, plan: LanePlan) -> int:
        """The factor is a sum of shifts."""
        return 0

    def part(self, plan: LanePlan) -> Divider:
        """The dividers."""
        a, b = self.task.inputs
        op: Quotient = self.task.op
        return Divider(
            plan.lanes,
            formats=(a.format, b.format),
            factor=op.factor,
            rounding=op.rounding,
            zero_point=op.zero_point,
            out=op.out,
            floats=op.floats,
        )
