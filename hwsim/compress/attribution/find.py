"""`attribute`: both models on a batch, piece by piece, and what becomes of the difference."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.compress.attribution.counterparts import counterparts, reals
from hwsim.compress.attribution.deciding import OutputTally
from hwsim.compress.attribution.float_graph import FloatGraph
from hwsim.compress.attribution.places import SumPlace, lacking, layer_places
from hwsim.compress.attribution.report import Attribution, WeightRange
from hwsim.compress.attribution.tally import LayerTally
from hwsim.compress.calibration import Histogram
from hwsim.compress.float_model import FloatModel
from hwsim.emulator.run import planned
from hwsim.errors import HwsimError
from hwsim.evaluation.measure import (
    by_name,
    choose_output,
    class_count,
    expect_samples,
    piece_of,
    read_labels,
)
from hwsim.graph import Graph, InputPort
from hwsim.ops import ArgMax, Flatten, Reshape

Say = Callable[[str], None]
Piece = tuple[dict[str, npt.NDArray[np.int64]], dict[str, npt.NDArray[Any]]]
MATCHED = 64
"""Samples on which it is looked which edge stands for which tensor."""

PIECE_SHARE = 8
"""Part of a usual piece that is compared at once: several copies of a layer are held."""


def find(
    graph: Graph,
    model: FloatModel,
    x: Any,
    labels: Any = None,
    *,
    names: Sequence[str] | None = None,
    output: str | None = None,
    say: Say | None = None,
) -> Attribution:
    """Compare a graph with the float model that it came from, on a batch as `emulate` takes it.

    `labels` are class numbers, one-hot rows or texts among `names`. Raises HwsimError for a graph
    with state, and where no edge has the name of a float tensor.
    """
    if graph.state:
        raise HwsimError(
            "accuracy must be attributed in a model that answers once a sample, not in one with "
            "state"
        )
    arrays = by_name(graph, x)
    count = expect_samples(graph, arrays)
    wanted = None if labels is None else read_labels(labels, count, names)
    port = choose_output(graph, output if output or len(graph.outputs) == 1 else _first(graph))
    pair = _Pair(graph, FloatGraph(model), arrays)
    found = pair.matched()
    scores = _scores(graph, port.tensor)
    shown = {scores, *(one.tensor for one in graph.outputs)}
    places = layer_places(graph, pair.floats, found, shown)
    until = next((i for i, p in enumerate(places) if p.at.edge == scores), None)
    classes = class_count(graph, port)
    if wanted is not None:
        _check_labels(wanted, classes, port.name)
    tallies = [LayerTally(pair.floats, place) for place in places]
    whole = None
    if until is not None:
        before, target = places[: until + 1], places[until].at.tensor
        whole = OutputTally(pair.floats, before, target, classes=classes is not None)
    needed = dict.fromkeys((*(place.at.tensor for place in places), *model.inputs))
    for at, (codes, tensors) in pair.pieces([*needed], count):
        if say is not None:
            say(f"comparing, {at:,} of {count:,} samples")
        for tally in tallies:
            tally.add(codes, tensors)
        if whole is not None:
            size = len(next(iter(tensors.values())))
            whole.add(codes, tensors, None if wanted is None else wanted[at : at + size])
    edges, lacks = lacking(graph, pair.floats, found)
    shares: list[float | None] = [] if whole is None else [*whole.shares()]
    shares += [None] * (len(places) - len(shares))
    return Attribution(
        reference=str(model.path),
        output=port.name,
        samples=count,
        layers=tuple(t.result(share) for t, share in zip(tallies, shares, strict=True)),
        weights=tuple(weight_range(one) for place in places for one in place.sums),
        decisions=None if whole is None else whole.decisions(labelled=wanted is not None),
        edges=tuple(edges),
        tensors=tuple(lacks),
    )


class _Pair:
    """Both models on one batch."""

    def __init__(self, graph: Graph, floats: FloatGraph, arrays: Mapping[str, Any]) -> None:
        self.graph, self.floats, self.arrays = graph, floats, arrays
        self.ports = self._ports()

    def _ports(self) -> dict[str, InputPort]:
        """The Graph's input for each of the float model's."""
        ports, names = {p.name: p for p in self.graph.inputs}, self.floats.model.inputs
        if len(names) == len(ports) == 1:
            return {names[0]: self.graph.inputs[0]}
        if set(names) == set(ports):
            return {name: ports[name] for name in names}
        raise HwsimError(
            f"the reference {self.floats.model.path} must have inputs {', '.join(ports)}, not "
            f"{', '.join(names)}"
        )

    def matched(self) -> Any:
        """Counterparts, by what both models make of the first samples."""
        names = self.floats.tensors
        count = min(MATCHED, len(next(iter(self.arrays.values()))))
        _, (codes, tensors) = next(self.pieces(names, count))
        size = len(next(iter(codes.values())))
        plain = {
            name: array
            for name, array in tensors.items()
            if array.dtype.kind == "f" and array.ndim and len(array) == size
            and bool(np.isfinite(array).all())
        }  # fmt: skip
        found = counterparts(self.graph, self.floats, codes, plain)
        ports = {port.tensor for port in self.graph.inputs}
        if not set(found) - ports:
            raise HwsimError(
                f"the reference {self.floats.model.path} must be the float model that the other "
                "one was made from, with its tensors' names, but no tensor has the name of an edge"
            )
        return found

    def pieces(self, names: Sequence[str], count: int) -> Iterator[tuple[int, Piece]]:
        """Codes of every edge and tensors of those names, for some samples after the other."""
        run, emulator = self.floats.model.runner(names), planned(self.graph)
        edges = max(PIECE_SHARE, len(self.graph.types()))
        step = self.floats.model.batch or max(1, piece_of(self.graph) * PIECE_SHARE // (4 * edges))
        for start in range(0, count, step):
            some = {
                n: np.asarray(a[start : min(start + step, count)]) for n, a in self.arrays.items()
            }
            codes = emulator.run(emulator.encode(some), keep=True)
            feeds = {n: _as_reals(p, some[p.name]) for n, p in self.ports.items()}
            whole = {edge: np.asarray(array).astype(np.int64) for edge, array in codes.items()}
            yield start, (whole, run(feeds))


def _as_reals(port: InputPort, array: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """What the float model takes: reals, where the Graph takes codes too."""
    if port.element is not None and array.dtype.kind in "iu":
        array = reals(port.type, array)
    return np.ascontiguousarray(array, np.float32)


def _check_labels(labels: npt.NDArray[np.int64], classes: int | None, output: str) -> None:
    if classes is None:
        raise HwsimError(f"labels must belong to a classifier, but {output!r} is one number")
    if int(labels.max()) >= classes:
        raise HwsimError(
            f"labels must be class numbers from 0 to {classes - 1}, as output {output!r} has, not "
            f"{int(labels.max())}"
        )


def _first(graph: Graph) -> str:
    return graph.outputs[0].name


def _scores(graph: Graph, edge: str) -> str:
    """The edge whose largest code an output names, or shows."""
    makers, at, found = graph.makers(), edge, edge
    while at in makers and isinstance(makers[at].op, ArgMax | Flatten | Reshape):
        if isinstance(makers[at].op, ArgMax):
            found = makers[at].inputs[0]
        at = makers[at].inputs[0]
    return found


def weight_range(place: SumPlace) -> WeightRange:
    """The weights of a layer against their format."""
    op, seen = place.op, Histogram(place.node.name)
    seen.add(np.asarray(place.floats.weights, np.float32))
    fmt = op.weight_format
    steps = op.weight_scale or (2.0**-fmt.frac_bits,)
    low, high = op.weight_ends
    ends, told = (float((low * steps).min()), float((high * steps).max())), str(fmt)
    if op.channel_bits is not None:
        told = f"{fmt}, {min(op.channel_bits)} to {max(op.channel_bits)} bits by channel"
    if op.encoding is not None:  # a set of values has no other ends than its own
        held = op.weights * np.array(steps)
        ends, told = (float(held.min()), float(held.max())), f"{fmt}, {op.weight_bits} bits stored"
    at_ends = (op.weights == low) | (op.weights == high)
    return WeightRange(
        node=place.node.name,
        tensor=place.floats.tensor,
        format=told,
        ends=ends,
        steps=(min(steps), max(steps)),
        weights=op.weights.size,
        at_ends=int(np.count_nonzero(at_ends)),
        zeros=int(np.count_nonzero(op.weights == 0)),
        histogram=seen,
    )
