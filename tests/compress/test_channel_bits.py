"""Bits by output channel: each channel's codes within its own ends, and QONNX has the same."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from support.cli_calls import refused
from support.cli_calls import run as called
from support.qonnx_nets import executed
from support.seeds import seeded

import hwsim
from hwsim.compress.float_model import FloatModel
from hwsim.compress.prune.float_weights import prune_float
from hwsim.compress.prune.prune import Pruning
from hwsim.compress.quantize import run
from hwsim.compress.quantize.channel_bits import least_error, with_channel_bits
from hwsim.compress.quantize.linear import LinearScheme, along, formats, rounded
from hwsim.compress.quantize.sampled import in_codes
from hwsim.errors import HwsimError
from hwsim.recipe.keys import KINDS

MODELS = Path(__file__).resolve().parents[2] / "examples" / "models"
FLOAT = MODELS / "digits_dw_skip.float.onnx"
IMAGES = (load_digits().images / 16).astype(np.float32)[:, None]
SIZES = {"stem": 16, "depthwise": 16, "pointwise": 16, "conv": 32, "logits": 10}


def drawn(first: int, last: int) -> dict[str, list[int]]:
    """Bits for each channel of each layer, at random; both ends occur."""
    rng = np.random.default_rng(seeded(21))
    found = {}
    for name, size in SIZES.items():
        found[name] = rng.integers(first, last + 1, size).tolist()
        found[name][:2] = [last, first]
    return found


def codes_beyond(made, bits: dict[str, list[int]]) -> int:
    """Weights of the Graph that no code of their channel's bits is, in plain whole numbers."""
    beyond = 0
    for name, each in bits.items():
        weights = made.graph.node(name).op.weights
        for channel, n in enumerate(each):
            allowed = {-1, 1} if n == 1 else set(range(1 - 2 ** (n - 1), 2 ** (n - 1)))
            beyond += sum(int(w) not in allowed for w in weights[..., channel].ravel())
    return beyond


@pytest.mark.needs("torch")
@pytest.mark.parametrize(
    ("ends", "options"),
    [
        ((1, 5), {}),
        ((2, 6), {"rounding": "feedback", "correct_bias": True}),
        ((1, 4), {"rounding": "adaptive"}),
    ],
    ids=["nearest", "feedback", "adaptive"],
)
def test_each_channel_has_codes_of_its_own_bits_and_qonnx_has_the_same_outputs(ends, options):
    bits = drawn(*ends)
    made = hwsim.quantize(FLOAT, IMAGES[:128], bits="w8a8", layers=bits, **options)
    assert codes_beyond(made, bits) == 0
    for name, each in bits.items():
        weights = made.graph.node(name).op.weights
        widest = weights[..., np.array(each) == max(each)]
        assert np.abs(widest).max() > 2 ** (max(each) - 2)  # the widest use their last bit
    found = hwsim.emulate(made.graph, IMAGES[200:208])
    assert found.tolist() == executed(made.proto, IMAGES[200:208]).tolist()
    assert np.unique(found).size > 20


@pytest.mark.filterwarnings("ignore::hwsim.frontends.shared.builder.RuntimeDifference")
@pytest.mark.parametrize("scheme", ["symmetric", "affine"])
def test_scales_of_any_size_go_by_channel_too(scheme):
    bits = drawn(2, 5)
    made = hwsim.quantize(FLOAT, IMAGES[:64], bits="w5a6", layers=bits, scheme=scheme)
    assert made.form == "QONNX" and codes_beyond(made, bits) == 0
    (row,) = (row for row in made.rows if row["name"] == "conv")
    assert row["channel_bits"] == bits["conv"] and row["weight_bits"] == 5


def test_weights_that_are_left_to_the_widest_quantizer_are_told(monkeypatch):
    """The mutant: a file says the most bits alone, and would round to those."""
    monkeypatch.setattr(run, "on_channels_grids", lambda model, made: model)
    bits = drawn(2, 6)
    assert codes_beyond(hwsim.quantize(FLOAT, IMAGES[:64], layers=bits), bits) > 0


