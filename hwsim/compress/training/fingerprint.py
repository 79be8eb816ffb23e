"""Which training it is: what a checkpoint must have been written by, as a hash."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.compress.training.grids import WeightGrid
from hwsim.compress.training.layers import Reals
from hwsim.compress.training.loss import Labels, Lesson
from hwsim.graph import Graph

Batches = Any
"""A batch (batch, *shape), or such by input name; indexed by an array of places."""

Teacher = Callable[[Batches], Lesson | npt.NDArray[Any]]
LOOKED_AT = 128
"""Samples, spread over all, whose content counts."""


@dataclass(frozen=True, slots=True, eq=False)
class TrainingData:
    """What is learned from: samples, class numbers, and a teacher."""

    images: Batches
    labels: Labels | None
    teacher: Teacher | None = None


def fingerprint(
    graph: Graph,
    said: Iterable[str],
    data: TrainingData,
    *,
    reals: Mapping[str, Mapping[str, Reals]],
    masks: Mapping[str, npt.NDArray[np.bool_]],
    grids: Mapping[str, WeightGrid],
) -> str:
    """SHA-256 of the model, of settings in words, all labels, samples and what is said of them.

    Samples are as many as can be looked at in no time, evenly over all.
    """
    found, count = hashlib.sha256(graph.hash().encode()), length_of(data.images)
    for text in (*said, str(count)):
        found.update(f"{len(text)} {text}".encode())
    some = samples_at(
        data.images, np.linspace(0, count - 1, min(LOOKED_AT, count)).astype(np.int64)
    )
    arrays: dict[str, Any] = dict(some) if isinstance(some, Mapping) else {"images": some}
    arrays["labels"] = np.zeros(0) if data.labels is None else data.labels
    for node, parts in reals.items():
        arrays.update({f"{node}.{name}": part for name, part in parts.items()})
    arrays.update(masks)
    for node, grid in grids.items():
        ends = {"step": grid.step, "least": grid.least, "most": grid.most}
        arrays.update({f"{node}.{name}": part for name, part in ends.items()})
    if data.teacher is not None:
        lesson = lesson_of(data.teacher(some))
        arrays.update({"scores": lesson.scores, **lesson.features})
    for name, array in sorted(arrays.items()):  # in whatever order they were given
        whole = np.ascontiguousarray(array)
        found.update(f"{name} {whole.dtype} {whole.shape}".encode())
        found.update(whole.tobytes())
    return found.hexdigest()


def length_of(images: Batches) -> int:
    """How many samples there are."""
    return len(next(iter(images.values())) if isinstance(images, Mapping) else images)


def samples_at(images: Batches, part: npt.NDArray[np.int64]) -> Batches:
    """Those at some places, of each input."""
    if isinstance(images, Mapping):
        return {name: array[part] for name, array in images.items()}
    return images[part]


def lesson_of(said: Lesson | npt.NDArray[Any]) -> Lesson:
    """What a teacher said, where it may be scores alone."""
    return said if isinstance(said, Lesson) else Lesson(np.asarray(said))
