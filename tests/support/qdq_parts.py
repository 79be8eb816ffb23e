"""Small QDQ files written part by part, with scales and zero points that a test chooses."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper as h
from onnx import numpy_helper as nh


class Parts:
    """Nodes and constants of a graph whose input is `x`; methods give the tensor that they make."""

    def __init__(self, rng: np.random.Generator, zero: np.integer[Any]) -> None:
        self.rng, self.zero = rng, zero
        self.nodes: list[onnx.NodeProto] = []
        self.held: list[onnx.TensorProto] = []

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        """A constant's name."""
        name = f"c{len(self.held)}"
        self.held.append(nh.from_array(np.asarray(value, dtype), name))
        return name

    def do(self, op: str, *inputs: str, **attributes: Any) -> str:
        """A node."""
        name = f"t{len(self.nodes)}"
        self.nodes.append(h.make_node(op, list(inputs), [name], **attributes))
        return name

    def pair(self, source: str, scale: float) -> str:
        """QuantizeLinear and DequantizeLinear."""
        given = [self.constant(scale), self.constant(self.zero, self.zero.dtype)]
        return self.do("DequantizeLinear", self.do("QuantizeLinear", source, *given), *given)

    def weights(self, shape: tuple[int, ...], axis: int) -> str:
        """Weights of int8, with a scale for each output."""
        codes = self.constant(self.rng.integers(-127, 128, shape), np.int8)
        scales = self.constant(self.rng.uniform(0.001, 0.003, shape[axis]))
        return self.do("DequantizeLinear", codes, scales, axis=axis)

    def bias(self, count: int) -> str:
        """A bias in floats."""
        return self.constant(self.rng.normal(0, 0.2, count))

    def conv(self, source: str, inputs: int, outputs: int, *, bias: bool = True) -> str:
        """A convolution of 3 by 3."""
        given = [self.weights((outputs, inputs, 3, 3), 0)]
        given += [self.bias(outputs)] if bias else []
        return self.do("Conv", source, *given, pads=[1] * 4)

    def dense(self, source: str, inputs: int, outputs: int, *, bias: bool = True) -> str:
        """A Gemm."""
        given = [self.weights((outputs, inputs), 0)]
        given += [self.bias(outputs)] if bias else []
        return self.do("Gemm", source, *given, transB=1)

    def model(self, output: str, *shape: str | int) -> onnx.ModelProto:
        """The file; the first of `shape` is the batch."""
        ports = [
            h.make_tensor_value_info("x", 1, list(shape)),
            h.make_tensor_value_info(output, 1, None),
        ]
        graph = h.make_graph(self.nodes, "parts", ports[:1], ports[1:], self.held)
        return h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8)
