"""Powers of two, their sums, tables and ternary weights: chosen, trained, built."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from support import rtl_designs
from support.cli_calls import refused, run
from support.mixed_networks import mixed

import hwsim
from hwsim.compress.float_model import FloatModel
from hwsim.compress.quantize.linear import Widths, quantize
from hwsim.compress.quantize.nonlinear import WeightSet, encoded, reals_of
from hwsim.compress.training.start import float_weights
from hwsim.emulator.run import planned
from hwsim.errors import HwsimError
from hwsim.graph import Graph
from hwsim.ops import Codebook, PowersOfTwo, Weighted
from rtl.plan.cost import least_adder_bits, multiplier_cost
from rtl.plan.depths import with_depths
from rtl.plan.limits import default_plan
from rtl.plan.search import plan_for_cycles
from rtl.targets import find_target

MODELS = Path(__file__).resolve().parents[2] / "examples" / "models"
IMAGES = (load_digits().images / 16).astype(np.float32)[:, None]
LABELS = load_digits().target
HELD = slice(1400, None)
SETS = ("ternary", "pot4", "apot4", "codebook3")


@pytest.fixture(scope="module")
def digits() -> Graph:
    """The digits' network with 8-bit weights."""
    model = FloatModel.read(MODELS / "digits_cnn_int8.float.onnx")
    return hwsim.load(quantize(model, [{"image": IMAGES[:512]}], Widths.parse("w8a8")))


def layers(graph: Graph) -> list[Weighted]:
    return [node.op for node in graph.nodes if isinstance(node.op, Weighted)]


@pytest.mark.parametrize(
    ("text", "exponents"),
    [
        ("ternary", ((6,),)),
        ("pot3", ((4, 5, 6),)),
        ("pot4", ((0, 1, 2, 3, 4, 5, 6),)),
        ("apot3", ((6,), (5,))),
        ("apot4", ((2, 4, 6), (5,))),
        ("apot5", ((2, 4, 6), (1, 3, 5))),
        ("pot8", ((0, 1, 2, 3, 4, 5, 6),)),  # no finer step is there
    ],
)
def test_exponents_are_those_of_the_paper_from_the_highest_down(text, exponents):
    wanted = PowersOfTwo(exponents=exponents)
    assert WeightSet.parse(text).encoding(wanted.values.astype(float)) == wanted


@pytest.mark.parametrize("text", ["pot1", "pot9", "apot2", "codebook0", "codebook9", "nf4", "4"])
def test_a_set_that_is_none_is_told(text):
    with pytest.raises(HwsimError, match=f"must be ternary, pot2 to pot8, .*, not '{text}'"):
        WeightSet.parse(text)


def test_ternary_takes_the_power_of_two_with_the_least_squared_error(rng):
    steps = rng.normal(size=500) * 30
    found = WeightSet.parse("ternary").encoding(steps)
    error = {
        e: sum(min((x - v) ** 2 for v in (-(2**e), 0, 2**e)) for x in steps.tolist())
        for e in range(9)
    }
    assert found == PowersOfTwo(exponents=((min(error, key=error.__getitem__),),))


def test_a_table_is_that_of_the_best_cut_of_the_sorted_weights():
    steps = np.array([-90, -88, -41, -40, -39, -3, 0, 2, 3, 50, 55, 60], float)

    def cost(cuts) -> float:
        return sum(part.var() * len(part) for part in np.split(steps, cuts))

    best = min(combinations(range(1, len(steps)), 3), key=cost)
    means = tuple(round(part.mean()) for part in np.split(steps, best))
    assert WeightSet.parse("codebook2").encoding(steps[::-1]) == Codebook(entries=means)


@pytest.mark.parametrize("value", [0.0, -7.0])
@pytest.mark.parametrize("text", SETS)
def test_weights_that_are_all_alike_have_a_set(text, value):
    steps = np.full(9, value)
    found = WeightSet.parse(text).encoding(steps)
    assert np.abs(found.nearest(steps) - steps).max() <= 1


