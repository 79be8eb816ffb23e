"""A short branch has room for what comes while the longer one works: a plan keeps its rate."""

from __future__ import annotations

import dataclasses

import numpy as np
from support import cases, rtl_designs
from support.seeds import seeded

from hwsim.fixed import Format, Overflow, Rounding
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.ops import Add, Cast, Conv2D, Window
from rtl.layers.folds import layer_fold
from rtl.plan.cost import bottleneck
from rtl.plan.depths import SLACK, proven_depths, with_depths
from rtl.plan.flight import in_flight
from rtl.plan.plan import Plan
from rtl.plan.search import plan_for_cycles

SAMPLES = 6


def skip(layers: int = 3) -> tuple[Graph, Plan]:
    """Pointwise convolutions of 16 channels, 16 cycles a pixel each, beside their input."""
    nodes, edge = [], "x"
    for k in range(layers):
        op = Conv2D(**cases.weights(f"flight-{k}", "s2", 1, 1, 16, 16), window=Window((1, 1)))
        low = Cast(out=Format.int(6), rounding=Rounding.TRN, overflow=Overflow.WRAP)
        nodes += [Node(f"c{k}", op, (edge,), f"s{k}"), Node(f"r{k}", low, (f"s{k}",), f"e{k}")]
        edge = f"e{k}"
    nodes.append(Node("add", Add(), (edge, "x"), "y"))
    port = InputPort(name="x", tensor="x", type=cases.tensor((4, 4, 16), "s6"))
    graph = Graph((port,), tuple(nodes), (OutputPort(name="y", tensor="y"),))
    plan = plan_for_cycles(graph, 256)
    folds = {
        f"c{k}": dataclasses.replace(
            plan.nodes[f"c{k}"], fold=layer_fold(nodes[2 * k].op, pe=4, simd=4)
        )
        for k in range(layers)
    }
    return graph, dataclasses.replace(plan, nodes={**plan.nodes, **folds})


def pace(graph: Graph, plan: Plan) -> int:
    """Cycles between the ends of the last two samples."""
    codes = np.random.default_rng(seeded(7)).integers(-32, 32, (SAMPLES, 4, 4, 16))
    _, cycles = rtl_designs.simulate(graph, plan, {"x": codes})
    ends = np.array(cycles["y"]).reshape(SAMPLES, -1)[:, -1]
    return int(ends[-1] - ends[-2])


def test_a_skip_branch_keeps_the_rate_with_room_for_what_is_under_way():
    graph, plan = skip()
    claim = bottleneck(graph, plan).cycles
    chosen = with_depths(graph, plan)
    proven = {key: depth + SLACK for key, depth in proven_depths(graph, plan).items()}
    found, before = pace(graph, chosen), pace(graph, dataclasses.replace(plan, fifos=proven))
    print(f"claimed {claim}, found {found} with {chosen.fifos}, {before} with {proven}")
    assert claim <= found <= claim + claim // 32
    assert before > claim + claim // 8, "without room for what is under way"


def test_the_longest_branch_needs_no_more_room():
    graph, plan = skip()
    late = in_flight(graph, plan)
    assert late["c0", 0] == 0
    assert late["add", 1] > SLACK


def test_a_graph_without_forks_has_nothing_under_way():
    graph, plan = skip()
    nodes = graph.nodes[:-1]
    chain = Graph(graph.inputs, nodes, (OutputPort(name="y", tensor=nodes[-1].output),))
    kept = {node.name: plan.nodes[node.name] for node in nodes}
    assert in_flight(chain, dataclasses.replace(plan, nodes=kept)) == {}
