"""ReduceMax, ReduceMin, ReduceSum, ReduceMean and normalizations: ONNX Runtime's codes."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.onnx_builder import Array
from support.onnx_compare import load
from support.onnx_run import run_ort

import hwsim
from hwsim.errors import HwsimError
from hwsim.frontends.shared.builder import RuntimeDifference
from hwsim.ops import Rsqrt, Transpose

ELEMENTS = {"uint8": TensorProto.UINT8, "int8": TensorProto.INT8}
SHAPES: dict[str, tuple[tuple[int, ...], list[int]]] = {
    "rows": ((5, 12), [2]),
    "columns": ((5, 12), [1]),
    "channels": ((6, 4, 5), [1]),
    "width": ((6, 4, 5), [-1]),
    "map": ((6, 4, 5), [2, 3]),
    "all but height": ((6, 4, 5), [1, 3]),
}


def model(
    op: str,
    shape: tuple[int, ...],
    *,
    constants: dict[str, Array] | None = None,
    dtype: str = "uint8",
    scales: tuple[float, float] = (0.03, 0.05),
    zeros: tuple[int, int] = (7, 3),
    opset: int = 18,
    inputs: tuple[str, ...] = (),
    codes: bool = False,
    **attributes: Any,
) -> onnx.ModelProto:
    """The operator between (De)QuantizeLinear, or of codes between a quantizer and its dequantizer.

    `inputs` names further constants.
    """
    held = {
        "xs": np.float32(scales[0]),
        "xz": np.array(zeros[0], dtype),
        "ys": np.float32(scales[1]),
        "yz": np.array(zeros[1], dtype),
        **(constants or {}),
    }
    if codes:
        nodes = [
            helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["q"]),
            helper.make_node(op, ["q", *inputs], ["t"], name="op", **attributes),
            helper.make_node("DequantizeLinear", ["t", "xs", "xz"], ["y"]),
        ]
    else:
        nodes = [
            helper.make_node("DequantizeLinear", ["x", "xs", "xz"], ["r"]),
            helper.make_node(op, ["r", *inputs], ["t"], name="op", **attributes),
            helper.make_node("QuantizeLinear", ["t", "ys", "yz"], ["y"]),
        ]
    element = TensorProto.FLOAT if codes else ELEMENTS[dtype]
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", element, ("n", *shape))],
        [helper.make_tensor_value_info("y", element, None)],
        [numpy_helper.from_array(a, name) for name, a in held.items() if name in used],
    )
    sets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=sets, ir_version=8)


def compared(
    made: onnx.ModelProto, place: Path, rng: np.random.Generator, samples: int
) -> tuple[int, int, str]:
    """Values compared, how many are not the runtime's, and what was said."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        graph = load(made, place)
    (port,) = made.graph.input
    kind = port.type.tensor_type
    reals = kind.elem_type == TensorProto.FLOAT
    info = np.iinfo("int8" if reals else helper.tensor_dtype_to_np_dtype(kind.elem_type))
    shape = (samples, *(d.dim_value for d in kind.shape.dim[1:]))
    x = rng.integers(info.min, info.max + 1, shape)
    x[::3] = info.min + (x[::3] - info.min) // 16  # narrow rows too
    x[:2] = x[:2].flat[0]  # and rows of one number
    feeds = {"x": x.astype(np.float32) / 32 if reals else x.astype(info.dtype)}
    want, got = run_ort(made, feeds).outputs["y"], hwsim.emulate(graph, feeds)
    assert got.dtype == want.dtype and got.shape == want.shape
    off = np.abs(got.astype(float) - want)
    assert off.max() <= 1
    texts = [str(w.message) for w in said if issubclass(w.category, RuntimeDifference)]
    return want.size, int(np.count_nonzero(off)), " ".join(texts)


