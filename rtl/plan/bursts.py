"""FIFOs in front of layers that take their codes in bursts, so that a plan keeps its rate.

A layer that walks over a whole window's worth of pixels between two maps would wait for them to be
made, one by one, while its maker waited for it before. What must have gathered until then is the
most that it takes, in any stretch of time, beyond what is made in that time.
"""

from __future__ import annotations

from hwsim.graph import Graph
from rtl.layers.table import implementation
from rtl.plan.cost import bottleneck
from rtl.plan.lanes import edge_lanes
from rtl.plan.plan import FifoKey, Plan

SHARE = 32  # a wait is paid with memory where it is over 1/32 of the work


def bursts(graph: Graph, plan: Plan) -> dict[FifoKey, int]:
    """Depths in beats, by (node, input index), of FIFOs without which the plan would be slower."""
    found: dict[FifoKey, int] = {}
    types, lanes, period = graph.types(), edge_lanes(graph, plan), bottleneck(graph, plan).cycles
    cycles = {p.tensor: p.type.size // plan.inputs[p.name] for p in graph.inputs}
    for node in graph.nodes:
        chosen = plan.nodes[node.name]
        way = implementation(graph, node, chosen)
        own = way.cycles(chosen)
        for index, edge in enumerate(node.inputs):
            pace = cycles[edge] / types[edge].size
            codes = way.gathers(chosen, index, period, pace)
            if own + codes * pace > period + period / SHARE:
                found[node.name, index] = -(-codes // lanes[edge])
        made = max(own, *(cycles[edge] for edge in node.inputs))
        cycles.update(dict.fromkeys(node.outputs, made))
    return found
