"""What stands between a layer's sum and the next Quant: the executor's codes, value for value."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from support.qonnx_nets import Net, differences, off_grid, on_grid

import hwsim
from hwsim.float_steps import FloatStep
from hwsim.frontends.shared.builder import RuntimeDifference
from hwsim.ops import Requantize, Table, Thresholds

pytest.importorskip("qonnx")

MODES = ("ROUND", "CEIL", "FLOOR", "UP", "DOWN", "HALF_UP", "HALF_DOWN")


def quietly(model: onnx.ModelProto) -> hwsim.Graph:
    """The graph of a model in which nothing is announced."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeDifference)
        return hwsim.load(model)


def layer(n: Net, kind: str) -> tuple[str, int, tuple[int, ...]]:
    """A layer's sum, with a bias of any float32; its channels, and its shape."""
    bias = n.constant(n.rng.normal(0, 0.5, 6))
    if kind == "conv":
        x = n.do("Conv", [n.start(3, 6, 5), n.weights((6, 3, 3, 3)), bias], kernel_shape=[3, 3])
        return x, 6, (6, 4, 3)
    if kind == "line":
        x = n.do("Conv", [n.start(3, 9), n.weights((6, 3, 3)), bias], kernel_shape=[3])
        return x, 6, (6, 7)
    if kind == "gemm":
        return n.do("Gemm", [n.start(20), n.weights((6, 20)), bias], transB=1), 6, (6,)
    x = n.do("MatMul", [n.start(20), n.weights((20, 6))])
    return (n.do("Add", [x, bias]) if kind == "add" else x), 6, (6,)


def constants(n: Net, shape: tuple[int, ...], *, positive: bool) -> str:
    """One number, or one a channel in one of the shapes that broadcast."""
    rng = n.rng
    places = [
        (),
        (1,),
        (shape[0], *(1,) * (len(shape) - 1)),
        (1, shape[0], *(1,) * (len(shape) - 1)),
    ]
    if len(shape) == 1:
        places.append((shape[0],))
    size = places[int(rng.integers(len(places)))]
    values = rng.uniform(0.4, 2.5, size) if positive else rng.normal(0, 0.8, size)
    if positive and rng.random() < 0.4:
        values = values * rng.choice([-1, 1], size)
    return n.constant(values)


def chain(n: Net, x: str, shape: tuple[int, ...], length: int) -> str:
    """So many operators with constants, one after the other."""
    for _ in range(length):
        match n.rng.choice(["norm", "Mul", "Div", "Add", "Sub", "from", "Relu", "Clip"]):
            case "norm":
                x = n.norm(x, shape[0])
            case "from":
                x = n.do("Sub", [constants(n, shape, positive=False), x])
            case "Relu":
                x = n.do("Relu", [x])
            case "Clip":
                x = n.do("Clip", [x, n.constant(-1.1), n.constant(1.7)])
            case op:
                x = n.do(op, [x, constants(n, shape, positive=op in ("Mul", "Div"))])
    return x


def quantizer(n: Net, x: str) -> str:
    """Any of QONNX's quantizers, with any scale."""
    scale = float(n.rng.choice([0.25, 0.125, 0.3, 0.0717]))
    bits = int(n.rng.choice([1, 2, 2, 3, 4, 8]))
    kind = n.rng.choice(["sign", "plain", "plain", "narrow", "zero"])
    if kind == "sign":
        return n.sign(x, scale)
    rule: dict[str, Any] = {"signed": int(n.rng.integers(2)), "mode": str(n.rng.choice(MODES))}
    rule["narrow"] = int(kind == "narrow" and bits > 1)
    if kind == "zero" and bits > 1:
        rule["zero"] = int(n.rng.integers(-2, 3))
    return n.quant(x, scale, bits, **rule)


