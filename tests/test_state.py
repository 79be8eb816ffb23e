"""A Graph with state: checked when it is made, saved whole, and the same integers step by step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import array_api_strict
import numpy as np
import pytest
from support.cases import tensor
from support.streams import STREAMS, Stream, expected, random_stream

from hwsim import emulate, step, trace
from hwsim.emulator import streaming
from hwsim.emulator.run import Emulator
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


by_stream = pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream.id)
ROWS, STEPS = 4, 6


@by_stream
def test_emulate_gives_the_oracles_codes_at_every_step(stream, seed):
    graph, x = stream.graph(), stream.codes(ROWS, STEPS, seed)
    want = expected(graph, x)
    got = as_dict(graph, emulate(graph, x, codes=True))
    assert {name: y.tolist() for name, y in got.items()} == {
        p.name: want[p.tensor] for p in graph.outputs
    }
    assert all(y.dtype == np.int64 and y.shape[:2] == (ROWS, STEPS) for y in got.values())


@by_stream
def test_trace_gives_the_oracles_codes_of_every_edge(stream, seed):
    graph, x = stream.graph(), stream.codes(ROWS, STEPS, seed)
    got = trace(graph, x, codes=True)
    assert {edge: y.tolist() for edge, y in got.items()} == expected(graph, x)
    for edge, (lo, hi) in graph.ranges().items():
        assert lo <= got[edge].min() and got[edge].max() <= hi


@by_stream
def test_steps_one_at_a_time_give_what_emulate_gives(stream, seed):
    graph, x = stream.graph(), stream.codes(ROWS, STEPS, seed)
    got = as_dict(graph, emulate(graph, x, codes=True))
    state = None
    for at in range(STEPS):
        y, state = step(graph, {n: a[:, at] for n, a in x.items()}, state, codes=True)
        for name, one in as_dict(graph, y).items():
            assert one.tolist() == got[name][:, at].tolist(), (name, at)
    assert state.keys() == {s.name for s in graph.state}
    assert all(codes.dtype == np.int64 for codes in state.values())


@by_stream
def test_the_array_api_carries_state_too(stream, seed):
    graph, x = stream.graph(), stream.codes(ROWS, STEPS, seed)
    want = as_dict(graph, emulate(graph, x, codes=True))
    got = as_dict(graph, emulate(graph, x, xp=array_api_strict, codes=True))
    assert {n: np.asarray(y).tolist() for n, y in got.items()} == {
        n: y.tolist() for n, y in want.items()
    }
    y, after = step(graph, {n: a[:, 0] for n, a in x.items()}, xp=array_api_strict, codes=True)
    y, after = step(graph, {n: a[:, 1] for n, a in x.items()}, after, array_api_strict, codes=True)
    for name, one in as_dict(graph, y).items():
        assert np.asarray(one).tolist() == want[name][:, 1].tolist()


@by_stream
def test_pieces_of_rows_and_of_time_change_nothing(stream, seed):
    graph, x = stream.graph(), stream.codes(11, 9, seed)
    want = as_dict(graph, emulate(graph, x, codes=True))
    for chunk_bytes in (1, 8 * max(kind.size for kind in graph.types().values())):
        small = Emulator(graph, np, chunk_bytes=chunk_bytes)
        got = as_dict(graph, small.predict(x, codes=True))
        assert {n: y.tolist() for n, y in got.items()} == {n: y.tolist() for n, y in want.items()}
        edges = small.run_chunked(small.encode(x, codes=True))
        got = as_dict(graph, small.decode(edges, as_codes=True))
        assert {n: y.tolist() for n, y in got.items()} == {n: y.tolist() for n, y in want.items()}


@by_stream
def test_each_row_of_a_batch_is_a_sequence_of_its_own(stream, seed):
    graph, x = stream.graph(), stream.codes(ROWS, STEPS, seed)
    whole = as_dict(graph, emulate(graph, x, codes=True))
    for row in range(ROWS):
        alone = emulate(graph, {n: a[row : row + 1] for n, a in x.items()}, codes=True)
        for name, y in as_dict(graph, alone).items():
            assert y[0].tolist() == whole[name][row].tolist()


NETWORKS = 24


def test_random_networks_with_state_give_the_oracles_codes(seed):
    for stream in map(random_stream, range(seed, seed + NETWORKS)):
        assert differing(stream, seed) == [], stream.id


def test_random_networks_catch_emulators_that_carry_state_wrongly(seed, monkeypatch):
    """Forgotten, shared among rows, written one after another: each is seen in many networks."""
    right = streaming.in_turn

    def forgets(xp: Any, states: Any, codes: Any, carried: Any, run: Any, shown: Any) -> Any:
        begin = {s.tensor: carried[s.name] for s in states}
        return right(xp, states, codes, carried, lambda now: run(now | begin), shown)

    def shares(xp: Any, states: Any, codes: Any, carried: Any, run: Any, shown: Any) -> Any:
        def first_row(now: Any) -> Any:
            held = {
                s.tensor: np.broadcast_to(now[s.tensor][:1], now[s.tensor].shape) for s in states
            }
            return run(now | held)

        return right(xp, states, codes, carried, first_row, shown)

    def lags(xp: Any, states: Any, codes: Any, carried: Any, run: Any, shown: Any) -> Any:
        before = [{s.tensor: carried[s.name] for s in states}]

        def late(now: Any) -> Any:
            before.append({s.tensor: now[s.tensor] for s in states})
            return run(now | before[-2])

        return right(xp, states, codes, carried, late, shown)

    for mutant in (forgets, shares, lags):
        monkeypatch.setattr(streaming, "in_turn", mutant)
        seen = [differing(random_stream(seed + k), seed) for k in range(NETWORKS)]
        assert sum(map(bool, seen)) > NETWORKS / 6, mutant.__name__
        assert any(differing(s, seed) for s in STREAMS)


def differing(stream: Stream, seed: int) -> list[str]:
    """The outputs in which the emulator and the oracle differ."""
    graph, x = stream.graph(), stream.codes(ROWS, STEPS, seed)
    want, got = expected(graph, x), as_dict(graph, emulate(graph, x, codes=True))
    return [p.name for p in graph.outputs if got[p.name].tolist() != want[p.tensor]]


def as_dict(graph: Graph, outputs: Any) -> dict[str, Any]:
    """Outputs by name, of one or of several."""
    return outputs if isinstance(outputs, dict) else {graph.outputs[0].name: outputs}
