"""Channels of a graph that can go, layer by layer, those that matter least first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from hwsim.compress.prune.masks import weighted_layers
from hwsim.compress.prune.prune import Pruning, channel_parts, group_scores
from hwsim.compress.prune.scores import least_first
from hwsim.compress.prune.shrink import ChannelGroup, ChannelMap
from hwsim.errors import HwsimError
from hwsim.graph import Graph

PARTS = 8
"""Of a layer's channels; all but one of them can go."""


@dataclass(frozen=True, slots=True, eq=False)
class ChannelRoom:
    """A graph, and the channels of each layer that can go, those that matter least first."""

    map: ChannelMap
    layers: dict[str, list[ChannelGroup]]

    @classmethod
    def of(cls, graph: Graph, how: Pruning, images: Any = None, labels: Any = None) -> ChannelRoom:
        """Channels that go together count for the first layer that makes some.

        Scores are those of `prune`. Raises HwsimError as it does, and where no channel can go.
        """
        found = ChannelMap.of(graph)
        score = group_scores(graph, how, found, images, labels)
        layers = channel_parts(found, "layer", weighted_layers(graph, how.layers))
        if not layers:
            told = "; ".join(f"{name!r} stays: {why}" for name, why in found.stays.items())
            raise HwsimError(f"there must be a layer whose channels can go, not none ({told})")
        return cls(found, {name: least_first(each, score) for name, each in layers.items()})

    def without(self, kept: dict[str, int]) -> Graph:
        """The graph with so many channels of some layers, and all of the others."""
        gone = self.gone(kept)
        return self.map.shrunk(gone) if gone else self.map.graph

    def gone(self, kept: dict[str, int]) -> list[ChannelGroup]:
        """The channels that go where so many stay."""
        gone: list[ChannelGroup] = []
        for name, count in kept.items():
            order = self.layers[name]
            gone += self.map.choose(order, len(order) - count)
        return gone


def without_same(graph: Graph, gone: Iterable[ChannelGroup]) -> Graph:
    """A graph of the same layers with other bits, without the same channels.

    Raises HwsimError where its channels go together in another way.
    """
    found = ChannelMap.of(graph)
    groups = {group.channels: group for group in found.groups}
    for group in gone:
        if group.channels not in groups:
            raise HwsimError(
                f"channels of {group.layer!r} must go together with the same ones whatever the bits"
            )
    return found.shrunk(groups[group.channels] for group in gone)


def parts_of(count: int) -> tuple[int, ...]:
    """1 to 8 eighths of so many channels."""
    return tuple(sorted({max(1, round(count * k / PARTS)) for k in range(1, PARTS + 1)}))


def products(graph: Graph) -> int:
    """Of an inference."""
    return sum(work.macs for work in graph.work().values())
