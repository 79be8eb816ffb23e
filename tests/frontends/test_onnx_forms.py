"""Forms in which exporters and quantizers write the same network: each equal to ONNX Runtime.

What the runtime does not compute with integers is announced, and then some codes may differ by one
step, about as seldom as the warning says.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from support.onnx_builder import Q, activation
from support.onnx_compare import load
from support.onnx_nets import Net, feed, norm
from support.onnx_run import run_ort

import hwsim
from hwsim import HwsimError
from hwsim.emulator.run import planned
from hwsim.frontends.shared.builder import RuntimeDifference

Build = Callable[[Net], onnx.ModelProto]
SAMPLES = 200


def weight_codes(n: Net, *shape: int) -> str:
    return n.constant(n.name("wq"), n.rng.integers(-127, 128, shape).astype(np.int8))


def weight_reals(n: Net, codes: str) -> str:
    return n.do("DequantizeLinear", codes, *n.parameters(n.name("ws"), Q("int8", 0.01, 0)))


def weights(n: Net, *shape: int) -> str:
    return weight_reals(n, weight_codes(n, *shape))


def by_channel(n: Net, *shape: int) -> str:
    """One scale for each index of the first axis."""
    return n.kernel(shape, 0, shape[0])


def dense(n: Net, w: str, x: str = "") -> onnx.ModelProto:
    return n.model((n.round(n.do("MatMul", x or n.start(12), w), 0.9), 2, "float32"))


def conv(n: Net, w: str) -> onnx.ModelProto:
    return n.model((n.round(n.do("Conv", n.start(3, 6, 5), w), 0.9), 4, "float32"))


def cut(n: Net, low: int, high: int) -> onnx.ModelProto:
    """QCDQ: Clip on codes between the quantizer and the dequantizer."""
    zero = 119 if n.dtype == "uint8" else 0
    code = n.do("QuantizeLinear", n.input("x", (12,)), *n.parameters("x", Q(n.dtype, 0.03, zero)))
    limits = [n.constant(k, np.array(v, n.dtype)) for k, v in (("low", low), ("high", high))]
    code = n.do("Clip", code, *limits)
    x = n.do("DequantizeLinear", code, "x_scale", "x_zero_point")
    return n.model((n.round(n.do("MatMul", x, weights(n, 12, 7)), 0.9), 2, "float32"))


def vector_bias(n: Net, w: str, count: int) -> str:
    """An int32 bias with a scale a channel and no axis: the default is 1, where it has none."""
    scale = next(c for c in n.constants if c.name.endswith("_scale") and c.dims == [count])
    ours = onnx.numpy_helper.to_array(scale) * np.float32(0.03)
    codes = n.constant("bq", n.rng.integers(-3000, 3000, count).astype(np.int32))
    zeros = n.constant("bz", np.zeros(count, np.int32))
    return n.do("DequantizeLinear", codes, n.constant("bs", ours.astype(np.float32)), zeros)


def turned_weights(n: Net) -> onnx.ModelProto:
    return dense(n, n.do("Transpose", weights(n, 7, 12), perm=[1, 0]))


def turned_weights_by_channel(n: Net) -> onnx.ModelProto:
    return dense(n, n.do("Transpose", by_channel(n, 7, 12), perm=[1, 0]))


def cast_weights(n: Net) -> onnx.ModelProto:
    return dense(n, n.do("Cast", weights(n, 12, 7), to=onnx.TensorProto.FLOAT))


def clipped_weight_codes(n: Net) -> onnx.ModelProto:
    limits = [n.constant(k, np.int8(v)) for k, v in (("low", -100), ("high", 100))]
    return dense(n, weight_reals(n, n.do("Clip", weight_codes(n, 12, 7), *limits)))


def clipped_codes(n: Net) -> onnx.ModelProto:
    return cut(n, 3, 200)


def bias_without_an_axis(n: Net) -> onnx.ModelProto:
    w = by_channel(n, 4, 3, 3, 3)
    y = n.do("Conv", n.start(3, 6, 5), w, vector_bias(n, w, 4))
    return n.model((n.round(y, 0.9), 4, "float32"))


def reshape_with_allowzero(n: Net) -> onnx.ModelProto:
    x = n.do("Reshape", n.conv(n.start(3, 6, 5), 3, 4), n.ints(-1, 48), allowzero=1)
    return n.model((n.round(n.do("MatMul", x, weights(n, 48, 7)), 20), 2, "float32"))


def largest_with_a_partial_window(n: Net) -> onnx.ModelProto:
    y = n.do("MaxPool", n.start(3, 7, 6), kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
    return n.model((n.round(y, 0.03), 4, "float32"))


def pixels_cast_to_reals(n: Net) -> onnx.ModelProto:
    x = n.round(n.do("Cast", n.input("x", (12,), "uint8"), to=onnx.TensorProto.FLOAT), 1.3)
    return n.model((n.round(n.do("MatMul", x, weights(n, 12, 7)), 90), 2, "float32"))


def scaled_product(n: Net) -> onnx.ModelProto:
    y = n.do("Gemm", n.start(12), n.kernel((12, 7), 1), alpha=0.7)
    return n.model((n.round(y, 0.9), 2, "float32"))


def equal_heads(n: Net) -> onnx.ModelProto:
    """A Concat at the end, with no quantizer behind it: all parts have one scale."""
    x = n.start(3, 6, 5)
    return n.model((n.do("Concat", n.conv(x, 3, 4), n.conv(x, 3, 2), axis=1), 4, "float32"))


def average(n: Net, *shape: int, **attributes: Any) -> onnx.ModelProto:
    x = n.qdq(n.input("x", shape), Q(n.dtype, 1 / 32, 119))
    y = n.do("AveragePool", x, **attributes)
    return n.model((n.qdq(y, Q(n.dtype, 1 / 64, 101)), 4, "float32"))


def average_with_ceil_mode_that_adds_nothing(n: Net) -> onnx.ModelProto:
    return average(n, 3, 6, 6, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)


def average_with_a_partial_window(n: Net) -> onnx.ModelProto:
    return average(n, 3, 7, 6, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)


def average_of_what_there_is(n: Net) -> onnx.ModelProto:
    return average(n, 3, 6, 5, kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=0)


def average_that_counts_padding(n: Net) -> onnx.ModelProto:
    kernel = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    return average(n, 3, 7, 6, **kernel, ceil_mode=1, count_include_pad=1)


def average_padded_by_name(n: Net) -> onnx.ModelProto:
    return average(n, 3, 7, 6, kernel_shape=[3, 2], strides=[2, 2], auto_pad="SAME_UPPER")


def divided_by_a_number(n: Net) -> onnx.ModelProto:
    """What a scalar does to codes is a table, tried in the runtime's own arithmetic."""
    x = n.do("Div", n.start(12), n.constant("c", np.float32(3.7)))
    x = n.do("Sub", x, n.constant("d", np.float32(0.3)))
    return n.model((n.round(x, 0.011), 2, "float32"))


