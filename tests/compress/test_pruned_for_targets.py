"""Amounts by layer for a bound: what is chosen keeps it, and is the best that trying all finds."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path

import digits
import numpy as np
import onnx
import pytest
from support.cli_calls import refused, run, tiny
from support.seeds import seeded

import hwsim
from hwsim.compress.choice.knapsack import Knapsack, Question, Together
from hwsim.compress.prune.masks import masks_of, parse_pattern, weighted_layers
from hwsim.compress.prune.prune import Pruning, prune
from hwsim.compress.prune.rounds import LayerEmptied
from hwsim.errors import HwsimError
from rtl.plan.explore import fewest_cycles

pytestmark = pytest.mark.needs("onnxruntime")
MODELS = Path(digits.__file__).parent / "models"
MODEL, FLOAT = MODELS / "digits_cnn_int8.onnx", MODELS / "digits_cnn_int8.float.onnx"
DATA = digits.load()
X, Y = DATA.train_images, DATA.train_labels


@pytest.fixture(scope="module")
def graph():
    return hwsim.load(MODEL)


def stay(graph):
    """Bits of weights that are not 0, in plain Python."""
    layers = weighted_layers(graph).values()
    return sum(op.weight_bits * sum(w != 0 for w in op.weights.ravel().tolist()) for op in layers)


def shares(graph, whole):
    """Of each layer, the share of weights that differ from 0 in both."""
    old = weighted_layers(whole)
    return {
        name: np.count_nonzero(op.weights) / np.count_nonzero(old[name].weights)
        for name, op in weighted_layers(graph).items()
    }


def apart(scores, wanted):
    """The mean divergence of the classes' probabilities, in plain NumPy."""
    logs = [s - np.log(np.exp(s).sum(axis=1, keepdims=True)) for s in (wanted, scores)]
    return float((np.exp(logs[0]) * (logs[0] - logs[1])).sum(axis=1).mean())


def few(count):
    """So many of the samples, evenly over all, as a choice takes them."""
    return X[np.linspace(0, len(X) - 1, min(count, len(X))).astype(np.int64)]


def test_what_a_layer_alone_loses_is_the_divergence_without_that_share_of_it(graph):
    found = hwsim.prune(graph, x=X, target_bits=30_000).choice
    x = few(512)
    wanted = np.asarray(hwsim.emulate(graph, x), np.float64)
    for row in found.rows:
        assert row["values"] == list(range(1, 17))
        for kept in (1, 7, 16):
            how = Pruning(amount=1 - kept / 16, layers=(row["name"],))
            scores = np.asarray(hwsim.emulate(prune(graph, how).graph, x), np.float64)
            assert row["losses"][kept - 1] == pytest.approx(apart(scores, wanted), abs=1e-12)


@pytest.fixture(scope="module")
def small():
    """A perceptron of two layers, whose choices can all be tried, and its samples."""
    rng = np.random.default_rng(seeded(70))
    tensor, node = onnx.numpy_helper.from_array, onnx.helper.make_node
    first = rng.laplace(size=(12, 20)).astype(np.float32)
    last = (rng.normal(size=(20, 5)) * rng.choice([0.1, 1, 3], (20, 1))).astype(np.float32)
    graph = onnx.helper.make_graph(
        [
            node("MatMul", ["x", "w"], ["a"], "first"),
            node("Relu", ["a"], ["b"], "relu"),
            node("MatMul", ["b", "v"], ["y"], "last"),
        ],
        "small",
        [onnx.helper.make_tensor_value_info("x", 1, ["n", 12])],
        [onnx.helper.make_tensor_value_info("y", 1, ["n", 5])],
        [tensor(first, "w"), tensor(last, "v")],
    )
    opset = [onnx.helper.make_opsetid("", 17)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=10)
    x = rng.normal(size=(600, 12)).astype(np.float32)
    return hwsim.quantize(model, x).graph, x


def every_choice(graph, x):
    """All 256 networks of two layers: parts that stay, bits, agreement and loss."""
    wanted = np.asarray(hwsim.emulate(graph, x), np.float64)
    scores = {n: np.abs(op.weights.astype(float)) for n, op in weighted_layers(graph).items()}
    found = {}
    for kept in itertools.product(range(1, 17), repeat=2):
        amounts = dict(zip(scores, (1 - k / 16 for k in kept), strict=True))
        made = prune(graph, Pruning(amounts=amounts)).graph
        out = np.asarray(hwsim.emulate(made, x), np.float64)
        same = (out.argmax(1) == wanted.argmax(1)).mean()
        found[kept] = stay(made), (same, -apart(out, wanted))
    return found


