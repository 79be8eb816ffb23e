"""Operators that choose: Where and PRelu of two tensors, ArgMax and ArgMin, Mean."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from support.onnx_builder import Q
from support.onnx_compare import assert_same_arrays, load
from support.onnx_kernels import outcome
from support.onnx_nets import Net, feed, typed

import hwsim
from hwsim.frontends.shared.builder import RuntimeDifference
from rtl.layers.table import unsupported

pytestmark = pytest.mark.filterwarnings("ignore::hwsim.saturation.InputSaturation")
Build = Callable[[Net, str, str], str]


def number(n: Net, value: float) -> str:
    return n.constant(n.name("c"), np.float32(value))


def larger(n: Net, x: str, y: str) -> str:
    return n.do("Where", n.do("Greater", x, y), x, y)


def gated(n: Net, x: str, y: str) -> str:
    """A function of one where the other is above 0."""
    return n.do("Where", n.do("Less", y, number(n, 0)), n.do("Sigmoid", x), number(n, -1.5))


def nested(n: Net, x: str, y: str) -> str:
    """A choice of a choice, and of a sum."""
    near = n.do("Less", n.do("Abs", n.do("Sub", x, y)), number(n, 0.5))
    both = n.do("And", near, n.do("Not", n.do("Greater", x, number(n, 1))))
    return n.do("Where", both, n.do("Mul", n.do("Tanh", x), y), n.do("Add", n.do("Neg", y), x))


def bent(n: Net, x: str, y: str) -> str:
    return n.do("PRelu", x, y)


def mean(n: Net, x: str, y: str) -> str:
    return n.do("Mean", x, y)


@pytest.mark.parametrize("shape", [(4, 6, 5), (4, 1, 1)])
@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("build", [larger, gated, nested, bent, mean])
def test_a_choice_by_two_tensors_gives_the_runtimes_codes(
    build: Build, dtype: str, shape: tuple[int, ...], tmp_path: Path, seed: int
) -> None:
    n = Net(dtype, seed=seed)
    y = n.round(n.input("y", shape), 0.023, 4)
    model = typed(n, (n.round(build(n, n.start(4, 6, 5), y), 0.041), 4, "float32"))
    assert_same_arrays(load(model, tmp_path), model, feed(model, seed))


ENDS: dict[str, tuple[str, dict[str, int]]] = {
    "smallest": ("ArgMin", {"axis": 1}),
    "smallest along a row": ("ArgMin", {"axis": -1, "keepdims": 0}),
    "last of the largest": ("ArgMax", {"axis": 1, "select_last_index": 1}),
    "last of the smallest": ("ArgMin", {"axis": 2, "select_last_index": 1, "keepdims": 0}),
}


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("case", ENDS)
def test_arg_min_and_the_last_of_equals_are_the_runtimes(
    case: str, dtype: str, tmp_path: Path, seed: int
) -> None:
    op, attributes = ENDS[case]
    n = Net(dtype, seed=seed)
    x = n.round(n.input("x", (5, 6, 7)), 0.8)  # few codes are met, many of them twice
    rank = 4 if attributes.get("keepdims", 1) else 3
    model = typed(n, (n.do(op, x, **attributes), rank, "int64"))
    graph = load(model, tmp_path)
    assert_same_arrays(graph, model, feed(model, seed))
    assert unsupported(graph) == ()


def test_arg_max_of_a_softmax_is_that_of_its_input(tmp_path: Path, seed: int) -> None:
    n = Net(seed=seed)
    y = n.do("Softmax", n.conv(n.start(3, 6, 5), 3, 6), axis=1)
    model = typed(n, (n.do("ArgMax", y, axis=1, keepdims=0), 3, "int64"))
    assert_same_arrays(load(model, tmp_path), model, feed(model, seed))


def test_arg_max_of_sums_that_nothing_rounded_is_announced(tmp_path: Path, seed: int) -> None:
    """As at the end of a segmentation network whose last layer has no quantizer."""
    n = Net(seed=seed)
    y = n.do("Conv", n.start(3, 6, 5), n.kernel((7, 3, 3, 3), 0, 7))
    model = typed(n, (n.do("ArgMax", y, axis=1), 4, "int64"))
    with pytest.warns(RuntimeDifference, match="of sums that are equal but for their last bits"):
        graph = load(model, tmp_path)
    assert_same_arrays(graph, model, feed(model, seed))


def test_choices_of_wide_codes_are_refused(tmp_path: Path, seed: int) -> None:
    n = Net(seed=seed)
    y = n.qdq(n.input("y", (4, 6, 5)), Q("uint16", 0.001, 30_000))
    made = n.do("Where", n.do("Greater", "x_dq", y), n.start(4, 6, 5), y)
    n.nodes.sort(key=lambda node: node.output[0] in ("greater1", "where2"))
    onnx.save(typed(n, (n.round(made, 0.04), 4, "float32")), tmp_path / "m.onnx")
    with pytest.raises(hwsim.HwsimError, match="or of two of at most 8 bits"):
        hwsim.load(tmp_path / "m.onnx")


@pytest.mark.parametrize("clamp", ["Relu", "Clip"])
def test_a_quantizer_passes_a_transpose_before_a_clamp_that_it_repeats(
    clamp: str, tmp_path: Path, seed: int
) -> None:
    """And so the runtime takes its integer kernel; through a Reshape it does not pass."""
    for op, arguments, kernels in (
        ("Transpose", {"perm": [0, 2, 3, 1]}, ["QLinearConv"]),
        ("Reshape", {}, []),
    ):
        n = Net(seed=seed)
        y = n.do("Conv", n.start(3, 6, 5), n.kernel((7, 3, 3, 3), 0, 7))
        shape = [n.ints(0, 7, 4, 3)] if op == "Reshape" else []
        y = n.do(op, y, *shape, **arguments)
        limits = [number(n, 0), number(n, 1000)] if clamp == "Clip" else []
        y = n.qdq(n.do(clamp, y, *limits), Q("uint8", 0.3, 0))
        ran, said, differ = outcome(n.model((y, 4, "float32")), tmp_path, seed)
        assert (ran, differ) == (kernels, 0) and bool(said) is not bool(kernels)
