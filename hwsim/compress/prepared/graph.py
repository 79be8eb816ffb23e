"""A float ONNX graph while it is changed: its nodes, constants and shapes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


class ChangedGraph:
    """Nodes and constants while they are changed."""

    def __init__(self, proto: Any) -> None:
        from onnx import numpy_helper

        self.proto = proto
        self.nodes: list[Any] = list(proto.graph.node)
        self.constants = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
        self.shapes = {
            info.name: [dim.dim_value for dim in info.type.tensor_type.shape.dim]
            for info in (*proto.graph.value_info, *proto.graph.input, *proto.graph.output)
            if info.type.tensor_type.HasField("shape")
        }
        self.ranks = {name: len(shape) for name, shape in self.shapes.items()}

    def write(self) -> None:
        """Put nodes and constants back; what nothing reads any more is left out."""
        from onnx import numpy_helper

        graph = self.proto.graph
        used = {port.name for port in graph.output}
        needed = []
        for node in reversed(self.nodes):
            if not used.isdisjoint(node.output):
                needed.append(node)
                used.update(node.input)
        self.nodes = needed[::-1]
        nodes = [type(node).FromString(node.SerializeToString()) for node in self.nodes]
        graph.ClearField("node")
        graph.node.extend(nodes)
        graph.ClearField("initializer")
        graph.initializer.extend(
            numpy_helper.from_array(array, name)
            for name, array in self.constants.items()
            if name in used
        )

    def maker(self, tensor: str) -> Any:
        """The node that gives a tensor, or None."""
        return next((node for node in self.nodes if tensor in node.output), None)

    def own(self, layer: Any, out: str) -> bool:
        """Whether a layer's constants are its own and only one node reads what it gives."""
        return self.plain(layer) and self.read_once(out)

    def plain(self, layer: Any) -> bool:
        """Whether a layer has constants that no other node reads, and no factors of its own."""
        if layer.op_type not in LAYERS:
            return False
        readers = self.readers()
        held = [name for name in layer.input[1:] if name]
        factors = [attribute(layer, name, 1.0) for name in ("alpha", "beta")]
        return (
            all(name in self.constants and readers[name] == 1 for name in held)
            and factors == [1.0, 1.0]
            and not attribute(layer, "transA", 0)
        )

    def read_once(self, tensor: str) -> bool:
        """Whether one node reads a tensor, and no output is it."""
        shown = {port.name for port in self.proto.graph.output}
        return tensor not in shown and self.readers()[tensor] == 1

    def readers(self) -> Counter[str]:
        """How often each tensor is read."""
        return Counter(name for node in self.nodes for name in node.input)

    def bias(self, layer: Any) -> Array | None:
        """A layer's biases in float64, if it has any."""
        if len(layer.input) < 3 or not layer.input[2]:
            return None
        return np.asarray(self.constants[layer.input[2]].astype(np.float64))

    def set(self, layer: Any, place: int, values: Array) -> None:
        """Give a layer new constants under the name of the old ones, or one of its own."""
        if place < len(layer.input) and layer.input[place]:
            name = layer.input[place]
        else:
            name = f"{layer.output[0]}.bias"
            layer.input.extend([""] * (place - len(layer.input)) + [name])
        self.constants[name] = values.astype(np.float32)

    def channels(self, layer: Any) -> int:
        """How many outputs a layer has."""
        return int(self.constants[layer.input[1]].shape[out_axis(layer)])

    def scale(self, layer: Any, factor: Array) -> None:
        """Multiply what a layer gives by a factor a channel."""
        weights = self.constants[layer.input[1]]
        shape = [1] * weights.ndim
        shape[out_axis(layer)] = -1
        self.set(layer, 1, weights * factor.reshape(shape))


def out_axis(layer: Any) -> int:
    """The axis of a layer's weights that its outputs are on."""
    if layer.op_type in ("ConvTranspose", "MatMul"):
        return 1
    return 0 if layer.op_type == "Conv" or attribute(layer, "transB", 0) else 1


def attribute(node: Any, name: str, default: Any) -> Any:
    """A node's attribute, or what it is without one."""
    from onnx import helper

    found = [helper.get_attribute_value(a) for a in node.attribute if a.name == name]
    return found[0] if found else default
