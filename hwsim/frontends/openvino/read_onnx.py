"""ONNX files and models with the integers of OpenVINO's CPU plugin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hwsim.errors import HwsimError
from hwsim.frontends.onnx.file import from_proto, read_file
from hwsim.frontends.onnx.model import OnnxModel
from hwsim.frontends.onnx.qonnx import QUANTIZERS
from hwsim.frontends.onnx.refusals import not_of, of_qonnx, unquantized
from hwsim.frontends.onnx.runtimes import INTEGERS
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
    if any((node.domain, node.op) in QUANTIZERS for node in model.nodes):
        raise HwsimError(of_qonnx(model.path, LIKE[0]))
    whole = [(node.op, node.name) for node in model.nodes if node.op in INTEGERS]
    if whole:
        raise HwsimError(not_of(model.path, OPENVINO.name, whole))
    if not {Q, DQ} & ops:
        raise HwsimError(unquantized(model.path, ops))
    return read_graph(with_fake_quantizers(model), HANDLERS, OPENVINO, importer=OvImporter)
