"""The Graph that grows while the operators of a TensorFlow Lite model are read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.frontends.shared.builder import Builder
from hwsim.frontends.tflite.kernels import KernelSet
from hwsim.frontends.tflite.model import LiteModel, LiteNode, LiteQuant, LiteTensor
from hwsim.graph import InputPort, OutputPort
from hwsim.ops import Op, Quant, TensorType
from hwsim.ops.base import IntArray

FORMATS = {
    "int8": Format.int(8),
    "uint8": Format.uint(8),
    "int16": Format.int(16),
}
"""Types of quantized activations."""


class LiteImporter(Builder):
    """A Builder that knows the model: which edge holds which tensor, and what is constant.

    Edges have the tensors' axes but for the first, which is the batch.
    """

    def __init__(self, model: LiteModel, like: KernelSet) -> None:
        super().__init__(model.path)
        self.model, self.like, self.tensors = model, like, model.main.tensors
        self.edges: dict[int, str] = {}
        self.handles: dict[int, str] = {}  # names of variables, by the tensor that stands for one
        self.initial: dict[str, IntArray] = {}  # codes of variables at the first step, by name
        self.variables: dict[str, str] = {}  # edges that are read, by name
        self.assigned: dict[str, str] = {}  # edges that this step has assigned, by name

    def tensor(self, node: LiteNode, place: int) -> LiteTensor:
        """An input of an operator; HwsimError where it is left out."""
        index = node.inputs[place] if place < len(node.inputs) else -1
        if index < 0:
            raise HwsimError(f"{node}: input {place} must be there")
        return self.tensors[index]

    def made(self, node: LiteNode, place: int = 0) -> LiteTensor:
        """An output of an operator."""
        if place >= len(node.outputs) or node.outputs[place] < 0:
            raise HwsimError(f"{node}: output {place} must be there")
        return self.tensors[node.outputs[place]]

    def edge(self, node: LiteNode, place: int = 0) -> str:
        """The edge that holds an input; HwsimError of a constant or a tensor that nothing made."""
        tensor = self.tensor(node, place)
        index = node.inputs[place]
        if index not in self.edges:
            what = "computed, not constant" if tensor.data is not None else "made before it is read"
            raise HwsimError(f"{node}: input {place} ({tensor.name!r}) must be {what}")
        return self.edges[index]

    def constant(self, node: LiteNode, place: int) -> npt.NDArray[Any]:
        """The values of a constant input."""
        tensor = self.tensor(node, place)
        if tensor.data is None:
            raise HwsimError(f"{node}: input {place} ({tensor.name!r}) must be constant")
        return tensor.data

    def has(self, node: LiteNode, place: int) -> bool:
        """Whether an optional input is there."""
        return place < len(node.inputs) and node.inputs[place] >= 0

    def quant(self, tensor: LiteTensor) -> LiteQuant:
        """How a tensor's codes are meant; HwsimError where the model does not say it."""
        if tensor.quant is None:
            raise HwsimError(f"tensor {tensor.name!r} must be quantized, with a scale")
        return tensor.quant

    def meaning(self, tensor: LiteTensor) -> LiteQuant:
        """The same of an activation, which must have one scale."""
        found = self.quant(tensor)
        if found.scales.size != 1:
            raise HwsimError(
                f"tensor {tensor.name!r} must have one scale, not {found.scales.size}: it is no "
                "constant"
            )
        return found

    def format(self, tensor: LiteTensor) -> Format:
        """The format of an activation's codes."""
        if tensor.dtype not in FORMATS:
            raise HwsimError(
                f"tensor {tensor.name!r} must be of {' or '.join(FORMATS)}, not {tensor.dtype}"
            )
        return FORMATS[tensor.dtype]

    def shape(self, tensor: LiteTensor) -> tuple[int, ...]:
        """A tensor's axes without the batch."""
        if not tensor.shape or (tensor.shape[0] != 1 and 0 not in tensor.open_axes):
            raise HwsimError(
                f"tensor {tensor.name!r} must have a first axis of 1 for the batch, not shape "
                f"{tensor.shape}"
            )
        return tensor.shape[1:]

    def kind(self, tensor: LiteTensor) -> TensorType:
        """The type of an edge that holds a tensor."""
        quant = self.meaning(tensor)
        return TensorType(
            self.shape(tensor),
            self.format(tensor),
            Quant((float(quant.scale),), quant.zero_point),
        )

    def label(self, tensor: LiteTensor) -> str:
        """A tensor's name without the names of what was merged into it."""
        return tensor.name.partition(";")[0]

    def give(self, node: LiteNode, ops: list[Op], *inputs: str) -> None:
        """Make an operator's only output by operators in a row, the first one of these edges."""
        name = self.label(self.made(node))
        if not ops:
            self.edges[node.outputs[0]] = inputs[0]
            return
        first = self.emit(name, ops[0], inputs, f"{name}.{ops[0].kind}" if ops[1:] else name)
        self.edges[node.outputs[0]] = self.chain(name, first, ops[1:], name)

    def read_inputs(self) -> None:
        """Ports of the model's inputs."""
        for index in self.model.main.inputs:
            tensor = self.tensors[index]
            kind, name = self.kind(tensor), self.label(tensor)
            port = InputPort(name=name, tensor=name, type=kind, element=tensor.dtype)
            self.edges[index] = self.input(port)

    def outputs(self) -> list[OutputPort]:
        """Ports of the model's outputs."""
        ports = []
        for index in self.model.main.outputs:
            tensor = self.tensors[index]
            if index not in self.edges:
                raise HwsimError(f"output {tensor.name!r} must be made by an operator")
            name = self.label(tensor)
            shape = self.shape(tensor)
            seen = None if self.types[self.edges[index]].shape == shape else shape
            ports.append(
                OutputPort(name=name, tensor=self.edges[index], element=tensor.dtype, shape=seen)
            )
        return ports


Handler = Callable[[LiteImporter, LiteNode], None]


def whole(values: npt.NDArray[Any]) -> list[int]:
    """A constant of whole numbers as a flat list."""
    return [int(v) for v in np.asarray(values).ravel()]
