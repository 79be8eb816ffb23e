"""ONNX files: which of the two front ends reads one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hwsim.errors import HwsimError
from hwsim.frontends.onnx import qdq, qonnx
from hwsim.frontends.onnx.channel_notes import with_note
from hwsim.frontends.onnx.file import from_proto, read_file
from hwsim.frontends.onnx.importer import ExactImporter
from hwsim.frontends.onnx.model import OnnxModel
from hwsim.frontends.onnx.refusals import ADVICE, of_qonnx, unquantized, whole_numbers
from hwsim.frontends.onnx.runtimes import RUNTIMES, runtime
from hwsim.frontends.unread import NO_RULE, ListedOperator
from hwsim.graph import Graph

LINEAR_OPS = ("QuantizeLinear", "DequantizeLinear")
INTEGER_OPS = ("QLinear", "QGemm", "MatMulIntegerToFloat")


LIKE = tuple(RUNTIMES)


def read(path: Path, like: str | None = None) -> Graph:
    """The Graph of an ONNX file with QDQ, QLinear or QONNX quantization.

    `like` names the runtime of a QDQ file: `onnxruntime` where it is left out.
    """
    return _graph(read_file(path), like)


def read_object(model: Any, like: str | None = None) -> Graph:
    """The Graph of an `onnx.ModelProto` in memory."""
    return _graph(from_proto(model), like)


def read_exact(model: Any) -> Graph:
    """The Graph of a QONNX ModelProto whose sums are whole numbers, as it is quantized for hwsim.

    Where units are powers of two no sum is rounded; QONNX's executor adds in float32, which holds
    2^24 steps.
    """
    found = from_proto(model)
    return with_note(qonnx.read(found, importer=ExactImporter), found.channel_bits)


def _graph(model: OnnxModel, like: str | None) -> Graph:
    ops = {(node.domain, node.op) for node in model.nodes}
    if any(op in qonnx.QUANTIZERS for op in ops):
        if like is not None:
            raise HwsimError(of_qonnx(model.path, like))
        return with_note(qonnx.read(model), model.channel_bits)
    if not any(op in LINEAR_OPS or op.startswith(INTEGER_OPS) for _, op in ops):
        own = model.producer == "hwsim"  # what hwsim to-onnx --as integer has written
        plain = {op for _, op in ops}
        raise HwsimError(whole_numbers(model.path) if own else unquantized(model.path, plain))
    return qdq.read(model, runtime(like))


def outline(path: Path) -> Iterator[ListedOperator]:
    """The nodes of a file, and which of them no handler reads."""
    model = read_file(path)
    ops = {(node.domain, node.op) for node in model.nodes}
    known = qonnx.HANDLERS if any(op in qonnx.QUANTIZERS for op in ops) else qdq.HANDLERS
    for node in model.nodes:
        name = f"{node.domain}.{node.op}" if node.domain else node.op
        unread = (node.domain, node.op) not in known
        yield ListedOperator(node.name, name, ADVICE.get(node.op, NO_RULE) if unread else None)
