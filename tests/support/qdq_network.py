"""A random quantized network that grows node by node, in the style of one exporter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from support.onnx_builder import MICROSOFT, Array, Builder, Q
from support.qdq_styles import STYLES, Shape, Style

SMALL = {"int4": (TensorProto.INT4, -8, 7), "uint4": (TensorProto.UINT4, 0, 15)}


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
    """Writes nodes in one style, and draws what is left open."""

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

    def spread(self, sums: Array, terms: int) -> float:
        """A scale for the sums of so many products whose codes are worth ``sums``."""
        wide = 256 if self.wide else 1
        narrow = {"int4": 1 / 16, "uint4": 1 / 16}.get(self.weight_dtype, 1)
        return float(sums.max()) * 40.0 * float(np.sqrt(terms)) * wide * narrow

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


def halved(shape: Shape) -> Shape:
    """The shape behind a pool of 2 × 2."""
    return (shape[0], *((s - 2) // 2 + 1 for s in shape[1:]))
