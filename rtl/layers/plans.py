"""Plans of one node: which implementation it gets, and what that one leaves open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from rtl.parts.fold import Fold


@dataclass(frozen=True, slots=True, kw_only=True)
class LanePlan:
    """So many codes a beat go in and come out side by side.

    With `block_constants` the constants lie in block RAM, however few they are.
    """

    implementation: str
    lanes: int
    block_constants: bool = False

    @property
    def products(self) -> int:
        """Products of sums that one cycle computes: there are no sums."""
        return 0

    def facts(self) -> dict[str, Any]:
        """What a report says of it."""
        facts = {"implementation": self.implementation, "lanes": self.lanes}
        return facts | _placed(self.block_constants)


@dataclass(frozen=True, slots=True, kw_only=True)
class SerialPlan(LanePlan):
    """A `LanePlan` that works on `bits` of each code a cycle."""

    bits: int

    def facts(self) -> dict[str, Any]:
        """What a report says of it."""
        return {**LanePlan.facts(self), "bits": self.bits}


def serial_plans(implementation: str, widths: Sequence[int]) -> list[SerialPlan]:
    """One for each width and number of bits."""
    return [
        SerialPlan(implementation=implementation, lanes=lanes, bits=bits)
        for lanes in widths
        for bits in (1, 2)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldPlan:
    """Sums of products, folded; `parallel_window` takes a whole window of a map at once.

    With `block_constants` weights and biases lie in block RAM, however few they are.
    """

    implementation: str
    fold: Fold
    parallel_window: bool = False
    block_constants: bool = False

    @property
    def products(self) -> int:
        """Products of sums that one cycle computes."""
        return self.fold.multipliers

    def with_fold(self, **lanes: int) -> FoldPlan:
        """The same with other `group_lanes`, `pe` or `simd`."""
        return replace(self, fold=replace(self.fold, **lanes))

    def facts(self) -> dict[str, Any]:
        """What a report says of it."""
        return {
            "implementation": self.implementation,
            "lanes": self.fold.group_lanes * self.fold.pe,
            "group_lanes": self.fold.group_lanes,
            "pe": self.fold.pe,
            "simd": self.fold.simd,
            "multipliers": self.fold.multipliers,
            **_placed(self.block_constants),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class WirePlan:
    """Nothing is built: beats pass as they come."""

    implementation: str

    @property
    def products(self) -> int:
        """Products of sums that one cycle computes: there are no sums."""
        return 0

    def facts(self) -> dict[str, Any]:
        """What a report says of it."""
        return {"implementation": self.implementation}


NodePlan = LanePlan | SerialPlan | FoldPlan | WirePlan


def _placed(block_constants: bool) -> dict[str, Any]:
    """Where constants lie, if the plan says so."""
    return {"constants": "block RAM"} if block_constants else {}
