"""Graphs with state that every backend runs, and what they mean in plain integers, step by step."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hwsim.fixed import Format, Overflow, Rounding
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.ops import (
    Add,
    BatchNorm,
    Cast,
    Concat,
    Conv2D,
    Dense,
    Flatten,
    MaxPool,
    Op,
    Relu,
    Requantize,
    Reshape,
    Scheme,
    Table,
    TensorType,
    Window,
)
from hwsim.state import State
from support import oracle_ops
from support.cases import Codes, tensor, weights

S8 = Format.int(8)
TANH = Table(values=np.round(127 * np.tanh(np.arange(-128, 128) / 40)).astype(int), out=S8)


@dataclass(slots=True)
class Stream:
    """A graph with state under construction, and then its case: a name, and codes to feed it."""

    id: str
    inputs: list[InputPort] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    state: list[State] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)

    def read(self, name: str, kind: TensorType) -> str:
        """An input."""
        self.inputs.append(InputPort(name=name, tensor=name, type=kind))
        return name

    def held(self, name: str, kind: TensorType, then: str, initial: Any) -> str:
        """An edge with what `then` held one step before."""
        self.state.append(State(name=name, tensor=name, type=kind, next=then, initial=initial))
        return name

    def run(self, edge: str, op: Op, *inputs: str) -> str:
        """An edge made by an operator."""
        self.nodes.append(Node(f"n_{edge}", op, inputs, edge))
        return edge

    def graph(self) -> Graph:
        """The graph."""
        outputs = tuple(OutputPort(name=edge, tensor=edge) for edge in self.shown)
        return Graph(tuple(self.inputs), tuple(self.nodes), outputs, tuple(self.state))

    def codes(self, rows: int, steps: int, seed: int) -> dict[str, Codes]:
        """Codes `(rows, steps, *shape)` by input; one row rests at each end of the range."""
        rng = np.random.default_rng([seed, zlib.crc32(self.id.encode())])
        found = {}
        for port in self.inputs:
            lo, hi = port.type.lo, port.type.hi
            x = rng.integers(lo, hi + 1, (rows, steps, *port.type.shape), np.int64)
            for row, code in zip(x, (hi, lo), strict=False):
                row[...] = code
            found[port.name] = x
        return found


def expected(graph: Graph, inputs: dict[str, Codes]) -> dict[str, list[Any]]:
    """The codes of every edge as nested lists (rows, steps, ...), by plain integers."""
    rows = len(next(iter(inputs.values())))
    found: dict[str, list[Any]] = {}
    for row in range(rows):
        mine = {name: x[row].tolist() for name, x in inputs.items()}
        steps = one_row(graph, mine)
        for edge in steps[0]:
            found.setdefault(edge, []).append([step[edge] for step in steps])
    return found


def one_row(graph: Graph, inputs: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """Every edge at every step of one sequence; `inputs` are lists of steps."""
    types = graph.types()
    held = {s.tensor: initial(s) for s in graph.state}
    found = []
    for at in range(len(next(iter(inputs.values())))):
        edges = dict(held)
        for port in graph.inputs:
            edges[port.tensor] = inputs[port.name][at]
        for node in graph.nodes:
            kinds, xs = [types[e] for e in node.inputs], [edges[e] for e in node.inputs]
            edges[node.output] = oracle_ops.run(node.op, kinds, types[node.output], xs)
        held = {s.tensor: edges[s.next] for s in graph.state}
        found.append(edges)
    return found


def as_dict(graph: Graph, outputs: Any) -> dict[str, Any]:
    """Outputs by name, of one or of several."""
    return outputs if isinstance(outputs, dict) else {graph.outputs[0].name: outputs}


def initial(state: State) -> Any:
    """What the first step reads, as nested lists."""
    if isinstance(state.initial, int):
        size = int(np.prod(state.type.shape))
        return oracle_ops.shaped([state.initial] * size, state.type.shape)
    return state.initial.tolist()


def streams() -> Iterator[Stream]:
    """One case for each way in which state is used."""
    yield integrator()
    yield delay()
    yield counter()
    yield taps()
    yield cell()
    yield maps()
    yield kept_edges()


def integrator() -> Stream:
    """A leaky integrator: h = 7/8 h + x, rounded and saturated."""
    s, kind = Stream("leaky-integrator"), tensor(3, "s12.4")
    s.read("x", tensor(3, "s8.2"))
    s.held("h", kind, "y", np.array([-2048, 5, 2047]))
    keep = {"scale": np.array([7, 7, 6]), "bias": np.zeros(3, int), "bias_frac": 7}
    s.run("kept", BatchNorm(**keep, scale_format=Format.parse("s5.3")), "h")
    s.run("sum", Add(), "kept", "x")
    s.run("y", Cast(out=kind.format, rounding=Rounding.RND, overflow=Overflow.SAT), "sum")
    s.shown = ["y"]
    return s


def delay() -> Stream:
    """The input one step later: a state that an input writes and an output shows."""
    s = Stream("delay")
    s.read("x", tensor((2, 2), "u4", codes=(1, 12)))
    s.held("before", s.inputs[0].type, "x", 9)
    s.shown = ["before"]
    return s


def counter() -> Stream:
    """A sum that wraps around, and one input that only the output sees."""
    s, kind = Stream("counter"), tensor(4, "u4")
    s.read("x", tensor(4, "u3")), s.read("z", tensor(4, "s5"))
    s.held("count", kind, "more", np.array([0, 15, 7, 1]))
    s.run("sum", Add(), "count", "x")
    s.run("more", Cast(out=kind.format, overflow=Overflow.WRAP), "sum")
    s.run("y", Add(), "count", "z")
    s.shown = ["y", "more"]
    return s


def taps() -> Stream:
    """A convolution over time of three steps: two states in a chain, each the one before, late."""
    s, kind = Stream("taps"), tensor(2, "s8", 3)
    s.read("x", kind)
    s.held("one", kind, "x", 3), s.held("two", kind, "one", np.array([-128, 127]))
    s.run("row", Concat(), "two", "one", "x")
    s.run("window", Reshape(shape=(3, 1, 2)), "row")
    conv = Conv2D(**weights("taps", "s4", 3, 1, 2, 4), window=Window((3, 1)), zero_point=3)
    s.run("sums", conv, "window")
    s.run("y", to8(0.02), "sums")
    s.shown = ["y"]
    return s


def cell() -> Stream:
    """A simple recurrent cell: h = tanh(W x + U h + b), and a dense layer after it."""
    s = Stream("cell")
    s.read("x", tensor(5)), s.held("h", tensor(6, codes=(-127, 127)), "tanh", -17)
    s.run("wx", Dense(**weights("w", "s5", 5, 6)), "x")
    s.run("uh", Dense(**weights("u", "s6", 6, 6)), "h")
    s.run("sum", Add(), "wx", "uh")
    s.run("short", to8(0.01), "sum")
    s.run("tanh", TANH, "short")
    s.run("y", Dense(**weights("v", "s4", 6, 3)), "tanh")
    s.shown = ["y", "h"]
    return s


def maps() -> Stream:
    """A convolution of a map beside the one before it, behind a max pool."""
    s = Stream("maps")
    s.read("x", tensor((4, 4, 1))), s.held("h", tensor((2, 2, 2)), "new", 50)
    s.run("wide", Conv2D(**weights("c", "s4", 1, 1, 1, 2), window=Window((1, 1))), "x")
    s.run("fit", Cast(out=S8, overflow=Overflow.SAT), "wide")
    s.run("small", MaxPool(window=Window((2, 2), (2, 2))), "fit")
    s.run("both", Concat(), "small", "h")
    again = Conv2D(**weights("d", "s4", 3, 3, 4, 2), window=Window((3, 3), (1, 1), (1, 1, 1, 1)))
    s.run("sums", again, "both")
    s.run("new", to8(0.006), "sums")
    s.shown = ["new"]
    return s


def kept_edges() -> Stream:
    """State written by edges that faster steps leave out: sums ahead of a cast, or of a pool."""
    s = Stream("kept-edges")
    s.read("x", tensor((2, 2, 2), "s8.4"))
    s.run("wide", Conv2D(**weights("e", "s4.2", 1, 1, 2, 2), window=Window((1, 1))), "x")
    s.run("fit", Cast(out=Format.parse("s6.1"), rounding=Rounding.RND_CONV), "wide")
    s.run("positive", Relu(), "fit")
    s.run("pooled", MaxPool(window=Window((2, 2), (2, 2))), "positive")
    s.run("flat", Flatten(), "pooled")
    s.run("sums", Dense(**weights("f", "s4.1", 2, 3)), "flat")
    s.run("y", Cast(out=Format.parse("s5.1")), "sums")
    s.shown = ["y"]
    types = s.graph().types()
    s.held("late_fit", types["fit"], "fit", -1), s.held("late_sums", types["sums"], "sums", 6)
    s.shown = ["y", "late_fit", "late_sums"]
    return s


def random_stream(seed: int) -> Stream:
    """Vectors of three codes in int8 through operators and states drawn at random."""
    rng = random.Random(seed)
    s, kind = Stream(f"random-{seed}"), tensor(3)
    edges = [s.read("x", kind), *(f"h{k}" for k in range(rng.randint(1, 3)))]
    held = edges[1:]
    for k in range(rng.randint(2, 6)):
        a, b = rng.choice(edges), rng.choice(edges)
        name, data = f"e{k}", weights(f"{seed} {k}", "s5", 6, 3)
        match rng.randrange(5):
            case 0:
                s.run(f"{name}_sum", Add(), a, b)
                modes = rng.choice(list(Rounding)), rng.choice([Overflow.SAT, Overflow.WRAP])
                s.run(name, Cast(out=S8, rounding=modes[0], overflow=modes[1]), f"{name}_sum")
            case 1:
                s.run(f"{name}_both", Concat(), a, b)
                s.run(f"{name}_sum", Dense(**data), f"{name}_both")
                s.run(name, to8(0.05), f"{name}_sum")
            case 2:
                s.run(name, Relu(), a)
            case 3:
                s.run(name, TANH, a)
            case 4:
                s.run(name, BatchNorm(**FLIP), a)
                name = s.run(f"{name}_fit", Cast(out=S8, overflow=Overflow.SAT), name)
        edges.append(name)
    for edge in held:
        first = [rng.randint(-128, 127) for _ in range(3)]
        s.held(edge, kind, rng.choice(edges), np.array(first))
    s.shown = [edges[-1], *held]
    return s


FLIP = {
    "scale": np.array([-1, 2, -3]),
    "bias": np.array([9, -7, 5]),
    "scale_format": Format.int(3),
}


def to8(multiplier: float) -> Requantize:
    """To int8 by one float32 product."""
    return Requantize(scheme=Scheme.F32_RNE_OUT, multiplier=(multiplier,), out=S8)


STREAMS = list(streams())
