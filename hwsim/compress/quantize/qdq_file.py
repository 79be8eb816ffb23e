"""A float model with 8-bit QuantizeLinear and DequantizeLinear, by ONNX Runtime's quantizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.compress.float_model import EXTRA, FloatModel
from hwsim.errors import HwsimError
from hwsim.extras import library

Ends = tuple[float, float]
OPSET = 13  # the first with scales by channel


def qdq(
    model: FloatModel, ranges: Mapping[str, Ends], *, symmetric: bool, per_channel: bool
) -> Any:
    """A ModelProto by `onnxruntime.quantization`, with these ranges of the activations.

    Weights are int8 without a zero point, by channel of all numbers; activations uint8 with one, or
    int8 without where `symmetric`.
    """
    import onnx

    quantization = library("onnxruntime.quantization", EXTRA, "quantization")
    calibrate = library("onnxruntime.quantization.calibrate", EXTRA, "quantization")
    writer = library("onnxruntime.quantization.qdq_quantizer", EXTRA, "quantization")
    registry = library("onnxruntime.quantization.registry", EXTRA, "quantization")
    _expect_opset(model)
    copied = onnx.ModelProto()
    copied.CopyFrom(model.proto)
    kind = quantization.QuantType
    data = {
        name: calibrate.TensorData(lowest=np.float32(low), highest=np.float32(high))
        for name, (low, high) in ranges.items()
    }
    kinds = sorted({*registry.QLinearOpsRegistry, *registry.QDQRegistry})
    try:
        made = writer.QDQQuantizer(
            copied,
            per_channel,
            False,
            kind.QInt8,
            kind.QInt8 if symmetric else kind.QUInt8,
            calibrate.TensorsData(calibrate.CalibrationMethod.MinMax, data),
            [],
            [],
            kinds,
            {"ActivationSymmetric": symmetric, "WeightSymmetric": True},
        )
        made.quantize_model()
        made.model.topological_sort()
        return made.model.model
    except (ValueError, KeyError, TypeError, AssertionError, RuntimeError) as error:
        said = " ".join(str(error).split())[:200]
        raise HwsimError(
            f"{model.path} must be a model that onnxruntime.quantization takes ({said})"
        ) from None


def written(proto: Any) -> dict[str, tuple[npt.NDArray[np.float32], int]]:
    """Scale and zero point by the tensor that a QuantizeLinear of the model quantizes."""
    from onnx import numpy_helper

    held = {t.name: t for t in proto.graph.initializer}
    return {
        str(node.input[0]): (
            np.atleast_1d(numpy_helper.to_array(held[node.input[1]])),
            int(numpy_helper.to_array(held[node.input[2]])),
        )
        for node in proto.graph.node
        if node.op_type == "QuantizeLinear"
    }


def activations(model: FloatModel) -> tuple[str, ...]:
    """The tensors of reals that a quantizer may stand behind: inputs, and what nodes give."""
    import onnx

    real = {
        info.name
        for info in (*model.proto.graph.value_info, *model.proto.graph.output)
        if info.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    }
    given = (name for node in model.nodes for name in node.output if name in real)
    return tuple(dict.fromkeys((*model.inputs, *given)))


def _expect_opset(model: FloatModel) -> None:
    version = max(o.version for o in model.proto.opset_import if o.domain in ("", "ai.onnx"))
    if version < OPSET:
        raise HwsimError(
            f"{model.path} must be of opset {OPSET} or newer for scales by channel, not {version}"
        )
