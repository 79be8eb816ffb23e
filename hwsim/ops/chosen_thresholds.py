"""How many thresholds of a row a number reaches, the row being chosen by another code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hwsim.fixed import Array, Format, Namespace
from hwsim.ops.base import (
    Carrier,
    Constants,
    IntArray,
    Quant,
    TensorType,
    Work,
    int_array,
    require,
)
from hwsim.ops.pairs import Pairwise
from hwsim.ops.thresholds import MOST_THRESHOLDS


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class ChosenThresholds(Pairwise):
    """`base[a] + step[a] * n`, n being how many thresholds of row a are at most b.

    Any function of a narrow code and a wide one that steps one way along the second. `values` has
    a row for each code of the first tensor's format, from the least one on, whose thresholds never
    fall; `base` and `step` one number a row. Rows are filled up with thresholds that no code
    reaches.
    """

    kind: ClassVar[str] = "chosen_thresholds"
    values: IntArray
    base: IntArray
    step: IntArray
    out: Format
    quant: Quant | None = None

    def __post_init__(self) -> None:
        for name in ("values", "base", "step"):
            held = int_array(getattr(self, name), f"chosen thresholds' {name}")
            object.__setattr__(self, name, held)
        shape = self.values.shape
        require(
            len(shape) == 2 and 0 < self.values.size <= MOST_THRESHOLDS,
            f"chosen thresholds must be rows of at most {MOST_THRESHOLDS} in all, not of shape "
            f"{shape}",
        )
        require(
            bool((np.diff(self.values, axis=1) >= 0).all()),
            "chosen thresholds of a row must stand in order, the lowest first",
        )
        require(
            self.base.shape == self.step.shape == shape[:1],
            f"chosen thresholds must have a base and a step for each of {shape[0]} rows, not "
            f"{self.base.shape} and {self.step.shape}",
        )

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        """The shape that both broadcast to; the range is that of what rows give at the ends."""
        a, b = inputs
        require(
            1 << a.format.width == len(self.values),
            f"chosen thresholds must have a row for each code of {a.format}, not "
            f"{len(self.values)}",
        )
        met = slice(a.lo - a.format.min, a.hi - a.format.min + 1)
        ends = [
            self.base[met] + self.step[met] * (self.values[met] <= code).sum(axis=1)
            for code in (b.lo, b.hi)
        ]
        lo, hi = int(np.min(ends)), int(np.max(ends))
        require(
            self.out.min <= lo and hi <= self.out.max,
            f"what chosen thresholds give must be codes of {self.out}, not {lo} to {hi}",
        )
        return TensorType(self.shape(inputs), self.out, self.quant, (lo, hi))

    def carriers(self, inputs: Sequence[TensorType]) -> tuple[Carrier, ...]:
        """Places in the rows are integers."""
        return (Carrier.INT64,)

    def bound(self, inputs: Sequence[TensorType]) -> int:
        """Codes, places in the rows, and what they give."""
        reach = np.abs(self.base) + np.abs(self.step) * self.values.shape[1]
        places = len(self.values) << self._bits
        return max(*(t.magnitude + 1 for t in inputs), int(reach.max()), places)

    @property
    def _bits(self) -> int:
        """Steps of a search among the thresholds of a row."""
        return int(self.values.shape[1]).bit_length()

    def prepare(self, inputs: Sequence[TensorType], carrier: Carrier) -> Constants:
        """Rows one after the other, each of 2**bits places, filled up with what no code reaches."""
        a, b = inputs
        rows, count = self.values.shape
        filled = np.full((rows, 1 << self._bits), b.hi + 1, np.int64)
        filled[:, :count] = np.clip(self.values, b.lo, b.hi + 1)
        return {
            "values": filled.reshape(-1),
            "sizes": [1 << bit for bit in reversed(range(self._bits))],
            "first": a.format.min,
            "base": self.base.astype(carrier.value),
            "step": self.step.astype(carrier.value),
        }

    def pair(self, xp: Namespace, a: Array, b: Array, k: Constants) -> Array:
        """A search in the row, a bit of the count after the other."""
        row = a - k["first"]
        count = xp.zeros_like(row + b)
        start = row << len(k["sizes"])
        for size in k["sizes"]:
            places = start + count + (size - 1)
            reached = xp.reshape(
                xp.take(k["values"], xp.reshape(places, (-1,)), axis=0), places.shape
            )
            count = count + xp.astype(b >= reached, count.dtype) * size
        flat = xp.reshape(row, (-1,))
        base, step = (
            xp.reshape(xp.take(k[name], flat, axis=0), row.shape) for name in ("base", "step")
        )
        return count * step + base

    def work(self, inputs: Sequence[TensorType]) -> Work:
        """Constants are counted as weights."""
        return Work(weights=self.values.size, activations=self.infer(inputs).size)
