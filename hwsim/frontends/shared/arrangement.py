"""Orders of codes: where elements lie, what a port can show, and what a Transpose has to make."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from hwsim.frontends.shared.walks import LoopOrder
from hwsim.ops import Op, Reshape, Transpose
from hwsim.ops.base import IntArray, Shape
from hwsim.ports import Axes, channels_first


@dataclass(frozen=True, slots=True, eq=False)
class Arrangement:
    """Where the elements of a model's tensor lie on a channels-last edge.

    `shape` is the model's and `physical` the edge's, both without the batch; `walk` visits the
    row-major positions in the model's tensor of the edge's codes. A reshape or a transpose changes
    `shape` and `walk` only: no code moves.
    """

    shape: Shape
    physical: Shape
    walk: LoopOrder

    @classmethod
    def plain(cls, shape: Shape) -> Arrangement:
        """The edge in the model's own order."""
        return cls(shape, shape, LoopOrder.plain(math.prod(shape)))

    @classmethod
    def channels_last(cls, shape: Shape) -> Arrangement:
        """A map (channels, height, width) on an edge (height, width, channels)."""
        return cls.innermost(shape, 0) if len(shape) == 3 else cls.plain(shape)

    @classmethod
    def map(cls, shape: Shape) -> Arrangement:
        """A map or a line (channels, ...) on an edge (..., channels)."""
        return cls.innermost(shape, 0)

    @classmethod
    def innermost(cls, shape: Shape, axis: int) -> Arrangement:
        """The edge with one axis moved to its end; `axis` counts without the batch."""
        axes = [place for place in range(len(shape)) if place != axis % len(shape)]
        axes.append(axis % len(shape))
        return cls(shape, tuple(shape[place] for place in axes), LoopOrder.permuted(shape, axes))

    @property
    def size(self) -> int:
        """Elements, without the batch."""
        return math.prod(self.shape)

    @property
    def order(self) -> IntArray:
        """The row-major position in the model's tensor of each code of the edge."""
        return self.walk.positions

    @property
    def standard(self) -> bool:
        """Whether the order is what an operator on this shape expects: channels innermost."""
        return self.walk.same(Arrangement.channels_last(self.shape).walk)

    def same(self, other: Arrangement) -> bool:
        """Whether another tensor of that shape lies as this one does."""
        return self.physical == other.physical and self.walk.same(other.walk)

    def reshaped(self, shape: Shape) -> Arrangement:
        """The same elements in row-major order under another shape."""
        return replace(self, shape=shape)

    def transposed(self, axes: Shape) -> Arrangement:
        """The axes permuted; `axes` counts without the batch."""
        shape = tuple(self.shape[axis] for axis in axes)
        return replace(self, shape=shape, walk=self.walk.renumbered(self.shape, axes))


@dataclass(frozen=True, slots=True)
class View:
    """How the user of a port sees an edge: its shape, the port's axes, the user's shape."""

    physical: Shape
    axes: Axes | None
    shape: Shape | None

    @property
    def walk(self) -> LoopOrder:
        """The user's row-major position of each code of the edge."""
        return _seen(self.physical, self.axes)

    def holds(self, current: Arrangement) -> Arrangement:
        """Where a tensor lies on the edge, of which `current` says it for the user's own order."""
        return Arrangement(current.shape, self.physical, self.walk.after(current.walk))


def view_of(walk: LoopOrder, physical: Shape, user: Shape) -> View | None:
    """The view in which codes lie as `walk` visits what the user sees; None where there is none."""
    for axes in (None, channels_first(len(physical)), _walked(walk, physical, user)):
        if walk.same(_seen(physical, axes)):
            shape = physical if axes is None else tuple(physical[axis] for axis in axes)
            return View(physical, axes, None if shape == user else user)
    return None


def _seen(physical: Shape, axes: Axes | None) -> LoopOrder:
    """The row-major position of each code of an edge in an array that shows its axes in order."""
    if axes is None:
        return LoopOrder.plain(math.prod(physical))
    shown = tuple(physical[axis] for axis in axes)
    return LoopOrder.permuted(shown, [axes.index(axis) for axis in range(len(axes))])


def _walked(walk: LoopOrder, physical: Shape, user: Shape) -> Axes | None:
    """The edge's axes as a walk through the user's positions meets them, if it takes them whole."""
    whole = [axis for axis, size in enumerate(physical) if size > 1]
    ends = {math.prod(physical[axis + 1 :]): axis for axis in whole}
    met: list[int] = []
    for size, stride in walk.inverse().loops or ():
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


def moving(held: Arrangement, wanted: Arrangement) -> list[Op] | None:
    """Operators that bring codes from one order into another; None where no Transpose does."""
    axes = wanted.walk.after(held.walk.inverse()).loops
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
