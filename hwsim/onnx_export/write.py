"""A Graph as plain ONNX operators on whole numbers, from its ports to its ports."""

from __future__ import annotations

import numpy as np

from hwsim.errors import HwsimError
from hwsim.graph import Graph
from hwsim.onnx_export.ends import element_of, integer_type, read_input, show_output
from hwsim.onnx_export.integer import write_node
from hwsim.onnx_export.onnx_draft import NEXT, OnnxDraft
from hwsim.onnx_export.recorded import INT64, ROWS, Recorded
from hwsim.onnx_export.recorder import Recorder
from hwsim.ports import user_shape


def written_as_integers(graph: Graph, *, integers: bool) -> OnnxDraft:
    """Plain ONNX operators on whole numbers; HwsimError lists all nodes that have none."""
    draft = OnnxDraft()
    rec = Recorder(draft, _declared(draft, graph, integers=integers))
    edges = _read(draft, graph, rec, integers=integers)
    troubles = list[str]()
    for node in graph.nodes:
        draft.now = node.name
        try:
            write_node(graph, node, edges, rec)
        except HwsimError as error:
            troubles.append(f"node {node.name!r} ({node.op.kind}): {error}")
            for edge, kind in zip(node.outputs, graph.output_types(node), strict=True):
                edges[edge] = Recorded(edge, (ROWS, *kind.shape), INT64, rec)
    if troubles:
        raise HwsimError(
            "every node must have its like in plain ONNX operators, and these have none: "
            + "; ".join(troubles)
        )
    _show(draft, graph, edges, rec, integers=integers)
    return draft


def _declared(draft: OnnxDraft, graph: Graph, *, integers: bool) -> str:
    """Have the ports and states among the file's inputs; the name of the first."""
    for port in graph.inputs:
        kind = element_of(port, port.type) if integers or port.element else "float32"
        draft.add_input(port.name, kind, user_shape(port.type, port))
    for state in graph.state:
        draft.add_input(state.name, integer_type(state.type.format), state.type.shape)
    return draft.inputs[0][0]


def _read(draft: OnnxDraft, graph: Graph, rec: Recorder, *, integers: bool) -> dict[str, Recorded]:
    """The edges that ports and states feed."""
    edges = {}
    for port in graph.inputs:
        draft.now = port.name
        edges[port.tensor] = read_input(port, draft.read[port.name], rec, integers=integers)
    for state in graph.state:
        draft.now, element = state.name, np.dtype(integer_type(state.type.format))
        held = Recorded(draft.read[state.name], (ROWS, *state.type.shape), element, rec)
        edges[state.tensor] = rec.astype(held, INT64)
    return edges


def _show(
    draft: OnnxDraft, graph: Graph, edges: dict[str, Recorded], rec: Recorder, *, integers: bool
) -> None:
    """Have the ports and what states hold next among the file's outputs."""
    for port in graph.outputs:
        draft.now, kind = port.name, graph.types()[port.tensor]
        codes = edges[port.tensor]
        _end(draft, port.name, show_output(port, kind, codes, rec, integers=integers))
    for state in graph.state:
        draft.now = state.name
        made = rec.astype(edges[state.next], integer_type(state.type.format))
        _end(draft, state.name + NEXT, made)


def _end(draft: OnnxDraft, name: str, made: Recorded) -> None:
    given = draft.add_output(name, str(made.dtype), made.shape[1:])
    draft.add("Identity", [made.name], given)