@pytest.mark.parametrize("text", SETS)
def test_the_digits_network_takes_every_set_and_its_weights_are_the_nearest(digits, text):
    graph = encoded(digits, WeightSet.parse(text))
    for before, after in zip(layers(digits), layers(graph), strict=True):
        assert (after.weights == after.encoding.nearest(before.weights)).all()
        assert after.weight_bits == WeightSet.parse(text).bits
    lost = [hwsim.accuracy(g, IMAGES[HELD], LABELS[HELD]).top1 for g in (digits, graph)]
    assert lost[1] > lost[0] - (0.6 if text == "ternary" else 0.06)


def test_one_layer_may_have_a_set_of_its_own_and_reals_are_rounded_once(digits):
    name = next(node.name for node in digits.nodes if isinstance(node.op, Weighted))
    op, reals = digits.node(name).op, reals_of(digits)[name]["weights"]
    finer = reals + 0.49 * np.asarray(op.weight_scale)
    graph = encoded(digits, {name: WeightSet.parse("pot5")}, {name: {"weights": finer}})
    first, *rest = layers(graph)
    assert first.encoding is not None and all(other.encoding is None for other in rest)
    assert (first.weights == first.encoding.nearest(op.weights + 0.49)).all()


def test_bad_calls_are_told_by_the_nodes_name(digits):
    one = WeightSet.parse("pot4")
    other = next(node.name for node in digits.nodes if not isinstance(node.op, Weighted))
    name = next(node.name for node in digits.nodes if isinstance(node.op, Weighted))
    shape = digits.node(name).op.weights.shape
    with pytest.raises(HwsimError, match=f"node '{other}' must be a layer with weights, not"):
        encoded(digits, {other: one})
    with pytest.raises(HwsimError, match=f"weights of node '{name}' must have shape"):
        encoded(digits, one, {name: {"weights": np.zeros(3)}})
    with pytest.raises(HwsimError, match=f"weights of node '{name}' must be finite"):
        encoded(digits, one, {name: {"weights": np.full(shape, np.nan)}})


def test_the_command_writes_what_the_function_gives(digits, tmp_path, capsys):
    digits.save(tmp_path / "m.hwsim")
    call = ("encode", tmp_path / "m.hwsim", "--weights", "pot4", "--layer", "conv*=codebook3")
    call += ("--layer", "conv1=plain", "--from", MODELS / "digits_cnn_int8.float.onnx")
    status, out, _ = run(capsys, *call, "-o", tmp_path / "e.hwsim", "--json")
    facts, graph = json.loads(out), hwsim.load(tmp_path / "e.hwsim")
    sets = {"conv2": "codebook3", "conv3": "codebook3", "logits": "pot4"}
    reals = float_weights(digits, FloatModel.read(MODELS / "digits_cnn_int8.float.onnx"))
    want = encoded(digits, {n: WeightSet.parse(one) for n, one in sets.items()}, reals)
    assert status == 0 and facts["hash"] == graph.hash() == want.hash()
    bits = {name: one["bits"] for name, one in facts["layers"].items()}
    assert bits == {"conv1": [8, 8], "conv2": [8, 3], "conv3": [8, 3], "logits": [8, 4]}
    assert run(capsys, *call, "-o", tmp_path / "e.hwsim")[0] == 0


def test_bad_calls_of_the_command_write_nothing(digits, tmp_path, capsys):
    digits.save(tmp_path / "m.hwsim")
    call, out = ("encode", tmp_path / "m.hwsim", "-o"), tmp_path / "e.hwsim"
    for more, said in (
        (("--weights", "nf4"), "a set of weights must be ternary"),
        (("--weights", "pot4", "--layer", "fc"), "--layer must be NODE=SET, not 'fc'"),
        (("--weights", "pot4", "--layer", "fc*=pot3"), "not 'fc*', which fits none"),
    ):
        assert said in refused(capsys, *call, out, *more)
    assert "--out must be a .hwsim" in refused(capsys, *call, tmp_path / "e.onnx", *more[:2])
    assert not out.exists()


