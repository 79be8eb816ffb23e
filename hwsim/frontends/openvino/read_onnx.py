"""ONNX files and models with the integers of OpenVINO's CPU plugin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hwsim.errors import HwsimError
from hwsim.frontends.onnx.file import from_proto, read_file
from hwsim.frontends.onnx.model import OnnxModel
from hwsim.frontends.onnx.refusals import unquantized
from hwsim.frontends.onnx.walk import read_graph
from hwsim.frontends.openvino.handlers import HANDLERS
from hwsim.frontends.openvino.importer import OvImporter
from hwsim.frontends.openvino.qdq import DQ, Q, with_fake_quantizers
from hwsim.frontends.openvino.runtime import OPENVINO
from hwsim.graph import Graph

LIKE = ("openvino",)


def read(path: Path, like: str | None = None) -> Graph:
    """The Graph of an ONNX file with QuantizeLinear and DequantizeLinear."""
    return _graph(read_file(path))


def read_object(model: Any, like: str | None = None) -> Graph:
    """The Graph of an `onnx.ModelProto` in memory."""
    return _graph(from_proto(model))


def _graph(model: OnnxModel) -> Graph:
    ops = {node.op for node in model.nodes}
    if not {Q, DQ} & ops:
        raise HwsimError(unquantized(model.path, ops))
    return read_graph(with_fake_quantizers(model), HANDLERS, OPENVINO, importer=OvImporter)
