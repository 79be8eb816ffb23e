"""QDQ files like OpenVINO: the numbers of its CPU plugin, from the generator of such files."""

from __future__ import annotations

import warnings
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import onnx
import pytest

pytest.importorskip("openvino")

from support import openvino_models as ov
from support.onnx_run import session_of
from support.openvino_run import run_openvino
from support.qdq_graphs import feeds, network
from support.qdq_parts import Parts

import hwsim
from hwsim.errors import HwsimError

NUMBERS = (2, 3, 6, 9, 10, 12, 16, 20, 0, 35, 193, 264, 338, 342)
"""Dense layers, convolutions, residuals, concatenations; sums behind which a ReLU or a Clip stands,
equal pairs on one tensor, a shared zero point at the end."""


@pytest.mark.parametrize("number", NUMBERS)
def test_a_file_gives_the_very_floats(number: int) -> None:
    from openvino import Core

    model = network(number)
    (x,) = feeds(model, number).values()
    (want,) = ov.run(Core().read_model(model.SerializeToString()), x)
    got = np.asarray(hwsim.emulate(hwsim.load(model, like="openvino"), x), np.float32)
    assert np.array_equal(got, want)


def test_a_file_without_quantizers_is_a_sentence() -> None:
    model = network(2)
    kept = [n for n in model.graph.node if "uantizeLinear" not in n.op_type]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    with pytest.raises(HwsimError, match="must be quantized"):
        hwsim.load(model, like="openvino")


def _joined(zero: np.integer, rng: np.random.Generator, *, pooled: bool) -> onnx.ModelProto:
    """A convolution of an input that is joined with itself."""
    parts = Parts(rng, zero)
    first = parts.pair("x", 0.03)
    last = parts.pair(parts.do("Concat", first, first, axis=1), 0.03)
    if pooled:
        last = parts.pair(parts.do("MaxPool", last, kernel_shape=[2, 2]), 0.03)
    return parts.model(parts.pair(parts.conv(last, 8, 6, bias=False), 0.05), "batch", 4, 6, 6)


def _mean(zero: np.integer, rng: np.random.Generator, shape: tuple[int, ...]) -> onnx.ModelProto:
    parts = Parts(rng, zero)
    mean = parts.do("GlobalAveragePool", parts.pair("x", 0.015))
    return parts.model(parts.pair(mean, 0.02), "batch", *shape)


def _chain(
    parts: Parts, batch: str | int, widths: tuple[int, ...], biased: tuple[bool, ...]
) -> onnx.ModelProto:
    """Dense layers with a ReLU between two of them."""
    last = parts.pair("x", 0.03)
    for place, (given, made) in enumerate(pairwise(widths)):
        if place:
            last = parts.pair(parts.do("Relu", last), 0.04)
        last = parts.dense(last, given, made, bias=biased[place])
    return parts.model(parts.pair(last, 0.05), batch, widths[0])


