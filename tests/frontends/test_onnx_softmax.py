"""Softmax and LogSoftmax: ONNX Runtime's codes, and at the end of a model its reals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.onnx_builder import MICROSOFT, Array
from support.onnx_compare import assert_same_arrays, load
from support.onnx_nets import Net
from support.onnx_nets import feeds as net_feeds
from support.onnx_run import run_ort

import hwsim
from hwsim.errors import HwsimError
from hwsim.float_steps import RowStep, UnaryStep
from hwsim.frontends.shared.builder import RuntimeDifference
from hwsim.ops import Carrier, Float32, Reduce, Reduction, TensorType
from hwsim.ops.floats import BITS, patterns
from hwsim.reporting.facts import describe

ELEMENTS = {"uint8": TensorProto.UINT8, "int8": TensorProto.INT8}


def model(
    op: str,
    shape: tuple[int, ...],
    *,
    dtype: str = "uint8",
    opset: int = 17,
    scales: tuple[float, float] = (0.1, 1 / 256),
    zeros: tuple[int, int] = (3, 0),
    end: str | None = None,
    **attributes: Any,
) -> onnx.ModelProto:
    """The operator behind a DequantizeLinear; `end` is the type of a QuantizeLinear behind it."""
    end_type = end or dtype
    constants = [
        numpy_helper.from_array(np.float32(scales[0]), "xs"),
        numpy_helper.from_array(np.array(zeros[0], dtype), "xz"),
        numpy_helper.from_array(np.float32(scales[1]), "ys"),
        numpy_helper.from_array(np.array(zeros[1], end_type), "yz"),
    ]
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "xs", "xz"], ["r"]),
        helper.make_node(op, ["r"], ["p"], name="soft", **attributes),
    ]
    shown, kind = "p", TensorProto.FLOAT
    if end is not None:
        nodes.append(helper.make_node("QuantizeLinear", ["p", "ys", "yz"], ["y"]))
        shown, kind = "y", helper.np_dtype_to_tensor_dtype(np.dtype(end))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", ELEMENTS[dtype], ("n", *shape))],
        [helper.make_tensor_value_info(shown, kind, None)],
        constants if end is not None else constants[:2],
    )
    sets = [helper.make_opsetid("", opset), helper.make_opsetid(MICROSOFT, 1)]
    return helper.make_model(graph, opset_imports=sets, ir_version=8)


def codes_of(
    rng: np.random.Generator, dtype: str, shape: tuple[int, ...], samples: int
) -> dict[str, Array]:
    """All codes at random; in half of the samples few of them, so that many are near the top."""
    info = np.iinfo(dtype)
    x = rng.integers(info.min, info.max + 1, (samples, *shape))
    x[::2] = info.min + (x[::2] - info.min) // 8
    return {"x": x.astype(dtype)}


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize(
    ("shape", "opset", "attributes", "axes"),
    [
        ((10,), 17, {}, (0,)),
        ((1,), 17, {"axis": 1}, (0,)),
        ((16,), 13, {"axis": -1}, (0,)),
        ((101,), 17, {"axis": 1}, (0,)),
        ((5, 33), 17, {}, (1,)),
        ((5, 33), 17, {"axis": 1}, (0,)),
        ((6, 4, 5), 17, {"axis": 1}, (0,)),
        ((6, 4, 5), 17, {"axis": -2}, (1,)),
        ((6, 4, 5), 12, {}, (0, 1, 2)),
        ((6, 4, 5), 11, {"axis": 2}, (1, 2)),
    ],
    ids=str,
)
def test_a_softmax_at_the_end_gives_the_runtimes_reals_bit_for_bit(
    tmp_path: Path, rng, op, shape, opset, attributes, axes
):
    for dtype, scale in (("uint8", 0.1), ("int8", 0.73)):
        made = model(op, shape, dtype=dtype, opset=opset, scales=(scale, 1.0), **attributes)
        graph = load(made, tmp_path)
        assert graph.outputs[0].steps == (RowStep(op=_named(op), axes=axes),)
        samples = max(2, 3_000 // int(np.prod(shape)))
        assert_same_arrays(graph, made, codes_of(rng, dtype, shape, samples))


def _named(op: str) -> str:
    return {"Softmax": "softmax", "LogSoftmax": "log_softmax"}[op]


def net(op: str, then: tuple[Any, ...] = ()) -> onnx.ModelProto:
    """A convolution, a layer that nothing quantizes, and the operator."""
    net = Net("uint8", seed=5)
    x = net.conv(net.start(3, 6, 6), 3, 4)
    flat = net.do("Reshape", x, net.ints(-1, 64))
    y = net.do(op, net.do("MatMul", flat, net.kernel((64, 7), 1)))
    if then:
        y = net.do("Reshape", y, net.ints(*then))
    return net.model((y, len(then) or 2, "float32"))


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("then", [(), (-1, 1, 7, 1)], ids=str)
def test_scores_of_a_layer_go_through_the_softmax_behind_it(tmp_path: Path, op, then):
    made = net(op, then)
    graph = load(made, tmp_path)
    assert_same_arrays(graph, made, net_feeds(made, 11))


def test_codes_of_an_output_are_those_ahead_of_the_softmax_and_the_largest_stays(
    tmp_path: Path, rng
):
    graph = load(model("Softmax", (10,)), tmp_path)
    feeds = codes_of(rng, "uint8", (10,), 500)
    codes, reals = (hwsim.emulate(graph, feeds, codes=asked) for asked in (True, False))
    assert codes.dtype == np.int64 and reals.dtype == np.float32
    assert np.array_equal(codes, feeds["x"])
    assert np.array_equal(codes.argmax(1), reals.argmax(1))
    assert describe(graph)["outputs"][0]["steps"] == ["softmax along axis 1"]


def test_rows_that_a_reshape_takes_apart_are_refused(tmp_path: Path):
    with pytest.raises(HwsimError, match="output 'cut': soft: what comes behind a softmax"):
        load(_cut(model("Softmax", (4, 6)), (-1, 8, 3)), tmp_path)


def _cut(made: onnx.ModelProto, shape: tuple[int, ...]) -> onnx.ModelProto:
    """The model with a Reshape behind its output."""
    graph = made.graph
    graph.initializer.append(numpy_helper.from_array(np.array(shape, np.int64), "to"))
    graph.node.append(helper.make_node("Reshape", ["p", "to"], ["cut"]))
    graph.output[0].name = "cut"
    return made


def test_a_softmax_along_the_batch_is_refused(tmp_path: Path):
    with pytest.raises(HwsimError, match="'soft': it must be along an axis that is not the batch"):
        load(model("Softmax", (4,), axis=0), tmp_path)


def drawn(rng: np.random.Generator, dtype: str, trial: int) -> dict[str, Any]:
    """Scales such that quotients are ties, those of exporters, or any; odd zero points."""
    info = np.iinfo(dtype)
    scale = (0.1, float(np.log(2)), float(np.log(3) / 2), rng.uniform(0.005, 0.6))[trial % 4]
    steps = int(rng.choice([255, 256, 128, rng.integers(60, 2_000)]))
    lowest = bool(trial % 3)
    zeros = rng.integers(info.min, info.max + 1, 2).tolist()
    return {
        "dtype": dtype,
        "end": dtype,
        "scales": (scale, 1 / (steps + rng.uniform(0, 0.9))),
        "zeros": (zeros[0], info.min if lowest else zeros[1]),
    }


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_a_softmax_between_codes_is_the_runtimes_integer_kernel(tmp_path: Path, dtype, rng):
    total = 0
    for trial, length in enumerate((1, 2, 3, 4, 5, 7, 10, 12, 16, 31, 32, 33, 48, 64, 100, 1000)):
        made = model("Softmax", (length,), **drawn(rng, dtype, trial))
        feeds = codes_of(rng, dtype, (length,), max(4_000 // length, 16))
        feeds["x"][::3] = np.iinfo(dtype).min + (feeds["x"][::3] - np.iinfo(dtype).min) // 40
        ran = run_ort(made, feeds)
        assert ran.ops == ("QLinearSoftmax",)
        got = hwsim.emulate(load(made, tmp_path), feeds)
        assert np.array_equal(got, ran.outputs["y"])
        total += got.size
    assert total >= 50_000


@pytest.mark.parametrize(
    ("shape", "opset", "attributes"),
    [
        ((2, 5, 9), 17, {}),
        ((2, 5, 9), 17, {"axis": 2}),
        ((6, 4, 5), 17, {"axis": 1}),
        ((6, 4, 5), 12, {}),
        ((6, 4, 5), 12, {"axis": 2}),
        ((3, 7), 13, {"axis": 1}),
    ],
    ids=str,
)
def test_a_softmax_of_codes_is_along_any_axis(tmp_path: Path, rng, shape, opset, attributes):
    for dtype in ("uint8", "int8"):
        made = model("Softmax", shape, opset=opset, **drawn(rng, dtype, 1), **attributes)
        feeds = codes_of(rng, dtype, shape, 60)
        ran = run_ort(made, feeds)
        assert ran.ops == ("QLinearSoftmax",)
        assert np.array_equal(hwsim.emulate(load(made, tmp_path), feeds), ran.outputs["y"])


@pytest.mark.parametrize("shape", [(4, 3, 5), (7, 4, 1), (2, 3, 5, 2), (6, 4)], ids=str)
def test_a_softmax_behind_a_transpose_is_along_the_new_axes(tmp_path: Path, rng, shape):
    rank = len(shape)
    for axis in range(1, rank + 1):
        for end in ("uint8", "int8"):  # of another type than its input's it runs in float32
            order = (0, *range(2, rank + 1), 1)
            made = model("Softmax", shape, end=end, axis=axis, scales=(0.1, 1 / 200))
            made.graph.node.insert(1, helper.make_node("Transpose", ["r"], ["t"], perm=order))
            made.graph.node[2].input[0] = "t"
            graph, fed = load(made, tmp_path), codes_of(rng, "uint8", shape, 60)
            (port,) = made.graph.output
            want = run_ort(made, fed).outputs[port.name]
            off = np.count_nonzero(hwsim.emulate(graph, fed["x"]) != want)
            assert off == 0 if end == "uint8" else off <= want.size // 500
            assert len(np.unique(want)) > 3 or shape[axis % rank] == 1


def test_an_order_of_the_sum_that_is_not_the_rows_is_seen(rng):
    """The mutant: float32 sums from the last term to the first."""
    x = TensorType((1000,), BITS, None, (0, 0x3F800000))
    op = Reduce(reduction=Reduction.SUM, axes=(0,), accumulator=Float32())
    terms = patterns(np.exp(-rng.uniform(0, 9, (50, 1000))))
    sums, other = (op.run(np, [t], op.prepare([x], Carrier.INT64)) for t in (terms, terms[:, ::-1]))
    assert (sums != other).any()


def test_a_softmax_in_float32_is_announced_and_differs_by_few_steps(tmp_path: Path, rng):
    for dtype, end, steps in (("uint8", "int8", 127.0), ("int8", "uint8", 255.0)):
        fields = drawn(rng, dtype, 3) | {"end": end, "zeros": (5, 0), "scales": (0.07, 1 / steps)}
        made = model("Softmax", (12,), **fields)
        with pytest.warns(RuntimeDifference, match="'soft': ONNX Runtime computes the softmax in"):
            graph = load(made, tmp_path)
        feeds = codes_of(rng, dtype, (12,), 5_000)
        want = run_ort(made, feeds).outputs["y"].astype(int)
        got = hwsim.emulate(graph, feeds).astype(int)
        assert np.abs(got - want).max() <= 1 and (got != want).mean() < 1e-3


def test_what_a_softmax_cannot_do_is_said(tmp_path: Path, rng):
    fields = drawn(rng, "uint8", 3)
    with pytest.raises(HwsimError, match="soft: a LogSoftmax must stand at the end of the model"):
        load(model("LogSoftmax", (4,), **fields), tmp_path)
    with pytest.raises(HwsimError, match=r"soft: the scale of a softmax must be above 5"):
        load(model("Softmax", (4,), **(fields | {"scales": (0.1, 1e-9)})), tmp_path)


@pytest.mark.parametrize("op", ["Sigmoid", "Tanh"])
def test_a_function_of_a_layers_sums_is_a_step_of_the_port(tmp_path: Path, op):
    made = net(op)
    graph = load(made, tmp_path)
    assert graph.outputs[0].steps == (UnaryStep(op=op.lower()),)
    assert_same_arrays(graph, made, net_feeds(made, 13))