def test_the_same_number_for_every_channel_is_one_for_the_layer():
    same = {name: [4] * size for name, size in SIZES.items()}
    one, other = (
        hwsim.quantize(FLOAT, IMAGES[:64], bits=bits, layers=layers)
        for bits, layers in (("w8a8", same), ("w4a8", {}))
    )
    assert one.graph.hash() == other.graph.hash() and one.rows == other.rows


def least_sum(errors: list[list[float]], budget: int) -> float:
    """Of all choices, in plain Python."""
    options = range(len(errors[0]))
    return min(
        sum(row[at] for row, at in zip(errors, choice, strict=True))
        for choice in product(options, repeat=len(errors))
        if sum(choice) <= budget
    )


def greedy(errors: np.ndarray, least: int, average: int) -> tuple[int, ...]:
    """A bit after the other where it helps most, which curves with a bend lead astray."""
    found = np.zeros(len(errors), int)
    for _ in range(len(errors) * (average - least)):
        at = np.minimum(found + 1, errors.shape[1] - 1)
        gains = errors[np.arange(len(errors)), found] - errors[np.arange(len(errors)), at]
        found[gains.argmax()] += gains.max() > 0
    return tuple((found + least).tolist())


def wrong_choices(choose) -> int:
    wrong = 0
    rng = np.random.default_rng(seeded(22))
    for _ in range(30):
        errors = rng.integers(0, 50, (5, 4)).astype(float)
        found = choose(errors, 2, 3)
        assert sum(found) <= 5 * 3 and set(found) <= {2, 3, 4, 5}
        total = sum(errors[row, n - 2] for row, n in enumerate(found))
        wrong += total != least_sum(errors.tolist(), 5)
    return wrong


def test_no_other_bits_of_the_same_average_have_a_smaller_sum_of_errors():
    assert wrong_choices(least_error) == 0
    assert wrong_choices(greedy) > 0


def test_a_layer_of_very_many_channels_keeps_the_average_too():
    errors = np.random.default_rng(seeded(23)).random((3000, 5))
    found = least_error(errors, 1, 3)
    assert len(found) == 3000 and sum(found) <= 9000 and {*found} == {1, 2, 3, 4, 5}


@pytest.mark.parametrize("rounding", ["nearest", "feedback"])
def test_chosen_bits_are_the_average_and_no_layers_sums_err_more(rounding):
    model = FloatModel.read(FLOAT)
    batches = [{"image": IMAGES[:128]}, {"image": IMAGES[128:256]}]
    linear = LinearScheme.parse("w3a8", {"logits": "w8"}, channel_bits="1-6", rounding=rounding)
    plain = formats(model, batches, linear)
    made = with_channel_bits(model, batches, plain, linear)
    shown, totals = in_codes(model, plain.tensors), np.zeros(2)
    for layer in made.found.layers:
        by, held = made.weights[layer.name], model.constants[layer.weights].astype(float)
        if layer.name == "logits":  # its own bits are beyond those of the channels
            assert by.channel_bits is None and by.bits == 8
            continue
        assert by.channel_bits is not None and max(by.channel_bits) == by.bits
        assert sum(by.channel_bits) <= 3 * held.shape[layer.axis] < sum(by.channel_bits) + 6
        if rounding != "nearest":
            continue
        for place, one in enumerate((by, plain.weights[layer.name])):
            now = shown.with_constants({layer.weights: rounded(held, *along(one, held.ndim))})
            pairs = zip(now.run(batches, [layer.output]), model.run(batches, [layer.output]),
                        strict=True)  # fmt: skip
            totals[place] = sum(
                float(((a[layer.output] - b[layer.output]).astype(float) ** 2).sum())
                for a, b in pairs
            )
        assert totals[0] < totals[1]


