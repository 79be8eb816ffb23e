"""A Graph in Model Explorer's JSON: plain dicts, for which its package is not needed.

Source: `graph_builder.py` of ai-edge-model-explorer 0.1.34, whose fields have these names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hwsim.graph import Graph
from hwsim.ops.base import short
from hwsim.reporting.facts import describe, shape_text

Fields = Mapping[str, Any]
GRAPH_ID = "graph"
"""Of the one graph in a file; node data belong to it by this name."""

INPUT, OUTPUT, STATE = "input: ", "output: ", "state: "
"""Begin the ids of nodes that stand for ports and states."""


def collection(graph: Graph, label: str) -> dict[str, Any]:
    """What a graph file of Model Explorer holds: a label, and the one graph."""
    return {"label": label, "graphs": [{"id": GRAPH_ID, "nodes": explorer_nodes(graph)}]}


def explorer_nodes(graph: Graph) -> list[dict[str, Any]]:
    """Inputs, states, the graph's nodes in their order, and outputs."""
    facts = describe(graph)
    makers = {
        **{port.tensor: (f"{INPUT}{port.name}", 0) for port in graph.inputs},
        **{state.tensor: (f"{STATE}{state.name}", 0) for state in graph.state},
        **{
            edge: (node.name, place)
            for node in graph.nodes
            for place, edge in enumerate(node.outputs)
        },
    }
    nodes = [*_ports(INPUT, facts["inputs"], [port.tensor for port in graph.inputs])]
    for state, row in zip(graph.state, facts["state"], strict=True):
        nodes.append(_node(f"{STATE}{state.name}", "state", (), [(state.tensor, row)]))
        nodes[-1]["incomingEdges"] = _edges([state.next], makers)
    for node, row in zip(graph.nodes, facts["nodes"], strict=True):
        made = row.get("outputs", [row])
        held = list(zip(node.outputs, made, strict=True))
        one = _node(node.name, row["summary"], _told(row), held)
        one["incomingEdges"] = _edges(node.inputs, makers)
        one["attrs"] += _fields_of(node.op)
        nodes.append(one)
    for port, one in zip(graph.outputs, _ports(OUTPUT, facts["outputs"], None), strict=True):
        one["incomingEdges"] = _edges([port.tensor], makers)
        nodes.append(one)
    return nodes


def _fields_of(op: Any) -> list[dict[str, str]]:
    """An operator's fields, arrays by their shape."""
    names = [name for name in getattr(op, "__dataclass_fields__", ()) if name != "kind"]
    return [_pair(name, short(getattr(op, name))) for name in names]


def _ports(
    way: str, rows: Sequence[Fields], edges: Sequence[str] | None
) -> Iterator[dict[str, Any]]:
    for place, row in enumerate(rows):
        held = [] if edges is None else [(edges[place], row)]
        told = [("element", row["element"]), ("layout", row["layout"])]
        told += [("float32 step", step) for step in row.get("steps", ())]
        yield _node(f"{way}{row['name']}", way.strip(": "), told, held)


def _node(
    name: str, label: str, told: Sequence[tuple[str, str]], held: Sequence[Any]
) -> dict[str, Any]:
    """A node; parts of its name ahead of the last `/` are the layers that it lies in."""
    layers = name.split("/")[:-1] if not name.startswith((INPUT, OUTPUT, STATE)) else []
    return {
        "id": name,
        "label": label,
        "namespace": "/".join(part for part in layers if part),
        "attrs": [_pair(*pair) for pair in told],
        "incomingEdges": [],
        "outputsMetadata": [
            {"id": str(place), "attrs": [_pair(*pair) for pair in _tensor(edge, made)]}
            for place, (edge, made) in enumerate(held)
        ],
    }


def _pair(key: str, value: object) -> dict[str, str]:
    return {"key": key, "value": str(value)}


def _tensor(edge: str, row: Fields) -> list[tuple[str, str]]:
    """What there is to say of an edge."""
    scales = row["scale"]
    return [
        ("tensor_name", edge),
        ("shape", shape_text(row["shape"])),
        ("format", row["format"]),
        ("range", f"{row['range'][0]} to {row['range'][1]}"),
        ("scale", f"{scales[0]:.9g}" if len(scales) == 1 else f"{len(scales)}, by channel"),
        ("zero_point", str(row["zero_point"])),
    ]


def _told(row: Fields) -> list[tuple[str, str]]:
    """What a node costs and how it rounds, as far as there is something to say."""
    keys = ("macs", "weights", "weight_bits", "activations", "carrier")
    told = [(key, f"{row[key]}") for key in keys if row[key]]
    return [*told, ("how it rounds", row["rounding"])] if row["rounding"] else told


def _edges(edges: Sequence[str], makers: Mapping[str, tuple[str, int]]) -> list[dict[str, str]]:
    found = []
    for place, edge in enumerate(edges):
        source, output = makers[edge]
        found.append(
            {
                "sourceNodeId": source,
                "sourceNodeOutputId": str(output),
                "targetNodeInputId": str(place),
            }
        )
    return found
