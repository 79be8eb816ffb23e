"""Places of one layer of hls4ml that share one precision: they get wider together or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hwsim.fixed import Format
from hwsim.graph import Graph
from hwsim.losses.casts import IndexSite
from hwsim.losses.sites import Site
from hwsim.ops import Relu

ACCUMULATED = (
    "accum", "apart", "gathered", "input", "kept", "mean", "new", "sq", "state", "sum", "terms",
    "total", "variance",
)  # fmt: skip
"""Parts of layers that are of the type of their accumulator."""

RESULTS = ("down", "h", "result", "s", "up", "value")
"""Parts that are of the type of the result."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The place that loses something first, then all that have its precision.

    `key` is hls4ml's name of that precision, empty where it is not known; `recurrent` are the time
    steps of an LSTM or a GRU, whose tables are made of their types. What `rounds` would need twice
    as many bits at each step to lose none.
    """

    sites: tuple[Site, ...]
    layer: str
    key: str
    recurrent: bool
    lstm: bool
    rounds: bool

    @classmethod
    def of(cls, site: Site, sites: Sequence[Site]) -> Parts:
        """Of a place among all."""
        layer, _, part = site.name.partition("/")
        if isinstance(site, IndexSite) and not part:  # the result of a layer, which tables read
            site = site.cast
        own = [other for other in sites if other.name.partition("/")[0] == layer]
        names = {other.name for other in own}
        recurrent = f"{layer}/0/h" in names or any(name.endswith("/0/h") for name in names)
        key = _key(site, names)
        alike = [other for other in own if key and _key(other, names) == key]
        lstm = recurrent and any(name.endswith("/0/s") for name in names)
        if lstm and key:
            alike = [other for other in own if _key(other, names)]
        rest = [other for other in alike if other.name != site.name]
        steps = recurrent and bool(part)
        squares = key == "accum" and f"{layer}/variance" in {
            n.rpartition("/sum")[0] or n for n in names
        }
        return cls((site, *rest), layer, key, steps, lstm, steps or squares)

    def setting(self, graph: Graph) -> dict[str, tuple[str, ...]]:
        """The precisions that set all of them, by layer.

        An LSTM compiles only where its input, accumulator and result are of one type.
        """
        if not self.key:
            return {}
        if not self.lstm:
            return {self.layer: (self.key,)}
        return {self.layer: ("accum", "result"), _source(graph, self.layer): ("result",)}

    def widened(self, graph: Graph, into: Format) -> Graph:
        """The graph with another format at all of them."""
        return _with_ends(graph, self._other(graph, into))

    def _other(self, graph: Graph, into: Format) -> Graph:
        if len(self.sites) == 1:
            return self.sites[0].widened(graph, into)
        found = {site.name: site.wide_op(into) for site in self.sites}
        ops = {name: op for name, op in found.items() if op is not None}
        nodes = (replace(n, op=ops[n.name]) if n.name in ops else n for n in graph.nodes)
        return replace(graph, nodes=tuple(nodes))


def _with_ends(before: Graph, after: Graph) -> Graph:
    """The half of the numbers below 0, which a branch reads, from the new least code on."""
    old, new = before.types(), after.types()
    nodes = []
    for node in after.nodes:
        op = node.op
        if isinstance(op, Relu) and op.maximum == 0 and op.zero_point < 0:
            (source,) = node.inputs
            if op.zero_point == old[source].format.min:
                op = replace(op, zero_point=new[source].format.min)
        nodes.append(replace(node, op=op))
    return replace(after, nodes=tuple(nodes))


def _key(site: Site, names: set[str]) -> str:
    """hls4ml's name of the precision of a place among those of its layer."""
    layer, _, part = site.name.partition("/")
    last = part.rpartition("/")[2]
    if not part or part.isdecimal() or last in RESULTS:
        return "result"
    if site.what == "cast" and part == "sum" and f"{layer}/index" in names:
        return "inv_inp"  # of a softmax
    return "accum" if last in ACCUMULATED else ""


def _source(graph: Graph, layer: str) -> str:
    """The layer or input that gives what an LSTM reads."""
    makers, edge = (
        graph.makers(),
        next(
            n.inputs[0]
            for n in graph.nodes
            if n.name.startswith(f"{layer}/") and n.name.endswith("/input")
        ),
    )
    while edge in makers and makers[edge].name.partition("/")[0] == layer:
        edge = makers[edge].inputs[0]
    if edge in makers:
        return makers[edge].name.partition("/")[0]
    return next(port.name for port in graph.inputs if port.tensor == edge)
