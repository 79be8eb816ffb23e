"""Orders of codes: where elements lie, what a port can show, and what a Transpose has to make."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hwsim.ops import Op, Reshape, Transpose
from hwsim.ops.base import IntArray, Shape
from hwsim.ports import Axes, channels_first


@dataclass(frozen=True, slots=True, eq=False)
class Arrangement:
    """Where the elements of a model's tensor lie on a channels-last edge.

    `shape` is the model's and `physical` the edge's, both without the batch; `order[i]` is the
    row-major position in the model's tensor of the i-th code of the edge. A reshape or a transpose
    changes `shape` and `order` only: no code moves.
    """

    shape: Shape
    physical: Shape
    order: IntArray

    @classmethod
    def plain(cls, shape: Shape) -> Arrangement:
        """The edge in the model's own order."""
        return cls(shape, shape, np.arange(math.prod(shape)))

    @classmethod
    def channels_last(cls, shape: Shape) -> Arrangement:
        """A map (channels, height, width) on an edge (height, width, channels)."""
        if len(shape) != 3:
            return cls.plain(shape)
        order = np.arange(math.prod(shape)).reshape(shape).transpose(1, 2, 0)
        return cls(shape, order.shape, order.ravel())

    @classmethod
    def map(cls, shape: Shape) -> Arrangement:
        """A map or a line (channels, ...) on an edge (..., channels)."""
        return cls.innermost(shape, 0)

    @classmethod
    def innermost(cls, shape: Shape, axis: int) -> Arrangement:
        """The edge with one axis moved to its end; `axis` counts without the batch."""
        order = np.moveaxis(np.arange(math.prod(shape)).reshape(shape), axis, -1)
        return cls(shape, order.shape, order.ravel())

    @property
    def size(self) -> int:
        """Elements, without the batch."""
        return math.prod(self.shape)

    @property
    def standard(self) -> bool:
        """Whether the order is what an operator on this shape expects: channels innermost."""
        return np.array_equal(self.order, Arrangement.channels_last(self.shape).order)

    def same(self, other: Arrangement) -> bool:
        """Whether another tensor of that shape lies as this one does."""
        return self.physical == other.physical and np.array_equal(self.order, other.order)

    def reshaped(self, shape: Shape) -> Arrangement:
        """The same elements in row-major order under another shape."""
        return replace(self, shape=shape)

    def transposed(self, axes: Shape) -> Arrangement:
        """The axes permuted; `axes` counts without the batch."""
        moved = np.arange(self.size).reshape(self.shape).transpose(axes)
        return replace(self, shape=moved.shape, order=inverse(moved.ravel())[self.order])


@dataclass(frozen=True, slots=True)
class View:
    """How the user of a port sees an edge: its shape, the port's axes, the user's shape."""

    physical: Shape
    axes: Axes | None
    shape: Shape | None

    @property
    def order(self) -> IntArray:
        """The user's row-major position of each code of the edge."""
        return _seen(self.physical, self.axes)

    def holds(self, current: Arrangement) -> Arrangement:
        """Where a tensor lies on the edge, of which `current` says it for the user's own order."""
        return Arrangement(current.shape, self.physical, current.order[self.order])


def view_of(order: IntArray, physical: Shape, user: Shape) -> View | None:
    """The view in which codes lie in `order` of the user's positions; None where there is none."""
    for axes in (None, channels_first(len(physical)), _walked(order, physical, user)):
        if np.array_equal(order, _seen(physical, axes)):
            shape = physical if axes is None else tuple(physical[axis] for axis in axes)
            return View(physical, axes, None if shape == user else user)
    return None


def _seen(physical: Shape, axes: Axes | None) -> IntArray:
    """The row-major position of each code of an edge in an array that shows its axes in order."""
    if axes is None:
        return np.arange(math.prod(physical))
    seen = np.arange(math.prod(physical)).reshape([physical[axis] for axis in axes])
    return seen.transpose([axes.index(axis) for axis in range(len(axes))]).ravel()


def _walked(order: IntArray, physical: Shape, user: Shape) -> Axes | None:
    """The edge's axes as a walk through the user's positions meets them, if it takes them whole."""
    whole = [axis for axis, size in enumerate(physical) if size > 1]
    ends = {math.prod(physical[axis + 1 :]): axis for axis in whole}
    met: list[int] = []
    for size, stride in _axes(inverse(order)) or ():
        group: list[int] = []  # of the edge's axes that follow one another here too
        last = whole.index(ends[stride]) if stride in ends else -1
        while size > 1 and last >= 0 and size % physical[whole[last]] == 0:
            group.insert(0, whole[last])
            size, last = size // physical[whole[last]], last - 1
        met += group
    if sorted(met) != whole:
        return None
    ones = [axis for axis, size in enumerate(physical) if size == 1]
    if len(user) != len(physical) or user.count(1) != len(ones):
        return (*met, *ones)
    return tuple((ones if size == 1 else met).pop(0) for size in user)


def inverse(order: IntArray) -> IntArray:
    """Where each position lies."""
    found = np.empty(order.size, np.int64)
    found[order] = np.arange(order.size)
    return found


def moving(held: Arrangement, wanted: Arrangement) -> list[Op] | None:
    """Operators that bring codes from one order into another; None where no Transpose does."""
    axes = _axes(inverse(held.order)[wanted.order])
    if axes is None:
        return None
    lying = sorted(axes, key=lambda axis: -axis[1])
    sizes = tuple(size for size, _ in lying)
    if [stride for _, stride in lying] != [math.prod(sizes[i + 1 :]) for i in range(len(sizes))]:
        return None
    moved = tuple(size for size, _ in axes)
    ops: list[Op] = [] if sizes == held.physical else [Reshape(shape=sizes)]
    ops.append(Transpose(axes=tuple(lying.index(axis) for axis in axes)))
    return ops if moved == wanted.physical else [*ops, Reshape(shape=wanted.physical)]


def _axes(positions: IntArray) -> Sequence[tuple[int, int]] | None:
    """Sizes and strides, outermost first, of an array that walks through these positions."""
    axes: list[tuple[int, int]] = []
    rest = positions
    while rest.size > 1:
        stride = int(rest[1] - rest[0])
        breaks = np.flatnonzero(np.diff(rest) != stride)
        size = int(breaks[0]) + 1 if breaks.size else rest.size
        if stride < 1 or rest.size % size:
            return None
        starts = rest[::size]
        if not np.array_equal((starts[:, None] + stride * np.arange(size)).ravel(), rest):
            return None
        axes.insert(0, (size, stride))
        rest = starts
    return axes