def random_chain(seed: int) -> tuple[onnx.ModelProto, tuple[int, ...]]:
    """A layer, some arithmetic, a quantizer, perhaps a max pool, and another layer."""
    n = Net(seed, domain=["qonnx.custom_op.general", "onnx.brevitas"][seed % 2])
    kind = str(n.rng.choice(["matmul", "add", "gemm", "conv", "line"]))
    x, _, shape = layer(n, kind)
    x = chain(n, x, shape, int(n.rng.integers(1, 5)))
    pooled = kind == "conv" and n.rng.random() < 0.5
    x = quantizer(n, x)
    if pooled:
        x = n.do("MaxPool", [x], kernel_shape=[2, 2])
        shape = (shape[0], 3, 2)
    return n.model(x, *shape), n.shape


@pytest.mark.parametrize("part", range(4))
def test_any_arithmetic_before_a_quantizer_gives_the_executors_values(part: int, seed: int) -> None:
    for k in range(4):
        model, shape = random_chain(seed + k)
        x = np.concatenate([on_grid(shape, seed + k, batch=5), off_grid(shape, seed, batch=5)])
        graph = quietly(model)
        got = hwsim.emulate(graph, x)
        wrong = differences(graph, model, x) if len(np.unique(got)) > 1 else 0
        assert wrong == 0, f"network {seed + k}"


@pytest.mark.slow
def test_any_arithmetic_in_300_networks(seed: int) -> None:
    compared = 0
    for k in range(300):
        model, shape = random_chain(seed + k)
        x = np.concatenate([on_grid(shape, seed + k, batch=20), off_grid(shape, seed, batch=20)])
        graph = quietly(model)
        got = hwsim.emulate(graph, x)
        wrong = differences(graph, model, x) if len(np.unique(got)) > 1 else 0
        assert wrong == 0, f"network {seed + k}"
        compared += got.size
    print(f"{compared} values compared")


def test_a_layer_and_its_norm_become_one_row_of_thresholds_a_channel() -> None:
    n = Net(0)
    x, channels, shape = layer(n, "conv")
    graph = quietly(n.model(n.quant(n.norm(x, channels), 0.25, 3), *shape))
    op = graph.nodes[-1].op
    assert isinstance(op, Thresholds) and op.rows == 6
    assert {-1, 1} == set(op.step.tolist())


def test_a_threshold_of_a_neighbouring_sum_is_seen(seed: int) -> None:
    """The mutant: one threshold of each channel just above the least sum that reaches it."""
    n = Net(seed)
    x = n.do("MatMul", [n.start(3, scale=0.25, bits=3), n.weights((3, 4), 0.5, 3)])
    model = n.model(n.quant(n.norm(x, 4), 0.5, 3), 4)
    graph = quietly(model)
    places = np.stack(np.meshgrid(*[np.arange(-4, 4)] * 3), -1).reshape(-1, 3).astype(np.float32)
    assert differences(graph, model, places / 4) == 0
    node = graph.nodes[-1]
    assert isinstance(node.op, Thresholds)
    sums = hwsim.trace(graph, places / 4)[node.inputs[0]]
    values = node.op.values.copy()
    for channel, row in enumerate(values):
        reached = [(k, s) for k, t in enumerate(row) for s in sums[:, channel] if s >= t]
        if reached:
            place, least = min(reached, key=lambda pair: (pair[1], -pair[0]))
            row[place] = least + 1
    values.sort(axis=1)
    mutant = Thresholds(values=values, base=node.op.base, step=node.op.step, out=node.op.out)
    assert differences(graph.with_op(node.name, mutant), model, places / 4) > 0


def test_a_pool_goes_ahead_of_falling_functions_and_behind_rising_ones(seed: int) -> None:
    kinds = {}
    for falling in (True, False):
        n = Net(seed)
        x, channels, _ = layer(n, "conv")
        x = n.norm(n.do("MaxPool", [x], kernel_shape=[2, 2]), channels, falling=falling)
        model = n.model(n.quant(x, 0.25, 3), channels, 3, 2)
        graph = quietly(model)
        assert differences(graph, model, off_grid(n.shape, seed)) == 0
        kinds[falling] = [node.op.kind for node in graph.nodes][1:]
    assert kinds == {True: ["maxpool", "thresholds"], False: ["thresholds", "maxpool"]}


