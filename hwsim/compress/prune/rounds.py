"""Pruning in rounds: some goes, what is left is trained, more goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hwsim import defaults, notices
from hwsim.compress.classes import warn_of_missing
from hwsim.compress.prune import scores
from hwsim.compress.prune.masks import Mask, WholeChannels, weighted_layers
from hwsim.compress.prune.prune import Earlier, Pruned, Pruning, prune
from hwsim.compress.prune.resume import Behind, RoundsCheckpoint, Stand
from hwsim.compress.prune.schedules import amounts
from hwsim.compress.training.fingerprint import Teacher, TrainingData, fingerprint
from hwsim.compress.training.layers import Reals
from hwsim.compress.training.loop import Epoch, Training, finetune
from hwsim.errors import HwsimError
from hwsim.evaluation.measure import (
    by_name,
    choose_output,
    class_count,
    expect_samples,
    read_labels,
)
from hwsim.graph import Graph


class LayerEmptied(UserWarning):
    """Pruning has left a layer without any weight but 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounds:
    """How an amount goes little by little.

    Of `count` rounds each takes what `schedule` says (`amounts`). After each one the network is
    trained as `training` says; None trains nothing.
    """

    schedule: str = "gradual"
    count: int = 1
    training: Training | None = None

    def __post_init__(self) -> None:
        amounts(self.schedule, 0.0, self.count)

    @classmethod
    def of(cls, schedule: str, count: int, epochs: int, **settings: Any) -> Rounds:
        """Rounds with so many epochs of training after each, whose settings are `Training`'s."""
        if epochs < 0:
            raise HwsimError(f"epochs a round must be at least 0, not {epochs}")
        training = Training(epochs=epochs, distil=defaults.TAUGHT, **settings) if epochs else None
        return cls(schedule=schedule, count=count, training=training)


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What is told of a round: its number from 1 on, the share gone, and an epoch of training.

    `count` is how many rounds there are.
    """

    number: int
    count: int
    amount: float
    epoch: Epoch | None = None

    def __str__(self) -> str:
        said = f"round {self.number} of {self.count}: {100 * self.amount:.1f} % gone"
        if self.epoch is not None:
            said += f", after epoch {self.epoch.number} a loss of {self.epoch.loss:.4f}"
        return said


def expect_trained(rounds: Rounds, checkpoint: Path | None) -> None:
    """Raise HwsimError for a checkpoint of rounds that train nothing: it would be of no use."""
    if checkpoint is not None and rounds.training is None:
        raise HwsimError(
            "a checkpoint (--checkpoint) must come with epochs a round (--epochs-a-round), whose "
            f"training it keeps, not alone as {checkpoint}"
        )


def expect_used(how: Pruning, rounds: Rounds, *, start: bool, teacher: bool) -> None:
    """Raise HwsimError where there is a float model to start from, or a teacher, of no use."""
    for what, given in (("a start (--from)", start), ("a teacher (--teacher)", teacher)):
        if given and rounds.training is None:
            raise HwsimError(
                f"{what} must come with epochs a round (--epochs-a-round), of the training that "
                "looks at it, not without"
            )
    if start and isinstance(how.pattern, WholeChannels):
        raise HwsimError(
            "a start (--from) must come with a pattern of single weights, not with channels: "
            "without them training begins at the codes"
        )


def prune_in_rounds(
    graph: Graph,
    how: Pruning,
    rounds: Rounds,
    images: Any = None,
    labels: Any = None,
    *,
    teacher: Teacher | None = None,
    reals: Behind | None = None,
    masks: Mapping[str, Mask] | None = None,
    checkpoint: Path | None = None,
    say: Callable[[Round], None] | None = None,
) -> Pruned:
    """The graph after the last round and the training behind it.

    What is gone stays so, and what goes next is the least of what training made of the rest.
    `images` and `labels` are as `prune` and `finetune` take them, `teacher`, `reals` and `masks`
    as `finetune` does. The reals behind the codes go from round to round, but where channels went.
    `checkpoint` is a file that holds how far it is: the same call goes on behind the last epoch of
    the last round, and ends as if it had never stopped.
    Raises HwsimError as both do, and where a training would have nothing to learn from, or a
    checkpoint nothing to keep.
    """
    expect_trained(rounds, checkpoint)
    training = rounds.training
    if training is not None and (images is None or (labels is None and teacher is None)):
        raise HwsimError("training between rounds must have samples with labels or a teacher")
    if images is not None:
        wanted = labels if how.by in scores.BY_LABELS or training is not None else None
        images, labels = _checked(graph, images, wanted, how.output)
    kept, stand = None, Stand(number=0, found=Pruned(graph, {}, {}), behind=reals)
    if checkpoint is not None:
        of = fingerprint(
            graph,
            map(repr, (how, rounds)),
            TrainingData(images, labels, teacher),
            reals=reals or {},
            masks=masks or {},
            grids={},
        )
        kept = RoundsCheckpoint(checkpoint, of)
        stand = kept.read() or stand
    for number, part in enumerate(_parts(how, rounds), 1):
        if number <= stand.number:
            continue
        told = Round(number=number, count=rounds.count, amount=part.amount)
        if say is not None:
            say(told)
        found, behind = stand.found, stand.behind
        earlier = Earlier(graph, found.masks)
        found = prune(found.graph, part, images, labels, earlier=earlier)
        if training is not None:
            learned: dict[str, Mapping[str, Reals]] = {}
            trained = finetune(
                found.graph,
                images,
                labels,
                replace(training, seed=training.seed + number - 1),
                reals=behind if found.masks else None,  # without channels shapes are others
                output=how.output,
                masks=joined(masks or {}, found),
                teacher=teacher,
                checkpoint=None if kept is None else kept.of_round(number),
                behind=learned.update,
                say=None if say is None else _of_epochs(say, told),
            )
            found, behind = replace(found, graph=trained), learned
        stand = Stand(number=number, found=found, behind=behind)
        if kept is not None:
            kept.write(stand)
    warn_of_emptied(graph, stand.found)
    return stand.found


def warn_of_emptied(before: Graph, found: Pruned) -> None:
    """Warn of layers that had other weights than 0, and have none left."""
    old = weighted_layers(before)
    gone = [
        repr(name)
        for name, op in weighted_layers(found.graph).items()
        if old[name].weights.any() and not op.weights.any()
    ]
    if gone:
        notices.warn(
            f"no weight but 0 is left in {', '.join(gone)}, so that nothing goes through; an "
            "amount of each layer (scope layer), or a smaller one, leaves some",
            LayerEmptied,
        )


def _parts(how: Pruning, rounds: Rounds) -> Iterator[Pruning]:
    """What is gone after each round: of each layer that has an amount of its own as much of it."""

    def shares(amount: float) -> list[float]:
        return list(amounts(rounds.schedule, amount, rounds.count))

    each = None if how.amounts is None else {n: shares(one) for n, one in how.amounts.items()}
    for k, share in enumerate(shares(how.amount)):
        own = None if each is None else {name: gone[k] for name, gone in each.items()}
        yield replace(how, amount=share, amounts=own)


def _checked(graph: Graph, images: Any, labels: Any, output: str | None) -> tuple[Any, Any]:
    """Samples as `finetune` takes them and class numbers; what is odd about them is warned of."""
    arrays = by_name(graph, images)
    count = expect_samples(graph, arrays)
    if labels is not None:
        labels = read_labels(labels, count)
        classes = class_count(graph, choose_output(graph, output))
        warn_of_missing(labels, classes, None, "the samples to prune by")
    return (arrays if len(arrays) > 1 else next(iter(arrays.values()))), labels


def joined(before: Mapping[str, Mask], found: Pruned) -> dict[str, Mask]:
    """Where weights stay by masks of before and those found; of other shapes, where they are."""
    kept: dict[str, Mask] = {}
    for name, op in weighted_layers(found.graph).items():
        parts = [masks[name] for masks in (before, found.masks) if name in masks]
        if parts:
            fits = all(part.shape == op.weights.shape for part in parts)
            kept[name] = np.logical_and.reduce(parts) if fits else op.weights != 0
    return kept


def _of_epochs(say: Callable[[Round], None], told: Round) -> Callable[[Epoch], None]:
    return lambda epoch: say(replace(told, epoch=epoch))
