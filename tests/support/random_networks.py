"""Random small ap_fixed networks, and plans drawn among all that fit them."""

from __future__ import annotations

import dataclasses

import numpy as np

from hwsim.fixed import Format, Overflow, Rounding
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.ops import (
    Add,
    AvgPool,
    BatchNorm,
    Cast,
    Conv2D,
    Dense,
    Divide,
    Flatten,
    MaxPool,
    Relu,
    Stepwise,
    TensorType,
    Weighted,
    Window,
)
from rtl.layers.base import divisors
from rtl.layers.folds import layer_fold, needs_parallel
from rtl.layers.table import implementations
from rtl.plan.plan import Plan
from rtl.plan.search import plan_for_cycles

MODES = [r for r in Rounding if r not in (Rounding.CEIL, Rounding.UP)]


class Network:
    """A graph that grows by layers with random formats, modes and accumulators."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[Node] = []
        shape = (4, 4, int(self.rng.integers(1, 3)))
        self.port = InputPort(name="x", tensor="x", type=TensorType(shape, self.format(7)))
        self.edge = "x"

    def format(self, most: int) -> Format:
        width = int(self.rng.integers(4, most + 1))
        integer = int(self.rng.integers(1, width + 1))
        return Format(True, integer, width - integer)

    def modes(self) -> dict:
        return {
            "rounding": MODES[self.rng.integers(len(MODES))],
            "overflow": list(Overflow)[self.rng.integers(4)],
        }

    def type(self) -> TensorType:
        return self.graph().types()[self.edge] if self.nodes else self.port.type

    def graph(self) -> Graph:
        return Graph((self.port,), tuple(self.nodes), (OutputPort(name="y", tensor=self.edge),))

    def add(self, op, *more: str) -> str:
        name = f"n{len(self.nodes)}"
        self.nodes.append(Node(name, op, (self.edge, *more), name))
        self.edge = name
        return name

    def accumulator(self, terms: int) -> Stepwise:
        order = None
        if terms and self.rng.random() < 0.3:
            order = tuple(int(k) for k in self.rng.permutation(terms))
        return Stepwise(format=self.format(11), order=order, **self.modes())

    def constants(self, terms: int, *shape: int) -> dict:
        fmt = self.format(5)
        return {
            "weights": self.rng.integers(fmt.min, fmt.max + 1, shape),
            "weight_format": fmt,
            "bias": self.rng.integers(-20, 20, shape[-1]),
            "bias_frac": int(self.rng.integers(0, 5)),
            "accumulator": self.accumulator(terms),
        }

    def narrow(self) -> None:
        self.add(Cast(out=self.format(7), **self.modes()))

    def conv(self) -> None:
        channels = self.type().channels
        pads = (1, 1, 1, 1) if self.rng.random() < 0.5 else (0, 0, 0, 0)
        window = Window((2, 2), (1, 1), pads)
        outputs = int(self.rng.integers(1, 4))
        self.add(Conv2D(**self.constants(4 * channels, 2, 2, channels, outputs), window=window))
        self.narrow()

    def dense(self) -> None:
        if len(self.type().shape) > 1:
            self.add(Flatten())
        terms, outputs = self.type().channels, int(self.rng.integers(1, 5))
        self.add(Dense(**self.constants(terms, terms, outputs)))
        self.narrow()

    def between(self) -> None:
        """One of the layers without a sum of products."""
        kind = self.rng.integers(5)
        if kind == 0:
            self.add(Relu())
        elif kind == 1:
            channels = self.type().channels
            scale = self.rng.integers(-8, 8, channels)
            bias = self.rng.integers(-9, 9, channels)
            self.add(
                BatchNorm(scale=scale, bias=bias, scale_format=Format(True, 2, 2), bias_frac=3)
            )
            self.narrow()
        elif kind == 2:
            self.add(MaxPool(window=Window((2, 2), (1, 1))))
        elif kind == 3:
            self.add(AvgPool(window=Window((2, 2), (1, 1)), accumulator=self.accumulator(0)))
            self.add(Divide(divisors=np.array([4])))
        else:
            before = self.edge
            self.add(Cast(out=self.format(7), **self.modes()))
            self.add(Add(), before)
            self.narrow()


def network(seed: int) -> Graph:
    """A convolution, something between, a dense layer."""
    made = Network(seed)
    made.conv()
    made.between()
    made.dense()
    return made.graph()


def random_plan(graph: Graph, rng: np.random.Generator) -> Plan:
    """Implementations, lanes and folds drawn at random among all that fit."""
    plan = plan_for_cycles(graph, 1 << 30)
    nodes = dict(plan.nodes)
    for node in graph.nodes:
        x = graph.input_types(node)[0]
        if isinstance(node.op, Weighted):
            whole = layer_fold(node.op)
            pe = int(rng.choice(divisors(whole.outputs)))
            simd = int(rng.choice(divisors(whole.terms)))
            fold = layer_fold(node.op, pe=pe, simd=simd)
            nodes[node.name] = dataclasses.replace(
                nodes[node.name], fold=fold, parallel_window=needs_parallel(node.op, fold, x)
            )
        else:
            plans = [o.plan for way in implementations(graph, node) for o in way.options()]
            nodes[node.name] = plans[int(rng.integers(len(plans)))]
    inputs = {p.name: int(rng.choice(divisors(p.type.channels))) for p in graph.inputs}
    return dataclasses.replace(plan, nodes=nodes, inputs=inputs)
