"""Slice, Gather, Expand and Tile: indices of axes, in any order and as often as wanted."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.onnx import constants
from hwsim.frontends.onnx.importer import Importer
from hwsim.frontends.onnx.model import OnnxNode
from hwsim.frontends.onnx.shape import BATCH as BATCH_SIZE
from hwsim.frontends.shared import moves
from hwsim.frontends.shared.builder import MAX_ELEMENTS
from hwsim.frontends.shared.values import Codes, Constant, RawInput, Real
from hwsim.ops.base import Shape

BATCH = "it must leave the batch as it is"


def moved(run: Importer, node: OnnxNode) -> Codes | Real:
    """The tensor at a node's first input, which is no constant."""
    value = run.value(node, 0)
    if isinstance(value, Constant):
        raise HwsimError(f"{node}: its input must not be a constant")
    if isinstance(value, RawInput) and not value.dtype.startswith("float"):
        raise HwsimError(
            f"{node}: its input must be reals, or codes behind a QuantizeLinear, not the "
            f"{value.dtype} input {value.name!r}; a DequantizeLinear before it helps"
        )
    return moves.held(run, value)


def taken(
    run: Importer,
    node: OnnxNode,
    value: Codes | Real,
    indices: Sequence[Sequence[int] | None],
    shape: Shape | None = None,
) -> None:
    """The result of a node: indices of each axis, then perhaps another shape of as many elements.

    No more elements than a tensor may have, and at least one.
    """
    lengths = [
        size if each is None else len(each)
        for size, each in zip(value.layout.shape, indices, strict=True)
    ]
    if not all(lengths) or math.prod(lengths) > MAX_ELEMENTS:
        raise HwsimError(
            f"{node}: its result must have from 1 to {MAX_ELEMENTS} elements, not the shape "
            f"{tuple(lengths)}"
        )
    way = moves.selected(value.layout, indices)
    if shape is not None:
        way = moves.Way(way.ops, way.layout.reshaped(shape))
    run.values[node.output] = moves.gone(run, value, way, node.name, node.output)


def cut(run: Importer, node: OnnxNode) -> None:
    """Slice, with steps of either sign."""
    if isinstance(run.value(node, 0), Constant):
        constants.fold(run, node)
        return
    value = moved(run, node)
    shape = value.layout.shape
    rank = len(shape) + 1
    arrays = [
        run.constant(node, i).array if name else None
        for i, name in enumerate(node.inputs[1:], start=1)
    ]
    indices: list[Sequence[int] | None] = [None] * len(shape)
    for axis, wanted in constants.slices(node, arrays):
        if not -rank <= axis < rank or wanted.step == 0:
            raise HwsimError(
                f"{node}: its axes must lie in a tensor of rank {rank} and its steps not be 0, not "
                f"axis {axis} with step {wanted.step}"
            )
        place = axis % rank - 1
        if place < 0:
            if not is_all(wanted, run.model.batch):
                raise HwsimError(f"{node}: {BATCH}, not take {wanted.start} to {wanted.stop} of it")
            continue
        if indices[place] is not None:
            raise HwsimError(f"{node}: its axes must each be given once, not {axis} twice")
        indices[place] = range(*wanted.indices(shape[place]))
    taken(run, node, value, indices)


def is_all(wanted: slice, batch: int | None) -> bool:
    """Whether a slice takes all of the batch."""
    most = 1 << 31 if batch is None else batch  # what exporters write for "to the end" is more
    return bool(wanted.step == 1 and wanted.start == 0 and wanted.stop >= min(most, (1 << 31) - 1))


