"""How long one inference can take at most, from the plan alone."""

from __future__ import annotations

from hwsim.graph import Graph
from rtl.layers.plans import FoldPlan
from rtl.layers.sparse import SKIPPING
from rtl.plan.cost import node_cycles
from rtl.plan.plan import Plan

PER_PART = 64
"""Cycles of registers that a node may add to its work: far more than the longest pipeline."""


def latency_bound(graph: Graph, plan: Plan) -> int:
    """Cycles within which a sample that meets no pause has passed through the whole design.

    Each part takes its cycles for one inference at most, once its input is there. The sum over all
    ports and nodes is reached where none of them work at the same time; a FIFO may be filled and
    emptied in between. What holds a vector before it begins with it waits for that besides.
    """
    ports = sum(p.type.size // plan.inputs[p.name] for p in graph.inputs)
    ports += sum(graph.types()[p.tensor].size for p in graph.outputs)
    nodes = sum(node_cycles(graph, node, plan.nodes[node.name]) for node in graph.nodes)
    nodes += sum(
        chosen.fold.term_folds
        for chosen in plan.nodes.values()
        if isinstance(chosen, FoldPlan) and chosen.implementation in SKIPPING
    )
    fifos = sum(plan.fifos.values())
    return ports + nodes + fifos + PER_PART * (len(graph.nodes) + 2)
