"""Layers of a Graph that are compared: from edges with a counterpart to the next one with one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from hwsim.compress.attribution.counterparts import (
    NARROWER,
    Counterpart,
    Reals,
    between,
    reals,
)
from hwsim.compress.attribution.float_graph import FloatGraph, FloatWeights
from hwsim.graph import Graph, Node
from hwsim.ops import (
    EXACT,
    AvgPool,
    Carrier,
    Cast,
    Exact,
    Op,
    Reduce,
    Reduction,
    Requantize,
    Table,
    TensorType,
    Thresholds,
    Weighted,
)

WHOLE = (
    "add", "concat", "flatten", "maximum", "maxpool", "minimum", "mul", "pad", "relu", "reshape",
    "select", "split", "sub", "transpose",
)  # fmt: skip
"""Operators that give exactly what the float ones give of the same reals."""

CHOOSING = (Reduction.MAX, Reduction.MIN)

MOST_CODES = 1 << 16
"""Codes up to which an operator on single ones is tried on all."""

TABLES = (
    "channel_table", "chosen_thresholds", "divide", "literal", "pair_table",
    "quotient", "rsqrt", "table", "thresholds",
)  # fmt: skip
"""Operators that hold a function of codes."""


@dataclass(frozen=True, slots=True, eq=False)
class SumPlace:
    """The sums of a layer with weights inside of a compared one."""

    at: Counterpart
    node: Node
    floats: FloatWeights
    source: TensorType

    @property
    def op(self) -> Weighted:
        """The operator."""
        op = self.node.op
        assert isinstance(op, Weighted)
        return op

    @property
    def exact(self) -> Weighted:
        """The operator with an accumulator that loses nothing."""
        return replace(self.op, accumulator=EXACT)

    @property
    def stepwise(self) -> bool:
        """Whether its accumulator may lose something."""
        return not isinstance(self.op.accumulator, Exact)

    def sums(self, codes: Mapping[str, npt.NDArray[np.int64]]) -> Reals:
        """Sums without what the accumulator loses, as reals, of a batch of codes by edge."""
        if not self.stepwise:
            return reals(self.at.kind, codes[self.at.edge]) + self.at.added
        op, given = self.exact, codes[self.node.inputs[0]]
        made = op.run(np, [given], op.prepare((self.source,), Carrier.INT64))
        return reals(op.output_types((self.source,))[0], np.asarray(made)) + self.at.added

    def bias_error(self) -> Reals:
        """How far the biases are from the float ones, by channel."""
        op, kind = self.exact, self.exact.output_types((self.source,))[0]
        left = max(kind.format.frac_bits - op.bias_frac, 0) if op.bias.any() else 0
        held = op.bias.astype(np.float64) * 2.0**left * np.array(kind.scales()) + self.at.added
        plain = self.floats.bias
        return np.asarray(held if plain is None else held - plain)


@dataclass(frozen=True, slots=True, eq=False)
class LayerPlace:
    """One compared layer: what it makes, of what, which sums are inside, and what else is.

    `codes` are those that it can give, by what gives them. `notes` say what cannot be told apart.
    """

    at: Counterpart
    codes: range
    inputs: tuple[Counterpart, ...]
    sums: tuple[SumPlace, ...]
    tables: bool
    notes: tuple[str, ...]

    @property
    def slack(self) -> float:
        """By how much a bias that is added behind the sums may be another than the float one."""
        hidden = (one for one in self.sums if one.at.added.any())
        return max((max(one.at.kind.scales()) for one in hidden), default=0.0)


def layer_places(
    graph: Graph, floats: FloatGraph, found: Mapping[str, Counterpart], shown: Collection[str]
) -> list[LayerPlace]:
    """Compared layers in the Graph's order; sums between two of them are inside of the second.

    So is what loses nothing where narrower codes stand for the same tensor. Edges of `shown` are
    compared in any case.
    """
    makers = graph.makers()
    named = Counter(one.tensor for one in found.values())

    def weighted(edge: str) -> bool:
        return edge in makers and isinstance(makers[edge].op, Weighted)

    def inner(edge: str) -> bool:
        exact = edge in makers and _whole(graph, makers[edge]) and named[found[edge].tensor] > 1
        return edge not in shown and (exact or weighted(edge))

    own = {edge for edge in found if not inner(edge)}
    for edge in found:  # sums of sums are compared themselves
        if weighted(edge):
            _, nodes = between(graph, edge, dict.fromkeys(own))
            own |= {n.output for n in nodes if isinstance(n.op, Weighted) and n.output != edge}
    own &= set(found)
    rows = {edge: found[edge] for edge in found if edge in own}
    return [_place(graph, floats, found, rows, edge) for edge in rows]


def _place(
    graph: Graph,
    floats: FloatGraph,
    found: Mapping[str, Counterpart],
    rows: Mapping[str, Counterpart],
    edge: str,
) -> LayerPlace:
    sources, nodes = between(graph, edge, rows)
    sums: list[SumPlace] = []
    notes: list[str] = []
    for node in nodes:
        if not isinstance(node.op, Weighted):
            continue
        made = _sums(graph, floats, found, rows, node)
        if isinstance(made, str):
            notes.append(made)
        else:
            sums.append(made)
    behind = between(graph, edge, {**rows, **{one.at.edge: None for one in sums}})[1]
    return LayerPlace(
        at=rows[edge],
        codes=_codes(graph, edge),
        inputs=tuple(rows[one] for one in sources),
        sums=tuple(sums),
        tables=any(node.op.kind in TABLES for node in behind),
        notes=tuple(notes),
    )


def _sums(
    graph: Graph,
    floats: FloatGraph,
    found: Mapping[str, Counterpart],
    rows: Mapping[str, Counterpart],
    node: Node,
) -> SumPlace | str:
    """The sums of a node, or why its weights cannot be told from the rest."""
    at, (source,) = found.get(node.output), graph.input_types(node)
    weights = None if at is None else floats.weights_of(at.tensor)
    if at is None or weights is None:
        return f"weights of {node.name!r}: no float layer makes a tensor of their sums' name"
    if weights.bias is not None and weights.bias.size not in (1, node.op.outputs):  # type: ignore[attr-defined]
        return f"weights of {node.name!r}: the float layer has {weights.bias.size} biases"
    _, nodes = between(graph, node.output, rows)
    lossy = [one.name for one in nodes if one.name != node.name and not _whole(graph, one)]
    if lossy:
        return f"weights of {node.name!r}: what it reads goes through {lossy[0]!r} first"
    return SumPlace(at, node, weights, source)


def _codes(graph: Graph, edge: str) -> range:
    """The codes of an edge's format, or of what makes it where that leaves some out.

    A narrow quantizer has no lowest code, one of a single bit with a sign only -1 and 1.
    """
    kind, maker = graph.types()[edge], graph.makers().get(edge)
    op = None if maker is None else maker.op
    if isinstance(op, Table | Thresholds):
        apart = op.step if isinstance(op, Thresholds) else op.values - op.values.min()
        step = max(int(np.gcd.reduce(np.abs(apart), axis=None)), 1)
        if step > 1 or isinstance(op, Thresholds):
            return range(kind.lo, kind.hi + 1, step)
    elif isinstance(op, Requantize | Cast):
        return range(kind.lo, kind.hi + 1)
    return range(kind.format.min, kind.format.max + 1)


def _whole(graph: Graph, node: Node) -> bool:
    """Whether an operator gives what the float one gives of the same reals."""
    op = node.op
    if isinstance(op, AvgPool):
        return isinstance(op.accumulator, Exact)
    if isinstance(op, Reduce):
        return op.reduction in CHOOSING or isinstance(op.accumulator, Exact)
    return op.kind in WHOLE or (op.kind in NARROWER and _keeps(op, *graph.input_types(node)))


def _keeps(op: Op, kind: TensorType) -> bool:
    """Whether an operator on single codes gives each of them the real that it had."""
    if kind.hi - kind.lo >= MOST_CODES:
        return False
    row = kind.with_shape((kind.channels,))
    codes = np.repeat(np.arange(kind.lo, kind.hi + 1)[:, None], kind.channels, axis=1)
    made = op.run(np, [codes], op.prepare((row,), Carrier.INT64))
    return bool((reals(op.output_types((row,))[0], np.asarray(made)) == reals(row, codes)).all())


def lacking(
    graph: Graph, floats: FloatGraph, found: Mapping[str, Counterpart]
) -> tuple[Sequence[str], Sequence[str]]:
    """Edges without a counterpart, and tensors that are none."""
    taken = {one.tensor for one in found.values()}
    edges = [edge for edge in graph.types() if edge not in found]
    return edges, [name for name in floats.tensors if name not in taken]
