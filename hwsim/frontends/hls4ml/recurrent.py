"""LSTM, GRU and Bidirectional, unrolled in time: each call is one sequence, its state fresh.

`static` only says where hls4ml's C++ keeps the state within a sequence: it begins with zeros too.
Source of every rule: `nnet_recurrent.h`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.frontends.hls4ml.cells import Cell, read_cell
from hwsim.frontends.hls4ml.importer import LayerBuilder
from hwsim.frontends.hls4ml.types import Precision, read_precision
from hwsim.ops import Add, BatchNorm, Concat, Literal, Mul, Reshape, Select, Split

NO_OTHER = "the C++ of hls4ml 1.3 compiles with no other"


def read_recurrent(build: LayerBuilder, layer: Any) -> None:
    """An LSTM or a GRU, of its last step or of all."""
    source, name = build.edge(layer.inputs[0]), layer.outputs[0]
    kind = build.types[source]
    _check_outputs(layer)
    cell = read_cell(layer, kind)
    if cell.lstm:
        _check_one_type(layer, cell)
    states = _given_states(build, layer, cell)
    _finish(build, layer, list(_steps(build, name, cell, source, range(kind.shape[0]), states)))


def read_bidirectional(build: LayerBuilder, layer: Any) -> None:
    """Two cells, one of them from the last step back; their codes side by side."""
    source, name = build.edge(layer.inputs[0]), layer.outputs[0]
    kind = build.types[source]
    _check_outputs(layer)
    if build.stream:
        raise HwsimError("a Bidirectional's io_type must be io_parallel: hls4ml 1.3 has no other")
    order = range(kind.shape[0])
    ways = {"forward": order, "backward": order[::-1]}
    cells = {way: read_cell(layer, kind, way) for way in ways}
    _check_halves(layer, [cell.units for cell in cells.values()])
    forth, back = (
        list(_steps(build, f"{name}/{way}", cells[way], source, ways[way], ())) for way in ways
    )
    if layer.get_attr("return_sequences"):
        pairs = list(zip(forth, back[::-1], strict=True))
    else:
        pairs = [(forth[-1], back[-1])]
    both = [build.add(f"{name}/{at}", Concat(), *pair) for at, pair in enumerate(pairs)]
    _finish(build, layer, both)


def _check_outputs(layer: Any) -> None:
    """Only the sequence of hidden states, or the last of them, is there in the C++."""
    if layer.get_attr("return_state") or len(layer.outputs) > 1:
        raise HwsimError("a recurrent layer must not return its state: hls4ml 1.3 gives none")


def _check_halves(layer: Any, units: Sequence[int]) -> None:
    """hls4ml's C++ writes both halves, whatever the model's merge_mode is."""
    channels = int(layer.variables[layer.outputs[0]].shape[-1])
    if channels != sum(units):
        raise HwsimError(
            f"a Bidirectional's result must have {units[0]} + {units[1]} channels (merge_mode "
            f"concat), not {channels}: the C++ of hls4ml 1.3 writes past its end"
        )


def _check_one_type(layer: Any, cell: Cell) -> None:
    """hls4ml's LSTM hands arrays of these types to one another."""
    given = {"input": _held(layer, 0), "accum": cell.accum, "result": cell.state}
    if len(set(given.values())) > 1:
        listed = ", ".join(f"{name} {told}" for name, told in given.items())
        raise HwsimError(
            f"an LSTM's input, accum and result must have one precision, not {listed}: {NO_OTHER} "
            "(a GRU and a Bidirectional take any)"
        )


def _held(layer: Any, place: int) -> Precision:
    """The precision of one of a layer's inputs."""
    name = layer.inputs[place]
    precision = layer.get_input_variable(name).type.precision
    return read_precision(f"the precision of {name!r}", precision)


def _given_states(build: LayerBuilder, layer: Any, cell: Cell) -> tuple[str, ...]:
    """The edges of the states that a layer is given to begin with, if any."""
    if not layer.get_attr("pass_initial_states"):
        return ()
    for name in ("weight", "bias"):
        one, other = (layer.weights[f"{part}{name}"].type.precision for part in ("", "recurrent_"))
        if read_precision(name, one) != read_precision(name, other):
            raise HwsimError(
                f"the precision 'recurrent_{name}' of a layer with initial states must be that of "
                f"{name!r}, {one}, not {other}: {NO_OTHER}"
            )
    found = []
    for place, name in enumerate(layer.inputs[1:], 1):
        if _held(layer, place) != cell.state:
            raise HwsimError(
                f"the initial state {name!r} must have the result's precision, {cell.state}, not "
                f"{_held(layer, place)}: {NO_OTHER}"
            )
        if _readers(layer.model, name) > 1:
            raise HwsimError(
                f"the initial state {name!r} must be read by this layer only: the C++ of hls4ml "
                "1.3 leaves the last state in its place"
            )
        row = Reshape(shape=(1, cell.units))
        found.append(build.add(f"{layer.outputs[0]}/{name}", row, build.edge(name)))
    return tuple(found)


def _readers(model: Any, name: str) -> int:
    """How often a tensor is read, by layers or as an output of the model."""
    uses = [used for layer in model.get_layers() for used in layer.inputs]
    return uses.count(name) + list(model.outputs).count(name)


