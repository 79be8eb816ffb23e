"""QONNX's operators with the channels last: ONNX's own, between two transposes."""

from __future__ import annotations

from dataclasses import replace

from hwsim.errors import HwsimError
from hwsim.frontends.onnx.constants import mapped
from hwsim.frontends.onnx.handlers import FLOAT_HANDLERS
from hwsim.frontends.onnx.importer import Handler, Importer
from hwsim.frontends.onnx.model import OnnxNode
from hwsim.frontends.onnx.shape import layout_of, relaid
from hwsim.frontends.shared.values import Constant, Value

WRAPPED = ("Conv", "MaxPool", "BatchNormalization")


def moved(node: OnnxNode, value: Value, *, first: bool) -> Value:
    """A tensor with its channels first (after the batch) or last."""
    rank = len(layout_of(value, node).shape)
    if rank < 1:
        raise HwsimError(f"{node}: its input must have channels")
    axes = (rank - 1, *range(rank - 1)) if first else (*range(1, rank), 0)
    return relaid(value, lambda old: old.transposed(axes))


def between_transposes(run: Importer, node: OnnxNode) -> None:
    """Conv, MaxPool and BatchNormalization of `qonnx.custom_op.channels_last`, and MaxPoolNHWC."""
    op = "MaxPool" if node.op == "MaxPoolNHWC" else node.op
    names = [f"{name} ({node.name})" for name in (node.input(0), node.output)]
    run.values[names[0]] = moved(node, run.value(node, 0), first=True)
    inputs = [names[0], *node.inputs[1:]]
    if op == "Conv":
        weights = run.constant(node, 1)
        last = f"{node.input(1)} ({node.name})"
        run.values[last] = _weights(weights)
        inputs[1] = last
    inner = replace(node, op=op, domain="", inputs=tuple(inputs), outputs=(names[1],))
    FLOAT_HANDLERS["", op](run, inner)
    run.values[node.output] = moved(node, run.values[names[1]], first=False)


def _weights(value: Constant) -> Constant:
    """(outputs, kernel axes, inputs) as (outputs, inputs, kernel axes)."""
    rank = value.array.ndim
    order = (0, rank - 1, *range(1, rank - 1))
    return mapped(value, lambda array: array.transpose(order))


HANDLERS: dict[tuple[str, str], Handler] = {
    ("qonnx.custom_op.channels_last", op): between_transposes for op in WRAPPED
}