@pytest.mark.needs("torch", "array_api_compat")
@pytest.mark.parametrize("text", ["ternary", "codebook2"])
def test_fine_tuning_keeps_the_set_and_the_emulators_codes_and_accuracy_rises(digits, text):
    from hwsim.compress.training import loop

    graph = encoded(digits, WeightSet.parse(text))
    how = loop.Training(epochs=3, rate=1e-3, check=True, seed=1)
    better = loop.finetune(
        graph, IMAGES[:1400], LABELS[:1400], how, reals=reals_of(digits), learn_steps=True
    )
    before, after = (hwsim.accuracy(g, IMAGES[HELD], LABELS[HELD]).top1 for g in (graph, better))
    assert after > before + 0.02
    for old, new in zip(layers(graph), layers(better), strict=True):
        assert new.encoding.bits == old.encoding.bits
        assert (new.weights != old.weights).any()


@pytest.mark.needs("torch", "array_api_compat")
@pytest.mark.parametrize("text", SETS)
def test_random_networks_in_training_keep_their_sets_and_the_emulators_codes(text, seed):
    import torch

    from hwsim.compress.training import TrainableGraph, loop

    compared, rng = 0, np.random.default_rng(seed)
    for one in range(seed, seed + 30):
        graph = mixed(one)
        try:
            found = TrainableGraph(encoded(graph, WeightSet.parse(text)))
        except HwsimError:
            continue  # an operator takes no sums of any weights
        if not found.parameters():
            continue
        codes = {
            p.tensor: torch.tensor(
                rng.integers(p.type.lo, p.type.hi + 1, (3, *p.type.shape)), dtype=torch.float32
            )
            for p in graph.inputs
        }
        with torch.no_grad():
            for moved in found.parameters().values():
                moved += 0.3 * moved.abs().mean() * torch.tensor(rng.normal(size=moved.shape))
        loop.expect_equal(found, codes)
        compared += 1
    assert compared >= 3


@pytest.mark.parametrize("text", ["pot4", "codebook3"])
def test_the_digits_network_in_hardware_has_the_emulators_codes(digits, text):
    graph = encoded(digits, WeightSet.parse(text))
    plan = with_depths(graph, plan_for_cycles(graph, 600))
    x = planned(graph).encode(IMAGES[:1])
    got, _ = rtl_designs.simulate(graph, plan, x)
    want = planned(graph).run(x)
    for port in graph.outputs:
        assert (got[port.name] == want[port.tensor].astype(int)).all()


def test_powers_of_two_need_no_multiplier_in_any_layer(digits):
    graph = encoded(digits, WeightSet.parse("apot4"))
    costs = [multiplier_cost(g, plan_for_cycles(g, 2000)) for g in (digits, graph)]
    assert costs[0] > 0 == costs[1]


def test_a_build_by_default_has_no_more_products_for_shifts_than_for_multipliers(digits):
    """Products by adders are no reason to fill a small device."""
    graph = encoded(digits, WeightSet.parse("ternary"))
    plain, shifts = (default_plan(g, find_target("ecp5-25k")).multipliers for g in (digits, graph))
    assert shifts == plain
    fast = plan_for_cycles(graph, 600)
    assert least_adder_bits(graph, fast) >= 7 * fast.multipliers > 0


@pytest.mark.slow
@pytest.mark.needs("verilator", "yosys")
@pytest.mark.parametrize("text", SETS)
def test_the_digits_network_is_built_and_verified_with_every_set(digits, text, tmp_path):
    hwsim.build(encoded(digits, WeightSet.parse(text)), tmp_path / "out", rtl_only=True)
    found = hwsim.verify(tmp_path / "out")
    assert found.ok and found.different == 0 and found.compared > 0
