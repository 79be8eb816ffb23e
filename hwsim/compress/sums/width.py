"""What is asked of a layer's sums: so many bits, in which they wrap, saturate or always fit."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase

from hwsim.errors import HwsimError
from hwsim.fixed import Overflow
from hwsim.graph import Graph
from hwsim.ops import Weighted

FEWEST, MOST = 2, 48
MODES = {"exact": None, "wrap": Overflow.WRAP, "sat": Overflow.SAT}


@dataclass(frozen=True, slots=True, kw_only=True)
class SumWidth:
    """Bits of a layer's sums, and what happens beyond them.

    Without `overflow` nothing is ever beyond them: the weights are such that no input leads there.
    """

    bits: int
    overflow: Overflow | None = None

    @classmethod
    def parse(cls, text: str) -> SumWidth:
        """Read `exact16`, `wrap12` or `sat12`."""
        match = re.fullmatch(rf"({'|'.join(MODES)})(\d{{1,2}})", text)
        if match is None or not FEWEST <= int(match[2]) <= MOST:
            raise HwsimError(
                f"an accumulator must be like exact16, wrap12 or sat12, of {FEWEST} to {MOST} "
                f"bits, or none, not {text!r}"
            )
        return cls(bits=int(match[2]), overflow=MODES[match[1]])

    @property
    def ends(self) -> tuple[int, int]:
        """The smallest and the largest sum."""
        return -(1 << (self.bits - 1)), (1 << (self.bits - 1)) - 1


def sum_widths(graph: Graph, text: str) -> dict[str, SumWidth]:
    """Read `wrap12,conv1=none,fc*=sat16`: of each layer that the last pattern for it gives one.

    A part without a name is for all layers, `none` leaves a layer as it is. Raises HwsimError for
    what is no width, and for a pattern that fits no layer.
    """
    names = [node.name for node in graph.nodes if isinstance(node.op, Weighted)]
    found: dict[str, SumWidth] = {}
    for part in text.split(","):
        pattern, equals, width = part.strip().rpartition("=")
        fit = [name for name in names if fnmatchcase(name, pattern)] if equals else names
        if not fit:
            raise HwsimError(
                f"an accumulator must be of a layer, {', '.join(names) or 'none'}, not of "
                f"{pattern!r}, which fits none"
            )
        if width == "none":
            found = {name: one for name, one in found.items() if name not in fit}
        else:
            found |= dict.fromkeys(fit, SumWidth.parse(width))
    return found
