"""Dense (fully connected) layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from hwsim.fixed import Array, Namespace
from hwsim.ops.base import Constants, TensorType, Work, require
from hwsim.ops.weighted import Weighted


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Dense(Weighted):
    """`sum_i (x[i] - zero_point) * weights[i, o] + bias[o]` over the last axis."""

    kind: ClassVar[str] = "dense"

    def __post_init__(self) -> None:
        super(Dense, self).__post_init__()
        require(
            self.weights.ndim == 2,
            f"dense weights must have shape (in, out), not {self.weights.shape}",
        )

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        """Shape (..., in) becomes (..., out)."""
        (x,) = inputs
        terms = self.weights.shape[0]
        require(
            len(x.shape) >= 1 and x.channels == terms,
            f"a dense input's last axis must be {terms}, not {x.shape}",
        )
        return self.sum_type(x, (*x.shape[:-1], self.outputs))

    def run(self, xp: Namespace, xs: Sequence[Array], k: Constants) -> Array:
        """One matrix product, or the accumulator's steps."""
        if xs[0].ndim == 2:
            return self.accumulate(xp, xs[0], k)
        rows = xp.reshape(xs[0], (-1, xs[0].shape[-1]))
        return xp.reshape(self.accumulate(xp, rows, k), (*xs[0].shape[:-1], self.outputs))

    def work(self, inputs: Sequence[TensorType]) -> Work:
        """Every weight meets every input row once."""
        rows = inputs[0].size // self.weights.shape[0]
        return Work(rows * self.weights.size, self.weights.size, rows * self.outputs)
