"""Tensors whose axes an exporter moved: ports that show them so, Transposes where codes move."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from support.onnx_builder import Q, activation
from support.onnx_compare import assert_same_arrays, load
from support.onnx_nets import Net, feed

from hwsim.fixed import Format
from hwsim.frontends.shared.arrangement import Arrangement, moving, view_of
from hwsim.frontends.shared.walks import LoopOrder
from hwsim.graph import user_shape
from hwsim.ops import TensorType

NHWC, NCHW = [0, 2, 3, 1], [0, 3, 1, 2]
X = Q("uint8", 0.03, 119)


def codes(n: Net, tensor: str) -> str:
    return n.do("QuantizeLinear", tensor, *n.parameters("x", X))


def reals(n: Net, tensor: str) -> str:
    return n.do("DequantizeLinear", tensor, "x_scale", "x_zero_point")


def ended(n: Net, x: str) -> onnx.ModelProto:
    return n.model((n.conv(x, 3, 4), 4, "float32"))


def transpose_before_the_quantizer(n: Net) -> onnx.ModelProto:
    return ended(n, n.round(n.do("Transpose", n.input("x", (6, 5, 3)), perm=NCHW), 0.03))


def transpose_behind_the_quantizer(n: Net) -> onnx.ModelProto:
    x = n.round(n.input("x", (6, 5, 3)), 0.03)
    return ended(n, n.do("Transpose", x, perm=NCHW))


def transpose_between_quantizers(n: Net) -> onnx.ModelProto:
    x = n.round(n.input("x", (6, 5, 3)), 0.03)
    return ended(n, n.round(n.do("Transpose", x, perm=NCHW), 0.04))


def transpose_of_codes(n: Net) -> onnx.ModelProto:
    x = codes(n, n.input("x", (6, 5, 3)))
    return ended(n, reals(n, n.do("Transpose", x, perm=NCHW)))


def transpose_of_an_integer_port(n: Net) -> onnx.ModelProto:
    x = n.input("x", (6, 5, 3), "uint8")
    n.parameters("x", X)
    return ended(n, n.do("Transpose", reals(n, x), perm=NCHW))


def flat_input_of_a_map(n: Net) -> onnx.ModelProto:
    x = n.round(n.input("x", (90,)), 0.03)
    return ended(n, n.do("Reshape", x, n.ints(-1, 3, 6, 5)))


def map_cut_otherwise(n: Net) -> onnx.ModelProto:
    """A Reshape of (height, width, channels), not a Transpose: the numbers stay where they are."""
    x = n.round(n.input("x", (6, 5, 3)), 0.03)
    return ended(n, n.do("Reshape", x, n.ints(0, 3, 6, 5)))


def map_given_back_channels_last(n: Net) -> onnx.ModelProto:
    x = n.conv(n.start(3, 6, 5), 3, 4)
    return n.model((n.do("Transpose", x, perm=NHWC), 4, "float32"))


def flattened_map_given_back(n: Net) -> onnx.ModelProto:
    x = n.conv(n.start(3, 6, 5), 3, 4)
    return n.model((n.do("Flatten", x), 2, "float32"))


def pool_of_a_moved_input(n: Net) -> onnx.ModelProto:
    x = n.do("Transpose", n.round(n.input("x", (6, 5, 3)), 0.03), perm=NCHW)
    pooled = n.do("MaxPool", n.do("Relu", x), kernel_shape=[2, 2])
    return ended(n, n.qdq(pooled, activation(n.dtype, scale=0.02, zero_point=-128)))


def rows_and_columns_of_an_input_exchanged(n: Net) -> onnx.ModelProto:
    x = n.round(n.input("x", (3, 5, 6)), 0.03)
    return ended(n, n.do("Transpose", x, perm=[0, 1, 3, 2]))


def rows_and_columns_of_an_output_exchanged(n: Net) -> onnx.ModelProto:
    x = n.conv(n.start(3, 6, 5), 3, 4)
    return n.model((n.do("Transpose", x, perm=[0, 1, 3, 2]), 4, "float32"))


def all_axes_of_an_input_reversed_and_cut(n: Net) -> onnx.ModelProto:
    x = n.round(n.input("x", (5, 18)), 0.03)
    x = n.do("Transpose", n.do("Reshape", x, n.ints(0, 5, 6, 3)), perm=[0, 3, 2, 1])
    return ended(n, x)


FREE: list[Callable[[Net], onnx.ModelProto]] = [
    transpose_before_the_quantizer, transpose_behind_the_quantizer, transpose_between_quantizers,
    transpose_of_codes, transpose_of_an_integer_port, flat_input_of_a_map, map_cut_otherwise,
    map_given_back_channels_last, flattened_map_given_back, pool_of_a_moved_input,
    rows_and_columns_of_an_input_exchanged, rows_and_columns_of_an_output_exchanged,
    all_axes_of_an_input_reversed_and_cut,
]  # fmt: skip


def both_ways(n: Net) -> onnx.ModelProto:
    """An input that one layer reads as it is and another transposed: one of them must move it."""
    x = n.start(3, 6, 5)
    turned = n.do("Transpose", x, perm=[0, 1, 3, 2])
    first, second = n.conv(x, 3, 4), n.conv(turned, 3, 4)
    return n.model((first, 4, "float32"), (second, 4, "float32"))


def turned_between_layers(n: Net) -> onnx.ModelProto:
    x = n.conv(n.start(3, 6, 5), 3, 4)
    return n.model((n.conv(n.do("Transpose", x, perm=[0, 1, 3, 2]), 4, 4), 4, "float32"))


def rows_of_a_map(n: Net) -> onnx.ModelProto:
    """What a transformer does to patches: (batch, channels, positions), turned."""
    x = n.conv(n.start(3, 6, 5), 3, 4)
    x = n.do("Transpose", n.do("Reshape", x, n.ints(0, 4, -1)), perm=[0, 2, 1])
    return n.model((n.round(n.do("MatMul", x, n.kernel((4, 7), 1)), 0.6), 3, "float32"))


def columns_of_a_map(n: Net) -> onnx.ModelProto:
    x = n.conv(n.start(3, 6, 5), 3, 4)
    x = n.do("Reshape", x, n.ints(0, 4, 12))
    return n.model((n.round(n.do("MatMul", x, n.kernel((12, 7), 1)), 0.6), 3, "float32"))


def shuffled_channels(n: Net) -> onnx.ModelProto:
    """ShuffleNet's: channels in two groups, interleaved."""
    x = n.conv(n.start(3, 6, 5), 3, 4)
    x = n.do("Transpose", n.do("Reshape", x, n.ints(0, 2, 2, 4, 3)), perm=[0, 2, 1, 3, 4])
    return n.model((n.conv(n.do("Reshape", x, n.ints(0, 4, 4, 3)), 4, 4), 4, "float32"))


