"""One step of pruning, whatever by: scores, what goes, the graph without it, and figures."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.compress.choice.report import BitChoice
from hwsim.compress.prune import scores
from hwsim.compress.prune.masks import (
    SCOPES,
    Mask,
    Pattern,
    Score,
    Unstructured,
    WholeChannels,
    check_amount,
    count_of,
    magnitudes,
    masked,
    masks_of,
    weighted_layers,
)
from hwsim.compress.prune.shrink import ChannelGroup, ChannelMap
from hwsim.errors import HwsimError
from hwsim.graph import Graph
from hwsim.ops import Weighted


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruning:
    """What goes: an `amount` of weights or channels, `by` which score, in which pattern.

    `scope` says whether of each layer or of all together, `layers` of which (None: all). With
    `amounts` each layer that is named has one of its own, and nothing goes of the others; of N:M it
    is the share of each M that goes.
    """

    amount: float = 0.0
    amounts: Mapping[str, float] | None = None
    by: str = "magnitude"
    pattern: Pattern = field(default_factory=Unstructured)
    scope: str = "layer"
    layers: tuple[str, ...] | None = None
    seed: int = 0
    output: str | None = None

    def __post_init__(self) -> None:
        for amount in (self.amount, *(self.amounts or {}).values()):
            check_amount(amount)
        for what, value, known in (
            ("scores", self.by, scores.BY),
            ("a scope", self.scope, SCOPES),
        ):
            if value not in known:
                raise HwsimError(f"{what} must be one of {', '.join(known)}, not {value!r}")


@dataclass(frozen=True, slots=True)
class Pruned:
    """The graph afterwards; where its weights stay (none after channels went); what stayed whole.

    `whole` says why, by layer, and `choice` which amounts were chosen where a target was given.
    """

    graph: Graph
    masks: Mapping[str, Mask]
    whole: Mapping[str, str]
    choice: BitChoice | None = None


@dataclass(frozen=True, slots=True)
class Earlier:
    """What rounds before took: the graph ahead of all of them, and where weights stayed."""

    graph: Graph
    masks: Mapping[str, Mask]


def prune(
    graph: Graph,
    how: Pruning,
    images: scores.Samples | None = None,
    labels: npt.NDArray[Any] | None = None,
    *,
    earlier: Earlier | None = None,
) -> Pruned:
    """The graph with weights of 0, or without channels, that scored least.

    `images` are as `emulate` takes them, for scores by data; `labels` class numbers, for those by
    gradients. What `earlier` rounds took is part of the amount. Raises HwsimError where data are
    missing, for a layer that there is not, and for a pattern that divides none.
    """
    layers = weighted_layers(graph, how.layers)
    check_scored(how, images, labels)
    if isinstance(how.pattern, WholeChannels):
        return _without_channels(graph, how, layers, images, labels, earlier)
    found = weight_scores(graph, how, layers, images, labels)
    for name, mask in ({} if earlier is None else earlier.masks).items():
        found[name] = np.where(mask, found[name], -np.inf)  # what is gone goes again
    amount = how.amount if how.amounts is None else how.amounts
    masks = masks_of(found, how.pattern, amount=amount, scope=how.scope)
    return Pruned(masked(graph, masks), masks, undivided(how, layers, masks))


def check_scored(how: Pruning, images: Any, labels: Any) -> None:
    """Raise HwsimError where the data are missing that weights are to be scored by."""
    if how.by != "magnitude" and images is None:
        raise HwsimError(f"scores by {how.by} must come with data, not without")
    if how.by in scores.BY_LABELS and labels is None:
        raise HwsimError(f"scores by {how.by} must come with labels, not without")


def undivided(how: Pruning, layers: Iterable[str], masks: Container[str]) -> dict[str, str]:
    """Layers that stay whole and why, those without a mask; HwsimError where they are named."""
    whole = {name: f"{how.pattern} does not divide it" for name in layers if name not in masks}
    if how.layers is not None and whole:
        raise HwsimError(
            f"a pattern must divide the weights of the layers that are named, but {how.pattern} "
            f"does not divide {', '.join(map(repr, whole))}"
        )
    return whole


def _without_channels(
    graph: Graph,
    how: Pruning,
    layers: Mapping[str, Weighted],
    images: Any,
    labels: Any,
    earlier: Earlier | None,
) -> Pruned:
    found = ChannelMap.of(graph)
    score = group_scores(graph, how, found, images, labels)
    parts = channel_parts(found, how.scope, layers)
    before = (
        parts if earlier is None else channel_parts(ChannelMap.of(earlier.graph), how.scope, layers)
    )
    gone: list[ChannelGroup] = []
    for name, groups in parts.items():
        amount = how.amount if how.amounts is None else how.amounts.get(name, 0.0)
        stay = len(before[name]) - count_of(amount, len(before[name]))
        gone += found.choose(scores.least_first(groups, score), max(len(groups) - stay, 0))
    whole = {name: why for name, why in found.stays.items() if name in layers}
    return Pruned(found.shrunk(gone), {}, whole)


def channel_parts(
    found: ChannelMap, scope: str, layers: Container[str]
) -> dict[str, list[ChannelGroup]]:
    """Groups of which an amount goes: of some layers, by layer or all together."""
    parts: dict[str, list[ChannelGroup]] = {}
    for group in found.groups:
        if any(name in layers for name, _ in group.channels):
            parts.setdefault("" if scope == "global" else group.layer, []).append(group)
    return parts


def weight_scores(
    graph: Graph,
    how: Pruning,
    layers: Mapping[str, Weighted],
    images: Any,
    labels: Any,
) -> dict[str, Score]:
    """What each weight of some layers is worth, as `prune` scores them."""
    if how.by == "magnitude":
        return magnitudes(layers)
    if how.by in ("activation", "zeros"):
        seen = scores.activity(graph, scores.in_batches(images))
        return scores.by_activity(graph, layers, seen, how.by)
    found = scores.by_gradients(graph, images, labels, how.by, how.seed, how.output)
    return {name: found[name] for name in layers}


def group_scores(
    graph: Graph,
    how: Pruning,
    groups: ChannelMap,
    images: Any,
    labels: Any,
) -> dict[int, float]:
    """What each group of channels is worth, by its label, as `prune` scores them."""
    if how.by in ("activation", "zeros"):
        seen = scores.activity(graph, scores.in_batches(images))
        return scores.of_channels_by_activity(groups, seen, how.by)
    found = weight_scores(graph, how, weighted_layers(graph), images, labels)
    return scores.of_channels(groups, found, how.by)


def facts_of(before: Graph, after: Graph, whole: Mapping[str, str]) -> dict[str, Any]:
    """Figures: weights, how many are 0, output channels and products of each layer, and of all."""
    layers: dict[str, dict[str, Any]] = {}
    new, work = weighted_layers(after), (before.work(), after.work())
    for name, op in weighted_layers(before).items():
        layers[name] = {
            "weights": [int(op.weights.size), int(new[name].weights.size)],
            "zeros": [int((o.weights == 0).sum()) for o in (op, new[name])],
            "outputs": [op.outputs, new[name].outputs],
            "macs": [w[name].macs for w in work],
            "whole": whole.get(name),
        }
    keys = ("weights", "zeros", "macs")
    totals = {key: [sum(one[key][k] for one in layers.values()) for k in (0, 1)] for key in keys}
    return {"layers": layers, "totals": totals}
