"""`verify`: a built design against the emulator, on labelled data too, and what is kept of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hwsim import saturation
from hwsim.build_folder import VERIFY, Manifest, plain
from hwsim.emulator.ports import from_user
from hwsim.emulator.run import planned
from hwsim.errors import HwsimError
from hwsim.evaluation.measure import batch_size, by_name, choose_output, picked_from, read_labels
from hwsim.evaluation.scores import Accuracy, Labels, Tally
from hwsim.extras import hardware
from hwsim.graph import Graph, InputPort, OutputPort
from hwsim.reporting.folder import read_graph
from hwsim.storage import write_atomically

if TYPE_CHECKING:
    from rtl.sim.verify import Outcome

SHOWN, WRONG = 12, 4
"""Samples kept for the report, and how many wrong ones where there are enough right ones."""

PICTURE = 64
"""Pixels of a kept picture's longer side."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A sample kept for the report; `image` is rows of columns of 1 or 3 reals 0 to 1, or None."""

    index: int
    label: int
    emulator: int
    rtl: int
    image: Any

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {key: getattr(self, key) for key in ("index", "label", "emulator", "rtl", "image")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What `verify` found: the comparison, and with labels the accuracy of emulator and RTL.

    `rtl` is None where the design gave too few results to have an accuracy.
    """

    outcome: Outcome
    emulator: Accuracy | None = None
    rtl: Accuracy | None = None
    shown: tuple[Shown, ...] = ()

    def __repr__(self) -> str:
        """One line: whether all is equal, and the accuracies."""
        says = "equal" if self.ok else self.failure or "not equal"
        scores = (("emulator", self.emulator), ("RTL", self.rtl))
        right = "".join(f"; {what} {100 * s.top1:.2f} %" for what, s in scores if s is not None)
        return (
            f"Verification({says}: {self.different:,} of {self.compared:,} integers differ{right})"
        )

    @property
    def ok(self) -> bool:
        """Whether every code is equal and every rule of the ports is kept."""
        return self.outcome.ok

    @property
    def compared(self) -> int:
        """Codes compared over all runs."""
        return self.outcome.compared

    @property
    def different(self) -> int:
        """Codes that differ, or never came."""
        return self.outcome.different

    @property
    def failure(self) -> str | None:
        """Where a difference begins, or what else failed."""
        return self.outcome.failure

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, `labels` only where there were any."""
        found = self.outcome.to_dict()
        if self.emulator is not None:
            found["labels"] = {
                "output": self.emulator.output,
                "samples": self.emulator.samples,
                "classes": self.emulator.classes,
                "names": None if self.emulator.names is None else list(self.emulator.names),
                "emulator": _score(self.emulator),
                "rtl": _score(self.rtl),
                "shown": [one.to_dict() for one in self.shown],
            }
        return found


def _score(found: Accuracy | None) -> dict[str, float | None] | None:
    return None if found is None else {"top1": found.top1, "top5": found.top5}


def verify(
    folder: str | Path,
    x: Any = None,
    *,
    labels: Any = None,
    samples: int | None = None,
    seed: int = 1,
    output: str | None = None,
    names: Sequence[str] | None = None,
    waves: bool = False,
    log: Callable[[str], None] | None = None,
) -> Verification:
    """Compare the Verilog in a build folder, in Verilator, with the emulator, integer by integer.

    `x` is real data as `emulate` takes it, one array or a dict by input name; without it `samples`
    random ones by `seed` are drawn, and with it `samples` of them are taken, evenly over the batch.
    With `labels`, as `accuracy` takes them, the accuracy of both is counted on the same samples.
    `waves` leaves a waveform of the first sample in the folder, and `verify.json` there holds what
    was found, for `report`.
    Raises HwsimError for a folder that no build wrote, data that does not fit, and missing tools.
    """
    place = Path(folder)
    hardware("rtl.sim.verify")
    if labels is not None and x is None:
        raise HwsimError("labels must come with the samples that they belong to, not alone")
    trial = None
    if x is not None:
        trial = prepare(place, x, labels=labels, samples=samples, output=output, names=names)
    found = run(place, trial, samples=samples, seed=seed, waves=waves, log=log)
    source = "random" if x is None else "arrays"
    record(place, {"folder": str(place), **found.to_dict(), "seed": seed, "input": source})
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Real data for a built design: the user's arrays, their codes, and their places in the batch.

    `port` and `labels` are None where no accuracy is wanted.
    """

    graph: Graph
    arrays: Mapping[str, Any]
    codes: Mapping[str, Any]
    places: Labels
    port: OutputPort | None
    labels: Labels | None
    names: Sequence[str] | None


def prepare(
    folder: Path,
    x: Any,
    *,
    labels: Any = None,
    samples: int | None = None,
    output: str | None = None,
    names: Sequence[str] | None = None,
) -> Trial:
    """Data and labels checked against the design in `folder`, before the long part of the work."""
    graph = read_graph(folder)
    given = by_name(graph, x)
    port = choose_output(graph, output) if labels is not None else None
    places = evenly(batch_size(given), samples)
    wanted = None
    if labels is not None:
        wanted = read_labels(labels, batch_size(given), names)[places]
    arrays = {name: np.asarray(array[places]) for name, array in given.items()}
    codes = codes_of(graph, arrays)
    if port is not None and wanted is not None:
        best = np.flatnonzero(wanted == wanted.max())[:1]  # the label that may be out of range
        first = {name: array[:1] for name, array in codes.items()}
        _count(graph, port, _emulated(graph, first), wanted[best], names)
    return Trial(
        graph=graph,
        arrays=arrays,
        codes=codes,
        places=places,
        port=port,
        labels=wanted,
        names=names,
    )


def run(
    folder: Path,
    trial: Trial | None,
    *,
    samples: int | None = None,
    seed: int = 1,
    waves: bool = False,
    log: Callable[[str], None] | None = None,
) -> Verification:
    """Run a built design on a trial, or on `samples` random ones, and count what it got right."""
    checker = hardware("rtl.sim.verify")
    codes = None if trial is None else trial.codes
    outcome = checker.verify(folder, codes, samples=samples, seed=seed, waves=waves, log=log)
    if trial is None or trial.port is None or trial.labels is None:
        return Verification(outcome=outcome)
    return with_labels(trial, trial.port, trial.labels, outcome)


def evenly(count: int, samples: int | None) -> Labels:
    """Places of `samples` of a batch from its first to its last, or of all."""
    if samples is not None and not isinstance(samples, Integral):
        raise HwsimError(f"samples must be a whole number, not {samples!r}")
    if samples is None or samples >= count:
        return np.arange(count)
    if samples < 1:
        raise HwsimError(f"samples must be at least 1, not {samples}")
    return np.asarray(np.arange(samples) * count // samples, np.int64)


def codes_of(graph: Graph, arrays: Mapping[str, Any]) -> dict[str, Any]:
    """int64 codes by input name, channels last; a warning where many saturate."""
    clips: list[saturation.Clip] = []
    edges = planned(graph).encode(dict(arrays), clips=clips)
    saturation.warn(graph.inputs, clips)
    return {p.name: np.asarray(edges[p.tensor]).astype(np.int64) for p in graph.inputs}


def _emulated(graph: Graph, codes: Mapping[str, Any]) -> dict[str, Any]:
    found = planned(graph).run_chunked({p.tensor: codes[p.name] for p in graph.inputs})
    return {p.name: np.asarray(found[p.tensor]) for p in graph.outputs}


def _count(
    graph: Graph,
    port: OutputPort,
    codes: Mapping[str, Any],
    labels: Labels,
    names: Sequence[str] | None = None,
) -> tuple[Accuracy, Labels]:
    """The accuracy of output codes by output name, and the predictions."""
    reals = planned(graph).decode({p.tensor: codes[p.name] for p in graph.outputs})
    tally = Tally(port.name, picked_from(graph, port))
    predicted = tally.add(reals[port.name] if isinstance(reals, dict) else reals, labels)
    return tally.result(None if names is None else tuple(names)), predicted


def with_labels(trial: Trial, port: OutputPort, labels: Labels, outcome: Outcome) -> Verification:
    """The outcome of a run, with the accuracies of `port` and the samples that are shown."""
    graph, names = trial.graph, trial.names
    emulator, predicted = _count(graph, port, _emulated(graph, trial.codes), labels, names)
    rtl, from_rtl = None, None
    if outcome.outputs is not None:
        rtl, from_rtl = _count(graph, port, outcome.outputs, labels, names)
    shown: tuple[Shown, ...] = ()
    if from_rtl is not None:
        chosen = _chosen((predicted == labels) & (from_rtl == labels))
        images = pictures(graph.inputs[0], trial.arrays[graph.inputs[0].name][chosen])
        shown = tuple(
            Shown(int(trial.places[n]), int(labels[n]), int(predicted[n]), int(from_rtl[n]), image)
            for n, image in zip(chosen, images, strict=True)
        )
    return Verification(outcome=outcome, emulator=emulator, rtl=rtl, shown=shown)


def _chosen(right: Any) -> list[int]:
    """Samples to show, in order: a few that are wrong, the others right and from all over.

    Data are often sorted by class, so the first ones would all be of one.
    """
    wrong, others = np.flatnonzero(~right), np.flatnonzero(right)
    few = wrong[: max(WRONG, SHOWN - len(others))]
    rest = SHOWN - len(few)
    return sorted([*few[:SHOWN].tolist(), *others[evenly(len(others), rest)].tolist()])


def pictures(port: InputPort, samples: Any) -> list[Any]:
    """Samples as rows of columns of 1 or 3 reals from 0 to 1, or None where they are no pictures.

    The least number of all becomes 0 and the largest 1; a large picture loses rows and columns.
    """
    array = np.asarray(from_user(np, port, port.type, np.asarray(samples, np.float64)))
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim != 4 or array.shape[3] not in (1, 3) or min(array.shape[1:3]) < 2:
        return [None] * len(array)
    step = -(-max(array.shape[1:3]) // PICTURE)
    array = array[:, ::step, ::step]
    low, high = float(array.min()), float(array.max())
    scaled = (array - low) / ((high - low) or 1.0)
    return [one.round(3).tolist() for one in scaled]


def record(folder: Path, facts: Mapping[str, Any]) -> None:
    """Keep what `verify` found beside the design, with the design's hashes, for the report."""
    hashes = plain(Manifest.read(folder).hashes)
    text = json.dumps({**facts, "hashes": hashes}, indent=2) + "\n"
    write_atomically(folder / VERIFY, text.encode())
