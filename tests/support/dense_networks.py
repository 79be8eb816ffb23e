"""Dense layers in a row, as many and as wide as a test of plans wants."""

from __future__ import annotations

import itertools

import numpy as np

from hwsim.fixed import Format
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.ops import Dense, Requantize, Scheme, TensorType
from support.seeds import seeded

U8 = Format.uint(8)


def network(*widths: int, requantizers: bool = True, density: float = 1.0) -> Graph:
    """Dense layers, each with a requantizer of a scale a channel."""
    rng, nodes, edge = np.random.default_rng(seeded(3)), [], "x"
    for k, (terms, outputs) in enumerate(itertools.pairwise(widths)):
        weights = rng.integers(1, 8, (terms, outputs)) * (rng.random((terms, outputs)) < density)
        dense = Dense(weights=weights, bias=np.zeros(outputs, int), weight_format=Format.int(4))
        nodes.append(Node(f"d{k}", dense, (edge,), f"s{k}"))
        edge = f"s{k}"
        if requantizers:
            scales = tuple(float(s) for s in rng.uniform(0.01, 0.02, outputs))
            op = Requantize(scheme=Scheme.F32_RNE_OUT, multiplier=scales, out=U8)
            nodes.append(Node(f"r{k}", op, (edge,), f"e{k}"))
            edge = f"e{k}"
    port = InputPort(name="x", tensor="x", type=TensorType((widths[0],), U8))
    return Graph((port,), tuple(nodes), (OutputPort(name="y", tensor=edge),))
