"""Pruning in rounds: some goes, what is left is trained, more goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hwsim.compress.classes import warn_of_missing
from hwsim.compress.prune.masks import Mask, check_amount, weighted_layers
from hwsim.compress.prune.prune import Earlier, Pruned, Pruning, prune
from hwsim.compress.prune.schedules import amounts
from hwsim.compress.training.layers import Reals
from hwsim.compress.training.loop import Epoch, Teacher, Training, finetune
from hwsim.errors import HwsimError
from hwsim.evaluation.measure import (
    by_name,
    choose_output,
    class_count,
    expect_samples,
    read_labels,
)
from hwsim.graph import Graph

TAUGHT = 0.7
"""The share of the loss that a teacher has."""

Behind = Mapping[str, Mapping[str, Reals]]


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
        training = Training(epochs=epochs, distil=TAUGHT, **settings) if epochs else None
        return cls(schedule=schedule, count=count, training=training)


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What is told of a round: its number from 1 on, the share gone, and an epoch of training."""

    number: int
    amount: float
    epoch: Epoch | None = None


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
    say: Callable[[Round], None] | None = None,
) -> Pruned:
    """The graph after the last round and the training behind it.

    What is gone stays so, and what goes next is the least of what training made of the rest.
    `images` and `labels` are as `prune` and `finetune` take them, `teacher`, `reals` and `masks`
    as `finetune` does. The reals behind the codes go from round to round, but where channels went.
    Raises HwsimError as both do, and where a training would have nothing to learn from.
    """
    training = rounds.training
    if training is not None and (images is None or (labels is None and teacher is None)):
        raise HwsimError("training between rounds must have samples with labels or a teacher")
    check_amount(how.amount)
    if images is not None:
        images, labels = _checked(graph, images, labels)
    found, behind = Pruned(graph, {}, {}), reals
    for number, amount in enumerate(amounts(rounds.schedule, how.amount, rounds.count), 1):
        if say is not None:
            say(Round(number=number, amount=amount))
        earlier = Earlier(graph, found.masks)
        found = prune(found.graph, replace(how, amount=amount), images, labels, earlier=earlier)
        if training is None:
            continue
        if not found.masks:
            behind = None  # the shapes are others
        learned: dict[str, Mapping[str, Reals]] = {}
        trained = finetune(
            found.graph,
            images,
            labels,
            replace(training, seed=training.seed + number - 1),
            reals=behind,
            masks=joined(masks or {}, found),
            teacher=teacher,
            behind=learned.update,
            say=None if say is None else _told(say, number, amount),
        )
        found, behind = replace(found, graph=trained), learned
    return found


def _checked(graph: Graph, images: Any, labels: Any) -> tuple[Any, Any]:
    """Samples as `finetune` takes them and class numbers; what is odd about them is warned of."""
    arrays = by_name(graph, images)
    count = expect_samples(graph, arrays)
    if labels is not None:
        labels = read_labels(labels, count)
        classes = class_count(graph, choose_output(graph, None))
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


def _told(say: Callable[[Round], None], number: int, amount: float) -> Callable[[Epoch], None]:
    return lambda epoch: say(Round(number=number, amount=amount, epoch=epoch))
