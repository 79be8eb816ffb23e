"""Warnings of sums in float32 say how many codes may differ, and no more differ."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from support.onnx_builder import Q
from support.onnx_compare import load
from support.onnx_kernels import differing, emulated
from support.onnx_nets import Net
from support.onnx_run import run_ort

from hwsim.frontends.shared.builder import RuntimeDifference

Build = Callable[[Net], tuple[str, tuple[int, ...]]]
USUAL = 1 / 200_000


def resized(n: Net, scale: float, result: float) -> tuple[onnx.ModelProto, tuple[int, ...]]:
    """More than 2**20 sums: shares of thirds and halves in 24 bits."""
    x = n.qdq(n.input("x", (2, 4, 7)), Q("uint8", scale, 0))
    scales = n.constant("scales", np.array([1, 1, 1.5, 2.5], np.float32))
    y = n.do("Resize", x, "", scales, mode="linear")
    return n.model((n.qdq(y, Q("uint8", result, 0)), 4, "float32")), (2, 4, 7)


def product(n: Net, scale: float, result: float) -> tuple[onnx.ModelProto, tuple[int, ...]]:
    """In float32, since a ReLU stands before it."""
    x = n.do("Relu", n.qdq(n.input("x", (16,)), Q("uint8", scale, 128)))
    codes = n.constant("w", n.rng.integers(-20, 21, (16, 6)).astype(np.int8))
    w = n.do("DequantizeLinear", codes, *n.parameters("w", Q("int8", 0.02, 0)))
    return n.model((n.qdq(n.do("MatMul", x, w), Q("uint8", result, 100)), 2, "float32")), (16,)


def three(n: Net, scale: float, result: float) -> tuple[onnx.ModelProto, tuple[int, ...]]:
    """A Sum of three, one of which often lies at the end of its range."""
    x = n.qdq(n.input("x", (20,)), Q("uint8", scale, 128))
    others = [n.qdq(n.do(op, x), Q("uint8", scale / 10, 0), op) for op in ("Abs", "Sigmoid")]
    y = n.do("Sum", x, *others)
    return n.model((n.qdq(y, Q("uint8", result, 100)), 2, "float32")), (20,)


def measured(build: Callable[..., tuple[onnx.ModelProto, tuple[int, ...]]], scale: float,
             result: float, folder: Path, seed: int) -> tuple[float, float]:  # fmt: skip
    """The share of codes that differ, and that which the warning says."""
    model, shape = build(Net(seed=seed), scale, result)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        graph = load(model, folder)
    (said,) = (str(w.message) for w in caught if issubclass(w.category, RuntimeDifference))
    percent, often = re.search(r"up to ([\d.e-]+) %", said), re.search(r"code in ([\d,]+)", said)
    claim = float(percent[1]) / 100 if percent else 1 / int(often[1].replace(",", ""))
    codes = np.random.default_rng(seed).integers(-128, 384, (600, *shape))
    data = {"x": ((codes - 128) * np.float32(scale)).astype(np.float32)}
    expected = run_ort(model, data).outputs
    size = sum(value.size for value in expected.values())
    return differing(emulated(graph, data), expected) / size, claim


@pytest.mark.parametrize(
    ("build", "scale", "result"),
    [
        (resized, 0.05, 0.05),
        (resized, 0.0375, 0.0375),
        (product, 0.05, 0.1),
        (product, 0.01, 0.05),
        (three, 0.05, 0.05),
        (three, 0.02, 0.04),
    ],
)
def test_no_more_codes_differ_than_the_warning_says(
    build: Callable[..., tuple[onnx.ModelProto, tuple[int, ...]]],
    scale: float,
    result: float,
    tmp_path: Path,
    seed: int,
) -> None:
    """The usual share would be far too small for each of them."""
    differ, claim = measured(build, scale, result, tmp_path, seed)
    print(f"{differ:.3g} of {claim:.3g}")
    assert 20 * USUAL < differ <= claim < 0.5


@pytest.mark.parametrize("build", [resized, product])
def test_scales_that_meet_no_ties_keep_the_usual_share(
    build: Callable[..., tuple[onnx.ModelProto, tuple[int, ...]]], tmp_path: Path, seed: int
) -> None:
    differ, claim = measured(build, 0.0378519, 0.0412347, tmp_path, seed)
    assert claim == USUAL
    assert differ <= 20 * USUAL


@pytest.mark.parametrize("op", ["InstanceNormalization", "LayerNormalization"])
def test_rows_of_nearly_one_number_differ_by_no_more_than_the_warning_says(
    op: str, tmp_path: Path, seed: int
) -> None:
    n = Net(seed=seed)
    x = n.qdq(n.input("x", (3, 16)), Q("uint8", 0.25, 3))
    size = 3 if op == "InstanceNormalization" else 16
    factor = n.constant("g", n.rng.uniform(0.5, 1.5, size).astype(np.float32))
    offset = n.constant("h", n.rng.normal(0, 1, size).astype(np.float32))
    model = n.model((n.do(op, x, factor, offset), 3, "float32"))
    with pytest.warns(RuntimeDifference, match="nearly alike") as caught:
        graph = load(model, tmp_path)
    said = next(str(w.message) for w in caught if "nearly alike" in str(w.message))
    claim = re.search(r"differ by up to ([\d.e-]+),", said)
    assert claim is not None
    rng = np.random.default_rng(seed)
    codes = np.clip(rng.integers(0, 256, (600, 3, 1)) + (rng.random((600, 3, 16)) < 0.1), 0, 255)
    data = {"x": ((codes - 3) * np.float32(0.25)).astype(np.float32)}
    (want,), (got,) = (d.values() for d in (run_ort(model, data).outputs, emulated(graph, data)))
    off = float(np.abs(want - got).max())
    print(f"{off:.3g} of {claim[1]}")
    assert 0 < off <= float(claim[1])
