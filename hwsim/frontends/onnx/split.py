"""Split: parts of a tensor along an axis, which only move codes."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from operator import itemgetter

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.onnx.constants import mapped
from hwsim.frontends.onnx.importer import Importer
from hwsim.frontends.onnx.model import OnnxNode
from hwsim.frontends.shared.arrangement import Arrangement
from hwsim.frontends.shared.settling import level_of
from hwsim.frontends.shared.values import NO_PADDING, Codes, Constant, Level, Real
from hwsim.ops import Split
from hwsim.ops.base import Shape


def split(run: Importer, node: OnnxNode) -> None:
    """Split of codes, of what they mean, or of a constant, along any axis but the batch."""
    value = run.value(node, 0)
    if isinstance(value, Constant):
        _split_constant(run, node, value)
        return
    level = None if isinstance(value, Codes) else level_of(run, node, run.real(node, 0))
    codes = value if isinstance(value, Codes) else _codes(level, run.real(node, 0))
    shape = codes.layout.shape
    axis = _axis(node, len(shape) + 1) - 1
    if axis < 0:
        raise HwsimError(f"{node}: its axis must not be the batch")
    if codes.padding != NO_PADDING:
        raise HwsimError(f"{node}: a Pad must be followed by a convolution")
    sizes = _sizes(run, node, shape[axis])
    last = not codes.layout.same(Arrangement.plain(shape))  # channels last, where a map can be so
    lying = Arrangement.map if last else Arrangement.plain
    codes = run.arranged(codes, lying(shape), node)
    place = (axis - 1) % len(shape) if last else axis
    names = [name or f"{node.name}.{k}" for k, name in enumerate(node.outputs)]
    edges = run.emit_all(node.name, Split(axis=place, sizes=sizes), [codes.edge], names)
    for name, edge, size in zip(node.outputs, edges, sizes, strict=True):
        part = Codes(edge, codes.format, lying(_with_size(shape, axis, size)))
        if name:
            whole = None if level is None else replace(level, codes=part)
            run.values[name] = part if whole is None else Real(whole, part.layout)


def _codes(level: Level | None, real: Real) -> Codes:
    assert level is not None
    return replace(level.codes, layout=real.layout)


def _split_constant(run: Importer, node: OnnxNode, value: Constant) -> None:
    axis = _axis(node, value.array.ndim)
    ends = np.cumsum([0, *_sizes(run, node, value.array.shape[axis])]).tolist()
    for name, (start, end) in zip(node.outputs, pairwise(ends), strict=True):
        cut = (slice(None),) * axis + (slice(start, end),)
        run.values[name] = mapped(value, itemgetter(cut))


def _axis(node: OnnxNode, rank: int) -> int:
    given = node.integer("axis", 0)
    if not -rank <= given < rank:
        raise HwsimError(f"{node}: 'axis' must lie in a tensor of rank {rank}, not {given}")
    return given % rank


def _sizes(run: Importer, node: OnnxNode, length: int) -> tuple[int, ...]:
    """As given by an attribute or the second input; or alike, the last one with what is left."""
    count = len(node.outputs)
    sizes = node.integers("split")
    if node.input(1):
        sizes = tuple(int(size) for size in run.constant(node, 1).array.ravel())
    if not sizes:
        each = -(-length // count)
        sizes = (*[each] * (count - 1), length - each * (count - 1))
    if len(sizes) != count or min(sizes) < 1 or sum(sizes) != length:
        raise HwsimError(
            f"{node}: its {count} parts must be 1 or more long and make up {length}, not {sizes}"
        )
    return sizes


def _with_size(shape: Shape, axis: int, size: int) -> Shape:
    return (*shape[:axis], size, *shape[axis + 1 :])
