"""Networks that learn to live in narrow accumulators: bounds that hold, units, and accuracy."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from support.seeds import seeded

import hwsim
from hwsim.compress.float_model import FloatModel
from hwsim.compress.quantize.linear import LinearScheme, Widths, quantize
from hwsim.compress.quantize.run import run as quantized_by
from hwsim.compress.samples import Batches
from hwsim.compress.sums.limit import SumLimit
from hwsim.compress.sums.narrow import Narrowed, narrow
from hwsim.compress.sums.width import SumWidth, sum_widths
from hwsim.compress.training.loop import Training, finetune
from hwsim.compress.training.namespace import namespace, torch
from hwsim.errors import HwsimError
from hwsim.fixed import Format, Overflow
from hwsim.graph import Graph
from hwsim.ops import EXACT, Stepwise, Weighted
from hwsim.ops.base import Carrier

pytestmark = pytest.mark.needs("torch", "array_api_compat")
MODELS = Path(__file__).resolve().parents[2] / "examples" / "models"
IMAGES = (load_digits().images / 16).astype(np.float32)[:, None]
LABELS = load_digits().target.astype(np.int64)
HELD = slice(1200, None)


def float_model(name: str = "digits_cnn_int8") -> FloatModel:
    return FloatModel.read(MODELS / f"{name}.float.onnx")


def quantized(bits: str, name: str = "digits_cnn_int8") -> Graph:
    return hwsim.load(quantize(float_model(name), [{"image": IMAGES[:512]}], Widths.parse(bits)))


def layers(graph: Graph) -> list[str]:
    return [node.name for node in graph.nodes if isinstance(node.op, Weighted)]


def narrowed(graph: Graph, text: str) -> Narrowed:
    return narrow(graph, sum_widths(graph, text), IMAGES[:128])


def trained(found: Narrowed, epochs: int = 2, few: int = 1200, **settings: object) -> Graph:
    how = Training(epochs=epochs, rate=3e-3, batch=64, seed=1, **settings)
    more = {"reals": found.reals, "limits": found.limits, "learn_steps": True}
    return finetune(found.graph, IMAGES[:few], LABELS[:few], how, **more)


def right(graph: Graph) -> float:
    return hwsim.accuracy(graph, IMAGES[HELD], LABELS[HELD]).top1


# Weights whose sums fit


def reached(limit: SumLimit, weights: np.ndarray, bias: np.ndarray) -> tuple[int, int]:
    """The smallest and largest sum of any inputs, in plain integers."""
    ends = []
    for column, start in zip(weights.T.tolist(), bias.tolist(), strict=True):
        up = sum(w * (limit.above if w > 0 else -limit.below) for w in map(int, column))
        down = sum(w * (limit.above if w < 0 else -limit.below) for w in map(int, column))
        ends += [int(start) + up, int(start) + down]
    return min(ends), max(ends)


@pytest.mark.parametrize(("below", "above"), [(0, 15), (8, 7), (15, 0), (3, 12), (0, 1)])
def test_rounded_weights_keep_their_sums_in_bounds_for_every_input(below, above, seed):
    rng = np.random.default_rng(seed)
    moved = 0
    for _ in range(60):
        bits = int(rng.integers(6, 12))
        least, most = SumWidth(bits=bits).ends
        limit = SumLimit(least=least, most=most, below=below, above=above)
        steps = rng.normal(0, rng.uniform(0.2, 6), (int(rng.integers(1, 40)), 5))
        bias = rng.integers(least, most, 5, endpoint=True).astype(float)
        found = limit.rounded(np, steps, bias)
        low, high = reached(limit, found, bias)
        assert least <= low
        assert high <= most
        moved += int((found != np.round(steps)).any())
        kept = limit.pulled(np, steps, bias)
        assert (np.abs(found - kept) <= 1).all()
    assert moved > 5


def test_weights_that_fit_are_rounded_to_nearest(rng):
    limit = SumLimit(least=-(1 << 20), most=(1 << 20) - 1, below=0, above=15)
    steps = rng.normal(0, 5, (30, 4))
    assert np.array_equal(limit.rounded(np, steps, np.zeros(4)), np.round(steps))
    assert np.array_equal(limit.pulled(np, steps, np.zeros(4)), steps)


def test_no_whole_weights_that_fit_are_nearer_to_the_pulled_ones(seed):
    rng = np.random.default_rng(seed)
    limit = SumLimit(least=-40, most=39, below=0, above=7)
    for _ in range(20):
        steps, bias = np.abs(rng.normal(0, 1.5, (4, 1))), np.zeros(1)
        pulled = limit.pulled(np, steps, bias)
        found = limit.rounded(np, steps, bias)
        room = limit.most // limit.above
        fits = [w for w in itertools.product(range(6), repeat=4) if sum(w) <= room]
        best = min(((np.array(w)[:, None] - pulled) ** 2).sum() for w in fits)
        assert ((found - pulled) ** 2).sum() == pytest.approx(best)


def test_pytorch_pulls_and_rounds_as_numpy_does(rng):
    limit = SumLimit(least=-128, most=127, below=4, above=3)
    steps, bias = rng.normal(0, 3, (50, 6)), np.round(rng.normal(0, 20, 6))
    both = torch().tensor(steps), torch().tensor(bias)
    assert np.array_equal(limit.rounded(np, steps, bias), limit.rounded(namespace(), *both).numpy())


# Graphs


def test_wide_accumulators_change_no_code():
    graph = quantized("w4a4")
    found = narrowed(graph, "wrap24").graph
    for name in layers(graph):
        op = found.node(name).op
        assert isinstance(op.accumulator, Stepwise)
        assert op.accumulator.overflow is Overflow.WRAP
        assert np.array_equal(op.weights, graph.node(name).op.weights)
    same = [np.asarray(hwsim.emulate(one, IMAGES)) for one in (graph, found)]
    assert np.array_equal(*same)  # reals too: sums have the scales that they had


def test_units_are_chosen_so_that_most_sums_fit():
    graph = quantized("w4a4")
    last = layers(graph)[-1]
    text = f"wrap9,{last}=none"
    plain = graph
    for name in layers(graph)[:-1]:
        op = graph.node(name).op
        frac = op.aligned(graph.input_types(graph.node(name))[0])[2]
        acc = Stepwise(format=Format(True, 9 - frac, frac), overflow=Overflow.WRAP)
        plain = plain.with_op(name, dataclasses.replace(op, accumulator=acc))
    assert right(narrowed(graph, text).graph) > right(plain) + 0.2


def worst(graph: Graph, name: str) -> np.ndarray:
    """Inputs of a dense layer that make each of its sums largest, and smallest."""
    op, x = graph.node(name).op, graph.input_types(graph.node(name))[0]
    rows = op.matrix().T
    return np.concatenate([np.where(rows > 0, x.hi, x.lo), np.where(rows > 0, x.lo, x.hi)])


@pytest.mark.parametrize("scheme", ["power-of-two", "affine"])
def test_no_input_wraps_a_sum_of_a_network_trained_to_fit(scheme):
    model = float_model()
    batches = Batches(model, {"image": IMAGES[:256]})
    graph = quantized_by(model, batches, LinearScheme.parse("w6a4", {}, scheme=scheme)).graph
    found = narrowed(graph, "exact12")
    tuned = trained(found, epochs=1, check=True, few=256)
    before = {name: found.graph.node(name).op.weights for name in layers(graph)}
    assert any((tuned.node(n).op.weights != weights).any() for n, weights in before.items())
    for name in layers(tuned):
        kind = tuned.types()[tuned.node(name).output]
        assert -(1 << 11) <= kind.lo <= kind.hi < 1 << 11
        assert kind.format.width <= 12
    assert max(graph.types()[graph.node(n).output].format.width for n in layers(graph)) > 12


@pytest.mark.parametrize("overflow", [Overflow.WRAP, Overflow.SAT])
def test_sums_that_always_fit_are_those_of_an_accumulator_that_wraps_or_saturates(overflow):
    graph = trained(narrowed(quantized("w4a4"), "exact9"), epochs=1)
    last = layers(graph)[-1]
    node, x = graph.node(last), graph.input_types(graph.node(last))[0]
    frac = node.op.aligned(x)[2]
    codes = worst(graph, last)
    sums = codes @ node.op.matrix() + node.op.bias
    assert sums.min() < -200  # the bounds are met nearly
    for bits, same in ((9, True), (8, False)):
        acc = Stepwise(format=Format(True, bits - frac, frac), overflow=overflow)
        held = dataclasses.replace(node.op, accumulator=acc)
        steps = held.steps(x)
        assert bool(steps.fits.all()) is same
        found = held.accumulate(np, codes, held.prepare([x], Carrier.INT64))
        assert np.array_equal(found, sums) is same


@pytest.mark.parametrize("mode", ["wrap", "sat"])
def test_a_network_learns_to_live_in_a_narrow_accumulator(mode):
    graph = trained(Narrowed(quantized("w4a4"), {}, {}))
    first, *inner, last = layers(graph)
    before = narrowed(graph, f"{mode}7,{first}=none,{last}=none")
    after = trained(before)
    assert all(after.node(n).op.accumulator.format.width == 7 for n in inner)
    assert after.node(last).op.accumulator == EXACT
    assert right(after) > right(before.graph) + 0.02
    assert right(after) > right(graph) - 0.12


# What is refused


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("12", r"an accumulator must be like exact16, wrap12 or sat12, of 2 to 48 bits, or none"),
        ("round12", r"not 'round12'"),
        ("wrap1", r"not 'wrap1'"),
        ("wrap12,nothing*=sat12", r"must be of a layer, .*, not of 'nothing\*', which fits none"),
    ],
)
def test_a_width_that_is_none_is_told(text, said):
    with pytest.raises(HwsimError, match=said):
        sum_widths(quantized("w4a4"), text)


@pytest.mark.parametrize("mode", ["wrap", "sat", "exact"])
def test_accumulators_that_do_not_hold_an_input_are_refused_by_the_node(mode):
    graph = quantized("w4a4")
    first = layers(graph)[0]
    with pytest.raises(HwsimError, match=rf"the accumulator of node '{first}' must have at least"):
        narrowed(graph, f"{mode}4")


def test_accumulators_of_a_layer_that_shows_its_sums_must_hold_its_products():
    graph = quantized("w8a8")
    last = layers(graph)[-1]
    said = rf"the accumulator of node '{last}' must have at least 16 bits, which one product"
    with pytest.raises(HwsimError, match=said):
        narrowed(graph, f"{last}=sat12")


def test_accumulators_of_inputs_with_a_zero_point_are_refused_but_bounds_are_not():
    model = float_model("digits_cnn_asym")
    graph = hwsim.load(MODELS / "digits_cnn_asym.onnx")
    assert model.inputs
    with pytest.raises(HwsimError, match=r"zero point 0, not -?\d+; exact20 will do"):
        narrowed(graph, "wrap20")
    kinds = narrowed(graph, "exact20").graph.types()
    assert all(kinds[graph.node(n).output].format.width <= 20 for n in layers(graph))


def test_overflow_must_weigh_nothing_or_more():
    with pytest.raises(HwsimError, match="overflow must be from 0 on, not -1"):
        Training(overflow=-1.0)


# Hardware


@pytest.mark.slow
@pytest.mark.needs("verilator")
@pytest.mark.parametrize("sums", ["exact9", "wrap8", "sat8"])
def test_the_hardware_of_a_network_trained_for_narrow_sums_has_its_codes(sums, tmp_path):
    graph = quantized("w4a4")
    first, *inner, last = layers(graph)
    wider = sums.replace("9", "13").replace("8", "12")
    tuned = trained(narrowed(graph, f"{sums},{first}={wider},{last}=none"))
    assert all(tuned.types()[tuned.node(n).output].format.width <= int(sums[-1]) for n in inner)
    hwsim.build(tuned, tmp_path / "out", rtl_only=True)
    noise = np.random.default_rng(seeded(5)).random((24, 1, 8, 8), np.float32)  # overflows more
    found = hwsim.verify(tmp_path / "out", np.concatenate([noise, IMAGES[:24]]))
    assert found.ok
    assert found.different == 0 < found.compared
