"""Rounding with error feedback: sums err less than with nearest codes."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from support.seeds import seeded

import hwsim
from hwsim.compress.float_model import FloatModel
from hwsim.compress.prune.float_weights import prune_float
from hwsim.compress.prune.prune import Pruning
from hwsim.compress.quantize.correct import corrected
from hwsim.compress.quantize.feedback import Moments, best_codes, fed_back
from hwsim.compress.quantize.linear import LinearScheme, Widths, ends_of, formats, rounded
from hwsim.compress.quantize.places import places
from hwsim.compress.quantize.sampled import in_codes
from hwsim.errors import HwsimError
from hwsim.ops import Weighted

MODELS = Path(__file__).resolve().parents[2] / "examples" / "models"
IMAGES = (load_digits().images / 16).astype(np.float32)[:, None]
BATCHES = [{"image": IMAGES[at : at + 64]} for at in range(0, 512, 64)]


def scale_of(model: FloatModel, made, layer) -> np.ndarray:
    by, weights = made.weights[layer.name], model.constants[layer.weights]
    shape = [-1 if axis == by.axis else 1 for axis in range(weights.ndim)]
    return by.scale.reshape(shape if by.axis is not None else ()).astype(np.float64)


def to_nearest(model: FloatModel, made, layer) -> np.ndarray:
    scale, ends = scale_of(model, made, layer), ends_of(made.weights[layer.name])
    return rounded(model.constants[layer.weights].astype(np.float64), scale, ends)


def error(sums: str, shown: FloatModel, model: FloatModel) -> float:
    """The squared error of a layer's sums, by ONNX Runtime."""
    pairs = zip(shown.run(BATCHES, [sums]), model.run(BATCHES, [sums]), strict=True)
    return sum(float(((a[sums].astype(float) - b[sums]) ** 2).sum()) for a, b in pairs)


@pytest.mark.parametrize("scheme", ["power-of-two", "affine"])
@pytest.mark.parametrize("bits", [1, 3])
@pytest.mark.parametrize("name", ["digits_dw_skip", "digits_cnn_asym"])
def test_no_layers_sums_err_more_than_with_nearest_codes(name, bits, scheme):
    model = FloatModel.read(MODELS / f"{name}.float.onnx")
    linear = LinearScheme(widths=Widths(weights=bits), scheme=scheme, per_channel=bits == 1)
    made = formats(model, BATCHES, linear)
    found = fed_back(model, BATCHES, made)
    before = in_codes(model, made.tensors)
    total = {"fed": 0.0, "nearest": 0.0}
    for layer in made.found.layers:
        reals, scale = found.constants[layer.weights], scale_of(model, made, layer)
        codes = np.round(reals / scale)
        ends = ends_of(made.weights[layer.name]) if bits > 1 else (-1, 1)
        assert (reals == (codes * scale).astype(np.float32)).all()
        assert codes.min() >= ends[0] and codes.max() <= ends[1]
        # the layers before it are rounded with feedback both times
        nearest = before.with_constants({layer.weights: to_nearest(model, made, layer)})
        before = before.with_constants({layer.weights: found.constants[layer.weights]})
        power = next(iter(model.run(BATCHES[:1], [layer.output])))[layer.output].std() ** 2
        errors = {
            "nearest": error(layer.output, nearest, model) / power,
            "fed": error(layer.output, before, model) / power,
        }
        assert errors["fed"] <= errors["nearest"]
        total = {way: total[way] + errors[way] for way in total}
    assert total["fed"] < 0.8 * total["nearest"]


