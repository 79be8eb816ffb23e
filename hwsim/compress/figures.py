"""What a network comes to in bits, as hardware stores and multiplies them."""

from __future__ import annotations

from hwsim.graph import Graph
from hwsim.ops import Weighted


def weight_bits(graph: Graph) -> int:
    """Bits of all weights, biases apart, each channel with its own where it has some."""
    return sum(node.op.total_bits for node in graph.nodes if isinstance(node.op, Weighted))


def bit_operations(graph: Graph) -> int:
    """Products of an inference, each by the bits of its weight times those of its input's code."""
    work, total = graph.work(), 0
    for node in graph.nodes:
        if isinstance(node.op, Weighted):
            (read,) = graph.input_types(node)
            products = work[node.name].macs * node.op.total_bits // node.op.weights.size
            total += products * read.format.width
    return total
