"""Quantizers of unlike ranges that a Concat or Split ties to a convolution: it wants one scale."""

from __future__ import annotations

from hwsim.frontends.onnx.importer import Importer
from hwsim.frontends.onnx.model import OnnxNode
from hwsim.frontends.openvino.announcements import ALIGNED
from hwsim.frontends.openvino.readers import MOVING

TYING = ("Concat", "Split")


def note_aligned(run: Importer, node: OnnxNode) -> None:
    """Say it of a convolution that reads what moves codes of quantizers that differ."""
    movers = [other for other in run.model.nodes if other.op in MOVING]
    tied = [other for other in movers if node.inputs[0] in other.outputs]
    for one in tied:  # which grows
        tied += [other for other in movers if other not in tied and _touch(run, one, other)]
    read = {name for one in tied for name in one.inputs}
    ranges = {
        tuple(run.constant(other, place).array.tobytes() for place in (3, 4))
        for other in run.model.nodes
        if other.op == "FakeQuantize" and set(other.outputs) & read
    }
    if len(ranges) > 1 and any(one.op in TYING for one in tied):
        run.warn(node.name, ALIGNED)


def _touch(run: Importer, one: OnnxNode, other: OnnxNode) -> bool:
    """Whether one of two nodes reads what the other makes, or both read the same."""
    tensors = [
        {name for name in (*node.inputs, *node.outputs) if name not in run.model.constants}
        for node in (one, other)
    ]
    return bool(tensors[0] & tensors[1] - {""})
