"""A model of hls4ml with every type that a layer declares as a cast of its own.

Its reader leaves an assignment out where the type before it is the same. Where that one gets wider
the assignment is there again, and loses what the suggestion was to keep.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from hwsim.fixed import Overflow, Rounding
from hwsim.graph import Graph, Node
from hwsim.ops import Cast, MaxPool, TensorType, Weighted

UNASSIGNED = (
    "cast", "channel_table", "chosen_thresholds", "concat", "flatten", "literal", "pad",
    "pair_table", "reshape", "select", "split", "table", "thresholds", "transpose",
)  # fmt: skip
"""Kinds of nodes that give codes of the type that they say or read."""


def declared(graph: Graph) -> Graph:
    """The graph with the casts that change nothing yet."""
    nodes = tuple(made for node in graph.nodes for made in _with_casts(graph, node))
    return replace(graph, nodes=nodes)


def _with_casts(graph: Graph, node: Node) -> Iterator[Node]:
    """A node, and the accumulator before it and the result behind it as casts."""
    layer, _, part = node.name.partition("/")
    inputs, types = node.inputs, graph.types()
    maker = graph.makers().get(inputs[0]) if inputs else None
    if isinstance(node.op, MaxPool) and (maker is None or maker.name.partition("/")[0] != layer):
        edge = f"{layer}/accum"
        yield _cast(edge, inputs[0], edge, types[inputs[0]])
        inputs = (edge,)
    if part or node.op.kind in UNASSIGNED or len(node.outputs) > 1:
        yield replace(node, inputs=inputs)
        return
    name = f"{layer}/{'sum' if isinstance(node.op, Weighted) else 'full'}"
    yield Node(name, node.op, inputs, name)
    yield _cast(layer, name, node.output, types[node.output])


def _cast(name: str, source: str, edge: str, kind: TensorType) -> Node:
    op = Cast(out=kind.format, rounding=Rounding.TRN, overflow=Overflow.WRAP)
    return Node(name, op, (source,), edge)