def test_within_bits_it_is_among_the_best_of_all_choices(small):
    graph, x = small
    every = every_choice(graph, x)
    most = max(bits for bits, _ in every.values())
    ahead = {"chosen": 0, "even": 0}
    for share in (0.25, 0.4, 0.55, 0.7):
        bits = int(most * share)
        inside = [rank for size, rank in every.values() if size <= bits]
        made = hwsim.prune(graph, x=x, target_bits=bits)
        kept = tuple(row["chosen"] for row in made.choice.rows)
        assert every[kept][0] == stay(made.graph) == made.choice.best["bits"] <= bits
        assert made.choice.best["agreement"] == pytest.approx(every[kept][1][0])
        even = max(k for k in range(1, 17) if every[k, k][0] <= bits)  # the mutant: all alike
        for how, one in (("chosen", kept), ("even", (even, even))):
            ahead[how] += sum(rank > every[one][1] for rank in inside)
    assert ahead["chosen"] <= 4 and ahead["even"] >= 10


def test_an_accuracy_is_kept_and_no_layer_can_lose_a_part_more(graph):
    made = hwsim.prune(graph, x=X, target_accuracy="97%", test=(X[::2], Y[::2]))
    kept = {row["name"]: row["chosen"] for row in made.choice.rows}
    right = hwsim.accuracy(made.graph, X[::2], Y[::2]).top1
    assert right == made.choice.best["accuracy"] >= 0.97
    assert stay(made.graph) == made.choice.best["bits"] < 0.6 * stay(graph)
    for name, parts in kept.items():
        if parts > 1:
            amounts = {n: 1 - (k - (n == name)) / 16 for n, k in kept.items()}
            lower = prune(graph, Pruning(amounts=amounts)).graph
            assert hwsim.accuracy(lower, X[::2], Y[::2]).top1 < 0.97


