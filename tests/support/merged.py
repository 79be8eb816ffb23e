"""Several graphs as one, so that one run of a tool serves all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hwsim.graph import Graph, Node


def merged(graphs: Mapping[str, Graph]) -> Graph:
    """One graph of graphs without state side by side, each with names of its own in front."""
    inputs, nodes, outputs = [], [], []
    for key, graph in graphs.items():
        for port in graph.inputs:
            edge = f"{key}/{port.tensor}"
            inputs.append(replace(port, name=f"{key}/{port.name}", tensor=edge))
        for node in graph.nodes:
            read, made = ([f"{key}/{e}" for e in edges] for edges in (node.inputs, node.outputs))
            nodes.append(Node(f"{key}/{node.name}", node.op, read, made))
        for end in graph.outputs:
            edge = f"{key}/{end.tensor}"
            outputs.append(replace(end, name=f"{key}/{end.name}", tensor=edge))
    return Graph(tuple(inputs), tuple(nodes), tuple(outputs))
