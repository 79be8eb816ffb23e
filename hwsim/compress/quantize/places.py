"""Where a float model gets quantizers: tensors that become codes, and layers with weights."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from hwsim.compress.float_model import WEIGHTED, FloatModel

MOVES = (
    "Concat", "DepthToSpace", "Dropout", "Expand", "Flatten", "Gather", "Identity", "MaxPool",
    "Pad", "Reshape", "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze",
)  # fmt: skip
"""Operators that only move codes: what they give has the quantizer of what they take."""

ON_THE_SUM = (
    "Relu", "Clip", "LeakyRelu", "PRelu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Elu",
    "Gelu", "Selu", "Softplus", "BatchNormalization", "Identity", "Dropout",
)  # fmt: skip
"""Functions of one number that follow a sum: the quantizer stands behind them."""


@dataclass(frozen=True, slots=True)
class FloatLayer:
    """A node with weights: its name, their tensors, and the axis of the output channels."""

    name: str
    op: str
    weights: str
    bias: str | None
    axis: int
    input: str
    output: str


@dataclass(frozen=True, slots=True)
class Quantizable:
    """Tensors to quantize, in order, and layers."""

    tensors: tuple[str, ...]
    layers: tuple[FloatLayer, ...]


def places(model: FloatModel) -> Quantizable:
    """What becomes codes: inputs, and whatever a sum or a product reads.

    A quantizer stands behind the functions that follow a sum, and codes are moved as they are.
    The model's outputs stay sums.
    """
    constants = set(model.constants)
    makers = {out: node for node in model.nodes for out in node.output}
    readers = defaultdict(list)
    for node in model.nodes:
        for tensor in node.input:
            readers[tensor].append(node)
    wanted: dict[str, None] = {}

    def ask(tensor: str) -> None:
        maker = makers.get(tensor)
        while maker is not None and maker.op_type in MOVES:
            for one in maker.input:
                if one and one not in constants:
                    ask(one)
            return
        if tensor not in constants:
            wanted[tensor] = None

    layers = []
    for node in model.nodes:
        if node.op_type in MOVES or node.op_type in ON_THE_SUM:
            continue
        for tensor in node.input:
            if tensor and tensor not in constants:
                ask(tensor)
        if node.op_type in WEIGHTED and node.input[1] in constants:
            layers.append(_layer(node))
    order = [*model.inputs, *(out for node in model.nodes for out in node.output)]
    return Quantizable(tuple(t for t in order if t in wanted), tuple(layers))


def _layer(node: Any) -> FloatLayer:
    from onnx import helper

    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    op, inputs = node.op_type, list(node.input)
    axis = {"Conv": 0, "ConvTranspose": 1, "MatMul": 1}.get(
        op, 0 if attributes.get("transB") else 1
    )
    bias = inputs[2] if len(inputs) > 2 and inputs[2] else None
    name = node.name or node.output[0]
    return FloatLayer(name, op, inputs[1], bias, axis, inputs[0], node.output[0])
