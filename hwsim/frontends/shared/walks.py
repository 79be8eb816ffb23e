"""In which order codes visit the positions of a tensor: nested loops, or any list of positions.

Almost all orders are loops, and then nothing as long as the tensor is ever made.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hwsim.ops.base import IntArray, Shape

Loops = tuple[tuple[int, int], ...]
"""Sizes and strides, outermost first, in the fewest loops."""


@dataclass(frozen=True, slots=True, eq=False)
class LoopOrder:
    """The row-major position of each code: `loops`, or `listed` where no loops give them."""

    loops: Loops | None
    listed: IntArray | None = None

    @classmethod
    def through(cls, sizes: Sequence[int], strides: Sequence[int]) -> LoopOrder:
        """Nested loops of these sizes and strides, the outermost first."""
        return cls(_fewest(zip(sizes, strides, strict=True)))

    @classmethod
    def plain(cls, size: int) -> LoopOrder:
        """Every position in turn."""
        return cls.through((size,), (1,))

    @classmethod
    def permuted(cls, shape: Shape, axes: Sequence[int]) -> LoopOrder:
        """The positions of an array of `shape` whose axes are visited in another order."""
        strides = row_major(shape)
        return cls.through([shape[axis] for axis in axes], [strides[axis] for axis in axes])

    @classmethod
    def of(cls, positions: IntArray) -> LoopOrder:
        """What visits these positions."""
        loops = found_loops(positions)
        return cls(None, positions) if loops is None else cls(loops)

    @property
    def positions(self) -> IntArray:
        """All of them, one after the other."""
        if self.loops is None:
            assert self.listed is not None
            return self.listed
        found = np.zeros((), np.int64)
        for size, stride in self.loops:
            found = found[..., None] + stride * np.arange(size)
        return found.reshape(-1)

    @property
    def is_plain(self) -> bool:
        """Whether every position is visited in turn."""
        return self.loops is not None and all(stride == 1 for _, stride in self.loops)

    @property
    def key(self) -> object:
        """What two walks through the same positions have in common."""
        return self.positions.tobytes() if self.loops is None else self.loops

    def same(self, other: LoopOrder) -> bool:
        """Whether another walk visits the same positions in turn."""
        if self.loops is not None and other.loops is not None:
            return self.loops == other.loops
        return np.array_equal(self.positions, other.positions)

    def inverse(self) -> LoopOrder:
        """Where each position is visited."""
        if self.loops is not None:
            lying = sorted(self.loops, key=lambda loop: -loop[1])
            sizes = [size for size, _ in lying]
            if [stride for _, stride in lying] == list(row_major(sizes)):
                visits = dict(zip(self.loops, row_major([n for n, _ in self.loops]), strict=True))
                return LoopOrder.through(sizes, [visits[loop] for loop in lying])
        return LoopOrder.of(inverse(self.positions))

    def renumbered(self, shape: Shape, axes: Sequence[int]) -> LoopOrder:
        """The same elements, once the axes of the tensor of `shape` have been permuted so."""
        if self.loops is not None:
            made = row_major([shape[axis] for axis in axes])
            moved = {axis: made[place] for place, axis in enumerate(axes)}
            apart = _along(self.loops, shape)
            if apart is not None:
                return LoopOrder.through([n for n, _ in apart], [moved[axis] for _, axis in apart])
        new = np.arange(math.prod(shape)).reshape(shape).transpose(axes)
        return LoopOrder.of(inverse(new.reshape(-1))[self.positions])

    def stretched(self, shape: Shape, axis: int, length: int) -> LoopOrder | None:
        """The walk once an axis of the tensor is so long; None where no loop goes along it."""
        apart = None if self.loops is None or length < 1 else _along(self.loops, shape)
        if apart is None or shape[axis] == 1:
            return None
        strides = row_major([*shape[:axis], length, *shape[axis + 1 :]])
        sizes = [length if along == axis else size for size, along in apart]
        return LoopOrder.through(sizes, [strides[along] for _, along in apart])

    def after(self, other: LoopOrder) -> LoopOrder:
        """What this walk visits of the positions of another, as that one names them."""
        if other.is_plain:
            return self
        if self.is_plain:
            return other
        if self.loops is not None and other.loops is not None:
            apart = _along(self.loops, tuple(size for size, _ in other.loops))
            if apart is not None:
                strides = [other.loops[loop][1] for _, loop in apart]
                return LoopOrder.through([size for size, _ in apart], strides)
        return LoopOrder.of(other.positions[self.positions])


def row_major(shape: Sequence[int]) -> tuple[int, ...]:
    """The strides of an array's axes."""
    return tuple(math.prod(shape[place + 1 :]) for place in range(len(shape)))


def inverse(order: IntArray) -> IntArray:
    """Where each position lies."""
    found = np.empty(order.size, np.int64)
    found[order] = np.arange(order.size)
    return found


def found_loops(positions: IntArray) -> Loops | None:
    """The loops that visit these positions; None where none do."""
    loops: list[tuple[int, int]] = []
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
        loops.insert(0, (size, stride))
        rest = starts
    return tuple(loops) if not rest.size or rest[0] == 0 else None


def _fewest(loops: Sequence[tuple[int, int]] | zip[tuple[int, int]]) -> Loops:
    """Without loops of one round, and with one in the place of two that go on evenly."""
    found: list[tuple[int, int]] = []
    for size, stride in loops:
        if size == 1:
            continue
        if found and found[-1][1] == size * stride:
            found[-1] = (found[-1][0] * size, stride)
        else:
            found.append((size, stride))
    return tuple(found)


def _along(loops: Loops, shape: Shape) -> list[tuple[int, int]] | None:
    """Each loop as loops along whole axes of `shape` (size, axis); None where one is none."""
    strides, found = row_major(shape), list[tuple[int, int]]()
    for size, stride in loops:
        here: list[tuple[int, int]] = []
        while size > 1:
            axis = next((a for a, n in enumerate(shape) if n > 1 and strides[a] == stride), None)
            if axis is None or size % shape[axis]:
                return None
            here.insert(0, (shape[axis], axis))
            size, stride = size // shape[axis], stride * shape[axis]
        found += here
    return found