def function_at_the_end(name: str, **attributes: float) -> Build:
    """Reals that no scale gives: the port holds one for each code."""

    def build(n: Net) -> onnx.ModelProto:
        x = n.conv(n.start(3, 6, 5), 3, 4, 0.02)
        pooled = n.do("MaxPool", x, kernel_shape=[2, 2])
        return n.model((n.do(name, pooled, **attributes), 4, "float32"))

    build.__name__ = f"{name} at the end"
    return build


def shapes_from_arithmetic(n: Net) -> onnx.ModelProto:
    """What exporters compute sizes with: ConstantOfShape, Mul, Sub, Add, Div of constants."""
    four = n.do("Mul", n.do("ConstantOfShape", n.ints(1)), n.constant("f", np.float32(4)))
    four = n.do(
        "Cast", n.do("Add", four, n.constant("g", np.float32(4))), to=onnx.TensorProto.INT64
    )
    width = n.do("Sub", n.do("Div", n.do("Mul", four, n.ints(7)), n.ints(2)), n.ints(2))
    target = n.do("Concat", n.ints(-1), width, axis=0)
    return dense(n, weights(n, 12, 7), n.do("Reshape", n.start(3, 4), target))


def pad_before_the_quantizer(n: Net) -> onnx.ModelProto:
    x = n.do("Pad", n.input("x", (3, 6, 5)), n.ints(0, 0, 1, 0, 0, 0, 2, 1))
    return n.model((n.conv(n.round(x, 0.03), 3, 4), 4, "float32"))


