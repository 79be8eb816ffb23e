"""Runs ONNX models in TensorRT on a GPU, its engine built for the shapes of the feeds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx

from support.onnx_builder import Array


def run_tensorrt(model: onnx.ModelProto, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Outputs by name; TF32 is off, so that float32 is meant where the model says so."""
    import cupy
    import tensorrt

    logger = tensorrt.Logger(tensorrt.Logger.ERROR)
    engine = tensorrt.Runtime(logger).deserialize_cuda_engine(_plan(model, feeds, logger))
    context = engine.create_execution_context()
    held: dict[str, Any] = {}
    for name, array in feeds.items():
        held[name] = cupy.asarray(np.ascontiguousarray(array))
        assert context.set_input_shape(name, array.shape)
    for port in model.graph.output:
        shape = tuple(context.get_tensor_shape(port.name))
        held[port.name] = cupy.empty(shape, tensorrt.nptype(engine.get_tensor_dtype(port.name)))
    for name, array in held.items():
        assert context.set_tensor_address(name, array.data.ptr)
    stream = cupy.cuda.Stream()
    assert context.execute_async_v3(stream.ptr)
    stream.synchronize()
    return {port.name: cupy.asnumpy(held[port.name]) for port in model.graph.output}


def _plan(model: onnx.ModelProto, feeds: Mapping[str, Array], logger: Any) -> Any:
    """A serialized engine; AssertionError has what the parser says."""
    import tensorrt

    builder = tensorrt.Builder(logger)
    kinds = tensorrt.NetworkDefinitionCreationFlag
    typed = getattr(kinds, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if typed is None else 1 << int(typed))
    parser = tensorrt.OnnxParser(network, logger)
    said = parser.parse(model.SerializeToString())
    assert said, [str(parser.get_error(i)) for i in range(parser.num_errors)]
    config, profile = builder.create_builder_config(), builder.create_optimization_profile()
    config.clear_flag(tensorrt.BuilderFlag.TF32)
    for name, array in feeds.items():
        profile.set_shape(name, array.shape, array.shape, array.shape)
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    assert plan is not None, "TensorRT must build an engine"
    return plan
