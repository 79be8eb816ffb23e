"""ReduceMax, ReduceMin, ReduceSum and ReduceMean along any axes but the batch."""

from __future__ import annotations

from dataclasses import replace

from hwsim.errors import HwsimError
from hwsim.frontends.onnx import pool
from hwsim.frontends.onnx.importer import Importer
from hwsim.frontends.onnx.model import OnnxNode
from hwsim.frontends.onnx.shape import axes, layout_of
from hwsim.frontends.shared.arrangement import Arrangement
from hwsim.frontends.shared.settling import level_of
from hwsim.frontends.shared.values import NO_PADDING, Codes, Level, Real, Total
from hwsim.ops import Reduce, Reduction
from hwsim.ops.base import Shape

LARGEST = {"ReduceMax": Reduction.MAX, "ReduceMin": Reduction.MIN}


def reduce_axes(run: Importer, node: OnnxNode, rank: int) -> tuple[int, ...]:
    """The axes, counted from 0 with the batch; none where an empty list means nothing."""
    given = tuple(sorted(set(axes(node, run, rank))))
    if not given and not node.integer("noop_with_empty_axes", 0):
        given = tuple(range(rank))
    if 0 in given:
        raise HwsimError(
            f"{node}: it must be along axes that are not the batch, not along {list(given)} of "
            f"{rank} axes"
        )
    return given


def reduced(run: Importer, node: OnnxNode) -> None:
    """ReduceMax or ReduceMin, of codes or of floats."""
    value = run.value(node, 0)
    whole = isinstance(value, Codes)
    real = None if whole else run.real(node, 0)
    held = value if isinstance(value, Codes) else level_of(run, node, run.real(node, 0)).codes
    held = replace(held, layout=layout_of(value, node))
    along = reduce_axes(run, node, len(held.layout.shape) + 1)
    if not along:
        run.values[node.output] = value
        return
    held, places, layout = laid(run, node, held, along)
    op = Reduce(reduction=LARGEST[node.op], axes=places)
    edge = run.emit(node.name, op, [held.edge], node.output)
    codes = replace(held, edge=edge, layout=layout)
    if real is None:
        run.values[node.output] = codes
        return
    level = level_of(run, node, real)
    run.values[node.output] = Real(replace(level, codes=codes), layout)


def summed(run: Importer, node: OnnxNode) -> None:
    """ReduceSum or ReduceMean; the mean of a whole map is that of a global pool."""
    real = run.real(node, 0)
    rank = len(real.layout.shape) + 1
    along = reduce_axes(run, node, rank)
    if not along:
        run.values[node.output] = real
        return
    if node.op == "ReduceMean" and rank in (3, 4) and along == tuple(range(2, rank)):
        pool.reduce_mean(run, node)
        return
    level = level_of(run, node, real)
    held, places, layout = laid(run, node, replace(level.codes, layout=real.layout), along)
    level = Level(held, level.scale, level.zero_point)
    inner = len(real.layout.shape) - 1  # of a map, whose channels the runtime meets first
    ordered = held.layout.walk.is_plain or inner not in places or len(places) == 1
    in_turn = run.in_turn and ordered
    source = Total(node.name, node.output, level, places, node.op == "ReduceMean", in_turn)
    run.values[node.output] = Real(source, layout)


def laid(
    run: Importer, node: OnnxNode, codes: Codes, along: tuple[int, ...]
) -> tuple[Codes, tuple[int, ...], Arrangement]:
    """Codes in the order of a map or of the model, the edge's axes, and what the result looks like.

    `along` counts with the batch.
    """
    if codes.padding != NO_PADDING:
        raise HwsimError(f"{node}: a Pad must be followed by a convolution")
    shape = codes.layout.shape
    lying = Arrangement.map if codes.layout.same(Arrangement.map(shape)) else Arrangement.plain
    codes = run.arranged(codes, lying(shape), node)
    model_axes = tuple(axis - 1 for axis in along)
    turned = (*range(1, len(shape)), 0) if lying == Arrangement.map else range(len(shape))
    places = tuple(place for place, axis in enumerate(turned) if axis in model_axes)
    ones = tuple(1 if axis in model_axes else size for axis, size in enumerate(shape))
    layout = lying(ones)
    if not node.integer("keepdims", 1):
        layout = layout.reshaped(without(shape, model_axes))
    return codes, places, layout


def without(shape: Shape, gone: tuple[int, ...]) -> Shape:
    """The shape without some axes."""
    return tuple(size for axis, size in enumerate(shape) if axis not in gone)
