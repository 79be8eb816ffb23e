"""Model files to Graphs: a table from a file's suffix to the module that reads it."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from hwsim.errors import HwsimError
from hwsim.frontends.ways import unread_file, unread_object
from hwsim.graph import Graph

READERS = {
    ".onnx": "hwsim.frontends.onnx.read",
    ".hwsim": "hwsim.frontends.saved",
}


def load(model: str | Path | object) -> Graph:
    """The Graph in a model file; HwsimError names the file, node and tensor that do not fit.

    `.onnx`: ONNX with QuantizeLinear/DequantizeLinear, QLinear operators, or QONNX quantizers.
    `.hwsim`: a Graph written by `Graph.save`. An hls4ml `ModelGraph` and an ONNX `ModelProto` are
    taken as they are. Model files are read as untrusted data: nothing in them is executed, and
    memory is bounded by their size.
    """
    if not isinstance(model, str | Path):
        return _read_object(model)
    path = Path(model)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise HwsimError(unread_file(path, READERS))
    read: Callable[[Path], Graph] = import_module(reader).read
    return read(path)


def _read_object(model: object) -> Graph:
    """A model in memory: an hls4ml ModelGraph, or an ONNX ModelProto."""
    if type(model).__module__.startswith("onnx.") and type(model).__name__ == "ModelProto":
        graph: Graph = import_module(READERS[".onnx"]).read_proto(model)
        return graph
    hls4ml = import_module("hwsim.frontends.hls4ml.read")
    if not hls4ml.is_model(model):
        raise HwsimError(unread_object(model))
    graph = hls4ml.read(model)
    return graph


def as_graph(model: object) -> Graph:
    """A Graph as it is, and anything else as `load` reads it."""
    return model if isinstance(model, Graph) else load(model)
