"""One ONNX operator between quantizers, for each that the front end reads.

An entry of OPERATORS takes a `Maker` and gives the tensors that the model's outputs quantize. A
maker knows the setting: type of the activations, kind of scales, zero points, scales of weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

Array = npt.NDArray[Any]
OPSET = 21


@dataclass(frozen=True, slots=True)
class Setting:
    """What varies from one model of an operator to the next."""

    dtype: str  # of the activations
    scales: str  # "powers": powers of two, hence ties; "random"; "decimal": of few digits
    odd: bool  # zero points far from the middle, and odd
    per_channel: bool  # scales of weights

    def __str__(self) -> str:
        zero = "odd zero points" if self.odd else "zero points in the middle"
        weights = "per channel" if self.per_channel else "per tensor"
        return f"{self.dtype}, {self.scales} scales, {zero}, weights {weights}"


@dataclass(slots=True)
class Maker:
    """Nodes and constants of a model that grows."""

    setting: Setting
    rng: np.random.Generator
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)
    inputs: list[onnx.ValueInfoProto] = field(default_factory=list)
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)  # of inputs, by name
    count: int = 0

    def name(self, stem: str) -> str:
        self.count += 1
        return f"{stem}{self.count}"

    def const(self, value: Any) -> str:
        """An initializer; floats become float32, whole numbers int64 unless they have a type."""
        array = np.asarray(value)
        array = array.astype(np.float32) if array.dtype == np.float64 else array
        name = self.name("c")
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def node(self, op: str, *given: str, outputs: int = 1, domain: str = "", **spec: Any) -> Any:
        """A node's output, or a tuple of them."""
        made = [self.name("t") for _ in range(outputs)]
        self.nodes.append(helper.make_node(op, list(given), made, domain=domain, **spec))
        return made[0] if outputs == 1 else tuple(made)

    def scale(self, top: float) -> np.float32:
        """A step of which 255 cover about `top`."""
        step = top / 255
        match self.setting.scales:
            case "powers":
                return np.float32(2.0 ** round(math.log2(step)))
            case "decimal":
                return np.float32(f"{step:.1g}")
        return np.float32(step * self.rng.uniform(0.8, 1.2))

    def zero_point(self, dtype: str, lo: float, hi: float) -> Array:
        """Where reals from `lo` to `hi` lie among the codes, by the setting."""
        info = np.iinfo(dtype)
        middle = (int(info.min) + int(info.max) + 1) // 2
        if not self.setting.odd:
            return np.array(info.min if lo >= 0 else middle, dtype)
        zero = int(info.min) + round(255 * -lo / max(hi - lo, 1e-9))
        zero = int(np.clip(zero + self.rng.integers(-20, 21), info.min, info.max))
        return np.array(zero | 1, dtype)

    def quantized(self, real: str, lo: float, hi: float, dtype: str | None = None) -> str:
        """`real` behind a QuantizeLinear and a DequantizeLinear."""
        dtype = dtype or self.setting.dtype
        scale = self.const(self.scale(max(hi - lo, 1e-6)))
        zero = self.const(self.zero_point(dtype, lo, hi))
        code = self.node("QuantizeLinear", real, scale, zero)
        return str(self.node("DequantizeLinear", code, scale, zero))

    def x(self, *shape: int, lo: float = -2.0, hi: float = 2.0) -> str:
        """A quantized input of so many axes beside the batch."""
        name = self.name("x")
        self.ranges[name] = lo, hi
        self.inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *shape]))
        return self.quantized(name, lo, hi)

    def weights(self, *shape: int, axis: int = 0) -> str:
        """Quantized weights, symmetric int8."""
        codes = self.rng.integers(-127, 128, shape).astype(np.int8)
        fan = max(1, math.prod(shape) // shape[axis])
        size = shape[axis] if self.setting.per_channel else 1
        steps = np.array([self.scale(3.0 / math.sqrt(fan)) for _ in range(size)], np.float32)
        if not self.setting.per_channel:
            return str(
                self.node(
                    "DequantizeLinear",
                    self.const(codes),
                    self.const(steps[0]),
                    self.const(np.int8(0)),
                )
            )
        given = self.const(codes), self.const(steps), self.const(np.zeros(size, np.int8))
        return str(self.node("DequantizeLinear", *given, axis=axis))

    def vector(self, size: int, lo: float = -1.0, hi: float = 1.0) -> str:
        """A float constant."""
        return self.const(self.rng.uniform(lo, hi, size).astype(np.float32))

    def model(self, outputs: Sequence[str]) -> onnx.ModelProto:
        """The model so far with these outputs."""
        ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
        graph = helper.make_graph(self.nodes, "operator", self.inputs, ends, self.constants)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)


