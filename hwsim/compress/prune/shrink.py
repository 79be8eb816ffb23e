"""Channels that really go: shapes, weights and constants without them, in the whole Graph."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from hwsim.compress.prune.labels import STAYS, Channels, Labels
from hwsim.compress.prune.rebuild import rebuilt
from hwsim.compress.prune.rules import RULES, UNKNOWN, Kept, NodeView
from hwsim.errors import HwsimError
from hwsim.graph import Graph, Node
from hwsim.ops import Weighted


@dataclass(frozen=True, slots=True)
class ChannelGroup:
    """Channels that go together: the output channels of each layer that makes some of them."""

    label: int
    channels: tuple[tuple[str, tuple[int, ...]], ...]

    @property
    def layer(self) -> str:
        """The first layer that makes some."""
        return self.channels[0][0]


@dataclass(frozen=True, slots=True)
class ChannelMap:
    """Which channels of a graph can go, and with which others.

    `labels` has a number for each place of each edge, the same where channels go together and 0
    where they stay; `groups` what can go, in the order of the layers that make them; `stays` why
    layers' outputs cannot, by node.
    """

    graph: Graph
    labels: Mapping[str, Labels]
    groups: tuple[ChannelGroup, ...]
    stays: Mapping[str, str]

    @classmethod
    def of(cls, graph: Graph) -> ChannelMap:
        """Follow the channels of every layer to whatever reads them.

        Channels of graph inputs and outputs and of state stay, and those of operators without a
        rule (`hwsim.compress.prune.rules`).
        """
        channels, labels, made = Channels(), dict[str, Labels](), dict[str, Labels]()
        sources = [port.tensor for port in graph.inputs] + [one.tensor for one in graph.state]
        for edge in sources:
            labels[edge] = np.zeros(graph.types()[edge].shape, np.int64)
        for node in graph.nodes:
            rule = RULES.get(type(node.op), UNKNOWN)
            found = rule.follow(channels, _place(graph, node), [labels[e] for e in node.inputs])
            labels |= dict(zip(node.outputs, found, strict=True))
            if isinstance(node.op, Weighted):
                made[node.name] = found[0].reshape(-1, node.op.outputs)[0]
        for port in graph.outputs:
            channels.stay(labels[port.tensor], f"the graph's output {port.name!r} has them")
        for state in graph.state:
            channels.stay(labels[state.next], f"state {state.name!r} has them")
        for edge, each in labels.items():
            if np.unique(channels.roots(each)).size == 1:
                channels.stay(each, f"edge {edge!r} would lose all that it has")
        roots = {edge: channels.roots(each) for edge, each in labels.items()}
        stays = {
            name: channels.why(int(row[0]))
            for name, row in made.items()
            if not channels.roots(row).any()
        }
        by_layer = {name: channels.roots(row) for name, row in made.items()}
        return cls(graph, roots, _groups(by_layer), stays)

    def shrunk(self, gone: Iterable[ChannelGroup]) -> Graph:
        """The graph without those groups.

        It has the codes of the whole graph in which every layer that reads one of their channels
        finds real zero there. Raises HwsimError where an edge would lose all of an axis.
        """
        labels = {group.label for group in gone}
        kept = {edge: self._kept(edge, labels) for edge in self.labels}
        ops = {}
        for node in self.graph.nodes:
            rule = RULES.get(type(node.op), UNKNOWN)
            read, made = ([kept[e] for e in edges] for edges in (node.inputs, node.outputs))
            if any(self._lost(edge, kept) for edge in (*node.inputs, *node.outputs)):
                ops[node.name] = rule.cut(_place(self.graph, node), read, made)
        found = rebuilt(self.graph, ops)
        self._expect_the_same_meaning(found, kept)
        return found

    def _lost(self, edge: str, kept: Mapping[str, Kept]) -> bool:
        return tuple(map(len, kept[edge])) != self.labels[edge].shape

    def _kept(self, edge: str, gone: Collection[int]) -> Kept:
        stay = ~np.isin(self.labels[edge], list(gone))
        if stay.all():
            return tuple(map(np.arange, stay.shape))
        others = [tuple(k for k in range(stay.ndim) if k != axis) for axis in range(stay.ndim)]
        found = tuple(np.flatnonzero(stay.any(axis=axes)) for axes in others)
        if not stay.any():
            raise HwsimError(f"edge {edge!r} must keep at least one channel, not lose all of them")
        assert stay[np.ix_(*found)].all()  # `Channels.axis` lets nothing else go
        return found

    def _expect_the_same_meaning(self, found: Graph, kept: Mapping[str, Kept]) -> None:
        for edge, before in self.graph.types().items():
            now = found.types()[edge]
            scales = before.scales()
            if len(scales) > 1:
                scales = tuple(scales[k] for k in kept[edge][-1])
            same = now.format.frac_bits == before.format.frac_bits and now.zero_point == (
                before.zero_point
            )
            if not same or (now.scales() != scales and set(now.scales()) != set(scales)):
                raise HwsimError(
                    f"edge {edge!r} of a graph without some channels must mean what it did: "
                    f"{before.format} with {before.quant}, not {now.format} with {now.quant}"
                )

    def choose(self, order: Iterable[ChannelGroup], count: int) -> list[ChannelGroup]:
        """The first `count` groups that can go without an edge losing all of an axis."""
        left: dict[str, int] = {}
        uses: dict[int, list[tuple[str, int]]] = {}
        for edge, labels in self.labels.items():
            left[edge] = labels.size
            for label, places in zip(*np.unique(labels, return_counts=True), strict=True):
                uses.setdefault(int(label), []).append((edge, int(places)))
        chosen: list[ChannelGroup] = []
        for group in order:
            if len(chosen) == count:
                break
            if all(left[edge] > places for edge, places in uses[group.label]):
                chosen.append(group)
                for edge, places in uses[group.label]:
                    left[edge] -= places
        return chosen


def _place(graph: Graph, node: Node) -> NodeView:
    return NodeView(node.name, node.op, graph.input_types(node), graph.output_types(node))


def _groups(by_layer: Mapping[str, Labels]) -> tuple[ChannelGroup, ...]:
    members: dict[int, dict[str, list[int]]] = {}
    for name, row in by_layer.items():
        for channel, label in enumerate(row.tolist()):
            if label != STAYS:
                members.setdefault(label, {}).setdefault(name, []).append(channel)
    return tuple(
        ChannelGroup(label, tuple((name, tuple(found)) for name, found in layers.items()))
        for label, layers in members.items()
    )
