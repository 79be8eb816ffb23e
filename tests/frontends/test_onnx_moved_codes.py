"""Codes that lie otherwise than the model's tensors, and what the runtime moves beside them."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
from support.onnx_builder import Q
from support.onnx_compare import load
from support.onnx_kernels import differing, emulated, outcome
from support.onnx_nets import Net, feeds, row
from support.onnx_run import run_ort


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [0, 2, 3, 1]])
@pytest.mark.parametrize("mover", ["Unsqueeze", "Slice", "Reshape"])
def test_a_transpose_and_another_mover_leave_two_pairs_in_a_row(
    mover: str, order: list[int], tmp_path: Path, seed: int
) -> None:
    """Over a Reshape no Transpose moves."""
    n = Net()
    x = n.do("Transpose", n.qdq(n.input("x", (3, 4, 5)), Q("uint8", 0.03, 120)), perm=order)
    given = {"Unsqueeze": [(1,)], "Slice": [(-1,), (-99,), (1,), (-1,)], "Reshape": [(0, 6, -1)]}
    x = n.do(mover, x, *(n.ints(*values) for values in given[mover]))
    rank = {"Unsqueeze": 5, "Slice": 4, "Reshape": 3}[mover]
    turned = n.do("Transpose", n.qdq(x, Q("uint8", 0.02, 90)), perm=[0, *range(2, rank), 1])
    made = n.model((n.round(n.do("Abs", turned), 0.01), rank, "float32"))
    _, said, differ = outcome(made, tmp_path, seed)
    assert ("may move the Transpose" in said) == (differ > 0) == (mover != "Reshape")


@pytest.mark.parametrize("op", ["Min", "Div", "Where", "Split"])
def test_a_product_behind_what_has_more_axes_than_its_first_input_is_no_gemm(
    op: str, tmp_path: Path, seed: int
) -> None:
    """Only where both factors have two axes does the runtime make a Gemm of MatMul and Add."""
    n = Net()
    x = n.start(6, 2, 4)
    half = n.constant("half", np.full((2, 4), 0.5, np.float32))
    mask = n.constant("mask", np.arange(8).reshape(2, 4) % 3 > 0)
    if op == "Split":
        n.nodes.append(onnx.helper.make_node("Split", [x, n.ints(1, 5)], ["p", "q"], axis=1))
        x = "q"
    else:
        x = n.do(op, *{"Min": (half, x), "Div": (x, half), "Where": (mask, x, half)}[op])
    sums = n.do("MatMul", n.round(x, 0.04), n.kernel((4, 7), 1))
    made = n.model((n.round(n.do("Add", sums, row(n)), 0.4), 4, "float32"))
    ran, _, differ = outcome(made, tmp_path, seed)
    assert "QGemm" not in ran and differ <= 1


@pytest.mark.parametrize("op", ["Conv", "AveragePool"])
@pytest.mark.parametrize("order", [[0, 3, 1, 2], [0, 1, 3, 2], None])
def test_a_pad_takes_zeros_around_a_map_that_lies_otherwise(
    order: list[int] | None, op: str, tmp_path: Path, seed: int
) -> None:
    """Behind a product along the width, or a Transpose, the codes move before they are padded."""
    n = Net()
    x = n.round(n.do("MatMul", n.start(4, 5, 3), n.kernel((3, 4), 1)), 0.125)
    x = n.do("Transpose", x, perm=order) if order is not None else x
    x = n.do("Pad", x, n.ints(0, 0, 1, 1, 0, 0, 0, 1))
    if op == "Conv":
        y = n.conv(x, 4, 2)
    else:
        y = n.round(n.do("AveragePool", x, kernel_shape=[2, 2], count_include_pad=1), 0.06)
    _, said, differ = outcome(n.model((y, 4, "float32")), tmp_path, seed)
    assert differ == 0 if op == "Conv" and not said else differ < 9


def test_two_transposes_move_ahead_of_a_reshape_too(tmp_path: Path, seed: int) -> None:
    n = Net()
    x = n.do(
        "Transpose", n.qdq(n.input("x", (2, 7, 6)), Q("uint8", 2.0**-8, 131)), perm=[0, 1, 3, 2]
    )
    x = n.do("Slice", x, n.ints(-1), n.ints(-99), n.ints(2), n.ints(-1))
    x = n.do("Reshape", n.do("Transpose", x, perm=[0, 3, 1, 2]), n.ints(0, 14, 6, 1))
    made = n.model((n.qdq(x, Q("uint8", 2.0**-8, 90)), 4, "float32"))
    _, said, differ = outcome(made, tmp_path, seed)
    assert differ and "may move the Transpose" in said


@pytest.mark.parametrize("turns", [1, 2])
def test_a_softmax_between_transposes_is_announced(turns: int, tmp_path: Path, seed: int) -> None:
    n = Net("int8")
    x = n.do("Transpose", n.start(4, 6), perm=[0, 2, 1])
    y = n.do("Softmax", x, axis=2)
    y = n.do("Transpose", y, perm=[0, 2, 1]) if turns > 1 else y
    made = n.model((n.qdq(y, Q("int8", 0.19, 3)), 3, "float32"), ("x_dq", 3, "float32"))
    data = feeds(made, seed)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        graph = load(made, tmp_path)
    told = any("beside this softmax" in str(w.message) for w in said)
    assert told == (turns > 1)
    assert (differing(emulated(graph, data), run_ort(made, data).outputs) > 0) == told


@pytest.mark.parametrize("function", ["Sqrt", "Sigmoid"])
def test_a_function_of_an_unrounded_product_is_followed_or_announced(
    function: str, tmp_path: Path, seed: int
) -> None:
    n = Net()
    x = n.start(3, 5)
    times = n.do("Mul", n.round(n.do("Abs", x), 0.01, 20), x)
    turned = n.do("Slice", times, n.ints(-1), n.ints(-99), n.ints(1), n.ints(-1))
    made = n.model((n.round(n.do(function, turned), 0.013), 3, "float32"))
    _, said, differ = outcome(made, tmp_path, seed)
    assert differ == 0 or "may differ" in said


def test_one_shape_of_moved_codes_is_not_anothers(tmp_path: Path, seed: int) -> None:
    """Codes of (1, 96) and of (96, 1) lie alike; each output has the shape of its own."""
    n = Net()
    x = n.round(n.do("MatMul", n.start(4, 4, 3), n.kernel((3, 6), 1)), 0.1)
    parts = n.do("Reshape", x, n.ints(0, 8, 6, 2))
    flat = n.do("Reshape", n.do("Transpose", parts, perm=[0, 3, 1, 2]), n.ints(0, 1, 96))
    y = n.round(n.do("Abs", flat), 0.1)
    pooled = n.do("MaxPool", n.do("Transpose", y, perm=[0, 2, 1]), kernel_shape=[1])
    made = n.model((n.round(pooled, 0.1), 3, "float32"), (y, 3, "float32"))
    _, _, differ = outcome(made, tmp_path, seed)  # of values and of shapes
    assert differ == 0
