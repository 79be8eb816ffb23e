"""Calibration data: streams of batches, what is odd about them, and histograms to look at."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

import hwsim
from hwsim.compress.calibration import Histogram, observe, observe_channels
from hwsim.compress.calibration.shown import bars, binned, histogram_facts, remarks
from hwsim.compress.classes import MissingClass, warn_of_missing
from hwsim.compress.float_model import FloatModel
from hwsim.compress.samples import Batches, BatchStream
from hwsim.errors import HwsimError
from hwsim.reporting.histograms import draw

FLOAT = Path(__file__).resolve().parents[2] / "examples" / "models" / "digits_cnn_int8.float.onnx"
IMAGES = (load_digits().images / 16).astype(np.float32)[:, None]


@pytest.fixture(scope="module")
def model():
    return FloatModel.read(FLOAT)


def pieces():
    for start in range(0, 300, 70):
        yield IMAGES[:300][start : start + 70]


@pytest.mark.parametrize(
    "source",
    [pieces, [IMAGES[:100], {"image": IMAGES[100:300]}], (IMAGES[:300].astype(np.float64),)],
    ids=["generator function", "list", "float64"],
)
def test_a_stream_of_batches_gives_what_the_whole_array_gives(source):
    whole = hwsim.quantize(FLOAT, IMAGES[:300], bits="w4a6")
    found = hwsim.quantize(FLOAT, source, bits="w4a6")
    assert found.graph.hash() == whole.graph.hash()
    assert found.histograms == whole.histograms


def test_the_first_samples_of_a_stream_are_taken(model):
    found = list(BatchStream(model, pieces, samples=100))
    assert [len(batch["image"]) for batch in found] == [70, 30]
    assert np.concatenate([b["image"] for b in found]).tolist() == IMAGES[:100].tolist()


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (pieces(), "gone through again, such as a list of batches .*, not a generator"),
        (7, "must be an array, arrays by input name, or batches of them, not int"),
        ([], "calibration data must have at least one sample, not none"),
        ([IMAGES[:0]], "calibration data must have at least one sample, not none"),
        ([{"x": IMAGES}], r"inputs must be named \['image'\], not \['x'\]"),
        ([IMAGES.transpose(0, 2, 3, 1)], r"not \(1797, 8, 8, 1\); this looks like NHWC"),
        ([IMAGES[0]], r"not \(1, 8, 8\); a single sample needs a batch axis"),
        (["text"], "calibration data for input 'image' must be numbers, not <U4"),
        ([IMAGES[:9], np.where(IMAGES > 0.9, np.nan, IMAGES)], "'image' must be finite"),
    ],
)
def test_data_that_does_not_fit_is_told(source, says):
    with pytest.raises(HwsimError, match=says):
        hwsim.quantize(FLOAT, source)


def test_channels_of_a_model_are_counted_apart(model):
    batches = Batches(model, {"image": IMAGES[:64]})
    (relu,) = [node.output[0] for node in model.nodes if node.op_type == "Relu"][:1]
    found = observe_channels(model, batches, {relu: 1})[relu]
    (reals,) = (batch[relu] for batch in model.run(batches, [relu]))
    assert found.channels == reals.shape[1]
    assert found.least.tolist() == reals.min(axis=(0, 2, 3)).tolist()
    assert found.most.tolist() == reals.max(axis=(0, 2, 3)).tolist()


def test_channels_that_never_change_are_told(model):
    reads = {node.op_type: node for node in model.nodes}
    relu = reads["Relu"].output[0]
    batches = list(Batches(model, {"image": IMAGES}))
    seen = observe(model, batches, ["image", relu])
    reals = np.concatenate([batch[relu] for batch in model.run(batches, [relu])])
    flat = reals.transpose(1, 0, 2, 3).reshape(reals.shape[1], -1)
    constant = {n: float(row[0]) for n, row in enumerate(flat) if len(set(row.tolist())) == 1}
    assert seen[relu].constant() == constant
    assert seen[relu].channels == reals.shape[1]
    told = remarks(seen, ["image"])
    assert len(told) == bool(constant)


def test_remarks_name_the_tensor_the_channels_and_their_numbers():
    changing, still = Histogram("a", 1), Histogram("b")
    for seed in range(2):
        reals = np.random.default_rng(seed).normal(size=(4, 9, 3)).astype(np.float32)
        reals[:, 2], reals[:, 5] = 0, 1.5
        reals[:, 7] = seed  # constant in a batch, not in both
        changing.add(reals)
        still.add(np.full((2, 2), 0.25))
    assert remarks({"a": changing, "b": still}, ["b"]) == (
        "tensor 'a': of its 9 channels 2 never change on the calibration data: 2 (0), 5 (1.5)",
        "input 'b' is 0.25 everywhere on the calibration data",
    )


def test_facts_of_a_histogram_add_up(rng):
    reals = np.where(rng.random(5000) < 0.3, 0, rng.normal(size=5000)).astype(np.float32)
    seen = Histogram("x")
    seen.add(reals)
    facts, bins = histogram_facts(seen, -1.0, 0.5), binned(seen, 20)
    assert sum(facts["histogram"]["counts"]) == facts["numbers"] == 5000
    assert facts["zeros"] == int((reals == 0).sum())
    assert (facts["least"], facts["most"]) == (float(reals.min()), float(reals.max()))
    edges = np.linspace(bins["low"], bins["high"], len(bins["counts"]) + 1)
    assert len(edges) <= 21 and bins["counts"] == np.histogram(reals, edges)[0].tolist()
    outside = int(((reals < -1) | (reals > 0.5)).sum())
    width = seen.reach / 2048
    near = int((abs(reals + 1) <= width).sum() + (abs(reals - 0.5) <= width).sum())
    assert abs(facts["beyond"] * 5000 - outside) <= near < 100


def test_bars_are_as_high_as_the_logarithm_of_counts():
    assert bars([0, 1, 3, 7, 15, 31, 63, 127, 255]) == " ▂▃▄▅▅▆▇█"
    assert bars([255, 0, 1]) == "█ ▂"
    assert bars([]) == bars([0, 0]).strip() == ""


def test_bars_are_put_together_where_there_are_too_many():
    assert bars([0, 0, 1] + [0] * 96 + [4]) == bars([1] + [0] * 23 + [4])


def test_a_picture_has_a_bar_for_each_count_and_the_ends_of_codes():
    seen = Histogram("x")
    seen.add(np.array([0, 0, 1, 3], np.float32))
    svg = draw(binned(seen, 5), (0.0, 2.0), "a<b")
    assert svg.count('class="held"') == 2 and svg.count('class="out"') == 1
    assert svg.count('class="end"') == 2 and 'aria-label="a&lt;b"' in svg
    heights = [float(h) for h in re.findall(r'height="([\d.]+)"/>', svg)]
    assert heights[0] > heights[1] == heights[2]


def test_a_picture_of_one_number_is_one_bar_and_of_none_is_empty():
    seen = Histogram("x")
    assert draw(binned(seen), (0.0, 1.0), "x").count("<rect") == 0
    seen.add(np.zeros(3, np.float32))
    assert draw(binned(seen), (0.0, 1.0), "x").count("<rect") == 1


def test_classes_that_no_label_is_are_named():
    labels = np.array([0, 2, 2, 0])
    with pytest.warns(MissingClass, match="the samples have none of class dog, which the model"):
        warn_of_missing(labels, 3, ("cat", "dog", "cow"), "the samples")
    says = "have none of classes 1, 3, 4, 5, 6, 7 and 92 more, which .*; they are likely"
    with pytest.warns(MissingClass, match=says):
        warn_of_missing(labels, 100, None, "the samples")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_missing(labels, None, None, "the samples")
        warn_of_missing(np.arange(3), 3, None, "the samples")


def test_training_without_samples_of_a_class_is_told():
    labels = load_digits().target
    graph = hwsim.quantize(FLOAT, IMAGES[:200]).graph
    few = labels != 4
    with pytest.warns(MissingClass, match="the samples to train with have none of class 4, which"):
        hwsim.finetune(graph, IMAGES[few][:200], labels[few][:200], epochs=1)
