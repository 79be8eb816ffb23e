"""Bits by layer for a bound: the knapsack is the optimum, and what is chosen keeps the bound."""

from __future__ import annotations

import itertools
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from support.seeds import seeded

import hwsim
from hwsim.compress.calibration import Form
from hwsim.compress.choice.divergence import Yardstick
from hwsim.compress.choice.knapsack import Knapsack, Question, Together
from hwsim.compress.choice.run import some
from hwsim.compress.choice.sensitivity import measured, priced
from hwsim.compress.choice.simulate import with_tensors, with_weights
from hwsim.compress.choice.target import ChoiceTarget, parse_accuracy
from hwsim.compress.choice.widths import Range, Room
from hwsim.compress.figures import bit_operations, weight_bits
from hwsim.compress.float_model import FloatModel
from hwsim.compress.quantize.linear import formats, rounded
from hwsim.compress.quantize.options import LinearScheme, Widths
from hwsim.compress.samples import Batches
from hwsim.data.sets import load
from hwsim.errors import HwsimError

MODELS = Path(__file__).resolve().parents[2] / "examples" / "models"
FLOAT = MODELS / "digits_dw_skip.float.onnx"
DIGITS = load("digits")
X, Y = DIGITS.train.reals(), DIGITS.train.labels
FEW = Widths(weights=2, activations=2)


def every(sack):
    """All choices of a knapsack."""
    return itertools.product(*(range(len(q.values)) for q in sack.questions))


def optimum(sack, budget):
    """The least loss within a budget, by trying all; None where nothing is."""
    losses = [sack.loss(one) for one in every(sack) if sack.cost(one) <= budget]
    return min(losses, default=None)


def by_ratio(sack, budget):
    """The mutant: from the dearest down, each time the step that loses least for what it saves."""
    now = list(sack.dearest)
    while sack.cost(tuple(now)) > budget:
        steps = [[*now[:k], n - 1, *now[k + 1 :]] for k, n in enumerate(now) if n]
        saved = [sack.cost(tuple(now)) - sack.cost(tuple(one)) for one in steps]
        lost = [sack.loss(tuple(one)) - sack.loss(tuple(now)) for one in steps]
        now = min(zip(steps, saved, lost, strict=True), key=lambda s: s[2] / max(s[1], 1e-9))[0]
    return tuple(now)


def random_sack(rng):
    """Some questions whose losses span many orders, and pairs that cost something together."""
    counts = rng.integers(2, 6, int(rng.integers(2, 5))).tolist()
    questions = []
    for k, n in enumerate(counts):
        losses = np.sort(10.0 ** rng.uniform(-7, 1, n))[::-1]
        costs = np.sort(rng.integers(0, 10 ** int(rng.integers(2, 9)), n))
        values = tuple(range(n))
        questions.append(Question(f"q{k}", "weights", values, tuple(losses), tuple(costs.tolist())))
    pairs = []
    for first, second in itertools.combinations(range(len(counts)), 2):
        if rng.integers(2):
            base = int(rng.integers(1, 10**6))
            table = tuple(
                tuple(base * (i + 1) * (j + 1) for j in range(counts[second]))
                for i in range(counts[first])
            )
            pairs.append(Together(first, second, table))
    return Knapsack(tuple(questions), tuple(pairs), int(rng.integers(0, 1000)))


