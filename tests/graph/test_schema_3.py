"""A saved graph of schema 3, kept as it was first written: steps at ports and new operators."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hwsim import emulate
from hwsim.fixed import Format
from hwsim.float_steps import FloatStep, RowStep, UnaryStep
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.ops import (
    Balanced,
    ChannelTable,
    Concat,
    Literal,
    MatMul,
    Maximum,
    Pad,
    PairTable,
    Quotient,
    Reduce,
    Reduction,
    Requantize,
    Scheme,
    Select,
    TensorType,
    Thresholds,
)
from hwsim.ports import channels_first

KEPT = Path(__file__).parent / "data" / "schema_3.hwsim"
S4, S8, U4 = Format.int(4), Format.int(8), Format(False, 4, 0)


def graph() -> Graph:
    """Maps (2, 3, 3) of whole numbers, with one operator of each kind that came with schema 3."""
    port = InputPort(
        name="x",
        tensor="x",
        type=TensorType((3, 3, 2), S4),
        axes=channels_first(3),
        steps=(
            FloatStep(op="div", values=(3.0,)),
            FloatStep(op="sub", values=(0.5, -1.0), shape=(2, 1, 1)),
        ),
    )
    count = Thresholds(
        values=np.array([[-9, 0, 6], [-2, 3, 10]]), base=np.array([0]), step=np.array([1]), out=U4
    )
    squares = ChannelTable(values=np.array([[0, 1, 4, 9], [9, 4, 1, 0]]), out=U4, first=0)
    pairs = PairTable(values=np.arange(256).reshape(16, 16) % 13, out=U4)
    limit = Literal(values=np.arange(8).reshape(4, 1, 2), out=U4)
    narrow = Requantize(scheme=Scheme.SHIFT, multiplier=(2.0**-4,), out=U4)
    tree = Reduce(
        reduction=Reduction.SUM, axes=(0,), accumulator=Balanced(format=Format(False, 7, 0))
    )
    most = Literal(values=np.full((1, 1, 1), 7), out=U4)
    whole = Quotient(out=S8, factor=5)
    nodes = (
        Node("select", Select(axis=0, indices=(2, 0, 0)), ("x",), "s"),
        Node("concat", Concat(axis=1), ("x", "s"), "c"),
        Node("pad", Pad(before=(1, 0, 0), between=(0, 1, 0), code=-3), ("c",), "p"),
        Node("rows", Reduce(reduction=Reduction.SUM, axes=(1,)), ("p",), "w"),
        Node("count", count, ("w",), "t"),
        Node("squares", squares, ("t",), "q"),
        Node("pairs", pairs, ("q", "t"), "r"),
        Node("limit", limit, ("t",), "l"),
        Node("larger", Maximum(), ("r", "l"), "m"),
        Node("two", Select(axis=1, indices=(4, 2)), ("p",), "o"),
        Node("product", MatMul(), ("m", "o"), "z"),
        Node("narrow", narrow, ("z",), "y"),
        Node("total", tree, ("m",), "a"),
        Node("seven", most, ("t",), "seven"),
        Node("whole", whole, ("t", "seven"), "b"),
    )
    outputs = (
        OutputPort(name="y", tensor="y", steps=(RowStep(op="softmax", axes=(2,)),)),
        OutputPort(name="a", tensor="a", steps=(UnaryStep(op="tanh"),)),
        OutputPort(name="b", tensor="b"),
    )
    return Graph((port,), nodes, outputs)


def test_a_graph_of_schema_3_is_saved_as_ever_and_read_back(tmp_path, rng):
    """`data/schema_3.hwsim` was written when that schema was new."""
    made = graph()
    made.save(tmp_path / "again.hwsim")
    assert (tmp_path / "again.hwsim").read_bytes() == KEPT.read_bytes()
    back = Graph.load(KEPT)
    assert back.document()[0]["schema"] == 3
    assert (back.inputs, back.outputs, back.types()) == (made.inputs, made.outputs, made.types())
    assert back.hash() == made.hash()
    x = rng.integers(-8, 8, (50, 2, 3, 3))
    for codes in (True, False):
        here, there = (emulate(g, x if codes else x / 2, codes=codes) for g in (made, back))
        assert all(np.array_equal(here[name], there[name]) for name in ("y", "a", "b"))
        assert codes == (here["y"].dtype == np.int64)
