"""The builder that front ends share: names, edges, types, bounds, live nodes and warnings."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from hwsim import HwsimError
from hwsim.fixed import Format
from hwsim.frontends.shared.builder import MAX_ELEMENTS, Builder, RuntimeDifference
from hwsim.graph import InputPort, OutputPort
from hwsim.ops import Add, Cast, Dense, Flatten, Mul, Relu, Reshape, TensorType


def started(shape: tuple[int, ...] = (4,), source: object = "net.file") -> Builder:
    build = Builder(source)
    build.input(InputPort(name="x", tensor="x", type=TensorType(shape, Format.int(8))))
    return build


def shown(build: Builder, edge: str) -> tuple[str, ...]:
    return tuple(n.name for n in build.graph([OutputPort(name="y", tensor=edge)]).nodes)


def test_names_and_edges_that_are_taken_get_a_number():
    build = started()
    edges = [build.emit("relu", Relu(), ["x"], "x") for _ in range(2)]
    assert edges == ["x.2", "x.3"] and [n.name for n in build.nodes] == ["relu", "relu.2"]
    assert build.emit("", Add(), edges, "sum") == "sum" and build.nodes[-1].name == "node"


def test_types_and_proven_bounds_are_known_as_soon_as_an_edge_is_made():
    build = started()
    op = Dense(
        weights=np.full((4, 1), 3), bias=np.array([7]), weight_format=Format.int(4), bias_frac=0
    )
    kind = build.types[build.emit("fc", op, [build.emit("relu", Relu(), ["x"], "r")], "sum")]
    assert (kind.lo, kind.hi) == (7, 7 + 3 * 4 * 127)


@pytest.mark.parametrize(("width", "fits"), [(31, True), (32, True), (33, False), (48, False)])
def test_what_no_integer_array_holds_is_refused_as_soon_as_it_is_made(width: int, fits: bool):
    build = Builder("net.file")
    build.input(InputPort(name="x", tensor="x", type=TensorType((4,), Format.int(width))))
    if fits:
        assert build.emit("square", Mul(), ["x", "x"], "square") == "square"
        return
    with pytest.raises(
        HwsimError, match=r"node 'square': its whole numbers must fit 63 bits, not (65|95)"
    ):
        build.emit("square", Mul(), ["x", "x"], "square")


def test_nodes_that_no_output_depends_on_are_left_out():
    build = started()
    kept = build.emit("kept", Relu(), ["x"], "kept")
    build.emit("dead", Relu(), [kept], "dead")
    assert shown(build, kept) == ("kept",)


def test_a_renamed_edge_keeps_its_readers():
    build = started()
    first = build.emit("first", Relu(), ["x"], "a")
    last = build.emit("last", Add(), [first, first], "b")
    assert build.rename(first, "c") == "c"
    assert shown(build, last) == ("c", "last") and build.nodes[-1].inputs == ("c", "c")
    assert build.rename("c", last) == "b.2"  # that name is taken


def test_a_chain_names_its_last_edge():
    build = started((2, 2))
    ops = [Flatten(), Reshape(shape=(4, 1)), Flatten()]
    assert build.chain("move", "x", ops, "out") == "out"
    assert [n.output for n in build.nodes] == ["out.flatten", "out.reshape", "out"]
    assert build.chain("nothing", "x", [], "other") == "x"


def test_an_operator_that_does_not_fit_is_refused_with_its_node():
    build = started()
    with pytest.raises(HwsimError, match=r"^node 'move': .*"):
        build.emit("move", Reshape(shape=(3,)), ["x"], "y")


@pytest.mark.parametrize("size", [MAX_ELEMENTS + 1, 1 << 40])
def test_tensors_are_bounded(size):
    with pytest.raises(HwsimError, match=f"input 'x' must have at most {MAX_ELEMENTS} elements"):
        started((size,))
    build = started((MAX_ELEMENTS,))
    assert build.types["x"].size == MAX_ELEMENTS


def test_an_input_that_nothing_reads_is_named_with_the_file():
    build = started()
    with pytest.raises(HwsimError, match=r"^net.file: input 'z' must be quantized and used"):
        build.graph([OutputPort(name="y", tensor="x")], inputs=["x", "z"])


def test_warnings_come_once_and_only_with_the_graph():
    build = started()
    edge = build.emit("cast", Cast(out=Format.int(4)), ["x"], "y")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build.warn("cast", "it rounds otherwise")
        build.warn("cast", "it rounds otherwise")
    with pytest.warns(RuntimeDifference, match="net.file: node 'cast': it rounds") as given:
        shown(build, edge)
    assert len(given) == 1


def test_without_a_file_no_sentence_begins_with_one():
    build = started(source=None)
    build.warn("relu", "it differs")
    assert build.warnings == ["node 'relu': it differs"]
