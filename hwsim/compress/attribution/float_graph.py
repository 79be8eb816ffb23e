"""A float model as a graph of tensors: what a tensor is made of, and the part between some."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.compress.float_model import WEIGHTED, FloatModel


@dataclass(frozen=True, slots=True, eq=False)
class FloatWeights:
    """Weights and bias of a float layer; no bias is None, and so is one that nobody knows."""

    tensor: str
    weights: npt.NDArray[Any]
    bias: npt.NDArray[np.float64] | None


class FloatGraph:
    """Nodes of a float model by what they make; constants are no tensors."""

    def __init__(self, model: FloatModel) -> None:
        self.model, self.constants = model, model.constants
        self.makers = {name: node for node in model.nodes for name in node.output if name}
        self.tensors = (*model.inputs, *self.makers)
        alone = {node.name: node.output[0] for node in model.nodes if len(node.output) == 1}
        self.names = {**alone, **{name: name for name in self.tensors}}
        """Tensors by their names, and by those of the nodes that make them."""
        self._readers: dict[str, list[Any]] = defaultdict(list)
        for node in model.nodes:
            for name in node.input:
                self._readers[name].append(node)

    def leaves(self, targets: Collection[str], stops: Collection[str]) -> tuple[str, ...]:
        """What targets are computed from, going back no further than `stops`, in order."""
        return tuple(self._back(targets, stops)[0])

    def part(self, targets: Sequence[str], stops: Collection[str]) -> FloatModel:
        """The part between tensors as a model of its own: its inputs are the leaves."""
        import onnx

        leaves, nodes = self._back(targets, stops)
        proto = onnx.ModelProto()
        proto.CopyFrom(self.model.proto)
        graph = proto.graph
        ports = {port.name: port for port in self.model.proto.graph.input}
        for name in ("node", "input", "output", "value_info"):
            graph.ClearField(name)
        for node in self.model.nodes:
            if node.output[0] in nodes:
                graph.node.append(node)
                # One of several outputs may be given while another one is computed.
                kept = [f"{name}.computed" if name in leaves else name for name in node.output]
                graph.node[-1].output[:] = kept
        graph.input.extend(ports.get(name) or _free(name) for name in leaves)
        graph.output.extend(onnx.ValueInfoProto(name=name) for name in targets)
        read = {name for node in graph.node for name in node.input}
        held = [one for one in self.model.proto.graph.initializer if one.name in read]
        graph.ClearField("initializer")
        graph.initializer.extend(held)
        return FloatModel(self.model.path, proto)

    def weights_of(self, tensor: str) -> FloatWeights | None:
        """Of the layer whose sums, with the bias, a tensor is; None where it is none."""
        maker = self.makers.get(tensor)
        if maker is None:
            return None
        if maker.op_type in WEIGHTED:
            return self._of_layer(tensor, maker)
        if maker.op_type != "Add":
            return None
        for source, added in (maker.input, reversed(maker.input)):
            before = self.makers.get(source)
            if added in self.constants and before is not None and before.op_type == "MatMul":
                found = self._of_layer(tensor, before)
                bias = np.asarray(self.constants[added], np.float64)
                return found and FloatWeights(tensor, found.weights, bias.reshape(-1))
        return None

    def biased(self, tensor: str) -> str:
        """What a constant that is added to a product alone makes of it, or the tensor itself."""
        readers = self._readers[tensor]
        if len(readers) != 1 or readers[0].op_type != "Add" or tensor in self.model.outputs:
            return tensor
        behind = str(readers[0].output[0])
        return tensor if self.weights_of(behind) is None else behind

    def rectified(self, tensor: str) -> str | None:
        """What a ReLU, or a Clip from 0, makes of a tensor that nothing else reads."""
        readers = self._readers[tensor]
        if len(readers) != 1 or tensor in self.model.outputs:
            return None
        (node,) = readers
        low = [self.constants.get(name) for name in node.input[1:2]]
        low += [np.asarray(a.f) for a in node.attribute if a.name == "min"]
        clip = node.op_type == "Clip" and any(one is not None and not one.any() for one in low)
        return str(node.output[0]) if node.op_type == "Relu" or clip else None

    def _of_layer(self, tensor: str, node: Any) -> FloatWeights | None:
        if node.input[1] not in self.constants:
            return None
        bias = None
        if len(node.input) > 2 and node.input[2] in self.constants:
            bias = np.asarray(self.constants[node.input[2]], np.float64).reshape(-1)
            factors = [a.f for a in node.attribute if a.name == "beta"]
            bias = bias * (factors[0] if factors else 1.0)
        return FloatWeights(tensor, self.constants[node.input[1]], bias)

    def _back(self, targets: Collection[str], stops: Collection[str]) -> tuple[list[str], set[str]]:
        """Leaves, and the first outputs of the nodes between."""
        leaves: dict[str, None] = {}
        nodes: set[str] = set()
        todo, seen = list(targets), set(targets)
        while todo:
            name = todo.pop()
            maker = self.makers.get(name)
            if name in stops or maker is None:
                leaves[name] = None
                continue
            nodes.add(maker.output[0])
            for read in maker.input:
                if read and read not in self.constants and read not in seen:
                    seen.add(read)
                    todo.append(read)
        order = {name: place for place, name in enumerate(self.tensors)}
        return sorted(leaves, key=lambda name: order[name]), nodes


def _free(name: str) -> Any:
    """A port of reals of any shape."""
    import onnx

    port = onnx.ValueInfoProto(name=name)
    port.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    return port
