"""Equalization and bias correction: what they do to networks that need them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from sklearn.datasets import load_digits
from support.float_graphs import parsed
from support.float_networks import NETWORKS, exported, network
from support.seeds import seeded

import hwsim
from hwsim.compress.float_model import FloatModel
from hwsim.compress.quantize.correct import corrected
from hwsim.compress.quantize.equalize import equalized
from hwsim.compress.quantize.linear import LinearScheme, Widths, formats
from hwsim.compress.quantize.places import places

MODELS = Path(__file__).resolve().parents[2] / "examples" / "models"
IMAGES = (load_digits().images / 16).astype(np.float32)[:, None]


def changed(model: onnx.ModelProto, new: dict[str, np.ndarray]) -> onnx.ModelProto:
    made = onnx.ModelProto()
    made.CopyFrom(model)
    for tensor in made.graph.initializer:
        if tensor.name in new:
            tensor.CopyFrom(numpy_helper.from_array(new[tensor.name], tensor.name))
    return made


def uneven(seed: int) -> onnx.ModelProto:
    """The digits' network with the channels of its first layer larger and smaller by up to 64."""
    model = onnx.load(str(MODELS / "digits_dw_skip.float.onnx"))
    held = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    factor = 2.0 ** np.random.default_rng(seed).integers(-6, 7, len(held["depthwise.weight"]))
    factor = factor.astype(np.float32)
    column = factor.reshape(-1, 1, 1, 1)
    return changed(
        model,
        {
            "depthwise.weight": held["depthwise.weight"] * column,
            "depthwise.bias": held["depthwise.bias"] * factor,
            "pointwise.weight": held["pointwise.weight"] / factor.reshape(1, -1, 1, 1),
        },
    )


def test_uneven_channels_are_what_equalization_is_for():
    model = uneven(seeded(2))
    options = {"bits": "w8a8", "per_channel": False}
    without = hwsim.quantize(model, IMAGES[:256], **options)
    with_it = hwsim.quantize(model, IMAGES[:256], **options, equalize=True)
    even = hwsim.quantize(MODELS / "digits_dw_skip.float.onnx", IMAGES[:256], **options)
    assert without.sqnr is not None and with_it.sqnr is not None and even.sqnr is not None
    assert with_it.sqnr > without.sqnr + 6 and with_it.sqnr > even.sqnr - 3


def test_equalization_keeps_the_function_and_makes_ranges_alike():
    model = FloatModel.of(uneven(seeded(2)), Path("net.onnx"))
    found, pairs = equalized(model)
    assert pairs == 2  # stem and depthwise; depthwise and pointwise
    (out,) = model.outputs
    (a,), (b,) = (list(m.run([{"image": IMAGES[:50]}], [out])) for m in (model, found))
    np.testing.assert_allclose(a[out], b[out], rtol=1e-3, atol=1e-4)
    first = np.abs(found.constants["depthwise.weight"]).max(axis=(1, 2, 3))
    second = np.abs(found.constants["pointwise.weight"]).max(axis=(0, 2, 3))
    np.testing.assert_allclose(first, second, rtol=0.01)


@pytest.mark.needs("torch")
@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in ("gated", "attention")])
def test_equalization_keeps_what_every_kind_of_network_computes(name):
    model = FloatModel.of(
        exported(network(name, seeded(5)), dynamo=False, batch=None), Path("net.onnx")
    )
    found, pairs = equalized(model)
    assert pairs == {"perceptron": 3, "residual": 1, "inverted": 1, "temporal": 0}.get(name, pairs)
    (out,) = model.outputs
    (a,), (b,) = (list(m.run([{"image": IMAGES[:20]}], [out])) for m in (model, found))
    np.testing.assert_allclose(a[out], b[out], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["digits_cnn_int8", "digits_dw_skip", "digits_cnn_asym"])
def test_three_bits_of_weights_need_bias_correction(name):
    path, labels = MODELS / f"{name}.float.onnx", load_digits().target
    without, with_it = (
        hwsim.quantize(path, IMAGES[:512], bits="w3a8", per_channel=False, correct_bias=corrects)
        for corrects in (False, True)
    )
    assert without.sqnr is not None and with_it.sqnr is not None
    assert with_it.sqnr > without.sqnr + 2
    figures = [hwsim.accuracy(one.graph, IMAGES, labels).top1 for one in (without, with_it)]
    assert figures[1] > figures[0] + 0.01


def test_with_rounded_weights_all_sums_then_have_the_means_of_the_float_model():
    model = FloatModel.read(MODELS / "digits_dw_skip.float.onnx")
    batches = [{"image": IMAGES[at : at + 30]} for at in range(0, 100, 30)]
    made = formats(model, batches, LinearScheme(widths=Widths(weights=3)))
    found = corrected(model, batches, made)
    new = {}
    for layer in made.found.layers:
        weights = model.constants[layer.weights]
        shape = [-1 if axis == layer.axis else 1 for axis in range(weights.ndim)]
        scale = made.weights[layer.name].scale.reshape(shape)
        new[layer.weights] = np.clip(np.round(weights / scale), -3, 3) * scale
    sums = [layer.output for layer in made.found.layers]

    def means(of: FloatModel) -> list[np.ndarray]:
        runs = list(of.run(batches, sums))
        whole = [np.concatenate([run[name] for run in runs]) for name in sums]
        return [x.mean(axis=tuple(n for n in range(x.ndim) if n != 1)) for x in whole]

    wanted, before, after = map(
        means, (model, model.with_constants(new), found.with_constants(new))
    )
    for want, bad, good in zip(wanted, before, after, strict=True):
        assert np.abs(bad - want).max() > 1e-2
        np.testing.assert_allclose(good, want, atol=2e-3)


def test_layers_that_read_several_rows_a_sample_are_corrected_by_means_of_their_own():
    rng = np.random.default_rng(seeded(6))
    shapes = {"k": (8, 24), "l": (24, 12), "m": (12, 4), "c": (24,), "d": (12,), "e": (4,)}
    model = parsed(
        """net (float[1,6,8] x) => (float[1,4] y) {
        a = MatMul(x, k) b = Add(a, c) r = Relu(b) s = MatMul(r, l) t = Add(s, d)
        u = ReduceMean<axes: ints = [1], keepdims: int = 0>(t) y = Gemm(u, m, e)}""",
        {name: rng.normal(0, 0.4, shape).astype(np.float32) for name, shape in shapes.items()},
    )
    x = rng.normal(0.3, 1, (96, 6, 8)).astype(np.float32)
    reads = {layer.input for layer in places(FloatModel.of(model, Path("net.onnx"))).layers}
    assert "gemm_input_reshape_arg" in reads  # ONNX Runtime has put the rows of a sample together
    without, with_it = (
        hwsim.quantize(model, x, bits="w3a8", per_channel=False, correct_bias=corrects).sqnr
        for corrects in (False, True)
    )
    assert with_it > without + 2
