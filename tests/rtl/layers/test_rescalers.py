"""Requantizers of several kinds beside each other: chosen by the rate, built, and right."""

from __future__ import annotations

import dataclasses

import networks
import numpy as np
import pytest
from support import cases, rtl_designs

from hwsim.emulator.run import planned
from hwsim.graph import Graph
from hwsim.ops import Requantize, Window
from rtl.build import Request, build
from rtl.design import Design
from rtl.flow import rtlil
from rtl.layers.plans import LanePlan, NodePlan, SerialPlan
from rtl.plan.constants import LEAST, with_block_constants
from rtl.plan.cost import bottleneck, multiplier_cost, node_cycles
from rtl.plan.depths import proven_depths, with_depths
from rtl.plan.memories import memories
from rtl.plan.plan import Plan
from rtl.plan.search import SLOWEST, least_multipliers, menu, plan_for_cycles, plan_for_multipliers
from rtl.sim.verify import verify
from rtl.targets import find_target

SAME = Window((3, 3), (1, 1), (1, 1, 1, 1))


def joined(seed: int) -> Graph:
    """A convolution, a skip branch around another one, a strided one and a dense layer."""
    net = networks.Layers((6, 6, 2), seed, typical=True)
    edge = net.conv("stem", "image", 4, SAME)
    edge = net.join("add", net.conv("long", edge, 4, SAME), edge)
    edge = net.conv("down", edge, 6, Window((3, 3), (2, 2), (1, 1, 1, 1)))
    return net.graph(net.conv("point", edge, 4, Window((1, 1))))


def requantizers(graph: Graph) -> list[str]:
    return [node.name for node in graph.nodes if isinstance(node.op, Requantize)]


def with_kinds(graph: Graph, plan: Plan, kinds: list[NodePlan]) -> Plan:
    """The plan with these kinds of requantizers in turn, and the depths that it then needs."""
    turns = enumerate(requantizers(graph))
    nodes = {**plan.nodes, **{name: kinds[k % len(kinds)] for k, name in turns}}
    return with_depths(graph, dataclasses.replace(plan, nodes=nodes))


PIPELINED = LanePlan(implementation="pipelined", lanes=1)
SHARED = LanePlan(implementation="shared", lanes=1)
SERIAL = SerialPlan(implementation="serial", lanes=1, bits=1)
WIDE = SerialPlan(implementation="serial", lanes=2, bits=2)
MIXES = {
    "serial": [SERIAL],
    "shared": [SHARED],
    "two bits, two lanes": [WIDE],
    "all kinds": [SHARED, WIDE, PIPELINED, SERIAL],
}


@pytest.mark.parametrize("mix", MIXES)
def test_a_network_with_a_join_is_right_with_each_kind_and_at_proven_depths(mix, seed):
    graph = joined(seed)
    plan = with_kinds(graph, plan_for_cycles(graph, 600), MIXES[mix])
    plan = dataclasses.replace(plan, fifos=proven_depths(graph, plan))
    codes = np.random.default_rng(seed).integers(0, 256, (3, 6, 6, 2))
    want = planned(graph).run({"image": codes})[graph.outputs[0].tensor]
    got, _ = rtl_designs.simulate(graph, plan, {"image": codes}, seed=seed, stall=0.2, limit=60_000)
    assert (got["scores"] == want.astype(int)).all()


FIRST = {
    kind: next(c for c in cases.BUILT if c.op.kind == kind) for kind in ("batchnorm", "divide")
} | {c.id: c for c in cases.BUILT if c.id.startswith("thresholds") and "line" in c.id}


@pytest.mark.parametrize("way", ["pipelined", "serial", "shared"])
@pytest.mark.parametrize("kind", FIRST)
def test_other_operators_that_rescale_have_the_same_kinds(kind, way, seed):
    graph, codes = FIRST[kind].graph(), FIRST[kind].inputs(2, seed=seed)
    (node,) = graph.nodes
    plan = plan_for_cycles(graph, SLOWEST)
    options = menu(graph).ways[node.name][way].options()
    for option in (options[0], options[-1]):
        chosen = dataclasses.replace(plan, nodes={node.name: option.plan})
        assert node_cycles(graph, node, option.plan) == option.cycles
        want = planned(graph).run(codes)[node.output]
        got, _ = rtl_designs.simulate(graph, chosen, codes, seed=seed, stall=0.2)
        assert (next(iter(got.values())) == want.astype(int)).all()


