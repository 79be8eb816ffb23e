"""Runs ONNX models in ONNX Runtime, and hands back integer codes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NoKernel

from support.onnx_builder import Array, Q


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
    exactly (checked). ``edges`` adds the codes of every tensor that a QuantizeLinear of the model
    quantizes, by the name of that tensor.

    On x86 without VNNI the kernels saturate sums of two u8 x s8 products at 16 bits, unless
    ``session.x64quantprecision`` turns the weights into uint8; it is on wherever kernels exist
    (int8 inputs of hand-written QLinear operators have none, so there such a CPU is not exact).
    """
    proto = model if isinstance(model, onnx.ModelProto) else onnx.load(model)
    session, ran = session_of(proto, optimize=optimize)
    names = [o.name for o in session.get_outputs()]
    outputs = dict(zip(names, session.run(names, dict(feeds)), strict=True))
    codes = {n: _codes(proto, n, v) for n, v in outputs.items() if _is_quantized(proto, n, v)}
    if edges:
        codes |= _edges(proto, feeds, optimize=optimize)
    return Result(outputs, codes, ran)


def _edges(
    model: onnx.ModelProto, feeds: Mapping[str, Array], *, optimize: bool
) -> dict[str, Array]:
    """Codes of each quantized tensor, from the part of the model that ends at its DQ.

    A whole model with more outputs would not do: on x86 a Q of int8 whose codes are read twice
    keeps the operators around it in float32.
    """
    readers = {n.input[0]: n.output[0] for n in model.graph.node if n.op_type == "DequantizeLinear"}
    codes: dict[str, Array] = {}
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear" and node.output[0] in readers:
            real = readers[node.output[0]]
            part = _ending_at(model, real)
            session, _ = session_of(part, optimize=optimize)
            wanted = {i.name: feeds[i.name] for i in session.get_inputs()}
            (value,) = session.run([real], wanted)
            codes[node.input[0]] = _codes(model, real, value)
    return codes


def _ending_at(model: onnx.ModelProto, tensor: str) -> onnx.ModelProto:
    """The nodes that ``tensor`` needs, with ``tensor`` as the only output."""
    needed, nodes = {tensor}, []
    for node in reversed(model.graph.node):
        if node.output[0] in needed:
            nodes.append(node)
            needed.update(node.input)
    graph = helper.make_graph(
        nodes[::-1],
        model.graph.name,
        [i for i in model.graph.input if i.name in needed],
        [helper.make_tensor_value_info(tensor, TensorProto.FLOAT, None)],
        [c for c in model.graph.initializer if c.name in needed],
    )
    return helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)


def session_of(
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
            return session_of(model, optimize=optimize, precise=False)
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


def _is_quantized(model: onnx.ModelProto, name: str, value: Array) -> bool:
    sources = {n.output[0]: n.op_type for n in model.graph.node}
    return value.dtype.kind in "iu" or sources[name] == "DequantizeLinear"


def _codes(model: onnx.ModelProto, name: str, value: Array) -> Array:
    if value.dtype.kind in "iu":
        return value.astype(np.int64)
    q = quantization(model, name)
    codes = np.rint(value.astype(np.float64) / q.scale).astype(np.int64) + q.zero_point
    if not np.array_equal(q.real(codes), value):
        raise AssertionError(f"output {name!r} must lie on the grid of its DequantizeLinear")
    return codes
