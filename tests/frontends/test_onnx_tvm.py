"""QDQ files like TVM: its float32 functions to the bit, its rule for what is no number."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import helper
from support.onnx_builder import MICROSOFT, Array, Q
from support.onnx_nets import Net
from support.seeds import seeded
from support.tvm_run import run_tvm

import hwsim
from hwsim.frontends.onnx import functions, qdq, runtimes, tvm_functions
from hwsim.frontends.onnx.file import from_proto
from hwsim.frontends.onnx.model import OnnxNode
from hwsim.frontends.shared.builder import RuntimeDifference
from hwsim.frontends.shared.values import Unary

REACH = {"Acos": 1, "Asin": 1, "Atanh": 1}
COUNT = 1 << 16
NAMES = [n for n in {**functions.FUNCTIONS, "FastGelu": None} if n not in ("Celu", "Swish")]


def alone(op: str, count: int = COUNT) -> onnx.ModelProto:
    """One function of reals."""
    domain = MICROSOFT if op == "FastGelu" else ""
    node = helper.make_node(op, ["x"], ["y"], domain=domain)
    ports = [helper.make_tensor_value_info(name, 1, ["N", count]) for name in ("x", "y")]
    graph = helper.make_graph([node], "alone", ports[:1], ports[1:])
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid(MICROSOFT, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def drawn(op: str, rng: np.random.Generator) -> Array:
    """Numbers of every size within a function's domain."""
    reach = REACH.get(op, 12)
    x = rng.uniform(-reach, reach, COUNT) * 2.0 ** -rng.integers(0, 6, COUNT)
    x = np.abs(x) + (op == "Acosh") if op in ("Acosh", "Log", "Sqrt") else x
    return x.astype(np.float32)


def ours(op: str) -> Unary:
    makers = functions.FUNCTIONS | functions.CONTRIBUTED | dict(tvm_functions.FUNCTIONS)
    return makers[op](OnnxNode("f", op, "", ("x",), ("y",), {}))


@pytest.mark.slow
@pytest.mark.needs("tvm")
@pytest.mark.parametrize("op", NAMES)
def test_a_function_is_tvms_to_the_bit_or_says_that_it_is_not(op: str, rng) -> None:
    x, made = drawn(op, rng), ours(op)
    want = run_tvm(alone(op), {"x": x[None]})["y"][0]
    got = made.function(x)
    if made.rough:
        assert np.abs(got.astype(np.float64) - want).max() <= 2.0**-22 * max(1, np.abs(want).max())
        return
    assert np.array_equal(got, want)


def test_the_functions_of_the_other_runtime_would_be_noticed(rng) -> None:
    for op in ("Exp", "Sigmoid", "Tanh", "HardSwish", "Softsign", "Elu", "Selu", "Softplus"):
        x = drawn(op, rng)
        theirs = functions.FUNCTIONS[op](OnnxNode("f", op, "", ("x",), ("y",), {}))
        assert (theirs.function(x) != ours(op).function(x)).any(), op


def logarithm(dtype: str) -> onnx.ModelProto:
    """Of codes of which half mean numbers below 0."""
    n = Net(dtype, seed=1)
    zero = 128 if dtype == "uint8" else 0
    x = n.qdq(n.input("x", (256,)), Q(dtype, 0.04, zero))
    return n.model((n.qdq(n.do("Log", x), Q(dtype, 0.03, zero + 7)), 2, "float32"))


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_what_is_no_number_becomes_the_highest_code_in_tvm_and_the_lowest_elsewhere(dtype) -> None:
    model = logarithm(dtype)
    x = (np.arange(256, dtype=np.float32) - 128)[None] * np.float32(0.04)
    below = x[0] < 0
    info = np.iinfo(dtype)
    for like, code in (("tvm", info.max), ("onnxruntime", info.min)):
        graph = hwsim.load(model, like=like)
        (given,) = graph.inputs
        codes = hwsim.emulate(graph, np.arange(info.min, info.max + 1)[None], codes=True)
        assert given.type.format.width == 8
        assert (codes[0, below] == code).all()


@pytest.mark.slow
@pytest.mark.needs("tvm")
def test_what_is_no_number_is_what_tvm_makes_of_it() -> None:
    model = logarithm("uint8")
    x = (np.arange(256, dtype=np.float32) - 128)[None] * np.float32(0.04)
    got = hwsim.emulate(hwsim.load(model, like="tvm"), x)
    assert np.array_equal(got, next(iter(run_tvm(model, {"x": x}).values())))