@pytest.mark.parametrize("where", SHAPES)
@pytest.mark.parametrize("op", ["ReduceMax", "ReduceMin"])
def test_the_largest_and_the_smallest_are_exact(tmp_path: Path, rng, op, where):
    shape, axes = SHAPES[where]
    for keep, dtype in ((1, "uint8"), (0, "int8")):
        given = {"constants": {"axes": np.array(axes)}, "inputs": ("axes",)}
        made = model(op, shape, dtype=dtype, keepdims=keep, **given)
        assert compared(made, tmp_path, rng, 2_000)[1:] == (0, "")
        made = model(op, shape, dtype=dtype, keepdims=keep, codes=True, **given)
        assert compared(made, tmp_path, rng, 200)[1:] == (0, "")
    made = model(op, shape, opset=13, axes=axes)
    assert compared(made, tmp_path, rng, 200)[1:] == (0, "")


@pytest.mark.parametrize("where", SHAPES)
@pytest.mark.parametrize("op", ["ReduceSum", "ReduceMean"])
def test_sums_and_means_differ_only_as_announced(tmp_path: Path, rng, op, where):
    shape, axes = SHAPES[where]
    n = int(np.prod([shape[a - 1 if a > 0 else a] for a in axes]))
    spread = n if op == "ReduceSum" else 1
    for scales in ((0.5, 0.5 * spread), tuple(rng.uniform(0.02, 0.04, 2) * (1, spread))):
        given = {"constants": {"axes": np.array(axes)}, "inputs": ("axes",)}
        made = model(op, shape, scales=scales, **given)
        count, different, said = compared(made, tmp_path, rng, 1_000)
        assert different <= count * 0.02 and (said or not different)


@pytest.mark.parametrize("terms", [2, 4])
def test_means_of_a_power_of_two_announce_ties_of_a_scale_that_is_none(tmp_path: Path, rng, terms):
    """Of equal scales the ratio is a power of two, but the runtime's sums are rounded."""
    given = {"constants": {"axes": np.array([1])}, "inputs": ("axes",)}
    told = {}
    for scale in (0.0307, 0.03125):
        made = model("ReduceMean", (terms, 7), scales=(scale, scale), **given)
        told[scale] = compared(made, tmp_path, rng, 4_000)[1:]
    assert told[0.0307][0] > 100 and "up to" in told[0.0307][1]
    assert told[0.03125] == (0, "")


def test_a_maximum_along_the_channels_of_a_map_moves_no_code(tmp_path: Path):
    given = {"constants": {"axes": np.array([1])}, "inputs": ("axes",)}
    graph = load(model("ReduceMax", (6, 4, 5), **given), tmp_path)
    assert not any(isinstance(node.op, Transpose) for node in graph.nodes)


def norm(
    op: str, shape: tuple[int, ...], rng: np.random.Generator, **fields: Any
) -> onnx.ModelProto:
    """A normalization with factors and offsets."""
    size = shape[-1] if op == "LayerNormalization" else shape[0]
    constants = {
        "scale": rng.uniform(0.5, 2, size).astype(np.float32),
        "bias": rng.uniform(-1, 1, size).astype(np.float32),
    }
    return model(op, shape, constants=constants, inputs=("scale", "bias"), **fields)


NORMS = {
    "tokens": ("LayerNormalization", (6, 16)),
    "one row": ("LayerNormalization", (96,)),
    "heads": ("LayerNormalization", (2, 5, 33)),
    "map": ("InstanceNormalization", (4, 5, 6)),
    "line": ("InstanceNormalization", (3, 20)),
}


