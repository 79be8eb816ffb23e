"""ArgMax and ArgMin: where along an axis the largest or smallest element is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.frontends.onnx.importer import Importer
from hwsim.frontends.onnx.model import OnnxNode
from hwsim.frontends.shared.arrangement import Arrangement
from hwsim.frontends.shared.settling import level_of
from hwsim.frontends.shared.values import Codes, Real, Scaled, Softmax, Weighing
from hwsim.ops import ArgMax, BatchNorm, Op, Select, Table

NEARLY = (
    "{runtime} adds in float32 ahead of it, so that of sums that are equal but for their last "
    "bits it may take another"
)


def arg_max(run: Importer, node: OnnxNode) -> None:
    """ArgMax or ArgMin along an axis that is not the batch, the first or the last of equals."""
    value = run.value(node, 0)
    layout = value.layout if isinstance(value, Codes) else run.real(node, 0).layout
    rank, axis = len(layout.shape) + 1, node.integer("axis", 0)
    axis = axis + rank if axis < 0 else axis
    if not 1 <= axis < rank:
        raise HwsimError(f"{node}: it must be along an axis that is not the batch, not axis {axis}")
    codes = value if isinstance(value, Codes) else _codes(run, node, run.real(node, 0), axis)
    wanted = Arrangement.innermost(layout.shape, axis - 1)
    held = run.arranged(replace(codes, layout=layout), wanted, node)
    kind = run.types[held.edge]
    count, last = kind.channels, bool(node.integer("select_last_index", 0))
    ops: list[Op] = []
    if node.op == "ArgMin":
        turned = BatchNorm(
            scale=np.full(count, -1), bias=np.zeros(count, np.int64), scale_format=Format.int(2)
        )
        ops.append(replace(turned, quant=kind.quant))
    if last:
        ops.append(Select(axis=len(kind.shape) - 1, indices=tuple(range(count - 1, -1, -1))))
    edge = run.chain(f"{node.name}.turned", held.edge, ops, f"{node.output}.turned")
    edge = run.emit(node.name, ArgMax(), [edge], node.output)
    if last:
        fmt = run.types[edge].format
        places = np.maximum(count - 1 - np.arange(fmt.max + 1), 0)
        edge = run.emit(f"{node.name}.last", Table(values=places, out=fmt), [edge], node.output)
    kind = run.types[edge]
    rest = layout.shape[: axis - 1], layout.shape[axis:]
    shape = (*rest[0], *([1] if node.integer("keepdims", 1) else []), *rest[1])
    found = replace(Arrangement.plain(shape), physical=kind.shape)
    run.values[node.output] = Codes(edge, kind.format, found)


def _codes(run: Importer, node: OnnxNode, real: Real, axis: int) -> Codes:
    """Codes in the order of the reals: of a softmax along the axis those of its input."""
    source = real.source
    if isinstance(source, Softmax) and not real.steps and source.axes == (axis - 1,):
        return _codes(run, node, replace(source.input, layout=real.layout), axis)
    if isinstance(source, Weighing) and not real.steps:
        run.note(node.name, NEARLY)
        ones = np.ones(source.op.outputs)
        real = replace(real, source=Scaled(f"{node.name}.sums", source, ones, 0 * ones))
    return level_of(run, node, real).codes
