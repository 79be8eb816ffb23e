"""Constants as streams, and tables that a code and its channel, or two codes, pick from."""

from __future__ import annotations

from collections.abc import Sequence

from hwsim.ops import ChannelTable, Literal, PairTable
from rtl.layers.base import Pointwise
from rtl.layers.elementwise import mapped
from rtl.layers.layer import Layer
from rtl.layers.memory import Memory
from rtl.layers.pairs import Paired
from rtl.layers.plans import LanePlan
from rtl.parts.pipeline import ChannelConstants
from rtl.parts.stream import Beat
from rtl.parts.tables import ChannelLookup, PairLookup, Recital

MOST_PAIR_BITS = 16


class Recited(Pointwise):
    """A memory of constants, a word a beat."""

    name = "constants"

    def lacks(self) -> str | None:
        """Every literal can be built."""
        return None

    @property
    def values(self) -> list[int]:
        """What comes again and again: all values, but no more of equal leading axes than one."""
        op: Literal = self.task.op
        values = op.spread(self.task.x)
        while values.ndim > 1 and (values[:1] == values).all():
            values = values[0]
        return [int(v) for v in values.reshape(-1)]

    def multipliers(self, plan: LanePlan) -> int:
        """Nothing is multiplied."""
        return 0

    def memories(self, plan: LanePlan) -> Sequence[Memory]:
        """The constants, where they differ between beats."""
        values = self.values
        held = ChannelConstants({"y": values}, lanes=plan.lanes, channels=len(values))
        if not held.stored:
            return ()
        return (Memory(held.blocks, held.width, written=False, block=plan.block_constants),)

    def lower(self, plan: LanePlan, beats: tuple[Beat, ...]) -> Layer:
        """One part on the plan's lanes."""
        part = Recital(
            self.values,
            plan.lanes,
            in_format=self.task.x.format,
            out=self.task.out.format,
            block=plan.block_constants,
        )
        return mapped(self, plan, beats, part)


class LookedUpByChannel(Pointwise):
    """A read-only memory a lane, with the tables of its channels."""

    name = "memory"

    def lacks(self) -> str | None:
        """Every table can be built."""
        return None

    def multipliers(self, plan: LanePlan) -> int:
        """Nothing is multiplied."""
        return 0

    def memories(self, plan: LanePlan) -> Sequence[Memory]:
        """The tables, each as long as a power of two."""
        op: ChannelTable = self.task.op
        channels, entries = op.values.shape
        words = channels // plan.lanes << (entries - 1).bit_length()
        return [Memory(words, op.out.width, written=False)] * plan.lanes

    def lower(self, plan: LanePlan, beats: tuple[Beat, ...]) -> Layer:
        """A look-up on each lane."""
        op: ChannelTable = self.task.op
        part = ChannelLookup(
            op.values.tolist(),
            plan.lanes,
            first=op.first,
            in_format=self.task.x.format,
            out=op.out,
        )
        return mapped(self, plan, beats, part)


class LookedUpByPair(Paired):
    """A read-only memory a lane, with an entry for each pair of codes."""

    name = "memory"

    def lacks(self) -> str | None:
        """Up to 65,536 pairs."""
        bits = sum(x.format.width for x in self.task.inputs)
        if bits <= MOST_PAIR_BITS:
            return None
        return f"a table of two codes must have at most {MOST_PAIR_BITS} bits of both, not {bits}"

    def multipliers(self, plan: LanePlan) -> int:
        """Nothing is multiplied."""
        return 0

    def memories(self, plan: LanePlan) -> Sequence[Memory]:
        """The table of each lane, and what is repeated."""
        op: PairTable = self.task.op
        table = Memory(op.values.size, op.out.width, written=False)
        return [*super().memories(plan), *([table] * plan.lanes)]

    def part(self, plan: LanePlan) -> PairLookup:
        """The tables."""
        a, b = self.task.inputs
        op: PairTable = self.task.op
        return PairLookup(op.values.tolist(), plan.lanes, formats=(a.format, b.format), out=op.out)