@pytest.mark.parametrize("kind", NORMS)
def test_normalizations_are_announced_and_differ_by_few_steps(tmp_path: Path, rng, kind):
    op, shape = NORMS[kind]
    total = wrong = 0
    for dtype, zeros, scale in (("uint8", (131, 120), 0.031), ("int8", (-5, 9), 0.0107)):
        for epsilon in (1e-5, 1e-3):
            made = norm(
                op, shape, rng, dtype=dtype, zeros=zeros, scales=(scale, 0.023), epsilon=epsilon
            )
            count, different, said = compared(made, tmp_path, rng, 30_000 // int(np.prod(shape)))
            assert "'op': ONNX Runtime" in said
            total, wrong = total + count, wrong + different
    assert total >= 50_000 and wrong <= total // 10_000


def test_rows_of_nearly_one_number_are_announced_and_differ_by_one_step(tmp_path: Path, rng):
    wrong = total = 0
    for _ in range(6):
        made = norm("InstanceNormalization", (8, 6, 6), rng, scales=(0.041, 0.023), zeros=(3, 120))
        with pytest.warns(RuntimeDifference, match="where the numbers of a row are nearly alike"):
            graph = load(made, tmp_path)
        x = np.broadcast_to(rng.integers(0, 256, (300, 8, 1, 1)), (300, 8, 6, 6)).astype(np.uint8)
        off = np.abs(hwsim.emulate(graph, x).astype(int) - run_ort(made, {"x": x}).outputs["y"])
        assert off.max() <= 1
        wrong, total = wrong + int(off.sum()), total + off.size
    assert wrong <= total // 50


def test_a_norm_of_reals_that_nothing_rounds_is_announced(tmp_path: Path, rng):
    """Their distances from the mean are rounded to as many bits as leave room for the squares."""
    made = norm("InstanceNormalization", (4, 5, 6), rng)
    made.graph.node.insert(1, helper.make_node("Sigmoid", ["r"], ["s"], name="sigmoid"))
    made.graph.node[2].input[0] = "s"
    count, different, said = compared(made, tmp_path, rng, 300)
    assert different * 1_000 <= count, f"{different} of {count} codes differ"
    assert "may differ by one step" in said


def apart(size: int, rng: np.random.Generator, *, power: bool, factors: bool) -> onnx.ModelProto:
    """A LayerNormalization as exporters of older opsets write it."""
    held = {
        "xs": np.float32(0.031),
        "xz": np.uint8(119),
        "ys": np.float32(0.023),
        "yz": np.uint8(131),
        "two": np.float32(2),
        "eps": np.float32(1e-5),
        "scale": rng.uniform(0.5, 2, size).astype(np.float32),
        "bias": rng.uniform(-1, 1, size).astype(np.float32),
    }
    square = ("Pow", ["d", "two"]) if power else ("Mul", ["d", "d"])
    steps = [
        ("DequantizeLinear", ["x", "xs", "xz"], "r", {}),
        ("ReduceMean", ["r"], "m", {"axes": [-1]}),
        ("Sub", ["r", "m"], "d", {}),
        (*square, "p", {}),
        ("ReduceMean", ["p"], "v", {"axes": [-1], "keepdims": 1}),
        ("Add", ["v", "eps"], "w", {}),
        ("Sqrt", ["w"], "s", {}),
        ("Div", ["d", "s"], "n", {}),
    ]
    if factors:
        steps += [("Mul", ["n", "scale"], "f", {}), ("Add", ["f", "bias"], "o", {})]
    steps.append(("QuantizeLinear", ["o" if factors else "n", "ys", "yz"], "y", {}))
    nodes = [helper.make_node(op, i, [o], name=o, **more) for op, i, o, more in steps]
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, ("n", 4, size))],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, None)],
        [numpy_helper.from_array(np.asarray(a), n) for n, a in held.items() if n in used],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


@pytest.mark.parametrize("factors", [True, False])
@pytest.mark.parametrize("power", [True, False])
def test_a_normalization_written_as_its_parts_is_one(tmp_path: Path, rng, power, factors):
    made = apart(24, rng, power=power, factors=factors)
    count, different, said = compared(made, tmp_path, rng, 600)
    assert count >= 50_000 and different <= count // 10_000 and "ONNX Runtime" in said
    assert sum(isinstance(node.op, Rsqrt) for node in load(made, tmp_path).nodes) == 1


def test_a_normalization_that_is_not_of_the_last_axis_is_refused(tmp_path: Path, rng):
    with pytest.raises(HwsimError, match="'op': it must normalize along the last axis alone, not"):
        load(norm("LayerNormalization", (4, 6), rng, axis=1), tmp_path)
    with pytest.raises(HwsimError, match="'op': 'epsilon' must be larger beside the square of its"):
        load(norm("LayerNormalization", (4, 6), rng, epsilon=1e-38), tmp_path)


@pytest.mark.parametrize("op", ["ReduceMax", "ReduceSum", "ReduceMean"])
def test_a_reduction_along_the_batch_is_refused(tmp_path: Path, op):
    with pytest.raises(HwsimError, match="'op': it must be along axes that are not the batch, not"):
        load(model(op, (4, 6)), tmp_path)