def times_codes(*shape: int) -> Build:
    """A quantized constant: QLinearMul multiplies codes, and rounds by the product of scales."""

    def build(n: Net) -> onnx.ModelProto:
        factor = n.constant("c", n.rng.uniform(-1, 1, shape).astype(np.float32))
        factor = n.qdq(factor, Q(n.dtype, 1 / 100, 120))
        product = n.do("Mul", n.conv(n.start(3, 6, 5), 3, 4), factor)
        return n.model((n.round(product, 0.2), 4, "float32"))

    build.__name__ = f"times codes of shape {shape}"
    return build


def scaled_by_channel(n: Net) -> onnx.ModelProto:
    x = n.conv(n.start(3, 6, 5), 3, 4)
    factor = n.constant("c", n.rng.normal(0, 1, (1, 4, 1, 1)).astype(np.float32))
    offset = n.constant("d", n.rng.normal(0, 1, (4, 1, 1)).astype(np.float32))
    x = n.round(n.do("Mul", x, factor), 0.3)
    return n.model((n.round(n.do("Sub", offset, x), 0.4), 4, "float32"))


def scaled_by_channel_near_ties(n: Net) -> onnx.ModelProto:
    """Float32 products land on the other side of ties that are exact in decimals."""
    factor = n.constant("c", np.float32([0.19, 0.27, 0.7, 0.3]).reshape(1, 4, 1, 1))
    x = n.do("Mul", n.conv(n.start(3, 6, 5), 3, 4), factor)
    return n.model((n.round(x, 0.2), 4, "float32"))


def norm_of_codes(n: Net) -> onnx.ModelProto:
    x = n.do("Relu", norm(n, n.conv(n.start(3, 6, 5), 3, 4), 4))
    return n.model((n.qdq(x, activation(n.dtype, scale=0.3, zero_point=-128)), 4, "float32"))


def norm_of_a_flattened_map(n: Net) -> onnx.ModelProto:
    x = norm(n, n.do("Flatten", n.conv(n.start(3, 6, 5), 3, 4)), 48)
    return n.model((n.round(x, 0.3), 2, "float32"))


EXACT: list[Build] = [
    norm_of_codes, norm_of_a_flattened_map,
    scaled_by_channel, scaled_by_channel_near_ties, times_codes(), times_codes(1, 4, 1, 1),
    divided_by_a_number, function_at_the_end("Tanh"), function_at_the_end("Sigmoid"),
    function_at_the_end("LeakyRelu", alpha=0.3), shapes_from_arithmetic, pad_before_the_quantizer,
    scaled_product, equal_heads, average_with_ceil_mode_that_adds_nothing,
    average_with_a_partial_window, average_of_what_there_is, average_that_counts_padding,
    average_padded_by_name,
    turned_weights, turned_weights_by_channel, cast_weights, clipped_weight_codes, clipped_codes,
    bias_without_an_axis, reshape_with_allowzero, largest_with_a_partial_window,
    pixels_cast_to_reals,
]  # fmt: skip


@pytest.mark.parametrize("build", EXACT, ids=lambda f: f.__name__.replace("_", " "))
def test_a_form_is_equal_to_the_runtime_without_a_word(
    build: Build, tmp_path: Path, seed: int
) -> None:
    model = build(Net(seed=seed))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        graph = load(model, tmp_path)
    feeds = feed(model, seed, SAMPLES)
    (expected,) = run_ort(model, feeds).outputs.values()
    assert np.array_equal(hwsim.emulate(graph, feeds), expected)


def reshaped_weights(n: Net) -> onnx.ModelProto:
    return dense(n, n.do("Reshape", weights(n, 84), n.ints(12, 7)))


