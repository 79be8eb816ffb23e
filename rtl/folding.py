"""Plans: with what hardware a Graph is computed, for a rate or a budget, and what bounds it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

from hwsim.errors import HwsimError
from hwsim.forms import Form
from hwsim.graph import Graph, Node
from hwsim.ops import (
    ArgMax,
    AvgPool,
    BatchNorm,
    Concat,
    Conv2D,
    Dense,
    MaxPool,
    Requantize,
    Stepwise,
    TensorType,
    Transpose,
    Weighted,
)
from hwsim.thresholds import choose
from rtl.multiply import LIMB
from rtl.products import Fold

FifoKey = tuple[str, int]  # a node's name and the index of its input


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePlan:
    """Codes a beat that a node works on, and for sums of products their fold."""

    lanes: int
    fold: Fold | None = None
    parallel_window: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One hardware for one Graph: lanes and folds by node, lanes by input, FIFO depths by link.

    `fifos` maps (node, input index) to a depth in beats. Change a plan with `dataclasses.replace`.
    """

    nodes: Mapping[str, NodePlan]
    inputs: Mapping[str, int]
    fifos: Mapping[FifoKey, int] = field(default_factory=dict)

    @property
    def multipliers(self) -> int:
        """Multipliers of all sums of products."""
        return sum(p.fold.multipliers for p in self.nodes.values() if p.fold is not None)

    def hash(self) -> str:
        """SHA-256 of the content."""
        text = repr(
            (sorted(self.nodes.items()), sorted(self.inputs.items()), sorted(self.fifos.items()))
        )
        return hashlib.sha256(text.encode()).hexdigest()

    def with_fold(self, name: str, **lanes: int) -> Plan:
        """The same plan with other `group_lanes`, `pe` or `simd` at one node; FIFOs as before."""
        node = self.nodes[name]
        if node.fold is None:
            raise HwsimError(f"a fold must be of a dense or convolution node, not of {name!r}")
        fold = replace(node.fold, **lanes)
        changed = replace(
            node, fold=fold, lanes=fold.group_lanes * fold.pe, parallel_window=node.parallel_window
        )
        return replace(self, nodes={**self.nodes, name: changed})


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """What bounds the rate: a node (or port), its cycles for one inference and why."""

    name: str
    cycles: int
    why: str


def divisors(n: int) -> list[int]:
    """All divisors, in order."""
    return [d for d in range(1, n + 1) if n % d == 0]


