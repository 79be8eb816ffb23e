"""How many codes a beat of every edge has."""

from __future__ import annotations

from hwsim.graph import Graph
from rtl.layers.table import implementation
from rtl.plan.plan import Plan


def edge_lanes(graph: Graph, plan: Plan) -> dict[str, int]:
    """Codes a beat on every edge, as its maker gives them."""
    lanes = {port.tensor: plan.inputs[port.name] for port in graph.inputs}
    for node in graph.nodes:
        chosen, given = plan.nodes[node.name], [lanes[edge] for edge in node.inputs]
        made = implementation(graph, node, chosen).output_lanes(chosen, given)
        lanes.update(zip(node.outputs, made, strict=True))
    return lanes
