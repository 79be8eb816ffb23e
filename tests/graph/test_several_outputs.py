"""Nodes with several outputs: checked, saved, emulated and shown like all others."""

from __future__ import annotations

from pathlib import Path

import array_api_strict
import numpy as np
import pytest
from support.cases import tensor
from support.parts import LowBits

from hwsim import emulate, trace
from hwsim.emulator.run import Emulator
from hwsim.errors import HwsimError
from hwsim.fixed import Format, Rounding
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.ops import Add, Cast, MaxPool, Relu, Split, Window
from hwsim.reporting import facts, layout, picture

NAMESPACES = pytest.mark.parametrize("xp", [np, array_api_strict], ids=["numpy", "array_api"])


def graph(*nodes: Node, shows: str = "y", shape: tuple[int, ...] = (6, 6, 2)) -> Graph:
    """Nodes behind an input `x`; each letter of `shows` is an edge that is an output."""
    return Graph(
        (InputPort(name="x", tensor="x", type=tensor(shape)),),
        nodes,
        tuple(OutputPort(name=edge, tensor=edge) for edge in shows),
    )


SPLIT = Node("split", LowBits(3), ("x",), ("h", "l"))
JOINED = (
    SPLIT,
    Node("relu", Relu(), ("h",), "r"),
    Node("add", Add(), ("r", "l"), "y"),
)


@pytest.fixture
def codes(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(-128, 128, (40, 6, 6, 2))


def plain(x: np.ndarray) -> np.ndarray:
    """What the graph `JOINED` computes, code by code."""
    return np.vectorize(lambda code: max(code >> 3, 0) + (code & 7))(x)


@NAMESPACES
def test_a_node_with_two_outputs_feeds_two_branches(xp, codes):
    got = emulate(graph(*JOINED), codes, xp=xp, codes=True)
    assert np.asarray(got).tolist() == plain(codes).tolist()


def test_every_edge_of_a_trace_is_there(codes):
    edges = trace(graph(*JOINED), codes, codes=True)
    assert edges.keys() == {"x", "h", "l", "r", "y"}
    assert np.array_equal(edges["h"] * 8 + edges["l"], codes)


def test_pieces_of_a_batch_are_joined_for_each_output(codes):
    emulator = Emulator(graph(SPLIT, shows="hl"), chunk_bytes=1)
    whole = emulator.run({"x": codes})
    assert emulator.chunk == 1
    pieces = emulator.run_chunked({"x": codes})
    assert pieces.keys() == {"h", "l"}
    assert all(np.array_equal(pieces[edge], whole[edge]) for edge in whole)


@pytest.mark.parametrize("shown", ["h", "l"])
def test_an_output_that_nobody_reads_is_let_go(shown, codes):
    g = graph(SPLIT, Node("relu", Relu(), (shown,), "y"))
    other = "l" if shown == "h" else "h"
    assert g.consumers(other) == [] and g.makers()[other] is SPLIT
    want = np.maximum(codes >> 3, 0) if shown == "h" else codes & 7
    assert np.array_equal(emulate(g, codes, codes=True), want)


def test_a_pool_goes_ahead_of_what_feeds_it_but_not_ahead_of_two_outputs(codes):
    pool = MaxPool(window=Window((2, 2), (2, 2)))
    cast = Cast(out=Format.parse("s4.-1"), rounding=Rounding.RND)
    nodes = (SPLIT, Node("cast", cast, ("h",), "c"), Node("pool", pool, ("c",), "y"))
    g = graph(*nodes, shows="yl")
    emulator = Emulator(g)
    assert [step.node for step in emulator.quick] == ["split", "pool"]
    got, want = emulator.run({"x": codes}), emulator.run({"x": codes}, keep=True)
    assert all(np.array_equal(got[edge], want[edge]) for edge in "yl")


def test_types_work_and_hash_follow_both_outputs():
    g = graph(*JOINED)
    assert [str(t.format) for t in g.output_types(SPLIT)] == ["s5", "u3"]
    assert g.ranges()["h"] == (-16, 15) and g.work()["split"].activations == 2 * 72
    document, _ = g.document()
    assert document["schema"] == 2 and document["nodes"][0]["outputs"] == ["h", "l"]
    swapped = graph(Node("split", LowBits(3), ("x",), ("l", "h")), *JOINED[1:])
    assert g.hash() != swapped.hash()


def test_a_report_shows_both_outputs():
    g = graph(*JOINED)
    row = facts.describe(g)["nodes"][0]
    assert [made["name"] for made in row["outputs"]] == ["h", "l"]
    assert facts.made_text(row, key="format") == "s5, u3"
    assert facts.made_text(row, key="shape") == "6×6×2"
    drawn = layout.arrange(g)
    assert {line.edge for line in drawn.lines} == {"x", "h", "l", "r", "y"}
    assert "s5, u3" in picture.draw(g)


@pytest.mark.parametrize(
    ("nodes", "text"),
    [
        ((Node("n", LowBits(3), ("x",), "y"),), "node 'n' must have 2 outputs, not 1"),
        ((Node("n", Relu(), ("x",), ("y", "z")),), "node 'n' must have 1 output, not 2"),
        (
            (Node("n", LowBits(3), ("x",), ("y", "y")),),
            "edge names must be unique, but 'y' occurs more than once",
        ),
        (
            (Node("n", LowBits(3), ("x",), ("y", "x")),),
            "edge names must be unique, but 'x' occurs more than once",
        ),
    ],
)
def test_outputs_that_do_not_fit_the_operator_are_refused(nodes, text):
    with pytest.raises(HwsimError) as error:
        graph(*nodes)
    assert str(error.value) == text


def test_the_one_output_of_a_node_with_two_is_refused():
    assert JOINED[1].output == "r" and JOINED[1].outputs == ("r",)
    with pytest.raises(HwsimError, match=r"^node 'split' must have one output, not 2$"):
        _ = SPLIT.output


def split_graph() -> Graph:
    """Channels split in three, of which the last is read by nobody."""
    nodes = (
        Node("split", Split(axis=2, sizes=(1, 2, 1)), ("x",), ("p", "q", "r")),
        Node("add", Add(), ("p", "q"), "y"),
    )
    return graph(*nodes, shape=(2, 3, 4))


def test_a_graph_with_several_outputs_is_saved_under_schema_2_and_read_back(tmp_path):
    """`data/schema_2.hwsim` was written when that schema began."""
    kept = Path(__file__).parent / "data" / "schema_2.hwsim"
    g = split_graph()
    g.save(tmp_path / "split.hwsim")
    assert (tmp_path / "split.hwsim").read_bytes() == kept.read_bytes()
    back = Graph.load(kept)
    assert back.hash() == g.hash() and back.nodes == g.nodes and back.types() == g.types()


@pytest.mark.needs("amaranth")
def test_hardware_drains_an_output_that_nobody_reads(rng):
    from support import rtl_designs

    from rtl.plan.search import plan_for_cycles

    g, x = split_graph(), rng.integers(-128, 128, (3, 2, 3, 4))
    for cycles in (1 << 40, 1):
        got, _ = rtl_designs.simulate(g, plan_for_cycles(g, cycles), {"x": x}, stall=0.3)
        assert np.array_equal(got["y"], x[..., :1] + x[..., 1:3])


@pytest.mark.needs("verilator")
def test_a_built_network_with_several_outputs_is_verified(tmp_path):
    import hwsim

    g = split_graph()
    hwsim.build(g, tmp_path / "b", rtl_only=True, fps=1000)
    assert hwsim.verify(tmp_path / "b", samples=5).ok