def maps_side_by_side(n: Net) -> onnx.ModelProto:
    x = n.start(3, 6, 5)
    joined = n.do("Concat", n.conv(x, 3, 4), n.conv(x, 3, 4), axis=3)
    return n.model((n.conv(n.round(joined, 0.6), 4, 4), 4, "float32"))


def joined_channels_last(n: Net) -> onnx.ModelProto:
    x = n.start(3, 6, 5)
    parts = [n.do("Transpose", n.conv(x, 3, c), perm=NHWC) for c in (2, 3)]
    return n.model((n.round(n.do("Concat", *parts, axis=3), 0.6), 4, "float32"))


def argmax_channels_last(n: Net) -> onnx.ModelProto:
    x = n.do("Transpose", n.conv(n.start(3, 6, 5), 3, 4), perm=NHWC)
    return n.model((n.do("ArgMax", x, axis=3, keepdims=0), 3, "int64"))


def argmax_over_columns(n: Net) -> onnx.ModelProto:
    x = n.conv(n.start(3, 6, 5), 3, 4)
    return n.model((n.do("ArgMax", x, axis=3, keepdims=1), 4, "int64"))


MOVES = {
    **dict.fromkeys(FREE, 0),
    **dict.fromkeys((rows_of_a_map, joined_channels_last, argmax_channels_last), 0),
    maps_side_by_side: 0,
    **dict.fromkeys((both_ways, turned_between_layers, columns_of_a_map), 1),
    **dict.fromkeys((shuffled_channels, argmax_over_columns), 1),
}
"""How many Transposes are left for the design: none where bookkeeping or a port will do."""


@pytest.mark.filterwarnings("ignore::hwsim.frontends.shared.builder.RuntimeDifference")
@pytest.mark.parametrize("build", MOVES, ids=lambda f: f.__name__.replace("_", " "))
def test_moved_axes_give_the_runtimes_arrays(
    build: Callable[[Net], onnx.ModelProto], tmp_path: Path, seed: int
) -> None:
    model = build(Net())
    graph = load(model, tmp_path)
    assert_same_arrays(graph, model, feed(model, seed, batch=6))
    assert sum(node.op.kind == "transpose" for node in graph.nodes) == MOVES[build]


def test_the_edge_of_an_input_is_what_its_first_layer_reads(tmp_path: Path) -> None:
    for build in FREE[:7]:
        (port,) = load(build(Net()), tmp_path).inputs
        assert port.type.shape == (6, 5, 3)
        assert user_shape(port.type, port) == ((90,) if build is flat_input_of_a_map else (6, 5, 3))


def test_moved_axes_are_what_the_operators_make_of_them(rng: np.random.Generator) -> None:
    for _ in range(200):
        shape = tuple(int(d) for d in rng.integers(1, 5, rng.integers(1, 5)))
        axes = tuple(int(a) for a in rng.permutation(len(shape)))
        held = Arrangement.plain(shape).transposed(axes)
        wanted = Arrangement.plain(held.shape)
        if np.array_equal(held.order, wanted.order):
            continue
        lying = np.arange(held.size)[None] + 100
        kind = TensorType(held.physical, Format.int(16))
        array = lying.reshape(1, *held.physical)
        for op in moving(held, wanted) or pytest.fail(str((shape, axes))):
            kind = op.infer([kind])
            array = op.run(np, [array], {})
        expected = lying.reshape(shape).transpose(axes)
        assert kind.shape == wanted.physical
        assert np.array_equal(array[0], expected), (shape, axes)


def test_an_order_that_no_transpose_makes_is_seen(rng: np.random.Generator) -> None:
    order = LoopOrder.of(np.array([0, 1, 2, 4, 3, 5, 6, 7]))
    assert moving(Arrangement((8,), (8,), order), Arrangement.plain((8,))) is None
    assert view_of(order, (2, 2, 2), (8,)) is None
