"""Operators that move codes without changing them, and the index of the largest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from numbers import Integral
from typing import ClassVar

from hwsim.fixed import Array, Format, Namespace
from hwsim.ops.base import (
    MOVING_CARRIERS,
    Carrier,
    Constants,
    Op,
    Shape,
    TensorType,
    require,
    since,
)


class Moving(Op):
    """The shared base of operators that move codes: they pass unchanged."""

    def bound(self, inputs: Sequence[TensorType]) -> int:
        """Nothing grows."""
        return max(t.magnitude for t in inputs)

    def carriers(self, inputs: Sequence[TensorType]) -> tuple[Carrier, ...]:
        """Codes are moved."""
        return MOVING_CARRIERS


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Flatten(Moving):
    """One axis of all codes, row-major, channels innermost."""

    kind: ClassVar[str] = "flatten"

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        """Shape (a, b, c) becomes (a * b * c,)."""
        return inputs[0].with_shape((inputs[0].size,))

    def run(self, xp: Namespace, xs: Sequence[Array], k: Constants) -> Array:
        """A view."""
        return xp.reshape(xs[0], (xs[0].shape[0], math.prod(xs[0].shape[1:])))


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Reshape(Moving):
    """The same codes, row-major, in another shape (without the batch)."""

    kind: ClassVar[str] = "reshape"
    shape: Shape

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        """`shape`, which must hold as many codes."""
        (x,) = inputs
        require(
            min(self.shape, default=0) >= 1 and math.prod(self.shape) == x.size,
            f"a reshape of {x.shape} must keep {x.size} codes, not ask for {self.shape}",
        )
        return x.with_shape(self.shape)

    def run(self, xp: Namespace, xs: Sequence[Array], k: Constants) -> Array:
        """A view."""
        return xp.reshape(xs[0], (xs[0].shape[0], *self.shape))


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Transpose(Moving):
    """Axis k of the result is axis `axes[k]` of the input (the batch apart, axes from 0)."""

    kind: ClassVar[str] = "transpose"
    axes: tuple[int, ...]

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        """The axes, permuted; only one scale for all channels."""
        (x,) = inputs
        require(
            sorted(self.axes) == list(range(len(x.shape))),
            f"a transpose of {x.shape} must name each of its axes once, not {self.axes}",
        )
        require(len(x.scales()) == 1, "a transposed tensor must have one scale for all channels")
        return x.with_shape(tuple(x.shape[axis] for axis in self.axes))

    def run(self, xp: Namespace, xs: Sequence[Array], k: Constants) -> Array:
        """A view."""
        return xp.permute_dims(xs[0], (0, *(axis + 1 for axis in self.axes)))


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Concat(Moving):
    """Several tensors of one format and scale, one after the other along an axis.

    `axis` counts from 0, the batch apart; -1 stands for the channels.
    """

    kind: ClassVar[str] = "concat"
    arity: ClassVar[int] = -1
    axis: int = field(default=-1, metadata=since(3))

    def place(self, x: TensorType) -> int:
        """The axis, counted from 0."""
        rank = len(x.shape)
        require(
            -1 <= self.axis < rank,
            f"a concatenation's axis must be one of {rank} from 0 on, or -1 for the channels, not "
            f"{self.axis}",
        )
        return self.axis % rank

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        """The axis grows by the others' lengths; the other axes must agree."""
        first = inputs[0]
        axis = self.place(first)
        before, after = first.shape[:axis], first.shape[axis + 1 :]
        for other in inputs[1:]:
            rest = other.shape[:axis], other.shape[axis + 1 :]
            require(
                len(other.shape) == len(first.shape) and rest == (before, after),
                f"concatenated shapes must agree but for {self._name(first)}, not {first.shape} "
                f"and {other.shape}",
            )
            require(
                (other.format, other.quant) == (first.format, first.quant),
                f"concatenated tensors must have one format and scale, not {first.format} with "
                f"{first.quant} and {other.format} with {other.quant}; cast them first",
            )
        shape = (*before, sum(t.shape[axis] for t in inputs), *after)
        bounds = min(t.lo for t in inputs), max(t.hi for t in inputs)
        return first.with_shape(shape).with_range(*bounds)

    def run(self, xp: Namespace, xs: Sequence[Array], k: Constants) -> Array:
        """One concatenation."""
        return xp.concat(list(xs), axis=self.axis if self.axis < 0 else self.axis + 1)

    def _name(self, x: TensorType) -> str:
        channels = self.place(x) == len(x.shape) - 1
        return "channels" if channels else f"axis {self.axis}"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Split(Moving):
    """Blocks of `sizes` indices along an axis (the batch apart, axes from 0), an output each."""

    kind: ClassVar[str] = "split"
    axis: int
    sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        require(
            all(isinstance(number, Integral) for number in (self.axis, *self.sizes)),
            f"a split's axis and sizes must be whole numbers, not {self.axis!r} and {self.sizes}",
        )

    def infer(self, inputs: Sequence[TensorType]) -> tuple[TensorType, ...]:
        """The axis becomes as long as each size; all sizes make up the input's."""
        (x,) = inputs
        require(
            0 <= self.axis < len(x.shape),
            f"a split's axis must be one of {len(x.shape)} from 0 on, not {self.axis}",
        )
        length = x.shape[self.axis]
        require(
            min(self.sizes, default=0) >= 1 and sum(self.sizes) == length,
            f"a split's sizes must be 1 or more and make up {length}, not {self.sizes}",
        )
        return tuple(self._part(x, start, size) for start, size in self.blocks())

    def blocks(self) -> list[tuple[int, int]]:
        """The first index and the size of each part."""
        starts = accumulate((0, *self.sizes[:-1]))
        return list(zip(starts, self.sizes, strict=True))

    def _part(self, x: TensorType, start: int, size: int) -> TensorType:
        shape, quant = (*x.shape[: self.axis], size, *x.shape[self.axis + 1 :]), x.quant
        if quant is not None and len(quant.scale) > 1 and self.axis == len(x.shape) - 1:
            quant = replace(quant, scale=quant.scale[start : start + size])
        return replace(x, shape=shape, quant=quant)

    def run(self, xp: Namespace, xs: Sequence[Array], k: Constants) -> tuple[Array, ...]:
        """A view each."""
        before = (slice(None),) * (self.axis + 1)
        return tuple(
            xs[0][(*before, slice(start, start + size), ...)] for start, size in self.blocks()
        )


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ArgMax(Op):
    """Index of the largest code along the channels, the first of equals; the axis stays."""

    kind: ClassVar[str] = "argmax"

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        """Shape (..., c) becomes (..., 1), of unsigned indices."""
        (x,) = inputs
        top = x.channels - 1
        return TensorType((*x.shape[:-1], 1), Format.holding(0, top), None, (0, top))

    def bound(self, inputs: Sequence[TensorType]) -> int:
        """Codes or indices."""
        return max(inputs[0].magnitude, inputs[0].channels)

    def carriers(self, inputs: Sequence[TensorType]) -> tuple[Carrier, ...]:
        """Indices come out as integers."""
        return (Carrier.INT64,)

    def run(self, xp: Namespace, xs: Sequence[Array], k: Constants) -> Array:
        """One search."""
        return xp.argmax(xs[0], axis=-1, keepdims=True)
