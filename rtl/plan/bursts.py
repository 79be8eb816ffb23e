"""FIFOs where codes are taken or given in bursts, so that a plan keeps its rate.

A layer that walks over a whole window's worth of pixels between two maps would wait for them to be
made, one by one, while its maker waited for it before. What must have gathered until then is the
most that it takes, in any stretch of time, beyond what is made in that time.

A node that gives to several outputs in turn would wait for the reader of one while those of the
others wait for it. What must be held is the most that it gives, in any stretch of time, beyond what
an even reader takes. One that takes from several inputs in turn would wait for the maker of one in
the same way, and the makers of the others for it.
"""

from __future__ import annotations

import math

import numpy as np

from hwsim.graph import Graph, Node
from rtl.layers.table import implementation
from rtl.plan.cost import bottleneck
from rtl.plan.lanes import edge_lanes, fifo_lanes
from rtl.plan.plan import FifoKey, Plan

SHARE = 32  # a wait is paid with memory where it is over 1/32 of the work
TURN = 3  # beats beyond a block's, for the registers between a maker and a reader in turn


def bursts(graph: Graph, plan: Plan) -> dict[FifoKey, int]:
    """Depths in beats, by (node, input index), of FIFOs without which the plan would be slower."""
    found: dict[FifoKey, int] = {}
    held: dict[str, int] = {}  # codes behind outputs that are given in turn
    types, lanes, period = graph.types(), edge_lanes(graph, plan), bottleneck(graph, plan).cycles
    cycles = {p.tensor: p.type.size // plan.inputs[p.name] for p in graph.inputs}
    for node in graph.nodes:
        chosen = plan.nodes[node.name]
        way = implementation(graph, node, chosen)
        own = way.cycles(chosen)
        whole = sum(types[edge].size for edge in node.inputs)
        turns = sum(max(own * types[edge].size / whole, cycles[edge]) for edge in node.inputs)
        for index, edge in enumerate(node.inputs):
            pace = cycles[edge] / types[edge].size
            codes = way.gathers(chosen, index, period, pace)
            late = own + codes * pace if len(node.inputs) == 1 else turns
            if codes and late > period + period / SHARE:
                beat = fifo_lanes(graph, plan, node, index, lanes[edge])
                more = TURN if len(node.inputs) > 1 else 0
                found[node.name, index] = -(-codes // beat) + more
        made = max(own, *(cycles[edge] for edge in node.inputs))
        cycles.update(dict.fromkeys(node.outputs, made))
        if len(node.outputs) > 1:
            held.update(_held(graph, plan, node, period))
        for index, edge in enumerate(node.inputs):
            if edge in held:
                beat = fifo_lanes(graph, plan, node, index, lanes[edge])
                key, depth = (node.name, index), -(-held[edge] // beat)
                found[key] = max(found.get(key, 0), depth)
    return found


def _held(graph: Graph, plan: Plan, node: Node, period: int) -> dict[str, int]:
    """Codes to hold behind outputs whose readers are too slow to take theirs in turn."""
    chosen, types = plan.nodes[node.name], graph.types()
    way = implementation(graph, node, chosen)
    pace = way.cycles(chosen) / types[node.inputs[0]].size
    slow = _slowest(graph, plan)
    given = {edge: types[edge].size * pace for edge in node.outputs}
    if sum(max(given[edge], slow[edge]) for edge in given) <= period + period / SHARE:
        return {}
    found: dict[str, int] = {}
    for index, edge in enumerate(node.outputs):
        if slow[edge] > given[edge]:
            size, whole = types[edge].size, types[node.inputs[0]].size
            taken = way.used(chosen, 0, index) / whole * size  # by an even reader, until each code
            ahead = np.arange(1, size + 1) - taken
            found[edge] = math.ceil((ahead + 1 - np.minimum.accumulate(ahead)).max())
    return found


def _slowest(graph: Graph, plan: Plan) -> dict[str, int]:
    """The most cycles an inference of all nodes behind each edge; 0 where there is none."""
    slow = dict.fromkeys(graph.types(), 0)
    for node in reversed(graph.nodes):
        chosen = plan.nodes[node.name]
        own = implementation(graph, node, chosen).cycles(chosen)
        behind = max(own, *(slow[edge] for edge in node.outputs))
        for edge in node.inputs:
            slow[edge] = max(slow[edge], behind)
    return slow
