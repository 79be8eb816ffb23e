"""A constant tensor as an edge: the second operand of an operator on pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Array, Format, Namespace
from hwsim.ops.base import (
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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Literal(Op):
    """The same codes for every sample, as many as its input has: what they are it does not read.

    `values` (without the batch) broadcast to the input's shape; `out` and `quant` are their format
    and meaning.
    """

    kind: ClassVar[str] = "literal"
    values: IntArray
    out: Format
    quant: Quant | None = None

    def __post_init__(self) -> None:
        values = np.atleast_1d(int_array(self.values, "a literal's values"))
        object.__setattr__(self, "values", values)
        require(self.values.size > 0, "a literal's values must be one or more")
        lo, hi = int(self.values.min()), int(self.values.max())
        require(
            self.out.min <= lo and hi <= self.out.max,
            f"a literal's values must be codes of {self.out}, not {lo} to {hi}",
        )

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        """The input's shape."""
        self.spread(inputs[0])
        ends = int(self.values.min()), int(self.values.max())
        return TensorType(inputs[0].shape, self.out, self.quant, ends)

    def spread(self, x: TensorType) -> IntArray:
        """The values in the shape of an input; HwsimError where they do not broadcast to it."""
        try:
            return np.broadcast_to(self.values, x.shape)
        except ValueError:
            raise HwsimError(
                f"a literal's values must broadcast to the shape {x.shape} of its input, not be "
                f"of shape {self.values.shape}"
            ) from None

    def bound(self, inputs: Sequence[TensorType]) -> int:
        """The codes of both."""
        return max(inputs[0].magnitude, int(np.abs(self.values).max()))

    def prepare(self, inputs: Sequence[TensorType], carrier: Carrier) -> Constants:
        """Values in the carrier."""
        return {"values": self.values.astype(carrier.value)}

    def run(self, xp: Namespace, xs: Sequence[Array], k: Constants) -> Array:
        """The values for each sample."""
        return xp.zeros_like(xs[0]) + k["values"]

    def work(self, inputs: Sequence[TensorType]) -> Work:
        """Constants, and codes as many as the input has."""
        return Work(weights=self.values.size, activations=inputs[0].size)