def tiny(seed: int):
    """A layer of 3 sums of 6 terms, inputs that belong together, codes of 2 bits."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(40, 6)) @ rng.normal(size=(6, 6))
    weights = rng.normal(size=(3, 6))
    seen = x + rng.normal(size=x.shape) / 4  # what the rounded layers before it leave
    return weights, np.full((3, 1), 0.75), seen, x @ weights.T


def losses(weights: np.ndarray, x: np.ndarray, sums: np.ndarray) -> np.ndarray:
    return ((x @ weights.T - sums) ** 2).mean(axis=0) - (sums**2).mean(axis=0)


def against_all_roundings(rounds) -> tuple[int, int]:
    """Rows where `rounds` is the best of all roundings, and rows; it lies within the ends."""
    best = rows = 0
    start = seeded(11)
    for seed in range(start, start + 20):
        weights, scale, x, sums = tiny(seed)
        moments = Moments(x.T @ x / len(x), sums.T @ x / len(x))
        found = losses(rounds(weights, scale, (-1, 1), moments), x, sums)
        nearest = losses(rounded(weights, scale, (-1, 1)), x, sums)
        every = np.array(list(product((-0.75, 0.0, 0.75), repeat=6)))
        for row in range(3):
            least = losses(every, x, np.repeat(sums[:, row : row + 1], len(every), 1)).min()
            assert least - 1e-9 <= found[row] <= nearest[row] + 1e-9
            best, rows = best + bool(found[row] < least + 1e-9), rows + 1
    return best, rows


def test_of_all_roundings_of_a_tiny_layer_it_finds_the_best_mostly():
    best, rows = against_all_roundings(best_codes)
    assert best > 0.6 * rows


def without_feedback(weights, scale, ends, moments):
    return rounded(weights, scale, ends)


def of_the_wrong_sums(weights, scale, ends, moments):
    return best_codes(weights, scale, ends, Moments(moments.inputs, moments.sums[::-1]))


def test_the_oracle_tells_nearest_codes_and_a_wrong_target():
    best, rows = against_all_roundings(without_feedback)
    assert best < 0.3 * rows
    with pytest.raises(AssertionError):
        against_all_roundings(of_the_wrong_sums)


def convolution(shape: tuple[int, ...], weights: np.ndarray, **attributes) -> FloatModel:
    """A model of one convolution of `shape`."""
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], **attributes)
    values = {"w": weights, "b": np.arange(len(weights))}
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *shape])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(v.astype(np.float32), name) for name, v in values.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    return FloatModel.of(helper.make_model(graph, opset_imports=opset), Path("one.onnx"))


@pytest.mark.parametrize(
    ("shape", "weights", "attributes"),
    [
        ((4, 7, 6), (6, 2, 3, 2), {"group": 2, "strides": [2, 1], "pads": [1, 0, 2, 1]}),
        ((4, 7, 6), (8, 1, 2, 3), {"group": 4, "dilations": [2, 1], "pads": [1, 2, 0, 1]}),
        ((3, 9), (4, 3, 4), {"strides": [3], "auto_pad": "SAME_LOWER"}),
        ((3, 6, 7), (4, 3, 2, 4), {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
        ((2, 4, 5, 3), (3, 2, 2, 2, 2), {"auto_pad": "VALID"}),
    ],
    ids=["groups", "depthwise", "in time", "uneven padding", "volume"],
)
def test_every_kind_of_convolution_is_summed_as_onnx_runtime_does(shape, weights, attributes):
    rng = np.random.default_rng(seeded(7))
    model = convolution(shape, rng.normal(size=weights), **attributes)
    x = rng.normal(2, 1, size=(64, *shape)).astype(np.float32)
    batches = [{"x": x[:40]}, {"x": x[40:]}]
    made = formats(model, batches, LinearScheme(widths=Widths(weights=4)))
    (layer,) = made.found.layers
    shown = in_codes(model, made.tensors)
    ways = (to_nearest(model, made, layer), fed_back(model, batches, made).constants["w"])
    errors = []
    for new in ways:
        now = shown.with_constants({"w": new})
        pairs = zip(now.run(batches, ["y"]), model.run(batches, ["y"]), strict=True)
        parts = [((a["y"] - b["y"]).astype(float) ** 2).sum((0, *range(2, a["y"].ndim)))
                 for a, b in pairs]  # fmt: skip
        errors.append(np.sum(parts, axis=0))
    assert (errors[1] <= errors[0] * (1 + 1e-5)).all() and errors[1].sum() < 0.8 * errors[0].sum()


@pytest.mark.parametrize("bits", [1, 4])
def test_what_layers_read_is_what_the_quantized_model_computes(bits):
    model = FloatModel.read(MODELS / "digits_cnn_asym.float.onnx")
    made = formats(model, BATCHES, LinearScheme(widths=Widths(activations=bits)))
    rounds = {one.weights: to_nearest(model, made, one) for one in made.found.layers}
    for one in made.found.layers:
        unit = (made.weights[one.name].scale * made.tensors[one.reads[0]].scale).astype(np.float64)
        rounds[one.bias] = np.round(model.constants[one.bias] / unit) * unit
    shown = in_codes(model, made.tensors).with_constants(rounds)
    (out,) = model.outputs
    graph = hwsim.quantize(model.proto, IMAGES[:512], bits=f"w8a{bits}").graph
    (found,) = shown.run([{"image": IMAGES[:512]}], [out])
    assert (found[out] == hwsim.emulate(graph, IMAGES[:512])).all()


def test_outputs_are_nearer_to_the_float_models_and_biases_can_be_corrected_too():
    path, labels = MODELS / "digits_dw_skip.float.onnx", load_digits().target
    ways = {
        (rounding, corrects): hwsim.quantize(
            path, IMAGES[:512], bits="w2a8", rounding=rounding, correct_bias=corrects
        )
        for rounding in ("nearest", "feedback")
        for corrects in (False, True)
    }
    sqnr = {way: made.sqnr for way, made in ways.items()}
    assert min(sqnr["feedback", False], sqnr["feedback", True]) > sqnr["nearest", True] + 1
    right = {
        way: hwsim.accuracy(made.graph, IMAGES[512:], labels[512:]).top1
        for way, made in ways.items()
    }
    assert min(right["feedback", False], right["feedback", True]) > right["nearest", False]


def test_corrected_biases_keep_the_codes_of_rounded_weights():
    model = FloatModel.read(MODELS / "digits_dw_skip.float.onnx")
    made = formats(model, BATCHES, LinearScheme(widths=Widths(weights=3)))
    shown = fed_back(model, BATCHES, made, centred=True)
    found = corrected(model, BATCHES, made, shown)
    biases = {layer.bias for layer in made.found.layers}
    for name, value in shown.constants.items():
        assert (found.constants[name] == value).all() == (name not in biases)


def test_a_file_of_bytes_holds_the_codes_that_were_chosen():
    path = MODELS / "digits_cnn_int8.float.onnx"
    made = hwsim.quantize(path, IMAGES[:256], scheme="affine", rounding="feedback")
    plain = hwsim.quantize(path, IMAGES[:256], scheme="affine")
    assert made.form == plain.form == "QDQ"
    held, other = (
        {t.name: numpy_helper.to_array(t) for t in one.proto.graph.initializer}
        for one in (made, plain)
    )
    weights = [name for name, value in held.items() if value.dtype == np.int8 and value.ndim > 1]
    assert weights
    for name in weights:  # the largest weight of a channel, which gives the scale, stays
        assert (np.abs(held[name]).max() == 127) and (held[name] != other[name]).any()
        scale = name.replace("_quantized", "_scale")
        np.testing.assert_allclose(held[scale], other[scale], rtol=1e-6)
    assert made.sqnr is not None and plain.sqnr is not None and made.sqnr > plain.sqnr


@pytest.mark.needs("torch")
@pytest.mark.parametrize("rounding", ["nearest", "feedback", "adaptive"])
def test_pruned_weights_stay_zero_whatever_the_rounding(rounding):
    model = FloatModel.read(MODELS / "digits_cnn_int8.float.onnx")
    sparse = prune_float(model, Pruning(amount=0.75))
    given = FloatModel(model.path, sparse.proto)
    graph = hwsim.quantize(sparse.proto, IMAGES[:256], bits="w4a8", rounding=rounding).graph
    layers = [node.op for node in graph.nodes if isinstance(node.op, Weighted)]
    assert len(layers) == len(places(given).layers)
    for op, layer in zip(layers, places(given).layers, strict=True):
        gone = int((given.constants[layer.weights] == 0).sum())
        assert gone > op.weights.size // 2
        assert int((op.weights == 0).sum()) >= gone
        if op.weights.ndim == 4:
            mask = np.moveaxis(given.constants[layer.weights], (0, 1), (3, 2)) == 0
            assert not op.weights[mask].any()


def test_a_rounding_that_is_none_is_refused():
    with pytest.raises(HwsimError, match="rounding must be one of nearest, feedback, adaptive"):
        hwsim.quantize(onnx.ModelProto(), IMAGES, rounding="random")
