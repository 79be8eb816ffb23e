"""QONNX models in the idioms of their exporters, and what QONNX's executor gives for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

import hwsim

Array = npt.NDArray[Any]
GENERAL = "qonnx.custom_op.general"
CHANNELS_LAST = "qonnx.custom_op.channels_last"
BREVITAS = "onnx.brevitas"
FINN = "finn.custom_op.general"


class Net:
    """Builds QONNX models with seeded weights; scales are powers of two unless said otherwise."""

    def __init__(self, seed: int, *, domain: str = GENERAL, opset: int = 13) -> None:
        self.rng = np.random.default_rng(seed)
        self.domain, self.opset = domain, opset
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.shape: tuple[int, ...] = ()
        self.shapes: dict[str, tuple[int, ...]] = {}  # of tensors whose shape QONNX must be told

    def constant(self, value: npt.ArrayLike, dtype: Any = np.float32) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def do(self, op: str, inputs: Sequence[str], **attributes: Any) -> str:
        out = f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [out], name=f"{out}_n", **attributes))
        return out

    def quant(
        self,
        x: str,
        scale: npt.ArrayLike,
        bits: npt.ArrayLike,
        *,
        signed: int = 1,
        narrow: int = 0,
        mode: str = "ROUND",
        zero: npt.ArrayLike = 0,
        op: str = "Quant",
    ) -> str:
        inputs = [x, self.constant(scale), self.constant(zero), self.constant(bits)]
        rule = {"signed": signed, "narrow": narrow, "rounding_mode": mode}
        return self.do(op, inputs, domain=self.domain, **rule)

    def sign(self, x: str, scale: npt.ArrayLike = 1.0) -> str:
        return self.do("BipolarQuant", [x, self.constant(scale)], domain=self.domain)

    def floats(
        self,
        x: str,
        exponent: int,
        mantissa: int,
        scale: npt.ArrayLike = 1.0,
        *,
        most: float | None = None,
        bias: float | None = None,
        mode: str = "ROUND",
        saturation: int = 1,
    ) -> str:
        """FloatQuant, with the exponent bias and the largest float that Brevitas would take."""
        offset = 2.0 ** (exponent - 1) - 1 if bias is None else bias
        top = (2 - 2.0**-mantissa) * 2.0 ** (2.0**exponent - 1 - offset)
        numbers = (scale, exponent, mantissa, offset, top if most is None else most)
        rule = {"rounding_mode": mode, "saturation": saturation}
        rule |= {"has_inf": 0, "has_nan": 0, "has_subnormal": 1}
        inputs = [x, *[self.constant(value) for value in numbers]]
        return self.do("FloatQuant", inputs, domain=self.domain, **rule)

    def start(self, *shape: int, scale: float = 2.0**-5, bits: int = 8, **rule: Any) -> str:
        self.shape = shape
        return self.quant("x", scale, bits, **rule)

    def weights(self, shape: tuple[int, ...], scale: npt.ArrayLike = 2.0**-4, bits: int = 6) -> str:
        values = self.constant(self.rng.normal(0, 0.4, shape))
        return self.quant(values, scale, bits, narrow=1)

    def norm(self, x: str, channels: int, *, spread: float = 1.0, falling: bool = True) -> str:
        """BatchNormalization with factors of both signs."""
        rng = self.rng
        sign = rng.choice([-1, 1], channels) if falling else 1
        scale = rng.uniform(0.3, 2.0, channels) * sign
        constants = (scale, rng.normal(0, 0.6, channels), rng.normal(0, spread, channels))
        variance = rng.uniform(0.3, 2.0, channels) * spread**2
        names = [self.constant(value) for value in (*constants, variance)]
        return self.do("BatchNormalization", [x, *names], epsilon=1e-5)

    def model(self, out: str, *shape: int) -> onnx.ModelProto:
        ports = [
            helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, *sizes])
            for name, sizes in (("x", self.shape), (out, shape))
        ]
        told = [
            helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, sizes)
            for name, sizes in self.shapes.items()
        ]
        graph = helper.make_graph(
            self.nodes, "net", ports[:1], ports[1:], self.constants, value_info=told
        )
        domains = {node.domain for node in self.nodes if node.domain}
        opsets = [helper.make_opsetid("", self.opset)]
        for domain in sorted(domains):  # with the channels last it is ONNX's own version
            version = self.opset if domain == CHANNELS_LAST else 1
            opsets.append(helper.make_opsetid(domain, version))
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def executed(model: onnx.ModelProto, x: Array) -> Array:
    """QONNX's own result; its graphs have a batch of 1."""
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx
    from qonnx.util.cleanup import cleanup_model

    wrapped = cleanup_model(ModelWrapper(model))
    name = wrapped.graph.input[0].name
    rows = [next(iter(execute_onnx(wrapped, {name: row[None]}).values())) for row in x]
    return np.concatenate(rows)


def differences(graph: hwsim.Graph, model: onnx.ModelProto, x: Array) -> int:
    """Values that differ from the executor's, of an answer that is not always the same."""
    got, expected = hwsim.emulate(graph, x), executed(model, x)
    assert got.shape == expected.shape
    assert len(np.unique(expected)) > 1
    return int((got != expected).sum())


def on_grid(shape: tuple[int, ...], seed: int, *, batch: int = 12, step: float = 2.0**-6) -> Array:
    """Inputs on half steps of the input's grid: ties for the input's own quantizer too."""
    rng = np.random.default_rng(seed)
    return (np.rint(rng.normal(0, 1, (batch, *shape)) / step) * step).astype(np.float32)


def off_grid(shape: tuple[int, ...], seed: int, *, batch: int = 12) -> Array:
    """Any reals."""
    return np.random.default_rng(seed).normal(0, 1, (batch, *shape)).astype(np.float32)
