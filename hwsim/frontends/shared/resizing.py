"""Linear interpolation along the places of a map: sums of the two nearest elements on each axis."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from hwsim.fixed import Format
from hwsim.frontends.shared import moves
from hwsim.frontends.shared.arrangement import Arrangement
from hwsim.frontends.shared.tensors import TensorBuilder
from hwsim.frontends.shared.values import Codes, FloatArray, Level, Real, Weighing
from hwsim.ops import Window
from hwsim.ops.base import IntArray

F32 = np.float32
WEIGHT_BITS = 24  # fraction bits of what an element counts for
Reals = npt.NDArray[np.float64]
Shares = tuple[IntArray, Format, FloatArray]
"""Weights of a layer: codes, their format, and what one step is worth."""
Layer = Callable[[Level, Shares, "tuple[Window, int] | None"], Weighing]
"""A dense layer along the last axis, or a convolution with a window and groups."""


@dataclass(frozen=True, slots=True)
class Resized:
    """The node that resizes, and the tensor that it gives; `title` is what sentences call it."""

    name: str
    tensor: str
    title: str

    def __str__(self) -> str:
        return self.title


@dataclass(frozen=True, slots=True, eq=False)
class Taps:
    """What each new element of an axis is: a share of one element and the rest of another."""

    first: IntArray
    second: IntArray
    share: Reals  # of the second

    @classmethod
    def of(cls, places: FloatArray, size: int) -> Taps:
        """Of the place of each new element among `size` old ones, in the runtime's float32."""
        top = size - 1
        places = np.clip(places, F32(0), F32(top))
        first = np.minimum(places.astype(np.int64), top)
        share = (places - first.astype(F32)).astype(np.float64)
        return cls(first, np.minimum(first + 1, top), share)

    def matrix(self, size: int) -> Reals:
        """Shares of all old elements (rows) in each new one."""
        found = np.zeros((size, len(self.first)))
        column = np.arange(len(self.first))
        np.add.at(found, (self.first, column), 1 - self.share)
        np.add.at(found, (self.second, column), self.share)
        return found

    def phases(self, size: int) -> Reals | None:
        """Shares of three neighbours in each of the new elements of one old one, if all are alike.

        Beyond the ends the last elements come again. (phases, 3).
        """
        times, rest = divmod(len(self.first), size)
        if rest or times < 2:
            return None
        shares = np.zeros((size, times, 3))
        for new, (first, second, share) in enumerate(
            zip(self.first, self.second, self.share, strict=True)
        ):
            old, phase = divmod(new, times)
            for place, part in ((first, 1 - share), (second, share)):
                if part and abs(place - old) > 1:
                    return None
                if part:
                    shares[old, phase, place - old + 1] += part
        inner = shares[size // 2] if size > 2 else None
        if inner is None:
            return None
        wide = np.zeros((size, times, 3))
        for old in range(size):
            for tap in range(3):
                place = min(max(old + tap - 1, 0), size - 1)
                wide[old, :, place - old + 1] += inner[:, tap]
        return inner if np.array_equal(wide, shares) else None


def interpolated_map(
    run: TensorBuilder, at: Resized, level: Level, taps: Sequence[Taps], layer: Layer
) -> Real:
    """Linear interpolation along the places of a map, as a sum that nothing has rounded yet."""
    shape = level.codes.layout.shape
    phases = [each.phases(size) for each, size in zip(taps, shape[1:], strict=True)]
    if all(each is not None for each in phases):
        return _by_convolution(run, at, level, [p for p in phases if p is not None], layer)
    return _by_matrices(run, at, level, taps, layer)


def _by_convolution(
    run: TensorBuilder, at: Resized, level: Level, phases: Sequence[Reals], layer: Layer
) -> Real:
    """All new elements of one old one as channels, which then become places."""
    channels, *places = level.codes.layout.shape
    again = [[0, *range(size), size - 1] for size in places]
    way = moves.selected(level.codes.layout, [None, *again])
    codes = moves.gone(run, level.codes, way, f"{at.name}.edges", f"{at.tensor}.edges")
    assert isinstance(codes, Codes)
    kernel = phases[0] if len(phases) == 1 else np.einsum("ak,bl->abkl", *phases)
    rank, counts = len(phases), [len(each) for each in phases]
    taps = np.moveaxis(kernel.reshape(-1, *(3,) * rank), 0, -1)  # (kernel axes, new elements)
    weights = np.tile(taps[..., None, :], (*(1,) * (rank + 1), channels))
    window = Window((3,) * rank), channels
    level = replace(level, codes=codes)
    source = layer(level, _fixed(weights), window)
    many = channels * math.prod(counts)
    layout = Arrangement.map((many, *places)).reshaped((channels, *counts, *places))
    order = [0]
    for axis in range(rank):
        order += [1 + rank + axis, 1 + axis]
    wanted = (channels, *(size * n for size, n in zip(places, counts, strict=True)))
    return Real(source, layout.transposed(tuple(order)).reshaped(wanted))


def _by_matrices(
    run: TensorBuilder, at: Resized, level: Level, taps: Sequence[Taps], layer: Layer
) -> Real:
    """A product with a matrix along one axis after the other, each axis innermost in turn."""
    for axis, each in enumerate(taps, start=1):
        shape = level.codes.layout.shape
        lying = Arrangement.innermost(shape, axis)
        codes = run.arranged(level.codes, lying, at)
        weights = _fixed(each.matrix(shape[axis]))
        source = layer(replace(level, codes=codes), weights, None)
        shape = (*shape[:axis], len(each.first), *shape[axis + 1 :])
        layout = Arrangement.innermost(shape, axis)
        if axis == len(taps):
            return Real(source, layout)
        edge = run.emit(at.name, source.op, [codes.edge], f"{at.tensor}.{axis}")
        kind = run.types[edge]
        held = Codes(edge, kind.format, layout)
        level = Level(held, float(source.scale[0]), 0)
    raise AssertionError("a map has places")


def _fixed(weights: Reals) -> tuple[IntArray, Format, FloatArray]:
    """Shares in the fewest fraction bits that hold them, or in `WEIGHT_BITS`."""
    bits = next(
        (b for b in range(WEIGHT_BITS) if np.array_equal(np.rint(weights * 2**b), weights * 2**b)),
        WEIGHT_BITS,
    )
    codes = np.rint(weights * 2.0**bits).astype(np.int64)
    fmt = Format.holding(int(codes.min()), int(codes.max()), bits)
    return codes, fmt, np.array([2.0**-bits], F32)
