"""Writes small quantized ONNX models: codes, scales and zero points, and a builder of graphs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

Array = npt.NDArray[Any]
MICROSOFT = "com.microsoft"


@dataclass(frozen=True, slots=True)
class Q:
    """How the codes of one tensor map to reals: real = (code - zero_point) * scale (float32)."""

    dtype: str
    scale: float
    zero_point: int

    @property
    def info(self) -> np.iinfo[Any]:
        return np.iinfo(np.dtype(self.dtype))

    def real(self, codes: Array) -> Array:
        """The float32 reals of integer ``codes``, as DequantizeLinear gives them."""
        return (codes.astype(np.int64) - self.zero_point).astype(np.float32) * np.float32(
            self.scale
        )


def activation(dtype: str, *, scale: float, zero_point: int) -> Q:
    """``zero_point`` counts from the middle of the range, so one number serves int8 and uint8."""
    return Q(dtype, float(np.float32(scale)), zero_point + (128 if dtype == "uint8" else 0))


class Builder:
    """Collects the nodes and initializers of one model."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []

    def constant(self, name: str, value: npt.ArrayLike) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(self, op: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, list(inputs), [output], name=output, **attributes))
        return output

    def parameters(self, name: str, q: Q) -> tuple[str, str]:
        """Scalar scale and zero point initializers of ``q``."""
        return (
            self.constant(f"{name}_scale", np.array(q.scale, np.float32)),
            self.constant(f"{name}_zero_point", np.array(q.zero_point, q.dtype)),
        )

    def qdq(self, name: str, q: Q, output: str | None = None) -> str:
        """Quantize then dequantize tensor ``name``; returns the dequantized tensor."""
        scale, zero = self.parameters(name, q)
        code = self.node("QuantizeLinear", [name, scale, zero], f"{name}_q")
        return self.node("DequantizeLinear", [code, scale, zero], output or f"{name}_dq")

    def input(self, name: str, shape: Sequence[int], dtype: str = "float32") -> str:
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        self.inputs.append(helper.make_tensor_value_info(name, kind, ["N", *shape]))
        return name

    def real_input(self, name: str, shape: Sequence[int], q: Q) -> str:
        return self.qdq(self.input(name, shape), q)

    def code_input(self, name: str, shape: Sequence[int], q: Q, *, ends: bool) -> list[str]:
        """``[codes, scale, zero_point]`` of an input that is float (``ends``) or integer."""
        scale, zero = self.parameters(name, q)
        if not ends:
            return [self.input(name, shape, q.dtype), scale, zero]
        self.input(name, shape)
        return [self.node("QuantizeLinear", [name, scale, zero], f"{name}_q"), scale, zero]

    def weights(self, shape: tuple[int, ...], channels: int, *, pow2: bool, dtype: str) -> Weights:
        """Random weight codes and one scale for each of ``channels`` (1: per tensor)."""
        top = 3 if pow2 else 127
        codes = self.rng.integers(-top, top + 1, shape)
        zero = 0
        if dtype == "uint8":
            zero = 131
            codes = codes // 2 + zero
        exponent = self.rng.integers(-8, -5, channels)
        scale = np.exp2(exponent) if pow2 else self.rng.uniform(0.002, 0.008, channels)
        return Weights(codes.astype(dtype), scale.astype(np.float32), zero)

    def finish(self, output: str, *, rank: int, dtype: str = "float32") -> onnx.ModelProto:
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        shape = ["N", *[None] * (rank - 1)]
        port = helper.make_tensor_value_info(output, kind, shape)
        graph = helper.make_graph(self.nodes, "synthetic", self.inputs, [port], self.constants)
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid(MICROSOFT, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        onnx.checker.check_model(model)
        return onnx.shape_inference.infer_shapes(model)


@dataclass(frozen=True, slots=True)
class Weights:
    """Weight codes, float32 scales (one, or one a channel) and the common zero point."""

    codes: Array
    scale: Array
    zero_point: int

    def add(self, b: Builder, name: str) -> list[str]:
        """Initializers ``[codes, scale, zero_point]``; scalars when there is one scale."""
        scale = self.scale if self.scale.size > 1 else self.scale.reshape(())
        zero = np.full(scale.shape, self.zero_point, self.codes.dtype)
        return [
            b.constant(f"{name}_q", self.codes),
            b.constant(f"{name}_scale", scale),
            b.constant(f"{name}_zero_point", zero),
        ]

    def real(self, b: Builder, name: str, axis: int) -> str:
        extra = {"axis": axis} if self.scale.size > 1 else {}
        return b.node("DequantizeLinear", self.add(b, name), f"{name}_dq", **extra)

    def bias(self, b: Builder, count: int, source: Q) -> Weights:
        """A 32-bit bias in the accumulator's own scale, as large as a few products."""
        top = 200 if np.abs(self.codes.astype(int) - self.zero_point).max() <= 3 else 20_000
        codes = b.rng.integers(-top, top + 1, count).astype(np.int32)
        return Weights(codes, self.scale * np.float32(source.scale), 0)
