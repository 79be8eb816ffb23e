"""Which training it is: what a checkpoint must have been written by, as a hash."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
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
ASKED = 128
"""Samples, spread over all, about which a teacher is asked."""
PIECE = 1024
"""Samples that are read at once."""


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
    judged_on: TrainingData | None = None,
    *,
    reals: Mapping[str, Mapping[str, Reals]],
    masks: Mapping[str, npt.NDArray[np.bool_]],
    grids: Mapping[str, WeightGrid],
) -> str:
    """SHA-256 of the model, of settings in words, and of all samples and labels.

    Those are what is learned from and what is judged on. Of a teacher it is what it says of a few
    samples, evenly over all: it may be any function, and a slow one.
    """
    found = hashlib.sha256(graph.hash().encode())
    for text in said:
        found.update(f"{len(text)} {text}".encode())
    arrays: dict[str, Any] = {}
    for node, parts in reals.items():
        arrays.update({f"{node}.{name}": part for name, part in parts.items()})
    arrays.update(masks)
    for node, grid in grids.items():
        ends = {"step": grid.step, "least": grid.least, "most": grid.most}
        arrays.update({f"{node}.{name}": part for name, part in ends.items()})
    if data.teacher is not None:
        count = length_of(data.images)
        places = np.linspace(0, count - 1, min(ASKED, count)).astype(np.int64)
        lesson = lesson_of(data.teacher(samples_at(data.images, places)))
        arrays.update({"scores": lesson.scores, **lesson.features})
    whole = [_said_of(arrays), *(_said_of_samples(one) for one in (data, judged_on) if one)]
    for said_of in chain.from_iterable(whole):
        found.update(said_of)
    return found.hexdigest()


def _said_of_samples(data: TrainingData) -> Iterator[bytes | memoryview]:
    count = length_of(data.images)
    yield f"{count} samples".encode()
    for at in range(0, count, PIECE):
        some = samples_at(data.images, np.arange(at, min(at + PIECE, count)))
        yield from _said_of(some if isinstance(some, Mapping) else {"images": some})
    yield from _said_of({"labels": np.zeros(0) if data.labels is None else data.labels})


def _said_of(arrays: Mapping[str, Any]) -> Iterator[bytes | memoryview]:
    for name, array in sorted(arrays.items()):  # in whatever order they were given
        whole = np.ascontiguousarray(array)
        yield f"{name} {whole.dtype} {whole.shape}".encode()
        yield whole.data


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
