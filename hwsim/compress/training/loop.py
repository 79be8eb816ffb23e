"""Fine-tuning: batches, a loss against labels and a teacher, an optimizer, and what came of it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim import notices
from hwsim.compress.prune.gradual import GradualPruning
from hwsim.compress.sums.width import SumWidth
from hwsim.compress.training.checkpoint import read_checkpoint, write_checkpoint
from hwsim.compress.training.fingerprint import (
    Batches,
    Teacher,
    TrainingData,
    fingerprint,
    length_of,
    lesson_of,
    samples_at,
)
from hwsim.compress.training.gradients import expect_gradients
from hwsim.compress.training.grids import WeightGrid
from hwsim.compress.training.heads import expect_classes, gives_values, scores_port
from hwsim.compress.training.layers import Reals
from hwsim.compress.training.loss import Labels, LossShares, loss_of, overflow_of
from hwsim.compress.training.namespace import CPU, to_numpy, torch
from hwsim.compress.training.network import TrainableGraph
from hwsim.compress.training.paths import with_paths
from hwsim.compress.training.run import TrainingRun
from hwsim.compress.training.shrinking import ShrinkingNetwork
from hwsim.emulator.run import planned
from hwsim.errors import HwsimError
from hwsim.evaluation.measure import choose_output
from hwsim.fixed import Array
from hwsim.graph import Graph

Augment = Callable[[Batches, np.random.Generator], Batches]


class NothingMoved(UserWarning):
    """A training has left every weight at the code that it had."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """How a graph is trained.

    `rate` is Adam's largest step in the reals of the weights; it rises over the first tenth of the
    steps and falls to 0 by a cosine. `distil` is the share of the loss that a teacher gives, with
    its scores softened by `temperature` (Hinton et al. 2015, arXiv 1503.02531), `features` the
    weight of the distance from its tensors. `overflow` is the weight of what sums reach beyond
    accumulators that wrap or saturate, squared, in halves of their range. With `check` each batch's
    codes are compared with the emulator's, and a difference is an error. With `patience` a training
    that is judged ends after so many epochs without a better one. `device` is PyTorch's name of
    where it computes.
    """

    epochs: int = 5
    batch: int = 128
    rate: float = 1e-3
    decay: float = 0.0
    smoothing: float = 0.0
    distil: float = 0.5
    temperature: float = 4.0
    features: float = 0.1
    overflow: float = 1.0
    seed: int = 0
    check: bool = False
    patience: int | None = None
    device: str = CPU

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch", 1), ("seed", 0), ("patience", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise HwsimError(f"{name} must be at least {least}, not {value}")
        for name in ("rate", "temperature"):
            if not 0 < getattr(self, name) < math.inf:
                raise HwsimError(f"{name} must be more than 0, not {getattr(self, name)}")
        if not 0 <= self.overflow < math.inf:
            raise HwsimError(f"overflow must be from 0 on, not {self.overflow}")
        for name in ("distil", "smoothing"):
            if not 0 <= getattr(self, name) <= 1:
                raise HwsimError(f"{name} must be from 0 to 1, not {getattr(self, name)}")

    @property
    def shares(self) -> LossShares:
        """How much each part of the loss counts."""
        return LossShares(
            smoothing=self.smoothing,
            distil=self.distil,
            temperature=self.temperature,
            features=self.features,
        )


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one epoch did: its number from 1 on, the mean loss of its batches, and how it is judged.

    `score` is None where nothing judges; `best` says that it is higher than any before.
    """

    number: int
    loss: float
    score: float | None = None
    best: bool = False


