"""Plans: with what hardware a Graph is computed, for a rate or a budget, and what bounds it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

from hwsim.errors import HwsimError
from hwsim.graph import Graph, Node
from hwsim.ops import (
    ArgMax,
    AvgPool,
    Concat,
    Conv2D,
    Dense,
    MaxPool,
    Op,
    Stepwise,
    TensorType,
    Transpose,
    Weighted,
)
from rtl.layers.cost import node_multipliers, product_multipliers
from rtl.parts.products import Fold

FifoKey = tuple[str, int]  # a node's name and the index of its input
SLOWEST = 1 << 62  # cycles that any hardware keeps


TOLD = 4
"""Nodes that a plan's `repr` names."""


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

    def __repr__(self) -> str:
        """One line: multipliers, and the folds that have most of them."""
        folds = {name: p.fold for name, p in self.nodes.items() if p.fold is not None}
        most = sorted(folds, key=lambda name: -folds[name].multipliers)[:TOLD]
        told = [f"{name} {folds[name].multipliers}" for name in most]
        more = len(folds) - len(told)
        told += [f"{more} more"] if more else []
        of = f": {', '.join(told)}" if told else ""
        return f"Plan({len(self.nodes)} nodes, {self.multipliers:,} multipliers{of})"

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
    return math.prod(op.window.output(x)) if isinstance(op, Conv2D) else x.size // x.channels


