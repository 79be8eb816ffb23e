"""Accuracy of a Graph on labelled data, piece by piece, beside a reference on the same samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import Any, Protocol

import numpy as np

from hwsim import saturation
from hwsim.emulator.run import planned
from hwsim.errors import HwsimError
from hwsim.evaluation.scores import Accuracy, Labels, Tally, class_numbers, expect_count, named
from hwsim.graph import Graph, OutputPort
from hwsim.ops import ArgMax, Flatten, Reshape

PIECE = 1 << 22
"""Codes of the widest edge that are held at a time: some tens of megabytes."""

Reference = Callable[[Mapping[str, Any]], Any]
"""Another model: outputs of a batch, given by the names of the Graph's inputs."""


class Samples(Protocol):
    """A batch that is read in slices: an array, a mapped file, a folder of images."""

    shape: tuple[int, ...]

    def __len__(self) -> int: ...
    def __getitem__(self, part: slice, /) -> Any: ...


def piece_of(graph: Graph, steps: int = 1) -> int:
    """Samples, of so many time steps each, that are held at a time."""
    return max(1, PIECE // (max(kind.size for kind in graph.types().values()) * max(steps, 1)))


def choose_output(graph: Graph, name: str | None) -> OutputPort:
    """The output that classifies: the one of that name, or the only one.

    Raises HwsimError for a graph with state, which answers at each time step.
    """
    if graph.state:
        raise HwsimError(
            "labels must belong to a model that answers once a sample, not to one with state, "
            "which answers at each time step; emulate gives its outputs at every step"
        )
    names = [port.name for port in graph.outputs]
    if name is None and len(names) > 1:
        raise HwsimError(
            f"output must name the one that classifies, {' or '.join(names)} (--output NAME on the "
            "command line), because the model has several"
        )
    found = [port for port in graph.outputs if name in (None, port.name)]
    if not found:
        raise HwsimError(f"output must be one of {', '.join(names)}, not {name!r}")
    return found[0]


def picked_from(graph: Graph, port: OutputPort) -> int | None:
    """Between how many classes the model itself picks, where an ArgMax ends it."""
    makers = graph.makers()
    edge = port.tensor
    while (node := makers.get(edge)) is not None:
        if isinstance(node.op, ArgMax):
            return graph.types()[edge].hi + 1
        if not isinstance(node.op, Flatten | Reshape):
            return None
        edge = node.inputs[0]
    return None


def class_count(graph: Graph, port: OutputPort) -> int | None:
    """How many classes an output tells apart; None where it gives one number without a bound."""
    size = graph.types()[port.tensor].size
    return picked_from(graph, port) or (size if size > 1 else None)


def check_names(graph: Graph, port: OutputPort, names: Sequence[str]) -> None:
    """Raise HwsimError where names that only the data gave are not as many as the classes."""
    classes = class_count(graph, port)
    if classes is not None and len(names) != classes:
        raise HwsimError(
            f"classes must be listed in their order (--classes FILE, a name a line), because the "
            f"data names {len(names)} and output {port.name!r} has {classes}"
        )


def measure(
    graph: Graph,
    arrays: Mapping[str, Samples],
    labels: Any,
    *,
    output: str | None = None,
    names: Sequence[str] | None = None,
    reference: Reference | None = None,
    say: Callable[[str], None] | None = None,
) -> Accuracy:
    """The accuracy of `graph` on a batch by input name, in pieces of bounded memory.

    `labels` are class numbers, one-hot rows, or texts among `names`. Raises HwsimError for labels
    or outputs that are none of a classifier; warns of inputs that saturate.
    """
    port = choose_output(graph, output)
    count = batch_size(arrays)
    wanted = read_labels(labels, count, names)
    classes = class_count(graph, port)
    if names is not None and classes is not None and len(names) < classes:
        raise HwsimError(
            f"there must be a name for each of the {classes} classes, not {len(names)}"
        )
    tally = Tally(port.name, picked_from(graph, port))
    other = Tally(f"{port.name} of the reference") if reference is not None else None
    emulator, step = planned(graph), piece_of(graph)
    clips: list[saturation.Clip] = []
    for start in range(0, count, step):
        if say is not None:
            say(f"emulating, {start:,} of {count:,} samples")
        part = slice(start, start + step)
        piece = {name: array[part] for name, array in arrays.items()}
        codes = emulator.run_chunked(emulator.encode(piece, clips=clips))
        found = emulator.decode(codes)
        tally.add(found[port.name] if isinstance(found, dict) else found, wanted[part])
        if other is not None and reference is not None:
            other.add(reference(piece), wanted[part])
    saturation.warn(graph.inputs, clips)
    beside = None if other is None else other.result()
    return tally.result(None if names is None else tuple(names), beside)


def expect_samples(graph: Graph, arrays: Mapping[str, Samples], *, warned: bool = False) -> int:
    """The number of samples of a batch by input name, all of which a model takes.

    Raises HwsimError for another shape and for numbers that are none; warns of inputs that
    saturate, unless that was said of them (`warned`). Nothing is computed.
    """
    count, emulator, step = batch_size(arrays), planned(graph), piece_of(graph)
    clips: list[saturation.Clip] = []
    for start in range(0, count, step):
        part = slice(start, start + step)
        emulator.encode({name: array[part] for name, array in arrays.items()}, clips=clips)
    if not warned:
        saturation.warn(graph.inputs, clips)
    return count


def by_name(graph: Graph, x: Any) -> dict[str, Any]:
    """Arrays by input name, from a dict of them or the one array of a Graph with one input.

    What has a shape, such as a mapped file, stays as it is. Raises HwsimError for other names, and
    for a path: functions take arrays, the command line takes files.
    """
    names = [port.name for port in graph.inputs]
    arrays = dict(x) if isinstance(x, Mapping) else {names[0]: x}
    if set(arrays) != set(names):
        raise HwsimError(f"inputs must be named {sorted(names)}, not {sorted(arrays)}")
    return {name: as_samples(f"input {name!r}", array) for name, array in arrays.items()}


def as_samples(what: str, found: Any) -> Any:
    """What was given as a batch, as an array or something that is sliced like one."""
    if found is None or isinstance(found, str | PurePath):
        hint = "" if found is None else f"; np.load({str(found)!r}) reads a .npy file"
        raise HwsimError(f"{what} must be an array, not {found!r}{hint}")
    if not (hasattr(found, "shape") and hasattr(found, "__getitem__")):
        try:
            found = np.asarray(found)
        except ValueError:  # rows of different lengths
            raise HwsimError(f"{what} must be an array, not a {type(found).__name__}") from None
    if not len(found.shape):
        raise HwsimError(f"{what} must be an array with a batch axis, not a single number")
    return found


def batch_size(arrays: Mapping[str, Samples]) -> int:
    """The number of samples, at least one and the same for each input."""
    counts = {name: len(array) for name, array in arrays.items()}
    if len(set(counts.values())) > 1:
        raise HwsimError(f"inputs must have one batch size, not {counts}")
    count = next(iter(counts.values()))
    if not count:
        raise HwsimError("there must be at least one sample, not none")
    return count


def read_labels(labels: Any, samples: int, names: Sequence[str] | None = None) -> Labels:
    """Labels as class numbers; texts are looked up in `names`."""
    array = np.asarray(as_samples("labels", labels))
    if array.dtype.kind == "U" and names is None:
        raise HwsimError(
            "labels that are texts must come with the classes in their order (names=, or --classes "
            "FILE on the command line), not alone"
        )
    if array.dtype.kind == "U" and names is not None and array.ndim == 1:
        expect_count(len(array), samples)
        return named([str(text) for text in array], names)
    return class_numbers(array, samples)