def test_chosen_bits_have_the_codes_of_qonnx():
    made = hwsim.quantize(
        FLOAT, IMAGES[:128], bits="w3a8", channel_bits="1-6", rounding="feedback", correct_bias=True
    )
    chosen = {row["name"]: row["channel_bits"] for row in made.rows if "channel_bits" in row}
    assert len(chosen) >= 4 and codes_beyond(made, chosen) == 0
    found = hwsim.emulate(made.graph, IMAGES[200:208])
    assert found.tolist() == executed(made.proto, IMAGES[200:208]).tolist()


@pytest.mark.needs("torch")
@pytest.mark.parametrize("rounding", ["nearest", "feedback", "adaptive"])
def test_pruned_weights_stay_zero_in_channels_of_one_bit_too(rounding):
    sparse = prune_float(FloatModel.read(FLOAT), Pruning(amount=0.5))
    held = {t.name: numpy_helper.to_array(t) for t in sparse.proto.graph.initializer}
    bits = {"conv": [1, 4] * 16}
    made = hwsim.quantize(sparse.proto, IMAGES[:64], layers=bits, rounding=rounding)
    weights = made.graph.node("conv").op.weights
    (before,) = (a for a in held.values() if a.shape == (32, 16, 3, 3))
    gone = np.moveaxis(before, (0, 1), (3, 2)) == 0
    assert gone[..., ::2].sum() > 500 and not weights[gone].any()
    assert set(np.unique(weights[..., ::2]).tolist()) == {-1, 0, 1}


def shared(op: str) -> FloatModel:
    """Two layers in a row that read the same weights."""
    weights = np.random.default_rng(seeded(26)).normal(size=(6, 6))
    weights = (weights * [0.02, 0.02, 0.02, 1, 1, 4]).astype(np.float32)  # mixing them pays
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["s"], "first"),
        helper.make_node(op, ["s"], ["t"], "between"),
        helper.make_node("MatMul", ["t", "w"], ["y"], "second"),
    ]
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", 6]) for n in "xy"]
    graph = helper.make_graph(
        nodes, "shared", ports[:1], ports[1:], [numpy_helper.from_array(weights, "w")]
    )
    opset = [helper.make_opsetid("", 17)]
    return FloatModel.of(
        helper.make_model(graph, opset_imports=opset, ir_version=8), Path("two.onnx")
    )


def test_layers_that_share_their_weights_share_the_bits_of_their_channels():
    x = np.random.default_rng(seeded(27)).normal(size=(64, 6)).astype(np.float32)
    model, each = shared("Relu").proto, [2, 5, 3, 4, 2, 5]
    for layers, options in (({"*": each}, {}), ({}, {"bits": "w3a8", "channel_bits": "2-5"})):
        made = hwsim.quantize(model, x, layers=layers, **options)
        first, second = (made.graph.node(name).op for name in ("first", "second"))
        assert (first.weights == second.weights).all()
        assert first.channel_bits == second.channel_bits and first.channel_bits is not None
        assert hwsim.emulate(made.graph, x[:9]).tolist() == executed(made.proto, x[:9]).tolist()
    with pytest.raises(HwsimError, match="layers 'first' and 'second' must have the same bits by"):
        hwsim.quantize(model, x, layers={"second": each})


def transposed(group: int) -> FloatModel:
    """A transposed convolution of 4 channels."""
    rng = np.random.default_rng(seeded(24))
    weights = rng.normal(size=(4, 4 // group, 2, 2)).astype(np.float32)
    node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], "up", strides=[2, 2], group=group)
    graph = helper.make_graph(
        [node],
        "up",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4, 3, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4, 6, 6])],
        [numpy_helper.from_array(weights, "w")],
    )
    opset = [helper.make_opsetid("", 17)]
    return FloatModel.of(
        helper.make_model(graph, opset_imports=opset, ir_version=8), Path("up.onnx")
    )