def test_a_knapsack_is_the_optimum_of_all_choices():
    rng = np.random.default_rng(seeded(20))
    differ = 0
    for _ in range(60):
        sack = random_sack(rng)
        costs = sorted({sack.cost(one) for one in every(sack)})
        for budget in {costs[len(costs) // 3], costs[len(costs) // 2] + 1, costs[0], costs[-1]}:
            found = sack.solve(budget)
            assert sack.cost(found) <= budget
            assert sack.loss(found) == pytest.approx(optimum(sack, budget), rel=1e-6, abs=2e-9)
            mutant = by_ratio(sack, budget)
            differ += sack.loss(mutant) > optimum(sack, budget) * 1.001
        assert sack.solve(costs[0] - 1) is None
    assert differ > 5


@pytest.fixture(scope="module")
def room():
    model = FloatModel.read(MODELS / "digits_cnn_int8.float.onnx")
    batches = Batches(model, {model.inputs[0]: X}, samples=256)
    return Room.of(model, batches, LinearScheme(), tensors=False), batches


@pytest.mark.parametrize("cost", ["bits", "operations"])
def test_the_bits_of_a_network_are_the_best_of_all_choices(room, cost):
    places, batches = room
    questions = measured(places, batches, Range(FEW, Widths()))
    sack = priced(places, questions, cost)
    assert len(list(every(sack))) == 7**4
    least, most = sack.cost(sack.cheapest), sack.cost(sack.dearest)
    for share in (0.1, 0.3, 0.5, 0.8):
        budget = round(least + (most - least) * share)
        found = sack.solve(budget)
        assert sack.cost(found) <= budget and sack.loss(found) == optimum(sack, budget)


def test_costs_are_those_of_the_graph_that_is_made():
    model = FloatModel.read(FLOAT)
    batches = Batches(model, {model.inputs[0]: X}, samples=64)
    places = Room.of(model, batches, LinearScheme(), tensors=True)
    rng = np.random.default_rng(seeded(21))
    for cost, count in (("bits", weight_bits), ("operations", bit_operations)):
        span = Range(FEW, Widths())
        questions = tuple(
            Question(p.name, p.kind, bits, (0.0,) * len(bits), (0,) * len(bits))
            for p in places.places
            for bits in (tuple(span.of(p)),)
        )
        sack = priced(places, questions, cost)
        for _ in range(3):
            answers = tuple(int(n) for n in rng.integers(0, 7, len(questions)))
            bits = {
                p: q.values[a] for p, q, a in zip(places.places, questions, answers, strict=True)
            }
            asked = dict(named(places.scheme(bits).layers))
            made = hwsim.quantize(FLOAT, X[:64], layers=asked)
            assert count(made.graph) == sack.cost(answers)


def named(layers):
    """Patterns with bits, as `quantize` takes them; of one name the last."""
    found = {}
    for name, some_bits in layers:
        before = found.get(name, ("", ""))
        weights = f"w{some_bits.weights}" if some_bits.weights else before[0]
        codes = f"a{some_bits.activations}" if some_bits.activations else before[1]
        found[name] = (weights, codes)
    return ((name, "".join(parts)) for name, parts in found.items())


@pytest.mark.needs("torch")
@pytest.mark.parametrize("name", ["temporal", "branches", "decoder"])
def test_bounds_are_kept_where_hardware_stores_more_weights_than_the_float_model_has(name):
    from support.float_networks import exported, network

    model = exported(network(name, seeded(22)), dynamo=False, batch=None)
    x = np.random.default_rng(seeded(23)).random((48, 1, 8, 8), np.float32)
    even = hwsim.quantize(model, x, bits="w6a6")
    most = int(weight_bits(even.graph) * 0.7)
    made = hwsim.quantize(model, x, bits="w6a6", least="w3a3", target_bits=most)
    assert weight_bits(made.graph) == made.choice.best["cost"] <= most
    labels = np.asarray(hwsim.emulate(even.graph, x)).argmax(1)
    asked = {"bits": "w6a6", "least": "w5a5", "target_accuracy": 0.7, "labels": labels}
    made = hwsim.quantize(model, x, **asked)
    assert bit_operations(made.graph) == made.choice.best["cost"] < bit_operations(even.graph)


def test_layers_that_share_their_weights_have_one_number_of_bits():
    node, tensor = onnx.helper.make_node, onnx.numpy_helper.from_array
    rng = np.random.default_rng(seeded(24))
    weights = rng.normal(size=(8, 8)).astype(np.float32)
    last = rng.normal(size=(8, 3)).astype(np.float32)
    graph = onnx.helper.make_graph(
        [
            node("MatMul", ["x", "w"], ["a"], "one"),
            node("Relu", ["a"], ["b"], "relu"),
            node("MatMul", ["b", "w"], ["c"], "two"),
            node("MatMul", ["c", "v"], ["y"], "last"),
        ],
        "shared",
        [onnx.helper.make_tensor_value_info("x", 1, ["n", 8])],
        [onnx.helper.make_tensor_value_info("y", 1, ["n", 3])],
        [tensor(weights, "w"), tensor(last, "v")],
    )
    opset = [onnx.helper.make_opsetid("", 17)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=10)
    x = rng.normal(size=(64, 8)).astype(np.float32)
    made = hwsim.quantize(model, x, target_bits=5 * 128 + 4 * 24)
    rows = {row["name"]: row["chosen"] for row in made.choice.rows}
    assert set(rows) == {"one + two", "last"}
    bits = {row["name"]: row["weight_bits"] for row in made.rows if "weight_bits" in row}
    assert bits["one"] == bits["two"] == rows["one + two"] and bits["last"] == rows["last"]
    assert weight_bits(made.graph) == made.choice.best["cost"] <= 5 * 128 + 4 * 24


def test_bit_operations_are_products_by_both_widths():
    graph = hwsim.quantize(FLOAT, X[:64], bits="w3a5").graph
    products = {  # places x kernel x channels in x out, by the layers of examples/models
        "stem": 64 * 9 * 16,
        "depthwise": 64 * 9 * 16,
        "pointwise": 64 * 16 * 16,
        "conv": 16 * 9 * 16 * 32,
        "logits": 32 * 10,
    }
    read = dict.fromkeys(products, 5) | {"stem": 8}
    assert bit_operations(graph) == sum(n * 3 * read[name] for name, n in products.items())
    assert weight_bits(graph) == 3 * (144 + 144 + 256 + 4608 + 320)


@pytest.mark.parametrize("bits", [1, 2, 5, 8, 16])
@pytest.mark.parametrize("scheme", ["power-of-two", "affine"])
def test_a_tensor_in_the_float_model_is_rounded_as_its_quantizer_does(scheme, bits):
    model = FloatModel.read(FLOAT)
    batches = Batches(model, {model.inputs[0]: X}, samples=64)
    widths = Widths(activations=bits)
    made = formats(model, batches, LinearScheme(widths=widths, scheme=scheme))
    assert LinearScheme(scheme=scheme).form in (Form.POWER_OF_TWO, Form.AFFINE)
    for name in ("stem_relu", "pointwise", "add"):
        by = made.tensors[name]
        last = "Where" if by.signed and by.bits == 1 else "Mul"
        changed = with_tensors(model, {name: by})
        (found,) = changed.run([next(iter(batches))], [name, f"{name}.choice.{last}"])
        scale = np.float32(np.ravel(by.scale)[0])
        steps = (found[name] / scale).astype(np.float64)
        low, high = -(1 << by.bits - 1), (1 << by.bits - 1) - 1
        low, high = (low, high) if by.signed else (0, (1 << by.bits) - 1)
        codes = np.clip(np.round(steps), low - by.zero_point, high - by.zero_point)
        want = np.where(steps >= 0, 1.0, -1.0) if last == "Where" else codes
        assert (found[f"{name}.choice.{last}"] == (want * scale).astype(np.float32)).all()
        assert len(np.unique(want)) > 1


def test_weights_in_the_float_model_are_those_of_the_quantized_one():
    model = FloatModel.read(FLOAT)
    batches = Batches(model, {model.inputs[0]: X}, samples=64)
    made = formats(model, batches, LinearScheme(widths=Widths(weights=3)))
    layers = {layer.name: layer for layer in made.found.layers}
    changed = with_weights(model, layers, made.weights)
    by = made.weights["conv"]
    shape = (-1, 1, 1, 1)
    scale = np.asarray(by.scale, np.float64).reshape(shape)
    held = layers["conv"].weights
    want = rounded(model.constants[held].astype(np.float64), scale, (-3, 3))
    assert (changed.constants[held] == want).all() and (want != model.constants[held]).any()


def test_the_loss_of_scores_is_the_divergence_of_classes_and_of_others_the_squared_error():
    p, q = np.array([0.5, 0.25, 0.25]), np.array([0.25, 0.25, 0.5])
    yardstick = Yardstick.of([{"y": np.log(p)[None] + 3}])
    divergence = float((p * np.log(p / q)).sum())
    assert yardstick.loss([{"y": np.log(q)[None] - 1}]) == pytest.approx(divergence)
    assert Yardstick.of([{"y": p[None]}]).loss([{"y": q[None]}]) == pytest.approx(divergence)
    assert yardstick.loss([{"y": np.log(p)[None]}]) == pytest.approx(0, abs=1e-12)
    assert yardstick.agreement([{"y": np.array([[3.0, 2, 1]])}]) == 1
    assert yardstick.agreement([{"y": np.array([[1.0, 2, 1]])}]) == 0
    wide = Yardstick.of([{"y": np.array([[[3.0]], [[4.0]]])}])
    assert wide.loss([{"y": np.array([[[3.0]], [[5.0]]])}]) == pytest.approx(0.5 * 0.5 / 12.5)
    assert wide.agreement([{"y": np.array([[[3.0]], [[5.0]]])}]) is None


def test_samples_are_taken_evenly_over_all_batches():
    batches = [{"x": np.arange(start, start + 10)} for start in range(0, 50, 10)]
    found = np.concatenate([batch["x"] for batch in some(batches, 8)])
    assert found.tolist() == list(range(0, 50, 7))


def test_what_is_chosen_keeps_the_bits_and_is_nearer_than_the_same_bits_for_all():
    model = MODELS / "digits_cnn_asym.float.onnx"
    even = hwsim.quantize(model, X, bits="w4a8", correct_bias=True)
    most = weight_bits(even.graph)
    made = hwsim.quantize(model, X, target_bits=most, correct_bias=True)
    assert most >= weight_bits(made.graph) == made.choice.best["bits"]
    assert made.choice.best["loss"] == pytest.approx(loss_by_hand(model, made.graph))
    assert made.choice.best["loss"] < 0.9 * loss_by_hand(model, even.graph)
    weights = {row["name"]: row["chosen"] for row in made.choice.rows}
    shown = {row["name"]: row["weight_bits"] for row in made.rows if "weight_bits" in row}
    assert weights == shown and len(set(weights.values())) > 1
    again = hwsim.quantize(
        model, X, layers={n: f"w{bits}" for n, bits in weights.items()}, correct_bias=True
    )
    assert again.graph.hash() == made.graph.hash()


def loss_by_hand(model, graph):
    """The divergence of the classes on the samples, which are fewer than 4,096, in plain NumPy."""
    floats = FloatModel.read(model)
    (name,), (last,) = floats.inputs, floats.outputs
    (reals,) = floats.run([{name: X}], [last])
    logs = []
    for scores in (reals[last], hwsim.emulate(graph, X)):
        scores = np.asarray(scores, np.float64)
        logs.append(scores - np.log(np.exp(scores).sum(axis=1, keepdims=True)))
    return float((np.exp(logs[0]) * (logs[0] - logs[1])).sum(axis=1).mean())


def test_the_least_that_keeps_an_accuracy_has_no_step_down_that_does():
    x, y = X[::2], Y[::2]
    made = hwsim.quantize(
        FLOAT, x, target_accuracy="98%", cost="bits", test=(x, y), least="w2a8", correct_bias=True
    )
    kept = {row["name"]: row["chosen"] for row in made.choice.rows}
    assert hwsim.accuracy(made.graph, x, y).top1 == made.choice.best["accuracy"] >= 0.98
    assert made.choice.best["bits"] < weight_bits(hwsim.quantize(FLOAT, x).graph)
    for name, bits in kept.items():
        if bits > 2:
            layers = {n: f"w{k - (n == name)}" for n, k in kept.items()}
            lower = hwsim.quantize(FLOAT, x, layers=layers, correct_bias=True)
            assert hwsim.accuracy(lower.graph, x, y).top1 < 0.98
    costs = [one["cost"] for one in made.choice.curve]
    right = [one["accuracy"] for one in made.choice.curve]
    assert costs == sorted(costs) and right == sorted(right) and len(costs) > 2


def test_activations_are_chosen_too_where_operations_count():
    x, y = X[::3], Y[::3]
    made = hwsim.quantize(FLOAT, x, target_accuracy=0.9, labels=y, ends="w8a8", samples=256)
    rows = {(row["name"], row["of"]): row["chosen"] for row in made.choice.rows}
    assert {of for _, of in rows} == {"weights", "activations"}
    assert ("stem", "weights") not in rows and ("average", "activations") not in rows
    shown = {row["name"]: row for row in made.rows}
    assert shown["stem"]["weight_bits"] == shown["logits"]["weight_bits"] == 8
    assert shown["image"]["bits"] == shown["average"]["bits"] == 8
    for name, of in rows:
        if of == "weights":
            assert shown[name]["weight_bits"] == rows[name, of]
    assert min(rows.values()) < 5
    assert made.choice.best["operations"] == bit_operations(made.graph) == made.choice.best["cost"]


def test_a_bound_that_nothing_meets_is_told_with_the_nearest():
    with pytest.raises(HwsimError, match=r"fits 10,000 bits: the fewest are 10,944$") as told:
        hwsim.quantize(FLOAT, X[:64], target_bits=10_000)
    assert told.value.exit_status == 1
    right = hwsim.accuracy(hwsim.quantize(FLOAT, X[:64]).graph, X, Y).top1
    assert right < 0.9999
    with pytest.raises(HwsimError) as told:
        hwsim.quantize(FLOAT, X[:64], target_accuracy=0.9999, test=(X, Y))
    assert told.value.exit_status == 1
    assert str(told.value).startswith(
        "no choice of 2 to 8 bits keeps an accuracy of 99.99 %: the highest is 99."
    )
    assert " at w8a8" in str(told.value)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"target_accuracy": 1.2}, "must be above 0 and at most 1, as 0.915 or 91.5%, not 1.2"),
        ({"target_accuracy": "0%"}, "must be above 0 and at most 1"),
        ({"target_accuracy": "much"}, "must be like 0.915 or 91.5%, not 'much'"),
        ({"target_accuracy": "nan"}, "must be like 0.915 or 91.5%, not 'nan'"),
        ({"target_accuracy": float("nan")}, "must be above 0 and at most 1"),
        ({"target_bits": 0}, "the target bits must be at least 1, not 0"),
        ({"target_accuracy": 0.9}, "must come with samples and their labels, not without"),
        ({"target_bits": 9, "least": "w1a2"}, "least bits of weights must be at least 2"),
        ({"target_bits": 9, "least": "w9a2"}, "must be at most 8, which --bits gives, not 9"),
        ({"target_bits": 9, "cost": "area"}, "cost must be one of operations, bits, not 'area'"),
        ({"target_bits": 99999, "layers": {"*": "w4"}}, "must be a layer whose bits can be chosen"),
    ],
)
def test_a_target_of_nonsense_is_one_sentence(asked, sentence):
    with pytest.raises(HwsimError) as told:
        hwsim.quantize(FLOAT, X[:16], **asked)
    assert sentence in str(told.value) and told.value.exit_status == 2


def test_shares_are_read_in_percent_and_as_they_are():
    assert parse_accuracy("91.5%") == parse_accuracy("91.5 %") == parse_accuracy("0.915") == 0.915
    assert parse_accuracy(1) == 1 and replace(ChoiceTarget(bits=3), bits=4).kind == "bits"


def test_without_scipy_a_choice_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(HwsimError, match=r'a choice of widths needs scipy.*"hwsim\[train\]"'):
        hwsim.quantize(FLOAT, X[:16], target_bits=20_000)
