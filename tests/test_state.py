"""A Graph with state: checked when it is made, saved whole, and the same integers step by step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support.cases import tensor

from hwsim.errors import HwsimError
from hwsim.fixed import Overflow
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.ops import Add, Cast, TensorType
from hwsim.state import State


def counter(kind: TensorType | None = None, **state: Any) -> Graph:
    """The sum of all inputs so far, saturated: y = h + x, h = y."""
    fields = {"name": "h", "tensor": "held", "type": kind or tensor(3), "next": "y"}
    nodes = (
        Node("add", Add(), ("held", "x"), "sum"),
        Node("fit", Cast(out=(kind or tensor(3)).format, overflow=Overflow.SAT), ("sum",), "y"),
    )
    port = InputPort(name="x", tensor="x", type=tensor(3, "s4"))
    return Graph((port,), nodes, (OutputPort(name="y", tensor="y"),), (State(**fields | state),))


def refused(make: Any, *args: Any, **fields: Any) -> str:
    """The sentence with which a call is refused."""
    with pytest.raises(HwsimError) as error:
        make(*args, **fields)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"next": "z"}, "state 'h' must be followed by an edge of the graph, not 'z'"),
        (
            {"next": "sum"},
            "state 'h' must read codes of the type that edge 'sum' has, (3,) s9, not (3,) s8",
        ),
        (
            {"next": "x"},
            "state 'h' must read codes of the type that edge 'x' has, (3,) s4, not (3,) s8",
        ),
        (
            {"type": tensor(3, codes=(-128, 126))},
            "state 'h' must have a range with all codes of edge 'y', -128 to 127, not -128 to 126",
        ),
        (
            {"initial": 128},
            "the initial value of state 'h' must hold codes from -128 to 127, not 128 to 128",
        ),
        (
            {"initial": np.array([1, 2])},
            "the initial value of state 'h' must have shape (3,), or be one code, not (2,)",
        ),
        (
            {"initial": 0.5},
            "the initial value of state 'h' must be an array of integers, not of float64",
        ),
        ({"tensor": "x"}, "edge names must be unique, but 'x' occurs more than once"),
        ({"tensor": "y"}, "edge names must be unique, but 'y' occurs more than once"),
    ],
)
def test_a_state_that_does_not_fit_is_refused(fields, text):
    assert text in refused(counter, **fields)


def test_two_states_of_one_name_are_refused():
    graph = counter()
    twice = (*graph.state, replace(graph.state[0], tensor="other"))
    assert refused(replace, graph, state=twice) == (
        "state names must be unique, but 'h' occurs more than once"
    )


def test_bounds_of_a_state_are_those_it_declares_and_nothing_widens_them():
    graph = counter(tensor(3, "s8", codes=(-128, 127)))
    assert graph.ranges()["held"] == (-128, 127)
    narrow = tensor(3, "s4", codes=(-3, 5))
    port = InputPort(name="x", tensor="x", type=narrow)
    late = State(name="late", tensor="before", type=narrow, next="x", initial=5)
    shown = (OutputPort(name="y", tensor="before"),)
    assert Graph((port,), (), shown, (late,)).ranges()["before"] == (-3, 5)
    with_seven = replace(late, type=tensor(3, "s4", codes=(-3, 7)), initial=7)
    assert Graph((port,), (), shown, (with_seven,)).ranges()["before"] == (-3, 7)


@pytest.mark.parametrize("initial", [7, np.int64(7), np.array(7), np.array([1, -2, 3])])
def test_a_state_is_saved_and_belongs_to_the_hash(tmp_path, initial):
    graph, path = counter(initial=initial), tmp_path / "counter.hwsim"
    graph.save(path)
    back = Graph.load(path)
    (kept,) = back.state
    assert back.hash() == graph.hash() and kept.type == graph.state[0].type
    assert np.array_equal(kept.first(), np.broadcast_to(initial, 3))
    assert graph.hash() != counter().hash()


def test_a_graph_and_its_state_are_shown_in_a_line_each():
    graph = counter(initial=np.array([1, -2, 3]))
    assert repr(graph) == "Graph(x 3 s4 → 1 add, 1 cast → y 3 s8; state h 3 s8)"
    assert repr(graph.state[0]) == "State(h: held 3 s8 = [3], then y)"
    assert repr(counter(initial=-4).state[0]) == "State(h: held 3 s8 = -4, then y)"


def test_a_scale_belongs_to_a_state():
    port = InputPort(name="x", tensor="x", type=tensor(3, "s8", 4))
    late = State(name="late", tensor="before", type=tensor(3, "s8", 5), next="x")
    shown = (OutputPort(name="y", tensor="before"),)
    assert refused(Graph, (port,), (), shown, (late,)) == (
        "state 'late' must read codes of the type that edge 'x' has, (3,) s8 of "
        "Quant(scale=(0.05,), zero_point=4), not (3,) s8 of Quant(scale=(0.05,), zero_point=5)"
    )
    same = replace(late, type=port.type)
    assert Graph((port,), (), shown, (same,)).types()["before"].zero_point == 4
