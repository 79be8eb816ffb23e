"""A float ONNX graph in the form that quantizers are put into: norms in the layers."""

from __future__ import annotations

from typing import Any

from hwsim.compress.prepared.folded import into_before, into_behind, line_into_before
from hwsim.compress.prepared.forms import (
    along_the_last,
    averaged,
    of_whole_windows,
    untied,
    with_own_sum,
    without_factors,
)
from hwsim.compress.prepared.graph import ChangedGraph, attribute
from hwsim.frontends.onnx.file import from_proto
from hwsim.frontends.onnx.fused_norms import norms

LINES = ("Add", "Div", "Mul", "Sub")


def prepare(proto: Any) -> None:
    """Fold batch norms and factors into layers and name averages over all places so, in place.

    A norm goes into the layer before it, or, where a function stands between, into the dense layer
    behind it. So do a norm's parts and a bias, a factor or an offset a channel, which Keras writes;
    the axes may be moved in between. All are equal but for float32's rounding.
    """
    graph = ChangedGraph(proto)
    for node in graph.nodes:
        if node.op_type in ("ReduceL2", "ReduceMean"):
            along_the_last(graph, node)
    graph.write()
    parts = frozenset().union(*(one.gone for one in norms(from_proto(proto))))
    graph = ChangedGraph(proto)
    untied(graph)
    for node in list(proto.graph.node):
        if node.op_type == "AveragePool":
            of_whole_windows(graph, node)
        if node.op_type == "Gemm":
            without_factors(graph, node)
            with_own_sum(graph, node)
    for node in list(proto.graph.node):
        if node.op_type == "BatchNormalization":
            _ = into_before(graph, node) or into_behind(graph, node)
        if node.op_type == "ReduceMean" and node.output[0] not in parts:
            averaged(graph, node)
        if node.op_type in LINES:
            line_into_before(graph, node)
    graph.write()


def trains(proto: Any) -> list[str]:
    """Nodes that still behave as in training: norms of the batch's own, and dropped numbers."""
    from onnx import numpy_helper

    held = {t.name: t for t in proto.graph.initializer}
    held |= {
        node.output[0]: node.attribute[0].t
        for node in proto.graph.node
        if node.op_type == "Constant" and node.attribute[0].name == "value"
    }
    found = []
    for node in proto.graph.node:
        modes = [held[name] for name in node.input[2:3] if name in held]
        drops = node.op_type == "Dropout" and any(numpy_helper.to_array(m).any() for m in modes)
        own = node.op_type == "BatchNormalization" and attribute(node, "training_mode", 0)
        if drops or own:
            found.append(f"{node.op_type} {str(node.name or node.output[0])!r}")
    return found
