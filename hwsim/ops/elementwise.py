"""Operators on each code by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from hwsim.fixed import Array, Format, Namespace
from hwsim.ops.base import (
    MOVING_CARRIERS,
    Carrier,
    Constants,
    IntArray,
    Op,
    Quant,
    TensorType,
    int_array,
    require,
    since,
)

MOST_ENTRIES = 1 << 16
"""Of a table that names its first code."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Relu(Op):
    """Codes below `zero_point` become it; codes above `maximum`, if given, become that."""

    kind: ClassVar[str] = "relu"
    zero_point: int = 0
    maximum: int | None = None

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        """The type stays, its range is cut."""
        (x,) = inputs
        top = x.format.max if self.maximum is None else self.maximum
        require(
            x.format.min <= self.zero_point <= top <= x.format.max,
            f"a relu's bounds must be codes of {x.format} in order, not {self.zero_point} and "
            f"{top}",
        )
        lo, hi = (min(max(bound, self.zero_point), top) for bound in (x.lo, x.hi))
        return x.with_range(lo, hi)

    def bound(self, inputs: Sequence[TensorType]) -> int:
        """Nothing grows."""
        return max(inputs[0].magnitude, abs(self.zero_point))

    def rises_to(self, inputs: Sequence[TensorType]) -> int | None:
        """All codes."""
        return inputs[0].hi

    def carriers(self, inputs: Sequence[TensorType]) -> tuple[Carrier, ...]:
        """Codes are compared."""
        return MOVING_CARRIERS

    def keeps_scale(self) -> bool:
        """Where zero is the only number that codes become."""
        return self.zero_point == 0 and self.maximum is None

    def prepare(self, inputs: Sequence[TensorType], carrier: Carrier) -> Constants:
        """Both bounds in the carrier; without a maximum its largest number."""
        kind = np.dtype(carrier.value)
        largest = np.inf if carrier.is_float else np.iinfo(kind).max
        top = largest if self.maximum is None else min(self.maximum, largest)
        return {"zero": np.array(self.zero_point, kind), "top": np.array(top, kind)}

    def run(self, xp: Namespace, xs: Sequence[Array], k: Constants) -> Array:
        """Clip at both ends, which NumPy does three times as fast as a maximum with one number."""
        return xp.clip(xs[0], k["zero"], k["top"])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Table(Op):
    """Any unary function of a code: `values[x - first]`.

    Without `first` the entries are those of all codes of the input's format, the lowest first; with
    it they must cover the codes that the input is proved to have, and be at most 2**16.
    """

    kind: ClassVar[str] = "table"
    values: IntArray
    out: Format
    quant: Quant | None = None
    first: int | None = field(default=None, metadata=since(2))

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", int_array(self.values, "table values"))
        require(
            self.first is None or self.values.size <= MOST_ENTRIES,
            f"a table from a first code on must have at most {MOST_ENTRIES} entries, not "
            f"{self.values.size}",
        )
        require(
            self.values.ndim == 1 and self.values.size > 0,
            f"table values must be a vector, not of shape {self.values.shape}",
        )
        lo, hi = int(self.values.min()), int(self.values.max())
        require(
            self.out.min <= lo and hi <= self.out.max,
            f"table values must be codes of {self.out}, not {lo} to {hi}",
        )

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        """The shape stays; the range is that of the entries that can be met."""
        (x,) = inputs
        entries, first = 1 << x.format.width, self.start(x)
        require(
            self.first is not None or self.values.size == entries,
            f"a table for codes of {x.format} must have {entries} entries, not {self.values.size}",
        )
        last = first + self.values.size - 1
        require(
            first <= x.lo and x.hi <= last,
            f"a table must have entries for all codes from {x.lo} to {x.hi}, not from {first} to "
            f"{last}",
        )
        met = self.values[x.lo - first : x.hi - first + 1]
        return TensorType(x.shape, self.out, self.quant, (int(met.min()), int(met.max())))

    def start(self, x: TensorType) -> int:
        """The code of the first entry for inputs of type `x`."""
        return x.format.min if self.first is None else self.first

    def carriers(self, inputs: Sequence[TensorType]) -> tuple[Carrier, ...]:
        """Indices are integers."""
        return (Carrier.INT64,)

    def bound(self, inputs: Sequence[TensorType]) -> int:
        """Nothing grows past the entries."""
        (x,) = inputs
        return max(x.magnitude + abs(self.start(x)), int(np.abs(self.values).max()))

    def prepare(self, inputs: Sequence[TensorType], carrier: Carrier) -> Constants:
        """The entries and the code of the first."""
        return {"values": self.values, "first": self.start(inputs[0])}

    def run(self, xp: Namespace, xs: Sequence[Array], k: Constants) -> Array:
        """One gather."""
        flat = xp.reshape(xs[0] - k["first"], (-1,))
        return xp.reshape(xp.take(k["values"], flat, axis=0), xs[0].shape)
