"""How many codes a beat of every edge has, and of every FIFO."""

from __future__ import annotations

from hwsim.graph import Graph, Node
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


def fifo_lanes(graph: Graph, plan: Plan, node: Node, index: int, given: int) -> int:
    """Codes a beat of a FIFO in front of an input of a node, whose maker gives `given` a beat.

    A node that takes from several makers in turn takes more at a time than each of them gives:
    its FIFOs stand behind the gathering of its beats.
    """
    chosen = plan.nodes[node.name]
    way = implementation(graph, node, chosen)
    wanted = way.input_lanes(chosen, index)
    in_turn = len(node.inputs) > 1 and way.gathers(chosen, index, 0, 0.0) > 0
    return wanted if in_turn and wanted % given == 0 else given
