"""Synthetic ONNX models for tests: one quantized operator each, seeded weights, and ONNX Runtime.

Every builder returns a checked ``onnx.ModelProto``. The QDQ builders have float ports ``x`` (and
``b`` where there are two inputs) and ``y``; the graph is Q, DQ, operator, Q, DQ, which is the form
that ONNX Runtime turns into integer kernels when all its optimizations are on. (With a bare int8
input in front of the DQ, without the Q, x86 builds leave the operator in float32.) The ``qlinear``
builders write the integer operators themselves, between the same float ends or, with
``ends=False``, on integer ports.

Defaults are meant to hurt: odd zero points, batches with every code, outputs that saturate
now and then. ``pow2=True`` makes every scale a power of two and the weights small, so that a few
per cent of all accumulators are exact ties of the rounding.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NoKernel

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


def source(dtype: str, *, pow2: bool) -> Q:
    return activation(dtype, scale=2.0**-5 if pow2 else 0.0317, zero_point=-7)


def target(dtype: str, *, fan_in: int, weights: Weights, source: Q, pow2: bool) -> Q:
    """An output scale at which the sum of ``fan_in`` products saturates now and then."""
    spread = np.std(weights.codes.astype(float)) * 74.0 * np.sqrt(fan_in)
    scale = spread * source.scale * float(weights.scale.max()) / 60.0
    if pow2:
        scale = 2.0 ** np.round(np.log2(scale))
    return activation(dtype, scale=scale, zero_point=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvSpec:
    """Everything a convolution case varies; ``pads`` is ONNX's (top, left, bottom, right)."""

    channels: int = 4
    size: tuple[int, int] = (7, 6)
    filters: int = 8
    kernel: tuple[int, int] = (3, 3)
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    group: int = 1
    per_channel: bool = True
    bias: bool = True
    dtype: str = "uint8"
    weight_dtype: str = "int8"
    pow2: bool = False
    then: str | None = None  # "Relu", "Clip" or "ClipInside" between the convolution and its Q

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        return (self.filters, self.channels // self.group, *self.kernel)

    def attributes(self) -> dict[str, Any]:
        names = ("strides", "pads", "group")
        return {"kernel_shape": self.kernel, **{n: getattr(self, n) for n in names}}

    def quantities(self, b: Builder) -> tuple[Q, Weights, Q]:
        x = source(self.dtype, pow2=self.pow2)
        scales = self.filters if self.per_channel else 1
        w = b.weights(self.weight_shape, scales, pow2=self.pow2, dtype=self.weight_dtype)
        fan_in = int(np.prod(self.weight_shape[1:]))
        y = target(self.dtype, fan_in=fan_in, weights=w, source=x, pow2=self.pow2)
        if self.then is not None:  # so that ONNX Runtime may drop the ReLU or clip
            y = replace(y, zero_point=int(y.info.min), scale=y.scale / 2)
        return x, w, y


def conv(seed: int = 0, **spec: Any) -> onnx.ModelProto:
    """A QDQ convolution; keywords are ``ConvSpec``'s. Depthwise is ``group == channels``."""
    s, b = ConvSpec(**spec), Builder(seed)
    x, w, y = s.quantities(b)
    inputs = [b.real_input("x", (s.channels, *s.size), x), w.real(b, "w", 0)]
    if s.bias:
        inputs.append(w.bias(b, s.filters, x).real(b, "bias", 0))
    out = b.node("Conv", inputs, "conv", **s.attributes())
    return b.finish(b.qdq(after(b, out, s.then, y), y, "y"), rank=4)


def after(b: Builder, tensor: str, then: str | None, y: Q) -> str:
    """``tensor`` through the named activation, or as it is.

    ONNX Runtime drops a ReLU or Clip that its Q repeats. "ClipInside" ends inside the Q's range:
    ONNX Runtime then computes the convolution in float32 (FusedConv).
    """
    if then in ("Clip", "ClipInside"):
        high = (y.info.max - y.zero_point) * y.scale * (0.3 if then == "ClipInside" else 1.0)
        limits = [b.constant("low", np.float32(0)), b.constant("high", np.float32(high))]
        return b.node("Clip", [tensor, *limits], "clip")
    return tensor if then is None else b.node(then, [tensor], then.lower())


def qlinear_conv(seed: int = 0, *, ends: bool = True, **spec: Any) -> onnx.ModelProto:
    """A QLinearConv; keywords are ``ConvSpec``'s (``then`` is not used)."""
    s, b = ConvSpec(**spec), Builder(seed)
    x, w, y = s.quantities(b)
    inputs = [*b.code_input("x", (s.channels, *s.size), x, ends=ends), *w.add(b, "w")]
    inputs += b.parameters("y", y)
    if s.bias:
        inputs.append(b.constant("bias", w.bias(b, s.filters, x).codes))
    return finish_codes(b, b.node("QLinearConv", inputs, "y_q", **s.attributes()), y, ends, rank=4)


def finish_codes(b: Builder, code: str, y: Q, ends: bool, *, rank: int) -> onnx.ModelProto:
    """End the model with a DequantizeLinear (the parameters exist) or with the codes."""
    if not ends:
        return b.finish(code, rank=rank, dtype=y.dtype)
    out = b.node("DequantizeLinear", [code, "y_scale", "y_zero_point"], "y")
    return b.finish(out, rank=rank)


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseSpec:
    """Everything a dense case varies; ``trans_b`` says that the weights are (units, features)."""

    features: int = 24
    units: int = 10
    trans_b: bool = False
    per_channel: bool = False
    bias: bool = True
    dtype: str = "uint8"
    weight_dtype: str = "int8"
    pow2: bool = False
    then: str | None = None

    def quantities(self, b: Builder) -> tuple[Q, Weights, Q]:
        x = source(self.dtype, pow2=self.pow2)
        shape = (self.units, self.features) if self.trans_b else (self.features, self.units)
        scales = self.units if self.per_channel else 1
        w = b.weights(shape, scales, pow2=self.pow2, dtype=self.weight_dtype)
        y = target(self.dtype, fan_in=self.features, weights=w, source=x, pow2=self.pow2)
        if self.then is not None:
            y = replace(y, zero_point=int(y.info.min), scale=y.scale / 2)
        return x, w, y


def gemm(seed: int = 0, **spec: Any) -> onnx.ModelProto:
    """A QDQ Gemm (ONNX Runtime: QGemm); keywords are ``DenseSpec``'s."""
    s, b = DenseSpec(**spec), Builder(seed)
    x, w, y = s.quantities(b)
    inputs = [b.real_input("x", (s.features,), x), w.real(b, "w", 0 if s.trans_b else 1)]
    if s.bias:
        inputs.append(w.bias(b, s.units, x).real(b, "bias", 0))
    out = b.node("Gemm", inputs, "gemm", transB=int(s.trans_b))
    return b.finish(b.qdq(after(b, out, s.then, y), y, "y"), rank=2)


def matmul(seed: int = 0, **spec: Any) -> onnx.ModelProto:
    """A QDQ MatMul (ONNX Runtime: QLinearMatMul); keywords are ``DenseSpec``'s, no bias."""
    s, b = DenseSpec(**spec), Builder(seed)
    x, w, y = s.quantities(b)
    inputs = [b.real_input("x", (s.features,), x), w.real(b, "w", 1)]
    out = b.node("MatMul", inputs, "matmul")
    return b.finish(b.qdq(out, y, "y"), rank=2)


def qlinear_matmul(seed: int = 0, *, ends: bool = True, **spec: Any) -> onnx.ModelProto:
    """A QLinearMatMul; keywords are ``DenseSpec``'s, no bias."""
    s, b = DenseSpec(**spec), Builder(seed)
    x, w, y = s.quantities(b)
    inputs = [*b.code_input("x", (s.features,), x, ends=ends), *w.add(b, "w")]
    code = b.node("QLinearMatMul", [*inputs, *b.parameters("y", y)], "y_q")
    return finish_codes(b, code, y, ends, rank=2)


def qgemm(seed: int = 0, *, ends: bool = True, **spec: Any) -> onnx.ModelProto:
    """A com.microsoft QGemm; keywords are ``DenseSpec``'s."""
    s, b = DenseSpec(**spec), Builder(seed)
    x, w, y = s.quantities(b)
    inputs = [*b.code_input("x", (s.features,), x, ends=ends), *w.add(b, "w")]
    inputs.append(b.constant("bias", w.bias(b, s.units, x).codes) if s.bias else "")
    inputs += b.parameters("y", y)
    code = b.node("QGemm", inputs, "y_q", domain=MICROSOFT, transB=int(s.trans_b), alpha=1.0)
    return finish_codes(b, code, y, ends, rank=2)


def two_sources(dtype: str, *, pow2: bool) -> tuple[Q, Q, Q]:
    """Two unlike inputs and an output that saturates now and then."""
    return (
        activation(dtype, scale=2.0**-5 if pow2 else 0.0317, zero_point=-7),
        activation(dtype, scale=2.0**-6 if pow2 else 0.0191, zero_point=13),
        activation(dtype, scale=2.0**-5 if pow2 else 0.0283, zero_point=5),
    )


SHAPE = (4, 6, 5)


def add(seed: int = 0, *, dtype: str = "uint8", pow2: bool = False) -> onnx.ModelProto:
    """A QDQ Add of two inputs of unlike scales (ONNX Runtime: QLinearAdd)."""
    b, (x, other, y) = Builder(seed), two_sources(dtype, pow2=pow2)
    inputs = [b.real_input("x", SHAPE, x), b.real_input("b", SHAPE, other)]
    return b.finish(b.qdq(b.node("Add", inputs, "add"), y, "y"), rank=4)


def concat(
    seed: int = 0, *, dtype: str = "uint8", pow2: bool = False, equal: bool = False, axis: int = 1
) -> onnx.ModelProto:
    """A QDQ Concat (ONNX Runtime: QLinearConcat); ``equal`` gives all tensors one scale."""
    b, (x, other, y) = Builder(seed), two_sources(dtype, pow2=pow2)
    if equal:
        other = y = x
    inputs = [b.real_input("x", SHAPE, x), b.real_input("b", SHAPE, other)]
    return b.finish(b.qdq(b.node("Concat", inputs, "concat", axis=axis), y, "y"), rank=4)


def qlinear_add(
    seed: int = 0, *, ends: bool = True, dtype: str = "uint8", pow2: bool = False
) -> onnx.ModelProto:
    """A com.microsoft QLinearAdd."""
    b, (x, other, y) = Builder(seed), two_sources(dtype, pow2=pow2)
    inputs = b.code_input("x", SHAPE, x, ends=ends) + b.code_input("b", SHAPE, other, ends=ends)
    inputs += b.parameters("y", y)
    return finish_codes(b, b.node("QLinearAdd", inputs, "y_q", domain=MICROSOFT), y, ends, rank=4)


def qlinear_concat(
    seed: int = 0, *, ends: bool = True, dtype: str = "uint8", pow2: bool = False
) -> onnx.ModelProto:
    """A com.microsoft QLinearConcat along the channels."""
    b, (x, other, y) = Builder(seed), two_sources(dtype, pow2=pow2)
    inputs = [*b.parameters("y", y), *b.code_input("x", SHAPE, x, ends=ends)]
    inputs += b.code_input("b", SHAPE, other, ends=ends)
    code = b.node("QLinearConcat", inputs, "y_q", domain=MICROSOFT, axis=1)
    return finish_codes(b, code, y, ends, rank=4)


def pool(
    op: str,
    seed: int = 0,
    *,
    dtype: str = "uint8",
    pow2: bool = False,
    equal: bool = False,
    size: tuple[int, int] = (8, 6),
    **attributes: Any,
) -> onnx.ModelProto:
    """A QDQ ``MaxPool``, ``AveragePool`` or ``GlobalAveragePool``; attributes are ONNX's.

    A MaxPool has equal scales on both sides always: it only moves codes.
    """
    b, (x, _, y) = Builder(seed), two_sources(dtype, pow2=pow2)
    y = x if equal or op == "MaxPool" else replace(y, scale=y.scale / (4 if "Global" in op else 2))
    if op != "GlobalAveragePool":
        attributes = {"kernel_shape": (2, 2), "strides": (2, 2)} | attributes
    out = b.node(op, [b.real_input("x", (4, *size), x)], "pool", **attributes)
    return b.finish(b.qdq(out, y, "y"), rank=4)


def qlinear_pool(
    op: str,
    seed: int = 0,
    *,
    ends: bool = True,
    dtype: str = "uint8",
    pow2: bool = False,
    **attributes: Any,
) -> onnx.ModelProto:
    """A com.microsoft ``QLinearAveragePool`` or ``QLinearGlobalAveragePool`` (NCHW)."""
    b, (x, _, y) = Builder(seed), two_sources(dtype, pow2=pow2)
    y = replace(y, scale=y.scale / (4 if "Global" in op else 2))
    if op == "QLinearAveragePool":
        attributes = {"kernel_shape": (2, 2), "strides": (2, 2)} | attributes
    inputs = [*b.code_input("x", (4, 8, 6), x, ends=ends), *b.parameters("y", y)]
    code = b.node(op, inputs, "y_q", domain=MICROSOFT, **attributes)
    return finish_codes(b, code, y, ends, rank=4)


def unary(
    op: str, seed: int = 0, *, dtype: str = "uint8", pow2: bool = False, **attributes: Any
) -> onnx.ModelProto:
    """A QDQ function of one code: a key of ``UNARY``; attributes are ONNX's."""
    b = Builder(seed)
    x = source(dtype, pow2=pow2)
    scale, zero_point = UNARY[op]
    y = activation(dtype, scale=scale if pow2 else scale * 1.013, zero_point=zero_point)
    inputs = [b.real_input("x", SHAPE, x)]
    if op == "Clip":
        inputs += [b.constant("low", np.float32(-0.6)), b.constant("high", np.float32(0.9))]
    return b.finish(b.qdq(b.node(op, inputs, "unary", **attributes), y, "y"), rank=4)


# Output scale and zero point (from the middle of the range) that suit each function.
UNARY = {
    "Clip": (2.0**-7, 11),
    "Elu": (2.0**-5, -61),
    "HardSigmoid": (2.0**-8, -127),
    "LeakyRelu": (2.0**-5, -61),
    "Relu": (2.0**-5, -127),
    "Sigmoid": (2.0**-8, -127),
    "Tanh": (2.0**-7, 5),
}


@dataclass(frozen=True, slots=True)
class Result:
    """Outputs of one run by name: as they came, as integer codes, and the operators that ran."""

    outputs: dict[str, Array]
    codes: dict[str, Array]
    ops: tuple[str, ...]


def run_ort(
    model: onnx.ModelProto | str | os.PathLike[str],
    feeds: Mapping[str, Array],
    *,
    optimize: bool = True,
    edges: bool = False,
) -> Result:
    """Run in ONNX Runtime on the CPU, one thread, all optimizations on (or none).

    Codes of an output that ends in a DequantizeLinear are recovered from its float32 values,
    exactly (checked). ``edges`` adds the codes of every QuantizeLinear of the model, by the name of
    the tensor that it quantizes; this may keep operators from fusing, so look at ``ops``.

    On x86 without VNNI the kernels saturate sums of two u8 x s8 products at 16 bits, unless
    ``session.x64quantprecision`` turns the weights into uint8; it is on wherever kernels exist
    (int8 inputs of hand-written QLinear operators have none, so there such a CPU is not exact).
    """
    proto = onnx.load(model) if not isinstance(model, onnx.ModelProto) else model
    probes = _probes(proto) if edges else {}
    if probes:
        proto = _with_outputs(proto, list(probes.values()))
    session, ran = _session(proto, optimize=optimize)
    names = [o.name for o in session.get_outputs()]
    outputs = dict(zip(names, session.run(names, dict(feeds)), strict=True))
    codes = {n: _codes(proto, n, v) for n, v in outputs.items() if n not in probes.values()}
    codes |= {tensor: outputs.pop(code) for tensor, code in probes.items()}
    return Result(outputs, codes, ran)


def _session(
    model: onnx.ModelProto, *, optimize: bool, precise: bool = True
) -> tuple[onnxruntime.InferenceSession, tuple[str, ...]]:
    """A session and the operators that it runs, in their order."""
    options = onnxruntime.SessionOptions()
    level = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimize else level.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.x64quantprecision", str(int(precise)))
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = os.path.join(folder, "optimized.onnx")
        try:
            session = onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except NoKernel:
            if not precise:
                raise
            return _session(model, optimize=optimize, precise=False)
        nodes = onnx.load(options.optimized_model_filepath).graph.node
    return session, tuple(node.op_type for node in nodes)


def feeds(model: onnx.ModelProto, *, batch: int = 16, seed: int = 0) -> dict[str, Array]:
    """Random inputs: every integer code for an integer port, its real for a quantized float port.

    One value in eight of a float port lies off the grid (halfway or at random, beyond the range
    too), which tests the input quantizer itself.
    """
    rng = np.random.default_rng(seed)
    made: dict[str, Array] = {}
    for port in model.graph.input:
        kind = port.type.tensor_type
        shape = (batch, *[d.dim_value for d in kind.shape.dim[1:]])
        if kind.elem_type != TensorProto.FLOAT:
            info = np.iinfo(helper.tensor_dtype_to_np_dtype(kind.elem_type))
            made[port.name] = rng.integers(info.min, info.max + 1, shape).astype(info.dtype)
            continue
        q = quantization(model, port.name)
        codes = rng.integers(q.info.min, q.info.max + 1, shape)
        shift = rng.choice([0.5, -0.5, 0.25, 200.0, -200.0], shape)
        off_grid = np.where(rng.random(shape) < 0.125, shift, 0.0).astype(np.float32)
        made[port.name] = q.real(codes) + off_grid * np.float32(q.scale)
    return made


def quantization(model: onnx.ModelProto, tensor: str) -> Q:
    """Scale and zero point of the Q that reads, or the DQ that writes, float ``tensor``."""
    constants = {c.name: numpy_helper.to_array(c) for c in model.graph.initializer}
    for node in model.graph.node:
        reads = node.op_type == "QuantizeLinear" and node.input[0] == tensor
        writes = node.op_type == "DequantizeLinear" and node.output[0] == tensor
        if reads or writes:
            zero = constants[node.input[2]]
            return Q(str(zero.dtype), float(constants[node.input[1]]), int(zero))
    raise AssertionError(f"tensor {tensor!r} must have a QuantizeLinear or DequantizeLinear")


def _codes(model: onnx.ModelProto, name: str, value: Array) -> Array:
    if value.dtype.kind in "iu":
        return value.astype(np.int64)
    q = quantization(model, name)
    codes = np.rint(value.astype(np.float64) / q.scale).astype(np.int64) + q.zero_point
    if not np.array_equal(q.real(codes), value):
        raise AssertionError(f"output {name!r} must lie on the grid of its DequantizeLinear")
    return codes


def _probes(model: onnx.ModelProto) -> dict[str, str]:
    quantizers = [n for n in model.graph.node if n.op_type == "QuantizeLinear"]
    return {n.input[0]: n.output[0] for n in quantizers}


def _with_outputs(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(onnx.shape_inference.infer_shapes(model))
    known = {v.name: v for v in copy.graph.value_info}
    copy.graph.output.extend(known[n] for n in names)
    return copy
