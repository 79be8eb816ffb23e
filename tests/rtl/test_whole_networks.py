"""Random small networks on random foldings give the emulator's integers in hardware."""

from __future__ import annotations

import numpy as np
import pytest
from support import rtl_designs
from support.mixed_networks import mixed
from support.random_networks import network, random_plan

from hwsim.emulator.run import planned
from hwsim.fixed import Format, Overflow
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.ops import (
    Dense,
    Stepwise,
    TensorType,
)
from rtl.build import Request, build
from rtl.layers.table import HARDWARE
from rtl.plan.cost import bottleneck
from rtl.plan.depths import with_depths
from rtl.plan.latency import latency_bound
from rtl.plan.search import plan_for_cycles
from rtl.sim.verify import verify


def check(graph: Graph, seed: int) -> None:
    rng = np.random.default_rng(seed)
    kind = graph.inputs[0].type
    x = rng.integers(kind.lo, kind.hi + 1, (4, *kind.shape))
    plan = random_plan(graph, rng)
    got, _ = rtl_designs.simulate(graph, plan, {"x": x}, seed=seed, stall=0.25)
    want = planned(graph).run({"x": x})
    for port in graph.outputs:
        different = int((got[port.name] != want[port.tensor].astype(int)).sum())
        assert different == 0, f"seed {seed}: {different} of {port.name} differ"


@pytest.mark.parametrize("number", range(2))
def test_a_sample_is_through_within_the_cycles_that_the_manifest_names(number, seed):
    """The watchdog counts in them, so that they must never be too few."""
    graph, rng = network(seed + number), np.random.default_rng(seed)
    plan = with_depths(graph, plan_for_cycles(graph, 1 << 30))
    kind = graph.inputs[0].type
    x = rng.integers(kind.lo, kind.hi + 1, (1, *kind.shape))
    _, cycles = rtl_designs.simulate(graph, plan, {"x": x})
    assert bottleneck(graph, plan).cycles <= cycles["y"][-1] + 1 <= latency_bound(graph, plan)


@pytest.mark.parametrize("number", range(6))
def test_six_random_networks_on_random_foldings(number, seed):
    check(network(seed + number), seed + number)


@pytest.mark.parametrize("number", range(12))
def test_twelve_networks_of_all_operators_on_random_foldings(number, seed):
    check(mixed(seed + number), seed + number)


def test_every_operator_with_hardware_is_drawn():
    drawn = {type(node.op) for seed in range(300) for node in mixed(seed).nodes}
    assert drawn == set(HARDWARE)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(6, 40))
def test_more_random_networks_on_random_foldings(number, seed):
    check(network(seed + number), seed + number)


@pytest.mark.slow
@pytest.mark.needs("verilator", "yosys")
@pytest.mark.parametrize("number", range(300))
def test_three_hundred_networks_of_all_operators_in_verilator(number, seed, tmp_path):
    graph = mixed(seed + number)
    plan = with_depths(graph, random_plan(graph, np.random.default_rng(seed + number)))
    build(graph, tmp_path / "out", Request(rtl_only=True), plan=plan)
    outcome = verify(tmp_path / "out", samples=64, seed=number)
    assert outcome.ok and outcome.different == 0 and outcome.compared > 0, f"seed {seed + number}"


def test_another_order_of_a_saturating_sum_is_seen():
    """The check's mutant: hardware that adds in another order than the model says."""
    weights = np.array([[7], [7], [-7], [-7]])

    def graph(order: tuple[int, ...]) -> Graph:
        acc = Stepwise(format=Format.int(5), overflow=Overflow.SAT, order=order)
        dense = Dense(
            weights=weights, bias=np.zeros(1, int), weight_format=Format.int(4), accumulator=acc
        )
        port = InputPort(name="x", tensor="x", type=TensorType((4,), Format.int(4)))
        return Graph((port,), (Node("d", dense, ("x",), "y"),), (OutputPort(name="y", tensor="y"),))

    x = np.array([[3, 3, 3, 3]])
    right, wrong = graph((0, 1, 2, 3)), graph((0, 2, 1, 3))
    want = planned(right).run({"x": x})["y"].astype(int)
    for case, equal in ((right, True), (wrong, False)):
        got, _ = rtl_designs.simulate(case, plan_for_cycles(case, 1 << 30), {"x": x})
        assert bool((got["y"] == want).all()) is equal
