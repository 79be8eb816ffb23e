"""What weights and channels are worth: magnitudes, activity on data, gradients in training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.compress.prune.masks import Score, magnitudes, weighted_layers
from hwsim.compress.prune.shrink import ChannelGroup, ChannelMap
from hwsim.emulator.run import planned
from hwsim.errors import HwsimError
from hwsim.evaluation.measure import choose_output
from hwsim.graph import Graph
from hwsim.ops import Conv, TensorType, Weighted

Samples = npt.NDArray[Any] | Mapping[str, npt.NDArray[Any]]
BY = ("magnitude", "activation", "zeros", "taylor", "movement")
BY_LABELS = ("taylor", "movement")
BATCH = 128
MOVEMENT_RATE = 1e-3


@dataclass(slots=True)
class Activity:
    """What the channels of an edge did on data: sums of |real| and real**2, how many were not 0."""

    kind: TensorType
    count: int = 0
    magnitude: Score = field(default_factory=lambda: np.zeros(1))
    square: Score = field(default_factory=lambda: np.zeros(1))
    not_zero: Score = field(default_factory=lambda: np.zeros(1))

    def add(self, codes: npt.NDArray[Any]) -> None:
        """One more batch (batch, *shape)."""
        rows = np.asarray(codes).reshape(-1, self.kind.channels) - self.kind.zero_point
        reals = np.abs(rows * np.asarray(self.kind.scales()))
        self.count += len(rows)
        self.magnitude = self.magnitude + reals.sum(axis=0)
        self.square = self.square + (reals**2).sum(axis=0)
        self.not_zero = self.not_zero + (rows != 0).sum(axis=0)

    @property
    def root_mean_square(self) -> Score:
        """Of each channel's reals."""
        root: Score = np.sqrt(self.square / self.count)
        return root

    def level(self, by: str) -> Score:
        """The mean magnitude of each channel, or the share of its codes that are not real zero."""
        found: Score = (self.not_zero if by == "zeros" else self.magnitude) / self.count
        return found


def activity(graph: Graph, batches: Iterable[Any]) -> dict[str, Activity]:
    """The activity of every edge that a layer with weights reads, on batches as `emulate` takes."""
    emulator = planned(graph)
    edges = {n.inputs[0] for n in graph.nodes if isinstance(n.op, Weighted)}
    found = {edge: Activity(graph.types()[edge]) for edge in sorted(edges)}
    batch = None
    for batch in batches:
        codes = emulator.run(emulator.encode(batch), keep=True)
        for edge, seen in found.items():
            seen.add(codes[edge])
    if batch is None:
        raise HwsimError("data to prune by must be one batch or more, not none")
    return found


