"""QONNX's other operators and the idioms of its exporters: the executor's values."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from support.qonnx_nets import (
    BREVITAS,
    CHANNELS_LAST,
    FINN,
    Net,
    differences,
    executed,
    off_grid,
    on_grid,
)

import hwsim
from hwsim.frontends.onnx.importer import annotated
from hwsim.frontends.shared.builder import RuntimeDifference
from hwsim.ops import Thresholds

pytest.importorskip("qonnx")


def quietly(model: onnx.ModelProto) -> hwsim.Graph:
    """The graph of a model in which nothing is announced."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeDifference)
        return hwsim.load(model)


def truncated(
    n: Net, x: str, scale: float, bits: tuple[int, int], out: float | None = None, **rule: Any
) -> str:
    """Trunc of the first version, or with an output scale of the second."""
    names = [n.constant(v) for v in (scale, 0.0, bits[0])]
    if out is not None:
        names.append(n.constant(out))
    names.append(n.constant(bits[1]))
    return n.do("Trunc", [x, *names], domain=n.domain, **rule)


def average_and_trunc(n: Net, scale: float, out: float | None, mode: str) -> onnx.ModelProto:
    """Brevitas' TruncAvgPool2d: an average, times its size, of which the upper bits stay."""
    x = n.quant(n.do("Relu", [n.start(4, 8, 8)]), scale, 4, signed=0)
    x = n.do("AveragePool", [x], kernel_shape=[4, 4], strides=[4, 4])
    x = n.do("Mul", [x, n.constant(16.0)])
    rule = {"signed": 0, "narrow": 0} if out is not None else {}
    x = truncated(n, x, scale, (8, 4), out, rounding_mode=mode, **rule)
    return n.model(x, 4, 2, 2)


@pytest.mark.parametrize("scale", [0.125, 0.0717])
@pytest.mark.parametrize("second", [False, True], ids=["version 1", "version 2"])
@pytest.mark.parametrize("mode", ["FLOOR", "ROUND", "CEIL"])
def test_a_trunc_of_an_average_gives_the_executors_values(
    scale: float, second: bool, mode: str, seed: int
) -> None:
    n = Net(seed)
    model = average_and_trunc(n, scale, scale * 16 if second else None, mode)
    if second:
        model.opset_import[-1].version = 2
    graph = quietly(model)
    assert differences(graph, model, 2 * off_grid(n.shape, seed, batch=10)) == 0


@pytest.mark.parametrize(
    ("scale", "bias", "count"), [(1.0, 0.0, 7), (2.0, -1.0, 1), (0.5, -2.0, 7), (-1.0, 3.0, 3)]
)
@pytest.mark.parametrize("domain", [FINN, "qonnx.custom_op.general"])
@pytest.mark.parametrize("kind", ["map", "vector", "one row"])
def test_multithreshold_gives_the_executors_values(
    scale: float, bias: float, count: int, domain: str, kind: str, seed: int
) -> None:
    n = Net(seed)
    if kind == "map":
        x, shape = n.do("Conv", [n.start(3, 5, 5), n.weights((6, 3, 3, 3))]), (6, 3, 3)
    else:
        x, shape = n.do("MatMul", [n.start(20), n.weights((20, 6))]), (6,)
    rows = 1 if kind == "one row" else 6
    thresholds = n.constant(np.sort(n.rng.normal(0, 1.5, (rows, count)), axis=1))
    fields = {"out_dtype": "INT4", "out_scale": scale, "out_bias": bias}
    x = n.do("MultiThreshold", [x, thresholds], domain=domain, **fields)
    model = n.model(x, *shape)
    graph = quietly(model)
    assert isinstance(graph.nodes[-1].op, Thresholds)
    assert differences(graph, model, off_grid(n.shape, seed)) == 0


def last_conv(n: Net, x: str, shape: tuple[int, ...], **fields: Any) -> str:
    rule = {"strides": [1, 1], "dilations": [1, 1], "group": 1, "kernel_shape": list(shape[1:3])}
    weights = n.weights(shape)
    n.shapes[weights] = shape
    return n.do("Conv", [x, weights], domain=CHANNELS_LAST, **{**rule, **fields})


