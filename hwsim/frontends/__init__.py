"""Model files to Graphs: a table from a file's suffix to the module that reads it."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from hwsim.errors import HwsimError
from hwsim.graph import Graph

READERS = {
    ".onnx": "hwsim.frontends.onnx_model",
    ".hwsim": "hwsim.frontends.saved",
}


def load(model: str | Path | object) -> Graph:
    """The Graph in a model file; HwsimError names the file, node and tensor that do not fit.

    `.onnx`: ONNX with QuantizeLinear/DequantizeLinear, QLinear operators, or QONNX quantizers.
    `.hwsim`: a Graph written by `Graph.save`. An hls4ml `ModelGraph` is taken as it is. Model files
    are read as untrusted data: nothing in them is executed, and memory is bounded by their size.
    """
    if not isinstance(model, str | Path):
        hls4ml = import_module("hwsim.frontends.hls4ml")
        if not hls4ml.is_model(model):
            raise HwsimError(
                f"a model must be a file or an hls4ml ModelGraph, not {type(model).__name__}"
            )
        graph: Graph = hls4ml.read(model)
        return graph
    path = Path(model)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise HwsimError(
            f"a model must be a file that ends in {' or '.join(READERS)}, not {str(model)!r}"
        )
    read: Callable[[Path], Graph] = import_module(reader).read
    return read(path)
