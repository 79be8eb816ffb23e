"""What a place is where numbers can get lost: counted, bounded, widened."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hwsim.fixed import Format
from hwsim.graph import Graph
from hwsim.losses.count import Count, Extent, Into
from hwsim.ops import Op


@dataclass(frozen=True, slots=True)
class Seen:
    """A batch: int64 codes by edge, and what the user gave by input name."""

    codes: Mapping[str, Any]
    given: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Site(ABC):
    """A place where numbers are assigned to a format: a node, or an input by its port's name.

    `what` is `input`, `cast`, `index`, `sums`, or `requantize`.
    """

    name: str
    edge: str
    what: str
    into: Into

    @abstractmethod
    def count(self, seen: Seen) -> Count:
        """What happens to the codes of a batch."""

    @abstractmethod
    def proven(self) -> Extent | None:
        """Bounds of what is assigned, from intervals; None where nothing bounds it."""

    @abstractmethod
    def widened(self, graph: Graph, into: Format) -> Graph:
        """The graph with another format here; HwsimError where it does not fit what follows."""

    def wide_op(self, into: Format) -> Op | None:
        """The operator with another format, where that is all that changes."""
        return None

    @property
    def keeps_fraction(self) -> bool:
        """Whether a wider format can have more fraction bits too."""
        return True
