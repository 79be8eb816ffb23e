"""Operators that move codes and compute nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.tflite.importer import LiteImporter, whole
from hwsim.frontends.tflite.model import LiteNode, LiteTensor
from hwsim.frontends.tflite.rounding import activation, same_meaning
from hwsim.ops import Concat, Flatten, Op, Pad, Reshape, Select, Split, Transpose

MIRRORS = ("REFLECT", "SYMMETRIC")


def reshaped(held: tuple[int, ...], wanted: tuple[int, ...]) -> list[Op]:
    """What gives codes another shape; a scalar is an axis of 1, which its reader need not see."""
    wanted = wanted or (1,)
    if held == wanted:
        return []
    return [Flatten() if len(wanted) == 1 else Reshape(shape=wanted)]


def reshape(run: LiteImporter, node: LiteNode) -> None:
    """RESHAPE, SQUEEZE and EXPAND_DIMS: the output's own shape says it."""
    edge, wanted = run.edge(node), run.shape(run.made(node))
    held = run.types[edge].shape
    if math.prod(held) != math.prod(wanted):
        raise HwsimError(f"{node}: its output {wanted} must hold what its input {held} does")
    run.give(node, reshaped(held, wanted), edge)


def axis_of(node: LiteNode, value: int, tensor: LiteTensor) -> int:
    """An axis without the batch; HwsimError of the batch or of one that is not there."""
    rank = len(tensor.shape)
    axis = value + rank if value < 0 else value
    if not 0 < axis < rank:
        raise HwsimError(f"{node}: its axis must be one from 1 to {rank - 1}, not {value}")
    return axis - 1


def concatenation(run: LiteImporter, node: LiteNode) -> None:
    """CONCATENATION of tensors of one meaning."""
    tensors = [run.tensor(node, place) for place in range(len(node.inputs))]
    same_meaning(run, node, *tensors)
    axis = axis_of(node, int(node.options["axis"]), tensors[0])
    edges = [run.edge(node, place) for place in range(len(tensors))]
    run.give(node, [Concat(axis=axis), *activation(run, node, run.made(node))], *edges)


def pack(run: LiteImporter, node: LiteNode) -> None:
    """PACK: a new axis along which tensors follow one another."""
    made = run.made(node)
    axis = axis_of(node, int(node.options["axis"]), made)
    name = run.label(made)
    edges = []
    for place in range(len(node.inputs)):
        edge = run.edge(node, place)
        held = run.types[edge].shape
        wide = (*held[:axis], 1, *held[axis:])
        edges.append(run.chain(f"{name}.{place}", edge, [Reshape(shape=wide)], f"{name}.{place}"))
    run.give(node, [Concat(axis=axis)], *edges)


def unpack(run: LiteImporter, node: LiteNode) -> None:
    """UNPACK: each index of an axis as a tensor of its own."""
    edge, tensor = run.edge(node), run.tensor(node, 0)
    axis = axis_of(node, int(node.options["axis"]), tensor)
    sizes = (1,) * run.types[edge].shape[axis]
    _split(run, node, edge, axis, sizes)


