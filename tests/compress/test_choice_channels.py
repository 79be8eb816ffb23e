"""Channels go until a network takes few cycles: those of its plan, and of its hardware."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support import rtl_designs

import hwsim
from hwsim.compress.choice.channels import products
from hwsim.compress.figures import bit_operations
from hwsim.compress.prune.masks import parse_pattern
from hwsim.compress.prune.prune import Pruning, prune
from hwsim.data.sets import load
from hwsim.errors import HwsimError
from rtl.plan.explore import fewest_cycles
from rtl.plan.search import plan_for_cycles

MODELS = Path(__file__).resolve().parents[2] / "examples" / "models"
FLOAT = MODELS / "digits_cnn_int8.float.onnx"
DIGITS = load("digits")
X, Y = DIGITS.train.reals(), DIGITS.train.labels
ASKED = {"samples": 128, "bits": "w4a4", "target": "ecp5-25k"}


@pytest.fixture(scope="module")
def whole():
    return hwsim.quantize(FLOAT, X, bits="w4a4", samples=128)


@pytest.fixture(scope="module")
def small():
    return hwsim.quantize(FLOAT, X, target_cycles=3000, labels=Y, **ASKED)


def test_the_fewest_cycles_are_those_of_the_fastest_plan_that_fits(whole):
    assert fewest_cycles(whole.graph, "ecp5-25k") == hwsim.plan(whole.graph).fastest["cycles"]
    options = hwsim.plan(whole.graph, target="xc7").options
    assert fewest_cycles(whole.graph, "xc7") == min(option["cycles"] for option in options)


def test_a_network_comes_within_the_cycles_of_its_plan(whole, small):
    before, after = (hwsim.plan(one.graph).fastest["cycles"] for one in (whole, small))
    assert after <= 3000 < before
    best = small.choice.best
    assert best["cycles"] == after and hwsim.accuracy(small.graph, X, Y).top1 == best["accuracy"]
    assert small.choice.cost == "operations"
    assert best["cost"] == best["operations"] == bit_operations(small.graph)
    kept = {row["name"]: row["chosen"] for row in small.choice.rows}
    layers = {node.name: node.op for node in small.graph.nodes if hasattr(node.op, "outputs")}
    assert {name: layers[name].outputs for name in kept} == kept
    assert products(small.graph) < products(whole.graph)
    weights = {row["name"]: row["weights"] for row in small.rows if "weights" in row}
    assert weights == {name: layers[name].weights.size for name in weights}


def test_layers_chosen_by_what_they_lose_are_nearer_than_the_same_share_of_each(whole, small):
    cycles, amount = 10**9, 0.0
    while cycles > 3000:
        amount += 1 / 16
        even = prune(whole.graph, Pruning(amount=amount, pattern=parse_pattern("channels"))).graph
        cycles = fewest_cycles(even)
    assert small.choice.best["accuracy"] > hwsim.accuracy(even, X, Y).top1


def test_hardware_of_it_takes_the_cycles_that_the_plan_says(small):
    cycles = small.choice.best["cycles"]
    plan = plan_for_cycles(small.graph, cycles)
    codes = np.rint(X[:3] * 128).astype(int).transpose(0, 2, 3, 1)
    (port,) = small.graph.inputs
    assert port.type.scales() == (2.0**-7,)
    found, times = rtl_designs.simulate(small.graph, plan, {port.name: codes})
    (name,) = found
    ends = np.array(times[name]).reshape(3, -1)[:, -1]
    assert ends[2] - ends[1] <= cycles * 1.05
    traced = hwsim.emulate(small.graph, X[:3])
    scale = small.graph.types()[small.graph.outputs[0].tensor].scales()[0]
    assert np.array_equal(np.array(found[name]).reshape(3, -1) * scale, traced)


def test_a_network_that_is_fast_enough_stays_as_it_is(whole):
    made = hwsim.quantize(FLOAT, X, target_cycles=100_000, **ASKED)
    assert made.graph.hash() == whole.graph.hash() and made.proto is not None
    assert all(row["same"] for row in made.choice.rows)


def test_cycles_out_of_reach_are_told_with_the_fewest():
    with pytest.raises(HwsimError, match="takes an inference to 20 cycles: the fewest are") as told:
        hwsim.quantize(FLOAT, X, target_cycles=20, **ASKED)
    assert told.value.exit_status == 1


def test_an_unknown_device_is_told_before_anything_is_done():
    with pytest.raises(HwsimError, match=r"target must be one of ecp5-25k, .*, not 'ecp6'"):
        hwsim.quantize(FLOAT, X[:0], target_cycles=20, target="ecp6")


def test_a_network_without_channels_is_no_onnx_file(small, tmp_path):
    with pytest.raises(HwsimError, match=r"must be a .hwsim file where channels were taken out"):
        small.save(tmp_path / "m.onnx")
    small.save(tmp_path / "m.hwsim")
    assert hwsim.load(tmp_path / "m.hwsim").hash() == small.graph.hash()
