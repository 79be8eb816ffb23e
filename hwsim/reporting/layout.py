"""Where the cards and lines of a Graph's picture go: top down, one lane for each branch.

Nodes that only pass on what the one before them made (requantize, ReLU, flatten, ...) share its
card. Layers are longest paths; a line that skips layers gets a lane of its own beside the cards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hwsim.graph import Graph, Node
from hwsim.ops import Cast, Flatten, Relu, Requantize, Reshape, Table

FOLLOWERS = (Requantize, Cast, Relu, Table, Flatten, Reshape)


@dataclass(frozen=True, slots=True)
class Card:
    """One box: the nodes in it, or the port or the state that it stands for (then no nodes)."""

    key: str
    nodes: tuple[Node, ...] = ()
    port: str = ""

    @property
    def last(self) -> bool:
        """Whether nothing comes after it: an output, or what the next time step will read."""
        return self.key.startswith(("out:", "next:"))


@dataclass(frozen=True, slots=True)
class Line:
    """An edge of the graph from card to card, and the cells of the grid that it passes between."""

    edge: str
    source: str
    target: str
    through: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """Cells as (layer, lane) of every card by key, lines, and lanes that hold cards."""

    cards: tuple[Card, ...]
    cells: Mapping[str, tuple[int, int]]
    lines: tuple[Line, ...]

    @property
    def lanes(self) -> int:
        """Lanes, those of lines alone too."""
        cells = [*self.cells.values(), *(cell for line in self.lines for cell in line.through)]
        return 1 + max(lane for _, lane in cells)

    @property
    def layers(self) -> int:
        """Layers of cards."""
        return 1 + max(layer for layer, _ in self.cells.values())

    def holds_cards(self, lane: int) -> bool:
        """Whether a lane has a card or only lines."""
        return any(found == lane for _, found in self.cells.values())


def arrange(graph: Graph) -> Layout:
    """Give every card and line of the graph its place."""
    cards = group(graph)
    links = _links(graph, cards)
    layers = _layers(cards, links)
    return _lanes(cards, links, layers)


def group(graph: Graph) -> tuple[Card, ...]:
    """Cards in the order of computation: inputs, nodes with their followers, outputs.

    A state has two: `held:` beside the inputs and `next:` beside the outputs.
    """
    cards = [Card(f"in:{p.name}", port=p.name) for p in graph.inputs]
    cards += [Card(f"held:{s.name}", port=s.name) for s in graph.state]
    open_cards: dict[str, list[Node]] = {}  # by the edge that their last node makes
    made: list[list[Node]] = []
    shown = {p.tensor for p in graph.outputs} | {s.next for s in graph.state}
    for node in graph.nodes:
        before = open_cards.pop(node.inputs[0], None) if isinstance(node.op, FOLLOWERS) else None
        alone = len(graph.consumers(node.inputs[0])) == 1 and node.inputs[0] not in shown
        if before is not None and alone:
            before.append(node)
            open_cards[node.output] = before
            continue
        made.append([node])
        if len(node.outputs) == 1:  # behind several, followers have cards of their own
            open_cards[node.output] = made[-1]
    cards += [Card(f"node:{nodes[0].name}", nodes=tuple(nodes)) for nodes in made]
    cards += [Card(f"out:{p.name}", port=p.name) for p in graph.outputs]
    cards += [Card(f"next:{s.name}", port=s.name) for s in graph.state]
    return tuple(cards)


Link = tuple[str, str, str]  # edge, source card, target card


def _links(graph: Graph, cards: Sequence[Card]) -> list[Link]:
    maker = {p.tensor: f"in:{p.name}" for p in graph.inputs}
    maker |= {s.tensor: f"held:{s.name}" for s in graph.state}
    maker |= {edge: card.key for card in cards for node in card.nodes for edge in node.outputs}
    links = [
        (edge, maker[edge], card.key)
        for card in cards
        for node in card.nodes
        for edge in node.inputs
        if maker[edge] != card.key
    ]
    links += [(p.tensor, maker[p.tensor], f"out:{p.name}") for p in graph.outputs]
    links += [(s.next, maker[s.next], f"next:{s.name}") for s in graph.state]
    return list(dict.fromkeys(links))


def _layers(cards: Sequence[Card], links: Sequence[Link]) -> dict[str, int]:
    """The longest path from an input or a state; what is last all at the bottom."""
    layers = {card.key: 0 for card in cards}
    for card in cards:  # sources come before targets
        before = [layers[source] + 1 for _, source, target in links if target == card.key]
        layers[card.key] = max(before, default=0)
    bottom = max(layers.values())
    return {card.key: bottom if card.last else layers[card.key] for card in cards}


def _lanes(cards: Sequence[Card], links: Sequence[Link], layers: Mapping[str, int]) -> Layout:
    """Layer by layer: a card takes the lane of the card before it where that is free."""
    taken: set[tuple[int, int]] = set()
    cells: dict[str, tuple[int, int]] = {}
    passing: dict[Link, list[tuple[int, int]]] = {link: [] for link in links}

    def take(layer: int, wish: int) -> tuple[int, int]:
        lane = wish
        while (layer, lane) in taken:
            lane += 1
        taken.add((layer, lane))
        return layer, lane

    for layer in range(1 + max(layers.values())):
        for card in cards:
            if layers[card.key] != layer:
                continue
            before = [link for link in links if link[2] == card.key]
            near = [link for link in before if layers[link[1]] == layer - 1]
            wishes = [cells[source][1] for _, source, _ in near or before]
            cells[card.key] = take(layer, min(wishes, default=0))
        for link in links:
            _, source, target = link
            if layers[source] < layer < layers[target]:
                before_cell = passing[link][-1] if passing[link] else cells[source]
                passing[link].append(take(layer, before_cell[1]))
    lines = tuple(
        Line(edge, source, target, tuple(passing[edge, source, target]))
        for edge, source, target in links
    )
    return Layout(tuple(cards), cells, lines)