def channels_last_net(n: Net) -> onnx.ModelProto:
    """Convolution, norm, pool and a depthwise convolution, all with the channels last."""
    x = n.start(8, 8, 3)
    n.shapes[x] = (1, 8, 8, 3)
    x = last_conv(n, x, (4, 3, 3, 3), pads=[1, 1, 1, 1])
    constants = [n.rng.uniform(0.5, 2, 4) * n.rng.choice([-1, 1], 4), *n.rng.normal(0, 0.5, (2, 4))]
    names = [n.constant(v) for v in (*constants, n.rng.uniform(0.5, 2, 4))]
    x = n.do("BatchNormalization", [x, *names], domain=CHANNELS_LAST, epsilon=1e-5, momentum=0.9)
    x = n.quant(x, 2.0**-2, 4)
    x = n.do(
        "MaxPool", [x], domain=CHANNELS_LAST, kernel_shape=[2, 2], strides=[2, 2], pads=[0, 0, 0, 0]
    )
    for node, size in zip(n.nodes[2:], (8, 8, 8, 4), strict=True):
        n.shapes[node.output[0]] = (1, size, size, 4)
    x = last_conv(n, x, (4, 3, 3, 1), group=4, pads=[0, 0, 0, 0])
    n.shapes[x] = (1, 2, 2, 4)
    return n.model(n.quant(x, 2.0**-2, 5), 2, 2, 4)


def test_operators_with_the_channels_last_give_the_executors_values(seed: int) -> None:
    n = Net(seed)
    model = channels_last_net(n)
    graph = quietly(model)
    assert not any(node.op.kind == "transpose" for node in graph.nodes)
    assert differences(graph, model, off_grid(n.shape, seed, batch=6)) == 0


def tensor_norm(n: Net) -> onnx.ModelProto:
    """Images from 0 to 1, to -1..1 and then by mean and deviation of each channel."""
    n.shape = (3, 6, 6)
    x = n.do("Sub", [n.do("Mul", ["x", n.constant(2.0)]), n.constant([1.0])])
    x = n.do("Sub", [x, n.constant(n.rng.normal(0, 0.3, (1, 3, 1, 1)))])
    x = n.do("Div", [x, n.constant(n.rng.uniform(0.3, 0.8, (3, 1, 1)))])
    x = n.do("Conv", [n.quant(x, 2.0**-5, 8), n.weights((4, 3, 3, 3))])
    return n.model(n.sign(n.norm(x, 4)), 4, 4, 4)


def flattened_norm(n: Net) -> onnx.ModelProto:
    """Shape, Gather, Unsqueeze, Concat, Reshape as an old exporter writes a flatten; Pow."""
    n.shape, n.opset = (1, 4, 5), 9
    batch = n.do("Gather", [n.do("Shape", ["x"]), n.constant(0, np.int64)], axis=0)
    target = n.do(
        "Concat", [n.do("Unsqueeze", [batch], axes=[0]), n.constant([-1], np.int64)], axis=0
    )
    x = n.do("Reshape", ["x", target])
    x = n.do("Sub", [x, n.constant(n.rng.normal(0, 0.5, 20))])
    w = n.do("Transpose", [n.sign(n.constant(n.rng.normal(0, 1, (6, 20))))], perm=[1, 0])
    x = n.do("MatMul", [n.sign(x), w])
    x = n.quant(n.norm(x, 6, spread=4.0), 1.0, 2, narrow=1)
    w = n.do("Transpose", [n.quant(n.constant(n.rng.normal(0, 1, (4, 6))), 1.0, 2)], perm=[1, 0])
    x = n.do("Sub", [n.do("MatMul", [x, w]), n.constant([1.2])])
    x = n.do("Div", [x, n.do("Pow", [n.constant([346.125]), n.constant(0.5)])])
    return n.model(n.do("Add", [n.do("Mul", [x, n.constant([0.82])]), n.constant([-1.2])]), 4)


def binary_both_ways(n: Net) -> onnx.ModelProto:
    """Signs for inputs, weights and activations, with scales."""
    n.shape = (12,)
    x = n.sign("x", [[0.5]])
    for cin, cout in ((12, 10), (10, 6)):
        w = n.sign(n.constant(n.rng.normal(0, 1, (cin, cout))), 0.25)
        x = n.sign(n.norm(n.do("MatMul", [x, w]), cout), 0.5)
    return n.model(x, 6)


NETS: list[Callable[[Net], onnx.ModelProto]] = [tensor_norm, flattened_norm, binary_both_ways]


@pytest.mark.parametrize("domain", [BREVITAS, FINN])
@pytest.mark.parametrize("build", NETS, ids=lambda f: f.__name__.replace("_", " "))
def test_an_exporters_idiom_gives_the_executors_values(
    build: Callable[[Net], onnx.ModelProto], domain: str, seed: int
) -> None:
    n = Net(seed, domain=domain)
    model = build(n)
    graph = quietly(model)
    x = np.concatenate([on_grid(n.shape, seed), off_grid(n.shape, seed)])
    assert differences(graph, model, x) == 0


