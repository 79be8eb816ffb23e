"""The Graph that grows while the operators of a TensorFlow Lite model are read."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.frontends.shared.builder import Builder
from hwsim.frontends.tflite.coded_floats import Step
from hwsim.frontends.tflite.kernels import KernelSet
from hwsim.frontends.tflite.model import LiteModel, LiteNode, LiteQuant, LiteTensor
from hwsim.graph import Graph, InputPort, OutputPort
from hwsim.ops import Flatten, Literal, Op, Quant, Reshape, Select, TensorType
from hwsim.ops.base import IntArray

FORMATS = {
    "int8": Format.int(8),
    "uint8": Format.uint(8),
    "int16": Format.int(16),
}
"""Types of quantized activations."""


FLOATS = ("float32",)
WHOLE = LiteQuant(scales=np.ones(1, np.float32), zero_points=(0,), axis=0)
"""The meaning of codes that are what they count."""


@dataclass(frozen=True, slots=True)
class EndFloats:
    """A tensor of floats at an end of the model, by what it is made of.

    Either an input of the model that nothing has quantized yet, which `moves` then turn into the
    tensor; or the codes of another tensor, with steps that are computed of their reals.
    """

    source: int
    moves: tuple[LiteNode, ...] = ()
    steps: tuple[Step, ...] = ()


class LiteImporter(Builder):
    """A Builder that knows the model: which edge holds which tensor, and what is constant.

    An edge has its tensor's axes but for a first one that is 1 long, which stands for the batch.
    """

    def __init__(self, model: LiteModel, like: KernelSet) -> None:
        super().__init__(model.path)
        self.model, self.like, self.tensors = model, like, list(model.main.tensors)
        self.edges: dict[int, str] = {}
        self.floats: dict[int, EndFloats] = {}  # tensors of floats that inputs or codes give
        self.folded: dict[int, npt.NDArray[Any]] = {}  # tensors that constants make
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

    def made_up(self, tensor: LiteTensor, edge: str | None = None) -> int:
        """A tensor that the model does not have, and the edge that holds it, by its index."""
        self.tensors.append(tensor)
        index = len(self.tensors) - 1
        if edge is not None:
            self.edges[index] = edge
        return index

    def edge(self, node: LiteNode, place: int = 0) -> str:
        """The edge that holds an input; a constant becomes one beside the node's other inputs."""
        tensor, index = self.tensor(node, place), node.inputs[place]
        if index not in self.edges:
            values = self.value(index)
            if index in self.floats or (values is None and tensor.dtype in FLOATS):
                raise HwsimError(
                    f"{node}: {tensor.name!r} must be quantized: of models that "
                    "compute in floats, hybrid ones too, only the ends are read"
                )
            if values is None:
                raise HwsimError(
                    f"{node}: input {place} ({tensor.name!r}) must be made before it is read"
                )
            drivers = [self.edges[other] for other in node.inputs if other in self.edges]
            drivers += [port.tensor for port in self.inputs.values()]
            if not drivers:
                raise HwsimError(f"{node}: it must depend on an input of the model")
            self.edges[index] = self.literal(tensor, values, drivers[0])
        return self.edges[index]

    def literal(self, tensor: LiteTensor, values: npt.NDArray[Any], driver: str) -> str:
        """The edge of a constant, which comes whenever that of `driver` does."""
        shape = self.shape(tensor)
        if values.size != math.prod(shape) or values.dtype.kind not in "iu":
            raise HwsimError(
                f"tensor {tensor.name!r} must be {math.prod(shape)} codes, not {values.size} of "
                f"{values.dtype}"
            )
        kind, held = self.types[driver], values.astype(np.int64).reshape(shape)
        ops: list[Op] = []
        if kind.shape != shape:
            ops = [Flatten(), Select(axis=0, indices=(0,) * held.size), Reshape(shape=shape)]
        ops.append(Literal(values=held, out=self.format(tensor), quant=self.meant(tensor)))
        name = self.label(tensor)
        return self.chain(name, driver, ops, name)

    def value(self, index: int) -> npt.NDArray[Any] | None:
        """The values of a tensor that is constant, or made of constants only; else None."""
        return self.folded.get(index, self.tensors[index].data)

    def constant(self, node: LiteNode, place: int) -> npt.NDArray[Any]:
        """The values of a constant input."""
        tensor = self.tensor(node, place)
        values = self.value(node.inputs[place])
        if values is None and 0 in tensor.shape:
            raise HwsimError(
                f"{node}: {tensor.name!r} must hold something, not be of shape {tensor.shape}"
            )
        if values is None:
            raise HwsimError(f"{node}: input {place} ({tensor.name!r}) must be constant")
        return values

    def whole(self, node: LiteNode, place: int) -> list[int]:
        """A constant of whole numbers as a flat list."""
        values = self.constant(node, place)
        if values.dtype.kind not in "iu":
            name = self.tensor(node, place).name
            raise HwsimError(f"{node}: {name!r} must be whole numbers, not of {values.dtype}")
        return [int(value) for value in values.ravel()]

    def single(self, node: LiteNode, place: int) -> int:
        """A constant of one whole number."""
        values = self.whole(node, place)
        if len(values) != 1:
            name = self.tensor(node, place).name
            raise HwsimError(f"{node}: {name!r} must be one number, not {len(values)}")
        return values[0]

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
        if tensor.dtype in FORMATS:
            low, high = FORMATS[tensor.dtype].min, FORMATS[tensor.dtype].max
            if not low <= found.zero_point <= high:
                raise HwsimError(
                    f"tensor {tensor.name!r} must have a zero point from {low} to {high}, not "
                    f"{found.zero_point}"
                )
        return found

    def format(self, tensor: LiteTensor) -> Format:
        """The format of an activation's codes."""
        if tensor.dtype not in FORMATS:
            raise HwsimError(
                f"tensor {tensor.name!r} must be of {' or '.join(FORMATS)}, not {tensor.dtype}"
            )
        return FORMATS[tensor.dtype]

    def drops(self, tensor: LiteTensor) -> bool:
        """Whether an edge leaves a tensor's first axis out: a batch of 1, or one left open."""
        return bool(tensor.shape) and (tensor.shape[0] == 1 or 0 in tensor.open_axes)

    def axes(self, tensor: LiteTensor, lead: int = 0) -> tuple[int, ...]:
        """A tensor's axes from the one on that `lead` counts."""
        first = (1,) if self.drops(tensor) else tensor.shape[:1]
        return (*first, *tensor.shape[1:])[lead:]

    def shape(self, tensor: LiteTensor) -> tuple[int, ...]:
        """The shape of an edge that holds a tensor; one without axes is an axis of 1."""
        if 0 in tensor.shape[1:] or (tensor.shape[:1] == (0,) and not self.drops(tensor)):
            raise HwsimError(
                f"tensor {tensor.name!r} must hold something, not be of shape {tensor.shape}"
            )
        return self.axes(tensor, int(self.drops(tensor))) or (1,)

    def lead(self, node: LiteNode, *places: int, axes: Sequence[int] = ()) -> int:
        """How many first axes an operator can leave out: 1 where all its tensors drop theirs.

        `places` are the inputs that count, `axes` those that it works on.
        """
        tensors = [self.tensor(node, place) for place in places]
        tensors += [self.made(node, place) for place in range(len(node.outputs))]
        return int(0 not in axes and all(self.drops(tensor) for tensor in tensors))

    def seen(self, node: LiteNode, place: int, lead: int) -> str:
        """The edge of an input with the axes from `lead` on."""
        edge, wanted = self.edge(node, place), self.axes(self.tensor(node, place), lead)
        if self.types[edge].shape == wanted or not wanted:
            return edge
        return self.emit(f"{edge}.axes", Reshape(shape=wanted), [edge], f"{edge}.axes")

    def meant(self, tensor: LiteTensor) -> Quant:
        """What an activation's codes mean."""
        quant = self.meaning(tensor)
        return Quant((float(quant.scale),), quant.zero_point)

    def kind(self, tensor: LiteTensor) -> TensorType:
        """The type of an edge that holds a tensor."""
        quant = self.meant(tensor)
        return TensorType(self.shape(tensor), self.format(tensor), quant)

    def label(self, tensor: LiteTensor) -> str:
        """A tensor's name without the names of what was merged into it."""
        return tensor.name.partition(";")[0]

    def give(self, node: LiteNode, ops: Sequence[Op], *inputs: str, place: int = 0) -> None:
        """Make an output of an operator by operators in a row, the first one of these edges."""
        made = self.made(node, place)
        name, shape = self.label(made), self.shape(made)
        held = self.shape_after(name, ops, *inputs)
        if math.prod(held) != math.prod(shape):
            raise HwsimError(f"{node}: its output must be of shape {held}, not {shape}")
        ops = [*ops, *reshaped(held, shape)]
        edge = inputs[0]
        if ops:
            title = f"{name}.{ops[0].kind}" if ops[1:] else name
            edge = self.chain(name, self.emit(name, ops[0], inputs, title), ops[1:], name)
        self.edges[node.outputs[place]] = edge

    def shape_after(self, name: str, ops: Sequence[Op], *inputs: str) -> tuple[int, ...]:
        """The shape that operators in a row make; HwsimError where one does not fit."""
        kinds = [self.types[edge] for edge in inputs]
        try:
            for op in ops:
                kinds = list(op.output_types(kinds))
        except HwsimError as error:
            raise HwsimError(f"node {name!r}: {error}") from None
        return kinds[0].shape

    def view(self, tensor: LiteTensor) -> tuple[int, ...]:
        """The axes that a user sees: the model's own, but for a first one that is 1 long."""
        return self.axes(tensor, int(self.drops(tensor)))

    def read_inputs(self) -> None:
        """Ports of the model's inputs; those of floats come with what quantizes them."""
        for index in self.model.main.inputs:
            tensor = self.tensors[index]
            if tensor.dtype in FLOATS and tensor.quant is None:
                self.floats[index] = EndFloats(source=index)
                continue
            if index in self.idle():
                continue
            if tensor.quant is None and self.only_cast(index):
                tensor = self.tensors[index] = replace(tensor, quant=WHOLE)
            kind, name = self.kind_of_input(tensor), self.label(tensor)
            seen = self.view(tensor)
            port = InputPort(
                name=name,
                tensor=name,
                type=kind,
                element=tensor.dtype,
                shape=None if kind.shape == seen else seen,
            )
            self.edges[index] = self.input(port)

    def only_cast(self, index: int) -> bool:
        """Whether a tensor is only made floats of: whole numbers, as the bytes of an image are."""
        readers = [node for node in self.model.main.nodes if index in node.inputs]
        floats = [self.tensors[node.outputs[0]].dtype in FLOATS for node in readers if node.outputs]
        return bool(floats) and all(floats) and all(node.op == "CAST" for node in readers)

    def kind_of_input(self, tensor: LiteTensor) -> TensorType:
        """The type of an input's edge; one of int32 is for a QUANTIZE."""
        if tensor.dtype == "int32" and tensor.quant is not None:
            return TensorType(self.shape(tensor), Format.int(32), self.meant(tensor))
        return self.kind(tensor)

    def idle(self) -> set[int]:
        """Inputs that only say a transposed convolution's shape, which its output says too."""
        main = self.model.main
        shapes = [node.inputs[:1] for node in main.nodes if node.op == "TRANSPOSE_CONV"]
        told = {index for first in shapes for index in first}
        rest = {
            index
            for node in main.nodes
            for place, index in enumerate(node.inputs)
            if node.op != "TRANSPOSE_CONV" or place
        }
        return told.difference(rest, main.outputs).intersection(main.inputs)

    def graph_of(self, outputs: Sequence[OutputPort]) -> Graph:
        """The Graph, its inputs in the model's order."""
        idle = self.idle()
        places = [index for index in self.model.main.inputs if index not in idle]
        names = [self.label(self.tensors[index]) for index in places]
        return self.graph(outputs, inputs=names)

    def output(self, index: int) -> OutputPort:
        """The port of an output that holds codes."""
        tensor = self.tensors[index]
        if index not in self.edges:
            raise HwsimError(f"output {tensor.name!r} must be made by an operator")
        edge, seen = self.edges[index], self.view(tensor)
        return OutputPort(
            name=self.label(tensor),
            tensor=edge,
            element=tensor.dtype,
            shape=None if self.types[edge].shape == seen else seen,
        )


def reshaped(held: tuple[int, ...], wanted: tuple[int, ...]) -> list[Op]:
    """What gives codes another shape."""
    if held == wanted:
        return []
    return [Flatten() if len(wanted) == 1 else Reshape(shape=wanted)]


Handler = Callable[[LiteImporter, LiteNode], None]