def test_channels_of_a_transposed_convolution_are_chosen_by_their_weights_errors():
    x = np.random.default_rng(seeded(25)).normal(size=(16, 4, 3, 3)).astype(np.float32)
    made = hwsim.quantize(transposed(1).proto, x, bits="w3a8", channel_bits="2-5")
    (row,) = (row for row in made.rows if "weight_bits" in row)
    assert sum(row.get("channel_bits", [3] * 4)) <= 12
    bits = {"up": [2, 5, 3, 4]}
    given = hwsim.quantize(transposed(1).proto, x, layers=bits)
    assert codes_beyond(given, bits) == 0
    assert hwsim.emulate(given.graph, x[:4]).tolist() == executed(given.proto, x[:4]).tolist()
    with pytest.raises(HwsimError, match="bits by channel of layer 'up' must come with a scale a"):
        hwsim.quantize(transposed(2).proto, x, layers=bits)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"layers": {"stem": [4, 3]}}, "bits of layer 'stem' must be .* its 16 channels, not 2"),
        ({"layers": {"stem": 4}}, "bits of a layer must be like .* not 4"),
        ({"layers": {"stem": [4, 17]}}, r"bits of a layer must be like .* not \[4, 17\]"),
        ({"layers": {"stem": []}}, r"bits of a layer must be like .* not \[\]"),
        ({"layers": {"stem": [4, "x"]}}, r"bits of a layer must be like .* not \[4, 'x'\]"),
        ({"layers": {"stem": "w4,"}}, "bits of a layer .* by channel w4,3,2, .* 'w4,'"),
        ({"layers": {"stem": [4] * 15 + [3]}, "per_channel": False},
         "bits by channel of layer 'stem' must come with a scale a channel, not with one a layer"),
        ({"channel_bits": "4"}, "bits by channel must be like 2-6, .* from 1 to 16, not '4'"),
        ({"channel_bits": "6-2"}, "bits by channel must be like 2-6, .* not '6-2'"),
        ({"channel_bits": "0-6"}, "bits by channel must be like 2-6, .* not '0-6'"),
        ({"channel_bits": "2-17"}, "bits by channel must be like 2-6, .* not '2-17'"),
        ({"channel_bits": "2-6", "per_channel": False}, "bits by channel must come with a scale a"),
        ({"channel_bits": "2-9", "scheme": "affine"}, "those of a QONNX file, not of w8a8 with"),
    ],
)  # fmt: skip
def test_bits_by_channel_that_cannot_be_are_told(options, sentence):
    with pytest.raises(HwsimError, match=sentence):
        hwsim.quantize(FLOAT, IMAGES[:32], **options)


def test_the_command_takes_them_and_shows_the_average(tmp_path, capsys):
    data, out = tmp_path / "x.npy", tmp_path / "m.onnx"
    np.save(data, IMAGES[:64])
    given = ("quantize", FLOAT, "--data", data, "-o", out, "--bits", "w3a8")
    stem = ",".join(["2", "4"] * 8)
    status, text, _ = called(
        capsys, *given, "--channel-bits", "2-5", "--layer", f"stem=w{stem}", "--json"
    )
    rows = {row["name"]: row for row in json.loads(text)["layers"]}
    assert status == 0 and rows["stem"]["channel_bits"] == [2, 4] * 8
    assert hwsim.load(out).node("stem").op.weight_format.width == 4
    status, text, _ = called(capsys, *given, "--layer", f"stem=w{stem}")
    assert status == 0 and "3.0 of 2 to 4" in text
    assert "must be like 2-6" in refused(capsys, *given, "--channel-bits", "many")


@pytest.mark.parametrize("value", [{"a": [4, 3], "b": "w4"}, ["a=w4,3", "b=w4"]])
def test_a_recipe_has_them_as_lists_and_as_texts(value):
    _, read = KINDS["Mapping[str, Any]"]
    found = LinearScheme.parse("w8a8", read(value)).layers
    assert [(name, some.weights) for name, some in found] == [("a", (4, 3)), ("b", 4)]


@pytest.mark.parametrize("value", [{"a": [4.5]}, {"a": []}, {"a": 4}, ["a"], {"a": [True]}])
def test_a_recipe_refuses_other_values(value):
    with pytest.raises(TypeError):
        KINDS["Mapping[str, Any]"][1](value)
