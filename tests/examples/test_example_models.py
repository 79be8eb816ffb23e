"""The example models are what examples/README.md says, and the synthetic ones are worth testing."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import digits
import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from support import onnx_models as om

MODELS = Path(digits.__file__).parent / "models"
FACTS: dict[str, Any] = json.loads((MODELS / "digits.json").read_text())
NAMES = ("digits_cnn_int8", "digits_cnn_asym", "digits_dw_skip")

# What ONNX Runtime runs, apart from moving data (Transpose, Flatten).
INTEGER_OPS = {
    "digits_cnn_int8": "QLinearConv:3 Relu:3 MaxPool:2 QGemm:1 QuantizeLinear:4 DequantizeLinear:4",
    "digits_cnn_asym": "QLinearConv:3 QLinearLeakyRelu:1 MaxPool:2 QGemm:1 "
    "QuantizeLinear:1 DequantizeLinear:1",
    "digits_dw_skip": "QLinearConv:4 QLinearAdd:1 MaxPool:1 QLinearGlobalAveragePool:1 QGemm:1 "
    "QuantizeLinear:1 DequantizeLinear:1",
}


def constants(model: onnx.ModelProto) -> dict[str, Any]:
    return {c.name: numpy_helper.to_array(c) for c in model.graph.initializer}


def activation_zero_points(model: onnx.ModelProto) -> list[Any]:
    quantizers = [n for n in model.graph.node if n.op_type == "QuantizeLinear"]
    found = constants(model)
    return [found[n.input[2]] for n in quantizers]


def test_held_out_images_are_disjoint_and_of_every_digit() -> None:
    train, test = digits.split()
    assert sorted([*train, *test]) == list(range(1797))
    data = digits.load()
    assert data.test_images.shape == (360, 1, 8, 8)
    assert data.test_images.dtype == np.float32
    assert set(data.test_labels.tolist()) == set(range(10))
    assert FACTS["held_out_sha256"] == digits.split_sha256(data) == digits.SPLIT_SHA256


def test_the_hash_of_the_split_notices_one_changed_pixel() -> None:
    data = digits.load()
    data.test_images[3, 0, 4, 4] += np.float32(1 / 16)
    assert digits.split_sha256(data) != digits.SPLIT_SHA256


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("suffix", ["onnx", "float.onnx"])
def test_recorded_hash_and_size_are_the_files(name: str, suffix: str) -> None:
    content = (MODELS / f"{name}.{suffix}").read_bytes()
    recorded = FACTS["models"][name][f"sha256_{suffix.replace('.', '_')}"]
    assert hashlib.sha256(content).hexdigest() == recorded
    assert len(content) < 40_000
    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)


@pytest.mark.parametrize("name", NAMES)
def test_accuracy_on_the_held_out_images_is_as_recorded(name: str) -> None:
    data, facts = digits.load(), FACTS["models"][name]
    for suffix, key in (("float.onnx", "float_accuracy"), ("onnx", "quantized_accuracy")):
        result = om.run_ort(MODELS / f"{name}.{suffix}", {"image": data.test_images})
        right = int(np.sum(result.outputs["logits"].argmax(1) == data.test_labels))
        assert right == round(facts[key] * 360)
        assert right >= 350  # 0.97


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_counted_from_the_float_file(name: str) -> None:
    weights = constants(onnx.load(MODELS / f"{name}.float.onnx"))
    assert sum(w.size for w in weights.values()) == FACTS["models"][name]["parameters"]
    assert 5_000 <= FACTS["models"][name]["parameters"] <= 20_000


@pytest.mark.parametrize("name", NAMES)
def test_onnx_runtime_runs_the_model_in_integers(name: str) -> None:
    model, images = onnx.load(MODELS / f"{name}.onnx"), digits.load().test_images
    result = om.run_ort(model, {"image": images[:4]})
    moves = ("Transpose", "Flatten")
    ran = Counter(op.removeprefix("Nhwc") for op in result.ops if op not in moves)
    expected = {k: int(v) for k, v in (p.split(":") for p in INTEGER_OPS[name].split())}
    assert ran == expected


def test_the_symmetric_model_has_zero_points_of_zero_and_a_scale_for_each_channel() -> None:
    model = onnx.load(MODELS / "digits_cnn_int8.onnx")
    found = constants(model)
    assert all(v.dtype == np.int8 and v == 0 for v in activation_zero_points(model))
    for layer, channels in (("conv1", 8), ("conv2", 16), ("conv3", 32), ("logits", 10)):
        assert found[f"{layer}.weight_scale"].shape == (channels,)
        assert not found[f"{layer}.weight_zero_point"].any()
        assert found[f"{layer}.bias_quantized"].dtype == np.int32


def test_the_symmetric_models_float_relu_is_exact_on_codes() -> None:
    # ONNX Runtime runs DequantizeLinear, Relu, QuantizeLinear there: all 256 codes, each layer.
    found = constants(onnx.load(MODELS / "digits_cnn_int8.onnx"))
    codes = np.arange(-128, 128)
    for layer in "123":
        before, after = found[f"conv{layer}_scale"], found[f"relu{layer}_scale"]
        assert before == after
        reals = np.maximum(codes.astype(np.float32) * before, np.float32(0))
        assert np.array_equal(np.rint(reals / after), np.maximum(codes, 0))


@pytest.mark.parametrize("name", ["digits_cnn_asym", "digits_dw_skip"])
def test_asymmetric_models_have_odd_zero_points(name: str) -> None:
    values = activation_zero_points(onnx.load(MODELS / f"{name}.onnx"))
    assert all(v.dtype == np.uint8 for v in values)
    assert sum(int(v) % 2 for v in values) >= 2


def test_the_asymmetric_model_pads_with_a_code_that_is_not_the_least() -> None:
    model = onnx.load(MODELS / "digits_cnn_asym.onnx")
    conv2 = next(n for n in model.graph.node if n.name == "conv2")
    assert om.quantization(model, conv2.input[0]).zero_point % 2 == 1
    assert list(next(a.ints for a in conv2.attribute if a.name == "pads")) == [1, 1, 1, 1]


def test_the_skip_model_has_a_depthwise_convolution_a_skip_and_a_global_pool() -> None:
    nodes = {n.name: n for n in onnx.load(MODELS / "digits_dw_skip.onnx").graph.node}
    groups = {n: [a.i for a in nodes[n].attribute if a.name == "group"] for n in nodes}
    assert groups["depthwise"] == [16]
    assert nodes["add"].op_type == "Add"
    assert nodes["average"].op_type == "GlobalAveragePool"
    assert nodes["add"].input[1] == nodes["depthwise"].input[0]  # the branch, as it was


@pytest.mark.parametrize("name", NAMES)
def test_edges_end_in_the_codes_of_the_whole_model(name: str) -> None:
    model, images = onnx.load(MODELS / f"{name}.onnx"), digits.load().test_images
    result = om.run_ort(model, {"image": images}, edges=True)
    assert np.array_equal(result.codes["logits"], result.codes["logits_QuantizeLinear_Input"])
    q = om.quantization(model, "image")
    steps = np.rint(images.astype(np.float64) / q.scale).astype(np.int64) + q.zero_point
    assert np.array_equal(result.codes["image"], steps)


Build = Callable[..., onnx.ModelProto]
# Builder, and the operator that ONNX Runtime makes of it.
FUSED: list[tuple[Build, str]] = [
    (om.conv, "QLinearConv"),
    (partial(om.conv, per_channel=False, strides=(2, 2), pads=(1, 1, 1, 1)), "QLinearConv"),
    (partial(om.conv, group=4, filters=8, kernel=(2, 3), pads=(0, 1, 1, 2)), "QLinearConv"),
    (partial(om.conv, then="Relu"), "QLinearConv"),
    (partial(om.conv, then="Clip"), "QLinearConv"),
    (partial(om.gemm, trans_b=True, per_channel=True), "QGemm"),
    (partial(om.gemm, bias=False), "QGemm"),
    (om.matmul, "QLinearMatMul"),
    (om.add, "QLinearAdd"),
    (om.concat, "QLinearConcat"),
    (partial(om.pool, "MaxPool"), "MaxPool"),
    (partial(om.pool, "AveragePool"), "QLinearAveragePool"),
    (partial(om.pool, "GlobalAveragePool"), "QLinearGlobalAveragePool"),
    (partial(om.unary, "Sigmoid"), "QLinearSigmoid"),
    (partial(om.unary, "LeakyRelu"), "QLinearLeakyRelu"),
    (partial(om.unary, "Tanh"), "Tanh"),  # no integer kernel exists
    (om.qlinear_conv, "QLinearConv"),
    (om.qlinear_matmul, "QLinearMatMul"),
    (om.qgemm, "QGemm"),
    (om.qlinear_add, "QLinearAdd"),
    (om.qlinear_concat, "QLinearConcat"),
    (partial(om.qlinear_pool, "QLinearAveragePool"), "QLinearAveragePool"),
    (partial(om.qlinear_pool, "QLinearGlobalAveragePool"), "QLinearGlobalAveragePool"),
]


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("pow2", [False, True])
@pytest.mark.parametrize("case", range(len(FUSED)))
def test_synthetic_models_run_in_integers_and_use_their_range(
    case: int, dtype: str, pow2: bool
) -> None:
    build, op = FUSED[case]
    model = build(dtype=dtype, pow2=pow2)
    result = om.run_ort(model, om.feeds(model))
    moves = ("Transpose", "QuantizeLinear", "DequantizeLinear")
    assert [o for o in result.ops if o not in moves] == [op]
    (codes,) = result.codes.values()
    assert len(np.unique(codes)) >= 40
    q = om.quantization(model, "y")
    assert q.info.min <= codes.min() < codes.max() <= q.info.max


def test_a_seed_fixes_a_model() -> None:
    assert om.conv(3).SerializeToString() == om.conv(3).SerializeToString()
    assert om.conv(3).SerializeToString() != om.conv(4).SerializeToString()


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_power_of_two_models_have_ties_that_go_to_even_before_the_odd_zero_point(
    dtype: str,
) -> None:
    model = om.qgemm(dtype=dtype, pow2=True, ends=False)
    feeds, found = om.feeds(model, batch=256), constants(model)
    x = feeds["x"].astype(np.int64) - int(found["x_zero_point"])
    accumulators = x @ found["w_q"].astype(np.int64) + found["bias"]
    ratio = float(found["x_scale"]) * float(found["w_scale"]) / float(found["y_scale"])
    shift = round(-np.log2(ratio))
    assert ratio == 2.0**-shift
    low, high = (np.iinfo(dtype).min, np.iinfo(dtype).max)
    zero = int(found["y_zero_point"])
    assert zero % 2 == 1
    half = 1 << (shift - 1)
    ties = accumulators % (1 << shift) == half
    assert ties.mean() > 0.01
    up = (accumulators + half) >> shift
    even = np.where(ties, up & ~1, up)
    codes = om.run_ort(model, feeds).codes["y_q"]
    assert np.array_equal(codes, np.clip(even + zero, low, high))
    # Rounding after the zero point, or ties upwards, would be seen.
    assert not np.array_equal(codes, np.clip(up + zero, low, high))
    late = np.where(ties, (up + zero) & ~1, up + zero)
    assert not np.array_equal(codes, np.clip(late, low, high))


def test_the_demo_says_a_warning_as_the_command_line_does(capsys, monkeypatch):
    demo = pytest.importorskip("demo")

    def warns(arguments) -> bool:
        warnings.warn("nobody chose the pins", UserWarning, stacklevel=1)
        return True

    monkeypatch.setattr(demo, "demo", warns)
    monkeypatch.setattr("sys.argv", ["demo.py"])
    assert demo.main() == 0
    assert capsys.readouterr().err == "warning: nobody chose the pins\n"
