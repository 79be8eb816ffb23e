"""Random small quantized networks in the idioms of real exporters, written node by node.

``network(seed)`` draws a style (who exported it: types, zero points, scales, biases, how a map
becomes a vector, where ReLUs and quantizers stand, how it ends) and then a chain of blocks in that
style. Every draw is valid ONNX that ONNX Runtime runs; nothing else is promised.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper
from onnx_builder import Array, Builder, Q

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """What an exporter decides once for a whole network."""

    name: str
    dtypes: tuple[str, ...] = ("uint8",)
    symmetric: bool = False  # zero points of 0, ReLUs that their quantizer does not repeat
    weight_dtypes: tuple[str, ...] = ("int8",)
    biases: tuple[str, ...] = ("int32", "none")
    gemm: tuple[str, ...] = ("Gemm",)
    flat: tuple[str, ...] = ("Flatten",)
    flat_quantized: bool = True  # a quantizer behind the operator that flattens
    tails: tuple[str, ...] = ("quantized",)
    opset: int = 17
    transposed_input: bool = False
    relu_quantized: bool = False  # also a quantizer between a layer and its ReLU


STYLES = (
    Style(name="quantize_static", dtypes=("uint8", "int8"), biases=("int32",),
          flat=("Flatten", "Reshape", "shape chain"), gemm=("Gemm", "MatMul"),
          weight_dtypes=("int8", "uint8")),
    Style(name="quantize_static, float bias", dtypes=("uint8", "int8"), biases=("float", "none"),
          flat=("Flatten", "Reshape"), gemm=("Gemm", "MatMul")),
    Style(name="torch, old exporter", dtypes=("int8", "uint8"), biases=("float", "int32"),
          flat=("Flatten", "shape chain"), flat_quantized=False,
          tails=("quantized", "float"), opset=13),
    Style(name="torch, new exporter", dtypes=("int8", "uint8"), biases=("float", "int32"),
          flat=("Reshape",), flat_quantized=False, tails=("quantized", "float"), opset=18),
    Style(name="tf2onnx", dtypes=("int8", "uint8"), biases=("int32", "float"),
          gemm=("MatMul",), flat=("Reshape",), transposed_input=True, opset=13),
    Style(name="AIMET", biases=("off scale", "int32"), flat=("Flatten", "Reshape")),
    Style(name="TensorRT", dtypes=("int8",), symmetric=True, biases=("float", "off scale", "none"),
          flat=("Flatten", "Reshape"), flat_quantized=False, tails=("float", "quantized")),
    Style(name="QAT, quantizers everywhere", dtypes=("int8", "uint8"), biases=("float", "int32"),
          flat=("Flatten", "Squeeze"), relu_quantized=True, tails=("float", "quantized"),
          opset=21),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tensor:
    """A float tensor of the graph, its shape without the batch, and its last quantizer's scale."""

    name: str
    shape: Shape
    scale: float


