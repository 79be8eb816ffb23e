"""Every case of the catalogue gives the emulator's integers in hardware, folded and unfolded."""

from __future__ import annotations

import pytest
from support import cases, rtl_designs

from hwsim.emulator.run import planned
from hwsim.graph import Graph
from hwsim.ops import OPERATORS
from rtl.layers.table import HARDWARE, WITHOUT
from rtl.plan.search import plan_for_cycles

SAMPLES = 3
SLOW, FAST = 1 << 40, 1  # cycles allowed: one multiplier, or all hardware there can be


def expected(graph: Graph, codes):
    emulator = planned(graph)
    out = emulator.run({p.tensor: codes[p.name] for p in graph.inputs})
    return {p.name: out[p.tensor].astype(int) for p in graph.outputs}


def check(case: cases.Case, *, cycles: int, stall: float, reset_at: int | None = None) -> None:
    graph, codes = case.graph(), case.inputs(SAMPLES, seed=11)
    got, _ = rtl_designs.simulate(
        graph, plan_for_cycles(graph, cycles), codes, seed=5, stall=stall, reset_at=reset_at
    )
    want = expected(graph, codes)
    for name, array in want.items():
        assert (got[name] == array).all(), f"{case.id}: {name}"


@pytest.mark.parametrize("case", cases.BUILT, ids=lambda case: case.id)
def test_the_folded_design_equals_the_emulator_under_stalls(case):
    check(case, cycles=SLOW, stall=0.3)


@pytest.mark.parametrize("case", cases.BUILT, ids=lambda case: case.id)
def test_the_unfolded_design_equals_the_emulator(case):
    check(case, cycles=FAST, stall=0.0)


@pytest.mark.parametrize(
    "case", [c for k, c in enumerate(cases.BUILT) if k % 6 == 0], ids=lambda case: case.id
)
def test_a_reset_in_mid_stream_starts_afresh(case):
    check(case, cycles=SLOW, stall=0.2, reset_at=37)


@pytest.mark.parametrize("lanes", [1, 2, 3, 6])
def test_a_cast_by_channel_takes_its_formats_in_turn_on_any_lanes(lanes):
    case = next(c for c in cases.BUILT if c.id == "cast-by-channel-mixed-SAT")
    graph, codes = case.graph(), case.inputs(SAMPLES, seed=11)
    plan = plan_for_cycles(graph, case.types[0].size // lanes)
    assert plan.nodes["op"].lanes == lanes
    got, _ = rtl_designs.simulate(graph, plan, codes, seed=5, stall=0.3, reset_at=29)
    assert (got["y"] == expected(graph, codes)["y"]).all()


def test_every_operator_has_hardware():
    assert set(HARDWARE) | set(WITHOUT) == set(OPERATORS.values())
