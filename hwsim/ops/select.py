"""Indices of an axis in any order: slices, crops, repeats, gathers by constants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import ClassVar

import numpy as np

from hwsim.fixed import Array, Namespace
from hwsim.ops.base import Carrier, Constants, TensorType, require, short
from hwsim.ops.shape import Moving


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Select(Moving):
    """The codes at `indices` of an axis (the batch apart, axes from 0), in that order.

    An index may come more than once, or not at all. Scales of channels follow their channels.
    """

    kind: ClassVar[str] = "select"
    axis: int
    indices: tuple[int, ...]

    def __post_init__(self) -> None:
        require(
            all(isinstance(number, Integral) for number in (self.axis, *self.indices)),
            f"the axis and indices of a select must be whole numbers, not {self.axis!r} and "
            f"{short(self.indices)}",
        )

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        """The axis becomes as long as there are indices."""
        (x,) = inputs
        require(
            0 <= self.axis < len(x.shape),
            f"the axis of a select must be one of {len(x.shape)} from 0 on, not {self.axis}",
        )
        length = x.shape[self.axis]
        wrong = [index for index in self.indices if not 0 <= index < length]
        require(bool(self.indices), "a select must have at least one index, not none")
        require(
            not wrong, f"the indices of a select must be from 0 to {length - 1}, not {short(wrong)}"
        )
        quant = x.quant
        if quant is not None and len(quant.scale) > 1 and self.axis == len(x.shape) - 1:
            quant = replace(quant, scale=tuple(quant.scale[index] for index in self.indices))
        shape = (*x.shape[: self.axis], len(self.indices), *x.shape[self.axis + 1 :])
        return replace(x, shape=shape, quant=quant)

    def prepare(self, inputs: Sequence[TensorType], carrier: Carrier) -> Constants:
        """A slice where the indices rise evenly, else the indices (PyTorch has no other slices)."""
        cut = self.as_slice()
        if cut is None or cut.step < 0:
            return {"order": np.array(self.indices, np.int64)}
        return {"cut": cut}

    def as_slice(self) -> slice | None:
        """The slice that takes the same indices, if there is one."""
        first, last = self.indices[0], self.indices[-1]
        step = self.indices[1] - first if len(self.indices) > 1 else 1
        end = last + (1 if step > 0 else -1)
        if step == 0 or self.indices != tuple(range(first, end, step)):
            return None
        return slice(first, end if end >= 0 else None, step)

    def run(self, xp: Namespace, xs: Sequence[Array], k: Constants) -> Array:
        """A view, or one look-up."""
        if "cut" in k:
            return xs[0][(*(slice(None),) * (self.axis + 1), k["cut"], ...)]
        return xp.take(xs[0], k["order"], axis=self.axis + 1)