class Network(Builder):
    """Writes blocks in one style; every method takes tensors and gives the block's output."""

    def __init__(self, seed: int, style: Style | None = None) -> None:
        super().__init__(seed)
        self.style = style or STYLES[int(self.rng.integers(len(STYLES)))]
        self.dtype = self.pick(self.style.dtypes)
        self.weight_dtype = self.pick(self.style.weight_dtypes)
        self.pow2 = self.chance(0.3)
        self.per_channel = self.weight_dtype == "int8" and self.chance(0.6)
        self.count = 0

    # Draws

    def pick(self, options: tuple[str, ...]) -> str:
        return options[int(self.rng.integers(len(options)))]

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def new(self, what: str) -> str:
        self.count += 1
        return f"{what}_{self.count}"

    def near(self, scale: float) -> float:
        """A scale about as large, a power of two in some networks."""
        scale *= float(self.rng.uniform(0.8, 1.25))
        return float(np.float32(2.0 ** np.round(np.log2(scale)) if self.pow2 else scale))

    def quantity(self, scale: float, *, rectified: bool = False) -> Q:
        info = np.iinfo(self.dtype)
        if self.style.symmetric:
            return Q(self.dtype, self.near(scale), 0)
        if rectified and self.chance(0.8):
            return Q(self.dtype, self.near(scale / 2), int(info.min))
        return Q(self.dtype, self.near(scale), int(self.rng.integers(info.min + 60, info.max - 60)))

    # Nodes

    def do(self, op: str, *inputs: str, **attributes: Any) -> str:
        return self.node(op, inputs, self.new(op.lower()), **attributes)

    def ints(self, *values: int) -> str:
        return self.constant(self.new("ints"), np.array(values, np.int64))

    def quantized(self, name: str, shape: Shape, q: Q) -> Tensor:
        """Through a pair of QuantizeLinear and DequantizeLinear."""
        scale, zero = self.parameters(self.new(name), q)
        code = self.do("QuantizeLinear", name, scale, zero)
        return Tensor(self.do("DequantizeLinear", code, scale, zero), shape, q.scale)

    def kernel(self, shape: Shape, axis: int, channels: int) -> tuple[str, Array]:
        w = self.weights(
            shape, channels if self.per_channel else 1, pow2=self.pow2, dtype=self.weight_dtype
        )
        return w.real(self, self.new("w"), axis), w.scale

    def bias(self, scale: Array, channels: int) -> str:
        """A bias of some kind for sums whose codes are worth ``scale``; empty for none."""
        kind = self.pick(self.style.biases)
        codes = self.rng.integers(-900, 900, channels)
        if kind == "none":
            return ""
        if kind == "float":
            real = codes.astype(np.float32) * np.broadcast_to(scale, channels)
            return self.constant(self.new("bias"), real * np.float32(self.rng.uniform(0.9, 1.1)))
        if kind == "off scale":
            codes = self.rng.integers(-300, 300, channels)
            ratio = self.rng.choice([1.001, 1.004, 1.03, 1.3, 0.5, 3.7])
            scale = (scale * np.float32(ratio)).astype(np.float32)
        scale = scale if scale.size > 1 else scale.reshape(())
        inputs = [
            self.constant(self.new("bias"), codes.astype(np.int32)),
            self.constant(self.new("bias_scale"), scale.astype(np.float32)),
            self.constant(self.new("bias_zero"), np.zeros(scale.shape, np.int32)),
        ]
        return self.do("DequantizeLinear", *inputs, **({"axis": 0} if scale.size > 1 else {}))

    # Blocks

    def ended(self, name: str, shape: Shape, scale: float, pool: bool = False) -> Tensor:
        """What follows a layer: perhaps a ReLU or Clip, a max pool, and a quantizer."""
        kind = self.pick(("none", "Relu", "Relu", "Clip"))
        if kind != "none" and self.style.relu_quantized:
            name = self.quantized(name, shape, self.quantity(scale)).name
        q = self.quantity(scale, rectified=kind != "none")
        if kind == "Relu":
            name = self.do("Relu", name)
        elif kind == "Clip":
            top = (q.info.max - q.zero_point) * q.scale * (1.0 if self.chance(0.6) else 0.4)
            low = self.constant(self.new("low"), np.float32(0))
            name = self.do("Clip", name, low, self.constant(self.new("high"), np.float32(top)))
        if pool and min(shape[1:]) > 1 and self.chance(0.5):
            name, shape = (
                self.do("MaxPool", name, kernel_shape=[2, 2], strides=[2, 2]),
                _halved(shape),
            )
        return self.quantized(name, shape, q)

    def conv(self, x: Tensor) -> Tensor:
        channels, height, width = x.shape
        depthwise = self.chance(0.25)
        out = channels if depthwise else int(self.rng.integers(2, 6))
        size = int(self.rng.choice([1, 3])) if min(height, width) >= 3 else 1
        pad = int(size == 3 and (self.chance(0.5) or min(height, width) < 4))
        stride = 2 if self.chance(0.2) and min(height, width) > 4 else 1
        group = channels if depthwise else 1
        w, scale = self.kernel((out, channels // group, size, size), 0, out)
        sums = (np.float32(x.scale) * scale).astype(np.float32)
        inputs = [x.name, w, *filter(None, [self.bias(sums, out)])]
        name = self.do("Conv", *inputs, group=group, kernel_shape=[size, size],
                       pads=[pad] * 4, strides=[stride] * 2)  # fmt: skip
        shape = (out, *((s + 2 * pad - size) // stride + 1 for s in (height, width)))
        fan = size * size * channels // group
        return self.ended(name, shape, float(sums.max()) * 40.0 * np.sqrt(fan), pool=True)

    def pooled(self, x: Tensor) -> Tensor:
        if min(x.shape[1:]) < 2:
            return self.function(x)
        kind = self.pick(("MaxPool", "AveragePool", "same scale"))
        op = "MaxPool" if kind == "same scale" else kind
        name, shape = self.do(op, x.name, kernel_shape=[2, 2], strides=[2, 2]), _halved(x.shape)
        return self.quantized(name, shape, self.quantity(x.scale))

    def function(self, x: Tensor) -> Tensor:
        op = self.pick(("Sigmoid", "LeakyRelu", "Tanh", "Relu", "HardSigmoid"))
        scale = {"LeakyRelu": x.scale, "Relu": x.scale}.get(op, 1 / 128)
        return self.quantized(self.do(op, x.name), x.shape, self.quantity(scale, rectified=True))

    def residual(self, x: Tensor) -> Tensor:
        other = self.function(x) if self.chance(0.5) or len(x.shape) < 3 else self.same_conv(x)
        name = self.do("Add", *((x.name, other.name) if self.chance(0.5) else (other.name, x.name)))
        return self.ended(name, x.shape, max(x.scale, other.scale) * 1.4)

    def same_conv(self, x: Tensor) -> Tensor:
        w, scale = self.kernel((x.shape[0], x.shape[0], 1, 1), 0, x.shape[0])
        sums = (np.float32(x.scale) * scale).astype(np.float32)
        name = self.do("Conv", x.name, w, *filter(None, [self.bias(sums, x.shape[0])]))
        spread = float(sums.max()) * 40.0 * np.sqrt(x.shape[0])
        return self.quantized(name, x.shape, self.quantity(spread))

    def joined(self, x: Tensor) -> Tensor:
        other = self.function(x)
        shape = (x.shape[0] * 2, *x.shape[1:])
        name = self.do("Concat", x.name, other.name, axis=1)
        return self.quantized(name, shape, self.quantity(max(x.scale, other.scale)))

    def flattened(self, x: Tensor) -> Tensor:
        """A map as a vector, perhaps averaged first."""
        name, shape, averaged = x.name, x.shape, self.chance(0.4)
        if averaged:
            name, shape = self.do("GlobalAveragePool", name), (shape[0], 1, 1)
            if self.chance(0.5):
                name = self.quantized(name, shape, self.quantity(x.scale / 2)).name
        how = self.pick(self.style.flat)
        size = int(np.prod(shape))
        if how == "Squeeze" and averaged:
            name = self.do("Squeeze", name, self.ints(2, 3))
        elif how == "Reshape":
            name = self.do(
                "Reshape", name, self.ints(*((0, -1) if self.chance(0.5) else (-1, size)))
            )
        elif how == "shape chain":
            count = self.do(
                "Gather", self.do("Shape", name), self.constant(self.new("i"), 0), axis=0
            )
            batch = self.do("Unsqueeze", count, self.ints(0))
            name = self.do("Reshape", name, self.do("Concat", batch, self.ints(-1), axis=0))
        else:
            name = self.do("Flatten", name)
        if averaged or self.style.flat_quantized or self.chance(0.3):
            same = Q(
                self.dtype,
                x.scale,
                0 if self.style.symmetric else int(np.iinfo(self.dtype).min) + 9,
            )
            return self.quantized(name, (size,), self.quantity(x.scale / 2) if averaged else same)
        return Tensor(name, (size,), x.scale)

    def dense(self, x: Tensor, units: int) -> tuple[str, float]:
        """A Gemm, or a MatMul and perhaps an Add; not yet quantized; and a scale for its sums."""
        how = self.pick(self.style.gemm)
        turned = how == "Gemm" and self.chance(0.6)
        shape = (units, x.shape[0]) if turned else (x.shape[0], units)
        w, scale = self.kernel(shape, 0 if turned else 1, units)
        sums = (np.float32(x.scale) * scale).astype(np.float32)
        bias = self.bias(sums, units)
        if how == "Gemm":
            name = self.do("Gemm", x.name, w, *filter(None, [bias]), transB=int(turned))
        else:
            name = self.do("MatMul", x.name, w)
            if bias:
                name = self.do("Add", *((name, bias) if self.chance(0.7) else (bias, name)))
        return name, float(sums.max()) * 40.0 * float(np.sqrt(x.shape[0]))

    def network(self) -> onnx.ModelProto:
        x = self.start()
        if len(x.shape) == 3:
            blocks = (self.conv, self.conv, self.pooled, self.residual, self.joined, self.function)
            for _ in range(int(self.rng.integers(1, 4))):
                x = blocks[int(self.rng.integers(len(blocks)))](x)
            if self.chance(0.25):
                return self.model(x.name, 4)
            x = self.flattened(x)
        for _ in range(int(self.rng.integers(0, 2))):
            name, scale = self.dense(x, int(self.rng.integers(3, 8)))
            x = self.ended(name, (self.units(name),), scale)
        name, scale = self.dense(x, 5)
        if self.pick(self.style.tails) == "quantized":
            name = self.ended(name, (5,), scale).name
        elif self.chance(0.2):
            name = self.do("Relu", name)
        return self.model(name, 2)

    def units(self, name: str) -> int:
        """Outputs of the dense layer that ends in ``name``."""
        node = next(n for n in reversed(self.nodes) if n.op_type in ("Gemm", "MatMul"))
        weights = next(n for n in self.nodes if n.output[0] == node.input[1]).input[0]
        dims = next(c for c in self.constants if c.name == weights).dims
        turned = any(a.name == "transB" and a.i for a in node.attribute)
        return int(dims[0 if turned else 1])

    def start(self) -> Tensor:
        q = self.quantity(0.03)
        if self.chance(0.3):
            return self.quantized(self.input("x", (12,)), (12,), q)
        shape = (int(self.rng.integers(1, 4)), 6, int(self.rng.integers(5, 8)))
        if self.style.transposed_input:
            name = self.do("Transpose", self.input("x", (*shape[1:], shape[0])), perm=[0, 3, 1, 2])
            return self.quantized(name, shape, q)
        return self.quantized(self.input("x", shape), shape, q)

    def model(self, output: str, rank: int) -> onnx.ModelProto:
        port = helper.make_tensor_value_info(output, 1, ["N", *[None] * (rank - 1)])
        graph = helper.make_graph(self.nodes, self.style.name, self.inputs, [port], self.constants)
        opsets = [helper.make_opsetid("", self.style.opset)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        onnx.checker.check_model(model)
        return model


def _halved(shape: Shape) -> Shape:
    return (shape[0], *((s - 2) // 2 + 1 for s in shape[1:]))


def network(seed: int) -> onnx.ModelProto:
    """The network of a seed."""
    return Network(seed).network()


def feeds(model: onnx.ModelProto, seed: int, batch: int = 48) -> dict[str, Array]:
    """Random reals, some of them beyond the input's range."""
    rng = np.random.default_rng(seed)
    found = {}
    for port in model.graph.input:
        shape = (batch, *[d.dim_value for d in port.type.tensor_type.shape.dim[1:]])
        found[port.name] = rng.normal(0, 1.5, shape).astype(np.float32)
    return found