def test_normalization_is_part_of_the_inputs_port(seed: int) -> None:
    (port,) = quietly(tensor_norm(Net(seed))).inputs
    assert [(s.op, s.shape) for s in port.steps] == [
        ("mul", ()), ("sub", ()), ("sub", (3, 1, 1)), ("div", (3, 1, 1))
    ]  # fmt: skip


def test_normalization_by_what_is_no_constant_is_refused() -> None:
    n = Net(0)
    n.shape = (4,)
    mean = n.do("GlobalAveragePool", [n.do("Reshape", ["x", n.constant([1, 1, 4], np.int64)])])
    x = n.do("Sub", ["x", n.do("Reshape", [mean, n.constant([1, 1], np.int64)])])
    model = n.model(n.quant(x, 0.25, 4), 4)
    with pytest.raises(hwsim.HwsimError, match=r"added to or scaled by must be constant"):
        hwsim.load(model)


def annotated_net(n: Net, datatype: str) -> onnx.ModelProto:
    """An input that nothing quantizes but its annotation, moved to 0..1, and a layer."""
    n.shape = (8,)
    x = n.do("Div", [n.do("Add", ["x", n.constant([1.0])]), n.constant(2.0)])
    x = n.do("MatMul", [x, n.weights((8, 5))])
    model = n.model(n.quant(n.norm(x, 5), 0.25, 3), 5)
    note = onnx.TensorAnnotation(tensor_name="x")
    note.quant_parameter_tensor_names.append(
        onnx.StringStringEntryProto(key="finn_datatype", value=datatype)
    )
    model.graph.quantization_annotation.append(note)
    return model


@pytest.mark.parametrize("datatype", ["BIPOLAR", "INT4", "UINT3"])
def test_an_annotated_input_has_these_whole_numbers(datatype: str, seed: int) -> None:
    n = Net(seed)
    model = annotated_net(n, datatype)
    graph = quietly(model)
    codes = {"BIPOLAR": [-1, 1], "INT4": range(-8, 8), "UINT3": range(8)}[datatype]
    x = np.random.default_rng(seed).choice(list(codes), (40, 8)).astype(np.float32)
    assert differences(graph, model, x) == 0


def test_annotations_are_read_or_left() -> None:
    assert annotated("FIXED<8,4>") == (hwsim.Format(True, 4, 4), None)
    assert annotated("UINT8") == (hwsim.Format.uint(8), None)
    for text in ("FLOAT32", "SCALEDINT<8>", "INT40", "INT", ""):
        assert annotated(text) is None


def test_an_input_that_nothing_quantizes_is_announced_and_nearly_exact(seed: int) -> None:
    n = Net(seed, domain=FINN)
    n.shape = (16,)
    x = n.do("MatMul", ["x", n.weights((16, 12))])
    bias = n.quant(n.constant(n.rng.normal(0, 0.5, 12)), 2.0**-5, 6)
    x = n.quant(n.do("Relu", [n.do("Add", [x, bias])]), 2.0**-6, 6, signed=0)
    model = n.model(n.do("MatMul", [x, n.weights((12, 5))]), 5)
    with pytest.warns(
        RuntimeDifference, match=r"nothing quantizes this input .* rounded to s32.24"
    ):
        graph = hwsim.load(model)
    assert differences(graph, model, off_grid((16,), seed, batch=60)) <= 5


def test_parameters_may_be_inputs_with_initializers(seed: int) -> None:
    n = Net(seed, domain=BREVITAS, opset=9)
    x = n.do("MatMul", [n.start(10), n.weights((10, 6))])
    model = n.model(n.quant(n.norm(x, 6), 0.25, 3), 6)
    for constant in model.graph.initializer:
        kind = helper.make_tensor_value_info(constant.name, constant.data_type, constant.dims)
        model.graph.input.append(kind)
    assert differences(quietly(model), model, off_grid((10,), seed)) == 0


def depthwise_behind_scales(n: Net) -> onnx.ModelProto:
    """A MobileNet's block: a scale for each channel where the next layer keeps channels apart."""
    x = n.do("Conv", [n.start(3, 6, 6), n.weights((6, 3, 1, 1))])
    x = n.do("Relu", [n.norm(x, 6, falling=False)])
    x = n.quant(x, n.rng.uniform(0.02, 0.2, (1, 6, 1, 1)), 4, signed=0)
    scale = n.rng.uniform(0.02, 0.1, (6, 1, 1, 1))
    x = n.do("Conv", [x, n.weights((6, 1, 3, 3), scale, 4)], group=6)
    x = n.quant(n.do("Relu", [n.norm(x, 6)]), 0.11, 4, signed=0)
    return n.model(x, 6, 4, 4)


