"""Small graphs for tests of the emulator: operators in a row, an image network, their codes."""

from __future__ import annotations

from typing import Any

import numpy as np

from hwsim.fixed import Format
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.ops import (
    Conv2D,
    Dense,
    Flatten,
    MaxPool,
    Quant,
    Requantize,
    Scheme,
    Table,
    TensorType,
    Window,
)
from support import oracle_ops
from support.cases import tensor

S8 = Format.int(8)


def network(axes: tuple[int, ...] | None = (2, 0, 1)) -> Graph:
    """A convolution, its requantizer, a table and a dense layer, from an image of 2 channels."""
    image = TensorType((4, 5, 2), S8, Quant((0.05,), -3))
    conv = Conv2D(
        weights=np.arange(36).reshape(3, 3, 2, 2) % 15 - 7,
        bias=np.array([10, -20]),
        weight_format=Format.int(4),
        zero_point=-3,
        window=Window((3, 3), (1, 2), (1, 1, 1, 1)),
    )
    to8 = Requantize(scheme=Scheme.F32_RNE_OUT, multiplier=(0.03, 0.07), out=S8, zero_point=4)
    dense = Dense(
        weights=np.arange(24 * 3).reshape(24, 3) % 13 - 6,
        bias=np.array([1, 2, 3]),
        weight_format=Format.int(4),
    )
    nodes = (
        Node("conv", conv, ("image",), "sums"),
        Node("to8", to8, ("sums",), "codes"),
        Node("table", Table(values=np.arange(256) // 2 - 64, out=S8), ("codes",), "mapped"),
        Node("flat", Flatten(), ("mapped",), "vector"),
        Node("dense", dense, ("vector",), "scores"),
    )
    port = InputPort(name="x", tensor="image", type=image, axes=axes)
    outputs = (
        OutputPort(name="scores", tensor="scores"),
        OutputPort(name="map", tensor="codes", axes=axes),
    )
    return Graph((port,), nodes, outputs)


def one(*ops: Any, x: TensorType | None = None, **port: Any) -> Graph:
    """Operators in a row behind one input."""
    edges = ["x", *(f"e{k}" for k in range(len(ops)))]
    nodes = tuple(Node(f"n{k}", op, (edges[k],), edges[k + 1]) for k, op in enumerate(ops))
    entry = InputPort(name="x", tensor="x", type=x or tensor(3), **port)
    return Graph((entry,), nodes, (OutputPort(name="y", tensor=edges[-1]),))


def images(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 3, (n, 2, 4, 5)).astype(np.float32)


def row(x: TensorType, *ops) -> Graph:
    """One operator after the other."""
    nodes = [Node(f"n{i}", op, (f"t{i}",), f"t{i + 1}") for i, op in enumerate(ops)]
    return Graph(
        (InputPort(name="x", tensor="t0", type=x),),
        tuple(nodes),
        (OutputPort(name="y", tensor=f"t{len(ops)}"),),
    )


def by_oracle(graph: Graph, codes) -> list:
    """Plain integers, sample by sample, operator by operator."""
    types, results = graph.types(), []
    for sample in codes.tolist():
        for node in graph.nodes:
            inputs = [types[edge] for edge in node.inputs]
            sample = oracle_ops.run(node.op, inputs, types[node.output], [sample])
        results.append(sample)
    return results


def conv(rng, channels=2, outputs=4) -> Conv2D:
    return Conv2D(
        weights=rng.integers(-8, 8, (3, 3, channels, outputs)),
        bias=rng.integers(-99, 99, outputs),
        weight_format=Format.parse("s4"),
        window=Window((3, 3)),
    )


POOL = MaxPool(window=Window((2, 2), (2, 2)))


PLANES = TensorType((6, 6, 2), Format.parse("s8.4"))
