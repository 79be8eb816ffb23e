"""What training makes small: the distance from labels, from a teacher's scores and features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hwsim.compress.training.namespace import torch
from hwsim.errors import HwsimError
from hwsim.fixed import Array

if TYPE_CHECKING:
    from hwsim.compress.training.network import TrainableGraph

Labels = npt.NDArray[np.int64]
ReadReals = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """What a teacher says of a batch: scores (batch, classes), and tensors by the student's edge.

    A tensor has the shape of the edge, channels last.
    """

    scores: ReadReals
    features: Mapping[str, ReadReals] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LossShares:
    """How much each part of a loss counts.

    `distil` is the share of the teacher's scores, softened by `temperature` (Hinton et al. 2015,
    arXiv 1503.02531), the labels have the rest. `features` is the weight of the squared distance
    from a teacher's tensors, in units of their own variance (Romero et al. 2015, arXiv 1412.6550).
    """

    smoothing: float
    distil: float
    temperature: float
    features: float


def loss_of(
    scores: Array,
    labels: Labels | None,
    lesson: Lesson | None,
    reals: Mapping[str, Array],
    shares: LossShares,
    *,
    values: bool = False,
) -> Array:
    """The loss of one batch; `reals` are the student's edges by name. Without labels distils.

    With `values` the outputs are to come near the teacher's, number by number: their squared
    distance, in units of the variance of his. Otherwise they are scores of classes.
    """
    functional = torch().nn.functional
    scores = scores.reshape(len(scores), -1).float()
    total = 0.0
    left = 1.0 if lesson is None else 1.0 - shares.distil
    if labels is not None:
        wanted = torch().tensor(np.asarray(labels, np.int64))
        total = left * functional.cross_entropy(scores, wanted, label_smoothing=shares.smoothing)
    if lesson is None:
        return total
    taught = _tensor(lesson.scores).reshape(len(scores), -1)
    if taught.shape != scores.shape:
        count = scores.shape[1]
        what = f"give {count} numbers" if values else f"tell {count} classes apart"
        raise HwsimError(f"a teacher must {what}, as the model does, not {taught.shape[1]}")
    if values:
        distance = ((scores - taught) ** 2).mean() / taught.var(unbiased=False).clip(1e-12)
    else:
        heat = shares.temperature
        soft = functional.log_softmax(taught / heat, dim=1)
        own = functional.log_softmax(scores / heat, dim=1)
        distance = functional.kl_div(own, soft, reduction="batchmean", log_target=True) * heat**2
    total = total + (shares.distil if labels is not None else 1.0) * distance
    for edge, wanted in lesson.features.items():
        total = total + shares.features * _apart(edge, reals[edge], wanted)
    return total


def overflow_of(network: TrainableGraph, sums: Mapping[str, Array]) -> Array | float:
    """How far sums reach beyond their accumulators: squares, in units of half of a format's codes.

    Of each layer the mean over samples and places of the sum over channels, all layers together.
    """
    total = 0.0
    for name, found in sums.items():
        fmt = network.types[network.graph.node(name).output].format
        beyond = (found - found.detach().clip(fmt.min, fmt.max)) / 2.0 ** (fmt.width - 1)
        outside = (found > fmt.max) | (found < fmt.min)
        total = total + ((beyond * outside) ** 2).sum(-1).mean()
    return total


def _apart(edge: str, own: Array, wanted: ReadReals) -> Array:
    """The mean squared distance from a teacher's tensor, by its variance."""
    target = _tensor(wanted)
    if target.shape != own.shape:
        raise HwsimError(
            f"the teacher's tensor for edge {edge!r} must have shape {tuple(own.shape[1:])}, "
            f"channels last, not {tuple(np.shape(wanted)[1:])}"
        )
    return ((own - target) ** 2).mean() / target.var().clip(1e-12)


def _tensor(array: ReadReals) -> Array:
    return torch().tensor(np.asarray(array, np.float32))