def finetune(
    graph: Graph,
    images: Batches,
    labels: Labels | None,
    how: Training | None = None,
    *,
    output: str | None = None,
    reals: Mapping[str, Mapping[str, Reals]] | None = None,
    learn_steps: bool = False,
    learn_entries: bool = False,
    teacher: Teacher | None = None,
    augment: Augment | None = None,
    masks: Mapping[str, npt.NDArray[np.bool_]] | None = None,
    limits: Mapping[str, SumWidth] | None = None,
    grids: Mapping[str, WeightGrid] | None = None,
    pruning: GradualPruning | None = None,
    judge: Callable[[Graph], float] | None = None,
    judged_on: TrainingData | None = None,
    checkpoint: Path | None = None,
    say: Callable[[Epoch], None] | None = None,
    behind: Callable[[Mapping[str, Mapping[str, Reals]]], None] | None = None,
    progress: Callable[[str], None] | None = None,
) -> Graph:
    """The Graph with weights trained on `images` (batch, *shape) and class numbers `labels`.

    `images` may be a dict by input name. `output` names the output that classifies, of several; the
    loss is taken of its scores, ahead of a softmax or an ArgMax. With `learn_steps` multipliers of
    requantizers are trained too, with `learn_entries` codebooks. `teacher` gives scores for a batch
    of images, or a Lesson; with one, labels may be None. `augment` changes a batch before it is
    used. `masks` hold, by node, where weights may differ from 0, `limits` in how many bits sums
    must fit whatever the input, `grids` the codes that each weight may have; with `pruning` more
    weights go meanwhile. `judge` gives a Graph's
    figure after each epoch: the best is kept, or the graph as it was where none is better; with
    `pruning` the best of those without the weights. `checkpoint` is a file that holds the state
    after each epoch: a training that finds it goes on from there, and ends as if it had never
    stopped; it is refused where anything of the call is another, by the samples that the judge
    has (`judged_on`) and the name of `augment` too. `say` gets each epoch, `behind` in the end the
    reals that the codes are rounded from, as `reals`, and `progress` a text now and then.
    Raises HwsimError for a graph that cannot be trained, for labels that are none of its classes,
    and with `check` where a code of training is none of the emulator's; warns (GradientsStop) of
    layers that no gradient reaches, and (NothingMoved) where all weights are as they were.
    """
    how = how or Training()
    if labels is None and teacher is None:
        raise HwsimError("a training must have labels or a teacher, not neither")
    learned = {"learn_steps": learn_steps, "learn_entries": learn_entries}
    graph = with_paths(graph)
    network = TrainableGraph(graph, reals, **learned, device=how.device)
    for name, mask in (masks or {}).items():
        network.keep(name, mask)
    for name, width in (limits or {}).items():
        network.bound(name, width)
    for name, grid in (grids or {}).items():
        network.keep_grid(name, grid)
    start = network.frozen() if limits else graph
    port = scores_port(graph, choose_output(graph, output))
    kind = network.types[port.tensor]
    values = labels is None and gives_values(port, kind)
    if not values:
        expect_classes(labels, kind.size, port.name)
    expect_gradients(network, [port.tensor])
    count = length_of(images)
    steps = how.epochs * -(-count // how.batch)
    shrinking = None if pruning is None else ShrinkingNetwork(network, pruning, steps)
    run = TrainingRun(network, how.rate, how.decay, how.seed, steps, shrinking)
    if judge is not None and run.settled:
        run.keep_if_best(judge(start))
    of = ""
    if checkpoint is not None:
        calls = {"augment": _name_of(augment), "judged": judge is not None}
        settings = json.dumps([{**asdict(how), "check": None}, learned, output, calls])
        of = fingerprint(
            graph,
            [settings, *(repr(said) for said in (pruning, limits) if said is not None)],
            TrainingData(images, labels, teacher),
            judged_on,
            reals=reals or {},
            masks=masks or {},
            grids=grids or {},
        )
        run.restore(checkpoint, read_checkpoint(checkpoint, of))
    while run.epoch < how.epochs and not run.waited(how.patience):
        losses = []
        for place, part in enumerate(_parts(count, how.batch, run.rng)):
            if progress is not None:
                progress(f"epoch {run.epoch + 1} of {how.epochs}, {place * how.batch:,} samples")
            batch = samples_at(images, part)
            batch = batch if augment is None else augment(batch, run.rng)
            codes = network.encode(batch)
            run.begin()
            if how.check:
                expect_equal(network, codes)
            sums: dict[str, Array] = {}
            edges = network.run(codes, sums)
            lesson = None if teacher is None else lesson_of(teacher(batch))
            held = {} if lesson is None else {e: _shown(network, edges, e) for e in lesson.features}
            wanted = None if labels is None else labels[part]
            scores = network.decoded(port, edges)
            with network.there():
                loss = loss_of(scores, wanted, lesson, held, how.shares, values=values)
                loss = loss + how.overflow * overflow_of(network, sums)
            losses.append(run.move(loss))
        run.epoch += 1
        score = judge(network.frozen()) if judge is not None and run.settled else None
        best = score is not None and run.keep_if_best(score)
        if checkpoint is not None:
            write_checkpoint(checkpoint, of, *run.state())
        if say is not None:
            say(Epoch(run.epoch, float(np.mean(losses)), score, best))
    if judge is not None and not run.go_to_best():
        return start
    found = network.frozen()
    if behind is not None:
        behind(network.reals_behind())
    if found.hash() == graph.hash():
        notices.warn(
            f"no weight has another code after {run.epoch} epochs of training; more of them or a "
            f"rate above {how.rate:g} would move some",
            NothingMoved,
        )
    return found


def expect_equal(network: TrainableGraph, codes: Mapping[str, Array]) -> None:
    """Raise HwsimError, naming the first edge, where training's codes are not the emulator's."""
    frozen = network.frozen()
    given = {edge: to_numpy(a).astype(np.int64) for edge, a in codes.items()}
    wanted = planned(frozen).run(given, keep=True)
    with torch().no_grad():
        found = network.run(codes)
    for edge, array in wanted.items():
        differ = int((to_numpy(found[edge]) != np.asarray(array)).sum())
        if differ:
            raise HwsimError(
                f"edge {edge!r} of training must hold the emulator's codes, but {differ:,} of "
                f"{array.size:,} differ"
            )


def _name_of(function: Callable[..., Any] | None) -> str | None:
    """What a function is called, or its kind where it has no name; None for none."""
    if function is None:
        return None
    kind = type(function)
    return f"{function.__module__}.{getattr(function, '__qualname__', kind.__qualname__)}"


def _shown(network: TrainableGraph, edges: Mapping[str, Array], edge: str) -> Array:
    if edge not in edges:
        raise HwsimError(f"a feature must be an edge of the model, not {edge!r}")
    return network.reals(edge, edges[edge])


def _parts(count: int, size: int, rng: np.random.Generator) -> Iterator[npt.NDArray[np.int64]]:
    order = rng.permutation(count)
    for at in range(0, count, size):
        yield order[at : at + size]
