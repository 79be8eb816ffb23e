"""A whole training of a Graph on labelled data: what is held out, accuracy before and after."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.compress.any_float import any_float
from hwsim.compress.classes import warn_of_missing
from hwsim.compress.prune.gradual import GradualPruning
from hwsim.compress.sums.narrow import narrow
from hwsim.compress.sums.width import sum_widths
from hwsim.compress.training.fingerprint import Teacher, TrainingData
from hwsim.compress.training.grids import WeightGrid
from hwsim.compress.training.heads import gives_values, scores_port
from hwsim.compress.training.layers import Reals
from hwsim.compress.training.loop import Epoch, Training, finetune
from hwsim.compress.training.loss import Labels
from hwsim.compress.training.start import float_weights
from hwsim.errors import HwsimError
from hwsim.evaluation.measure import (
    as_samples,
    batch_size,
    choose_output,
    class_count,
    expect_samples,
    measure,
    read_labels,
)
from hwsim.evaluation.scores import Accuracy
from hwsim.graph import Graph
from hwsim.ops import Weighted

Arrays = Mapping[str, Any]
SHARE = 0.1
"""Of the samples, which are held out where there are none to test with."""


UNITS = 128
"""Samples on which the units of narrow sums are chosen."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelledBatch:
    """Samples by input name, class numbers (batch,) or None, and the classes' names."""

    arrays: Arrays
    labels: Labels | None
    names: Sequence[str] | None = None

    @classmethod
    def read(cls, arrays: Arrays, labels: Any, names: Sequence[str] | None) -> LabelledBatch:
        """What was given, with labels as class numbers; HwsimError where they do not fit."""
        arrays = {name: as_samples(f"input {name!r}", array) for name, array in arrays.items()}
        count = batch_size(arrays)
        try:
            found = None if labels is None else read_labels(labels, count, names)
        except HwsimError as error:
            if len(np.shape(labels)) < 2 and np.asarray(labels).dtype.kind != "f":
                raise
            raise HwsimError(
                f"{error}; what is no class (a number, several labels) is learned from a teacher, "
                "without labels"
            ) from None
        return cls(arrays=arrays, labels=found, names=names)

    @classmethod
    def taught(
        cls, graph: Graph, output: str | None, arrays: Arrays, labels: Any, names: Any
    ) -> LabelledBatch:
        """What a teacher is given for: labels only where the output has a score for each class.

        Other numbers are learned from the teacher alone, whatever lies beside the samples.
        """
        port = scores_port(graph, choose_output(graph, output))
        kind = graph.types()[port.tensor]
        if gives_values(port, kind):
            try:
                several = [size for size in kind.shape if size > 1]
                return cls.read(arrays, labels if len(several) == 1 else None, names)
            except HwsimError:
                labels = None
        return cls.read(arrays, labels, names)

    def parts(self, share: float, seed: int) -> tuple[LabelledBatch, LabelledBatch]:
        """All samples but a share of them, and that share, both in their order."""
        count = batch_size(self.arrays)
        held = round(count * share)
        if not 0 < held < count:
            raise HwsimError(
                f"samples must be enough to hold some out, not {count}; or give some to test with"
            )
        order = np.random.default_rng(seed).permutation(count)
        return self._of(np.sort(order[held:])), self._of(np.sort(order[:held]))

    def few(self, count: int) -> dict[str, npt.NDArray[Any]]:
        """So many samples at most, evenly over all."""
        whole = batch_size(self.arrays)
        places = np.linspace(0, whole - 1, min(count, whole)).astype(np.int64)
        return {name: np.asarray(array[places]) for name, array in self.arrays.items()}

    def _of(self, where: npt.NDArray[np.int64]) -> LabelledBatch:
        arrays = {name: ChosenSamples(array, where) for name, array in self.arrays.items()}
        labels = None if self.labels is None else self.labels[where]
        return LabelledBatch(arrays=arrays, labels=labels, names=self.names)


