"""Depths of the FIFOs on branches that meet again: what it takes never to deadlock, proved.

A branch that waits at a join must hold what its fork gave it while the other branch gathers what it
needs for its next output. How many codes a node must take before it can give its k-th output code
is a property of the node alone (`needs`); composed along the branches up to the fork it gives, for
each output of the join, the codes that the fork has given and those that each branch has used.
Their largest difference is the depth: with it no pattern of stalls can deadlock, with less some
input can.

Joins that lead to different outputs can wait for each other too, where their branches part at more
than one place (a, b -> one, b, a -> other). Those are taken as one join that gives all of theirs at
an even pace: what one order of work gets through without more room, every order does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from itertools import product

import numpy as np

from hwsim.graph import Graph, Node
from rtl.layers.base import Counts
from rtl.layers.table import implementation
from rtl.plan.bursts import bursts
from rtl.plan.flight import in_flight
from rtl.plan.lanes import edge_lanes, fifo_lanes
from rtl.plan.plan import FifoKey, Plan

SLACK = 16  # beats beyond the proof at least, for registers on the way


def with_depths(graph: Graph, plan: Plan, slack: int = SLACK) -> Plan:
    """The plan with a FIFO on each branch that needs one: the proven depth and some more.

    That is what comes while the longer branch is under way (`in_flight`), or `slack` beats. Where
    codes are taken in bursts (`bursts`), a FIFO gathers them.
    """
    late = in_flight(graph, plan)
    fifos = {
        key: depth + max(slack, late.get(key, 0))
        for key, depth in proven_depths(graph, plan).items()
    }
    for key, depth in bursts(graph, plan).items():
        fifos[key] = max(fifos.get(key, 0), depth)
    return replace(plan, fifos=fifos)


def proven_depths(graph: Graph, plan: Plan) -> dict[FifoKey, int]:
    """The least depth in beats, by (node, input index), of every branch that meets another."""
    depths: dict[FifoKey, int] = {}
    lanes = edge_lanes(graph, plan)
    joins = [node for node in graph.nodes if len(node.inputs) > 1]
    for group in [*((join,) for join in joins), *entangled(graph, joins)]:
        for (node, index), codes in _join_depths(graph, plan, group).items():
            reader = graph.node(node)
            held = fifo_lanes(graph, plan, reader, index, lanes[reader.inputs[index]])
            beats = -(-codes // held)
            key = (node, index)
            depths[key] = max(depths.get(key, 1), beats)
    return depths


def _join_depths(graph: Graph, plan: Plan, joins: Sequence[Node]) -> dict[FifoKey, int]:
    """Codes to hold on each link above `joins` of an edge whose maker serves other links too."""
    found: dict[FifoKey, int] = {}
    siblings = {e for node in graph.nodes if len(node.outputs) > 1 for e in node.outputs}
    for edges in product(*(join.outputs for join in joins)):
        given, links = _counts(graph, plan, edges)
        for read, readers in links.items():
            if len(readers) < 2 and read not in siblings:
                continue
            for key, codes in readers.items():
                before = np.concatenate([[0], codes[:-1]])
                found[key] = max(found.get(key, 0), int((given[read] - before).max()))
    return found


def entangled(graph: Graph, joins: Sequence[Node]) -> list[list[Node]]:
    """Joins, none above another, that branches link in more than one way."""
    cones = {join.name: _cone(graph, join) for join in joins}
    above = {node for name, cone in cones.items() for node, _ in cone if node != name}
    last = [join for join in joins if join.name not in above]
    group = {join.name: {join.name} for join in last}
    ways = dict.fromkeys(group, 0)  # by join, branches into it from where its way parts from others
    for made in [(port.tensor,) for port in graph.inputs] + [node.outputs for node in graph.nodes]:
        given = {n: {link for link, edge in cones[n].items() if edge in made} for n in group}
        readers = [name for name, links in given.items() if links]
        if all(given[name] == given[readers[0]] for name in readers):
            continue
        joined = set().union(*(group[name] for name in readers))
        group.update(dict.fromkeys(joined, joined))
        for name in readers:
            ways[name] += 1
        ways[readers[0]] -= 1  # of n branches n - 1 are what it takes to link n joins once
    groups = {id(names): names for names in group.values()}.values()
    by_name = {join.name: join for join in last}
    return [
        [by_name[name] for name in sorted(names)]
        for names in groups
        if sum(ways[name] for name in names) >= len(names)
    ]


def _cone(graph: Graph, join: Node) -> dict[FifoKey, str]:
    """The edges that all links to and above a node read."""
    wanted, links = set(join.outputs), dict[FifoKey, str]()
    for node in reversed(graph.nodes):
        if wanted.intersection(node.outputs):
            links |= {(node.name, index): edge for index, edge in enumerate(node.inputs)}
            wanted.update(node.inputs)
    return links


def _counts(
    graph: Graph, plan: Plan, targets: Sequence[str]
) -> tuple[dict[str, Counts], dict[str, dict[FifoKey, Counts]]]:
    """Codes that every edge has given and each link used, as those of `targets` are given.

    Those of the largest come one by one, of the others as many in proportion.
    """
    sizes = {target: graph.types()[target].size for target in targets}
    steps = np.arange(1, max(sizes.values()) + 1)
    given: dict[str, Counts] = {e: -(-steps * size // len(steps)) for e, size in sizes.items()}
    links: dict[str, dict[FifoKey, Counts]] = {}
    for node in reversed(graph.nodes):
        wanted = {k: given[edge] for k, edge in enumerate(node.outputs) if edge in given}
        taken: list[Counts] = []
        for index, edge in enumerate(node.inputs if wanted else ()):
            used = {k: needs(graph, plan, node, index, k) for k in wanted}
            each = [np.where(n > 0, used[k][np.maximum(n, 1) - 1], 0) for k, n in wanted.items()]
            codes = reduce(np.maximum, each)
            links.setdefault(edge, {})[node.name, index] = codes
            given[edge] = np.maximum(given.get(edge, codes), codes)
            taken.append(codes)
        if len(node.outputs) > 1:  # what was taken for one output may give codes of another
            for k in wanted:
                every = (
                    np.searchsorted(needs(graph, plan, node, index, k), codes, side="right")
                    for index, codes in enumerate(taken)
                )
                given[node.outputs[k]] = reduce(np.minimum, every)
    return given, links


def needs(graph: Graph, plan: Plan, node: Node, index: int, output: int = 0) -> Counts:
    """For each code of an output of a node, the codes of one input that must have come before."""
    chosen = plan.nodes[node.name]
    return implementation(graph, node, chosen).needs(chosen, index, output)
