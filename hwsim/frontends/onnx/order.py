"""Orders of codes: which of them a port can show as it is, and which a Transpose has to make."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hwsim.frontends.shared.values import Layout, Shape
from hwsim.graph import Layout as PortLayout
from hwsim.ops import Op, Reshape, Transpose
from hwsim.ops.base import IntArray


@dataclass(frozen=True, slots=True)
class View:
    """How the user of a port sees an edge: its shape, where the channels are, the user's shape."""

    physical: Shape
    layout: PortLayout
    shape: Shape | None

    @property
    def order(self) -> IntArray:
        """The user's row-major position of each code of the edge."""
        size = math.prod(self.physical)
        if self.layout is PortLayout.CHANNELS_LAST:
            return np.arange(size)
        return _channels_first(self.physical)

    def holds(self, current: Layout) -> Layout:
        """Where a tensor lies on the edge, of which `current` says it for the user's own order."""
        return Layout(current.shape, self.physical, current.order[self.order])


def view_of(order: IntArray, physical: Shape, user: Shape) -> View | None:
    """The view in which codes lie in `order` of the user's positions; None where there is none."""
    if np.array_equal(order, np.arange(order.size)):
        return View(physical, PortLayout.CHANNELS_LAST, None if physical == user else user)
    if len(physical) > 1 and np.array_equal(order, _channels_first(physical)):
        seen = (physical[-1], *physical[:-1])
        return View(physical, PortLayout.CHANNELS_FIRST, None if seen == user else user)
    return None


def _channels_first(physical: Shape) -> IntArray:
    seen = np.arange(math.prod(physical)).reshape(physical[-1], *physical[:-1])
    return np.moveaxis(seen, 0, -1).ravel()


def inverse(order: IntArray) -> IntArray:
    """Where each position lies."""
    found = np.empty(order.size, np.int64)
    found[order] = np.arange(order.size)
    return found


def moving(held: Layout, wanted: Layout) -> list[Op] | None:
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