def test_thresholds_on_a_line_need_no_memory_of_thresholds():
    graph = FIRST["thresholds-beside-a-line"].graph()
    (node,) = graph.nodes
    choices = menu(graph)
    first = choices.nodes[node.name][0].plan
    searched = choices.ways[node.name]["search"].options()[0].plan
    bits = [
        sum(m.bits for m in choices.ways[node.name][plan.implementation].memories(plan))
        for plan in (first, searched)
    ]
    assert first.implementation == "serial"
    assert 0 < 8 * bits[0] < bits[1]


def test_a_table_of_rounded_sums_needs_no_memory_of_pairs():
    graph = next(case for case in cases.BUILT if case.id == "pairtable-sum").graph()
    (node,) = graph.nodes
    plan = plan_for_cycles(graph, SLOWEST)
    assert plan.nodes[node.name].implementation == "adder"
    assert sum(m.bits for m in memories(graph, plan)[node.name]) < 65_536 * 8 // 8


def test_the_cheapest_requantizer_that_is_fast_enough_is_taken():
    graph = networks.ds_cnn()
    kinds = []
    for cycles in (SLOWEST, 100_000, 20_000, 8_000, 2_000):
        plan = plan_for_cycles(graph, cycles)
        kinds.append(plan.nodes["stem_q"])
        node = graph.node("stem_q")
        assert cycles == SLOWEST or node_cycles(graph, node, plan.nodes["stem_q"]) <= cycles
    assert kinds[0] == SERIAL
    assert len({kind.implementation for kind in kinds}) > 1


def test_options_that_cost_more_are_faster():
    choices = menu(joined(1))
    for options in choices.nodes.values():
        costs = [option.cost for option in options]
        cycles = [option.cycles for option in options]
        assert costs == sorted(costs)
        assert cycles == sorted(set(cycles), reverse=True)


@pytest.mark.parametrize("name", ["ds_cnn", "resnet8", "autoencoder"])
def test_the_networks_of_mlperf_tiny_can_be_planned_for_28_multipliers(name):
    graph = getattr(networks, name)()
    assert least_multipliers(graph) < 28
    plan = plan_for_multipliers(graph, 28)
    assert multiplier_cost(graph, plan) <= 28
    assert (
        bottleneck(graph, plan).cycles < bottleneck(graph, plan_for_cycles(graph, SLOWEST)).cycles
    )


def blocks(graph: Graph, plan: Plan) -> int:
    return sum(m.blocks for each in memories(graph, plan).values() for m in each)


def test_constants_go_to_block_ram_as_far_as_a_device_has_some_left():
    graph = networks.ds_cnn()
    plan = with_depths(graph, plan_for_cycles(graph, 200_000))
    large, small = (find_target(name) for name in ("ecp5-85k", "ecp5-25k"))
    before = blocks(graph, plan)
    assert before < blocks(graph, with_block_constants(graph, plan, large))
    assert blocks(graph, with_block_constants(graph, plan, small)) <= small.available["bram"]
    full = dataclasses.replace(large, available={**large.available, "bram": before})
    assert with_block_constants(graph, plan, full) == plan
    assert with_block_constants(graph, plan, find_target("xc7")) == plan


def test_a_block_must_save_enough_look_up_tables():
    graph = joined(2)
    plan = with_depths(graph, plan_for_cycles(graph, SLOWEST))
    moved = with_block_constants(graph, plan, find_target("ecp5-85k"))
    for each in memories(graph, moved).values():
        asked = [m for m in each if m.block and m.bits]
        tables = sum(-(-m.words // 16) * m.width for m in asked)
        assert tables >= LEAST * len(asked)
    small = [n for n, chosen in moved.nodes.items() if chosen == plan.nodes[n]]
    assert "stem_q" in small  # four channels


def test_only_the_chosen_constants_ask_for_block_ram():
    graph = joined(3)
    plan = with_depths(graph, plan_for_cycles(graph, SLOWEST))
    chosen = dataclasses.replace(plan.nodes["stem_q"], block_constants=True)
    moved = dataclasses.replace(plan, nodes={**plan.nodes, "stem_q": chosen})
    style = 'attribute \\ram_style "block"'
    assert style not in rtlil.convert(Design(graph, plan), name="top")
    assert rtlil.convert(Design(graph, moved), name="top").count(style) == 1


@pytest.mark.slow
@pytest.mark.needs("verilator", "yosys")
def test_a_ds_cnn_on_28_multipliers_is_right_in_verilator_at_its_planned_rate(tmp_path):
    request = Request(target="ecp5-25k", max_dsp=28, rtl_only=True)
    build(networks.ds_cnn(), tmp_path / "built", request)
    outcome = verify(tmp_path / "built", samples=3)
    assert outcome.ok and [run.different for run in outcome.runs] == [0, 0, 0]
    assert outcome.runs[0].cycles_per_inference == 128_000
