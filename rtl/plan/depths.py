"""Depths of the FIFOs on branches that meet again: what it takes never to deadlock, proved.

A branch that waits at a join must hold what its fork gave it while the other branch gathers what it
needs for its next output. How many codes a node must take before it can give its k-th output code
is a property of the node alone (`needs`); composed along the branches up to the fork it gives, for
each output of the join, the codes that the fork has given and those that each branch has used.
Their largest difference is the depth: with it no pattern of stalls can deadlock, with less some
input can.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hwsim.graph import Graph, Node
from rtl.layers.base import Counts
from rtl.layers.table import implementation
from rtl.plan.plan import FifoKey, Plan

SLACK = 16  # beats beyond the proof, so that the latency of the longer branch costs no cycle


def with_depths(graph: Graph, plan: Plan, slack: int = SLACK) -> Plan:
    """The plan with a FIFO on each branch that needs one: the proven depth and `slack` beats."""
    proven = proven_depths(graph, plan)
    return replace(plan, fifos={key: depth + slack for key, depth in proven.items()})


def proven_depths(graph: Graph, plan: Plan) -> dict[FifoKey, int]:
    """The least depth in beats, by (node, input index), of every branch that meets another."""
    depths: dict[FifoKey, int] = {}
    lanes = edge_lanes(graph, plan)
    for join in graph.nodes:
        if len(join.inputs) < 2:
            continue
        for (node, index), codes in _join_depths(graph, plan, join).items():
            beats = -(-codes // lanes[graph.node(node).inputs[index]])
            key = (node, index)
            depths[key] = max(depths.get(key, 1), beats)
    return depths


def edge_lanes(graph: Graph, plan: Plan) -> dict[str, int]:
    """Codes a beat on every edge, as its maker gives them."""
    lanes = {port.tensor: plan.inputs[port.name] for port in graph.inputs}
    for node in graph.nodes:
        chosen, given = plan.nodes[node.name], [lanes[edge] for edge in node.inputs]
        made = implementation(graph, node, chosen).output_lanes(chosen, given)
        lanes.update(zip(node.outputs, made, strict=True))
    return lanes


def _join_depths(graph: Graph, plan: Plan, join: Node) -> dict[FifoKey, int]:
    """Codes to hold on each link of an edge with several readers above `join`."""
    links: dict[str, dict[FifoKey, Counts]] = {}
    size = graph.types()[join.output].size
    produced: dict[str, Counts] = {join.output: np.arange(1, size + 1)}
    for node in reversed(graph.nodes):
        if node.output not in produced:
            continue
        for index, edge in enumerate(node.inputs):
            used = needs(graph, plan, node, index)
            wanted = produced[node.output]
            codes = np.where(wanted > 0, used[np.maximum(wanted, 1) - 1], 0)
            links.setdefault(edge, {})[node.name, index] = codes
            produced[edge] = np.maximum(produced.get(edge, codes), codes)
    found: dict[FifoKey, int] = {}
    for edge, readers in links.items():
        if len(readers) < 2:
            continue
        for key, codes in readers.items():
            before = np.concatenate([[0], codes[:-1]])
            found[key] = int((produced[edge] - before).max())
    return found


def needs(graph: Graph, plan: Plan, node: Node, index: int) -> Counts:
    """For each output code of a node, the codes of one input that must have come before it."""
    chosen = plan.nodes[node.name]
    return implementation(graph, node, chosen).needs(chosen, index)
