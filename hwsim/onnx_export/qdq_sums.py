"""What rounds the sums of a node in a Graph, and how QuantizeLinear does it."""

from __future__ import annotations

from hwsim.errors import HwsimError
from hwsim.graph import Node
from hwsim.onnx_export.qdq_draft import QdqDraft
from hwsim.onnx_export.qdq_proofs import as_requantizer, least_of
from hwsim.ops import Relu, Requantize


def rounded_behind(sheet: QdqDraft, node: Node) -> tuple[list[Node], Requantize]:
    """What alone reads a node's sums: a ReLU perhaps, then what rounds them; and that as such."""
    after = sheet.only_reader(node.output)
    nodes = []
    if after is not None and isinstance(after.op, Relu) and after.op.zero_point == 0:
        nodes, after = [after], sheet.only_reader(after.output)
    by = None if after is None else as_requantizer(after.op, sheet.kind(after.inputs[0]))
    if after is None or by is None or (nodes and nodes[0].op != Relu()):
        raise HwsimError(
            "its sums must be read by one node that rounds to nearest and saturates, alone"
        )
    return [*nodes, after], by


def write_rounded(
    sheet: QdqDraft, nodes: list[Node], real: str, by: Requantize, *, first: bool = False
) -> None:
    """Have the last of nodes give what QuantizeLinear makes of reals; a ReLU acts on its codes."""
    (*relu, last) = nodes
    edge, kind = last.output, sheet.kind(last.output)
    low = least_of(last.op, kind)
    if relu:
        low = max(low or kind.format.min, by.zero_point)
    sheet.quantize(edge, real, first=first, zero=by.zero_point, low=low)
    sheet.done.update(node.name for node in nodes)
