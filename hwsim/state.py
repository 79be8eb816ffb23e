"""State of a Graph: what each time step reads of the one before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError
from hwsim.ops import TensorType
from hwsim.ops.base import int_array, short

MOST_CODES = 1 << 26  # of one state, so that a tiny file cannot ask for gigabytes
Codes = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class State:
    """A pair of edges: what a time step reads, and what the next time step will read.

    `tensor` is an edge that no node makes, of the given `type`; nodes and outputs read it as they
    read an input's. `next` is any edge of the graph: its codes in one step are those of `tensor` in
    the next. `initial` holds the codes of the first step, an array of the type's shape or one code
    for all of it. The bounds of `type` must hold at every step, so they must enclose those proved
    of `next`; nothing widens them.
    """

    name: str
    tensor: str
    type: TensorType
    next: str
    initial: int | Codes

    def __post_init__(self) -> None:
        if self.type.size > MOST_CODES:
            raise HwsimError(
                f"state {self.name!r} must hold at most {MOST_CODES} codes, not {self.type.size}"
            )
        codes = int_array(self.initial, f"the initial value of state {self.name!r}")
        if codes.shape not in ((), self.type.shape):
            raise HwsimError(
                f"the initial value of state {self.name!r} must have shape {self.type.shape}, or "
                f"be one code, not {codes.shape}"
            )
        lo, hi = int(codes.min()), int(codes.max())
        if lo < self.type.lo or hi > self.type.hi:
            raise HwsimError(
                f"the initial value of state {self.name!r} must hold codes from {self.type.lo} to "
                f"{self.type.hi}, not {lo} to {hi}"
            )
        object.__setattr__(self, "initial", codes if lo < hi else lo)  # equal states are equal data

    def __repr__(self) -> str:
        """One line: the edges, the type and the initial value."""
        size = "×".join(map(str, self.type.shape)) or "scalar"
        return (
            f"State({self.name}: {self.tensor} {size} {self.type.format} = {short(self.initial)}, "
            f"then {self.next})"
        )

    def first(self) -> Codes:
        """The codes of the first step, of the type's shape."""
        return np.broadcast_to(np.asarray(self.initial, np.int64), self.type.shape)

    def check(self, types: Mapping[str, TensorType]) -> None:
        """Raise HwsimError unless the codes of `next` are codes of `tensor`; `types` by edge."""
        if self.next not in types:
            raise HwsimError(
                f"state {self.name!r} must be followed by an edge of the graph, not {self.next!r}"
            )
        read, made = self.type, types[self.next]
        if replace(read, range=None) != replace(made, range=None):
            raise HwsimError(
                f"state {self.name!r} must read codes of the type that edge {self.next!r} has, "
                f"{_text(made)}, not {_text(read)}"
            )
        if made.lo < read.lo or made.hi > read.hi:
            raise HwsimError(
                f"state {self.name!r} must have a range with all codes of edge {self.next!r}, "
                f"{made.lo} to {made.hi}, not {read.lo} to {read.hi}"
            )


def _text(kind: TensorType) -> str:
    scale = "" if kind.quant is None else f" of {kind.quant}"
    return f"{kind.shape} {kind.format}{scale}"
