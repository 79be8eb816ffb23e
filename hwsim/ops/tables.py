"""Tables of more than one code: a table for each channel, a table of two codes."""

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
    Op,
    Quant,
    Range,
    TensorType,
    Work,
    int_array,
    require,
)
from hwsim.ops.pairs import Pairwise

MOST_ROWS = 1 << 22
"""Entries of all tables of an operator together."""


def _entries(values: object, out: Format, what: str) -> IntArray:
    """A matrix of codes of `out`; HwsimError where it is none."""
    entries = int_array(values, what)
    require(
        entries.ndim == 2 and 0 < entries.size <= MOST_ROWS,
        f"{what} must be a matrix of 1 to {MOST_ROWS} entries, not of shape {entries.shape}",
    )
    lo, hi = int(entries.min()), int(entries.max())
    require(out.min <= lo and hi <= out.max, f"{what} must be codes of {out}, not {lo} to {hi}")
    return entries


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class ChannelTable(Op):
    """Any function of a code and its channel: `values[channel, x - first]`.

    The entries must cover the codes that the input is proved to have. `out` and `quant` are format
    and meaning of the result.
    """

    kind: ClassVar[str] = "channel_table"
    values: IntArray
    out: Format
    first: int
    quant: Quant | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", _entries(self.values, self.out, "tables of channels"))

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        """The shape stays; the range is that of the entries that can be met."""
        (x,) = inputs
        tables, entries = self.values.shape
        require(
            tables == x.channels,
            f"there must be a table for each of {x.channels} channels, not {tables}",
        )
        last = self.first + entries - 1
        require(
            self.first <= x.lo and x.hi <= last,
            f"tables must have entries for all codes from {x.lo} to {x.hi}, not from {self.first} "
            f"to {last}",
        )
        met = self.values[:, x.lo - self.first : x.hi - self.first + 1]
        return TensorType(x.shape, self.out, self.quant, (int(met.min()), int(met.max())))

    def carriers(self, inputs: Sequence[TensorType]) -> tuple[Carrier, ...]:
        """Indices are integers."""
        return (Carrier.INT64,)

    def bound(self, inputs: Sequence[TensorType]) -> int:
        """Indices into all tables, and entries."""
        (x,) = inputs
        places = self.values.size + x.magnitude + abs(self.first)
        return max(places, int(np.abs(self.values).max()))

    def prepare(self, inputs: Sequence[TensorType], carrier: Carrier) -> Constants:
        """All tables in a row, and where the code 0 of each channel's lies."""
        tables, entries = self.values.shape
        starts = np.arange(tables, dtype=np.int64) * entries - self.first
        return {"values": self.values.reshape(-1), "starts": starts}

    def run(self, xp: Namespace, xs: Sequence[Array], k: Constants) -> Array:
        """A look-up."""
        places = xs[0] + k["starts"]
        return xp.reshape(xp.take(k["values"], xp.reshape(places, (-1,)), axis=0), places.shape)

    def work(self, inputs: Sequence[TensorType]) -> Work:
        """Entries, and codes as many as the input has."""
        return Work(weights=self.values.size, activations=inputs[0].size)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class PairTable(Pairwise):
    """Any function of two codes: `values[a - a.format.min, b - b.format.min]`.

    `out` and `quant` are format and meaning of the result.
    """

    kind: ClassVar[str] = "pair_table"
    values: IntArray
    out: Format
    quant: Quant | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", _entries(self.values, self.out, "a table of two codes"))

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        """The shape that both broadcast to; the range is that of the entries that can be met."""
        a, b = inputs
        wanted = 1 << a.format.width, 1 << b.format.width
        require(
            self.values.shape == wanted,
            f"a table of codes of {a.format} and {b.format} must be of shape {wanted}, not "
            f"{self.values.shape}",
        )
        met = self.values[
            tuple(slice(t.lo - t.format.min, t.hi - t.format.min + 1) for t in inputs)
        ]
        found: Range = int(met.min()), int(met.max())
        return TensorType(self.shape(inputs), self.out, self.quant, found)

    def carriers(self, inputs: Sequence[TensorType]) -> tuple[Carrier, ...]:
        """Indices are integers."""
        return (Carrier.INT64,)

    def bound(self, inputs: Sequence[TensorType]) -> int:
        """Indices, and entries."""
        return max(self.values.size, *(t.magnitude for t in inputs), int(np.abs(self.values).max()))

    def prepare(self, inputs: Sequence[TensorType], carrier: Carrier) -> Constants:
        """All rows one after the other, their length, and where the codes 0 and 0 meet."""
        a, b = inputs
        columns = self.values.shape[1]
        start = -a.format.min * columns - b.format.min
        return {"values": self.values.reshape(-1), "columns": columns, "start": start}

    def pair(self, xp: Namespace, a: Array, b: Array, k: Constants) -> Array:
        """A look-up."""
        places = a * k["columns"] + b + k["start"]
        return xp.reshape(xp.take(k["values"], xp.reshape(places, (-1,)), axis=0), places.shape)

    def work(self, inputs: Sequence[TensorType]) -> Work:
        """Entries, and codes of the result."""
        return Work(weights=self.values.size, activations=self.infer(inputs).size)
