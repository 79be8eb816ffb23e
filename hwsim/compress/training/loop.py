"""Fine-tuning: batches, a loss against labels and a teacher, an optimizer, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.compress.training.layers import Reals
from hwsim.compress.training.namespace import torch
from hwsim.compress.training.network import TrainableGraph
from hwsim.emulator.run import planned
from hwsim.errors import HwsimError
from hwsim.fixed import Array
from hwsim.graph import Graph

Images = npt.NDArray[Any]
Labels = npt.NDArray[np.int64]
Augment = Callable[[Images, np.random.Generator], Images]
Teacher = Callable[[Images], npt.NDArray[np.float32]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """How a graph is trained.

    `rate` is Adam's largest step in the reals of the weights; it rises over the first tenth of the
    steps and falls to 0 by a cosine. `distil` is the share of the loss that a teacher gives, with
    its logits softened by `temperature` (Hinton et al. 2015, arXiv 1503.02531). With `check` each
    batch's codes are compared with the emulator's, and a difference is an error.
    """

    epochs: int = 5
    batch: int = 128
    rate: float = 1e-3
    decay: float = 0.0
    smoothing: float = 0.0
    distil: float = 0.5
    temperature: float = 4.0
    seed: int = 0
    check: bool = False

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch", 1)):
            value = getattr(self, name)
            if value < least:
                raise HwsimError(f"{name} must be at least {least}, not {value}")


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one epoch did: its number from 1 on, and the mean loss of its batches."""

    number: int
    loss: float


def finetune(
    graph: Graph,
    images: Images,
    labels: Labels,
    how: Training | None = None,
    *,
    reals: Mapping[str, Mapping[str, Reals]] | None = None,
    learn_steps: bool = False,
    teacher: Teacher | None = None,
    augment: Augment | None = None,
    masks: Mapping[str, npt.NDArray[np.bool_]] | None = None,
    say: Callable[[Epoch], None] | None = None,
) -> Graph:
    """The Graph with weights trained on `images` (batch, *shape) and class numbers `labels`.

    `teacher` gives logits for a batch of images. `augment` changes a batch before it is used.
    `masks` hold, by node, where weights may differ from 0. Raises HwsimError for a graph that
    cannot be trained, and with `check` where a code of training is none of the emulator's.
    """
    how = how or Training()
    network = TrainableGraph(graph, reals, learn_steps=learn_steps)
    for name, mask in (masks or {}).items():
        network.keep(name, mask)
    torch().manual_seed(how.seed)
    rng = np.random.default_rng(how.seed)
    count = -(-len(images) // how.batch)
    moved = network.parameters()
    optimizer = torch().optim.AdamW(moved.values(), lr=how.rate, weight_decay=how.decay)
    schedule = torch().optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=how.rate, total_steps=how.epochs * count, pct_start=0.1
    )
    for number in range(1, how.epochs + 1):
        losses = []
        for part in _parts(len(images), how.batch, rng):
            batch = images[part] if augment is None else augment(images[part], rng)
            codes = network.encode(batch)
            if how.check:
                expect_equal(network, codes)
            logits = network(codes)
            loss = _loss(logits, labels[part], None if teacher is None else teacher(batch), how)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(float(loss.detach()))
        if say is not None:
            say(Epoch(number, float(np.mean(losses))))
    return network.frozen()


def expect_equal(network: TrainableGraph, codes: Mapping[str, Array]) -> None:
    """Raise HwsimError, naming the first edge, where training's codes are not the emulator's."""
    frozen = network.frozen()
    given = {edge: np.asarray(a).astype(np.int64) for edge, a in codes.items()}
    wanted = planned(frozen).run(given, keep=True)
    with torch().no_grad():
        found = network.run(codes)
    for edge, array in wanted.items():
        differ = int((np.asarray(found[edge]) != np.asarray(array)).sum())
        if differ:
            raise HwsimError(
                f"edge {edge!r} of training must hold the emulator's codes, but {differ:,} of "
                f"{array.size:,} differ"
            )


def _loss(logits: Array, labels: Labels, taught: Any, how: Training) -> Array:
    functional = torch().nn.functional
    logits = logits.reshape(len(logits), -1)
    wanted = torch().from_numpy(np.asarray(labels, np.int64))
    plain = functional.cross_entropy(logits, wanted, label_smoothing=how.smoothing)
    if taught is None:
        return plain
    heat = how.temperature
    soft = functional.log_softmax(torch().from_numpy(np.asarray(taught)) / heat, dim=1)
    own = functional.log_softmax(logits / heat, dim=1)
    distance = functional.kl_div(own, soft, reduction="batchmean", log_target=True) * heat**2
    return how.distil * distance + (1 - how.distil) * plain


def _parts(count: int, size: int, rng: np.random.Generator) -> Iterator[npt.NDArray[np.int64]]:
    order = rng.permutation(count)
    for at in range(0, count, size):
        yield order[at : at + size]
