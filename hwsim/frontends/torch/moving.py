"""Operators that move elements: reshapes, permutations, slices, concatenations, pads."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.shared import moves
from hwsim.frontends.shared.arrangement import Arrangement
from hwsim.frontends.shared.values import (
    Codes,
    Constant,
    Joined,
    RawInput,
    Real,
    Value,
)
from hwsim.frontends.shared.walks import LoopOrder
from hwsim.frontends.torch.importer import BATCH, ProgramImporter
from hwsim.frontends.torch.program import ProgramNode, TensorName
from hwsim.ops.base import Shape

Relay = Callable[[Arrangement], Arrangement]


def relaid(value: Codes | RawInput | Real, change: Relay) -> Value:
    """A tensor whose elements lie where they were, under another shape."""

    if isinstance(value, RawInput):
        return replace(value, plain=change(value.plain), channels_last=change(value.channels_last))
    return replace(value, layout=change(value.layout))


def layout_of(node: ProgramNode, value: Value) -> Arrangement:
    """How a computed tensor lies."""
    if isinstance(value, RawInput):
        return value.plain
    if isinstance(value, Constant):
        raise HwsimError(f"{node}: its input must not be constant")
    return value.layout


def mapped(value: Constant, move: Callable[[Any], Any]) -> Constant:
    """A constant whose elements move, with its codes."""
    scale = value.scale
    if scale is not None and scale.size > 1:
        scale = move(np.broadcast_to(scale, value.array.shape))
        axes = [a for a in range(scale.ndim) if (scale == scale.take([0], axis=a)).all()]
        for axis in axes:
            scale = scale.take([0], axis=axis)
    elif scale is not None:
        scale = scale.reshape((1,) * move(value.array).ndim)
    codes = None if value.codes is None else move(value.codes)
    return Constant(move(value.array), codes, value.format, scale, value.shifted, value.zero_point)


def reshape(run: ProgramImporter, node: ProgramNode) -> None:
    """view, reshape, flatten, squeeze, unsqueeze: the program says the shape that comes out."""
    value = run.value(node, "self" if "self" in node.args else "input")
    if isinstance(value, Constant):
        sizes = run.program.meaning(node.output).sizes
        if any(isinstance(n, str) for n in sizes) or math.prod(map(int, sizes)) != value.array.size:
            raise HwsimError(f"{node}: a constant must keep its {value.array.size} elements")
        whole = tuple(int(n) for n in sizes)
        run.values[node.output] = mapped(value, lambda array: array.reshape(whole))
        return
    shape, held = run.shape(node, node.output), layout_of(node, value)
    if int(np.prod(shape, dtype=np.int64)) != held.size:
        raise HwsimError(f"{node}: its result must have {held.size} elements, not be of {shape}")
    run.values[node.output] = relaid(value, lambda old: old.reshaped(shape))


def as_strided(run: ProgramImporter, node: ProgramNode) -> None:
    """as_strided of a map of one place, as lowering writes it behind a pool."""
    value = run.value(node, "self")
    sizes, held = node.integers("size"), layout_of(node, value)
    if sizes[1:] != held.shape or math.prod(held.shape) != held.shape[0]:
        raise HwsimError(f"{node}: it must keep a map of one place, not make {sizes} of it")
    run.values[node.output] = value


def permute(run: ProgramImporter, node: ProgramNode) -> None:
    """permute, transpose and t."""
    value = run.value(node, "self")
    rank = (
        value.array.ndim if isinstance(value, Constant) else len(layout_of(node, value).shape) + 1
    )
    order = _order(node, rank)
    if isinstance(value, Constant):
        run.values[node.output] = mapped(value, lambda array: array.transpose(order))
        return
    if order[0] != 0:
        raise HwsimError(f"{node}: it must leave the batch where it is, not order axes as {order}")
    axes = tuple(axis - 1 for axis in order[1:])
    run.values[node.output] = relaid(value, lambda old: old.transposed(axes))


def _order(node: ProgramNode, rank: int) -> tuple[int, ...]:
    if node.op == "aten.permute":
        order = tuple(_axis(node, axis, rank) for axis in node.integers("dims"))
    else:
        order = tuple(range(rank))
        first, second = (
            (0, 1) if node.op == "aten.t" else (node.integer("dim0"), node.integer("dim1"))
        )
        if rank >= 2:
            first, second = _axis(node, first, rank), _axis(node, second, rank)
            swapped = list(order)
            swapped[first], swapped[second] = second, first
            order = tuple(swapped)
    if sorted(order) != list(range(rank)):
        raise HwsimError(f"{node}: it must name each of {rank} axes once, not {order}")
    return order


def _axis(node: ProgramNode, axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise HwsimError(f"{node}: an axis must be one of {rank}, not {axis}")
    return axis % rank


def inner_axis(node: ProgramNode, axis: int, rank: int) -> int:
    """An axis counted without the batch; HwsimError for the batch. `rank` counts it."""
    found = _axis(node, axis, rank)
    if found == 0:
        raise HwsimError(f"{node}: it must be along an axis that is not the batch")
    return found - 1


def _picked(
    run: ProgramImporter,
    node: ProgramNode,
    value: Value,
    axis: int,
    indices: Sequence[int],
    out: str,
) -> Value:
    """Some indices of an axis."""
    if isinstance(value, Constant):
        raise HwsimError(f"{node}: its input must not be constant")
    held = moves.held(run, value)
    if not indices:
        raise HwsimError(f"{node}: it must take at least one index of its axis")
    return moves.gone(run, held, moves.select(held.layout, axis, indices), node.name, out)


def slice_(run: ProgramImporter, node: ProgramNode) -> None:
    """slice: every so many indices of an axis."""
    value = run.value(node, "self")
    shape = layout_of(node, value).shape
    axis = node.integer("dim")
    first, last = node.args.get("start"), node.args.get("end")
    step = node.integer("step", 1)
    if _axis(node, axis, len(shape) + 1) == 0:
        whole = first in (None, 0) and step == 1
        end = None if last is None else run.size(node, last)
        if not whole or (end is not None and end != BATCH and end < 1 << 31):
            raise HwsimError(f"{node}: it must take the whole batch")
        run.values[node.output] = value
        return
    place = inner_axis(node, axis, len(shape) + 1)
    begin, end = (None if each is None else run.size(node, each) for each in (first, last))
    indices = range(shape[place])[begin:end:step]
    run.values[node.output] = _picked(run, node, value, place, indices, node.output)


def select(run: ProgramImporter, node: ProgramNode) -> None:
    """select: one index of an axis, which goes."""
    value = run.value(node, "self")
    shape = layout_of(node, value).shape
    place, index = inner_axis(node, node.integer("dim"), len(shape) + 1), node.integer("index")
    if not -shape[place] <= index < shape[place]:
        raise HwsimError(f"{node}: its index must be one of {shape[place]}, not {index}")
    one = _picked(run, node, value, place, [index % shape[place]], node.output)
    rest = shape[:place] + shape[place + 1 :]
    assert isinstance(one, Codes | Real)
    run.values[node.output] = relaid(one, lambda old: old.reshaped(rest))


def split(run: ProgramImporter, node: ProgramNode) -> None:
    """split, split_with_sizes, chunk and unbind."""
    value = run.value(node, "self")
    shape = layout_of(node, value).shape
    place = inner_axis(node, node.integer("dim"), len(shape) + 1)
    sizes = _sizes(node, shape[place])
    if sum(sizes) != shape[place] or len(sizes) != len(node.outputs) or min(sizes) < 1:
        raise HwsimError(
            f"{node}: its parts must be as many as its outputs and cover {shape[place]} indices"
        )
    start = 0
    for size, out in zip(sizes, node.outputs, strict=True):
        part = _picked(run, node, value, place, range(start, start + size), out)
        if node.op == "aten.unbind":
            rest = shape[:place] + shape[place + 1 :]
            assert isinstance(part, Codes | Real)
            part = relaid(part, partial(Arrangement.reshaped, shape=rest))
        run.values[out] = part
        start += size


def _sizes(node: ProgramNode, length: int) -> list[int]:
    if node.op == "aten.unbind":
        return [1] * length
    if node.op == "aten.chunk":
        count = node.integer("chunks", 1)
        step = -(-length // max(count, 1))
    else:
        name = "split_sizes" if "split_sizes" in node.args else "split_size"
        given = node.integers(name)
        if len(given) != 1 or node.op == "aten.split_with_sizes":
            return list(given)
        step = given[0]
    step = max(step, 1)
    return [min(step, length - start) for start in range(0, length, step)]


def cat(run: ProgramImporter, node: ProgramNode) -> None:
    """cat: tensors one after the other."""
    parts = _parts(run, node)
    rank = len(parts[0].layout.shape) + 1
    run.values[node.output] = joined(node, parts, inner_axis(node, node.integer("dim"), rank))


def _parts(run: ProgramImporter, node: ProgramNode) -> list[Real]:
    names = node.args.get("tensors")
    if (
        not isinstance(names, tuple)
        or not names
        or not all(isinstance(name, TensorName) for name in names)
    ):
        raise HwsimError(f"{node}: it must have tensors to join")
    return [run.real_of(node, name.name) for name in names]


def stack(run: ProgramImporter, node: ProgramNode) -> None:
    """stack: tensors side by side along a new axis."""
    parts = _parts(run, node)
    rank = len(parts[0].layout.shape) + 2
    axis = inner_axis(node, node.integer("dim"), rank)
    each = []
    for part in parts:
        shape = part.layout.shape
        wanted = (*shape[:axis], 1, *shape[axis:])
        each.append(replace(part, layout=part.layout.reshaped(wanted)))
    run.values[node.output] = joined(node, each, axis)


def joined(node: ProgramNode, parts: list[Real], axis: int) -> Real:
    """Tensors one after the other along an axis, which counts without the batch."""
    shapes = [part.layout.shape for part in parts]
    rank = len(shapes[0]) + 1
    if (
        any(len(s) != rank - 1 for s in shapes)
        or len({s[:axis] + s[axis + 1 :] for s in shapes}) > 1
    ):
        raise HwsimError(f"{node}: its inputs must agree but for axis {axis + 1}, not be {shapes}")
    ends = [s[axis] for s in shapes]
    shape = (*shapes[0][:axis], sum(ends), *shapes[0][axis + 1 :])
    if rank == 2:
        starts = np.cumsum([0, *ends[:-1]])
        order = np.concatenate([p.layout.order + s for p, s in zip(parts, starts, strict=True)])
        flat = Arrangement(shape, shape, LoopOrder.of(order))
        return Real(Joined(node.name, tuple(parts), 0), flat)
    place, way = _in_place(parts, axis)
    return Real(Joined(node.name, tuple(parts), axis, place), way(shape))


def _in_place(parts: list[Real], axis: int) -> tuple[int, Callable[[Shape], Arrangement]]:
    """The edges' axis along which tensors that lie alike are joined, and how the result lies."""
    inner = len(parts[0].layout.shape) - 1
    ways: list[tuple[int, Callable[[Shape], Arrangement]]] = [
        ((axis - 1) % (inner + 1), Arrangement.map),
        (axis, Arrangement.plain),
    ]
    for place, lying in ways:
        if all(part.layout.same(lying(part.layout.shape)) for part in parts):
            if place == inner:
                break
            return place, lying
    return -1, lambda shape: Arrangement.innermost(shape, axis)