def scales_at_the_end(n: Net) -> onnx.ModelProto:
    """Codes of any scale a channel, pooled, are the model's answer."""
    x = n.norm(n.do("Conv", [n.start(3, 6, 6), n.weights((6, 3, 3, 3))]), 6)
    x = n.quant(x, n.rng.uniform(0.02, 0.2, (6, 1, 1)), 5, zero=3, mode="FLOOR")
    return n.model(n.do("MaxPool", [x], kernel_shape=[2, 2]), 6, 3, 3)


def powers_behind_a_norm(n: Net) -> onnx.ModelProto:
    """Powers of two: one unit for all channels, that a dense layer adds up."""
    x = n.norm(n.do("MatMul", [n.start(12), n.weights((12, 6))]), 6)
    x = n.quant(x, 2.0 ** -n.rng.integers(1, 5, (1, 6)).astype(float), 3)
    return n.model(n.quant(n.do("MatMul", [x, n.weights((6, 4))]), 0.25, 5), 4)


def signs_of_channels(n: Net) -> onnx.ModelProto:
    x = n.norm(n.do("Conv", [n.start(3, 5, 5), n.weights((4, 3, 3, 3))]), 4)
    x = n.sign(x, n.rng.uniform(0.1, 2, (4, 1, 1)))
    x = n.do("Conv", [x, n.weights((4, 1, 3, 3))], group=4)
    return n.model(n.quant(x, 0.13, 4), 4, 1, 1)


BY_CHANNEL = [depthwise_behind_scales, scales_at_the_end, powers_behind_a_norm, signs_of_channels]


@pytest.mark.parametrize("build", BY_CHANNEL, ids=lambda f: f.__name__.replace("_", " "))
def test_scales_of_channels_give_the_executors_values(
    build: Callable[[Net], onnx.ModelProto], seed: int
) -> None:
    n = Net(seed)
    model = build(n)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeDifference)
        graph = hwsim.load(model)
    x = np.concatenate([on_grid(n.shape, seed, batch=8), off_grid(n.shape, seed, batch=8)])
    assert differences(graph, model, x) == 0


def test_a_layer_that_adds_up_channels_needs_one_scale() -> None:
    n = Net(0)
    x = n.do("MatMul", [n.start(12), n.weights((12, 6))])
    x = n.quant(x, n.rng.uniform(0.02, 0.2, (1, 6)), 3)
    model = n.model(n.quant(n.do("MatMul", [x, n.weights((6, 4))]), 0.25, 5), 4)
    with pytest.raises(hwsim.HwsimError, match="its input must have one scale for all channels"):
        hwsim.load(model)


def cnv(n: Net) -> onnx.ModelProto:
    """A CNV of FINN: norm of the input, convolutions, pools, dense layers, a norm of all scores."""
    n.shape = (3, 14, 14)
    x = n.do("Sub", [n.do("Mul", ["x", n.constant(2.0)]), n.constant([1.0])])
    x = n.quant(x, 2.0**-7, 8, narrow=1)
    for cin, cout, pool in ((3, 6, False), (6, 6, True), (6, 8, False)):
        w = n.quant(n.constant(n.rng.normal(0, 1, (cout, cin, 3, 3))), 1.0, 2, narrow=1)
        x = n.quant(n.norm(n.do("Conv", [x, w], kernel_shape=[3, 3]), cout, spread=3.0), 1.0, 2)
        x = n.do("MaxPool", [x], kernel_shape=[2, 2], strides=[2, 2]) if pool else x
    x = n.do("Reshape", [x, n.constant([1, -1], np.int64)])
    for cin, cout in ((72, 10), (10, 5)):
        w = n.sign(n.constant(n.rng.normal(0, 1, (cout, cin))))
        x = n.do("MatMul", [x, n.do("Transpose", [w], perm=[1, 0])])
        x = n.quant(n.norm(x, cout, spread=3.0), 1.0, 2, narrow=1) if cout > 5 else x
    return n.model(n.do("Div", [n.do("Sub", [x, n.constant([0.4])]), n.constant([18.1])]), 5)


