"""Thresholds: compared side by side, searched in a memory, or multiplied where a line has them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any

from hwsim.errors import HwsimError
from hwsim.forms.ladders import Nudged, moved
from hwsim.forms.requantizers import Affine
from hwsim.ops import ChosenThresholds, Thresholds
from rtl.layers.base import Option, Pointwise
from rtl.layers.elementwise import mapped
from rtl.layers.layer import Layer
from rtl.layers.memory import Memory
from rtl.layers.pairs import Paired
from rtl.layers.plans import LanePlan
from rtl.layers.rescale import ByLimbs, Pipelined, Rescaled, Serially
from rtl.parts.arith import holding
from rtl.parts.moved import Mover, moved_constants
from rtl.parts.pipeline import ChannelConstants
from rtl.parts.stream import Beat
from rtl.parts.thresholds import (
    Comparators,
    Ladder,
    RowSearch,
    Search,
    blocks_of,
    constants_of,
    row_fields,
)
from rtl.targets import REFERENCE

MOST_COMPARED = 32
"""Thresholds of a channel that are compared at once."""
BLOCK = 100
"""Look-up tables that a block RAM of thresholds is worth: an ECP5 has 400 for each."""


class Reaching(Pointwise):
    """The shared base of hardware that counts the thresholds that codes reach."""

    @cached_property
    def ladder(self) -> Ladder:
        """The operator's constants, with the range in which they matter."""
        op: Thresholds = self.task.op
        size = max(op.base.size, op.step.size)
        base, step = (
            tuple(int(v) for v in (values.tolist() * size)[:size]) for values in (op.base, op.step)
        )
        rows = tuple(tuple(row) for row in op.values.tolist())
        x = self.task.x
        return Ladder(rows=rows, base=base, step=step, x=(x.lo, x.hi), out=self.task.out.format)

    @property
    def width(self) -> int:
        """Bits of a threshold."""
        return int(holding(*self.ladder.met).width)

    def multipliers(self, plan: LanePlan) -> int:
        """Nothing is multiplied."""
        return 0

    def option(self, plan: LanePlan, tables: int) -> Option:
        """A plan as an option."""
        return Option((tables, plan.lanes), self.cycles(plan), plan)

    def part(self, kind: Any, plan: LanePlan) -> Any:
        """The component on the plan's lanes."""
        return kind(
            self.ladder,
            lanes=plan.lanes,
            channels=self.task.x.channels,
            in_format=self.task.x.format,
            block=plan.block_constants,
        )


class Compared(Reaching):
    """A comparison with each threshold, all in one cycle."""

    name = "compare"

    def lacks(self) -> str | None:
        """Few thresholds."""
        count = self.ladder.count
        if count > MOST_COMPARED:
            return f"at most {MOST_COMPARED} thresholds are compared at once, not {count}"
        return None

    def options(self) -> Sequence[Option]:
        """One for each width."""
        each = self.ladder.count * (self.width + 2) + 2 * self.task.out.format.width
        return [self.option(plan, 20 + plan.lanes * each) for plan in map(self.plan, self.widths())]

    def memories(self, plan: LanePlan) -> Sequence[Memory]:
        """The constants, where they differ between beats."""
        held = constants_of(self.ladder, lanes=plan.lanes, channels=self.task.x.channels)
        if not held.stored:
            return ()
        return (Memory(held.blocks, held.width, written=False, block=plan.block_constants),)

    def lower(self, plan: LanePlan, beats: tuple[Beat, ...]) -> Layer:
        """Comparators on each lane."""
        return mapped(self, plan, beats, self.part(Comparators, plan))