def pad(run: ProgramImporter, node: ProgramNode) -> None:
    """constant_pad_nd and pad: what comes around the last axes, in pairs from the last one."""
    value = run.value(node, "self")
    mode = node.args.get("mode", "constant")
    if mode != "constant" or isinstance(value, Constant):
        raise HwsimError(f"{node}: it must pad a computed tensor by a constant, not by {mode!r}")
    held = moves.held(run, value)
    amounts = node.integers("pad")
    rank = len(held.layout.shape)
    if len(amounts) == 2 * rank + 2 and not any(amounts[-2:]):
        amounts = amounts[:-2]  # none around the batch, as the delegate writes it
    if len(amounts) % 2 or len(amounts) > 2 * rank or isinstance(held, Codes):
        raise HwsimError(f"{node}: its pads must be two for each of up to {rank} axes")
    each = [(0, 0)] * rank
    for place in range(len(amounts) // 2):
        each[rank - 1 - place] = amounts[2 * place], amounts[2 * place + 1]
    kept = [
        range(max(-b, 0), size - max(-a, 0))
        for (b, a), size in zip(each, held.layout.shape, strict=True)
    ]
    if any(not len(indices) for indices in kept):
        raise HwsimError(f"{node}: it must leave some of each axis")
    cut = moves.gone(
        run, held, moves.selected(held.layout, kept), f"{node.name}.cut", f"{node.name}.cut"
    )
    grown = [(max(b, 0), max(a, 0), 0) for b, a in each]
    fill = node.real("value", 0.0)
    run.values[node.output] = moves.padded(run, cut, grown, fill, node.name, node.output)


def upsample_nearest(run: ProgramImporter, node: ProgramNode) -> None:
    """upsample_nearest1d and 2d: elements again."""
    value = run.value(node, "self" if "self" in node.args else "input")
    if isinstance(value, Constant):
        raise HwsimError(f"{node}: its input must not be constant")
    held, wanted = moves.held(run, value), run.shape(node, node.output)
    shape = held.layout.shape
    if len(wanted) != len(shape) or wanted[0] != shape[0]:
        raise HwsimError(f"{node}: its result must have the axes of its input, not {wanted}")
    if any(new % old for new, old in zip(wanted, shape, strict=True)):
        raise HwsimError(
            f"{node}: it must make each axis a whole number of times as long, not {shape} to "
            f"{wanted}"
        )
    indices = [
        [place * old // new for place in range(new)]
        for new, old in zip(wanted[1:], shape[1:], strict=True)
    ]
    way = moves.selected(held.layout, [None, *indices])
    run.values[node.output] = moves.gone(run, held, way, node.name, node.output)


def size(run: ProgramImporter, node: ProgramNode) -> None:
    """sym_size: the batch, or a number."""
    value = run.value(node, "self")
    dims = (
        value.array.shape if isinstance(value, Constant) else (BATCH, *layout_of(node, value).shape)
    )
    run.sizes[node.output] = dims[_axis(node, node.integer("dim"), len(dims))]


def expand(run: ProgramImporter, node: ProgramNode) -> None:
    """expand: axes of 1 again and again."""
    value = run.value(node, "self")
    if isinstance(value, Constant):
        raise HwsimError(f"{node}: its input must not be constant")
    held, wanted = moves.held(run, value), run.shape(node, node.output)
    shape = held.layout.shape
    fits = len(wanted) == len(shape)
    if not fits or any(old not in (1, new) for old, new in zip(shape, wanted, strict=True)):
        raise HwsimError(f"{node}: it must repeat axes of 1, not make {wanted} of {shape}")
    indices = [None if old == new else [0] * new for old, new in zip(shape, wanted, strict=True)]
    way = moves.selected(held.layout, indices)
    run.values[node.output] = moves.gone(run, held, way, node.name, node.output)