def mobile(n: Net) -> onnx.ModelProto:
    """A MobileNet of Brevitas: odd scales by channel, depthwise layers, Trunc of the average."""
    n.shape = (3, 16, 16)
    x = n.do("Sub", ["x", n.constant(n.rng.normal(0, 0.3, (1, 3, 1, 1)))])
    x = n.quant(n.do("Div", [x, n.constant(0.226)]), 0.0215, 8)
    for cin, cout, group in ((3, 6, 1), (6, 6, 6), (6, 8, 1)):
        scale = n.rng.uniform(0.03, 0.1, (cout, 1, 1, 1))
        kernel = 1 if group == 1 and cin == 6 else 3
        w = n.weights((cout, cin // group, kernel, kernel), scale, 4)
        x = n.do("Conv", [x, w], group=group, strides=[2, 2] if cin == 3 else [1, 1])
        x = n.do("Relu", [n.norm(x, cout)])
        last = 0.0719 if cin == 6 else n.rng.uniform(0.05, 0.15, (1, cout, 1, 1))
        x = n.quant(x, last, 4, signed=0)
    x = n.do("AveragePool", [x], kernel_shape=[5, 5])
    x = truncated(n, n.do("Mul", [x, n.constant(25.0)]), 0.0719, (9, 4), rounding_mode="FLOOR")
    x = n.do("Reshape", [x, n.constant([1, 8], np.int64)])
    x = n.do("Gemm", [x, n.weights((5, 8), 0.05, 4), n.constant(n.rng.normal(0, 1, 5))], transB=1)
    return n.model(n.quant(x, 0.11, 6), 5)


def radio(n: Net) -> onnx.ModelProto:
    """A VGG of radio signals: convolutions and pools along one axis."""
    x = n.start(2, 40, scale=0.02)
    for cin, cout in ((2, 6), (6, 6)):
        w = n.weights((cout, cin, 3), 0.041, 5)
        x = n.norm(n.do("Conv", [x, w], pads=[1, 1], kernel_shape=[3]), cout, falling=False)
        x = n.quant(n.do("Relu", [x]), 0.0313, 6, signed=0)
        x = n.do("MaxPool", [x], kernel_shape=[2], strides=[2])
    x = n.do("Flatten", [x], axis=1)
    x = n.quant(n.norm(n.do("MatMul", [x, n.weights((60, 8), 0.03)]), 8), 0.05, 6)
    return n.model(n.quant(n.do("MatMul", [x, n.weights((8, 5), 0.03)]), 0.05, 6), 5)


ZOO = [cnv, mobile, radio]


@pytest.mark.parametrize("build", ZOO, ids=lambda f: f.__name__)
def test_a_network_of_the_zoos_kind_gives_the_executors_values(
    build: Callable[[Net], onnx.ModelProto], seed: int
) -> None:
    """Odd scales are announced; of so few values none meets a threshold."""
    n = Net(seed, domain=BREVITAS)
    model = build(n)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeDifference)
        graph = hwsim.load(model)
    assert differences(graph, model, off_grid(n.shape, seed, batch=10)) == 0


@pytest.mark.parametrize(("op", "said"), [("DebugMarker", "extract_model cuts out")])
def test_what_is_not_read_is_named_with_what_helps(op: str, said: str) -> None:
    n = Net(0)
    x = n.do("MatMul", [n.start(4), n.weights((4, 3))])
    x = n.do(op, [x, *[n.constant(1.0) for _ in range(5)]], domain=n.domain)
    with pytest.raises(hwsim.HwsimError, match=rf"but has qonnx.*{op} \('.*{said}"):
        hwsim.load(n.model(x, 3))


@pytest.mark.parametrize(("scale", "announced"), [(2.0**-4, False), (0.071, True)])
def test_reals_that_nothing_quantizes_are_announced_where_last_bits_may_differ(
    scale: float, announced: bool, seed: int
) -> None:
    n = Net(seed)
    model = n.model(n.do("MatMul", [n.start(40), n.weights((40, 6), scale)]), 6)
    x = off_grid((40,), seed, batch=20)
    if not announced:
        assert differences(quietly(model), model, x) == 0
        return
    with pytest.warns(RuntimeDifference, match="its reals may differ in their last bits"):
        graph = hwsim.load(model)
    (step,) = graph.types()[graph.outputs[0].tensor].scales()
    ours, theirs = (
        np.rint(reals.astype(np.float64) / step).astype(np.int64)
        for reals in (hwsim.emulate(graph, x), executed(model, x))
    )
    assert (ours == theirs).all()  # the same sums: only last bits of their reals are others
    assert differences(graph, model, x) > 0
