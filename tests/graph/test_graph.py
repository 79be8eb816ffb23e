"""A Graph is checked when it is made, knows its edges, and is the same where its content is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.cases import tensor
from support.layered import S8, layered

from hwsim.errors import HwsimError
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.ops import (
    Add,
    Concat,
    Dense,
    Relu,
)


def test_the_hash_follows_the_content_only():
    graph = layered()
    assert graph.hash() == layered().hash()
    relu = graph.with_op("relu", Relu(maximum=100))
    conv = graph.node("conv").op
    weights = conv.weights.copy()
    weights[0, 0, 0, 0] ^= 1
    other = graph.with_op("conv", replace(conv, weights=weights))
    assert len({graph.hash(), relu.hash(), other.hash()}) == 3
    assert relu.with_op("relu", Relu()).hash() == graph.hash()


def test_an_edit_shares_the_arrays_that_it_did_not_change():
    graph = layered()
    edited = graph.with_op("relu", Relu(maximum=100))
    assert edited.node("conv").op is graph.node("conv").op
    with pytest.raises(ValueError, match="read-only"):
        graph.node("conv").op.weights[0, 0, 0, 0] = 1


def test_a_graph_knows_its_edges():
    graph = layered()
    assert graph.ranges()["positive"] == (0, 127) and graph.ranges()["joined"] == (-128, 127)
    assert [n.name for n in graph.consumers("joined")] == ["dense", "stepped"]
    assert graph.work()["conv"].macs == 4 * 4 * 18
    with pytest.raises(HwsimError, match=r"^a node must be one of \['conv', .*\], not 'none'$"):
        graph.node("none")


def small(*nodes: Node, outputs: tuple[str, ...] = ("y",), shape: int = 3) -> Graph:
    return Graph(
        (InputPort(name="a", tensor="a", type=tensor(shape)),),
        nodes,
        tuple(OutputPort(name=f"o{k}", tensor=edge) for k, edge in enumerate(outputs)),
    )


DENSE = Dense(weights=np.ones((3, 2), int), bias=np.zeros(2, int), weight_format=S8)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Graph((), (), ()), "a graph must have at least one input and one output"),
        (
            lambda: small(Node("n", Relu(), ("a",), "y"), Node("n", Relu(), ("y",), "z")),
            "node names must be unique, but 'n' occurs more than once",
        ),
        (
            lambda: small(Node("n", Relu(), ("a",), "a")),
            "edge names must be unique, but 'a' occurs more than once",
        ),
        (
            lambda: small(Node("n", Relu(), ("b",), "y")),
            "node 'n': input 'b' must be an edge made before it",
        ),
        (
            lambda: small(Node("n", Relu(), ("a",), "z")),
            "output 'o0' must show an edge of the graph, not 'y'",
        ),
        (
            lambda: small(Node("n", Add(), ("a",), "y")),
            "node 'n' must have 2 inputs, not 1",
        ),
        (
            lambda: small(Node("n", Concat(), (), "y")),
            "node 'n' must have at least 1 inputs, not 0",
        ),
        (
            lambda: small(Node("n", DENSE, ("a",), "y"), shape=4),
            "node 'n': a dense input's last axis must be 3, not (4,)",
        ),
        (
            lambda: small(Node("n", Relu(maximum=-1), ("a",), "y")),
            "node 'n': a relu's bounds must be codes of s8 in order, not 0 and -1",
        ),
    ],
)
def test_a_graph_that_cannot_be_is_refused(make, text):
    with pytest.raises(HwsimError) as error:
        make()
    assert str(error.value) == text
