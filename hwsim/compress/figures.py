"""What a network comes to in bits, as hardware stores and multiplies them."""

from __future__ import annotations

from hwsim.graph import Graph
from hwsim.ops import Weighted


def weight_bits(graph: Graph) -> int:
    """Bits of all weights, biases apart."""
    ops = [node.op for node in graph.nodes]
    return sum(op.weights.size * op.weight_bits for op in ops if isinstance(op, Weighted))


def bit_operations(graph: Graph) -> int:
    """Products of an inference, each by the bits of its weight times those of its input's code."""
    work, total = graph.work(), 0
    for node in graph.nodes:
        if isinstance(node.op, Weighted):
            (read,) = graph.input_types(node)
            total += work[node.name].macs * node.op.weight_bits * read.format.width
    return total
