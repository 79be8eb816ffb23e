"""Random small quantized networks in the idioms of real exporters, written node by node.

``network(seed)`` draws a style (who exported it: types, zero points, scales, biases, ports, how a
map becomes a vector, where ReLUs and quantizers stand, how it ends) and then a chain of blocks in
that style. Every draw is valid ONNX that ONNX Runtime runs; nothing else is promised.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from support.onnx_builder import MICROSOFT, Array, Builder, Q

Shape = tuple[int, ...]
SMALL = {"int4": (TensorProto.INT4, -8, 7), "uint4": (TensorProto.UINT4, 0, 15)}


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
    own_pairs: bool = False  # each reader of a tensor has a quantizer and dequantizer of its own
    shared: bool = False  # equal scales and zero points are one constant
    zero_points: bool = True
    scale_shape: Shape = ()
    codes: bool = False  # QLinear operators instead of pairs
    integer_ports: tuple[str, ...] = ("none",)


STYLES = (
    Style(name="quantize_static", dtypes=("uint8", "int8"), biases=("int32",),
          flat=("Flatten", "Reshape", "shape chain"), gemm=("Gemm", "MatMul"),
          weight_dtypes=("int8", "uint8")),
    Style(name="quantize_static, float bias", dtypes=("uint8", "int8"), biases=("float", "none"),
          flat=("Flatten", "Reshape"), gemm=("Gemm", "MatMul"), own_pairs=True),
    Style(name="QOperator", dtypes=("uint8", "uint8", "int8"), biases=("int32",), codes=True,
          integer_ports=("none", "both", "output")),
    Style(name="torch, old exporter", dtypes=("int8", "uint8"), biases=("float", "int32"),
          flat=("Flatten", "shape chain"), flat_quantized=False,
          tails=("quantized", "float"), opset=13),
    Style(name="torch, new exporter", dtypes=("int8", "uint8"), biases=("float", "int32"),
          flat=("Reshape",), flat_quantized=False, tails=("quantized", "float"), opset=18,
          shared=True),
    Style(name="tf2onnx", dtypes=("int8", "uint8"), biases=("int32", "float"),
          gemm=("MatMul",), flat=("Reshape",), transposed_input=True, opset=13,
          integer_ports=("none", "both")),
    Style(name="AIMET", biases=("off scale", "int32"), flat=("Flatten", "Reshape"),
          scale_shape=(1,)),
    Style(name="TensorRT", dtypes=("int8",), symmetric=True, biases=("float", "off scale", "none"),
          flat=("Flatten", "Reshape"), flat_quantized=False, tails=("float", "quantized")),
    Style(name="QAT, quantizers everywhere", dtypes=("int8", "uint8"), biases=("float", "int32"),
          flat=("Flatten", "Squeeze"), relu_quantized=True, tails=("float", "quantized"),
          opset=21, shared=True),
    Style(name="without zero points", symmetric=True, biases=("float", "none"), flat=("Reshape",),
          zero_points=False),
    Style(name="small weights, wide activations", dtypes=("uint8", "int16", "uint16"),
          weight_dtypes=("int4", "uint4", "int8"), biases=("float", "int32"), flat=("Flatten",),
          opset=21, tails=("quantized", "float")),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tensor:
    """A float tensor of the graph, its shape without the batch, its last quantizer and its source.

    ``source`` is the tensor before that quantizer; ``code`` the one behind it.
    """

    name: str
    shape: Shape
    q: Q
    source: str = ""
    code: str = ""


class Network(Builder):
    """Writes blocks in one style; every method takes tensors and gives the block's output."""

    def __init__(self, seed: int, style: Style | None = None) -> None:
        super().__init__(seed)
        self.style = style or STYLES[int(self.rng.integers(len(STYLES)))]
        self.dtype = self.pick(self.style.dtypes)
        self.weight_dtype = self.pick(self.style.weight_dtypes)
        if self.style.codes and self.dtype == "int8":
            self.weight_dtype = "int8"
        self.pow2 = self.chance(0.4)
        self.per_channel = self.weight_dtype == "int8" and self.chance(0.6)
        self.wide = "16" in self.dtype
        self.batch: str | int = "N" if self.chance(0.85) else 4
        self.ports = self.pick(self.style.integer_ports)
        self.known: dict[Q, tuple[str, str]] = {}
        self.more: list[tuple[str, int, str]] = []  # outputs inside the network
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
        """``scale`` is meant for 8 bits."""
        info = np.iinfo(self.dtype)
        scale = scale / 256 if self.wide else scale
        if self.style.symmetric:
            return Q(self.dtype, self.near(scale), 0)
        if rectified and self.chance(0.8):
            return Q(self.dtype, self.near(scale / 2), int(info.min))
        margin = 60 * (256 if self.wide else 1)
        zero = int(self.rng.integers(info.min + margin, info.max - margin))
        return Q(self.dtype, self.near(scale), zero)

    # Nodes

    def do(self, op: str, *inputs: str, **attributes: Any) -> str:
        return self.node(op, inputs, self.new(op.lower()), **attributes)

    def ints(self, *values: int) -> str:
        return self.constant(self.new("ints"), np.array(values, np.int64))

    def given(self, q: Q) -> tuple[str, ...]:
        """Scale and perhaps zero point."""
        if not self.style.shared or q not in self.known:
            shape, name = self.style.scale_shape, self.new("q")
            scale = self.constant(f"{name}_scale", np.full(shape, q.scale, np.float32))
            zero = self.constant(f"{name}_zero_point", np.full(shape, q.zero_point, q.dtype))
            self.known[q] = (scale, zero)
        return self.known[q][: 2 if self.style.zero_points else 1]

    def quantized(self, name: str, shape: Shape, q: Q) -> Tensor:
        """Through a pair of QuantizeLinear and DequantizeLinear, now and then through two."""
        given = self.given(q)
        code = self.do("QuantizeLinear", name, *given)
        real = self.do("DequantizeLinear", code, *given)
        if self.style.relu_quantized and not self.pow2 and self.chance(0.08):
            return self.quantized(real, shape, self.quantity(q.scale))
        return Tensor(real, shape, q, name, code)

    def read(self, x: Tensor) -> str:
        """The tensor for one more reader, which may have a pair of its own."""
        if self.style.own_pairs and x.source and self.chance(0.7):
            return self.quantized(x.source, x.shape, x.q).name
        return x.name

    def kernel(self, shape: tuple[int, ...], axis: int, channels: int) -> tuple[str, Array]:
        name = self.new("w")
        if self.weight_dtype in SMALL:
            return self.small_kernel(name, shape)
        w = self.weights(
            shape, channels if self.per_channel else 1, pow2=self.pow2, dtype=self.weight_dtype
        )
        return w.real(self, name, axis), w.scale

    def small_kernel(self, name: str, shape: tuple[int, ...]) -> tuple[str, Array]:
        """Weights of 4 bits."""
        kind, low, high = SMALL[self.weight_dtype]
        codes, zero = self.rng.integers(low, high + 1, shape), (low + high + 1) // 2
        self.constants += [
            helper.make_tensor(f"{name}_q", kind, shape, codes.ravel().tolist()),
            helper.make_tensor(f"{name}_zero", kind, (), [zero]),
        ]
        scale = np.float32(self.near(0.06))
        inputs = [f"{name}_q", self.constant(f"{name}_scale", scale), f"{name}_zero"]
        return self.do("DequantizeLinear", *inputs), np.array([scale])

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
        elif self.chance(0.02):
            codes[0] = 2**31 - 1
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
            name, shape = self.halved(name), _halved(shape)
        if pool and self.chance(0.15):
            name, shape = self.move(name, shape)
        return self.quantized(name, shape, q)

    def moved(self, x: Tensor) -> Tensor:
        """Elements cut, repeated, padded or turned, with a quantizer behind them or without."""
        name, shape = self.move(self.read(x), x.shape)
        kind = self.pick(("same scale", "same scale", "other scale", "none"))
        if kind == "none" and not self.wide:
            return Tensor(name, shape, x.q)
        other = kind == "other scale" and not self.wide
        return self.quantized(name, shape, self.quantity(x.q.scale) if other else x.q)

    def move(self, name: str, shape: Shape) -> tuple[str, Shape]:
        """One operator that moves the elements of a map."""
        channels, height, width = shape
        kinds = ["Slice", "Slice all", "Gather", "Resize", "Pad", "Tile", "Transpose", "Expand"]
        if channels % 4 == 0:
            kinds.append("DepthToSpace")
        if height % 2 == 0 and width % 2 == 0:
            kinds.append("SpaceToDepth")
        match self.pick(tuple(kinds)):
            case "Slice":
                far, axis = self.ints((1 << 63) - 1), int(self.rng.integers(1, 4))
                name = self.do("Slice", name, self.ints(shape[axis - 1] // 2), far, self.ints(axis))
                sizes = list(shape)
                sizes[axis - 1] -= shape[axis - 1] // 2
                return name, tuple(sizes)
            case "Slice all":
                far = self.ints((1 << 63) - 1)
                return self.do("Slice", name, self.ints(0), far, self.ints(2)), shape
            case "Gather":
                places = self.rng.integers(0, channels, 3)
                name = self.do("Gather", name, self.ints(*places.tolist()), axis=1)
                return name, (3, height, width)
            case "Resize":
                scales = self.constant(self.new("scales"), np.array([1, 1, 2, 1.5], np.float32))
                name = self.do("Resize", name, "", scales, mode="nearest")
                return name, (channels, 2 * height, width * 3 // 2)
            case "Pad":
                value = self.constant(self.new("v"), np.float32(self.rng.choice([0, 0, 0.3, -9])))
                name = self.do("Pad", name, self.ints(0, 0, 1, 0, 0, 0, 1, 2), value)
                return name, (channels, height + 2, width + 2)
            case "Tile":
                return self.do("Tile", name, self.ints(1, 1, 1, 2)), (channels, height, 2 * width)
            case "Transpose":
                return self.do("Transpose", name, perm=[0, 1, 3, 2]), (channels, width, height)
            case "Expand":
                return self.do("Expand", name, self.ints(1, 1, 1, 1)), shape
            case "DepthToSpace":
                name = self.do("DepthToSpace", name, blocksize=2)
                return name, (channels // 4, 2 * height, 2 * width)
        name = self.do("SpaceToDepth", name, blocksize=2)
        return name, (channels * 4, height // 2, width // 2)

    def halved(self, name: str) -> str:
        return self.do("MaxPool", name, kernel_shape=[2, 2], strides=[2, 2])

    def conv(self, x: Tensor) -> Tensor:
        channels, height, width = x.shape
        name = self.do("Relu", x.name) if self.chance(0.1) else x.name
        depthwise = self.chance(0.25)
        out = channels if depthwise else int(self.rng.integers(2, 6))
        size = int(self.rng.choice([1, 3])) if min(height, width) >= 3 else 1
        pad = int(size == 3 and (self.chance(0.5) or min(height, width) < 4))
        if size == 3 and not pad and self.chance(0.2):
            name = self.do("Pad", name, self.ints(0, 0, 1, 0, 0, 0, 1, 2))
            height, width = height + 2, width + 2
        stride = 2 if self.chance(0.2) and min(height, width) > 4 else 1
        group = channels if depthwise else 1
        w, scale = self.kernel((out, channels // group, size, size), 0, out)
        sums = (np.float32(x.q.scale) * scale).astype(np.float32)
        inputs = [name, w, *filter(None, [self.bias(sums, out)])]
        name = self.do("Conv", *inputs, group=group, kernel_shape=[size, size],
                       pads=[pad] * 4, strides=[stride] * 2)  # fmt: skip
        if len(inputs) == 2 and self.chance(0.2):
            row = self.rng.normal(0, 20 * float(sums.max()), (1, out, 1, 1)).astype(np.float32)
            name = self.do("Add", name, self.constant(self.new("row"), row))
        shape = (out, *((s + 2 * pad - size) // stride + 1 for s in (height, width)))
        spread = self.spread(sums, size * size * channels // group)
        return self.ended(name, shape, spread, pool=True)

    def spread(self, sums: Array, terms: int) -> float:
        """A scale for the sums of so many products whose codes are worth ``sums``."""
        wide = 256 if self.wide else 1
        narrow = {"int4": 1 / 16, "uint4": 1 / 16}.get(self.weight_dtype, 1)
        return float(sums.max()) * 40.0 * float(np.sqrt(terms)) * wide * narrow

    def pooled(self, x: Tensor) -> Tensor:
        if min(x.shape[1:]) < 2:
            return self.function(x)
        kind = self.pick(("MaxPool", "AveragePool", "same scale"))
        # ONNX Runtime refuses averages whose scale has an axis.
        mean = kind == "AveragePool" and not self.style.scale_shape
        op = "AveragePool" if mean else "MaxPool"
        name = self.do(op, x.name, kernel_shape=[2, 2], strides=[2, 2])
        q = x.q if kind == "same scale" or self.wide else self.quantity(x.q.scale)
        return self.quantized(name, _halved(x.shape), q)

    def function(self, x: Tensor) -> Tensor:
        if self.wide:
            return self.conv(x) if len(x.shape) == 3 else x
        op = self.pick(("Sigmoid", "LeakyRelu", "Tanh", "Relu", "HardSigmoid"))
        scale = {"LeakyRelu": x.q.scale, "Relu": x.q.scale}.get(op, 1 / 128)
        name = self.do(op, self.read(x))
        return self.quantized(name, x.shape, self.quantity(scale, rectified=True))

    def residual(self, x: Tensor) -> Tensor:
        if self.wide:
            return self.conv(x)
        other = self.function(x) if self.chance(0.5) or len(x.shape) < 3 else self.same_conv(x)
        pair = (self.read(x), self.read(other))
        name = self.do("Add", *(pair if self.chance(0.5) else pair[::-1]))
        return self.ended(name, x.shape, max(x.q.scale, other.q.scale) * 1.4)

    def same_conv(self, x: Tensor) -> Tensor:
        w, scale = self.kernel((x.shape[0], x.shape[0], 1, 1), 0, x.shape[0])
        sums = (np.float32(x.q.scale) * scale).astype(np.float32)
        name = self.do("Conv", self.read(x), w, *filter(None, [self.bias(sums, x.shape[0])]))
        return self.quantized(name, x.shape, self.quantity(self.spread(sums, x.shape[0])))

    def joined(self, x: Tensor) -> Tensor:
        if self.wide:
            return self.conv(x)
        other = self.function(x)
        shape = (x.shape[0] * 2, *x.shape[1:])
        name = self.do("Concat", self.read(x), other.name, axis=1)
        return self.quantized(name, shape, self.quantity(max(x.q.scale, other.q.scale)))

    def flattened(self, x: Tensor) -> Tensor:
        """A map as a vector, perhaps averaged first."""
        name, shape, averaged = x.name, x.shape, self.chance(0.4) and not self.wide
        if averaged:
            mean = self.chance(0.2) and self.style.opset < 18
            name = (
                self.do("ReduceMean", name, axes=[2, 3])
                if mean
                else self.do("GlobalAveragePool", name)
            )
            shape = (shape[0], 1, 1)
            if self.chance(0.5):
                name = self.quantized(name, shape, self.quantity(x.q.scale / 2)).name
        how, size = self.pick(self.style.flat), int(np.prod(shape))
        if how == "Squeeze" and averaged:
            name = self.do("Squeeze", name, self.ints(2, 3))
        elif how == "Reshape":
            target = (0, -1) if self.chance(0.5) else (-1, size)
            name = self.do("Reshape", name, self.ints(*target))
        elif how == "shape chain":
            first = self.constant(self.new("i"), 0)
            count = self.do("Gather", self.do("Shape", name), first, axis=0)
            batch = self.do("Unsqueeze", count, self.ints(0))
            name = self.do("Reshape", name, self.do("Concat", batch, self.ints(-1), axis=0))
        else:
            name = self.do("Flatten", name)
        if averaged:
            return self.quantized(name, (size,), self.quantity(x.q.scale / 2))
        if self.style.flat_quantized or self.chance(0.3):
            return self.quantized(name, (size,), x.q)
        return Tensor(name, (size,), x.q)

    def dense(self, x: Tensor, units: int) -> tuple[str, float]:
        """A Gemm, or a MatMul and perhaps an Add; not yet quantized; and a scale for its sums."""
        how = self.pick(self.style.gemm)
        turned = how == "Gemm" and self.chance(0.6)
        terms = x.shape[-1]
        w, scale = self.kernel((units, terms) if turned else (terms, units), int(not turned), units)
        sums = (np.float32(x.q.scale) * scale).astype(np.float32)
        bias = self.bias(sums, units)
        if how == "Gemm":
            name = self.do("Gemm", x.name, w, *filter(None, [bias]), transB=int(turned))
        else:
            name = self.do("MatMul", x.name, w)
            if bias:
                name = self.do("Add", *((name, bias) if self.chance(0.7) else (bias, name)))
        return name, self.spread(sums, terms)

    # Whole networks

    def network(self) -> onnx.ModelProto:
        x = self.start()
        if self.style.codes:
            return self.of_codes(x)
        if len(x.shape) == 3:
            blocks = (self.conv, self.conv, self.pooled, self.residual, self.joined, self.function)
            blocks = (*blocks, self.moved)
            for _ in range(int(self.rng.integers(1, 4))):
                x = blocks[int(self.rng.integers(len(blocks)))](x)
                self.shown(x)
            if self.chance(0.25):
                return self.finished(x)
            x = self.flattened(x)
        for _ in range(int(self.rng.integers(0, 2))):
            units = int(self.rng.integers(3, 8))
            name, scale = self.dense(x, units)
            x = self.ended(name, (*x.shape[:-1], units), scale)
        name, scale = self.dense(x, 5)
        if self.pick(self.style.tails) == "quantized":
            return self.finished(self.ended(name, (*x.shape[:-1], 5), scale))
        if self.chance(0.2):
            name = self.do("Relu", name)
        return self.model((name, len(x.shape) + 1, "float32"))

    def shown(self, x: Tensor) -> None:
        """Now and then a tensor inside is an output too, its reals or its codes."""
        if x.code and self.chance(0.04):
            pair = (x.name, "float32") if self.chance(0.6) else (x.code, self.dtype)
            self.more.append((pair[0], len(x.shape) + 1, pair[1]))

    def finished(self, x: Tensor) -> onnx.ModelProto:
        rank = len(x.shape) + 1
        if self.ports == "both" and x.code:
            return self.model((x.code, rank, x.q.dtype))
        if self.chance(0.05) and len(x.shape) == 1:
            keep = int(self.chance(0.5))
            best = self.do("ArgMax", x.name, axis=-1, keepdims=keep)
            return self.model((best, 1 + keep, "int64"))
        return self.model((x.name, rank, "float32"))

    def start(self) -> Tensor:
        q, draw = self.quantity(0.03), self.rng.random()
        if draw < 0.3 and not self.style.codes:
            rows = (5,) if draw < 0.06 and "MatMul" in self.style.gemm[:1] else ()
            return self.entered((*rows, 12), q)
        shape = (int(self.rng.integers(1, 4)), 6, int(self.rng.integers(5, 8)))
        if self.style.transposed_input and self.ports == "none":
            x = self.port("x", (*shape[1:], shape[0]), "float32")
            return self.quantized(self.do("Transpose", x, perm=[0, 3, 1, 2]), shape, q)
        return self.entered(shape, q)

    def entered(self, shape: Shape, q: Q) -> Tensor:
        if self.ports != "both":
            return self.quantized(self.port("x", shape, "float32"), shape, q)
        code = self.port("x", shape, q.dtype)
        return Tensor(self.do("DequantizeLinear", code, *self.given(q)), shape, q, "", code)

    def port(self, name: str, shape: Shape, dtype: str) -> str:
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        self.inputs.append(helper.make_tensor_value_info(name, kind, [self.batch, *shape]))
        return name

    def model(self, *outputs: tuple[str, int, str]) -> onnx.ModelProto:
        ports = [
            helper.make_tensor_value_info(
                name,
                helper.np_dtype_to_tensor_dtype(np.dtype(kind)),
                [self.batch, *[None] * (rank - 1)],
            )
            for name, rank, kind in {o[0]: o for o in (*outputs, *self.more)}.values()
        ]
        graph = helper.make_graph(self.nodes, self.style.name, self.inputs, ports, self.constants)
        opsets = [helper.make_opsetid("", self.style.opset), helper.make_opsetid(MICROSOFT, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        onnx.checker.check_model(model)
        return model

    # Operators on codes

    def of_codes(self, x: Tensor) -> onnx.ModelProto:
        """QLinear operators, and an end in codes or reals."""
        code, shape, q = x.code, x.shape, x.q
        for _ in range(int(self.rng.integers(1, 4))):
            block = self.pick(("conv", "conv", "add", "pool", "function", "average"))
            if block == "conv" or shape[0] == 0:
                code, shape, q = self.code_conv(code, shape, q)
            elif block == "add":
                other, _, p = self.code_conv(code, shape, q, same=True)
                code, q = self.code_op("QLinearAdd", [(code, q), (other, p)], q.scale * 1.3)
            elif block == "pool" and min(shape[1:]) > 1:
                code, shape = self.halved(code), _halved(shape)
            elif block == "average" and min(shape[1:]) > 1:
                code, q = self.code_op("QLinearAveragePool", [(code, q)], q.scale,
                                       kernel_shape=[2, 2], strides=[2, 2])  # fmt: skip
                shape = _halved(shape)
            else:
                code, q = self.code_op("QLinearLeakyRelu", [(code, q)], q.scale, alpha=0.1)
        if self.chance(0.6):
            code, q = self.code_op("QLinearGlobalAveragePool", [(code, q)], q.scale / 2)
            code, shape = self.do("Flatten", code), shape[:1]
            code, shape, q = self.code_gemm(code, shape, q)
        if self.ports in ("both", "output"):
            return self.model((code, len(shape) + 1, q.dtype))
        real = self.do("DequantizeLinear", code, *self.given(q))
        return self.model((real, len(shape) + 1, "float32"))

    def code_op(
        self, op: str, inputs: list[tuple[str, Q]], scale: float, **attributes: Any
    ) -> tuple[str, Q]:
        y = self.quantity(scale)
        given = [name for code, q in inputs for name in (code, *self.given(q))]
        return self.do(op, *given, *self.given(y), domain=MICROSOFT, **attributes), y

    def code_weights(self, shape: tuple[int, ...], q: Q) -> tuple[list[str], str, Array]:
        """Weights with their parameters, an int32 bias, and what the sums' codes are worth."""
        w = self.weights(
            shape, shape[0] if self.per_channel else 1, pow2=self.pow2, dtype=self.weight_dtype
        )
        bias = self.rng.integers(-900, 900, shape[0]).astype(np.int32)
        names = w.add(self, self.new("w"))
        sums = (np.float32(q.scale) * w.scale).astype(np.float32)
        return names, self.constant(self.new("bias"), bias), sums

    def code_conv(self, code: str, shape: Shape, q: Q, same: bool = False) -> tuple[str, Shape, Q]:
        out = shape[0] if same else int(self.rng.integers(2, 6))
        size = 1 if same or min(shape[1:]) < 3 else 3
        names, bias, sums = self.code_weights((out, shape[0], size, size), q)
        y = self.quantity(self.spread(sums, size * size * shape[0]))
        inputs = [code, *self.given(q), *names, *self.given(y), bias]
        code = self.do("QLinearConv", *inputs, kernel_shape=[size, size])
        return code, (out, *(s - size + 1 for s in shape[1:])), y

    def code_gemm(self, code: str, shape: Shape, q: Q) -> tuple[str, Shape, Q]:
        names, bias, sums = self.code_weights((5, shape[0]), q)
        y = self.quantity(self.spread(sums, shape[0]))
        inputs = [code, *self.given(q), *names, bias, *self.given(y)]
        return self.do("QGemm", *inputs, domain=MICROSOFT, transB=1, alpha=1.0), (5,), y


def _halved(shape: Shape) -> Shape:
    return (shape[0], *((s - 2) // 2 + 1 for s in shape[1:]))


def network(seed: int) -> onnx.ModelProto:
    """The network of a seed."""
    return Network(seed).network()


def feeds(model: onnx.ModelProto, seed: int, batch: int = 48) -> dict[str, Array]:
    """Random reals, some of them beyond the input's range, or any codes."""
    rng = np.random.default_rng(seed)
    found = {}
    for port in model.graph.input:
        kind = port.type.tensor_type
        dims = kind.shape.dim
        shape = (dims[0].dim_value or batch, *[d.dim_value for d in dims[1:]])
        if kind.elem_type == TensorProto.FLOAT:
            found[port.name] = rng.normal(0, 1.5, shape).astype(np.float32)
        else:
            dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
            info = np.iinfo(dtype)
            found[port.name] = rng.integers(info.min, info.max + 1, shape).astype(dtype)
    return found
