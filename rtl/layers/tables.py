"""Constants as streams, and tables that a code and its channel, or two codes, pick from."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from hwsim.forms.adders import SumForm
from hwsim.forms.tabled_sums import sum_form
from hwsim.ops import ChannelTable, Literal, PairTable, TensorType
from rtl.layers.base import Option, Pointwise
from rtl.layers.elementwise import mapped
from rtl.layers.layer import Layer
from rtl.layers.memory import Memory
from rtl.layers.pairs import Paired, Summed, summed_tables
from rtl.layers.plans import LanePlan
from rtl.parts.pipeline import ChannelConstants
from rtl.parts.stream import Beat
from rtl.parts.tables import ChannelLookup, PairLookup, Recital

MOST_PAIR_BITS = 16
ADDER = 250
"""Look-up tables that a sum of two codes with its own tables takes, roughly."""
BLOCK = 100
"""Look-up tables that a block RAM of entries is worth: an ECP5 has 400 for each."""


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

    def options(self) -> Sequence[Option]:
        """One for each width, by the memories of its tables."""
        return [
            Option((plan.lanes * self._worth, plan.lanes), self.cycles(plan), plan)
            for plan in map(self.plan, self.widths())
        ]

    @property
    def _worth(self) -> int:
        """What a lane's table is worth in look-up tables."""
        table = Memory(self.task.op.values.size, self.task.out.format.width, written=False)
        return BLOCK * table.blocks if table.blocks else -(-table.words // 16) * table.width

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


class AddedByPair(Summed):
    """A sum of what each code gives, where one has all entries."""

    def lacks(self) -> str | None:
        """Entries that are rounded sums."""
        if self.form is None:
            return "its entries must be the rounded sums of what both codes give"
        return None

    @property
    def form(self) -> SumForm | None:
        """The cheapest sum that agrees on all pairs of codes."""
        return table_form(self.task.op, *self.task.inputs)

    def options(self) -> Sequence[Option]:
        """One for each width, by its adders and tables."""
        return [
            Option((plan.lanes * ADDER, plan.lanes), self.cycles(plan), plan)
            for plan in map(self.plan, self.widths())
        ]

    def memories(self, plan: LanePlan) -> Sequence[Memory]:
        """Besides what is repeated a table for each input, where the form has them."""
        return [*super().memories(plan), *summed_tables(self.form, self.task.inputs, plan.lanes)]


@lru_cache(maxsize=256)
def table_form(op: PairTable, a: TensorType, b: TensorType) -> SumForm | None:
    """The cheapest sum with the entries of a table of pairs; found once for each."""
    return sum_form(op, a, b)