def gather(run: Importer, node: OnnxNode) -> None:
    """Gather by constant indices, of any rank."""
    if isinstance(run.value(node, 0), Constant):
        if not isinstance(run.value(node, 1), Constant):
            raise HwsimError(
                f"{node}: its indices {node.input(1)!r} must be constant; a table that is looked "
                "up by an input (an embedding) can be looked up outside of the model"
            )
        constants.fold(run, node)
        return
    if not isinstance(run.value(node, 1), Constant):
        raise HwsimError(f"{node}: its indices {node.input(1)!r} must be constant")
    value, places = moved(run, node), run.constant(node, 1).array
    shape = value.layout.shape
    rank, axis = len(shape) + 1, node.integer("axis", 0)
    if not -rank <= axis < rank or axis % rank == 0:
        raise HwsimError(
            f"{node}: 'axis' must be one of a tensor of rank {rank} and not the batch, not {axis}"
        )
    place = axis % rank - 1
    length = shape[place]
    if places.dtype.kind not in "iu" or (places < -length).any() or (places >= length).any():
        raise HwsimError(
            f"{node}: its indices must be whole numbers from {-length} to {length - 1}, not "
            f"{places.ravel()[:4].tolist()}"
        )
    indices: list[Sequence[int] | None] = [None] * len(shape)
    indices[place] = (places.astype(np.int64) % length).ravel().tolist()
    taken(run, node, value, indices, (*shape[:place], *places.shape, *shape[place + 1 :]))


def expand(run: Importer, node: OnnxNode) -> None:
    """Expand: axes of length 1 are repeated, and others come before them."""
    wanted = [int(size) for size in run.constant(node, 1).array.ravel()]
    given = run.value(node, 0)
    if isinstance(given, Constant):
        wanted = _for_each_sample(wanted)
        shape = np.broadcast_shapes(given.array.shape, tuple(wanted))
        _check_size(node, shape)
        run.values[node.output] = constants.mapped(given, lambda x: np.broadcast_to(x, shape))
        return
    value = moved(run, node)
    old = value.layout.shape
    if len(wanted) > len(old) + 1:
        raise HwsimError(
            f"{node}: {BATCH}, the first axis, not bring other axes before it by the shape {wanted}"
        )
    wanted = [1] * (len(old) + 1 - len(wanted)) + wanted
    if wanted[0] not in (1, -1, run.model.batch):
        raise HwsimError(f"{node}: {BATCH}, not repeat it by the shape {wanted}")
    if any(a != b and 1 not in (a, b) for a, b in zip(old, wanted[1:], strict=True)):
        raise HwsimError(f"{node}: its input of shape {old} must broadcast to {tuple(wanted[1:])}")
    sizes = zip(old, wanted[1:], strict=True)
    taken(run, node, value, [[0] * new if size == 1 and new > 1 else None for size, new in sizes])


def tile(run: Importer, node: OnnxNode) -> None:
    """Tile: each axis several times, one after the other."""
    repeats = [int(count) for count in run.constant(node, 1).array.ravel()]
    given = run.value(node, 0)
    if isinstance(given, Constant):
        repeats = _for_each_sample(repeats)
        _check_size(node, tuple(s * n for s, n in zip(given.array.shape, repeats, strict=True)))
        run.values[node.output] = constants.mapped(given, lambda x: np.tile(x, repeats))
        return
    value = moved(run, node)
    shape = value.layout.shape
    if len(repeats) != len(shape) + 1 or min(repeats) < 1:
        raise HwsimError(
            f"{node}: its repeats must be {len(shape) + 1} numbers from 1, not {repeats}"
        )
    if repeats[0] != 1:
        raise HwsimError(f"{node}: {BATCH}, not repeat it {repeats[0]} times")
    sizes = list(zip(shape, repeats[1:], strict=True))
    _check_size(node, tuple(size * count for size, count in sizes))
    taken(run, node, value, [[*range(size)] * n if n > 1 else None for size, n in sizes])


def _for_each_sample(sizes: list[int]) -> list[int]:
    """Sizes or repeats of a constant, which is the same for all that the first axis counts."""
    return [1, *sizes[1:]] if sizes[:1] == [BATCH_SIZE] else sizes


def _check_size(node: OnnxNode, shape: Shape) -> None:
    if min(shape, default=1) < 1 or math.prod(shape) > MAX_ELEMENTS:
        raise HwsimError(
            f"{node}: its result must have from 1 to {MAX_ELEMENTS} elements, not the shape {shape}"
        )
