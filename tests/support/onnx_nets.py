"""QDQ networks node by node, in the way of onnxruntime.quantization, and data for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper

from support.onnx_builder import Array, Builder, Q, activation


def act(dtype: str, scale: float, zero: int = -9) -> Q:
    return activation(dtype, scale=scale, zero_point=zero)


class Net(Builder):
    """A builder of QDQ networks in the way of onnxruntime.quantization."""

    def __init__(self, dtype: str = "uint8", seed: int = 1) -> None:
        super().__init__(seed)
        self.dtype, self.count = dtype, 0
        self.outputs: list[tuple[str, int]] = []

    def name(self, what: str) -> str:
        self.count += 1
        return f"{what}{self.count}"

    def do(self, op: str, *inputs: str, **attributes: Any) -> str:
        return self.node(op, inputs, self.name(op.lower()), **attributes)

    def start(self, *shape: int) -> str:
        return self.real_input("x", shape, act(self.dtype, 0.03))

    def round(self, tensor: str, scale: float, zero: int = -9) -> str:
        return self.qdq(tensor, act(self.dtype, scale, zero))

    def ints(self, *values: int) -> str:
        return self.constant(self.name("shape"), np.array(values, np.int64))

    def kernel(self, shape: tuple[int, ...], axis: int, channels: int = 1) -> str:
        name = self.name("w")
        return self.weights(shape, channels, pow2=False, dtype="int8").real(self, name, axis)

    def conv(self, x: str, cin: int, cout: int, scale: float = 0.5, **attributes: Any) -> str:
        w = self.kernel((cout, cin, 3, 3), 0, cout)
        return self.round(self.do("Conv", x, w, **attributes), scale)

    def dense(self, x: str, units: int, features: int, scale: float = 0.7) -> str:
        return self.round(self.do("Gemm", x, self.kernel((features, units), 1)), scale)

    def model(self, *outputs: tuple[str, int, str]) -> onnx.ModelProto:
        """Outputs as (tensor, rank, NumPy type)."""
        ports = [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), ["N", *[None] * (rank - 1)]
            )
            for name, rank, dtype in outputs
        ]
        graph = helper.make_graph(self.nodes, "net", self.inputs, ports, self.constants)
        opsets = [helper.make_opsetid("", 17)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        onnx.checker.check_model(model)
        return model


def feeds(model: onnx.ModelProto, seed: int) -> dict[str, Array]:
    (port,) = model.graph.input
    shape = (48, *[d.dim_value for d in port.type.tensor_type.shape.dim[1:]])
    return {"x": np.random.default_rng(seed).normal(0, 2.5, shape).astype(np.float32)}


def norm(n: Net, x: str, channels: int) -> str:
    values = [n.rng.normal(1, 0.7, channels), n.rng.normal(0, 1, channels)]
    values += [n.rng.normal(0, 0.5, channels), n.rng.uniform(0.3, 2, channels)]
    names = [n.constant(n.name("bn"), v.astype(np.float32)) for v in values]
    return n.do("BatchNormalization", x, *names)


def row(n: Net) -> str:
    return n.constant("row", n.rng.normal(0, 1, 7).astype(np.float32))


def feed(model: onnx.ModelProto, seed: int, batch: int = 40) -> dict[str, Array]:
    """Random reals, or all kinds of codes of the port's own type."""
    rng, found = np.random.default_rng(seed), {}
    for port in model.graph.input:
        kind = port.type.tensor_type
        shape = (batch, *[d.dim_value for d in kind.shape.dim[1:]])
        dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
        if dtype.kind == "f":
            found[port.name] = rng.normal(0, 1.2, shape).astype(dtype)
        else:
            info = np.iinfo(dtype)
            found[port.name] = rng.integers(info.min, info.max + 1, shape).astype(dtype)
    return found


def typed(n: Net, *outputs: tuple[str, int, str], opset: int = 21) -> onnx.ModelProto:
    """The model in an opset that has 16-bit quantizers."""
    ports = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), ["N", *[None] * (rank - 1)]
        )
        for name, rank, dtype in outputs
    ]
    graph = helper.make_graph(n.nodes, "net", n.inputs, ports, n.constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    onnx.checker.check_model(model)
    return model
