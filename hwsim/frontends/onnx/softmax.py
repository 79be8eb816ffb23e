"""Softmax and LogSoftmax: along one axis, or from opset 12 down along all from one on."""

from __future__ import annotations

import math
from dataclasses import replace

from hwsim.errors import HwsimError
from hwsim.frontends.onnx.importer import Importer
from hwsim.frontends.onnx.model import OnnxNode
from hwsim.frontends.onnx.ort.kernels import RuntimeKernel
from hwsim.frontends.shared.arrangement import Arrangement
from hwsim.frontends.shared.values import Real, Softmax
from hwsim.ops.base import Shape

ONE_AXIS = 13  # the opset from which a softmax is along one axis


def softmax(run: Importer, node: OnnxNode) -> None:
    """Softmax or LogSoftmax of a float tensor, which something quantizes later or nothing does."""
    real = run.real(node, 0)
    axes = softmax_axes(node, len(real.layout.shape) + 1, run.model.opset)
    run.values[node.output] = of_rows(run, node, real, axes)


def of_rows(run: Importer, node: OnnxNode, real: Real, axes: tuple[int, ...]) -> Real:
    """A softmax still to come, with the layout that it leaves where it is computed of codes."""
    whole = run.choice(node.output).kernel is RuntimeKernel.INTEGER
    layout = _rows_innermost(real.layout.shape, axes)
    log = node.op == "LogSoftmax"
    return Real(Softmax(node.name, node.output, real, axes, layout, log, whole), layout)


def _rows_innermost(shape: Shape, axes: tuple[int, ...]) -> Arrangement:
    if len(axes) == 1:
        return Arrangement.innermost(shape, axes[0])
    physical = (*shape[: axes[0]], math.prod(shape[axes[0] :]))
    return replace(Arrangement.plain(shape), physical=physical)


def softmax_axes(node: OnnxNode, rank: int, opset: int) -> tuple[int, ...]:
    """The axes whose elements are one row, counted from 0 without the batch."""
    one = opset >= ONE_AXIS
    axis = node.integer("axis", -1 if one else 1)
    axis = axis + rank if axis < 0 else axis
    if not 1 <= axis < rank:
        raise HwsimError(
            f"{node}: it must be along an axis that is not the batch, not along axis {axis} of "
            f"{rank} axes"
        )
    return (axis - 1,) if one else tuple(range(axis - 1, rank - 1))