class ChosenSamples:
    """Some samples of a batch, which are read when they are asked for."""

    def __init__(self, array: Any, where: npt.NDArray[np.int64]) -> None:
        self._array, self._where = array, where
        self.shape = (len(where), *array.shape[1:])

    def __len__(self) -> int:
        return len(self._where)

    def __getitem__(self, part: Any) -> Any:
        """A slice, or an array of places."""
        return self._array[self._where[part]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fitted:
    """A trained Graph, its epochs, and the emulator's accuracy before and after.

    The accuracies are None without labels. `tested` says on which samples they are.
    """

    graph: Graph
    epochs: tuple[Epoch, ...] = field(repr=False)
    before: Accuracy | None
    after: Accuracy | None
    tested: str

    def to_dict(self) -> dict[str, Any]:
        """What happened, as JSON says it."""
        return {
            "epochs": [
                {"epoch": one.number, "loss": one.loss, "score": one.score} for one in self.epochs
            ],
            "tested_on": self.tested,
            "before": _figures(self.before),
            "after": _figures(self.after),
            "hash": self.graph.hash(),
        }


def _figures(found: Accuracy | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {"samples": found.samples, "right": found.right, "top1": found.top1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What is asked of a training besides its settings.

    `start` is the float model (as `any_float` takes it) whose weights it begins with. With `best`
    the epoch of the highest accuracy on the tested samples is kept, not the last. With `keep_zeros`
    weights that are 0 stay so: a pruned graph stays pruned. `pruning` takes weights while it
    trains. `accumulator` gives layers narrow sums first, as `sum_widths` reads it.
    """

    output: str | None = None
    start: Any = None
    learn_steps: bool = False
    learn_entries: bool = False
    best: bool = False
    checkpoint: Path | None = None
    keep_zeros: bool = False
    pruning: GradualPruning | None = None
    accumulator: str | None = None


def expect_patience(how: Training, wishes: Wishes) -> None:
    """Raise HwsimError for a patience with epochs that nothing judges."""
    if how.patience is not None and not wishes.best:
        raise HwsimError(
            "a patience (--patience) must come with the best epoch (--best), which it waits for, "
            "not alone"
        )


def kept_weights(graph: Graph) -> dict[str, npt.NDArray[np.bool_]]:
    """Where the weights of each layer differ from 0: masks for `finetune`."""
    return {n.name: n.op.weights != 0 for n in graph.nodes if isinstance(n.op, Weighted)}


def fit(
    graph: Graph,
    data: LabelledBatch,
    test: LabelledBatch | None,
    how: Training,
    wishes: Wishes,
    *,
    reals: Mapping[str, Mapping[str, Reals]] | None = None,
    masks: Mapping[str, npt.NDArray[np.bool_]] | None = None,
    grids: Mapping[str, WeightGrid] | None = None,
    teacher: Teacher | None = None,
    say: Callable[[Epoch], None] | None = None,
    progress: Callable[[str], None] | None = None,
) -> Fitted:
    """Train a Graph, and count the emulator's accuracy before and after on other samples.

    Those are `test`, or else a tenth of the data, chosen by the seed and held out. `reals`, `grids`
    and `masks` are as `finetune` takes them, the first and the last where `wishes` name neither a
    start nor zeros. Raises HwsimError as `finetune`, and for a float model whose weights are not
    the Graph's.
    """
    expect_patience(how, wishes)
    port = choose_output(graph, wishes.output)
    held, tested = test, "samples to test with"
    if test is None and data.labels is not None:
        data, held = data.parts(SHARE, how.seed)
        tested = "a tenth of the samples, held out"
    if data.labels is not None:
        classes = class_count(graph, port)
        warn_of_missing(data.labels, classes, data.names, "the samples to train with")
    if wishes.best and (held is None or held.labels is None):
        none = "there are none" if held is None else f"the {tested} have none"
        raise HwsimError(f"the best epoch must be chosen by labels, and {none}")

    def measured(one: Graph) -> Accuracy | None:
        if held is None or held.labels is None:
            return None
        return measure(one, held.arrays, held.labels, output=port.name, names=held.names)

    def judged(one: Graph) -> float:
        found = measured(one)
        assert found is not None
        return found.top1

    epochs: list[Epoch] = []

    def told(one: Epoch) -> None:
        epochs.append(one)
        if say is not None:
            say(one)

    before = measured(graph)
    expect_samples(graph, data.arrays, warned=before is not None)
    if wishes.start is not None:
        reals = float_weights(graph, any_float(wishes.start, data.arrays))
    kept = kept_weights(graph) if wishes.keep_zeros else masks
    limits = None
    if wishes.accumulator is not None:
        found = narrow(graph, sum_widths(graph, wishes.accumulator), data.few(UNITS), reals)
        graph, reals, limits = found.graph, found.reals, found.limits
    one_input = len(graph.inputs) == 1
    trained = finetune(
        graph,
        next(iter(data.arrays.values())) if one_input else data.arrays,
        data.labels,
        how,
        output=port.name,
        reals=reals,
        learn_steps=wishes.learn_steps,
        learn_entries=wishes.learn_entries,
        teacher=teacher,
        masks=kept,
        grids=grids,
        limits=limits,
        pruning=wishes.pruning,
        judge=judged if wishes.best else None,
        judged_on=TrainingData(held.arrays, held.labels) if wishes.best and held else None,
        checkpoint=wishes.checkpoint,
        say=told,
        progress=progress,
    )
    return Fitted(
        graph=trained,
        epochs=tuple(epochs),
        before=before,
        after=measured(trained),
        tested="" if before is None else tested,
    )
