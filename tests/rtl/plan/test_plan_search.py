"""Plans are the best of all folds, and planning looks at no weight twice."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
from support import cases
from support import random_networks as networks
from support.seeds import seeded

from hwsim.fixed import Format, Overflow
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.ops import Conv2D, Dense, Op, Stepwise, TensorType, Weighted, Window
from rtl.layers.base import divisors
from rtl.layers.folds import is_free, layer_fold, needs_parallel
from rtl.layers.plans import FoldPlan
from rtl.plan import search
from rtl.plan.cost import bottleneck, multiplier_cost, node_cycles
from rtl.plan.search import plan_for_cycles, plan_for_multipliers


def every_fold(op: Weighted):
    whole = layer_fold(op)
    for group_lanes in divisors(whole.groups):
        for pe in divisors(whole.outputs) if group_lanes == 1 else [whole.outputs]:
            for simd in divisors(whole.terms):
                yield layer_fold(op, group_lanes=group_lanes, pe=pe, simd=simd)


def best_by_search(graph: Graph, node: Node, cycles: int) -> FoldPlan:
    """On time first (or least late), then cheap: every fold is looked at."""
    op, x = node.op, graph.input_types(node)[0]
    assert isinstance(op, Weighted)
    ranked = []
    for fold in every_fold(op):
        parallel = needs_parallel(op, fold, x)
        plan = FoldPlan(implementation="folded", fold=fold, parallel_window=parallel)
        late = max(node_cycles(graph, node, plan) - cycles, 0)
        chain = 0 if is_free(op, x) else fold.simd
        rank = (late, fold.multipliers, chain, parallel, fold.pe + fold.simd, fold.pe)
        ranked.append((rank, plan))
    return min(ranked, key=lambda entry: entry[0])[1]


WEIGHTED = [case for case in cases.CASES if isinstance(case.op, Weighted)]


@pytest.mark.parametrize("case", WEIGHTED, ids=lambda case: case.id)
def test_a_layer_gets_the_cheapest_fold_that_is_on_time(case):
    graph = case.graph()
    (node,) = graph.nodes
    for cycles in (1, 2, 3, 7, 20, 33, 64, 100, 150, 333, 1000, 5000, 1 << 40):
        plan = plan_for_cycles(graph, cycles)
        assert plan.nodes[node.name] == best_by_search(graph, node, cycles), cycles


@pytest.mark.parametrize("number", range(8))
def test_a_plan_changes_only_at_the_cycles_that_its_menu_lists(number, seed):
    graph, rng = networks.network(seed + number), random.Random(seed + number)
    listed = search.menu(graph).cycles()
    for cycles in rng.sample(range(1, listed[-1] + 50), 30):
        same = max((c for c in listed if c <= cycles), default=1)
        assert plan_for_cycles(graph, cycles) == plan_for_cycles(graph, same), (cycles, same)


@pytest.mark.parametrize("number", range(8))
def test_a_budget_is_kept_and_one_cycle_less_would_break_it(number, seed):
    graph = networks.network(seed + number)
    least = search.least_multipliers(graph)
    for budget in (least, least + 1, least + 4, least + 30):
        plan = plan_for_multipliers(graph, budget)
        assert multiplier_cost(graph, plan) <= budget
        cycles = bottleneck(graph, plan).cycles
        if cycles > 1:
            faster = plan_for_cycles(graph, cycles - 1)
            slower_anyway = bottleneck(graph, faster).cycles >= cycles
            assert slower_anyway or multiplier_cost(graph, faster) > budget


def convolutions(channels: int, accumulator: Stepwise | None = None) -> Graph:
    """Two 3 x 3 layers."""
    rng, nodes, edge = np.random.default_rng(seeded(5)), [], "x"
    for k in range(2):
        more = {} if accumulator is None else {"accumulator": accumulator}
        op = Conv2D(
            weights=rng.integers(-8, 8, (3, 3, channels, channels)),
            bias=np.zeros(channels, int),
            weight_format=Format.int(4),
            window=Window((3, 3)),
            **more,
        )
        nodes.append(Node(f"c{k}", op, (edge,), f"e{k}"))
        edge = f"e{k}"
    port = InputPort(name="x", tensor="x", type=TensorType((8, 8, channels), Format.int(4)))
    return Graph((port,), tuple(nodes), (OutputPort(name="y", tensor=edge),))


@pytest.mark.parametrize("stepwise", [False, True])
def test_however_many_plans_are_tried_weights_are_looked_at_once(stepwise, monkeypatch):
    """A test of speed without a clock: the costly questions are counted."""
    acc = Stepwise(format=Format.int(12), overflow=Overflow.SAT) if stepwise else None
    graph = convolutions(24, acc)
    calls: Counter[str] = Counter()

    def count(kind: type[Op], method: str) -> None:
        plain = getattr(kind, method)

        def counted(self, *args):
            calls[method] += 1
            return plain(self, *args)

        monkeypatch.setattr(kind, method, counted)

    count(Conv2D, "infer")
    count(Dense, "infer")
    count(Weighted, "aligned")
    count(Weighted, "steps")
    folds = search.menu(graph)
    for cycles in range(1, 2000, 50):
        folds.plan(cycles)
    plan_for_multipliers(graph, 40)
    layers = len(graph.nodes)
    assert calls["infer"] <= 1  # to count the work of the bottleneck
    assert calls["aligned"] <= layers + 1  # how wide are the weights
    assert calls["steps"] <= 3 * layers + 1  # that, and by each of the two menus
