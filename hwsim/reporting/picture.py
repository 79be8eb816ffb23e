"""The picture of a Graph as inline SVG, coloured by the page's style sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from hwsim.graph import Graph, Node
from hwsim.ops import TensorType
from hwsim.reporting.facts import shape_text, summary
from hwsim.reporting.layout import Card, Layout, Line, arrange
from hwsim.reporting.markup import esc

CARD, THREAD, BETWEEN = 264, 26, 22  # widths: a lane with cards, one with lines alone, the space
ROW, PAD, GAP = 25, 8, 50  # heights: a node, a card's padding, from one layer to the next
LETTERS = 25  # of an operator's description that fit into a card
SPREAD = 44  # from one line to the next where several meet a card

WAYS = {"in": "input", "out": "output", "held": "state", "next": "next step's"}

Point = tuple[float, float]


def width(graph: Graph) -> int:
    """Pixels that the picture of a graph is wide."""
    return int(_Places(arrange(graph)).width)


def draw(graph: Graph) -> str:
    """An `<svg>` with a card for each layer and the shape and format on each line."""
    layout = arrange(graph)
    place = _Places(layout)
    types = graph.types()
    lines = "".join(_line(line, place, types[line.edge]) for line in layout.lines)
    labels = "".join(_labels(layout, place, types))
    cards = "".join(_card(card, place, graph) for card in layout.cards)
    operators = sum(len(card.nodes) for card in layout.cards)
    return (
        f'<svg class="graph" role="img" aria-label="Graph of {operators} operators; '
        f'the table of the plan lists them" viewBox="0 0 {place.width} {place.height}" '
        f'width="{place.width}" height="{place.height}">'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path class="tip" d="M0 0 8 4 0 8z"/></marker></defs>'
        f"{lines}{labels}{cards}</svg>"
    )


class _Places:
    """Pixels of the grid's cells: lanes as wide as what they hold, layers as high as theirs."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        widths = [CARD if layout.holds_cards(n) else THREAD for n in range(layout.lanes)]
        self.lefts = [sum(widths[:n]) + BETWEEN * n + 1 for n in range(layout.lanes)]
        self.centres = [left + w / 2 for left, w in zip(self.lefts, widths, strict=True)]
        self.width = sum(widths) + BETWEEN * (layout.lanes - 1) + 2
        heights = [
            max(height(card) for card in layout.cards if layout.cells[card.key][0] == n)
            for n in range(layout.layers)
        ]
        self.tops = [sum(heights[:n]) + GAP * n + 1 for n in range(layout.layers)]
        self.heights = heights
        self.height = sum(heights) + GAP * (layout.layers - 1) + 2

    def corner(self, card: Card) -> Point:
        """Top left of a card, centred in its layer's height."""
        layer, lane = self.layout.cells[card.key]
        return self.lefts[lane], self.tops[layer] + (self.heights[layer] - height(card)) / 2

    def leaves(self, line: Line) -> Point:
        """Where a line leaves its card, at the bottom."""
        card = self._card(line.source)
        siblings = [x for x in self.layout.lines if x.source == line.source]
        return self._at(card, siblings, line, height(card))

    def enters(self, line: Line) -> Point:
        """Where a line enters its card, at the top."""
        siblings = [x for x in self.layout.lines if x.target == line.target]
        return self._at(self._card(line.target), siblings, line, 0)

    def _card(self, key: str) -> Card:
        return next(card for card in self.layout.cards if card.key == key)

    def _at(self, card: Card, siblings: list[Line], line: Line, down: float) -> Point:
        """The first line in the middle of the card, the others to its right."""
        ordered = sorted(siblings, key=lambda x: (len(x.through), x.through))
        left, top = self.corner(card)
        return left + CARD / 2 + SPREAD * ordered.index(line), top + down


def height(card: Card) -> int:
    """Pixels of a card."""
    return ROW * max(len(card.nodes), 1) + PAD


def _line(line: Line, place: _Places, kind: TensorType) -> str:
    points = [place.leaves(line)]
    for layer, lane in line.through:
        x, top = place.centres[lane], place.tops[layer]
        points += [(x, top - GAP / 3), (x, top + place.heights[layer] + GAP / 3)]
    points.append(place.enters(line))
    path = f"M{points[0][0]:g} {points[0][1]:g}"
    for (x0, y0), (x1, y1) in pairwise(points):
        middle = (y0 + y1) / 2
        path += f"V{y1:g}" if x0 == x1 else f"C{x0:g} {middle:g} {x1:g} {middle:g} {x1:g} {y1:g}"
    title = esc(f"{line.edge}: {shape_text(kind.shape)}, {kind.format}")
    return f'<path class="wire" marker-end="url(#tip)" d="{path}"><title>{title}</title></path>'


def _labels(layout: Layout, place: _Places, types: Mapping[str, TensorType]) -> list[str]:
    """Shape and format once for each edge, left of where it leaves its card."""
    found: dict[str, str] = {}
    for line in sorted(layout.lines, key=lambda x: len(x.through)):
        if line.edge not in found:
            x, y = place.leaves(line)
            kind = types[line.edge]
            text = esc(f"{shape_text(kind.shape)}  {kind.format}")
            found[line.edge] = f'<text class="on-wire" x="{x - 9:g}" y="{y + 20:g}">{text}</text>'
    return list(found.values())


def _card(card: Card, place: _Places, graph: Graph) -> str:
    x, y = place.corner(card)
    style = "card" if card.nodes else "port"
    box = (
        f'<rect class="{style}" x="{x:g}" y="{y:g}" width="{CARD}" height="{height(card)}" rx="9"/>'
    )
    if not card.nodes:
        text = esc(_short(f"{WAYS[card.key.partition(':')[0]]} {card.port}"))
        return (
            f'<g>{box}<text class="op middle" x="{x + CARD / 2:g}" y="{y + 21:g}">{text}</text>'
            f"<title>{esc(card.port)}</title></g>"
        )
    rows = "".join(
        _row(node, graph.output_types(node), x, y + PAD / 2 + ROW * n, first=n == 0)
        for n, node in enumerate(card.nodes)
    )
    return f"<g>{box}{rows}</g>"


def _row(node: Node, made: Sequence[TensorType], x: float, y: float, *, first: bool) -> str:
    text = esc(_short(summary(node)))
    told = (f"{shape_text(kind.shape)}, {kind.format}" for kind in made)
    title = esc(f"{node.name}: {summary(node)}, {'; '.join(told)}")
    formats = ", ".join(dict.fromkeys(str(kind.format) for kind in made))
    weight = "op" if first else "op follower"
    return (
        f'<g><title>{title}</title><text class="{weight}" x="{x + 13:g}" y="{y + 17:g}">{text}'
        f'</text><text class="format" x="{x + CARD - 13:g}" y="{y + 17:g}">{formats}</text></g>'
    )


def _short(text: str) -> str:
    return text if len(text) <= LETTERS else text[: LETTERS - 1] + "…"
