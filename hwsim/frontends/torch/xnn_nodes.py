"""Nodes of the XNNPACK delegate as nodes of an exported program: quantizers around operators."""

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
        """A layer's weights, moved to PyTorch's order, dequantized."""
        value = self.value(node, node.fields["filter"])
        if value.data is None or value.scales is None or value.kind not in (INT8, CHANNEL_INT8):
            raise HwsimError(
                f"{node}: its weights must be constant and int8, not "
                f"{TYPE_NAMES.get(value.kind, 'floats or of another type')}"
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
        """Its bias in whole numbers of its sums; None where it has none."""
        number = node.fields["bias"]
        if number not in self.graph.values:
            return None
        value = self.value(node, number)
        if value.data is None or value.data.dtype != np.int32:
            raise HwsimError(f"{node}: its bias must be constant and int32")
        return self.writer.constant(f"{node.name}.bias", value.data.astype(np.int32))


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


Rule = Callable[[Delegate, XnnNode], None]


def one(op: str, **more: Any) -> Rule:
    """An operator of one tensor."""

    def rule(run: Delegate, node: XnnNode) -> None:
        run.give(node, op, self=run.reals(node, node.fields["input"], "reals"), **more)

    return rule


def _two(op: str) -> Rule:
    def rule(run: Delegate, node: XnnNode) -> None:
        a, b = (run.reals(node, node.fields[f"input{n}"], f"reals{n}") for n in (1, 2))
        run.give(node, op, self=a, other=b)

    return rule


def _convert(run: Delegate, node: XnnNode) -> None:
    """Quantizes, dequantizes, or does both."""
    given, made = (run.value(node, node.fields[end]) for end in ("input", "output"))
    reals = run.reals(node, given.number, "reals")
    if run.quantized(node, made):
        run.names[made.number] = run.writer.add(
            "quantized_decomposed.quantize_per_tensor", node.name, made.shape, "int8",
            input=reals, **meaning_of(node, made),
        )  # fmt: skip
    elif made.kind == FLOAT32:
        run.names[made.number] = reals.name


def _conv(run: Delegate, node: XnnNode) -> None:
    """Conv2d with weights (out, height, width, in); depthwise (1, height, width, out)."""
    depthwise = node.op == "DepthwiseConv2d"
    move = (lambda w: w.transpose(3, 0, 1, 2)) if depthwise else (lambda w: w.transpose(0, 3, 1, 2))
    f = node.fields
    if len(run.value(node, f["filter"]).shape) != 4:
        raise HwsimError(f"{node}: its weights must have four axes")
    _even(node)
    x = run.reals(node, f["input"], "reals", map=True)
    run.give(
        node,
        "aten.conv2d",
        map=True,
        input=x,
        weight=run.weights(node, move, 0),
        bias=run.bias(node),
        stride=(f["stride_h"], f["stride_w"]),
        padding=(f["top"], f["left"]),
        dilation=(f["dilation_h"], f["dilation_w"]),
        groups=f["groups"],
    )


def _transposed(run: Delegate, node: XnnNode) -> None:
    """ConvTranspose2d with weights (out, height, width, in / groups)."""
    f = node.fields
    _even(node)
    groups, out = f["groups"], f["group_out"]

    def move(w: Any) -> Any:
        """To (in, out / groups, height, width)."""
        cut = w.reshape(groups, out, *w.shape[1:])
        return cut.transpose(0, 4, 1, 2, 3).reshape(-1, out, *w.shape[1:3])

    run.give(
        node,
        "aten.conv_transpose2d",
        map=True,
        input=run.reals(node, f["input"], "reals", map=True),
        weight=run.weights(node, move, 1),
        bias=run.bias(node),
        stride=(f["stride_h"], f["stride_w"]),
        padding=(f["top"], f["left"]),
        output_padding=(f["adjust_h"], f["adjust_w"]),
        dilation=(f["dilation_h"], f["dilation_w"]),
        groups=groups,
    )


def _even(node: XnnNode) -> None:
    f = node.fields
    if (f["top"], f["left"]) != (f["bottom"], f["right"]):
        raise HwsimError(f"{node}: its padding must be the same on both sides")


def _dense(run: Delegate, node: XnnNode) -> None:
    run.give(
        node,
        "aten.linear",
        input=run.reals(node, node.fields["input"], "reals"),
        weight=run.weights(node, lambda w: w, 0),
        bias=run.bias(node),
    )


def _pool(op: str) -> Rule:
    def rule(run: Delegate, node: XnnNode) -> None:
        f = node.fields
        ends = (f["top"], f["left"], f["bottom"], f["right"])
        apart = (f["dilation_h"] or 1, f["dilation_w"] or 1)
        if "max" not in op and (apart != (1, 1) or any(ends)):
            raise HwsimError(f"{node}: its windows must have no dilation and no padding")
        run.give(
            node,
            op,
            map=True,
            self=run.reals(node, f["input"], "reals", map=True),
            kernel_size=(f["kernel_h"], f["kernel_w"]),
            stride=(f["stride_h"], f["stride_w"]),
            ends=ends,
            dilation=apart,
        )

    return rule


def _mean(run: Delegate, node: XnnNode) -> None:
    x = run.reals(node, node.fields["input"], "reals", map=True)
    run.give(node, "aten.mean", map=True, self=x, dim=(2, 3), keepdim=True)


def _moved(run: Delegate, node: XnnNode, op: str, **args: Any) -> None:
    """A mover: of codes, whose meaning stays, or of reals."""
    given, made = (run.value(node, node.fields[end]) for end in ("input", "output"))
    if run.quantized(node, given) and meaning_of(node, given) != meaning_of(node, made):
        raise HwsimError(f"{node}: its input and output must have one scale and zero point")
    dtype = "int8" if run.quantized(node, given) else "float32"
    x = run.name(node, given.number)
    run.names[made.number] = run.writer.add(op, node.name, made.shape, dtype, self=x, **args)


def _transpose(run: Delegate, node: XnnNode) -> None:
    _moved(run, node, "aten.permute", dims=node.fields["perm"])


def _reshape(run: Delegate, node: XnnNode) -> None:
    _moved(run, node, "aten.view")


def _slice(run: Delegate, node: XnnNode) -> None:
    """Each axis from an offset on."""
    given = run.value(node, node.fields["input"])
    made = run.value(node, node.fields["output"])
    offsets, sizes = node.fields["offsets"], node.fields["sizes"]
    if not len(offsets) == len(sizes) == len(given.shape):
        raise HwsimError(f"{node}: it must have an offset and a size for each axis")
    dtype = "int8" if run.quantized(node, given) else "float32"
    x, shape = run.name(node, given.number), list(given.shape)
    for axis, (offset, size) in enumerate(zip(offsets, sizes, strict=True)):
        if size in (0, shape[axis]):
            continue
        shape[axis] = size
        x = TensorName(
            run.writer.add(
                "aten.slice", f"{node.name}.{axis}", tuple(shape), dtype,
                self=x, dim=axis, start=offset, end=offset + size,
            )
        )  # fmt: skip
    run.names[made.number] = x.name


def _pad(run: Delegate, node: XnnNode) -> None:
    before, after = node.fields["before"], node.fields["after"]
    pads = tuple(each for pair in reversed(list(zip(before, after, strict=False))) for each in pair)
    x = run.reals(node, node.fields["input"], "reals")
    run.give(node, "aten.constant_pad_nd", self=x, pad=pads, value=float(node.fields["value"]))


def _cat(run: Delegate, node: XnnNode) -> None:
    parts = tuple(
        run.reals(node, number, f"reals{place}") for place, number in enumerate(node.inputs)
    )
    run.give(node, "aten.cat", tensors=parts, dim=node.fields["axis"])


def _softmax(run: Delegate, node: XnnNode) -> None:
    x = run.reals(node, node.fields["input"], "reals")
    run.give(node, "aten.softmax", self=x, dim=-1)


def _copy(run: Delegate, node: XnnNode) -> None:
    run.names[node.fields["output"]] = run.name(node, node.fields["input"]).name


def _square(run: Delegate, node: XnnNode) -> None:
    x = run.reals(node, node.fields["input"], "reals")
    run.give(node, "aten.mul", self=x, other=x)


def _leaky(run: Delegate, node: XnnNode) -> None:
    one("aten.leaky_relu", negative_slope=float(node.fields["slope"]))(run, node)


def _elu(run: Delegate, node: XnnNode) -> None:
    one("aten.elu", alpha=float(node.fields["alpha"]))(run, node)


def _clamp(run: Delegate, node: XnnNode) -> None:
    """A clamp of its own, whose bounds are those of the node."""
    given = run.reals(node, node.fields["input"], "reals")
    value = run.value(node, node.fields["output"])
    name = run.clamped(node, given.name, value.shape)
    if run.quantized(node, value):
        name = run.writer.add(
            "quantized_decomposed.quantize_per_tensor", f"{node.name}.codes", value.shape, "int8",
            input=TensorName(name), **meaning_of(node, value),
        )  # fmt: skip
    run.names[value.number] = name


def _matmul(run: Delegate, node: XnnNode) -> None:
    a, b = (run.reals(node, node.fields[f"input{n}"], f"reals{n}") for n in (1, 2))
    if node.fields["flags"]:
        raise HwsimError(f"{node}: its second operand must not be turned")
    run.give(node, "aten.bmm", self=a, mat2=b)


RULES: dict[str, Rule] = {
    "Abs": one("aten.abs"),
    "Add": _two("aten.add"),
    "AvgPooling2d": _pool("aten.avg_pool2d"),
    "BatchMatrixMultiply": _matmul,
    "Clamp": _clamp,
    "Concatenate2": _cat,
    "Concatenate3": _cat,
    "Concatenate4": _cat,
    "Concatenate5": _cat,
    "Conv2d": _conv,
    "Convert": _convert,
    "Copy": _copy,
    "ConvTranspose2d": _transposed,
    "DepthwiseConv2d": _conv,
    "Div": _two("aten.div"),
    "ELU": _elu,
    "Exp": one("aten.exp"),
    "FullyConnected": _dense,
    "Gelu": one("aten.gelu"),
    "GlobalAvgPooling2d": _mean,
    "Hardswish": one("aten.hardswish"),
    "LeakyReLU": _leaky,
    "Log": one("aten.log"),
    "MaxPooling2d": _pool("aten.max_pool2d"),
    "Maximum": _two("aten.maximum"),
    "Minimum": _two("aten.minimum"),
    "Multiply": _two("aten.mul"),
    "Negate": one("aten.neg"),
    "ReciprocalSquareRoot": one("aten.rsqrt"),
    "Sigmoid": one("aten.sigmoid"),
    "Softmax": _softmax,
    "Square": _square,
    "SquareRoot": one("aten.sqrt"),
    "StaticConstantPad": _pad,
    "StaticReshape": _reshape,
    "StaticSlice": _slice,
    "StaticTranspose": _transpose,
    "Subtract": _two("aten.sub"),
    "Tanh": one("aten.tanh"),
}
"""What writes each node."""
