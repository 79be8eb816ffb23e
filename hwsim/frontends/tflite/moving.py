"""Operators that move codes and compute nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.tflite.importer import LiteImporter, reshaped
from hwsim.frontends.tflite.kernels import F32, KernelSet, only
from hwsim.frontends.tflite.model import LiteNode, LiteTensor
from hwsim.frontends.tflite.rounding import same_meaning
from hwsim.frontends.tflite.scaled import away
from hwsim.ops import Concat, Op, Pad, Reshape, Select, Split, Table, Transpose
from hwsim.ops.base import IntArray

MASKS = ("begin", "end", "ellipsis", "new_axis", "shrink")
MOST_INDICES = 1 << 20  # of one axis
MIRRORS = ("REFLECT", "SYMMETRIC")


def reshape(run: LiteImporter, node: LiteNode) -> None:
    """RESHAPE, SQUEEZE and EXPAND_DIMS: the output's own shape says it."""
    run.give(node, [], run.edge(node))


def axis_of(node: LiteNode, value: int, rank: int) -> int:
    """An axis by its number, which may count from the end."""
    if not -rank <= value < rank:
        raise HwsimError(f"{node}: its axis must be one of {rank}, not {value}")
    return value % rank


def concatenation(run: LiteImporter, node: LiteNode) -> None:
    """CONCATENATION of tensors of one meaning; XNNPACK overlooks a fused activation."""
    made = run.made(node)
    if node.options["activation"] and (run.like is not KernelSet.XNNPACK or made.dtype == "int16"):
        raise HwsimError(
            f"{node}: it must have no fused activation, which only xnnpack takes (and overlooks), "
            "of int8"
        )
    tensors = [run.tensor(node, place) for place in range(len(node.inputs))]
    if any(len(tensor.shape) != len(made.shape) for tensor in tensors) or not tensors:
        raise HwsimError(f"{node}: its inputs must have the {len(made.shape)} axes of its output")
    axis = axis_of(node, int(node.options["axis"]), len(made.shape))
    lead = run.lead(node, *range(len(tensors)), axes=[axis])
    edges = [run.seen(node, place, lead) for place in range(len(tensors))]
    if made.dtype == "uint8":
        edges = [_rescaled(run, made, *pair) for pair in zip(tensors, edges, strict=True)]
    else:
        same_meaning(run, node, *tensors)
    run.give(node, [Concat(axis=axis - lead)], *edges)


def _rescaled(run: LiteImporter, made: LiteTensor, given: LiteTensor, edge: str) -> str:
    """Codes of uint8 in the steps of what they are joined to, by float32 arithmetic."""
    before, after, out = run.meaning(given), run.meaning(made), run.format(made)
    if (before.scale, before.zero_point) == (after.scale, after.zero_point):
        return edge
    factor = F32(F32(before.scale) * F32(F32(1) / F32(after.scale)))
    codes = np.arange(out.min, out.max + 1).astype(F32)
    moved = codes * factor + F32(F32(-before.zero_point) * factor)
    values = np.clip(away(moved) + after.zero_point, out.min, out.max)
    name = f"{run.label(made)}.{edge}"
    return run.emit(name, Table(values=values, out=out, quant=run.meant(made)), [edge], name)


def pack(run: LiteImporter, node: LiteNode) -> None:
    """PACK: a new axis along which tensors follow one another."""
    made, count = run.made(node), len(node.inputs)
    if not count:
        raise HwsimError(f"{node}: it must have inputs")
    axis = axis_of(node, int(node.options["axis"]), len(made.shape))
    lead, name, edges = run.lead(node, *range(count), axes=[axis]), run.label(made), []
    for place in range(count):
        edge, held = run.edge(node, place), run.axes(run.tensor(node, place), lead)
        wide = (*held[: axis - lead], 1, *held[axis - lead :])
        edges.append(run.chain(f"{name}.{place}", edge, [Reshape(shape=wide)], f"{name}.{place}"))
    run.give(node, [Concat(axis=axis - lead)], *edges)


def unpack(run: LiteImporter, node: LiteNode) -> None:
    """UNPACK: each index of an axis as a tensor of its own."""
    tensor = run.tensor(node, 0)
    axis = axis_of(node, int(node.options["axis"]), len(tensor.shape))
    _split(run, node, 0, axis, (1,) * run.axes(tensor)[axis])