def split(run: LiteImporter, node: LiteNode) -> None:
    """SPLIT into equal parts; the axis is the first input."""
    (value,) = whole(run.constant(node, 0))
    edge, count = run.edge(node, 1), len(node.outputs)
    axis = axis_of(node, value, run.tensor(node, 1))
    length = run.types[edge].shape[axis]
    if length % count:
        raise HwsimError(f"{node}: its axis must split into {count} parts, not be {length} long")
    _split(run, node, edge, axis, (length // count,) * count)


def split_v(run: LiteImporter, node: LiteNode) -> None:
    """SPLIT_V into parts of given sizes, one of which may be -1."""
    sizes, (value,) = whole(run.constant(node, 1)), whole(run.constant(node, 2))
    edge = run.edge(node)
    axis = axis_of(node, value, run.tensor(node, 0))
    rest = run.types[edge].shape[axis] - sum(size for size in sizes if size >= 0)
    _split(run, node, edge, axis, tuple(rest if size == -1 else size for size in sizes))


def _split(run: LiteImporter, node: LiteNode, edge: str, axis: int, sizes: tuple[int, ...]) -> None:
    """Parts of a tensor, each in the shape of its output."""
    if len(sizes) != len(node.outputs):
        raise HwsimError(f"{node}: it must have {len(sizes)} outputs, not {len(node.outputs)}")
    made = [run.made(node, place) for place in range(len(sizes))]
    names = [run.label(tensor) for tensor in made]
    parts = run.emit_all(names[0], Split(axis=axis, sizes=sizes), [edge], names)
    for index, part, tensor, name in zip(node.outputs, parts, made, names, strict=True):
        ops = reshaped(run.types[part].shape, run.shape(tensor))
        run.edges[index] = run.chain(f"{name}.shape", part, ops, f"{name}.shape")


def transpose(run: LiteImporter, node: LiteNode) -> None:
    """TRANSPOSE that leaves the batch first."""
    order = whole(run.constant(node, 1))
    rank = len(run.tensor(node, 0).shape)
    order = [axis + rank if axis < 0 else axis for axis in order]
    if sorted(order) != list(range(rank)) or order[0] != 0:
        raise HwsimError(f"{node}: it must name every axis once, the batch first, not {order}")
    axes = tuple(axis - 1 for axis in order[1:])
    moves = axes != tuple(range(len(axes)))
    run.give(node, [Transpose(axes=axes)] if moves else [], run.edge(node))


def pad(run: LiteImporter, node: LiteNode) -> None:
    """PAD with the output's zero point, PADV2 with a code of its own."""
    rows = run.constant(node, 1).astype(np.int64)
    rank = len(run.tensor(node, 0).shape)
    if rows.shape != (rank, 2) or (rows < 0).any() or rows[0].any():
        raise HwsimError(
            f"{node}: it must pad each of {rank} axes by 0 or more, the batch by none, not by "
            f"{rows.tolist()}"
        )
    same_meaning(run, node, run.tensor(node, 0))
    code = run.meaning(run.made(node)).zero_point
    if node.op == "PADV2":
        (code,) = whole(run.constant(node, 2))
    before, after = (tuple(rows[1:, end].tolist()) for end in (0, 1))
    ops: list[Op] = [Pad(before=before, after=after, code=code)] if rows.any() else []
    run.give(node, ops, run.edge(node))


def mirror_pad(run: LiteImporter, node: LiteNode) -> None:
    """MIRROR_PAD: the codes at the edges once more, in the reverse order."""
    rows = run.constant(node, 1).astype(np.int64)
    edge, number = run.edge(node), int(node.options["mode"])
    shape = run.types[edge].shape
    if rows.shape != (len(shape) + 1, 2) or rows[0].any() or not 0 <= number < len(MIRRORS):
        raise HwsimError(f"{node}: it must pad each axis but the batch, not by {rows.tolist()}")
    reflects = MIRRORS[number] == "REFLECT"  # without the edge itself
    ops: list[Op] = []
    for axis, (length, (before, after)) in enumerate(zip(shape, rows[1:].tolist(), strict=True)):
        if not 0 <= max(before, after) <= length - reflects or min(before, after) < 0:
            raise HwsimError(f"{node}: it must pad an axis of {length} by less than its length")
        if before or after:
            ahead = range(before - 1 + reflects, reflects - 1, -1)
            behind = range(length - 1 - reflects, length - 1 - reflects - after, -1)
            ops.append(Select(axis=axis, indices=(*ahead, *range(length), *behind)))
    run.give(node, ops, edge)


def strided_slice(run: LiteImporter, node: LiteNode) -> None:
    """STRIDED_SLICE by constants; axes may go, and none may come."""
    given = run.tensor(node, 0)
    edge, rank = run.edge(node), len(given.shape)
    begin, end, step = (whole(run.constant(node, place)) for place in (1, 2, 3))
    masks = node.options
    if masks["ellipsis_mask"] or masks["new_axis_mask"] or masks["offset"]:
        raise HwsimError(f"{node}: it must have no ellipsis, new axis or offset")
    if not len(begin) == len(end) == len(step) <= rank or 0 in step:
        raise HwsimError(f"{node}: it must have a begin, end and step for up to {rank} axes")
    ops: list[Op] = []
    for axis in range(len(begin)):
        length = 1 if axis == 0 else given.shape[axis]
        first = None if masks["begin_mask"] >> axis & 1 else begin[axis]
        last = None if masks["end_mask"] >> axis & 1 else end[axis]
        if masks["shrink_mask"] >> axis & 1:
            place = begin[axis]
            first, last = place, place + 1 or None
        indices = range(length)[first : last : step[axis]]
        if axis == 0 and list(indices) != [0]:
            raise HwsimError(f"{node}: it must take the whole batch")
        if not len(indices):
            raise HwsimError(f"{node}: it must take at least one index of axis {axis}")
        if axis and list(indices) != list(range(length)):
            ops.append(Select(axis=axis - 1, indices=tuple(indices)))
    held = _shape_after(run, edge, ops)
    run.give(node, [*ops, *reshaped(held, run.shape(run.made(node)))], edge)


def slice_(run: LiteImporter, node: LiteNode) -> None:
    """SLICE by constants; a size of -1 takes all that is left."""
    begin, size = whole(run.constant(node, 1)), whole(run.constant(node, 2))
    edge = run.edge(node)
    shape = (1, *run.types[edge].shape)
    if len(begin) != len(shape) or len(size) != len(shape):
        raise HwsimError(f"{node}: it must have a begin and a size for {len(shape)} axes")
    ops: list[Op] = []
    for axis, length in enumerate(shape):
        count = length - begin[axis] if size[axis] == -1 else size[axis]
        if not (begin[axis] >= 0 and 0 < count <= length - begin[axis]):
            raise HwsimError(f"{node}: its slice of axis {axis} must lie within {length} indices")
        if axis and count < length:
            indices = tuple(range(begin[axis], begin[axis] + count))
            ops.append(Select(axis=axis - 1, indices=indices))
    run.give(node, ops, edge)


def gather(run: LiteImporter, node: LiteNode) -> None:
    """GATHER by constant indices."""
    indices = run.constant(node, 1)
    edge, given = run.edge(node), run.tensor(node, 0)
    axis = axis_of(node, int(node.options["axis"]), given)
    length = run.types[edge].shape[axis]
    order = whole(indices)
    if node.options["batch_dims"] or any(not 0 <= index < length for index in order):
        raise HwsimError(f"{node}: its indices must be from 0 to {length - 1}, in no batches")
    ops: list[Op] = [Select(axis=axis, indices=tuple(order))]
    held = _shape_after(run, edge, ops)
    run.give(node, [*ops, *reshaped(held, run.shape(run.made(node)))], edge)


def _shape_after(run: LiteImporter, edge: str, ops: Sequence[Op]) -> tuple[int, ...]:
    kind = run.types[edge]
    for op in ops:
        (kind,) = op.output_types([kind])
    return kind.shape


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
