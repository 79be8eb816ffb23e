"""Counters for nested loops: each knows, from registers, whether it is at its end and more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from amaranth import Const, Module, Mux, Signal

from rtl.parts.arith import holding


class Loop:
    """A counter over `range(count)` that moves on, and around, in each cycle with `step`.

    `index` is the count and `following` that after a step; `last` tells whether it is at its end.
    `now[name]` is the entry of a table at the present count, `coming[name]` that of the count after
    a step. `index`, `last` and `now` come straight from registers; a loop of one turn is all
    constants.
    """

    def __init__(
        self, m: Module, name: str, count: int, tables: Mapping[str, Sequence[int]] | None = None
    ) -> None:
        self.step = Signal(name=f"{name}_step")
        self.index: Any = Const(0)
        self.following: Any = Const(0)
        self.last: Any = Const(1, 1)
        self.now: dict[str, Any] = {}
        self.coming: dict[str, Any] = {}
        self.tables = tables = tables or {}
        if count == 1:
            shapes = {key: holding(values[0], values[0]) for key, values in tables.items()}
            self.now = {key: Const(values[0], shapes[key]) for key, values in tables.items()}
            self.coming = self.now
            return
        self.index, self.last = Signal(range(count), name=name), Signal(name=f"{name}_last")
        self.following = following = Signal(range(count), name=f"{name}_following")
        m.d.comb += following.eq(Mux(self.last, 0, self.index + 1))
        for key, values in tables.items():
            coming = self.coming[key] = lookup(m, following, values, f"{name}_{key}_coming")
            now = Signal(coming.shape(), name=f"{name}_{key}", init=values[0])
            self.now[key] = now
        with m.If(self.step):
            m.d.sync += [self.index.eq(following), self.last.eq(following == count - 1)]
            m.d.sync += [self.now[key].eq(coming) for key, coming in self.coming.items()]


def nest(m: Module, step: Any, loops: Sequence[Loop]) -> Any:
    """Step the first of `loops` on `step` and each other when all before it end; whether all do."""
    for loop in loops:
        m.d.comb += loop.step.eq(step)
        step = step & loop.last
    return step


def lookup(m: Module, index: Any, values: Sequence[int], name: str) -> Signal:
    """`values[index]`; cheap where few entries differ from the commonest."""
    common = Counter(values).most_common(1)[0][0]
    found = Signal(holding(min(values), max(values)), name=name)
    m.d.comb += found.eq(common)
    places: dict[int, list[int]] = {}
    for place, value in enumerate(values):
        places.setdefault(value, []).append(place)
    places.pop(common)
    if places:
        with m.Switch(index):
            for value, where in places.items():
                with m.Case(*where):
                    m.d.comb += found.eq(value)
    return found