def test_a_pool_between_falling_functions_is_refused() -> None:
    n = Net(3)
    x, channels, _ = layer(n, "conv")
    x = n.do("MaxPool", [n.norm(x, channels)], kernel_shape=[2, 2])
    model = n.model(n.quant(n.norm(x, channels), 0.25, 3), channels, 3, 2)
    with pytest.raises(hwsim.HwsimError, match="a max pool must stand before or after all functi"):
        hwsim.load(model)


def average(n: Net) -> onnx.ModelProto:
    """A window of 9, whose reciprocal is no power of two, and a norm after it."""
    x = n.do("AveragePool", [n.start(4, 6, 6)], kernel_shape=[3, 3], strides=[3, 3])
    return n.model(n.quant(n.norm(x, 4), 0.25, 4), 4, 2, 2)


def whole_average(n: Net) -> onnx.ModelProto:
    """All of a map, of codes whose scale is no power of two."""
    x = n.do("GlobalAveragePool", [n.start(4, 7, 7, scale=0.11, bits=4)])
    return n.model(n.quant(x, 0.07, 5), 4, 1, 1)


def residual_of_two_scales(n: Net) -> onnx.ModelProto:
    """Scales that have no common unit; a ReLU behind the sum."""
    x = n.start(4, 5, 5, scale=0.11, bits=5)
    y = n.do("Conv", [x, n.weights((4, 4, 1, 1), 0.13)], kernel_shape=[1, 1])
    total = n.do("Add", [x, n.quant(n.norm(y, 4), 0.0717, 5)])
    return n.model(n.quant(n.do("Relu", [total]), 0.2, 4, signed=0), 4, 5, 5)


def product_of_two_scales(n: Net) -> onnx.ModelProto:
    x = n.start(4, 5, 5, scale=0.11, bits=5)
    y = n.quant(n.do("GlobalAveragePool", [x]), 0.05, 4)
    return n.model(n.quant(n.do("Mul", [x, y]), 0.03, 5), 4, 5, 5)


def joined_and_normed(n: Net) -> onnx.ModelProto:
    """Parts of different scales, each with its share of the constants."""
    x = n.start(3, 6, 6)
    parts = [n.do("Conv", [x, n.weights((c, 3, 3, 3))], kernel_shape=[3, 3]) for c in (2, 4)]
    parts = [n.quant(p, s, 6) for s, p in zip((0.25, 0.11), parts, strict=True)]
    return n.model(n.quant(n.norm(n.do("Concat", parts, axis=1), 6), 0.2, 3), 6, 4, 4)


def squashed_sum(n: Net) -> onnx.ModelProto:
    """A Sigmoid of a sum, in no table before."""
    x = n.do("MatMul", [n.start(20), n.weights((20, 6))])
    return n.model(n.quant(n.do("Sigmoid", [x]), 2.0**-3, 4, signed=0), 6)


def turning_function_of_a_sum(n: Net) -> onnx.ModelProto:
    x = n.do("MatMul", [n.start(4, bits=4), n.weights((4, 6), bits=4)])
    return n.model(n.quant(n.do("Abs", [x]), 2.0**-4, 6, signed=0), 6)


def norm_of_codes(n: Net) -> onnx.ModelProto:
    """No layer in between: an input's codes, normalized by channel and quantized again."""
    return n.model(n.quant(n.norm(n.start(5, 4, 3, scale=0.11, bits=6), 5), 0.3, 4), 5, 4, 3)


NETS: list[Callable[[Net], onnx.ModelProto]] = [
    average, whole_average, residual_of_two_scales, product_of_two_scales, joined_and_normed,
    squashed_sum, turning_function_of_a_sum, norm_of_codes,
]  # fmt: skip