def squeezed_weights(n: Net) -> onnx.ModelProto:
    return dense(n, n.do("Squeeze", weights(n, 1, 12, 7), n.ints(0)))


def unsqueezed_weights(n: Net) -> onnx.ModelProto:
    return conv(n, n.do("Unsqueeze", weights(n, 4, 3, 3), n.ints(3)))


def reshaped_weights_by_channel(n: Net) -> onnx.ModelProto:
    return conv(n, n.do("Reshape", by_channel(n, 4, 27), n.ints(4, 3, 3, 3)))


def clipped_signed_codes(n: Net) -> onnx.ModelProto:
    n.dtype = "int8"
    return cut(n, -127, 127)


def gemm_with(alpha: float, beta: float) -> Build:
    """Where there is a bias, the runtime's integer kernel takes only 1 and 1."""

    def build(n: Net) -> onnx.ModelProto:
        bias = n.constant("b", n.rng.normal(0, 2, 7).astype(np.float32))
        y = n.do("Gemm", n.start(12), n.kernel((12, 7), 1), bias, alpha=alpha, beta=beta)
        return n.model((n.round(y, 0.9), 2, "float32"))

    build.__name__ = f"gemm with alpha {alpha} and beta {beta}"
    return build


def layer_added_to_a_quantized_skip(n: Net) -> onnx.ModelProto:
    """What TensorRT recommends: the sum of the convolution is added before it is rounded."""
    x = n.conv(n.start(4, 6, 5), 4, 4, pads=[1, 1, 1, 1])
    y = n.do("Conv", x, by_channel(n, 4, 4, 3, 3), pads=[1, 1, 1, 1])
    total = n.do("Relu", n.do("Add", y, x))
    return n.model((n.qdq(total, activation(n.dtype, scale=2.0, zero_point=-128)), 4, "float32"))


def two_layers_added(n: Net) -> onnx.ModelProto:
    x = n.start(12)
    y = n.do("Add", *(n.do("Gemm", x, n.kernel((12, 7), 1)) for _ in range(2)))
    return n.model((n.round(y, 1.1), 2, "float32"))


def norm_of_a_layer(n: Net) -> onnx.ModelProto:
    x = norm(n, n.do("Gemm", n.start(12), n.kernel((12, 7), 1)), 7)
    return n.model((n.round(x, 0.9), 2, "float32"))


ANNOUNCED: list[Build] = [
    norm_of_a_layer,
    *(gemm_with(*factors) for factors in ((0.7, 1.0), (1.0, 0.3), (0.7, 0.3), (1.0, 0.0))),
    layer_added_to_a_quantized_skip, two_layers_added,
    reshaped_weights, squeezed_weights, unsqueezed_weights, reshaped_weights_by_channel,
    clipped_signed_codes,
]  # fmt: skip


@pytest.mark.parametrize("build", ANNOUNCED, ids=lambda f: f.__name__.replace("_", " "))
def test_a_form_that_the_runtime_leaves_in_floats_is_announced(
    build: Build, tmp_path: Path, seed: int
) -> None:
    model = build(Net(seed=seed))
    with pytest.warns(RuntimeDifference, match="float32"):
        graph = load(model, tmp_path)
    assert stray(graph, model, seed) <= 1 / 100


def test_where_all_codes_can_be_tried_the_warning_says_how_many_differ(
    tmp_path: Path, seed: int
) -> None:
    n = Net(seed=seed)  # of more channels than tables are made for
    factor = np.resize(np.float32([0.19, 0.27, 0.7, 0.3]), (1, 300))
    product = n.do("Mul", n.round(n.input("x", (300,)), 0.5), n.constant("c", factor))
    model = n.model((n.round(product, 0.2), 2, "float32"))
    with pytest.warns(
        RuntimeDifference, match="about one code in 2. that this node gives may differ by one step"
    ):
        graph = load(model, tmp_path)
    assert 1 / 100 < stray(graph, model, seed) < 1 / 8


