"""Targets in a recipe: a quantize step that chooses bits or channels by layer, and is bound."""

from __future__ import annotations

import json
from pathlib import Path

import digits
import numpy as np
import pytest
from support.cli_calls import refused, run

import hwsim
from hwsim.compress.figures import weight_bits

pytestmark = pytest.mark.needs("onnxruntime")
FLOAT = Path(digits.__file__).parent.resolve() / "models" / "digits_cnn_int8.float.onnx"


@pytest.fixture
def place(tmp_path):
    data = digits.load()
    np.savez(tmp_path / "train.npz", x=data.train_images, y=data.train_labels)
    np.savez(tmp_path / "test.npz", x=data.test_images, y=data.test_labels)
    np.save(tmp_path / "x.npy", data.train_images)
    return tmp_path


def recipe(folder: Path, options: str, train: str = "train.npz") -> Path:
    file = folder / "r.toml"
    file.write_text(
        f'model = "{FLOAT}"\nout = "made"\n[data]\ntrain = "{train}"\ntest = "test.npz"\n'
        f'[[step]]\ndo = "quantize"\nsamples = 256\n{options}\n'
    )
    return file


def step_of(folder: Path) -> dict:
    return json.loads((folder / "made" / "report.json").read_text())["steps"][-1]


def test_bits_of_weights_are_a_bound_of_the_step(place, capsys):
    status, _, _ = run(capsys, "compress", recipe(place, "target_bits = 26000"))
    assert status == 0
    graph = hwsim.load(place / "made" / "model.hwsim")
    assert weight_bits(graph) <= 26000
    data = digits.load()
    asked = {"target_bits": 26000, "samples": 256, "labels": data.train_labels}
    assert graph.hash() == hwsim.quantize(FLOAT, data.train_images, **asked).graph.hash()
    assert step_of(place)["figures"]["weight_bits"] == weight_bits(graph)


def test_an_accuracy_is_that_of_the_test_samples_whose_labels_alone_will_do(place, capsys):
    options = 'target_accuracy = "97%"\ncost = "bits"\nleast = "w3a8"'
    status, _, _ = run(capsys, "compress", recipe(place, options, train="x.npy"))
    assert status == 0
    data = digits.load()
    found = hwsim.accuracy(place / "made" / "model.hwsim", data.test_images, data.test_labels)
    assert found.top1 >= 0.97
    assert step_of(place)["figures"]["accuracy"]["right"] == found.right


@pytest.mark.parametrize("kind", ["quantize", "prune"])
def test_labels_of_something_else_are_left_alone_but_not_those_an_accuracy_is_tested_with(
    kind, place, capsys
):
    data = digits.load()
    x, two = data.train_images[:128], np.zeros((128, 7, 2), np.float32)
    np.savez(place / "other.npz", x=x, y=two)
    step = "target_bits = 26000" + ("" if kind == "quantize" else "0")
    file = recipe(place, step, train="other.npz")
    file.write_text(file.read_text().replace('"quantize"\nsamples = 256', f'"{kind}"'))
    last = "" if kind == "quantize" else '[[step]]\ndo = "quantize"\n'
    file.write_text(file.read_text() + last)
    assert run(capsys, "compress", file)[0] == 0
    choice = json.loads((place / "made" / "report.json").read_text())["steps"][1]["facts"]["choice"]
    assert choice["judged"].endswith("classes and scores")
    np.savez(place / "test.npz", x=x, y=two)
    asked = file.read_text().replace(step, 'target_accuracy = "90%"').replace('"made"', '"next"')
    file.write_text(asked)
    assert f"step 1 ({kind}): [data], test: labels must be" in refused(capsys, "compress", file)
    np.savez(place / "test.npz", x=x)
    assert not (place / "next" / "model.hwsim").exists()


