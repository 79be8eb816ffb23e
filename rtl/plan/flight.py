"""What comes to a join by a short branch while the same codes are under way in a longer one.

How many codes a join waits for is proved without time (`rtl.plan.depths`). Besides, each node of
the longer branch takes its time from the last code that an output needs to that output; what the
fork gives meanwhile must have room in the shorter branch, or the join costs some of the rate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from hwsim.graph import Graph, Node
from rtl.layers.table import implementation
from rtl.plan.cost import bottleneck
from rtl.plan.lanes import edge_lanes
from rtl.plan.plan import FifoKey, Plan

REGISTERS = 10  # cycles through the registers of a node, about


def in_flight(graph: Graph, plan: Plan) -> dict[FifoKey, int]:
    """Beats that come by each short branch, by (node, input index), while a longer one works."""
    links: dict[str, list[FifoKey]] = {}
    for node in graph.nodes:
        for index, edge in enumerate(node.inputs):
            links.setdefault(edge, []).append((node.name, index))
    forks = {edge: keys for edge, keys in links.items() if len(keys) > 1}
    if not forks:
        return {}
    found: dict[FifoKey, int] = {}
    types, lanes, period = graph.types(), edge_lanes(graph, plan), bottleneck(graph, plan).cycles
    delays = {node.name: _delay(graph, plan, node) for node in graph.nodes}
    for edge, keys in forks.items():
        beats = types[edge].size / period / lanes[edge]  # a cycle
        for key, cycles in _waits(graph.nodes, keys, delays).items():
            found[key] = math.ceil(cycles * beats)
    return found


def _waits(
    nodes: Sequence[Node], keys: Sequence[FifoKey], delays: dict[str, float]
) -> dict[FifoKey, float]:
    """The most cycles that each link of a fork is ahead of another where their ways meet."""
    waits = dict.fromkeys(keys, 0.0)
    ways: dict[str, dict[FifoKey, float]] = {}  # by edge, the latest that each link's codes come
    for node in nodes:
        come = {key: 0.0 for key in keys if key[0] == node.name}
        for edge in node.inputs:
            for key, late in ways.get(edge, {}).items():
                come[key] = max(come.get(key, 0.0), late)
        for key, late in come.items():
            waits[key] = max(waits[key], max(come.values()) - late)
        gone = {key: late + delays[node.name] for key, late in come.items()}
        ways.update(dict.fromkeys(node.outputs, gone))
        if len(come) == len(keys):
            break  # all are together
    return waits


def _delay(graph: Graph, plan: Plan, node: Node) -> float:
    """Cycles from the last code that an output of a node needs to that output, about.

    Codes of a pixel that need the same inputs are made one after another.
    """
    chosen = plan.nodes[node.name]
    way = implementation(graph, node, chosen)
    cycles = way.cycles(chosen)
    if not cycles:
        return 0.0  # wires
    made = way.task.outputs[0]
    needed = way.needs(chosen, 0)
    together = min(int(np.searchsorted(needed, needed[0], side="right")), made.channels)
    return cycles * together / way.task.codes + REGISTERS