def _finish(build: LayerBuilder, layer: Any, steps: Sequence[str]) -> None:
    """All steps, or the last one, in the layer's shape."""
    name = layer.outputs[0]
    shape = tuple(int(n) for n in layer.variables[name].shape)
    whole = steps[-1]
    if layer.get_attr("return_sequences") and len(steps) > 1:
        whole = build.add(f"{name}/steps", Concat(), *steps)
    build.finish(layer, build.add(f"{name}/shape", Reshape(shape=shape), whole))


def _steps(
    build: LayerBuilder,
    name: str,
    cell: Cell,
    source: str,
    order: Sequence[int],
    states: tuple[str, ...],
) -> Iterator[str]:
    """The hidden state after each step, taken in `order`: edges of shape (1, units).

    `states` are those before the first step; none stands for zeros.
    """
    given: tuple[str, ...] = (source,)
    if len(order) > 1:
        cut = Split(axis=0, sizes=(1,) * len(order))
        edges = [f"{name}/{at}/given" for at in range(len(order))]
        given = build.emit_all(f"{name}/steps", cut, given, edges)
    states = states or (_zeros(build, f"{name}/zeros", cell, given[0]),)
    hidden, state = states[0], states[-1]
    for at in order:
        sums = build.add(f"{name}/{at}/input", cell.of_input, given[at])
        if cell.lstm:
            hidden, state = _lstm(build, f"{name}/{at}", cell, sums, hidden, state)
        else:
            hidden = _gru(build, f"{name}/{at}", cell, sums, hidden)
        yield hidden


def _zeros(build: LayerBuilder, edge: str, cell: Cell, like: str) -> str:
    """A state of zeros; only the time at which `like` comes counts."""
    wide = build.add(f"{edge}/wide", Select(axis=1, indices=(0,) * cell.units), like)
    zeros = np.zeros(cell.units, np.int64)
    return build.add(edge, Literal(values=zeros, out=cell.state.format), wide)


def _lstm(
    build: LayerBuilder, at: str, cell: Cell, given: str, hidden: str, state: str
) -> tuple[str, str]:
    """Gates in Keras's order: input and forget, candidate, output."""
    n = cell.units
    of_state = build.add(f"{at}/state", cell.of_state, hidden)
    pair, c, o = _parts(build, _sum(build, f"{at}/sum", cell, given, of_state), (2 * n, n, n))
    i, f = _parts(build, build.chain(f"{at}/if", pair, cell.gates, f"{at}/if"), (n, n))
    c = build.chain(f"{at}/c", c, cell.candidate, f"{at}/c")
    o = build.chain(f"{at}/o", o, cell.gate, f"{at}/o")
    state = _mix(build, f"{at}/s", cell, (c, i), (state, f))
    shown = build.chain(f"{at}/shown", state, cell.shown, f"{at}/shown")
    full = build.add(f"{at}/h/full", Mul(), o, shown)
    return build.cast(f"{at}/h", full, cell.state), state


def _gru(build: LayerBuilder, at: str, cell: Cell, given: str, hidden: str) -> str:
    """Gates in Keras's order: update and reset, candidate.

    The reset gate weighs the state's sums, wherever the framework has it (`apply_reset_gate`).
    """
    n = cell.units
    of_state = build.add(f"{at}/state", cell.of_state, hidden)
    (x_gates, x_new), (h_gates, h_new) = (
        _parts(build, edge, (2 * n, n)) for edge in (given, of_state)
    )
    pair = _sum(build, f"{at}/sum", cell, x_gates, h_gates)
    gates = _parts(build, build.chain(f"{at}/zr", pair, cell.gates, f"{at}/zr"), (n, n))
    z, r = reversed(gates) if cell.reset_first else gates
    kept = build.cast(f"{at}/kept", build.add(f"{at}/kept/full", Mul(), r, h_new), cell.accum)
    new = _sum(build, f"{at}/new", cell, x_new, kept)
    new = build.chain(f"{at}/c", new, cell.candidate, f"{at}/c")
    rest = build.add(f"{at}/rest", _rest(n), z)
    return _mix(build, f"{at}/h", cell, (new, rest), (hidden, z))


def _rest(units: int) -> BatchNorm:
    """One less the input."""
    return BatchNorm(
        scale=np.full(units, -1), bias=np.ones(units, np.int64), scale_format=Format.int(2)
    )


def _sum(build: LayerBuilder, edge: str, cell: Cell, a: str, b: str) -> str:
    """Two tensors of `accum_t` added and assigned to it."""
    return build.cast(edge, build.add(f"{edge}/full", Add(), a, b), cell.accum)


def _mix(
    build: LayerBuilder, edge: str, cell: Cell, new: tuple[str, str], old: tuple[str, str]
) -> str:
    """The sum of two products at full precision, assigned to the state's type."""
    products = [
        build.add(f"{edge}/{of}", Mul(), *pair) for of, pair in (("new", new), ("old", old))
    ]
    return build.cast(edge, build.add(f"{edge}/full", Add(), *products), cell.state)


def _parts(build: LayerBuilder, edge: str, sizes: tuple[int, ...]) -> tuple[str, ...]:
    """Neighbouring channels apart."""
    edges = [f"{edge}.{part}" for part in range(len(sizes))]
    return build.emit_all(f"{edge}/parts", Split(axis=1, sizes=sizes), [edge], edges)
