"""Plans are the best of all folds, and planning looks at no weight twice."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
from networks import ds_cnn
from support import cases
from support import random_networks as networks
from support.seeds import seeded

from hwsim.fixed import Format, Overflow
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.ops import Conv2D, Dense, Op, Stepwise, TensorType, Weighted, Window
from rtl.layers.base import divisors
from rtl.layers.folds import layer_fold, needs_parallel
from rtl.layers.plans import FoldPlan
from rtl.layers.table import implementation, implementations
from rtl.layers.weighted import SERIAL_WINDOW
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
    """On time first (or least late), then cheap: every fold is looked at, and what skips zeros."""
    op, x = node.op, graph.input_types(node)[0]
    assert isinstance(op, Weighted)
    ranked = []
    for fold in every_fold(op):
        parallel = needs_parallel(op, fold, x)
        plan = FoldPlan(implementation="folded", fold=fold, parallel_window=parallel)
        late = max(node_cycles(graph, node, plan) - cycles, 0)
        area = implementation(graph, node, plan).area(plan)
        rank = (late, area, fold.pe + fold.simd, fold.pe)
        ranked.append((rank, plan))
    for way in implementations(graph, node)[1:]:
        for option in way.options():
            ranked.append(((max(option.cycles - cycles, 0), *option.cost), option.plan))
    return min(ranked, key=lambda entry: entry[0])[1]


WEIGHTED = [case for case in cases.BUILT if isinstance(case.op, Weighted)]


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


@pytest.mark.parametrize("number", range(6))
def test_the_default_is_the_last_speed_that_is_worth_its_area(number, seed):
    """No plan within the share has a smaller product of look-up tables and cycles."""
    graph = networks.network(seed + number)
    choices = search.menu(graph)
    least = search.least_multipliers(graph)
    for share in (least, least + 6, least + 40):
        plan = search.plan_by_default(graph, share, 2 * share)
        every = list(choices.choices(2 * share).values())
        (chosen,) = [choice for choice in every if choice.plan == plan]
        within = [c for c in every if max(c.products, multiplier_cost(graph, c.plan)) <= share]
        if not within:
            assert multiplier_cost(graph, plan) <= min(c.products for c in every)
        for other in within:
            assert chosen.tables * chosen.cycles <= other.tables * other.cycles


@pytest.mark.parametrize("number", range(6))
def test_where_multipliers_are_scarce_the_same_rate_has_fewer(number, seed):
    """Whatever can be had within a budget is had; with enough of them the area is smallest."""
    graph = networks.network(seed + number)
    choices = search.menu(graph)
    for cycles in choices.cycles()[::5]:
        small, thrifty = choices.plan(cycles), choices.thrifty(cycles)
        few, many = multiplier_cost(graph, thrifty), multiplier_cost(graph, small)
        for budget in range(min(few, many), max(few, many) + 1):
            kept = multiplier_cost(graph, choices.plan(cycles, budget))
            assert kept <= max(budget, few)
        assert choices.plan(cycles, many) == small


def test_a_parallel_window_costs_what_it_holds():
    """64 channels of 8 bits, 3 x 3: a pixel twice, two rows of three pixels less one, a copy."""
    (layer,) = (node for node in ds_cnn().nodes if node.name == "b0_dw")
    graph = ds_cnn()
    serial = implementation(graph, layer, plan_for_cycles(graph, 1 << 40).nodes["b0_dw"])
    taken = {}
    for lanes in ({"simd": 3}, {"group_lanes": 4}, {"group_lanes": 64, "simd": 9}):
        fold = layer_fold(layer.op, **lanes)
        plan = serial.plan(fold)
        taken[plan.parallel_window, fold.multipliers] = serial.area(plan) - 516 * fold.multipliers
    pixel = 64 * 8
    assert taken == {
        (True, 3): (2 + 6 + 9) * pixel,
        (False, 4): SERIAL_WINDOW,
        (True, 576): (2 + 6) * pixel,
    }


def test_depthwise_layers_keep_their_serial_windows_while_a_few_multipliers_do_instead():
    """By multipliers first, 3 for each layer would do, and whole windows of 64 channels be held."""
    graph = ds_cnn()
    plan = search.plan_by_default(graph, 117, 156)
    assert multiplier_cost(graph, plan) <= 117
    assert bottleneck(graph, plan).cycles == 32_000
    depthwise = [chosen for name, chosen in plan.nodes.items() if name.endswith("_dw")]
    assert len(depthwise) == 4 and not any(chosen.parallel_window for chosen in depthwise)
    scarce = search.menu(graph).thrifty(32_000)
    assert all(scarce.nodes[f"b{k}_dw"].parallel_window for k in range(4))


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
