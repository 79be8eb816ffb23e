"""A Graph with state: checked when it is made, saved whole, and the same integers step by step."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import array_api_strict
import numpy as np
import pytest
from support.build_folders import write_folder
from support.cases import tensor
from support.cli_calls import refused as refused_call
from support.cli_calls import run
from support.streams import STREAMS, Stream, as_dict, expected, random_stream

import hwsim
from hwsim import emulate, step, storage, trace
from hwsim.emulator import streaming, threads
from hwsim.emulator.run import WINDOW_CHUNKS, Emulator
from hwsim.errors import HwsimError
from hwsim.evaluation import measure
from hwsim.fixed import Overflow
from hwsim.frontends.shared.builder import Builder
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.ops import Add, Cast, Relu, TensorType
from hwsim.ports import channels_first
from hwsim.reporting.layout import arrange
from hwsim.reporting.markup import esc
from hwsim.reporting.picture import draw
from hwsim.state import State


def counter(kind: TensorType | None = None, **state: Any) -> Graph:
    """The sum of all inputs so far, saturated: y = h + x, h = y."""
    fields = {"name": "h", "tensor": "held", "type": kind or tensor(3), "next": "y", "initial": 0}
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


def test_one_code_for_all_elements_and_an_array_of_it_are_one_state():
    assert counter(initial=np.full(3, 7)).hash() == counter(initial=7).hash()


def test_a_graph_and_its_state_are_shown_in_a_line_each():
    graph = counter(initial=np.array([1, -2, 3]))
    assert repr(graph) == "Graph(x 3 s4 → 1 add, 1 cast → y 3 s8; state h 3 s8)"
    assert repr(graph.state[0]) == "State(h: held 3 s8 = [3], then y)"
    assert repr(counter(initial=-4).state[0]) == "State(h: held 3 s8 = -4, then y)"


def test_a_scale_belongs_to_a_state():
    port = InputPort(name="x", tensor="x", type=tensor(3, "s8", 4))
    late = State(name="late", tensor="before", type=tensor(3, "s8", 5), next="x", initial=5)
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
    y, after = step(
        graph, {n: a[:, 1] for n, a in x.items()}, after, xp=array_api_strict, codes=True
    )
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


def test_a_builder_keeps_what_an_output_reads_through_state_at_a_later_step():
    """h is shown; it holds b, which reads g, which holds a. Nothing reads the last two."""
    build, kind = Builder(), tensor(3, "u4")
    x = build.input(InputPort(name="x", tensor="x", type=kind))
    g, h = build.state("g", kind, 5), build.state("x", kind, 0)
    a = build.emit("a", Relu(), [x], "a")
    b = build.emit("b", Relu(), [g], "b")
    unread = build.state("unread", kind, 0)
    unused = build.emit("unused", Relu(), [a], "unused")
    for state, edge in ((g, a), (h, b), (unread, unused)):
        build.carry(state, edge)
    graph = build.graph([OutputPort(name="y", tensor=h)])
    assert [node.name for node in graph.nodes] == ["a", "b"] and h == "x.2"
    assert [(s.name, s.next) for s in graph.state] == [("g", "a"), ("x.2", "b")]
    y = emulate(graph, np.array([[[1] * 3, [2] * 3, [3] * 3, [4] * 3]]), codes=True)
    assert y[0, :, 0].tolist() == [0, 5, 1, 2]


def test_an_edge_that_a_builder_renames_is_still_what_the_state_holds_next():
    build = Builder()
    x = build.input(InputPort(name="x", tensor="x", type=tensor(3, "u4")))
    h = build.state("h", tensor(3, "u4"), 0)
    build.carry(h, build.emit("a", Relu(), [x], "a"))
    assert build.rename("a", "final") == "final"
    graph = build.graph([OutputPort(name="y", tensor=h)])
    assert [s.next for s in graph.state] == ["final"] and graph.nodes[0].name == "final"


def test_a_builder_refuses_a_state_that_nothing_follows():
    build = Builder("model.x")
    build.input(InputPort(name="x", tensor="x", type=tensor(3)))
    outputs = [OutputPort(name="y", tensor=build.state("h", tensor(3), 0))]
    assert refused(build.graph, outputs) == (
        "model.x: state 'h' must be followed by an edge of the graph, not ''"
    )


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (
            np.zeros((4, 3), int),
            (
                "input 'x' must have shape (batch, time, 3), not (4, 3); the model has state: "
                "x[None] is one sequence of 4 steps, x[:, None] one step of 4 sequences"
            ),
        ),
        (
            np.zeros(3, int),
            (
                "input 'x' must have shape (batch, time, 3), not (3,); the model has state: "
                "x[None, None] is one step of one sequence"
            ),
        ),
        (np.zeros((2, 4, 4), int), "must have shape (batch, time, 3), not (2, 4, 4)"),
        (np.zeros((2, 0, 3), int), "input 'x' must have at least one time step, not none"),
        (np.full((2, 4, 3), 8), "input 'x' must hold codes from -8 to 7, not 8 to 8"),
        ([[[1, 2, 3], [1]]], "input 'x' must be an array of numbers, not list"),
    ],
)
def test_an_input_that_is_no_batch_of_sequences_is_refused(x, text):
    for call in (emulate, trace):
        assert text in refused(call, counter(), x, codes=True)


def test_inputs_of_different_lengths_are_refused():
    stream = next(s for s in STREAMS if s.id == "counter")
    x = stream.codes(2, 5, 0)
    text = refused(emulate, stream.graph(), x | {"z": x["z"][:, :4]}, codes=True)
    assert text == "inputs must have one number of time steps, not [4, 5]"


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (7, "state must be None or what an earlier step gave, a dict of arrays by name, not a int"),
        ({}, "state must be of this graph, whose names are ['h'], not []"),
        ({"g": 0}, "state must be of this graph, whose names are ['h'], not ['g']"),
        ({"h": np.zeros((3, 3), int)}, "state 'h' must have shape (2, 3), not (3, 3)"),
        ({"h": np.zeros((2, 3))}, "state 'h' must be an array of integers, not float64"),
        ({"h": np.full((2, 3), 128)}, "state 'h' must hold codes from -128 to 127, not 128 to 128"),
        ({"h": [[1, 2], [3]]}, "state 'h' must be an array of codes, not a list"),
    ],
)
def test_a_state_of_another_graph_batch_or_format_is_refused(state, text):
    assert refused(step, counter(), np.zeros((2, 3), int), state, codes=True) == text


def test_a_step_takes_no_axis_of_time():
    assert refused(step, counter(), np.zeros((2, 1, 3), int), codes=True) == (
        "input 'x' must have shape (batch, 3), not (2, 1, 3); x.reshape(-1, 3) has it, if the "
        "elements are in that order"
    )


def test_a_step_of_a_graph_without_state_is_what_emulate_gives(seed):
    port = InputPort(name="x", tensor="x", type=tensor(3))
    graph = Graph(
        (port,), (Node("relu", Relu(), ("x",), "y"),), (OutputPort(name="y", tensor="y"),)
    )
    x = np.random.default_rng(seed).integers(-128, 128, (5, 3))
    y, state = step(graph, x, codes=True)
    assert y.tolist() == emulate(graph, x, codes=True).tolist() and state == {}
    assert step(graph, x, {}, codes=True)[0].tolist() == y.tolist()


def test_a_state_is_data_of_its_own():
    """Neither the array that came in nor what the caller does to the state later changes it."""
    graph, x = next(s for s in STREAMS if s.id == "delay").graph(), np.full((1, 2, 2), 4)
    first, state = step(graph, x, codes=True)
    x[...] = 7
    assert first.tolist() == [[[9, 9], [9, 9]]]
    again, after = step(graph, x, state, codes=True)
    assert again.tolist() == [[[4, 4], [4, 4]]] and after["before"].tolist() == x.tolist()
    again[...] = after["before"][...] = 1
    assert state["before"].tolist() == [[[4, 4], [4, 4]]]


def test_batches_of_no_rows_keep_their_shape():
    graph = counter()
    assert emulate(graph, np.zeros((0, 5, 3), int), codes=True).shape == (0, 5, 3)
    y, state = step(graph, np.zeros((0, 3), int), codes=True)
    assert y.shape == state["h"].shape == (0, 3)
    assert step(graph, np.zeros((0, 3), int), state, codes=True)[0].shape == (0, 3)


def test_reals_layouts_and_element_types_are_those_of_each_step(seed):
    """A port shows a step as it shows a sample, whether one step comes or many."""
    image = tensor((2, 3, 4), "u8", 7)
    ports = (
        InputPort(name="x", tensor="x", type=image, axes=channels_first(3)),
        InputPort(name="k", tensor="k", type=tensor(2, "u8"), element="uint8"),
    )
    states = (
        State(name="x1", tensor="x1", type=image, next="x", initial=7),
        State(name="k1", tensor="k1", type=ports[1].type, next="k", initial=0),
    )
    shown = (
        OutputPort(name="x1", tensor="x1", axes=channels_first(3)),
        OutputPort(name="k1", tensor="k1", element="uint8"),
    )
    graph, rng = Graph(ports, (), shown, states), np.random.default_rng(seed)
    x = rng.uniform(0, 5, (5, 4, 4, 2, 3)).astype(np.float32)
    k = rng.integers(0, 256, (5, 4, 2), np.uint8)
    got = emulate(graph, {"x": x, "k": k})
    assert got["x1"].shape == x.shape and got["x1"].dtype == np.float32
    assert got["k1"].dtype == np.uint8
    assert np.array_equal(got["k1"][:, 1:], k[:, :-1]) and not got["k1"][:, 0].any()
    coded = np.clip(np.round(x / np.float32(0.05)) + 7, 0, 255) - 7
    assert np.array_equal(got["x1"][:, 1:], coded[:, :-1].astype(np.float32) * np.float32(0.05))
    assert not got["x1"][:, 0].any()
    y, state = step(graph, {"x": x[:, 0], "k": k[:, 0]})
    assert np.array_equal(y["x1"], got["x1"][:, 0])
    y, state = step(graph, {"x": x[:, 1], "k": k[:, 1]}, state)
    assert np.array_equal(y["x1"], got["x1"][:, 1]) and np.array_equal(y["k1"], got["k1"][:, 1])
    assert state["x1"].shape == (5, *image.shape)


def test_memory_is_bounded_however_long_a_sequence_is(monkeypatch, seed):
    """What is encoded at once is a few chunks, whatever the length of the batch and of time."""
    graph, seen = counter(), list[tuple[int, int]]()
    emulator = Emulator(graph, chunk_bytes=4 * 3 * 5)
    encode = emulator.encode

    def watched(x: Any, *rest: Any) -> Any:
        seen.append(next(iter(x.values())).shape[:2])
        return encode(x, *rest)

    monkeypatch.setattr(emulator, "encode", watched)
    x = np.random.default_rng(seed).integers(-8, 8, (2, 100, 3))
    assert emulator.predict({"x": x}, codes=True).tolist() == emulate(graph, x, codes=True).tolist()
    assert emulator.chunk == 5 and sum(steps for _, steps in seen) == 100
    assert max(rows * steps for rows, steps in seen) == WINDOW_CHUNKS * 5


def test_threads_share_rows_and_give_the_codes_of_one(seed, monkeypatch):
    stream = next(s for s in STREAMS if s.id == "cell")
    graph, x = stream.graph(), stream.codes(90, 5, seed)
    want = as_dict(graph, emulate(graph, x, codes=True))
    monkeypatch.setattr(threads, "spare_cores", lambda: 2)
    monkeypatch.setenv(threads.ENVIRONMENT, "3")
    emulator = Emulator(graph, chunk_bytes=4 * 2 * max(k.size for k in graph.types().values()))
    assert emulator.chunk == 2
    for name, y in as_dict(graph, emulator.predict(x, codes=True)).items():
        assert y.tolist() == want[name].tolist()


def test_a_warning_counts_the_steps_of_all_pieces_once():
    graph, x = counter(), np.zeros((64, 40, 3), np.float32)
    x[:, 1::2] = 100
    for emulator in (Emulator(graph), Emulator(graph, chunk_bytes=1)):
        with pytest.warns(hwsim.InputSaturation, match=r"50\.0 % of the values") as seen:
            emulator.predict(x)
        assert len(seen) == 1


def test_labels_are_refused_for_a_model_that_answers_at_each_step():
    text = refused(hwsim.accuracy, counter(), np.zeros((2, 4, 3)), [0, 1])
    assert text == (
        "labels must belong to a model that answers once a sample, not to one with state, which "
        "answers at each time step; emulate gives its outputs at every step"
    )


@by_stream
def test_a_saved_graph_with_state_comes_back_the_same(stream, tmp_path, seed):
    graph, path = stream.graph(), tmp_path / "stream.hwsim"
    graph.save(path)
    back, x = Graph.load(path), stream.codes(2, 3, seed)
    assert back.hash() == graph.hash() and back.document()[0] == graph.document()[0]
    want = as_dict(graph, emulate(graph, x, codes=True))
    for name, y in as_dict(back, emulate(back, x, codes=True)).items():
        assert y.tolist() == want[name].tolist()


@pytest.fixture
def place(tmp_path):
    """A folder with a graph of two inputs and two outputs, and two files to feed it."""
    stream = next(s for s in STREAMS if s.id == "counter")
    stream.graph().save(tmp_path / "counter.hwsim")
    for name, codes in stream.codes(7, 5, 1).items():
        np.save(tmp_path / f"{name}.npy", codes)
    return tmp_path


def test_emulate_reads_and_writes_files_with_an_axis_of_time(place, capsys, monkeypatch):
    graph = Graph.load(place / "counter.hwsim")
    x = {name: np.load(place / f"{name}.npy") for name in "xz"}
    want = emulate(graph, x, codes=True)
    files = [word for n in "xz" for word in ("-i", f"{n}={place / n}.npy")]
    files += [word for n in ("y", "more") for word in ("-o", f"{n}={place / n}.npy")]
    for piece in (1 << 22, 4 * 5 * 3):  # codes that are held at a time: all, or three rows
        monkeypatch.setattr(measure, "PIECE", piece)
        assert run(capsys, "emulate", place / "counter.hwsim", *files, "--codes")[0] == 0
        for name, y in want.items():
            assert np.load(place / f"{name}.npy").tolist() == y.tolist()
    assert measure.piece_of(graph, 5) == 3


def test_emulate_names_the_files_without_an_axis_of_time(place, capsys):
    np.save(place / "x.npy", np.zeros((7, 4), int))
    model = place / "counter.hwsim"
    text = refused_call(
        capsys, "emulate", model, "-i", f"x={place}/x.npy", "-i", f"z={place}/z.npy",
        "-o", f"y={place}/y.npy", "-o", f"more={place}/m.npy", "--codes",
    )  # fmt: skip
    assert "x.npy" in text and "must have shape (batch, time, 4), not (7, 4)" in text
    assert not (place / "y.npy").exists()


def test_accuracy_refuses_a_model_with_state_in_one_sentence(place, capsys):
    np.save(place / "labels.npy", np.zeros(7, int))
    files = [f"{n}={place / n}.npy" for n in "xz"]
    text = refused_call(
        capsys, "accuracy", place / "counter.hwsim", "-i", files[0], "-i", files[1],
        "--labels", place / "labels.npy", "--output", "y",
    )  # fmt: skip
    assert text.startswith("labels must belong to a model that answers once a sample")


def test_inspect_lists_state(place, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    status, out, _ = run(capsys, "inspect", place / "counter.hwsim")
    (line,) = (line for line in out.splitlines() if line.startswith("count "))
    assert status == 0 and line.split() == [
        "count",
        "count",
        "more",
        "4",
        "u4",
        "0",
        "to",
        "15",
        "0",
        "to",
        "15",
    ]
    status, out, _ = run(capsys, "inspect", place / "counter.hwsim", "--json")
    (state,) = json.loads(out)["state"]
    assert status == 0 and state["reads"] == "count" and state["next"] == "more"
    assert state["initial"] == [0, 15] and state["shape"] == [4]


@by_stream
def test_the_picture_has_a_card_at_both_ends_of_a_state(stream):
    graph = stream.graph()
    layout = arrange(graph)
    ends = {(line.edge, line.source, line.target) for line in layout.lines}
    bottom = layout.layers - 1
    for state in graph.state:
        begins, goes_on = f"held:{state.name}", f"next:{state.name}"
        assert any(target == goes_on and edge == state.next for edge, _, target in ends)
        readers = len(graph.consumers(state.tensor))
        readers += sum(p.tensor == state.tensor for p in graph.outputs)
        readers += sum(s.next == state.tensor for s in graph.state)
        assert sum(source == begins for _, source, _ in ends) == readers
        assert layout.cells[begins][0] == 0 and layout.cells[goes_on][0] == bottom
    picture = draw(graph)
    for state in graph.state:
        assert f">state {state.name}<" in picture
        assert esc(f"next step's {state.name}") in picture


def test_the_page_about_state_runs_as_it_is_written():
    page = (Path(__file__).parents[2] / "docs" / "streaming.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, "streaming.md", "exec"), names)
    assert len(blocks) == 3 and names["now"].shape == (2, 1)
    (first,) = names["y"][:, :1].ravel()[:1]
    assert first == 1.0 + 7 / 8  # the step's input, and 7/8 of the initial 1.0
    assert 0 < names["y"][1, 49, 0] < names["y"][1, 0, 0] == 7 / 8


def forged(path: Path, edit: Any) -> str:
    """The sentence with which a file is refused whose header was edited, with a hash that fits."""
    counter(initial=np.array([1, -2, 3])).save(path)
    document, array = storage.read(path)
    edit(document)
    storage.write(path, document, {"state.h.initial": array("state.h.initial")})
    return refused(Graph.load, path)


@pytest.mark.parametrize(
    ("edit", "text"),
    [
        (lambda d: d.update(state=7), "must be a whole saved graph"),
        (lambda d: d.update(state=[7]), "a saved value must be a State, not 7"),
        (lambda d: d["state"].append(d["state"][0]["type"]), "must be a State, not TensorType("),
        (lambda d: d.pop("state"), "input 'held' must be an edge made before it"),
        (lambda d: d["state"][0].update(next=3), "a saved State must have a valid next, not '3'"),
        (lambda d: d["state"][0].update(next="z"), "must be followed by an edge of the graph"),
        (lambda d: d["state"][0].update(initial=1.5), "a saved State must have a valid initial"),
        (lambda d: d["state"][0].update(initial=10**30), "the initial value of state 'h' must"),
        (lambda d: d["state"][0].update(initial={"$array": "x"}), "must hold the array 'x'"),
        (lambda d: d["state"].append(d["state"][0]), "edge names must be unique"),
        (
            lambda d: d["state"][0]["type"].update(shape=[10**6, 10**6, 10**6]),
            "state 'h' must hold at most 67108864 codes, not 1000000000000000000",
        ),
    ],
)
def test_a_forged_state_is_refused(tmp_path, edit, text):
    assert text in forged(tmp_path / "forged.hwsim", edit)


WAITS = "'h' (state): a model with state runs in the emulator only"


@pytest.mark.needs("amaranth")
def test_hardware_lists_state_and_refuses_it_before_anything_is_built(tmp_path):
    from rtl.layers import unsupported

    graph = counter()
    assert [(one.name, one.kind) for one in unsupported(graph)] == [("h", "state")]
    text = f"every operator must have hardware, not lack it as {WAITS}"
    assert refused(hwsim.plan, graph) == text
    assert refused(hwsim.build, graph, tmp_path / "build", rtl_only=True) == text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.needs("amaranth")
def test_verify_refuses_a_folder_whose_graph_has_state(tmp_path):
    write_folder(tmp_path, counter())
    (tmp_path / "hwsim_top.v").touch()
    for x in (None, np.zeros((2, 4, 3), np.float32)):
        assert refused(hwsim.verify, tmp_path, x) == (
            f"{tmp_path / 'model.hwsim'}: a model with state runs in the emulator only"
        )


@pytest.mark.needs("amaranth")
def test_the_command_line_refuses_hardware_for_state_in_one_sentence(tmp_path, capsys):
    counter().save(tmp_path / "counter.hwsim")
    for words in (("plan",), ("build", "-o", tmp_path / "build", "--rtl-only")):
        assert WAITS in refused_call(capsys, words[0], tmp_path / "counter.hwsim", *words[1:])
    assert not (tmp_path / "build").exists()