def stray(graph: hwsim.Graph, model: onnx.ModelProto, seed: int) -> float:
    """The share of codes that differ from the runtime's, each by one step."""
    feeds = feed(model, seed, SAMPLES)
    (expected,) = run_ort(model, feeds).outputs.values()
    (step,) = graph.types()[graph.outputs[0].tensor].scales()
    off = np.rint(np.abs(hwsim.emulate(graph, feeds) - expected) / step)
    assert off.max() <= 1
    return float(np.count_nonzero(off) / off.size)


@pytest.mark.parametrize(
    "build",
    [
        average_of_what_there_is,
        average_with_a_partial_window,
        norm_of_codes,
        layer_added_to_a_quantized_skip,
        times_codes(1, 4, 1, 1),
    ],
    ids=lambda f: f.__name__.replace("_", " "),
)
@pytest.mark.filterwarnings("ignore::hwsim.frontends.shared.builder.RuntimeDifference")
def test_a_form_is_the_same_in_hardware(build: Build, tmp_path: Path, seed: int) -> None:
    pytest.importorskip("amaranth")
    from support import rtl_designs

    from rtl.plan.search import plan_for_cycles

    graph = load(build(Net(seed=seed)), tmp_path)
    kind = graph.inputs[0].type
    x = np.random.default_rng(seed).integers(kind.lo, kind.hi + 1, (3, *kind.shape))
    got, _ = rtl_designs.simulate(graph, plan_for_cycles(graph, 400), {"x": x}, stall=0.25)
    (want,) = planned(graph).run({graph.inputs[0].tensor: x}).values()
    assert (np.array(next(iter(got.values()))) == want).all()


REFUSED: dict[str, Callable[[Net], str]] = {
    "its constant must broadcast to (batch, 3, 2, 2), not be of shape (3, 3, 1)": lambda n: n.round(
        n.do("Mul", n.start(3, 2, 2), n.constant("c", np.ones((3, 3, 1), np.float32))), 0.1
    ),
    "its constant must have 3 values, not 2": lambda n: n.round(
        n.do("Add", n.start(3, 2, 2), n.constant("c", np.ones((2, 1, 1), np.float32))), 0.1
    ),
    "its variance must be above 0": lambda n: n.do(
        "BatchNormalization", n.start(1), *[n.constant(k, np.float32([-1])) for k in "abcd"]
    ),
    "its constant must be finite, and what it divides by too": lambda n: n.do(
        "Div", n.start(3), n.constant("c", np.float32(0))
    ),
    "its result must have at most 67108864 elements": lambda n: n.round(
        n.do("ConstantOfShape", n.ints(1 << 14, 1 << 14)), 0.1
    ),
    "its input must be reals, or codes behind a QuantizeLinear, not the uint8": lambda n: n.round(
        n.do("Pad", n.input("x", (1, 2, 3), "uint8"), n.ints(0, 0, 1, 0, 0, 0, 0, 0)), 0.1
    ),
    "with 'allowzero' 1 a target shape of [0, 12] is empty": lambda n: n.do(
        "Reshape", n.start(12), n.ints(0, 12), allowzero=1
    ),
    "its limits must leave some of the codes of u8": lambda n: n.do(
        "Clip",
        n.do("QuantizeLinear", n.input("x", (3,)), *n.parameters("q", Q("uint8", 1, 0))),
        n.constant("low", np.float32(300)),
        n.constant("high", np.float32(400)),
    ),
    "reals must stay float32, not become float16": lambda n: n.do("Cast", n.start(3), to=10),
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_what_cannot_be_is_refused_in_a_sentence(sentence: str, tmp_path: Path) -> None:
    n = Net()
    out = REFUSED[sentence](n)
    port = onnx.helper.make_tensor_value_info(out, 1, None)
    graph = onnx.helper.make_graph(n.nodes, "g", n.inputs, [port], n.constants)
    onnx.save(onnx.helper.make_model(graph), tmp_path / "m.onnx")
    with pytest.raises(HwsimError) as error:
        hwsim.load(tmp_path / "m.onnx")
    assert sentence in str(error.value)
