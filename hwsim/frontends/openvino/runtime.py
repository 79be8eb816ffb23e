"""OpenVINO as the reader of ONNX nodes knows a runtime."""

from __future__ import annotations

from hwsim.frontends.onnx.model import OnnxModel
from hwsim.frontends.onnx.runtime import Prepared, Runtime


def _as_it_is(model: OnnxModel) -> Prepared:
    return model, dict


OPENVINO = Runtime("openvino", "OpenVINO", "adds in float32", _as_it_is)