def resized(sizes: tuple[int, int], wanted: tuple[int, int], **spec: str) -> onnx.ModelProto:
    """A Resize of codes by scales that ask for a little more than whole lengths."""
    n = Net("uint8", seed=1)
    x = n.start(2, *sizes)
    by = 1.02 * np.array(wanted) / np.array(sizes)
    scales = n.constant("scales", np.array([1, 1, *by], np.float32))
    made = n.do("Resize", x, "", scales, mode="nearest", **spec)
    return n.model((n.round(made, 0.03), 4, "float32"))


PLACES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_half_pixel_for_nn")


@pytest.mark.slow
@pytest.mark.needs("tvm")
@pytest.mark.parametrize("places", PLACES)
def test_a_resize_goes_by_lengths_alone(places: str, rng) -> None:
    for rule in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"):
        for _ in range(3):
            sizes = tuple(int(size) for size in rng.integers(2, 12, 2))
            wanted = tuple(int(size) for size in rng.integers(4, 24, 2))
            spec = {"coordinate_transformation_mode": places, "nearest_mode": rule}
            model = resized(sizes, wanted, **spec)
            x = rng.normal(0, 2, (3, 2, *sizes)).astype(np.float32)
            want = next(iter(run_tvm(model, {"x": x}).values()))
            assert np.array_equal(hwsim.emulate(hwsim.load(model, like="tvm"), x), want), spec


def test_scales_that_give_no_whole_lengths_place_elements_otherwise() -> None:
    model = resized((3, 5), (4, 9))
    x = np.random.default_rng(seeded(1)).normal(0, 2, (3, 2, 3, 5)).astype(np.float32)
    ours, theirs = (hwsim.emulate(hwsim.load(model, like=k), x) for k in ("tvm", "onnxruntime"))
    assert ours.shape == theirs.shape
    assert (ours != theirs).any()


AVERAGES = {
    "2 by 2": ("AveragePool", {"kernel_shape": [2, 2], "strides": [2, 2]}),
    "3 by 3, overlapping": ("AveragePool", {"kernel_shape": [3, 3], "strides": [2, 1]}),
    "3 by 2, padded": ("AveragePool", {"kernel_shape": [3, 2], "pads": [1, 0, 1, 1],
                                       "count_include_pad": 1}),
    "whole map": ("GlobalAveragePool", {}),
    "places": ("ReduceMean", {"axes": [2, 3]}),
    "channels": ("ReduceMean", {"axes": [1]}),
    "rows": ("ReduceMean", {"axes": [2], "keepdims": 0}),
}  # fmt: skip


def averaged(what: str, scale: float, seed: int) -> onnx.ModelProto:
    """An average of codes from 0 up, whose result has their scale: many means meet ties."""
    op, spec = AVERAGES[what]
    n, q = Net("uint8", seed), Q("uint8", scale, 0)
    made = n.do(op, n.qdq(n.input("x", (6, 6, 8)), q), **spec)
    return n.model((n.qdq(made, q), 3 if what == "rows" else 4, "float32"))


def spread(scale: float, rng: np.random.Generator, count: int) -> Array:
    return (rng.integers(0, 256, (count, 6, 6, 8)) * scale).astype(np.float32)


@pytest.mark.slow
@pytest.mark.needs("tvm")
@pytest.mark.parametrize("what", AVERAGES)
def test_averages_of_numbers_from_0_up_add_as_tvm_does(what: str, seed: int, rng) -> None:
    """In silence, and to the bit; the exact average would be rounded otherwise."""
    for scale in (0.0137, 0.02, 2.0**-5):
        model, x = averaged(what, float(np.float32(scale)), seed), spread(scale, rng, 60)
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeDifference)
            graph = hwsim.load(model, like="tvm")
        want = next(iter(run_tvm(model, {"x": x}).values()))
        assert np.array_equal(hwsim.emulate(graph, x), want)


@pytest.mark.parametrize("what", AVERAGES)
def test_the_exact_average_would_be_noticed(what: str, seed: int, rng) -> None:
    """Of 6 or 36 numbers too, whose quotient float32 rounds."""
    if what == "3 by 3, overlapping":
        return  # an odd number of codes has no ties between equal scales
    model, x = averaged(what, float(np.float32(0.0137)), seed), spread(0.0137, rng, 60)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours = hwsim.emulate(hwsim.load(model, like="tvm"), x)
        made = qdq.read(from_proto(model), replace(runtimes.TVM, in_turn=False))
    assert (hwsim.emulate(made, x) != ours).any()


def test_averages_of_numbers_below_0_are_exact_and_say_so(seed: int) -> None:
    n, q = Net("int8", seed), Q("int8", 0.0137, 0)
    made = n.do("GlobalAveragePool", n.qdq(n.input("x", (3, 2, 2)), q))
    model = n.model((n.qdq(made, q), 4, "float32"))
    with pytest.warns(RuntimeDifference, match="TVM averages in float32 here"):
        hwsim.load(model, like="tvm")