class Searched(Reaching):
    """A binary search: a comparison a lane and cycle."""

    name = "search"

    def lacks(self) -> str | None:
        """Any number of thresholds."""
        return None

    def options(self) -> Sequence[Option]:
        """One for each width."""
        return [
            self.option(plan, 30 + plan.lanes * (3 * self.width // 2 + 30) + self._stored(plan))
            for plan in map(self.plan, self.widths())
        ]

    def _stored(self, plan: LanePlan) -> int:
        """Look-up tables of memories, roughly, or what their block RAMs are worth."""
        return sum(
            BLOCK * m.blocks if m.blocks else -(-m.words // 16) * m.width
            for m in self.memories(plan)
        )

    def cycles(self, plan: LanePlan) -> int:
        """One more than the bits of the count, each beat."""
        return -(-self.task.codes // plan.lanes) * (self.ladder.bits + 1)

    def why(self, plan: LanePlan) -> str:
        """A beat in several cycles."""
        return f"{plan.lanes} codes in {self.ladder.bits + 1} cycles"

    def memories(self, plan: LanePlan) -> Sequence[Memory]:
        """The thresholds of each lane, and bases and steps where they differ between beats."""
        channels, block = self.task.x.channels, plan.block_constants
        words = blocks_of(self.ladder, plan.lanes, channels) << self.ladder.bits
        found = [Memory(words, self.width, written=False, block=block)] * plan.lanes
        held = ChannelConstants(self.ladder.ends(), lanes=plan.lanes, channels=channels)
        if held.stored:
            found.append(Memory(held.blocks, held.width, written=False, block=block))
        return found

    def lower(self, plan: LanePlan, beats: tuple[Beat, ...]) -> Layer:
        """A search on each lane."""
        return mapped(self, plan, beats, self.part(Search, plan))


class OnALine(Rescaled):
    """The shared base of thresholds that a multiply-add-shift has, a few inputs moved by one."""

    @cached_property
    def moved(self) -> Nudged:
        """The form that is equal on the proven range of the input; HwsimError without one."""
        found = moved_form(self.task.op, *self.bounds)
        if found is None:
            raise HwsimError("its thresholds must lie on a line, but for a few of each channel")
        return found

    @property
    def form(self) -> Affine:
        """What follows where inputs are moved."""
        return self.moved.form

    def cost(self, plan: LanePlan) -> tuple[int, ...]:
        """A comparison for each input that is moved, besides."""
        tables, *more = super().cost(plan)
        wide, each = self.task.x.format.width, len(self.moved.up[0]) + len(self.moved.down[0])
        moving = each * (wide // 2 + 2) + 2 * wide if self.moves else 0
        return tables + plan.lanes * moving, *more

    @property
    def moves(self) -> bool:
        """Whether any input is moved."""
        return bool(self.moved.up[0] or self.moved.down[0])

    def memories(self, plan: LanePlan) -> Sequence[Memory]:
        """The lists of inputs that are moved, where they differ between beats, and the line's."""
        found, block = [*super().memories(plan)], plan.block_constants
        held = moved_constants(self.moved, lanes=plan.lanes, channels=self.period, block=block)
        if self.moves and held.stored:
            found.append(Memory(held.blocks, held.width, written=False, block=block))
        return found

    def ahead(self, plan: LanePlan) -> Sequence[Mover]:
        """What moves inputs, if any are."""
        if not self.moves:
            return ()
        mover = Mover(
            self.moved,
            lanes=plan.lanes,
            channels=self.period,
            in_format=self.task.x.format,
            in_range=self.bounds,
            block=plan.block_constants,
        )
        return (mover,)


class LinePipelined(OnALine, Pipelined):
    """A code a lane and cycle."""


class LineSerially(OnALine, Serially):
    """Shift and add."""


class LineByLimbs(OnALine, ByLimbs):
    """A multiplier a lane, used several times for a code."""


@lru_cache(maxsize=1024)
def moved_form(op: Thresholds, lo: int, hi: int) -> Nudged | None:
    """The multiply-add-shift of thresholds on lo..hi; found once for each operator."""
    return moved(op, lo, hi, operand_bits=REFERENCE.operand_bits)


class SearchedInRows(Paired):
    """A binary search in the row that another code picks: a comparison a lane and cycle."""

    name = "search"

    @cached_property
    def ladder(self) -> Ladder:
        """The operator's constants, with the range of the codes that are compared."""
        op: ChosenThresholds = self.task.op
        base, step = (tuple(map(int, values)) for values in (op.base, op.step))
        rows = tuple(tuple(row) for row in op.values.tolist())
        b = self.task.inputs[1]
        return Ladder(rows=rows, base=base, step=step, x=(b.lo, b.hi), out=self.task.out.format)

    def lacks(self) -> str | None:
        """Any number of thresholds."""
        return None

    def multipliers(self, plan: LanePlan) -> int:
        """Nothing is multiplied."""
        return 0

    def options(self) -> Sequence[Option]:
        """One for each width, by what Yosys makes of a search and of small memories."""
        each = 3 * holding(*self.ladder.met).width // 2 + 30
        found = []
        for plan in map(self.plan, self.widths()):
            stored = sum(-(-m.words // 16) * m.width for m in self.memories(plan) if not m.blocks)
            cost = (30 + plan.lanes * each + stored, plan.lanes)
            found.append(Option(cost, self.cycles(plan), plan))
        return found

    def cycles(self, plan: LanePlan) -> int:
        """One more than the bits of the count, each beat."""
        return -(-self.task.out.size // plan.lanes) * (self.ladder.bits + 1)

    def why(self, plan: LanePlan) -> str:
        """A beat in several cycles."""
        return f"{plan.lanes} codes in {self.ladder.bits + 1} cycles"

    def memories(self, plan: LanePlan) -> Sequence[Memory]:
        """What is repeated; the rows of each lane, and bases and steps where they differ."""
        ladder, block = self.ladder, plan.block_constants
        width = holding(*ladder.met).width
        words = len(ladder.rows) << ladder.bits
        found = [*super().memories(plan)]
        found += [Memory(words, width, written=False, block=block)] * plan.lanes
        ends = sum(shape.width for shape in row_fields(ladder).values())
        if ends:
            found += [Memory(len(ladder.rows), ends, written=False, block=block)] * plan.lanes
        return found

    def part(self, plan: LanePlan) -> RowSearch:
        """A search on each lane."""
        a, b = self.task.inputs
        return RowSearch(
            self.ladder,
            lanes=plan.lanes,
            formats=(a.format, b.format),
            block=plan.block_constants,
        )