def layer_fold(op: Weighted, **lanes: int) -> Fold:
    """The fold of a dense or convolution operator; by default one multiplier."""
    if isinstance(op, Conv2D):
        terms = op.weights.shape[0] * op.weights.shape[1] * op.weights.shape[2]
        return Fold(groups=op.groups, terms=terms, outputs=op.outputs // op.groups, **lanes)
    return Fold(groups=1, terms=op.weights.shape[0], outputs=op.outputs, **lanes)


def term_order(op: Weighted, x: TensorType) -> tuple[int, ...] | None:
    """The order in which terms must be added, where it matters and is not the stream's own."""
    acc = op.accumulator
    if not isinstance(acc, Stepwise) or acc.order is None or is_free(op, x):
        return None
    return None if acc.order == tuple(range(len(acc.order))) else acc.order


def is_free(op: Weighted, x: TensorType) -> bool:
    """Whether the order of the sums cannot matter: exact, wrapping, or proved never to overflow."""
    return not isinstance(op.accumulator, Stepwise) or bool(op.steps(x).any_order.all())


def needs_parallel(op: Weighted, fold: Fold, x: TensorType) -> bool:
    """Whether the fold wants codes side by side, or in an order, that a serial stream lacks."""
    return term_order(op, x) is not None or _scattered(op, fold)


def _scattered(op: Weighted, fold: Fold) -> bool:
    per_group = op.weights.shape[-2]
    return per_group % fold.simd != 0 or (fold.group_lanes > 1 and fold.simd != per_group)


def positions(x: TensorType, op: Weighted) -> int:
    """Output positions: how often the whole set of sums is computed."""
    return op.infer([x]).size // op.outputs


def node_cycles(graph: Graph, node: Node, plan: NodePlan) -> int:
    """Cycles for one inference by the count of multiplications or of beats, the larger."""
    types = graph.input_types(node)
    out = graph.types()[node.output]
    if isinstance(node.op, Weighted) and plan.fold is not None:
        rows = positions(types[0], node.op)
        lanes = (
            types[0].channels if plan.parallel_window else plan.fold.group_lanes * plan.fold.simd
        )
        if plan.parallel_window:
            return _parallel_cycles(node.op, types[0], plan.fold)
        return max(rows * plan.fold.cycles, -(-types[0].size // lanes))
    beats = max(out.size, *(t.size for t in types)) // plan.lanes
    if isinstance(node.op, MaxPool | AvgPool):
        return max(beats, out.size * node.op.window.size // plan.lanes)
    return beats


def _parallel_cycles(op: Weighted, x: TensorType, fold: Fold) -> int:
    """Cycles behind a parallel window, which walks over padded positions, one a cycle.

    It holds one window, so that the walk to the first one of a map is not hidden by the products.
    """
    work = max(positions(x, op) * fold.cycles, x.size // x.channels)
    if not isinstance(op, Conv2D) or op.window.size == 1:
        return work
    top, left, bottom, right = op.window.padding
    height, width = x.shape[0] + top + bottom, x.shape[1] + left + right
    head = (op.window.kernel[0] - 1) * width + op.window.kernel[1] - 1
    return max(work + head, height * width)


def bottleneck(graph: Graph, plan: Plan) -> Bottleneck:
    """The node or port with the most cycles for one inference."""
    found = []
    for node in graph.nodes:
        chosen = plan.nodes[node.name]
        cycles = node_cycles(graph, node, chosen)
        if chosen.fold is not None:
            macs = node.op.work(graph.input_types(node)).macs
            why = f"{macs:,} multiplications on {chosen.fold.multipliers:,} multipliers"
        else:
            why = f"{chosen.lanes} codes a beat"
        found.append(Bottleneck(node.name, cycles, why))
    for port in graph.inputs:
        lanes = plan.inputs[port.name]
        found.append(Bottleneck(port.name, port.type.size // lanes, f"{lanes} codes a beat"))
    return max(found, key=lambda b: b.cycles)


def plan_for_cycles(graph: Graph, cycles: int) -> Plan:
    """The cheapest hardware that takes at most `cycles` an inference, as far as folds reach."""
    if cycles < 1:
        raise HwsimError(f"cycles for one inference must be at least 1, not {cycles}")
    nodes = {node.name: _plan_node(graph, node, cycles) for node in graph.nodes}
    inputs = {p.name: _lanes(p.type.channels, p.type.size, cycles) for p in graph.inputs}
    return Plan(nodes=nodes, inputs=inputs)


def plan_for_multipliers(graph: Graph, budget: int) -> Plan:
    """The fastest hardware whose estimated multipliers, requantizers too, are within `budget`."""
    least = least_multipliers(graph)
    slow = bottleneck(graph, _smallest(graph)).cycles
    if least > budget:
        raise HwsimError(
            f"max-dsp must be at least {least}, which this network needs fully folded, not {budget}"
        )
    low, high = 0, slow  # `low` is over the budget or out of reach
    while high - low > 1:
        middle = (low + high) // 2
        if multiplier_cost(graph, plan_for_cycles(graph, middle)) <= budget:
            high = middle
        else:
            low = middle
    return plan_for_cycles(graph, high)


def least_multipliers(graph: Graph) -> int:
    """The estimated multipliers of the smallest hardware for a graph."""
    return multiplier_cost(graph, _smallest(graph))


def _smallest(graph: Graph) -> Plan:
    return plan_for_cycles(graph, 1 << 62)


def multiplier_cost(graph: Graph, plan: Plan) -> int:
    """Multiplier blocks of 18 x 18 bits, estimated: sums of products and requantizers."""
    total = 0
    for node in graph.nodes:
        chosen, types = plan.nodes[node.name], graph.input_types(node)
        if chosen.fold is not None and isinstance(node.op, Weighted):
            if chosen.fold.cycles > 1:  # constants are multiplied by adders
                total += chosen.fold.multipliers * _blocks(
                    types[0].format.width, node.op.weight_format.width
                )
        elif isinstance(node.op, Requantize):
            form = requantizer_form(node.op, types[0].lo, types[0].hi)
            if form.bits:
                total += chosen.lanes * _blocks(types[0].format.width, form.bits + 1)
        elif isinstance(node.op, BatchNorm):
            total += chosen.lanes * _blocks(types[0].format.width, node.op.scale_format.width)
    return total


@lru_cache(maxsize=4096)
def requantizer_form(op: Requantize, lo: int, hi: int) -> Form:
    """The cheapest integer form with the thresholds of `op` on lo..hi; found once for each."""
    return choose(op, lo, hi)


def _blocks(a: int, b: int) -> int:
    """Hard multipliers under a product of signed operands of `a` and `b` bits."""
    return max(-(-(a - 1) // LIMB), 1) * max(-(-(b - 1) // LIMB), 1)


def _plan_node(graph: Graph, node: Node, cycles: int) -> NodePlan:
    types = graph.input_types(node)
    out = graph.types()[node.output]
    match node.op:
        case Dense() | Conv2D():
            return _plan_weighted(node.op, types[0], cycles)
        case MaxPool() | AvgPool():
            beats = max(types[0].size, out.size * node.op.window.size)
            return NodePlan(lanes=_lanes(types[0].channels, beats, cycles))
        case ArgMax() | Transpose():
            return NodePlan(lanes=1)
        case Concat():
            common = _common([t.channels for t in types])
            return NodePlan(lanes=_lanes(common, out.size, cycles))
    return NodePlan(lanes=_lanes(out.channels, out.size, cycles))


def _common(counts: list[int]) -> int:
    return max(d for d in divisors(min(counts)) if all(c % d == 0 for c in counts))


def _lanes(channels: int, codes: int, cycles: int) -> int:
    """The fewest lanes that divide the channels and move `codes` in `cycles`, or all channels."""
    return next((d for d in divisors(channels) if codes <= cycles * d), channels)


def _plan_weighted(op: Weighted, x: TensorType, cycles: int) -> NodePlan:
    rows, size = positions(x, op), x.size
    whole = layer_fold(op)
    ordered = term_order(op, x) is not None
    free = is_free(op, x)
    best: tuple[tuple[int, ...], Fold, bool] | None = None
    for fold in _folds(whole.groups, whole.terms, whole.outputs):
        parallel = ordered or _scattered(op, fold)
        if parallel:
            taken = _parallel_cycles(op, x, fold)
        else:
            taken = max(rows * fold.cycles, -(-size // (fold.group_lanes * fold.simd)))
        late = max(taken - cycles, 0)
        # On time first, then few multipliers, a short chain of steps, a serial window, a square.
        chain = 0 if free else fold.simd
        rank = (late, fold.multipliers, chain, int(parallel), fold.pe + fold.simd, fold.pe)
        if best is None or rank < best[0]:
            best = rank, fold, parallel
    assert best is not None
    _, fold, parallel = best
    return NodePlan(lanes=fold.group_lanes * fold.pe, fold=fold, parallel_window=parallel)


@lru_cache(maxsize=512)
def _folds(groups: int, terms: int, outputs: int) -> tuple[Fold, ...]:
    found = []
    for group_lanes in divisors(groups):
        for pe in divisors(outputs) if group_lanes == 1 else [outputs]:
            for simd in divisors(terms):
                found.append(
                    Fold(
                        groups=groups,
                        terms=terms,
                        outputs=outputs,
                        group_lanes=group_lanes,
                        pe=pe,
                        simd=simd,
                    )
                )
    return tuple(found)