def node_cycles(graph: Graph, node: Node, plan: NodePlan) -> int:
    """Cycles for one inference by the count of multiplications or of beats, the larger."""
    types = graph.input_types(node)
    out = graph.types()[node.output]
    if isinstance(node.op, Weighted):
        return _fold_cycles(node.op, types[0], plan)
    beats = max(out.size, *(t.size for t in types)) // plan.lanes
    if isinstance(node.op, MaxPool | AvgPool):
        return max(beats, out.size * node.op.window.size // plan.lanes)
    return beats


def _fold_cycles(op: Weighted, x: TensorType, plan: NodePlan) -> int:
    """Cycles of a sum of products: its multiplications, or the codes that it takes in."""
    assert plan.fold is not None
    if plan.parallel_window:
        return _parallel_cycles(op, x, plan.fold)
    lanes = plan.fold.group_lanes * plan.fold.simd
    return max(positions(x, op) * plan.fold.cycles, -(-x.size // lanes))


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
    cycles = {node.name: node_cycles(graph, node, plan.nodes[node.name]) for node in graph.nodes}
    slowest = max(graph.nodes, key=lambda node: cycles[node.name], default=None)
    ports = {port.name: port.type.size // plan.inputs[port.name] for port in graph.inputs}
    port = max(ports, key=lambda name: ports[name])
    if slowest is None or ports[port] > cycles[slowest.name]:
        return Bottleneck(port, ports[port], f"{plan.inputs[port]} codes a beat")
    chosen = plan.nodes[slowest.name]
    why = f"{chosen.lanes} codes a beat"
    if chosen.fold is not None:
        macs = slowest.op.work(graph.input_types(slowest)).macs
        why = f"{macs:,} multiplications on {chosen.fold.multipliers:,} multipliers"
    return Bottleneck(slowest.name, cycles[slowest.name], why)


def plan_for_cycles(graph: Graph, cycles: int) -> Plan:
    """The cheapest hardware that takes at most `cycles` an inference, as far as folds reach."""
    return menu(graph).plan(cycles)


def plan_for_multipliers(graph: Graph, budget: int) -> Plan:
    """The fastest hardware whose estimated multipliers, requantizers too, are within `budget`."""
    choices, each = menu(graph), _products(graph)
    smallest = choices.plan(SLOWEST)
    least = _multipliers(graph, smallest, each)
    if least > budget:
        raise HwsimError(
            f"max-dsp must be at least {least}, which this network needs fully folded, not {budget}"
        )
    low, high = 0, bottleneck(graph, smallest).cycles  # `low` is over the budget or out of reach
    while high - low > 1:
        middle = (low + high) // 2
        if _multipliers(graph, choices.plan(middle), each) <= budget:
            high = middle
        else:
            low = middle
    return choices.plan(high)


def least_multipliers(graph: Graph) -> int:
    """The estimated multipliers of the smallest hardware for a graph."""
    return multiplier_cost(graph, plan_for_cycles(graph, SLOWEST))


def multiplier_cost(graph: Graph, plan: Plan) -> int:
    """Hard multipliers (18 x 18 bits) of a plan: sums of products and requantizers."""
    return _multipliers(graph, plan, _products(graph))


def _products(graph: Graph) -> dict[str, int]:
    """Hard multipliers of one product of each dense or convolution layer."""
    return {
        node.name: product_multipliers(node.op, graph.input_types(node)[0])
        for node in graph.nodes
        if isinstance(node.op, Weighted)
    }


def _multipliers(graph: Graph, plan: Plan, each: Mapping[str, int]) -> int:
    total = 0
    for node in graph.nodes:
        x, chosen = graph.input_types(node)[0], plan.nodes[node.name]
        total += node_multipliers(node.op, x, chosen.lanes, chosen.fold, each.get(node.name, 1))
    return total


@dataclass(frozen=True, slots=True)
class Option:
    """One hardware that a node can have, and the cycles for which it was made."""

    cycles: int
    plan: NodePlan


@dataclass(frozen=True, slots=True)
class Menu:
    """What every node and input of a graph can be built as, from the cheapest on, each faster.

    The costly questions (is the order of sums free, how many positions are there) are asked once.
    """

    nodes: Mapping[str, tuple[Option, ...]]
    inputs: Mapping[str, tuple[Option, ...]]

    def plan(self, cycles: int) -> Plan:
        """The cheapest option of each that takes at most `cycles`, or its fastest."""
        if cycles < 1:
            raise HwsimError(f"cycles for one inference must be at least 1, not {cycles}")
        nodes = {name: _cheapest(options, cycles) for name, options in self.nodes.items()}
        inputs = {name: _cheapest(options, cycles) for name, options in self.inputs.items()}
        return Plan(nodes=nodes, inputs={name: chosen.lanes for name, chosen in inputs.items()})

    def cycles(self) -> list[int]:
        """All counts of cycles at which the plan changes, the fastest first."""
        every = [*self.nodes.values(), *self.inputs.values()]
        return sorted({option.cycles for options in every for option in options})


def menu(graph: Graph) -> Menu:
    """The options of every node and input of a graph."""
    types = graph.types()
    return Menu(
        {n.name: _options(n.op, graph.input_types(n), types[n.output]) for n in graph.nodes},
        {port.name: _by_lanes(port.type.channels, port.type.size) for port in graph.inputs},
    )


def _cheapest(options: tuple[Option, ...], cycles: int) -> NodePlan:
    fits = (option.plan for option in options if option.cycles <= cycles)
    return next(fits, options[-1].plan)


def _options(op: Op, types: tuple[TensorType, ...], out: TensorType) -> tuple[Option, ...]:
    match op:
        case Dense() | Conv2D():
            return _by_fold(op, types[0])
        case MaxPool() | AvgPool():
            beats = max(types[0].size, out.size * op.window.size)
            return _by_lanes(types[0].channels, beats)
        case ArgMax() | Transpose():
            return (Option(out.size, NodePlan(lanes=1)),)
        case Concat():
            return _by_lanes(math.gcd(*(t.channels for t in types)), out.size)
    return _by_lanes(out.channels, out.size)


def _by_lanes(channels: int, codes: int) -> tuple[Option, ...]:
    """Lanes that divide the channels, for `codes` to move."""
    return tuple(Option(-(-codes // d), NodePlan(lanes=d)) for d in divisors(channels))


def _by_fold(op: Weighted, x: TensorType) -> tuple[Option, ...]:
    """Folds that no cheaper one equals in speed.

    Cheap is: few multipliers, a short chain of steps, a serial window, a square.
    """
    whole, free, ordered = layer_fold(op), is_free(op, x), term_order(op, x) is not None
    ranked = []
    for fold in _folds(whole.groups, whole.terms, whole.outputs):
        parallel = ordered or _scattered(op, fold)
        chosen = NodePlan(lanes=fold.group_lanes * fold.pe, fold=fold, parallel_window=parallel)
        chain = 0 if free else fold.simd
        rank = (fold.multipliers, chain, int(parallel), fold.pe + fold.simd, fold.pe)
        ranked.append((rank, Option(_fold_cycles(op, x, chosen), chosen)))
    ranked.sort(key=lambda entry: entry[0])
    found: list[Option] = []
    for _, option in ranked:
        if not found or option.cycles < found[-1].cycles:
            found.append(option)
    return tuple(found)


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
