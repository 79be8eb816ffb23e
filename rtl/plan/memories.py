"""The memories of a plan before anything is built: bits exactly, block RAMs by estimate."""

from __future__ import annotations

from hwsim.graph import Graph
from rtl.layers.memory import Memory, fifo_memory
from rtl.layers.table import implementation
from rtl.plan.lanes import edge_lanes, fifo_lanes
from rtl.plan.plan import Plan


def memories(graph: Graph, plan: Plan) -> dict[str, tuple[Memory, ...]]:
    """The memories of each node, the FIFOs in front of it among them."""
    lanes, types = edge_lanes(graph, plan), graph.types()
    found = {}
    for node in graph.nodes:
        chosen = plan.nodes[node.name]
        own = list(implementation(graph, node, chosen).memories(chosen))
        for index, edge in enumerate(node.inputs):
            depth = plan.fifos.get((node.name, index))
            held = fifo_lanes(graph, plan, node, index, lanes[edge])
            own += fifo_memory(depth or 0, held * types[edge].format.width)
        found[node.name] = tuple(memory for memory in own if memory.bits)
    return found