Build = Callable[[Maker], str | tuple[str, ...]]


def _unary(op: str, lo: float = -4.0, hi: float = 4.0, **spec: Any) -> Build:
    return lambda m: str(m.node(op, m.x(6, 5, 5, lo=lo, hi=hi), **spec))


def _two(op: str, first: Sequence[int], second: Sequence[int], lo: float = -2.0) -> Build:
    return lambda m: str(m.node(op, m.x(*first), m.x(*second, lo=lo)))


def _with(op: str, shape: Sequence[int], lo: float = -1.5, hi: float = 1.5) -> Build:
    """A binary operator with a float constant."""
    return lambda m: str(
        m.node(op, m.x(6, 5, 5), m.const(m.rng.uniform(lo, hi, shape).astype(np.float32)))
    )


def _conv(
    op: str, kernel: Sequence[int], size: Sequence[int], groups: int = 1, **spec: Any
) -> Build:
    def build(m: Maker) -> str:
        across = 6 // groups
        shape = (8 if groups == 1 else 6, across, *kernel)
        axis = 0
        if op == "ConvTranspose":
            shape, axis = (6, (8 if groups == 1 else 6) // groups, *kernel), 1
        w = m.weights(*shape, axis=axis)
        bias = m.vector(8 if groups == 1 else 6)
        return str(m.node(op, m.x(6, *size), w, bias, group=groups, **spec))

    return build


def _reduce(op: str, axes: Sequence[int], keep: int) -> Build:
    return lambda m: str(m.node(op, m.x(4, 5, 6), m.const(np.array(axes)), keepdims=keep))


def _layer_norm(m: Maker) -> str:
    return str(
        m.node("LayerNormalization", m.x(7, 12), m.vector(12, 0.5, 1.5), m.vector(12), axis=-1)
    )


def _batch_norm(m: Maker) -> str:
    given = m.vector(6, 0.5, 1.5), m.vector(6), m.vector(6), m.vector(6, 0.2, 2.0)
    return str(m.node("BatchNormalization", m.x(6, 5, 5), *given))


def _conv_batch_norm(m: Maker) -> str:
    sums = m.node("Conv", m.x(6, 7, 7), m.weights(8, 6, 3, 3))
    given = m.vector(8, 0.5, 1.5), m.vector(8), m.vector(8), m.vector(8, 0.2, 2.0)
    return str(m.node("BatchNormalization", sums, *given))


def _silu(m: Maker) -> str:
    x = m.x(6, 5, 5, lo=-5, hi=5)
    return str(m.node("Mul", x, m.node("Sigmoid", x)))


def _softplus_by_where(m: Maker) -> str:
    x = m.x(6, 5, 5, lo=-9, hi=30)
    large = m.node("Greater", x, m.const(np.float32(20)))
    return str(m.node("Where", large, x, m.node("Softplus", x)))


def _sliced(m: Maker) -> str:
    ends = [m.const(np.array(v)) for v in ([1, 0], [6, 5], [2, 3], [1, 2])]
    return str(m.node("Slice", m.x(6, 5, 5), ends[0], ends[1], ends[2], ends[3]))


def _split(m: Maker) -> tuple[str, ...]:
    parts = m.node("Split", m.x(6, 5, 5), m.const(np.array([2, 4])), axis=1, outputs=2)
    return tuple(parts)


def _resize(mode: str, where: str, **spec: Any) -> Build:
    def build(m: Maker) -> str:
        scales = m.const(np.array([1, 1, 2, 2], np.float32))
        x = m.x(3, 6, 6)
        spec_ = {"mode": mode, "coordinate_transformation_mode": where, **spec}
        return str(m.node("Resize", x, "", scales, **spec_))

    return build


def _pad(m: Maker) -> str:
    return str(m.node("Pad", m.x(4, 5, 5), m.const(np.array([0, 0, 1, 2, 0, 0, 2, 1]))))


def _shape(op: str, to: Sequence[int]) -> Build:
    return lambda m: str(m.node(op, m.x(6, 4, 5), m.const(np.array(to))))


def _gemm(m: Maker) -> str:
    return str(m.node("Gemm", m.x(24), m.weights(24, 10, axis=1), m.vector(10)))


def _matmul(m: Maker) -> str:
    return str(m.node("MatMul", m.x(5, 24), m.weights(24, 10, axis=1)))


def _where(m: Maker) -> str:
    x = m.x(6, 5, 5)
    return str(
        m.node("Where", m.node("Less", x, m.const(np.float32(0.3))), x, m.const(np.float32(0.5)))
    )


OPERATORS: dict[str, Build] = {
    "Abs": _unary("Abs"),
    "Add": _two("Add", (6, 5, 5), (6, 5, 5)),
    "Add, broadcast by channel": _two("Add", (6, 5, 5), (6, 1, 1)),
    "Add, a constant": _with("Add", (6, 1, 1)),
    "AveragePool": lambda m: str(
        m.node("AveragePool", m.x(6, 6, 6), kernel_shape=[2, 2], strides=[2, 2])
    ),
    "AveragePool, padded": lambda m: str(
        m.node("AveragePool", m.x(6, 6, 6), kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    ),
    "BatchNormalization": _batch_norm,
    "BatchNormalization behind Conv": _conv_batch_norm,
    "Celu": _unary("Celu", alpha=0.7),
    "Clip": lambda m: str(
        m.node("Clip", m.x(6, 5, 5), m.const(np.float32(-0.6)), m.const(np.float32(1.1)))
    ),
    "Concat": lambda m: str(m.node("Concat", m.x(3, 5, 5), m.x(4, 5, 5), axis=1)),
    "Concat, last axis": lambda m: str(m.node("Concat", m.x(3, 5, 4), m.x(3, 5, 2), axis=-1)),
    "Conv": _conv("Conv", (3, 3), (7, 7), pads=[1, 1, 1, 1]),
    "Conv, one axis": _conv("Conv", (3,), (20,), pads=[1, 1]),
    "Conv, depthwise": _conv("Conv", (3, 3), (7, 7), groups=6),
    "Conv, dilated": _conv("Conv", (3, 3), (9, 9), dilations=[2, 2]),
    "Conv, strided": _conv("Conv", (3, 3), (9, 9), strides=[2, 2]),
    "ConvTranspose": _conv("ConvTranspose", (2, 2), (5, 5), strides=[2, 2]),
    "ConvTranspose, overlapping": _conv(
        "ConvTranspose", (3, 3), (5, 5), strides=[2, 2], pads=[1, 1, 1, 1]
    ),
    "DepthToSpace": lambda m: str(m.node("DepthToSpace", m.x(8, 4, 4), blocksize=2, mode="CRD")),
    "Div": _two("Div", (6, 5, 5), (6, 5, 5), lo=0.1),
    "Div, a constant": _with("Div", (6, 1, 1), 0.4, 2.0),
    "Elu": _unary("Elu"),
    "Erf": _unary("Erf"),
    "Exp": _unary("Exp", -4, 2),
    "Expand": lambda m: str(m.node("Expand", m.x(4, 1, 5), m.const(np.array([1, 4, 6, 5])))),
    "Flatten": lambda m: str(m.node("Flatten", m.x(4, 5, 3))),
    "Gather": lambda m: str(
        m.node("Gather", m.x(6, 5, 5), m.const(np.array([4, 1, 1, 0])), axis=2)
    ),
    "Gelu": _unary("Gelu"),
    "Gelu, tanh": _unary("Gelu", approximate="tanh"),
    "Gemm": _gemm,
    "GlobalAveragePool": _unary("GlobalAveragePool"),
    "GlobalMaxPool": _unary("GlobalMaxPool"),
    "GroupNormalization": lambda m: str(
        m.node("GroupNormalization", m.x(6, 4, 4), m.vector(6, 0.5, 1.5), m.vector(6), num_groups=2)
    ),
    "HardSigmoid": _unary("HardSigmoid"),
    "HardSwish": _unary("HardSwish"),
    "InstanceNormalization": lambda m: str(
        m.node("InstanceNormalization", m.x(6, 5, 5), m.vector(6, 0.5, 1.5), m.vector(6))
    ),
    "LayerNormalization": _layer_norm,
    "LeakyRelu": _unary("LeakyRelu", alpha=0.07),
    "Log": _unary("Log", 0.05, 6),
    "LogSoftmax": lambda m: str(m.node("LogSoftmax", m.x(7, 10, lo=-4, hi=4), axis=-1)),
    "MatMul": _matmul,
    "MatMul of two tensors": lambda m: str(m.node("MatMul", m.x(5, 12), m.x(12, 7))),
    "Max": _two("Max", (6, 5, 5), (6, 5, 5)),
    "Max, broadcast": _two("Max", (6, 5, 5), (6, 1, 1)),
    "Max, a constant": _with("Max", (6, 1, 1)),
    "MaxPool": lambda m: str(m.node("MaxPool", m.x(6, 6, 6), kernel_shape=[2, 2], strides=[2, 2])),
    "MaxPool, dilated": lambda m: str(
        m.node("MaxPool", m.x(6, 7, 7), kernel_shape=[2, 2], dilations=[2, 2])
    ),
    "Min": _two("Min", (6, 5, 5), (6, 5, 5)),
    "Mish": _unary("Mish"),
    "Mul": _two("Mul", (6, 5, 5), (6, 5, 5)),
    "Mul, broadcast by channel": _two("Mul", (6, 5, 5), (6, 1, 1), lo=0.0),
    "Mul, a constant": _with("Mul", (6, 1, 1)),
    "Neg": _unary("Neg"),
    "PRelu": lambda m: str(
        m.node("PRelu", m.x(6, 5, 5), m.const(m.rng.uniform(0, 0.5, (6, 1, 1)).astype(np.float32)))
    ),
    "Pad": _pad,
    "Pow": lambda m: str(m.node("Pow", m.x(6, 5, 5), m.const(np.float32(2)))),
    "Reciprocal": _unary("Reciprocal", 0.3, 5),
    "ReduceMax": _reduce("ReduceMax", [2], 0),
    "ReduceMean": _reduce("ReduceMean", [2, 3], 1),
    "ReduceMean, channels": _reduce("ReduceMean", [1], 1),
    "ReduceMin": _reduce("ReduceMin", [1], 0),
    "ReduceSum": _reduce("ReduceSum", [3], 0),
    "Relu": _unary("Relu"),
    "Reshape": _shape("Reshape", [0, 8, -1]),
    "Resize, nearest": _resize("nearest", "asymmetric", nearest_mode="floor"),
    "Resize, linear": _resize("linear", "half_pixel"),
    "Resize, linear, corners": _resize("linear", "align_corners"),
    "Selu": _unary("Selu"),
    "SiLU": _silu,
    "Sigmoid": _unary("Sigmoid", -6, 6),
    "Slice": _sliced,
    "Softmax": lambda m: str(m.node("Softmax", m.x(7, 10, lo=-4, hi=4), axis=-1)),
    "Softplus": _unary("Softplus"),
    "Softplus by Where": _softplus_by_where,
    "Softsign": _unary("Softsign"),
    "SpaceToDepth": lambda m: str(m.node("SpaceToDepth", m.x(3, 6, 6), blocksize=2)),
    "Split": _split,
    "Sqrt": _unary("Sqrt", 0.0, 6),
    "Squeeze": lambda m: str(m.node("Squeeze", m.x(6, 1, 5), m.const(np.array([2])))),
    "Sub": _two("Sub", (6, 5, 5), (6, 5, 5)),
    "Sub, a constant": _with("Sub", (6, 1, 1)),
    "Sum": lambda m: str(m.node("Sum", m.x(6, 5, 5), m.x(6, 5, 5), m.x(6, 5, 5))),
    "Tanh": _unary("Tanh"),
    "ThresholdedRelu": _unary("ThresholdedRelu", alpha=0.8),
    "Tile": lambda m: str(m.node("Tile", m.x(3, 4, 2), m.const(np.array([1, 2, 1, 3])))),
    "Transpose": lambda m: str(m.node("Transpose", m.x(6, 4, 5), perm=[0, 2, 3, 1])),
    "Unsqueeze": lambda m: str(m.node("Unsqueeze", m.x(6, 5), m.const(np.array([2])))),
    "Where": _where,
}
"""One operator each, by the name that the table shows."""