def by_activity(
    graph: Graph, layers: Mapping[str, Weighted], seen: Mapping[str, Activity], by: str
) -> dict[str, Score]:
    """Magnitudes of weights times the root mean square of what they meet, or its share of not 0.

    Source of the first: Sun et al. 2023, arXiv 2306.11695 (Wanda).
    """
    found = {}
    for name, score in magnitudes(layers).items():
        one, op = seen[graph.node(name).inputs[0]], layers[name]
        level = one.level(by) if by == "zeros" else one.root_mean_square
        if isinstance(op, Conv) and op.groups > 1:
            level = level.reshape(op.groups, -1).repeat(op.outputs // op.groups, axis=0).T
        else:
            level = level[:, None]
        found[name] = score * level
    return found


def by_gradients(
    graph: Graph,
    images: Samples,
    labels: npt.NDArray[Any],
    by: str,
    seed: int = 0,
    output: str | None = None,
) -> dict[str, Score]:
    """Scores of all weights by the gradients of the cross entropy, batch by batch.

    `taylor`: the mean of |gradient x weight|, how much the loss changes to first order without it
    (Molchanov et al. 2017, arXiv 1611.06440); the weights stand still. `movement`: the sum of
    -gradient x weight while an epoch trains them, above 0 where a weight moves away from 0 (Sanh et
    al. 2020, arXiv 2005.07683). `output` names the one that classifies, of several; its scores are
    taken ahead of a softmax or an ArgMax.
    """
    from hwsim.compress.training import TrainableGraph
    from hwsim.compress.training.gradients import expect_gradients
    from hwsim.compress.training.heads import expect_classes, scores_port
    from hwsim.compress.training.namespace import torch
    from hwsim.compress.training.paths import with_paths

    graph = with_paths(graph)
    network, functional = TrainableGraph(graph), torch().nn.functional
    port = scores_port(graph, choose_output(graph, output))
    expect_classes(labels, network.types[port.tensor].size, port.name)
    expect_gradients(network, [port.tensor])
    moved = network.parameters()
    weights = {name: moved[f"{name}.weights"] for name in weighted_layers(graph)}
    found = {name: np.zeros(tuple(w.shape)) for name, w in weights.items()}
    optimizer = torch().optim.Adam(moved.values(), lr=MOVEMENT_RATE)
    order = np.random.default_rng(seed).permutation(_count(images, labels))
    for at in range(0, len(order), BATCH):
        part = order[at : at + BATCH]
        edges = network.run(network.encode(some_of(images, part)))
        logits = network.decoded(port, edges)
        wanted = torch().from_numpy(np.asarray(labels[part], np.int64))
        loss = functional.cross_entropy(logits.reshape(len(part), -1), wanted)
        optimizer.zero_grad()
        loss.backward()
        for name, w in weights.items():
            if w.grad is None:
                continue  # the output does not depend on it
            product = (w.grad * w).detach().double().numpy()
            found[name] += np.abs(product) if by == "taylor" else -product
        if by == "movement":
            optimizer.step()
    return found


def _count(images: Samples, labels: npt.NDArray[Any]) -> int:
    """How many samples there are, each with a class number."""
    count = count_of_samples(images)
    if np.asarray(labels).dtype.kind not in "iu" or len(labels) != count:
        raise HwsimError(
            f"labels must be {count} class numbers, one a sample, not {len(labels)} of "
            f"{np.asarray(labels).dtype}"
        )
    return count


def count_of_samples(images: Samples) -> int:
    """The length of the batch, or of the shortest of several inputs'."""
    arrays = images.values() if isinstance(images, Mapping) else [images]
    return min(len(array) for array in arrays)


def some_of(images: Samples, part: Any) -> Any:
    """A slice of a batch, or of each input's; or the samples at some places."""
    if isinstance(images, Mapping):
        return {name: np.asarray(array[part]) for name, array in images.items()}
    return np.asarray(images[part])


def in_batches(images: Samples, size: int = BATCH) -> Iterator[Any]:
    """Parts of a batch as `emulate` takes them."""
    for at in range(0, count_of_samples(images), size):
        yield some_of(images, slice(at, at + size))


def of_channels(groups: ChannelMap, scores: Mapping[str, Score], by: str) -> dict[int, float]:
    """The score of each group by its layers' weights: the mean over the layers that make it.

    Of each output channel the root of the sum of squares (magnitude), or the sum (gradients); as a
    multiple of its layer's mean, so that layers can be compared.
    """
    by_layer = {}
    for name, score in scores.items():
        matrix = score.reshape(-1, score.shape[-1])
        plain = by in ("taylor", "movement")
        column = matrix.sum(axis=0) if plain else np.sqrt((matrix**2).sum(axis=0))
        by_layer[name] = column / (np.abs(column).mean() or 1.0)
    return {
        group.label: float(np.mean([by_layer[n][list(at)].mean() for n, at in group.channels]))
        for group in groups.groups
    }


def of_channels_by_activity(
    groups: ChannelMap, seen: Mapping[str, Activity], by: str
) -> dict[int, float]:
    """The score of each group by what layers read of it, each as a multiple of its edge's mean.

    By `activation` the mean magnitude, by `zeros` the share of codes that are not zero (Hu et al.
    2016, arXiv 1607.03250: average percentage of zeros).
    """
    found: dict[int, list[float]] = {group.label: [] for group in groups.groups}
    for edge, one in seen.items():
        level = one.level(by)
        level = level / (level.mean() or 1.0)
        labels = groups.labels[edge]
        for label, value in zip(labels.reshape(-1, labels.shape[-1])[0], level, strict=True):
            if int(label) in found:
                found[int(label)].append(float(value))
    return {label: float(np.mean(values)) if values else 0.0 for label, values in found.items()}


def least_first(groups: Iterable[ChannelGroup], score: Mapping[int, float]) -> list[ChannelGroup]:
    """The groups of the least scores first; equals in the order of their layers and channels."""
    return sorted(groups, key=lambda group: score[group.label])
