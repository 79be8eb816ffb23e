"""How many thresholds of its channel a code reaches: any function that steps one way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hwsim.fixed import Array, Format, Namespace
from hwsim.ops.base import (
    ALL_CARRIERS,
    Carrier,
    Constants,
    IntArray,
    Op,
    Quant,
    TensorType,
    Work,
    int_array,
    require,
)

MOST_THRESHOLDS = 1 << 18
"""Of all channels together."""

COMPARED = 16
"""Thresholds of a channel up to which comparing with each is faster than a search."""


MOST_TABLED = 1 << 21
"""Codes of all channels that a table in the emulator holds, where thresholds are many."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Thresholds(Op):
    """`base[c] + step[c] * n`, n being how many thresholds of channel c are at most the code.

    `values` has a row of thresholds that never fall, for all channels or for each. `base` and
    `step` are one number or one a channel; a negative step makes a falling function, a step of 2
    from -1 the sign. A jump over several codes is a threshold several times;
    rows are filled up with thresholds that no code reaches.
    """

    kind: ClassVar[str] = "thresholds"
    values: IntArray
    base: IntArray
    step: IntArray
    out: Format
    quant: Quant | None = None

    def __post_init__(self) -> None:
        for name in ("values", "base", "step"):
            object.__setattr__(self, name, int_array(getattr(self, name), f"thresholds' {name}"))
        shape = self.values.shape
        require(
            len(shape) == 2 and self.values.size > 0,
            f"thresholds must be one row, or one a channel, not of shape {shape}",
        )
        require(
            self.values.size <= MOST_THRESHOLDS,
            f"thresholds must be at most {MOST_THRESHOLDS} in all, not {self.values.size}",
        )
        require(
            bool((np.diff(self.values, axis=1) >= 0).all()),
            "thresholds of a channel must stand in order, the lowest first",
        )
        sizes = {array.shape for array in (self.base, self.step)} | {(shape[0],)}
        require(
            all(len(size) == 1 for size in sizes) and len(sizes - {(1,)}) <= 1,
            "thresholds must be one row or one a channel, and so base and step, not of shapes "
            f"{shape}, {self.base.shape} and {self.step.shape}",
        )

    @property
    def rows(self) -> int:
        """1, or the number of channels."""
        return max(len(self.values), self.base.size, self.step.size)

    def reached(self, code: int) -> IntArray:
        """What each row gives for one code."""
        counts: IntArray = (self.values <= code).sum(axis=1)
        return self.base + self.step * counts

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        """The shape stays; the range is that between the ends of the input's."""
        (x,) = inputs
        require(
            self.rows in (1, x.channels),
            f"thresholds' input must have {self.rows} channels, not {x.channels}",
        )
        ends = np.concatenate([self.reached(x.lo), self.reached(x.hi)])
        lo, hi = int(ends.min()), int(ends.max())
        require(
            self.out.min <= lo and hi <= self.out.max,
            f"what thresholds give must be codes of {self.out}, not {lo} to {hi}",
        )
        return TensorType(x.shape, self.out, self.quant, (lo, hi))

    def _apart(self, x: TensorType) -> int:
        """How far apart rows are set to be searched at once; 0 where each threshold is compared."""
        rows, count = self.values.shape
        low = min(x.lo, int(self.values.min()))
        span = max(x.hi, int(self.values.max())) - low + 1
        return span if count > COMPARED and span * rows < Carrier.FLOAT64.limit else 0

    def bound(self, inputs: Sequence[TensorType]) -> int:
        """Codes and thresholds are compared, or set apart by row and searched, and steps added."""
        reach = np.abs(self.base) + np.abs(self.step) * self.values.shape[1]
        most = max(int(np.abs(self.values).max()), int(reach.max()))
        x = inputs[0]
        apart = self._apart(x) * len(self.values)
        if self._tabled(x):
            apart = self._met(x) * self.rows + x.magnitude
        return max(x.magnitude, most) + apart

    def carriers(self, inputs: Sequence[TensorType]) -> tuple[Carrier, ...]:
        """Comparisons and small sums."""
        return ALL_CARRIERS

    def rises_to(self, inputs: Sequence[TensorType]) -> int | None:
        """All codes, where no channel falls."""
        return inputs[0].hi if bool((self.step >= 0).all()) else None

    def _tabled(self, x: TensorType) -> bool:
        """Whether the codes of all that each row can meet are few enough to be held."""
        return self.values.shape[1] > COMPARED and self._met(x) * self.rows <= MOST_TABLED

    def _met(self, x: TensorType) -> int:
        """How many codes there can be."""
        return x.hi - x.lo + 1

    def _table(self, x: TensorType, carrier: Carrier) -> Constants:
        """What each row gives for every code, row after row."""
        codes, rows = np.arange(x.lo, x.hi + 1), np.arange(self.rows, dtype=np.int64)
        counts = [np.searchsorted(row, codes, side="right") for row in self.values]
        held = self.base[:, None] + self.step[:, None] * np.stack(counts)
        first = self._met(x) * rows - x.lo
        whole = np.broadcast_to(held, (self.rows, codes.size)).reshape(-1)
        return {"table": whole.astype(carrier.value), "first": first.astype(carrier.value)}

    def prepare(self, inputs: Sequence[TensorType], carrier: Carrier) -> Constants:
        """A row of channels for each threshold; of many, what all codes give, or all in one order.

        Those are set so far apart from channel to channel that no code meets another's.
        """
        kind, span = carrier.value, self._apart(inputs[0])
        if self._tabled(inputs[0]):
            return self._table(inputs[0], carrier)
        ends = {"base": self.base.astype(kind), "step": self.step.astype(kind)}
        if not span:
            return {"each": self.values.T.astype(kind), **ends}
        rows, count = self.values.shape
        places = np.arange(rows, dtype=np.int64)
        whole = (self.values + span * places[:, None]).reshape(-1)
        below = {"apart": (span * places).astype(kind), "before": (count * places).astype(kind)}
        return {"all": whole.astype(kind), **below, **ends}

    def run(self, xp: Namespace, xs: Sequence[Array], k: Constants) -> Array:
        """A comparison with each, one gather, or one search."""
        (x,) = xs
        if "table" in k:
            places = xp.reshape(xp.astype(x + k["first"], xp.int64), (-1,))
            return xp.reshape(xp.take(k["table"], places, axis=0), x.shape)
        if "each" in k:
            count = xp.zeros_like(x)
            for place in range(k["each"].shape[0]):
                count = count + xp.astype(x >= k["each"][place, :], x.dtype)
        else:
            placed = xp.reshape(x + k["apart"], (-1,))
            found = xp.searchsorted(k["all"], placed, side="right")
            count = xp.astype(xp.reshape(found, x.shape), x.dtype) - k["before"]
        return count * k["step"] + k["base"]

    def work(self, inputs: Sequence[TensorType]) -> Work:
        """Constants are counted as weights."""
        return Work(weights=self.values.size, activations=inputs[0].size)
