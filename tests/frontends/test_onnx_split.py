"""ONNX's Split: ONNX Runtime's codes, along every axis, in every opset's form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.onnx_builder import Array
from support.onnx_run import run_ort

import hwsim
from hwsim.errors import HwsimError
from hwsim.ops import Split, Table

SCALE, ZERO = 0.05, 3


def model(
    shape: tuple[int, ...],
    sizes: tuple[int, ...] | None,
    axis: int,
    *,
    opset: int = 17,
    parts: int | None = None,
    scales: tuple[float, ...] | None = None,
    codes: bool = False,
    read: tuple[int, ...] | None = None,
) -> onnx.ModelProto:
    """A Split between (De)QuantizeLinear; `read` are the outputs that are read at all."""
    count = parts or len(sizes or ())
    shown = range(count) if read is None else read
    constants = {"s": np.float32(SCALE), "z": np.array(ZERO, np.uint8)}
    nodes = [helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"])]
    inputs, attributes = ["q" if codes else "r"], {"axis": axis}
    if not codes:
        nodes.append(helper.make_node("DequantizeLinear", ["q", "s", "z"], ["r"]))
    if sizes is not None and opset >= 13:
        constants["sizes"] = np.array(sizes, np.int64)
        inputs.append("sizes")
    elif sizes is not None:
        attributes["split"] = list(sizes)
    if opset >= 18 and sizes is None:
        attributes["num_outputs"] = count
    names = [f"p{k}" for k in range(count)]
    nodes.append(helper.make_node("Split", inputs, names, name="cut", **attributes))
    for k in shown:
        constants[f"s{k}"] = np.float32((scales or (SCALE,) * count)[k])
        end = f"p{k}"
        if not codes:
            nodes.append(helper.make_node("QuantizeLinear", [end, f"s{k}", "z"], [f"q{k}"]))
            end = f"q{k}"
        nodes.append(helper.make_node("DequantizeLinear", [end, f"s{k}", "z"], [f"y{k}"]))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("n", *shape))],
        [helper.make_tensor_value_info(f"y{k}", TensorProto.FLOAT, None) for k in shown],
        [numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def check(made: onnx.ModelProto, shape: tuple[int, ...], place: Path, rng: Any) -> hwsim.Graph:
    path = place / "model.onnx"
    onnx.save(made, path)
    graph = hwsim.load(path)
    x: Array = rng.uniform(-7, 12, (5, *shape)).astype(np.float32)
    want = run_ort(made, {"x": x}).outputs
    got = hwsim.emulate(graph, x)
    got = got if isinstance(got, dict) else {graph.outputs[0].name: got}
    assert got.keys() == want.keys()
    assert all(np.array_equal(got[name], want[name]) for name in want)
    assert sum(isinstance(node.op, Split) for node in graph.nodes) == 1
    return graph


@pytest.mark.parametrize(
    ("shape", "sizes", "axis"),
    [
        ((7,), (2, 5), 1),
        ((4, 3, 5), (1, 3), 1),
        ((4, 3, 5), (2, 1), 2),
        ((4, 3, 5), (2, 2, 1), -1),
        ((6, 5), (3, 2), 2),
    ],
)
@pytest.mark.parametrize("opset", [11, 13, 18])
def test_parts_of_every_axis_are_the_runtimes(shape, sizes, axis, opset, tmp_path, rng):
    check(model(shape, sizes, axis, opset=opset), shape, tmp_path, rng)


@pytest.mark.parametrize(("opset", "length"), [(11, 6), (13, 6), (18, 6), (18, 5)])
def test_parts_without_sizes_are_alike_and_the_last_has_what_is_left(opset, length, tmp_path, rng):
    graph = check(model((length, 2), None, 1, opset=opset, parts=3), (length, 2), tmp_path, rng)
    (op,) = (node.op for node in graph.nodes if isinstance(node.op, Split))
    assert op.sizes == (2, 2, length - 4)


def test_a_part_may_have_a_scale_of_its_own(tmp_path, rng):
    graph = check(model((6,), (2, 4), 1, scales=(SCALE, 0.11)), (6,), tmp_path, rng)
    assert sum(isinstance(node.op, Table) for node in graph.nodes) == 1


def test_codes_are_split_without_a_dequantizer(tmp_path, rng):
    check(model((4, 3, 3), (1, 3), 1, codes=True), (4, 3, 3), tmp_path, rng)


@pytest.mark.parametrize("read", [(0,), (1,), (0, 2)])
def test_parts_that_nobody_reads_are_made_and_let_go(read, tmp_path, rng):
    graph = check(model((6,), (2, 1, 3), 1, read=read), (6,), tmp_path, rng)
    assert len(graph.nodes[-1].outputs) == 3 or len(graph.nodes[0].outputs) == 3


@pytest.mark.parametrize(
    ("sizes", "axis", "text"),
    [
        ((2, 3), 1, "its 2 parts must be 1 or more long and make up 6, not (2, 3)"),
        ((0, 6), 1, "its 2 parts must be 1 or more long and make up 6, not (0, 6)"),
        ((2, 4), 0, "its axis must not be the batch"),
        ((2, 4), 3, "'axis' must lie in a tensor of rank 2, not 3"),
    ],
)
def test_a_split_that_cannot_be_is_refused(sizes, axis, text, tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(model((6,), sizes, axis), path)
    with pytest.raises(HwsimError) as error:
        hwsim.load(path)
    assert str(error.value).endswith(text)