@pytest.mark.parametrize("build", NETS, ids=lambda f: f.__name__.replace("_", " "))
def test_a_graph_gives_the_executors_values(
    build: Callable[[Net], onnx.ModelProto], seed: int
) -> None:
    n = Net(seed)
    model = build(n)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeDifference)
        graph = hwsim.load(model)
    x = np.concatenate([on_grid(n.shape, seed, batch=8), off_grid(n.shape, seed, batch=8)])
    assert differences(graph, model, x) == 0


def test_a_turning_function_of_a_sum_is_a_table(seed: int) -> None:
    graph = quietly(turning_function_of_a_sum(Net(seed)))
    assert isinstance(graph.nodes[-1].op, Table)


def test_a_requantizer_stays_where_it_gives_the_same_codes(seed: int) -> None:
    """A scale that is no power of two without anything in between: as before, and quietly."""
    n = Net(seed)
    x = n.do("MatMul", [n.start(8, scale=0.11, bits=6), n.weights((8, 12), 0.21)])
    graph = quietly(n.model(n.quant(x, 0.3, 6), 12))
    assert isinstance(graph.nodes[-1].op, Requantize)


def test_arithmetic_at_the_end_is_at_the_outputs_port(seed: int) -> None:
    n = Net(seed)
    x, channels, shape = layer(n, "conv")
    x = n.do("Relu", [n.norm(x, channels)])
    model = n.model(n.do("Mul", [x, n.constant(0.37)]), *shape)
    graph = quietly(model)
    assert differences(graph, model, off_grid(n.shape, seed)) == 0
    steps = graph.outputs[0].steps
    assert [step.op for step in steps if isinstance(step, FloatStep)][-4:] == [
        "mul", "add", "max", "mul"
    ]  # fmt: skip


def test_too_many_thresholds_are_refused_in_a_sentence() -> None:
    n = Net(0)
    x = n.norm(n.do("MatMul", [n.start(4), n.weights((4, 40))]), 40)
    with pytest.raises(hwsim.HwsimError, match=r"at most 262144 thresholds in all channels"):
        hwsim.load(n.model(n.quant(x, 2.0**-13, 16), 40))


@pytest.mark.parametrize(("size", "told"), [(5, True), (4, False)])
def test_last_bits_of_a_mean_at_the_end_are_announced(size: int, told: bool, seed: int) -> None:
    n = Net(seed)
    mean = n.do("ReduceMean", [n.start(size, 3)], axes=[1], keepdims=1)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        graph = hwsim.load(made := n.model(mean, 1, 3))
    assert any("last bits" in str(w.message) for w in said) == told
    assert told or differences(graph, made, on_grid(n.shape, seed)) == 0


def test_what_moves_behind_a_factor_a_channel_at_the_end_is_refused_in_a_sentence() -> None:
    n = Net(0)
    x = n.norm(n.start(4), 4)
    pads = n.constant([0, 1, 0, 2], np.int64)
    x = n.do("Pad", [x, pads, n.constant(0.5)])
    with pytest.raises(hwsim.HwsimError, match="pad2_n must be followed by a quantizer"):
        hwsim.load(n.model(x, 7))


@pytest.mark.parametrize("kind", ["gemm", "conv"])
def test_a_function_that_turns_may_have_constants_for_each_channel_before_it(
    kind: str, seed: int
) -> None:
    """Each channel's own way through the codes: thresholds that count, and a table a channel."""
    n = Net(seed)
    x, channels, shape = layer(n, kind)
    x = n.quant(n.do("Abs", [n.norm(x, channels)]), 0.0717, 4, signed=1)
    model = n.model(x, *shape)
    x = np.concatenate([on_grid(n.shape, seed, batch=20), off_grid(n.shape, seed, batch=20)])
    assert differences(quietly(model), model, x) == 0
