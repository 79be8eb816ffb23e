"""A LayerNormalization that an exporter wrote as its parts, as the one node that it is.

Exporters of opset 16 and below write mean, difference, square, mean, offset, root and quotient, and
then a factor and an offset; ONNX Runtime makes the same node of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.frontends.onnx.model import OnnxModel, OnnxNode


def with_norms(model: OnnxModel) -> OnnxModel:
    """The model with a LayerNormalization for each group of nodes that computes one."""
    graph = Readers(model)
    gone: set[str] = set()
    made: dict[str, OnnxNode] = {}
    for node in model.nodes:
        found = _norm(graph, node) if node.op == "Div" and not node.domain else None
        if found is not None:
            made[found.last] = found.node
            gone |= found.gone
    if not made:
        return model
    nodes = [made.get(node.output, node) for node in model.nodes]
    kept = tuple(node for node in nodes if node.output not in gone)
    return replace(model, nodes=kept)


@dataclass(frozen=True, slots=True)
class Found:
    """The node in place of a group: of the one that makes `last`, and of all that make `gone`."""

    node: OnnxNode
    last: str
    gone: frozenset[str]


class Readers:
    """Who makes and who reads each tensor of a model."""

    def __init__(self, model: OnnxModel) -> None:
        self.model = model
        self.makers = {out: node for node in model.nodes for out in node.outputs if out}
        self.outputs = {port.name for port in model.outputs}
        self.readers: dict[str, list[OnnxNode]] = {}
        for node in model.nodes:
            for name in filter(None, node.inputs):
                self.readers.setdefault(name, []).append(node)

    def made_by(self, tensor: str, op: str, readers: int = 1) -> OnnxNode | None:
        """The node of that operator that makes a tensor which so many others read, and no port."""
        node = self.makers.get(tensor)
        alone = len(self.readers.get(tensor, [])) == readers and tensor not in self.outputs
        return node if node is not None and node.op == op and not node.domain and alone else None

    def constant(self, tensor: str) -> npt.NDArray[Any] | None:
        """A constant, given or behind a DequantizeLinear."""
        found = self.model.constants.get(tensor)
        maker = self.makers.get(tensor)
        if found is None and maker is not None and maker.op == "DequantizeLinear":
            found = self.model.constants.get(maker.input(0))
        return found

    def number(self, tensor: str) -> float | None:
        """A constant of one element."""
        found = self.model.constants.get(tensor)
        return float(found.reshape(-1)[0]) if found is not None and found.size == 1 else None

    def mean_of(self, tensor: str) -> OnnxNode | None:
        """The node that averages along the last axis, which stays, and makes a tensor."""
        node = self.made_by(tensor, "ReduceMean")
        if node is None or not node.integer("keepdims", 1):
            return None
        given = self.model.constants.get(node.input(1))
        axes = node.integers("axes") if given is None else tuple(int(a) for a in given.ravel())
        return node if axes == (-1,) else None

    def behind(self, tensor: str, op: str) -> Iterator[tuple[OnnxNode, str]]:
        """The one reader of a tensor, of that operator, and its other input, if it is constant."""
        readers = self.readers.get(tensor, [])
        if len(readers) == 1 and readers[0].op == op and tensor not in self.outputs:
            inputs = readers[0].inputs
            other = inputs[1] if inputs[0] == tensor else inputs[0]
            if self.constant(other) is not None and inputs[0] != inputs[1]:
                yield readers[0], other


def _norm(graph: Readers, quotient: OnnxNode) -> Found | None:
    """The normalization that ends in a Div, or in a Mul and an Add behind it."""
    root = graph.made_by(quotient.input(1), "Sqrt")
    shifted = graph.made_by(root.input(0), "Add") if root is not None else None
    if root is None or shifted is None:
        return None
    numbers = [graph.number(name) for name in shifted.inputs]
    if numbers.count(None) != 1:
        return None
    epsilon = next(number for number in numbers if number is not None)
    variance = graph.mean_of(shifted.inputs[numbers.index(None)])
    square = _square(graph, variance.input(0), quotient.input(0)) if variance is not None else None
    if variance is None or square is None:
        return None
    difference = graph.makers.get(quotient.input(0))
    if difference is None or difference.op != "Sub":
        return None
    mean = graph.mean_of(difference.input(1))
    if mean is None or mean.input(0) != difference.input(0):
        return None
    last, names = quotient.output, [mean.input(0), "", ""]
    gone = {n.output for n in (root, shifted, variance, square, difference, mean)}
    for op, place in (("Mul", 1), ("Add", 2)):
        for reader, constant in graph.behind(last, op):
            gone.add(last)
            last, names[place] = reader.output, constant
    node = OnnxNode(
        name=quotient.name,
        op="LayerNormalization",
        domain="",
        inputs=tuple(names),
        outputs=(last,),
        attributes={"axis": -1, "epsilon": float(np.float32(epsilon))},
    )
    return Found(node, last, frozenset(gone))


def _square(graph: Readers, tensor: str, base: str) -> OnnxNode | None:
    """The node that makes a tensor as the square of another, which a quotient reads too."""
    power = graph.made_by(tensor, "Pow")
    if power is not None and power.input(0) == base and graph.number(power.input(1)) == 2:
        return power if len(graph.readers[base]) == 2 else None
    product = graph.made_by(tensor, "Mul")
    if product is not None and product.inputs == (base, base):
        return product if len(graph.readers[base]) == 3 else None
    return None
