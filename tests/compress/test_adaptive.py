"""Adaptive rounding: each weight goes to one of its two neighbours, and sums come nearer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

import hwsim
from hwsim.compress.float_model import FloatModel
from hwsim.compress.quantize.adaptive import adapted
from hwsim.compress.quantize.linear import LinearScheme, Widths, formats

pytestmark = pytest.mark.needs("torch")
MODELS = Path(__file__).resolve().parents[2] / "examples" / "models"
IMAGES = (load_digits().images / 16).astype(np.float32)[:, None]
BATCHES = [{"image": IMAGES[at : at + 64]} for at in range(0, 512, 64)]


@pytest.mark.parametrize("name", ["digits_dw_skip"])
def test_weights_are_codes_one_of_the_two_next_to_them(name):
    model = FloatModel.read(MODELS / f"{name}.float.onnx")
    made = formats(model, BATCHES, LinearScheme(widths=Widths(weights=3)))
    found, before = adapted(model, BATCHES, made).constants, model.constants
    moved = 0
    for layer in made.found.layers:
        by = made.weights[layer.name]
        shape = [-1 if axis == by.axis else 1 for axis in range(before[layer.weights].ndim)]
        scale = by.scale.reshape(shape).astype(np.float64)
        codes, steps = found[layer.weights] / scale, before[layer.weights] / scale
        assert (codes == np.round(codes)).all() and np.abs(codes).max() <= 3
        inside = np.abs(steps) <= 3
        assert (np.abs(codes - steps)[inside] < 1).all()
        moved += int((codes != np.clip(np.round(steps), -3, 3)).sum())
    assert moved > 100


@pytest.mark.parametrize("bits", ["w2a8"])
def test_outputs_are_nearer_to_the_float_models(bits):
    path, labels = MODELS / "digits_dw_skip.float.onnx", load_digits().target
    nearest, adaptive = (
        hwsim.quantize(path, IMAGES[:512], bits=bits, rounding=way)
        for way in ("nearest", "adaptive")
    )
    assert nearest.sqnr is not None and adaptive.sqnr is not None
    assert adaptive.sqnr > nearest.sqnr + 1
    for one, other in zip(nearest.rows, adaptive.rows, strict=True):
        # against the float weights, to which the nearest codes are nearest
        assert one.get("weight_error", 0) <= other.get("weight_error", 0) < np.inf
        assert ("weight_error" in one) == (one.get("weight_error") != other.get("weight_error"))
    held = slice(512, None)
    figures = [
        hwsim.accuracy(one.graph, IMAGES[held], labels[held]).top1 for one in (nearest, adaptive)
    ]
    assert figures[1] >= figures[0]
