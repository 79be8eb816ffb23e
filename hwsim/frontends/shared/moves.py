"""Tensors that are cut, repeated, padded or turned: operators, and how they lie then."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.shared.arrangement import Arrangement, moving
from hwsim.frontends.shared.tensors import TensorBuilder
from hwsim.frontends.shared.values import (
    NO_PADDING,
    After,
    Codes,
    Level,
    Moved,
    Padded,
    RawInput,
    Real,
)
from hwsim.frontends.shared.walks import LoopOrder
from hwsim.ops import Op, Pad, Reshape, Select
from hwsim.ops.base import Shape

Amounts = tuple[int, int, int]  # before, after and between the indices of an axis


@dataclass(frozen=True, slots=True, eq=False)
class Way:
    """Operators on an edge, one after the other, and how a tensor lies on the last one's."""

    ops: tuple[Op, ...]
    layout: Arrangement


def held(run: TensorBuilder, value: RawInput | Codes | Real) -> Codes | Real:
    """A tensor that moves can be said of; an input of the graph gets its quantizer later."""
    if isinstance(value, RawInput):
        value = Real(value, run.lying(value))
    source = value.source if isinstance(value, Real) else value
    inside = source.codes if isinstance(source, Level) else source
    if isinstance(inside, Codes | RawInput) and inside.padding != NO_PADDING:
        raise HwsimError("a Pad must be followed by a convolution")
    return value


def gone(run: TensorBuilder, value: Codes | Real, way: Way, name: str, out: str) -> Codes | Real:
    """A tensor that went a way: codes at once, reals once they are rounded."""
    if isinstance(value, Codes):
        edge = run.chain(name, value.edge, way.ops, out) if way.ops else value.edge
        return replace(value, edge=edge, layout=way.layout)
    step: tuple[After, ...] = (Moved(name, way.ops),) if way.ops else ()
    return replace(value, layout=way.layout, steps=(*value.steps, *step))


def select(layout: Arrangement, axis: int, indices: Sequence[int]) -> Way:
    """The indices of an axis (the batch apart), in that order; the axis stays."""
    if list(indices) == list(range(layout.shape[axis])):
        return Way((), layout)
    ops, layout, place = _found(layout, axis, ())
    op = Select(axis=place, indices=tuple(int(index) for index in indices))
    return Way((*ops, op), _longer(layout, axis, place, len(indices)))


def selected(layout: Arrangement, indices: Sequence[Sequence[int] | None]) -> Way:
    """`select` along one axis after the other; None for one that stays as it is."""
    ops: tuple[Op, ...] = ()
    for axis, each in enumerate(indices):
        if each is not None:
            way = select(layout, axis, each)
            ops, layout = (*ops, *way.ops), way.layout
    return Way(ops, layout)


def pad(layout: Arrangement, amounts: Sequence[Amounts]) -> tuple[Way, Pad | None]:
    """The way up to a Pad with amounts for each axis, and that Pad; its code is still 0.

    The layout is that behind it. None where nothing is added.
    """
    some = [axis for axis, each in enumerate(amounts) if any(each)]
    if not some:
        return Way((), layout), None
    ops: tuple[Op, ...] = ()
    places: dict[int, int] = {}
    for axis in some:
        place = _place(layout, axis, tuple(places.values()))
        if place is None:
            break
        places[axis] = place
    if len(places) < len(some):  # lie as the tensor is written, or as a map does
        ops, layout = _normal(layout)
        places = {}
        for axis in some:
            more, layout, places[axis] = _found(layout, axis, tuple(places.values()))
            ops = (*ops, *more)
    numbers = [[0] * len(layout.physical) for _ in range(3)]
    for axis in some:
        for into, number in zip(numbers, amounts[axis], strict=True):
            into[places[axis]] = number
        first, last, inside = amounts[axis]
        length = layout.shape[axis]
        grown = first + length + (length - 1) * inside + last
        layout = _longer(layout, axis, places[axis], grown)
    before, after, between = map(tuple, numbers)
    op = Pad(before=before, after=after, between=between if any(between) else ())
    return Way(ops, layout), op


def padded(
    run: TensorBuilder,
    value: Codes | Real,
    amounts: Sequence[Amounts],
    code: float,
    name: str,
    out: str,
) -> Codes | Real:
    """A tensor with more around and inside of it: a code in codes, a value in reals."""
    way, op = pad(value.layout, amounts)
    if op is None:
        return value
    if isinstance(value, Codes):
        ops = (*way.ops, replace(op, code=int(code)))
        return gone(run, value, Way(ops, way.layout), name, out)
    ready = gone(run, value, way, name, out)
    assert isinstance(ready, Real)
    return ready.then(Padded(name, op, float(code)))


def turned(layout: Arrangement, wanted: Arrangement) -> Way | None:
    """The way into another order of the same tensor, if a Transpose is one."""
    if layout.walk.same(wanted.walk):
        same = layout.physical == wanted.physical
        return Way(() if same else (Reshape(shape=wanted.physical),), wanted)
    ops = moving(layout, wanted)
    return None if ops is None else Way(tuple(ops), wanted)


def _found(layout: Arrangement, axis: int, taken: Shape) -> tuple[tuple[Op, ...], Arrangement, int]:
    """The edge's axis along which one of the tensor's lies, with what it takes to have one."""
    place = _place(layout, axis, taken)
    if place is not None:
        return (), layout, place
    ops, layout = _normal(layout)
    place = _place(layout, axis, taken)
    if place is None:
        raise HwsimError(
            f"axis {axis + 1} of a tensor of shape {layout.shape} must lie along one axis of its "
            "codes; a quantizer before the last Reshape or Transpose helps"
        )
    return ops, layout, place


def _place(layout: Arrangement, axis: int, taken: Shape) -> int | None:
    """The edge's axis with the same indices as an axis of the tensor, if there is one."""
    length, inner = layout.shape[axis], math.prod(layout.shape[axis + 1 :])
    index = (layout.order // inner % length).reshape(layout.physical)
    for place, size in enumerate(layout.physical):
        shape = [1] * len(layout.physical)
        shape[place] = size
        alike = size == length and (index == np.arange(length).reshape(shape)).all()
        if alike and place not in taken:
            return place
    return None


def _normal(layout: Arrangement) -> tuple[tuple[Op, ...], Arrangement]:
    """The tensor as a map lies, or as it is written, if that takes a Transpose at most."""
    both = Arrangement.plain(layout.shape), Arrangement.map(layout.shape)
    ways = list(filter(None, (turned(layout, wanted) for wanted in both)))
    if not ways:
        return (), layout
    best = min(ways, key=lambda way: sum(not isinstance(op, Reshape) for op in way.ops))
    return best.ops, best.layout


def _longer(layout: Arrangement, axis: int, place: int, count: int) -> Arrangement:
    """Where elements lie once an axis has so many; `place` is the edge's axis of the same."""
    length, inner = layout.shape[axis], math.prod(layout.shape[axis + 1 :])
    shape = (*layout.shape[:axis], count, *layout.shape[axis + 1 :])
    physical = (*layout.physical[:place], count, *layout.physical[place + 1 :])
    walk = layout.walk.stretched(layout.shape, axis, count)
    if walk is None:
        first = np.zeros(count, np.int64)
        old = np.take(layout.order.reshape(layout.physical), first, axis=place)
        outer, within = old // (inner * length), old % inner
        along = [1] * old.ndim
        along[place] = count
        new = outer * (count * inner) + np.arange(count).reshape(along) * inner + within
        walk = LoopOrder.of(new.ravel())
    return Arrangement(shape, physical, walk)