def _right(model: onnx.ModelProto, x: npt.NDArray[np.float32]) -> tuple[list[str], float, float]:
    """What is said of OpenVINO's results; how far they and hwsim's are from ONNX Runtime's."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        graph = hwsim.load(model, like="openvino")
    said = [str(one.message) for one in caught if "was seen to" in str(one.message)]
    (true,) = session_of(model, optimize=False)[0].run(None, {"x": x})
    (theirs,) = run_openvino(model, {"x": x}).values()
    ours = np.asarray(hwsim.emulate(graph, x))
    return said, float(np.abs(theirs - true).max()), float(np.abs(ours - true).max())


@pytest.mark.parametrize("zero", [np.int8(0), np.int8(5), np.uint8(0), np.uint8(120)])
@pytest.mark.parametrize("pooled", [False, True])
def test_wrong_sums_of_openvino_behind_a_concatenation_are_announced(zero, pooled, rng) -> None:
    x = rng.normal(0, 1, (20, 4, 6, 6)).astype(np.float32)
    said, theirs, ours = _right(_joined(zero, rng, pooled=pooled), x)
    assert ours < 0.051
    assert bool(said) == (zero.dtype == np.int8 and not pooled) == (theirs > 0.2)


@pytest.mark.parametrize("zero", [np.int8(0), np.int8(-100), np.uint8(0), np.uint8(18)])
@pytest.mark.parametrize("shape", [(6, 8), (6, 4, 4)])
def test_wrong_means_of_openvino_along_one_axis_are_announced(zero, shape, rng) -> None:
    x = rng.normal(0.5, 0.5, (20, *shape)).astype(np.float32)
    said, theirs, ours = _right(_mean(zero, rng, shape), x)
    assert ours < 0.021
    assert bool(said) == (bool(zero) and len(shape) == 2) == (theirs > 0.1)


@pytest.mark.parametrize(
    ("batch", "widths", "biased", "wrong"),
    [
        (4, (8, 8, 8), (True, False), True),
        (4, (8, 256, 8), (False, False), True),
        (1, (8, 8, 8), (True, True), False),
        (1, (8, 8), (False,), False),
        (4, (8, 257, 8), (False, False), False),
        (16, (8, 8, 8), (True, False), False),
        ("batch", (8, 8, 8), (False, False), False),
    ],
)
def test_wrong_sums_of_openvino_in_dense_layers_are_announced(
    batch, widths, biased, wrong, rng
) -> None:
    far = []
    for zero in (np.int8(0), np.int8(5), np.uint8(0), np.uint8(120)):
        model = _chain(Parts(rng, zero), batch, widths, biased)
        x = rng.normal(0, 1, (4 if batch == "batch" else batch, widths[0])).astype(np.float32)
        said, theirs, ours = _right(model, x)
        assert ours < 0.051
        assert bool(said) == wrong
        far.append(theirs > 0.2)
    assert any(far) == wrong


def _with_constant_nodes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Constants as nodes, as PyTorch's older exporter leaves them."""
    made = onnx.ModelProto.FromString(model.SerializeToString())
    held = [
        onnx.helper.make_node("Constant", [], [one.name], value=one)
        for one in made.graph.initializer
    ]
    nodes = [*held, *made.graph.node]
    del made.graph.node[:], made.graph.initializer[:]
    made.graph.node.extend(nodes)
    return made


def _with_float_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Weights of one scale as floats that the file quantizes itself."""
    made = onnx.ModelProto.FromString(model.SerializeToString())
    held = {one.name: onnx.numpy_helper.to_array(one) for one in made.graph.initializer}
    for node in list(made.graph.node):
        codes = held.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if codes is None or codes.dtype.itemsize > 1 or held[node.input[1]].size > 1:
            continue
        scale, zero = held[node.input[1]], held[node.input[2]]
        floats = (codes.astype(np.float32) - zero.astype(np.float32)) * scale
        name = f"{node.input[0]}.floats"
        made.graph.initializer.append(onnx.numpy_helper.from_array(floats, name))
        quantize = onnx.helper.make_node(
            "QuantizeLinear", [name, *node.input[1:]], [f"{name}.codes"]
        )
        node.input[0] = f"{name}.codes"
        made.graph.node.insert(0, quantize)
    return made


@pytest.mark.filterwarnings("ignore::hwsim.frontends.shared.builder.RuntimeDifference")
@pytest.mark.parametrize("change", [_with_constant_nodes, _with_float_weights])
def test_constants_may_be_nodes_and_weights_floats_that_the_file_quantizes(change):
    model = onnx.load("examples/models/digits_cnn_asym.onnx")
    changed = change(model)
    assert len(changed.graph.node) > len(model.graph.node)
    assert hwsim.load(changed, like="openvino").hash() == hwsim.load(model, like="openvino").hash()


@pytest.mark.parametrize("shared", [False, True])
def test_a_padded_zero_point_of_openvino_is_announced(shared, rng) -> None:
    """Where pairs on both sides of a Pad have one constant, it pads that too."""
    parts = Parts(rng, np.uint8(119))
    given = [parts.constant(0.03), parts.constant(parts.zero, np.uint8)]

    def pair(source: str) -> str:
        if not shared:
            return parts.pair(source, 0.03)
        return parts.do("DequantizeLinear", parts.do("QuantizeLinear", source, *given), *given)

    pads = parts.constant([0, 0, 2, 0, 0, 0], np.int64)
    last = pair(parts.do("Pad", pair("x"), pads))
    layer = parts.do("Conv", last, parts.weights((5, 4, 2), 0), parts.bias(5))
    x = rng.normal(0, 1, (20, 4, 12)).astype(np.float32)
    said, theirs, ours = _right(parts.model(parts.pair(layer, 0.02), "batch", 4, 12), x)
    assert ours < 0.021
    assert bool(said) == shared == (theirs > 0.2)
