"""ONNX graphs as tools write them: layouts, branches, biases, float ends; against ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from support.onnx_builder import Q, activation
from support.onnx_compare import differences, load
from support.onnx_nets import Net, act, feeds

from hwsim.frontends.shared.arrangement import Arrangement


def flat_by_reshape(n: Net) -> onnx.ModelProto:
    x = n.conv(n.start(3, 6, 5), 3, 4)
    return n.model((n.dense(n.do("Reshape", x, n.ints(0, -1)), 7, 4 * 4 * 3), 2, "float32"))


def flat_by_flatten(n: Net) -> onnx.ModelProto:
    x = n.conv(n.start(3, 6, 5), 3, 4)
    x = n.qdq(n.do("Flatten", x), act(n.dtype, 0.5))
    return n.model((n.dense(x, 7, 48), 2, "float32"))


def flat_by_shape_chain(n: Net) -> onnx.ModelProto:
    """What torch exports for `x.view(x.size(0), -1)`."""
    x = n.conv(n.start(3, 6, 5), 3, 4)
    size = n.do("Gather", n.do("Shape", x), n.constant("zero", np.array(0)), axis=0)
    batch = n.do("Unsqueeze", size, n.ints(0))
    target = n.do("Concat", batch, n.ints(-1), axis=0)
    return n.model((n.dense(n.do("Reshape", x, target), 7, 48), 2, "float32"))


def channels_last_input(n: Net) -> onnx.ModelProto:
    """What Keras exports: an image (height, width, channels), transposed before the first layer."""
    q = act(n.dtype, 0.03)
    x = n.do("Transpose", n.input("x", (6, 5, 3)), perm=[0, 3, 1, 2])
    return n.model((n.conv(n.qdq(x, q), 3, 4), 4, "float32"))


def pool_before_the_quantizer(n: Net) -> onnx.ModelProto:
    x = n.do("Conv", n.start(3, 8, 8), n.kernel((4, 3, 3, 3), 0))
    pooled = n.do("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    return n.model((n.round(pooled, 0.5), 4, "float32"))


def skip_branch(n: Net) -> onnx.ModelProto:
    x = n.conv(n.start(3, 6, 6), 3, 4)
    y = n.conv(x, 4, 4, pads=[1, 1, 1, 1])
    total = n.do("Relu", n.do("Add", x, y))
    lowest = -128
    out = n.qdq(total, activation(n.dtype, scale=0.4, zero_point=lowest))
    return n.model((out, 4, "float32"))


def two_branches_joined_flat(n: Net) -> onnx.ModelProto:
    x = n.start(3, 5, 5)
    parts = []
    for cout in (2, 3):
        y = n.conv(x, 3, cout)
        parts.append(n.qdq(n.do("Flatten", y), act(n.dtype, 0.5)))
    joined = n.round(n.do("Concat", *parts, axis=1), 0.6)
    return n.model((n.dense(joined, 6, 45), 2, "float32"))


def two_outputs(n: Net) -> onnx.ModelProto:
    x = n.conv(n.start(3, 6, 5), 3, 4)
    pooled = n.round(n.do("GlobalAveragePool", x), 0.3)
    return n.model((x, 4, "float32"), (pooled, 4, "float32"))


def squeezed_average(n: Net) -> onnx.ModelProto:
    x = n.conv(n.start(3, 6, 5), 3, 4)
    x = n.round(n.do("GlobalAveragePool", x), 0.3)
    return n.model((n.dense(n.do("Squeeze", x, n.ints(2, 3)), 5, 4), 2, "float32"))


def nothing_operators(n: Net) -> onnx.ModelProto:
    x = n.do("Identity", n.start(12))
    x = n.do("Dropout", n.dense(x, 7, 12))
    return n.model((n.do("Unsqueeze", x, n.ints(1)), 3, "float32"))


def float_logits(n: Net) -> onnx.ModelProto:
    """The last layer is not quantized: ONNX Runtime gives sums times a scale."""
    w, x = n.weights((12, 7), 7, pow2=False, dtype="int8"), act(n.dtype, 0.03)
    bias = w.bias(n, 7, x).real(n, "bias", 0)
    out = n.do("Gemm", n.start(12), w.real(n, "w", 1), bias)
    return n.model((out, 2, "float32"))


def float_bias_conv(n: Net) -> onnx.ModelProto:
    bias = n.constant("bias", n.rng.normal(0, 0.5, 4).astype(np.float32))
    w = n.kernel((4, 3, 3, 3), 0, 4)
    return n.model((n.round(n.do("Conv", n.start(3, 6, 5), w, bias), 0.5), 4, "float32"))


def float_bias_matmul(n: Net) -> onnx.ModelProto:
    bias = n.constant("bias", n.rng.normal(0, 0.5, 7).astype(np.float32))
    out = n.do("Add", n.do("MatMul", n.start(12), n.kernel((12, 7), 1)), bias)
    return n.model((n.round(out, 0.1), 2, "float32"))


def quantized_bias_matmul(n: Net) -> onnx.ModelProto:
    w, x = n.weights((12, 7), 7, pow2=False, dtype="int8"), act(n.dtype, 0.03)
    bias = w.bias(n, 7, x).real(n, "bias", 0)
    out = n.do("Add", bias, n.do("MatMul", n.start(12), w.real(n, "w", 1)))
    return n.model((n.round(out, 0.1), 2, "float32"))


def float_weights_with_quantizers(n: Net) -> onnx.ModelProto:
    """The TensorRT way: float weights, each behind Q and DQ; symmetric int8, a zero point of 0."""
    w = n.constant("w", n.rng.normal(0, 0.3, (4, 3, 3, 3)).astype(np.float32))
    scale = n.constant("ws", n.rng.uniform(0.005, 0.01, 4).astype(np.float32))
    zero = n.constant("wz", np.zeros(4, np.int8))
    code = n.do("QuantizeLinear", w, scale, zero, axis=0)
    real = n.do("DequantizeLinear", code, scale, zero, axis=0)
    x = n.qdq(n.input("x", (3, 6, 5)), Q("int8", 0.03, 0))
    y = n.qdq(n.do("Conv", x, real), Q("int8", 0.5, 0))
    return n.model((n.qdq(n.do("Relu", y), Q("int8", 0.4, 0)), 4, "float32"))


def padded_by_pad(n: Net) -> onnx.ModelProto:
    x = n.do("Pad", n.start(3, 6, 5), n.ints(0, 0, 1, 0, 0, 0, 2, 1))
    return n.model((n.conv(x, 3, 4), 4, "float32"))


def padded_by_a_quantized_pad(n: Net) -> onnx.ModelProto:
    x = n.do("Pad", n.start(3, 6, 5), n.ints(0, 0, 1, 1, 0, 0, 1, 1))
    x = n.qdq(x, act(n.dtype, 0.03))
    return n.model((n.conv(x, 3, 4), 4, "float32"))


def padded_by_name(n: Net) -> onnx.ModelProto:
    x = n.conv(n.start(3, 7, 6), 3, 4, auto_pad="SAME_UPPER", strides=[2, 2])
    return n.model((n.conv(x, 4, 4, auto_pad="SAME_LOWER", strides=[2, 1]), 4, "float32"))


def dilated(n: Net) -> onnx.ModelProto:
    return n.model((n.conv(n.start(3, 9, 8), 3, 4, dilations=[2, 3]), 4, "float32"))


def argmax(n: Net) -> onnx.ModelProto:
    x = n.dense(n.start(12), 7, 12)
    return n.model((n.do("ArgMax", x, axis=-1, keepdims=1), 2, "int64"))


def argmax_of_a_map(n: Net) -> onnx.ModelProto:
    x = n.conv(n.start(3, 6, 5), 3, 4)
    return n.model((n.do("ArgMax", x, axis=1, keepdims=1), 4, "int64"))


def rows(n: Net) -> onnx.ModelProto:
    """A MatMul on the last of three axes."""
    out = n.do("MatMul", n.start(5, 12), n.kernel((12, 7), 1))
    return n.model((n.round(out, 0.1), 3, "float32"))


def relu_then_other_scale(n: Net) -> onnx.ModelProto:
    x = n.do(
        "Clip", n.start(3, 4, 4), n.constant("lo", np.float32(0)), n.constant("hi", np.float32(6))
    )
    return n.model((n.round(x, 0.05), 4, "float32"))


def two_functions(n: Net) -> onnx.ModelProto:
    x = n.do("Sigmoid", n.do("LeakyRelu", n.start(3, 4, 4), alpha=0.3))
    return n.model((n.round(x, 1 / 256, -128), 4, "float32"))


def scaled_by_a_constant(n: Net) -> onnx.ModelProto:
    x = n.do("Add", n.start(3, 4, 4), n.constant("c", np.float32(0.37)))
    return n.model((n.round(x, 0.04), 4, "float32"))


def relu_to_floats(n: Net) -> onnx.ModelProto:
    return n.model((n.do("Relu", n.conv(n.start(3, 6, 5), 3, 4)), 4, "float32"))


NETS: list[Callable[[Net], onnx.ModelProto]] = [
    flat_by_reshape, flat_by_flatten, flat_by_shape_chain, channels_last_input,
    pool_before_the_quantizer, skip_branch, two_branches_joined_flat, two_outputs,
    squeezed_average, nothing_operators, float_logits, float_bias_conv, float_bias_matmul,
    quantized_bias_matmul, float_weights_with_quantizers, padded_by_pad,
    padded_by_a_quantized_pad, padded_by_name, dilated, argmax, argmax_of_a_map, rows,
    relu_then_other_scale, two_functions, scaled_by_a_constant, relu_to_floats,
]  # fmt: skip


@pytest.mark.filterwarnings("ignore::hwsim.frontends.shared.builder.RuntimeDifference")
@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("build", NETS, ids=lambda f: f.__name__.replace("_", " "))
def test_a_graph_gives_the_runtimes_values(
    build: Callable[[Net], onnx.ModelProto], dtype: str, tmp_path: Path, seed: int
) -> None:
    model = build(Net(dtype))
    graph = load(model, tmp_path)
    assert differences(graph, model, feeds(model, seed)) == 0


# Layouts


def test_reshape_and_transpose_move_no_code(rng: np.random.Generator) -> None:
    """The mapping agrees with what NumPy does to an array, for chains of both."""
    for _ in range(50):
        array = np.arange(24)
        layout = Arrangement.channels_last((2, 3, 4))
        held = array.reshape(2, 3, 4).transpose(1, 2, 0).ravel()  # the codes, as they lie
        array = array.reshape(2, 3, 4)
        for _ in range(4):
            if rng.random() < 0.5:
                axes = tuple(int(a) for a in rng.permutation(array.ndim))
                array, layout = array.transpose(axes), layout.transposed(axes)
            else:
                shape = [(24,), (2, 12), (4, 6), (4, 3, 2), (2, 3, 4)][rng.integers(5)]
                array, layout = array.reshape(shape), layout.reshaped(shape)
        assert layout.shape == array.shape
        assert np.array_equal(array.ravel()[layout.order], held)