@pytest.mark.parametrize("kind", ["quantize", "prune"])
def test_labels_that_an_accuracy_lacks_are_told_before_anything_is_written(kind, place, capsys):
    np.savez(place / "test.npz", x=digits.load().test_images)
    file = recipe(place, 'target_accuracy = "90%"')
    last = "" if kind == "quantize" else '[[step]]\ndo = "quantize"\n'
    text = file.read_text().replace('"quantize"\nsamples = 256', f'"{kind}"') + last
    file.write_text(text)
    assert "[data], test: labels must be given" in refused(capsys, "compress", file)
    file.write_text(text.replace('test = "test.npz"\n', "").replace("train.npz", "x.npy"))
    part = "calibration" if kind == "quantize" else "train"
    assert f"[data], {part}: labels must be given" in refused(capsys, "compress", file)
    assert not (place / "made").exists()


def test_a_bound_that_nothing_meets_ends_the_recipe_with_the_nearest(place, capsys):
    file = recipe(place, "target_bits = 9000")
    status, _, told = run(capsys, "compress", file)
    assert status == 1
    assert "step 1 (quantize): no choice of 2 to 8 bits of weights fits 9,000 bits" in told
    assert not (place / "made" / "model.hwsim").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("target_accuracy = 91.5", "the target accuracy must be above 0"),
        (
            'target_bits = 26000\naccumulator = "sat9"',
            "an accumulator must not be given with a target bits, whose networks are tried with",
        ),
    ],
)
def test_a_target_of_nonsense_is_told_before_anything_is_written(options, sentence, place, capsys):
    told = refused(capsys, "compress", recipe(place, options))
    assert f"step 1 (quantize): {sentence}" in told
    assert not (place / "made").exists()


@pytest.mark.needs("torch", "array_api_compat")
@pytest.mark.parametrize("first", ["", '[[step]]\ndo = "prune"\namount = 0.3\n'])
def test_a_network_that_lost_channels_for_cycles_is_trained_from_its_codes(first, place, capsys):
    file = recipe(place, "target_cycles = 4000")
    head, step, tail = file.read_text().partition("[[step]]")
    trained = '[[step]]\ndo = "finetune"\nepochs = 1\n[[step]]\ndo = "plan"\n'
    file.write_text(head + first + step + tail + trained)
    status, _, _ = run(capsys, "compress", file)
    assert status == 0
    graph = hwsim.load(place / "made" / "model.hwsim")
    assert hwsim.plan(graph).fastest["cycles"] <= 4000
    if first:
        weights = [node.op.weights for node in graph.nodes if hasattr(node.op, "weights")]
        assert sum((w == 0).sum() for w in weights) > 0.15 * sum(w.size for w in weights)


PRUNED = '[[step]]\ndo = "prune"\n'


def test_a_step_that_prunes_takes_a_target_before_and_after_the_one_that_quantizes(place, capsys):
    file = recipe(place, 'bits = "w4a8"')
    head, step, tail = file.read_text().partition("[[step]]")
    before, after = "target_bits = 250_000\n", 'target_accuracy = "95%"\npattern = "2:4"\n'
    file.write_text(head + PRUNED + before + step + tail + PRUNED + after)
    status, _, _ = run(capsys, "compress", file)
    assert status == 0
    steps = json.loads((place / "made" / "report.json").read_text())["steps"]
    first, last = (steps[k]["facts"]["choice"] for k in (1, 3))
    figures = steps[1]["figures"]
    assert 32 * (figures["weights"] - figures["zeros"]) == first["best"]["bits"] <= 250_000
    data = digits.load()
    graph = hwsim.load(place / "made" / "model.hwsim")
    right = hwsim.accuracy(graph, data.test_images, data.test_labels).top1
    assert right == last["best"]["accuracy"] >= 0.95
    assert {row["chosen"] for row in last["rows"]} <= {2, 3, 4}
    assert any(row["chosen"] < 4 for row in last["rows"])


def test_what_a_pruning_target_cannot_be_is_told_before_anything_is_written(place, capsys):
    for options, sentence in (
        ("target_bits = 9\namount = 0.5\n", "step 1 (prune): an amount must not be given with"),
        ("target_cycles = 9\n", "step 1 (prune): target_cycles must come after the step that"),
    ):
        file = recipe(place, "")
        head, step, tail = file.read_text().partition("[[step]]")
        file.write_text(head + PRUNED + options + step + tail)
        assert sentence in refused(capsys, "compress", file)
        assert not (place / "made").exists()
