"""ONNX tensors of other ranks than a map's: lines (channels, length), heads of attention."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from support.onnx_builder import activation
from support.onnx_compare import assert_same_arrays, load
from support.onnx_nets import Net, feed

import hwsim
from hwsim.errors import HwsimError
from hwsim.frontends.shared.builder import RuntimeDifference

LINES_TRIED = 12


def conv(n: Net, x: str, cin: int, cout: int, k: int = 3, **attributes: object) -> str:
    """A convolution along the length, rounded."""
    inputs = cin // int(attributes.get("group", 1))  # type: ignore[call-overload]
    w = n.kernel((cout, inputs, k), 0, cout)
    return n.round(n.do("Conv", x, w, **attributes), 0.5)


def line(n: Net) -> onnx.ModelProto:
    return n.model((conv(n, n.start(3, 14), 3, 4), 3, "float32"))


def strided_and_padded(n: Net) -> onnx.ModelProto:
    x = conv(n, n.start(3, 14), 3, 4, 4, strides=[2], pads=[1, 2])
    return n.model((conv(n, x, 4, 5, auto_pad="SAME_LOWER"), 3, "float32"))


def dilated_and_depthwise(n: Net) -> onnx.ModelProto:
    x = conv(n, n.start(4, 14), 4, 4, dilations=[3], pads=[3, 3])
    return n.model((conv(n, x, 4, 4, group=4), 3, "float32"))


def biased(n: Net) -> onnx.ModelProto:
    """A float bias, as trainers leave it."""
    w, b = n.kernel((4, 3, 3), 0, 4), n.constant("b", n.rng.normal(0, 1, 4).astype(np.float32))
    return n.model((n.round(n.do("Conv", n.start(3, 14), w, b), 0.5), 3, "float32"))


def largest(n: Net) -> onnx.ModelProto:
    x = conv(n, n.start(3, 15), 3, 4)
    x = n.do("MaxPool", n.do("Relu", x), kernel_shape=[3], strides=[2], pads=[1, 1])
    return n.model((n.qdq(x, activation(n.dtype, scale=0.4, zero_point=-128)), 3, "float32"))


def largest_of_codes(n: Net) -> onnx.ModelProto:
    q = n.parameters("x", activation("uint8", scale=0.03, zero_point=-9))
    codes = n.do("QuantizeLinear", n.input("x", (3, 15)), *q)
    pooled = n.do("MaxPool", codes, kernel_shape=[2], strides=[2], ceil_mode=1)
    return n.model((conv(n, n.do("DequantizeLinear", pooled, *q), 3, 4), 3, "float32"))


def average(n: Net) -> onnx.ModelProto:
    x = conv(n, n.start(3, 15), 3, 4)
    return n.model(
        (n.round(n.do("AveragePool", x, kernel_shape=[3], strides=[2]), 0.4), 3, "float32")
    )


def uneven_average(n: Net) -> onnx.ModelProto:
    x = conv(n, n.start(3, 15), 3, 4)
    x = n.do("AveragePool", x, kernel_shape=[4], strides=[3], pads=[2, 1])
    return n.model((n.round(x, 0.4), 3, "float32"))


def global_average(n: Net) -> onnx.ModelProto:
    x = n.round(n.do("GlobalAveragePool", conv(n, n.start(3, 14), 3, 6)), 0.3)
    return n.model((n.dense(n.do("Flatten", x), 5, 6), 2, "float32"))


def global_maximum(n: Net) -> onnx.ModelProto:
    return n.model((n.do("GlobalMaxPool", conv(n, n.start(3, 14), 3, 6)), 3, "float32"))


def mean_over_the_length(n: Net) -> onnx.ModelProto:
    x = n.do("ReduceMean", conv(n, n.start(3, 14), 3, 6), axes=[2], keepdims=0)
    return n.model((n.round(x, 0.3), 2, "float32"))


def padded_by_pad(n: Net) -> onnx.ModelProto:
    x = n.do("Pad", n.start(3, 14), n.ints(0, 0, 2, 0, 0, 1))
    return n.model((conv(n, x, 3, 4), 3, "float32"))


def skip(n: Net) -> onnx.ModelProto:
    x = conv(n, n.start(3, 14), 3, 4)
    y = conv(n, x, 4, 4, pads=[1, 1])
    joined = n.do("Concat", n.round(n.do("Add", x, y), 0.6), n.round(y, 0.6), axis=1)
    return n.model((conv(n, n.round(joined, 0.6), 8, 3), 3, "float32"))


def flat_line(n: Net) -> onnx.ModelProto:
    x = n.do("Flatten", conv(n, n.start(3, 14), 3, 4))
    return n.model((n.dense(x, 5, 48), 2, "float32"))


def features_last(n: Net) -> onnx.ModelProto:
    """What Keras exports: (length, features), transposed before the first layer and at the end."""
    x = n.do("Transpose", n.round(n.input("x", (14, 3)), 0.03), perm=[0, 2, 1])
    x = n.do("Transpose", conv(n, x, 3, 4), perm=[0, 2, 1])
    return n.model((x, 3, "float32"))


def norm_of_a_line(n: Net) -> onnx.ModelProto:
    c = [n.constant(w, n.rng.uniform(0.5, 1.5, 4).astype(np.float32)) for w in "sbmv"]
    x = n.do("BatchNormalization", conv(n, n.start(3, 14), 3, 4), *c)
    return n.model((n.round(x, 0.5), 3, "float32"))


def line_to_classes(n: Net) -> onnx.ModelProto:
    x = conv(n, n.start(3, 14), 3, 4)
    return n.model((n.do("ArgMax", x, axis=1, keepdims=0), 2, "int64"))


LINES: list[Callable[[Net], onnx.ModelProto]] = [
    line, strided_and_padded, dilated_and_depthwise, biased, largest, largest_of_codes, average,
    uneven_average, global_average, global_maximum, mean_over_the_length, padded_by_pad, skip,
    flat_line, features_last, norm_of_a_line, line_to_classes,
]  # fmt: skip


def heads(n: Net) -> onnx.ModelProto:
    """Features of each position in two heads, a projection of each head, and back."""
    x = n.round(n.input("x", (5, 8)), 0.03)
    x = n.do("Transpose", n.do("Reshape", x, n.ints(0, 5, 2, 4)), perm=[0, 2, 1, 3])
    x = n.round(n.do("MatMul", x, n.kernel((4, 3), 1)), 0.6)
    x = n.do("Reshape", n.do("Transpose", x, perm=[0, 2, 1, 3]), n.ints(0, 5, 6))
    return n.model((n.round(n.do("MatMul", x, n.kernel((6, 7), 1)), 0.6), 3, "float32"))


def keys(n: Net) -> onnx.ModelProto:
    """Heads with their positions innermost, as the keys of attention."""
    x = n.round(n.input("x", (5, 8)), 0.03)
    x = n.round(n.do("MatMul", x, n.kernel((8, 8), 1)), 0.6)
    x = n.do("Transpose", n.do("Reshape", x, n.ints(0, 5, 2, 4)), perm=[0, 2, 3, 1])
    return n.model((n.round(n.do("MatMul", x, n.kernel((5, 3), 1)), 0.6), 4, "float32"))


def joined_heads(n: Net) -> onnx.ModelProto:
    x = n.round(n.input("x", (2, 5, 4)), 0.03)
    parts = [n.round(n.do("MatMul", x, n.kernel((4, 3), 1)), 0.6) for _ in range(2)]
    return n.model((n.round(n.do("Concat", *parts, axis=3), 0.6), 4, "float32"))


RANKS: list[Callable[[Net], onnx.ModelProto]] = [heads, keys, joined_heads]


@pytest.mark.filterwarnings("ignore::hwsim.frontends.shared.builder.RuntimeDifference")
@pytest.mark.filterwarnings("ignore::hwsim.saturation.InputSaturation")
@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("build", [*LINES, *RANKS], ids=lambda f: f.__name__.replace("_", " "))
def test_tensors_of_other_ranks_give_the_runtimes_arrays(
    build: Callable[[Net], onnx.ModelProto], dtype: str, tmp_path: Path, seed: int
) -> None:
    model = build(Net(dtype))
    assert_same_arrays(load(model, tmp_path), model, feed(model, seed, batch=24))


def test_a_line_has_two_axes_in_the_graph_and_moves_nothing(tmp_path: Path) -> None:
    for build in (line, strided_and_padded, largest, skip, features_last):
        graph = load(build(Net()), tmp_path)
        assert {len(kind.shape) for kind in graph.types().values()} == {2}
        kinds = [node.op.kind for node in graph.nodes]
        assert "conv1d" in kinds and not {"transpose", "reshape", "conv2d"} & set(kinds)
        assert graph.types()[graph.inputs[0].tensor].shape[1] == 3  # the channels, innermost


def test_a_mutant_of_a_line_is_caught(tmp_path: Path, seed: int) -> None:
    """Another kernel, read from behind, gives other arrays."""
    model = line(Net())
    graph = load(model, tmp_path)
    node = next(n for n in graph.nodes if n.op.kind == "conv1d")
    turned = type(node.op)(
        **{f: getattr(node.op, f) for f in ("bias", "weight_format", "window", "zero_point")},
        weight_scale=node.op.weight_scale,  # type: ignore[attr-defined]
        bias_frac=node.op.bias_frac,  # type: ignore[attr-defined]
        weights=node.op.weights[::-1],  # type: ignore[attr-defined]
    )
    x = feed(model, seed)
    assert_same_arrays(graph, model, x)
    assert not np.array_equal(
        hwsim.emulate(graph, x), hwsim.emulate(graph.with_op(node.name, turned), x)
    )


def refused(build: Callable[[Net], onnx.ModelProto], tmp_path: Path) -> str:
    with pytest.raises(HwsimError) as error:
        load(build(Net()), tmp_path)
    return str(error.value)


def test_a_line_is_padded_among_its_channels(tmp_path: Path, seed: int) -> None:
    def build(n: Net) -> onnx.ModelProto:
        x = n.do("Pad", n.start(3, 14), n.ints(0, 1, 2, 0, 0, 1))
        return n.model((conv(n, x, 4, 4), 3, "float32"))

    model = build(Net())
    with pytest.warns(RuntimeDifference, match="adds in float32"):
        graph = load(model, tmp_path)
    assert graph.nodes[0].op.kind == "pad"
    assert_same_arrays(graph, model, feed(model, seed))


def test_a_convolution_over_three_axes_is_refused(tmp_path: Path) -> None:
    def build(n: Net) -> onnx.ModelProto:
        w = n.kernel((4, 3, 2, 2, 2), 0, 4)
        return n.model((n.round(n.do("Conv", n.start(3, 4, 4, 4), w), 0.5), 5, "float32"))

    text = refused(build, tmp_path)
    assert "must be (batch, channels, length) or (batch, channels, height, width)" in text
    assert text.endswith("not of rank 5")


def random_line(rng: np.random.Generator, dtype: str) -> onnx.ModelProto:
    """A convolution with any attributes, and a pool of any kind behind it."""
    n = Net(dtype, int(rng.integers(1 << 30)))

    def pick(*choices: Any) -> Any:
        return choices[rng.integers(len(choices))]

    k, groups, length = int(rng.integers(1, 6)), pick(1, 1, 2, 4), int(rng.integers(12, 24))
    attributes: dict[str, Any] = {"strides": [pick(1, 1, 2, 3)], "dilations": [pick(1, 1, 2)]}
    span = (k - 1) * attributes["dilations"][0]
    if rng.random() < 0.3:
        attributes["auto_pad"] = pick("SAME_UPPER", "SAME_LOWER", "VALID")
        attributes["dilations"] = [1]
    else:
        attributes["pads"] = [int(v) for v in rng.integers(0, span + 1, 2)]
    inputs = [n.start(4, length), n.kernel((4, 4 // groups, k), 0, pick(1, 4))]
    if rng.random() < 0.5:
        inputs.append(n.constant("b", n.rng.normal(0, 1, 4).astype(np.float32)))
    x = n.do("Conv", *inputs, group=groups, **attributes)
    x = n.qdq(n.do("Relu", x), activation(dtype, scale=0.3, zero_point=-128))
    size = int(rng.integers(1, 4))
    pool: dict[str, Any] = {
        "kernel_shape": [size],
        "strides": [pick(1, 2, 3)],
        "pads": [int(v) for v in rng.integers(0, size, 2)],
        "ceil_mode": int(rng.random() < 0.3),
    }
    op = pick("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool")
    if op == "AveragePool":
        pool |= {"count_include_pad": int(rng.random() < 0.5), "ceil_mode": 0}
    x = n.round(n.do(op, x, **(pool if "Global" not in op else {})), 0.25)
    return n.model((x, 3, "float32"))


@pytest.mark.filterwarnings("ignore::hwsim.saturation.InputSaturation")
@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_random_lines_give_the_runtimes_arrays_or_a_warning(
    dtype: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    equal = 0
    for _ in range(LINES_TRIED):
        model = random_line(rng, dtype)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            graph = load(model, tmp_path)
        if not any(issubclass(w.category, RuntimeDifference) for w in caught):
            assert_same_arrays(graph, model, feed(model, int(rng.integers(1 << 30)), batch=8))
            equal += 1
    assert equal > LINES_TRIED // 3


@pytest.mark.slow
@pytest.mark.needs("verilator", "amaranth")
def test_a_network_of_lines_is_the_same_in_verilator(tmp_path: Path, seed: int) -> None:
    model = skip(Net())
    hwsim.build(load(model, tmp_path), tmp_path / "out", rtl_only=True)
    assert hwsim.verify(tmp_path / "out", feed(model, seed, batch=20)["x"]).ok