def split(run: LiteImporter, node: LiteNode) -> None:
    """SPLIT into equal parts; the axis is the first input."""
    tensor, count = run.tensor(node, 1), len(node.outputs)
    axis = axis_of(node, run.single(node, 0), len(tensor.shape))
    length = run.axes(tensor)[axis]
    if not count or length % count:
        raise HwsimError(f"{node}: its axis must split into {count} parts, not be {length} long")
    _split(run, node, 1, axis, (length // count,) * count)


def split_v(run: LiteImporter, node: LiteNode) -> None:
    """SPLIT_V into parts of given sizes, one of which may be -1."""
    sizes, tensor = run.whole(node, 1), run.tensor(node, 0)
    axis = axis_of(node, run.single(node, 2), len(tensor.shape))
    rest = run.axes(tensor)[axis] - sum(size for size in sizes if size >= 0)
    _split(run, node, 0, axis, tuple(rest if size == -1 else size for size in sizes))


def _split(
    run: LiteImporter, node: LiteNode, place: int, axis: int, sizes: tuple[int, ...]
) -> None:
    """Parts of a tensor, each in the shape of its output."""
    if len(sizes) != len(node.outputs):
        raise HwsimError(f"{node}: it must have {len(sizes)} outputs, not {len(node.outputs)}")
    lead = run.lead(node, place, axes=[axis])
    edge = run.seen(node, place, lead)
    names = [run.label(run.made(node, number)) for number in range(len(sizes))]
    parts = run.emit_all(names[0], Split(axis=axis - lead, sizes=sizes), [edge], names)
    for number, part in enumerate(parts):
        run.give(node, [], part, place=number)


def transpose(run: LiteImporter, node: LiteNode) -> None:
    """TRANSPOSE."""
    order, rank = run.whole(node, 1), len(run.tensor(node, 0).shape)
    order = [axis_of(node, axis, rank) for axis in order]
    if sorted(order) != list(range(rank)):
        raise HwsimError(f"{node}: it must name every axis once, not {order}")
    lead = run.lead(node, 0, axes=[] if order[:1] == [0] else [0])
    axes = tuple(axis - lead for axis in order[lead:])
    moves = axes != tuple(range(len(axes)))
    run.give(node, [Transpose(axes=axes)] if moves else [], run.seen(node, 0, lead))


def pad(run: LiteImporter, node: LiteNode) -> None:
    """PAD with the output's zero point, PADV2 with a code of its own."""
    rows, rank = _rows(run, node), len(run.tensor(node, 0).shape)
    if rows.shape != (rank, 2) or (rows < 0).any():
        raise HwsimError(
            f"{node}: it must pad each of {rank} axes by 0 or more, not by {rows.tolist()}"
        )
    same_meaning(run, node, run.tensor(node, 0))
    code = run.meaning(run.made(node)).zero_point
    if node.op == "PADV2":
        code = run.single(node, 2)
    lead = run.lead(node, 0, axes=[0] if rows[:1].any() else [])
    before, after = (tuple(rows[lead:, end].tolist()) for end in (0, 1))
    ops: list[Op] = [Pad(before=before, after=after, code=code)] if rows.any() else []
    run.give(node, ops, run.seen(node, 0, lead))


def _rows(run: LiteImporter, node: LiteNode) -> IntArray:
    """How much an operator pads each axis, before and after."""
    return np.array(run.whole(node, 1), np.int64).reshape(run.constant(node, 1).shape)


def mirror_pad(run: LiteImporter, node: LiteNode) -> None:
    """MIRROR_PAD: the codes at the edges once more, in the reverse order."""
    rows, number = _rows(run, node), int(node.options["mode"])
    shape = run.axes(run.tensor(node, 0))
    if rows.shape != (len(shape), 2) or not 0 <= number < len(MIRRORS):
        raise HwsimError(f"{node}: it must pad each of {len(shape)} axes, not by {rows.tolist()}")
    reflects = MIRRORS[number] == "REFLECT"  # without the edge itself
    lead = run.lead(node, 0, axes=[0] if rows[:1].any() else [])
    ops: list[Op] = []
    for axis, (length, (before, after)) in enumerate(zip(shape, rows.tolist(), strict=True)):
        if not 0 <= max(before, after) <= length - reflects or min(before, after) < 0:
            raise HwsimError(f"{node}: it must pad an axis of {length} by less than its length")
        if before or after:
            check_indices(node, length + before + after)
            ahead = range(before - 1 + reflects, reflects - 1, -1)
            behind = range(length - 1 - reflects, length - 1 - reflects - after, -1)
            indices = (*ahead, *range(length), *behind)
            ops.append(Select(axis=axis - lead, indices=indices))
    run.give(node, ops, run.seen(node, 0, lead))


def strided_slice(run: LiteImporter, node: LiteNode) -> None:
    """STRIDED_SLICE by constants."""
    new = node.options["ellipsis_mask"] or node.options["new_axis_mask"]
    if new and run.like is KernelSet.TFLM:
        raise only(f"{node} with new axes", [k for k in KernelSet if k is not KernelSet.TFLM])
    shape = run.axes(run.tensor(node, 0))
    picked = strided(node, shape, *(run.whole(node, place) for place in (1, 2, 3)))
    _select(run, node, list(enumerate(picked)))


def strided(
    node: LiteNode, shape: Sequence[int], begin: list[int], end: list[int], step: list[int]
) -> list[range]:
    """The indices that a STRIDED_SLICE takes of each axis; HwsimError where it has none."""
    masks = {key: int(node.options[f"{key}_mask"]) for key in MASKS}
    if not len(begin) == len(end) == len(step) or 0 in step:
        raise HwsimError(f"{node}: it must have a begin, end and step for each of its axes")
    if node.options["offset"]:
        end = [first + past for first, past in zip(begin, end, strict=True)]
    given = len(begin) - sum(masks["new_axis"] >> k & 1 for k in range(len(begin)))
    spare = len(shape) - given + bool(masks["ellipsis"])  # axes for which an ellipsis stands
    picked: list[range] = []
    for k in range(len(begin)):
        if masks["ellipsis"] >> k & 1:
            picked += [range(length) for length in shape[len(picked) : len(picked) + spare]]
        elif not masks["new_axis"] >> k & 1:
            if len(picked) == len(shape):
                break
            length = shape[len(picked)]
            first = None if masks["begin"] >> k & 1 else begin[k]
            last = None if masks["end"] >> k & 1 else end[k]
            if masks["shrink"] >> k & 1:
                first, last = begin[k], begin[k] + 1 or None
                if not -length <= begin[k] < length:
                    raise HwsimError(f"{node}: it must take an index of {length}, not {begin[k]}")
            picked.append(range(length)[first : last : 1 if masks["shrink"] >> k & 1 else step[k]])
    if given - bool(masks["ellipsis"]) > len(shape) or spare < 0:
        raise HwsimError(f"{node}: it must have up to {len(shape)} axes, not {given}")
    picked += [range(length) for length in shape[len(picked) :]]
    if not all(picked):
        raise HwsimError(f"{node}: it must take at least one index of every axis")
    return picked


def slice_(run: LiteImporter, node: LiteNode) -> None:
    """SLICE by constants; a size of -1 takes all that is left."""
    begin, size = run.whole(node, 1), run.whole(node, 2)
    shape = run.axes(run.tensor(node, 0))
    if len(begin) != len(shape) or len(size) != len(shape):
        raise HwsimError(f"{node}: it must have a begin and a size for {len(shape)} axes")
    picked = []
    for axis, length in enumerate(shape):
        count = length - begin[axis] if size[axis] == -1 else size[axis]
        if not (begin[axis] >= 0 and 0 < count <= length - begin[axis]):
            raise HwsimError(f"{node}: its slice of axis {axis} must lie within {length} indices")
        picked.append((axis, range(begin[axis], begin[axis] + count)))
    _select(run, node, picked)


def gather(run: LiteImporter, node: LiteNode) -> None:
    """GATHER by constant indices."""
    shape = run.axes(run.tensor(node, 0))
    axis = axis_of(node, int(node.options["axis"]), len(shape))
    order = run.whole(node, 1)
    if node.options["batch_dims"] or any(not 0 <= index < shape[axis] for index in order):
        raise HwsimError(f"{node}: its indices must be from 0 to {shape[axis] - 1}, in no batches")
    _select(run, node, [(axis, order)])


def tile(run: LiteImporter, node: LiteNode) -> None:
    """TILE: a tensor several times along its axes."""
    shape, times = run.axes(run.tensor(node, 0)), run.whole(node, 1)
    if len(times) != len(shape) or min(times, default=1) < 1:
        raise HwsimError(f"{node}: it must repeat {len(shape)} axes once or more, not {times}")
    run.shape(run.made(node))
    picked = []
    for axis, (length, count) in enumerate(zip(shape, times, strict=True)):
        check_indices(node, length * count)
        picked.append((axis, (*range(length),) * count if count > 1 else range(length)))
    _select(run, node, picked)


def broadcast_to(run: LiteImporter, node: LiteNode) -> None:
    """BROADCAST_TO: axes of 1 as often as the output's have indices."""
    wanted, shape = run.axes(run.made(node)), run.axes(run.tensor(node, 0))
    held = (1,) * (len(wanted) - len(shape)) + shape
    if len(held) != len(wanted) or any(n not in (1, m) for n, m in zip(held, wanted, strict=True)):
        raise HwsimError(f"{node}: its input {shape} must broadcast to {wanted}")
    edge, name = run.edge(node), f"{run.label(run.made(node))}.axes"
    edge = run.chain(name, edge, reshaped(run.types[edge].shape, held), name)
    pairs = enumerate(zip(held, wanted, strict=True))
    ops = [Select(axis=k, indices=check_indices(node, m) * (0,)) for k, (n, m) in pairs if n != m]
    run.give(node, ops, edge)


def reverse(run: LiteImporter, node: LiteNode) -> None:
    """REVERSE_V2: axes the other way round."""
    shape = run.axes(run.tensor(node, 0))
    axes = [axis_of(node, axis, len(shape)) for axis in run.whole(node, 1)]
    _select(run, node, [(axis, range(shape[axis])[::-1]) for axis in axes])


def check_indices(node: LiteNode, count: int) -> int:
    """The number of indices of an axis; HwsimError where there are too many of them."""
    if count > MOST_INDICES:
        raise HwsimError(f"{node}: it must take at most {MOST_INDICES} indices, not {count}")
    return count


def _select(run: LiteImporter, node: LiteNode, picked: Sequence[tuple[int, Sequence[int]]]) -> None:
    """The codes at some indices of axes, in the shape of the output."""
    shape = run.axes(run.tensor(node, 0))
    picked = [(axis, order) for axis, order in picked if order != range(shape[axis])]
    lead = run.lead(node, 0, axes=[axis for axis, _ in picked])
    for _, order in picked:
        check_indices(node, len(order))
    ops = [Select(axis=axis - lead, indices=tuple(order)) for axis, order in picked]
    run.give(node, ops, run.seen(node, 0, lead))


def space_to_depth(run: LiteImporter, node: LiteNode) -> None:
    """SPACE_TO_DEPTH: blocks of places become channels, row by row."""
    edge, block = run.edge(node), int(node.options["block"])
    height, width, channels = _map(run, node, edge)
    if block < 1 or height % block or width % block:
        raise HwsimError(f"{node}: its block must divide {height} and {width}, not be {block}")
    split = (height // block, block, width // block, block, channels)
    wanted = (height // block, width // block, block * block * channels)
    run.give(
        node,
        [Reshape(shape=split), Transpose(axes=(0, 2, 1, 3, 4)), Reshape(shape=wanted)],
        edge,
    )


def depth_to_space(run: LiteImporter, node: LiteNode) -> None:
    """DEPTH_TO_SPACE: channels become blocks of places, row by row."""
    edge, block = run.edge(node), int(node.options["block"])
    height, width, channels = _map(run, node, edge)
    if block < 1 or channels % (block * block):
        raise HwsimError(f"{node}: the square of its block must divide {channels}, not {block}")
    rest = channels // (block * block)
    split = (height, width, block, block, rest)
    wanted = (height * block, width * block, rest)
    run.give(
        node,
        [Reshape(shape=split), Transpose(axes=(0, 2, 1, 3, 4)), Reshape(shape=wanted)],
        edge,
    )


def _map(run: LiteImporter, node: LiteNode, edge: str) -> tuple[int, int, int]:
    shape = run.types[edge].shape
    if len(shape) != 3:
        raise HwsimError(f"{node}: its input must have four axes, not shape {(1, *shape)}")
    return shape[0], shape[1], shape[2]