@pytest.mark.parametrize(
    ("pattern", "asked"),
    [
        ("4x4", {"target_bits": 36_000}),
        ("1:4", {"target_bits": 30_000}),
        ("channels", {"target_bits": 30_000}),
        ("channels", {"target_cycles": 3_000}),
        ("4x4", {"target_cycles": 3_000}),
    ],
)
def test_every_pattern_keeps_its_bound(graph, pattern, asked):
    made = hwsim.prune(graph, x=X[:256], pattern=pattern, **asked)
    if "target_cycles" in asked:
        cycles = fewest_cycles(made.graph)
        assert cycles == made.choice.best["cycles"] <= 3_000 < fewest_cycles(graph)
    else:
        assert stay(made.graph) <= made.choice.best["bits"] <= asked["target_bits"] < stay(graph)
    assert made.choice.cost == "bits"
    assert all(one["cost"] == one["bits"] for one in (made.choice.best, *made.choice.tried))
    chosen = {row["name"]: row["chosen"] for row in made.choice.rows}
    layers = weighted_layers(made.graph)
    if pattern == "channels":
        assert {name: layers[name].outputs for name in chosen} == chosen and not made.masks
    for name, mask in made.masks.items():
        assert not layers[name].weights[~mask].any()
        matrix = mask.reshape(-1, mask.shape[-1])
        if pattern == "4x4":
            cells = matrix.reshape(matrix.shape[0] // 4, 4, -1, 4).sum(axis=(1, 3))
            assert set(np.unique(cells)) <= {0, 16}
            assert (cells == 0).sum() == int(cells.size * (1 - chosen[name] / 16) + 0.5)
        if pattern == "1:4":
            groups = np.moveaxis(mask, -2, -1).reshape(-1, 4)
            assert set(groups.sum(axis=1).tolist()) == {chosen[name]}
    assert any(not row["same"] for row in made.choice.rows)


@pytest.mark.parametrize(
    ("pattern", "parts"), [("2x4", [16]), ("2x2", [8, 16]), ("1x2", [4, 8, 12, 16])]
)
def test_of_few_blocks_each_number_is_a_choice_and_one_stays(pattern, parts):
    x = np.random.default_rng(seeded(73)).uniform(-100, 100, (16, 4))
    whole = hwsim.prune(tiny(), x=x, pattern=pattern, target_bits=32)
    assert whole.choice.rows[0]["values"] == parts
    for part in parts:
        bits = 32 * part // 16
        made = hwsim.prune(tiny(), x=x, pattern=pattern, target_bits=bits)
        chosen = made.choice.rows[0]["chosen"]
        assert chosen in parts and stay(made.graph) == 32 * chosen // 16 <= bits
    sentence = f"no choice of amounts by layer fits .* bits: the fewest are {2 * parts[0]}"
    with pytest.raises(HwsimError, match=sentence) as told:
        hwsim.prune(tiny(), x=x, pattern=pattern, target_bits=2 * parts[0] - 1)
    assert told.value.exit_status == 1


def test_a_layer_of_which_a_target_leaves_nothing_but_0_is_warned_of():
    whole = tiny()
    weights = whole.nodes[0].op.weights.copy()
    weights[-1, -1] = 0  # without activity all scores are alike, and the last weight stays
    whole = whole.with_op("dense", dataclasses.replace(whole.nodes[0].op, weights=weights))
    with pytest.warns(LayerEmptied, match="no weight but 0 is left in 'dense'"):
        hwsim.prune(whole, x=np.zeros((4, 4)), by="activation", target_bits=3)


def test_layers_that_are_not_named_stay_whole(graph):
    made = hwsim.prune(graph, x=X[:128], target_bits=40_000, layers=["conv3"])
    assert [row["name"] for row in made.choice.rows] == ["conv3"]
    for name, share in shares(made.graph, graph).items():
        assert (share < 1) == (name == "conv3")
    assert stay(made.graph) == made.choice.best["cost"] <= 40_000


def test_bits_that_stay_are_those_of_each_channel():
    whole = hwsim.quantize(FLOAT, X[:128], bits="w4a8", channel_bits="2-6").graph
    made = hwsim.prune(whole, x=X[:128], target_bits=12_000)
    total = 0
    for op in weighted_layers(made.graph).values():
        for k, bits in enumerate(op.channel_bits or (op.weight_bits,) * op.outputs):
            total += bits * sum(w != 0 for w in op.weights[..., k].ravel().tolist())
    assert total == made.choice.best["bits"] <= 12_000
    assert any(op.channel_bits for op in weighted_layers(made.graph).values())


def test_amounts_by_layer_go_of_each_layer_and_of_each_m():
    rng = np.random.default_rng(seeded(71))
    scores = {name: rng.random((8, 6)) for name in "abc"}
    masks = masks_of(scores, parse_pattern("unstructured"), amount={"a": 0.25, "b": 0.5})
    assert [int((~mask).sum()) for mask in masks.values()] == [12, 24, 0]
    masks = masks_of(scores, parse_pattern("1:4"), amount={"a": 0.25, "b": 0.75})
    assert [int((~mask).sum()) for mask in masks.values()] == [12, 36, 0]
    with pytest.raises(HwsimError, match="an amount must be from 0 to below 1, not 1"):
        masks_of(scores, parse_pattern("unstructured"), amount={"a": 1.0})


@pytest.mark.needs("torch", "array_api_compat")
def test_rounds_with_training_go_to_the_chosen_amounts(graph):
    asked = {"x": X[:256], "labels": Y[:256], "target_bits": 15_000}
    once = hwsim.prune(graph, **asked)
    rounds = {"rounds": 2, "epochs_a_round": 1, "rate": 3e-3, "batch": 64}
    trained = hwsim.prune(graph, **asked, **rounds)
    assert trained.choice.rows == once.choice.rows
    for name, mask in trained.masks.items():
        assert mask.sum() == once.masks[name].sum()
        assert not weighted_layers(trained.graph)[name].weights[~mask].any()
    assert any((trained.masks[name] != mask).any() for name, mask in once.masks.items())
    x, y = DATA.test_images, DATA.test_labels
    assert hwsim.accuracy(trained.graph, x, y).top1 > hwsim.accuracy(once.graph, x, y).top1


def test_a_float_model_is_pruned_by_the_command_to_its_bits(tmp_path, capsys):
    np.savez(tmp_path / "train.npz", x=X[:400], y=Y[:400])
    np.savez(tmp_path / "test.npz", x=X[400:800], y=Y[400:800])
    out, data = tmp_path / "s.onnx", tmp_path / "train.npz"
    asked = ("prune", FLOAT, "-o", out, "--data", data)
    status, said, _ = run(capsys, *asked, "--target-bits", 80_000, "--json")
    facts = json.loads(said)
    zeros, weights = facts["totals"]["zeros"][1], facts["totals"]["weights"][1]
    bits = 32 * (weights - zeros)
    assert status == 0 and bits == facts["choice"]["best"]["bits"] <= 80_000 < 32 * weights
    test = ("--test", tmp_path / "test.npz")
    status, said, _ = run(capsys, *asked, "--target-accuracy", "95%", *test)
    assert status == 0 and "trade-off found" in said and "judged on the test samples" in said
    made = hwsim.quantize(out, X[:64], bits="w8a8").graph
    assert stay(made) < 0.6 * stay(hwsim.quantize(FLOAT, X[:64]).graph)


def test_bounds_out_of_reach_are_told_with_the_nearest_and_nothing_is_written(tmp_path, capsys):
    np.savez(tmp_path / "train.npz", x=X[:128], y=Y[:128])
    out, data = tmp_path / "s.hwsim", tmp_path / "train.npz"
    asked = ("prune", MODEL, "-o", out, "--data", data)
    for options, sentence in (
        (
            ("--target-bits", 100),
            "fits 100 bits: the fewest are 3,552, with 1 of 16 parts in conv1",
        ),
        (("--target-cycles", 10), "no choice of amounts by layer takes an inference to 10 cycles"),
    ):
        assert sentence in refused(capsys, *asked, *options, status=1)
        assert not out.exists()


def test_samples_to_test_with_come_with_a_target(tmp_path, capsys):
    np.savez(tmp_path / "train.npz", x=X[:64], y=Y[:64])
    files = ("--data", tmp_path / "train.npz", "--test", tmp_path / "train.npz")
    told = refused(capsys, "prune", MODEL, "-o", tmp_path / "s.hwsim", *files)
    assert "--test must come with --target-accuracy" in told
    told = refused(capsys, "prune", MODEL, "-o", tmp_path / "s.hwsim", "--target-bits", 20_000)
    assert "a target bits must come with samples (--data), not without" in told


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"target_bits": 9}, "a target bits must come with samples, not without"),
        ({"target_bits": 9, "x": X, "amount": 0.3}, "an amount must not be given with a target"),
        ({"target_bits": 9, "x": X, "scope": "global"}, "the scope must be layer with a target"),
        ({"target_bits": 0, "x": X}, "the target bits must be at least 1, not 0"),
        ({"target_accuracy": 0.9, "x": X}, "must come with samples and their labels, not without"),
        ({"target_bits": 9, "x": X, "by": "taylor"}, "scores by taylor must come with labels"),
        ({"target_bits": 9, "x": X, "pattern": "7x7"}, "a pattern must divide the weights of one"),
        ({"target_bits": 9, "x": X, "layers": ["conv9"]}, "a layer to prune must be one of"),
        ({"target_cycles": 9, "x": X, "target": "ecp6"}, "target must be one of ecp5-25k"),
    ],
)
def test_what_does_not_go_with_a_target_is_one_sentence(graph, asked, sentence):
    with pytest.raises(HwsimError) as told:
        hwsim.prune(graph, **asked)
    assert sentence in str(told.value) and told.value.exit_status == 2


def test_a_large_knapsack_writes_nothing_to_the_output(capfd):
    rng = np.random.default_rng(seeded(72))
    questions, pairs = [], []
    for k in range(50):
        losses = np.sort(10.0 ** rng.uniform(-5, 0, 7))[::-1]
        questions.append(Question(f"q{k}", "weights", tuple(range(2, 9)), tuple(losses), (0,) * 7))
        rng.integers(100, 200_000)
    for k, n in enumerate(rng.integers(100, 2_000_000, 25).tolist()):
        table = tuple(tuple(n * a * b for b in range(2, 9)) for a in range(2, 9))
        pairs.append(Together(2 * k, 2 * k + 1, table))
    sack = Knapsack(tuple(questions), tuple(pairs))
    least, most = sack.cost(sack.cheapest), sack.cost(sack.dearest)
    for share in (0.1, 0.3, 0.6):
        budget = round(least + (most - least) * share)
        assert least < sack.cost(sack.solve(budget)) <= budget < most
    assert capfd.readouterr().out == ""
