"""Who makes a tensor of a model and who reads it, which decides what the plugin fuses."""

from __future__ import annotations

from hwsim.frontends.onnx.importer import Importer
from hwsim.frontends.onnx.model import OnnxNode
from hwsim.frontends.shared.values import RawInput, Real

QUANTIZERS = ("FakeQuantize", "QuantizeLinear")


MOVING = (
    "Concat", "DepthToSpace", "Flatten", "Gather", "MaxPool", "Pad", "Relu", "Reshape", "Resize",
    "Slice", "SpaceToDepth", "Split", "Squeeze", "Transpose", "Unsqueeze",
)  # fmt: skip
"""Operators that leave codes as they are."""


MOVED_OVER = ("Concat", "Transpose")
"""Operators ahead of which the plugin moves a quantizer."""


def only_reader(run: Importer, name: str) -> OnnxNode | None:
    """The only node that reads a tensor; None where there are several, or the user reads it."""
    readers = [other for other in run.model.nodes if name in other.inputs]
    shown = any(port.name == name for port in run.model.outputs)
    return readers[0] if len(readers) == 1 and not shown else None


def maker_of(run: Importer, name: str) -> str:
    """The operator that makes a tensor."""
    return next((other.op for other in run.model.nodes if name in other.outputs), "")


def takes_int8(run: Importer, node: OnnxNode) -> bool:
    """Whether the plugin may take int8: convolutions behind a quantizer want uint8."""
    reached = [node.output]
    for other in run.model.nodes:
        if not set(other.inputs) & set(reached):
            continue
        if other.op == "Conv":
            return False
        if other.op in MOVING:
            reached += other.outputs
    return True


def shown_only(run: Importer, node: OnnxNode) -> bool:
    """Whether nothing but the model's user reads what a node makes."""
    read = any(node.output in other.inputs for other in run.model.nodes)
    return not read and any(port.name == node.output for port in run.model.outputs)


def full_path(run: Importer, node: OnnxNode) -> int:
    """Which of two tensors the plugin brings to the codes of the other before it adds them."""
    makers = {name: other for other in run.model.nodes for name in other.outputs}
    behind = [makers.get(name) for name in node.inputs]
    quantized = [maker is not None and maker.op in QUANTIZERS for maker in behind]
    if quantized[0] != quantized[1]:
        return 0 if quantized[0] else 1
    readers = [sum(name in other.inputs for other in run.model.nodes) for name in node.inputs]
    if all(quantized) and min(readers) == 1 < max(readers):
        return readers.index(1)
    parents = [_parent(makers, maker) for maker in behind]
    layers = [maker is not None and maker.op in LAYERS for maker in parents]
    if min(readers) == 1 < max(readers):
        return readers.index(1)
    return layers.index(True) if layers[0] != layers[1] else 0


LAYERS = ("Conv", "MatMul")


def _parent(makers: dict[str, OnnxNode], node: OnnxNode | None) -> OnnxNode | None:
    """What a quantizer reads, through a bias and a ReLU."""
    while node is not None and node.op in (*QUANTIZERS, "Add", "Relu"):
        node = makers.get(node.inputs[0])
    return node


def goes_on(run: Importer, node: OnnxNode) -> bool:
    """Whether a layer's sum is used as it is, by no quantizer and not at the end."""
    reached, constants = [node.output], run.model.constants
    for other in run.model.nodes:
        if not set(other.inputs) & set(reached):
            continue
        if other.op in QUANTIZERS:
            return False
        weighs = other.op in (*LAYERS, "ConvTranspose")
        if not weighs and all(name in reached or name in constants for name in other.inputs):
            reached += other.outputs
    ends = {port.name for port in run.model.outputs}
    read = any(set(other.inputs) & set(reached) for other in run.model.nodes)
    return read and not ends & set(reached)


def computed_input(run: Importer, node: OnnxNode) -> str:
    """The first input of a node that is no constant; an empty name where all are."""
    names = (name for name in node.inputs if name)
    return next((n for n in names if isinstance(run.values.get(n), Real | RawInput)), "")
