"""What a target cannot hold is refused before any work, with what bounds it."""

from __future__ import annotations

import pytest
from support.dense_networks import network

from hwsim.errors import HwsimError
from rtl.build import Request, build, choose_plan
from rtl.flow import verilog
from rtl.plan.cost import least_adder_bits, multiplier_cost
from rtl.plan.limits import check_fit
from rtl.plan.search import least_multipliers, plan_for_cycles
from rtl.targets import find_target


def test_a_rate_beyond_the_multipliers_is_refused_and_names_the_bound(tmp_path, monkeypatch):
    monkeypatch.setattr(verilog, "convert_both", lambda *_, **__: pytest.fail("work was done"))
    graph = network(8, 24, 8)
    request = Request(target="ecp5-25k", fps=50e6)
    with pytest.raises(HwsimError) as caught:
        build(graph, tmp_path / "out", request)
    text = str(caught.value)
    assert text.startswith("the design must take at most the 28 multipliers of ecp5-25k, not 3")
    assert "bounds it to" in text and text.endswith("inferences a second at 50 MHz")
    rate = float(text.split("bounds it to ")[1].split()[0])
    assert not list(tmp_path.iterdir())
    choose_plan(graph, Request(target="ecp5-25k", fps=rate))  # what it names can be had
    with pytest.raises(HwsimError, match="at most the 28 multipliers"):
        choose_plan(graph, Request(target="ecp5-25k", fps=rate * 1.5))


def test_a_network_that_no_folding_makes_small_enough_is_refused_at_once():
    graph = network(*[4] * 31)
    least = least_multipliers(graph)
    assert 28 < least <= 117
    text = f"not {least}: this network needs at least {least}, fully folded$"
    with pytest.raises(HwsimError, match=text):
        choose_plan(graph, Request(target="ecp5-25k"))
    plan = choose_plan(graph, Request(target="ecp5-25k", rtl_only=True))
    assert multiplier_cost(graph, plan) == least  # RTL alone may be for another device
    assert multiplier_cost(graph, choose_plan(graph, Request(target="ecp5-85k"))) <= 117


def test_unrolled_layers_of_constants_take_no_multiplier_and_pass():
    graph = network(16, 64, 32, 32, 5, requantizers=False)
    plan = choose_plan(graph, Request(target="ecp5-85k", fps=50e6))
    assert multiplier_cost(graph, plan) == 0


def test_more_adders_than_look_up_tables_are_refused():
    graph = network(128, 128, requantizers=False)
    with pytest.raises(HwsimError, match=r"at most the 83640 look-up tables of ecp5-85k, not more"):
        choose_plan(graph, Request(target="ecp5-85k", fps=50e6))
    choose_plan(graph, Request(target="xcup", fps=50e6))  # a family has no limits


def test_weights_that_are_zero_need_no_adder():
    dense, sparse = (network(64, 32, requantizers=False, density=d) for d in (1.0, 0.25))
    bits = [least_adder_bits(g, plan_for_cycles(g, 1)) for g in (dense, sparse)]
    assert bits[0] == 64 * 32 * 8
    assert 0.15 * bits[0] < bits[1] < 0.35 * bits[0]
    assert least_adder_bits(dense, plan_for_cycles(dense, 2)) == 0


def test_a_plan_that_fits_passes():
    graph = network(8, 24, 8)
    check_fit(graph, plan_for_cycles(graph, 1 << 30), find_target("ecp5-25k"), 50.0)
