"""A Gather of each sample's elements from the whole batch, as one that keeps samples apart.

PyTorch's exporter writes `as_strided` so, as it stands in its average of a map that lies channels
last: a Reshape to one axis, and a Gather with the indices `range(batch) * size + constants`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.frontends.onnx.fused_norms import Readers
from hwsim.frontends.onnx.model import OnnxModel, OnnxNode

Integers = npt.NDArray[Any]


def with_samples_apart(model: OnnxModel) -> OnnxModel:
    """The model with the Reshape to (batch, size), and a Gather along its second axis."""
    graph = Readers(model)
    made: dict[str, OnnxNode] = {}
    constants = dict(model.constants)
    for node in model.nodes:
        if node.op != "Gather" or node.domain or node.integer("axis", 0) != 0:
            continue
        found, flat = _indices(graph, node.input(1)), _flattened(graph, node.input(0))
        if found is None or flat is None:
            continue
        size, offsets = found
        constants[f"{node.output}.offsets"] = offsets
        constants[f"{node.output}.sizes"] = np.array([-1, size])
        made[flat.output] = replace(flat, inputs=(flat.input(0), f"{node.output}.sizes"))
        made[node.output] = replace(
            node,
            inputs=(node.input(0), f"{node.output}.offsets"),
            attributes={**node.attributes, "axis": 1},
        )
    nodes = tuple(made.get(node.output, node) for node in model.nodes)
    return replace(model, nodes=nodes, constants=constants) if made else model


def _flattened(graph: Readers, tensor: str) -> OnnxNode | None:
    """The Reshape to one axis that alone makes what is read, perhaps quantized meanwhile."""
    node = graph.makers.get(tensor)
    while node is not None and len(graph.readers[node.output]) == 1:
        if node.op == "Reshape":
            shape = graph.model.constants.get(node.input(1))
            return node if shape is not None and shape.tolist() == [-1] else None
        if node.op not in ("QuantizeLinear", "DequantizeLinear"):
            return None
        node = graph.makers.get(node.input(0))
    return None


def _indices(graph: Readers, tensor: str) -> tuple[int, Integers] | None:
    """From `range(batch) * size + constants`, the size and the constants of one sample."""
    offsets: Any = np.zeros((), np.int64)
    node = graph.makers.get(tensor)
    while node is not None and node.op in ("Add", "Unsqueeze"):
        if node.op == "Unsqueeze":
            node = graph.makers.get(node.input(0))
            continue
        given = [graph.model.constants.get(name) for name in node.inputs]
        place = next((i for i, array in enumerate(given) if array is not None), None)
        if place is None or given[place] is None:
            return None
        offsets = offsets + given[place]
        node = graph.makers.get(node.inputs[1 - place])
    if node is None or node.op != "Mul" or offsets.ndim < 2 or offsets.shape[0] != 1:
        return None
    numbers = [graph.number(name) for name in node.inputs]
    rows = [graph.makers.get(name) for name in node.inputs]
    if numbers.count(None) != 1:
        return None
    place = numbers.index(None)
    row, size = rows[place], int(numbers[1 - place] or 0)
    counted = row is not None and row.op == "Range" and row.input(1) not in graph.model.constants
    if row is None or not counted or graph.number(row.input(0)) != 0:
        return None
    held = offsets.min() >= 0 and offsets.max() < size
    return (size, offsets[0]) if held and graph.number(row.input(2)) == 1 else None
