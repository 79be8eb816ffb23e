"""OpenVINO's IR files and models in memory, with the integers of its CPU plugin."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hwsim.errors import HwsimError
from hwsim.frontends.onnx.walk import read_graph
from hwsim.frontends.openvino.handlers import HANDLERS
from hwsim.frontends.openvino.importer import OvImporter
from hwsim.frontends.openvino.ir import parse, read_ir
from hwsim.frontends.openvino.lowering import lowered
from hwsim.frontends.openvino.model import IrModel
from hwsim.frontends.openvino.rules import RULES
from hwsim.frontends.openvino.runtime import OPENVINO
from hwsim.frontends.unread import NO_RULE, ListedOperator
from hwsim.graph import Graph

LIKE = ("openvino",)
IN_MEMORY = Path("the Model")  # what messages name where there is no file
QUANTIZED = ("FakeQuantize",)


def read(path: Path, like: str | None = None) -> Graph:
    """The Graph of an IR file, its weights beside it."""
    return _graph(read_ir(path))


def read_object(model: Any, like: str | None = None) -> Graph:
    """The Graph of an `openvino.Model` in memory."""
    import openvino

    with TemporaryDirectory() as folder:
        xml, weights = (Path(folder) / f"model.{suffix}" for suffix in ("xml", "bin"))
        openvino.serialize(model, xml, weights)
        return _graph(parse(IN_MEMORY, xml.read_bytes(), weights.read_bytes()))


def _graph(model: IrModel) -> Graph:
    if not any(layer.kind in QUANTIZED for layer in model.layers):
        raise HwsimError(
            f"{model.path} must be quantized, but has no FakeQuantize; nncf.quantize with some "
            "typical inputs makes it so"
        )
    return read_graph(lowered(model, RULES), HANDLERS, OPENVINO, importer=OvImporter)


def outline(path: Path) -> Iterator[ListedOperator]:
    """The layers of an IR file."""
    for layer in read_ir(path).layers:
        why = None if layer.kind in RULES else NO_RULE
        yield ListedOperator(layer.name, layer.kind, why)
