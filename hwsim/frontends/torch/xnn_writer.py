"""What writes a delegate's nodes into an exported program: quantizers around operators."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.torch.program import ProgramNode, TensorMeaning, TensorName
from hwsim.frontends.torch.xnn_file import (
    CHANNEL_INT8,
    DTYPES,
    FLOAT32,
    INT8,
    TYPE_NAMES,
    XnnGraph,
    XnnNode,
    XnnValue,
)

NHWC, NCHW = (0, 2, 3, 1), (0, 3, 1, 2)


class ProgramWriter:
    """Nodes, constants and meanings of the program that grows; tensors of a delegate by number."""

    def __init__(self) -> None:
        self.nodes: list[ProgramNode] = []
        self.constants: dict[str, Any] = {}
        self.meanings: dict[str, TensorMeaning] = {}

    def add(self, op: str, name: str, shape: tuple[int, ...], of: str, /, **args: Any) -> str:
        """A node with one output, `of` an element type; gives its name."""
        self.nodes.append(ProgramNode(op, name, args, (name,)))
        self.meanings[name] = TensorMeaning(of, shape)
        return name

    def constant(self, name: str, values: Any) -> TensorName:
        """A constant."""
        self.constants[name] = values
        self.meanings[name] = TensorMeaning(values.dtype.name, values.shape)
        return TensorName(name)


class Delegate:
    """One delegate's graph, written into a program; `names` are those of tensors by number."""

    def __init__(self, graph: XnnGraph, writer: ProgramWriter, title: str) -> None:
        self.graph, self.writer, self.title = graph, writer, title
        self.names: dict[int, str] = {}

    def value(self, node: XnnNode, number: int) -> XnnValue:
        """A value by its number."""
        if number not in self.graph.values:
            raise HwsimError(f"{node}: value {number} must be there")
        return self.graph.values[number]

    def name(self, node: XnnNode, number: int) -> TensorName:
        """The tensor of a value, which a node before must have made; a constant becomes one."""
        if number not in self.names:
            value = self.value(node, number)
            if value.data is None:
                raise HwsimError(f"{node}: value {number} must be made before it is read")
            title = f"{self.title}.constant_{number}"
            self.names[number] = self.writer.constant(title, value.data).name
        return TensorName(self.names[number])

    def quantized(self, node: XnnNode, value: XnnValue) -> bool:
        """Whether a value holds codes; HwsimError for those of other types."""
        if value.kind not in DTYPES:
            what = TYPE_NAMES.get(value.kind, f"type {value.kind}")
            raise HwsimError(f"{node}: its tensors must be float32 or int8, not {what}")
        return value.kind == INT8

    def turned(
        self, node: XnnNode, name: TensorName, shape: Any, order: Any, end: str
    ) -> TensorName:
        """A tensor with its axes in another order."""
        made = tuple(shape[axis] for axis in order)
        dtype = self.writer.meanings[name.name].dtype
        title = f"{node.name}.{end}"
        return TensorName(
            self.writer.add("aten.permute", title, made, dtype, self=name, dims=tuple(order))
        )

    def reals(self, node: XnnNode, number: int, end: str, *, map: bool = False) -> TensorName:
        """A tensor as reals: dequantized, and a map with its channels first."""
        value, name = self.value(node, number), self.name(node, number)
        shape = value.shape
        if map:
            name = self.turned(node, name, self._map(node, shape), NCHW, f"{end}.map")
            shape = tuple(shape[axis] for axis in NCHW)
        if not self.quantized(node, value):
            return name
        title = f"{node.name}.{end}"
        args = meaning_of(node, value)
        return TensorName(
            self.writer.add(
                "quantized_decomposed.dequantize_per_tensor", title, shape, "float32",
                input=name, **args,
            )
        )  # fmt: skip

    def _map(self, node: XnnNode, shape: tuple[int, ...]) -> tuple[int, ...]:
        if len(shape) != 4:
            raise HwsimError(f"{node}: its tensors must be maps of four axes, not {shape}")
        return shape

    def give(self, node: XnnNode, op: str, /, *, map: bool = False, **args: Any) -> None:
        """An operator, its bounds, its quantizer, and back to channels last."""
        value = self.value(node, node.fields["output"])
        shape = value.shape
        if map:
            shape = tuple(self._map(node, shape)[axis] for axis in NCHW)
        name = self.writer.add(op, node.name, shape, "float32", **args)
        if math.isfinite(node.low) or math.isfinite(node.high):
            name = self.clamped(node, name, shape)
        if self.quantized(node, value):
            name = self.writer.add(
                "quantized_decomposed.quantize_per_tensor", f"{node.name}.codes", shape, "int8",
                input=TensorName(name), **meaning_of(node, value),
            )  # fmt: skip
        if map:
            name = self.turned(node, TensorName(name), shape, NHWC, "nhwc").name
        self.names[value.number] = name

    def clamped(self, node: XnnNode, name: str, shape: tuple[int, ...]) -> str:
        """A tensor within the bounds of a node."""
        given, title = TensorName(name), f"{node.name}.bounds"
        if (node.low, node.high) == (0.0, math.inf):
            return self.writer.add("aten.relu", title, shape, "float32", self=given)
        low = node.low if math.isfinite(node.low) else None
        high = node.high if math.isfinite(node.high) else None
        return self.writer.add("aten.clamp", title, shape, "float32", self=given, min=low, max=high)

    def weights(self, node: XnnNode, move: Callable[[Any], Any], axis: int) -> TensorName:
        """A layer's weights, moved to PyTorch's order: floats, or dequantized."""
        value = self.value(node, node.fields["filter"])
        if value.data is not None and value.kind == FLOAT32:
            moved = np.ascontiguousarray(move(value.data))
            return self.writer.constant(f"{node.name}.weights", moved)
        if value.data is None or value.scales is None or value.kind not in (INT8, CHANNEL_INT8):
            raise HwsimError(
                f"{node}: its weights must be constant and int8 or float32, not "
                f"{TYPE_NAMES.get(value.kind, 'computed or of another type')}"
            )
        title = f"{node.name}.weights"
        codes = np.ascontiguousarray(move(value.data))
        args: dict[str, Any] = {"quant_min": -127, "quant_max": 127, "dtype": "int8"}
        held = self.writer.constant(f"{title}.codes", codes)
        scales = np.asarray(value.scales, np.float32)
        if value.kind == CHANNEL_INT8:
            args |= {
                "scales": self.writer.constant(f"{title}.scales", scales),
                "zero_points": self.writer.constant(
                    f"{title}.zeros", np.zeros(scales.shape, np.int64)
                ),
                "axis": axis,
            }
            op = "quantized_decomposed.dequantize_per_channel"
        else:
            args |= {"scale": float(scales[0]), "zero_point": value.zero_point}
            op = "quantized_decomposed.dequantize_per_tensor"
        return TensorName(self.writer.add(op, title, codes.shape, "float32", input=held, **args))

    def bias(self, node: XnnNode) -> TensorName | None:
        """Its bias in whole numbers of its sums, or in floats; None where it has none."""
        number = node.fields["bias"]
        if number not in self.graph.values:
            return None
        value = self.value(node, number)
        if value.data is None or value.data.dtype not in (np.int32, np.float32):
            raise HwsimError(f"{node}: its bias must be constant and int32 or float32")
        return self.writer.constant(f"{node.name}.bias", value.data.astype(value.data.dtype.name))


def meaning_of(node: XnnNode, value: XnnValue) -> Mapping[str, Any]:
    """The arguments of a quantizer."""
    if value.scales is None or value.scales.size != 1:
        raise HwsimError(f"{node}: value {value.number} must have one scale")
    return {
        "scale": float(value.scales[0]),
        "zero_point": value.zero_point,
        "quant_min": -128,
        "quant_max": 127,
        "dtype": "int8",
    }
