"""MatMul of two computed tensors: ONNX Runtime's codes, heads in batches, transposed keys."""

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
from support.onnx_nets import Net, feeds
from support.onnx_run import run_ort

import hwsim
from hwsim.errors import HwsimError
from hwsim.frontends.shared.builder import RuntimeDifference
from hwsim.ops import MatMul

Shape = tuple[int, ...]
ELEMENTS = {"uint8": TensorProto.UINT8, "int8": TensorProto.INT8}
SHAPES: dict[str, tuple[Shape, Shape]] = {
    "matrices": ((9, 16), (16, 7)),
    "heads": ((3, 6, 8), (3, 8, 7)),
    "one head for all": ((3, 6, 8), (1, 8, 7)),
    "one row": ((1, 40), (40, 9)),
}


def model(
    dtypes: tuple[str, str, str],
    shapes: tuple[Shape, Shape],
    rng: np.random.Generator,
    *,
    form: str = "QDQ",
    turned: bool = False,
    scales: tuple[float, ...] | None = None,
) -> onnx.ModelProto:
    """The product of `a` and `b`; `turned`, with the last axes of `b` the other way."""
    constants = []
    drawn = rng.uniform(0.01, 0.03, 3) if scales is None else scales
    for name, scale, dtype in zip("aby", drawn, dtypes, strict=True):
        info = np.iinfo(dtype)
        zero = np.array(rng.integers(info.min, info.max + 1), dtype)
        scale = scale * shapes[0][-1] / 2 if name == "y" and scales is None else scale
        constants += [
            numpy_helper.from_array(np.float32(scale), f"{name}s"),
            numpy_helper.from_array(zero, f"{name}z"),
        ]
    shown, kind = "y", ELEMENTS[dtypes[2]]
    if form == "QLinear":
        names = ["a", "as", "az", "b", "bs", "bz", "ys", "yz"]
        nodes = [helper.make_node("QLinearMatMul", names, ["y"], name="mm")]
    else:
        nodes = [
            helper.make_node("DequantizeLinear", [n, f"{n}s", f"{n}z"], [f"{n}r"]) for n in "ab"
        ]
        right = "br"
        if turned:
            rank = len(shapes[1]) + 1
            perm = [*range(rank - 2), rank - 1, rank - 2]
            nodes.append(helper.make_node("Transpose", ["br"], ["bt"], perm=perm))
            right = "bt"
        nodes.append(helper.make_node("MatMul", ["ar", right], ["r"], name="mm"))
        if form == "QDQ":
            nodes.append(helper.make_node("QuantizeLinear", ["r", "ys", "yz"], ["y"]))
        else:
            shown, kind = "r", TensorProto.FLOAT
    a, b = shapes
    b = (*b[:-2], b[-1], b[-2]) if turned else b
    graph = helper.make_graph(
        nodes,
        "g",
        [
            helper.make_tensor_value_info("a", ELEMENTS[dtypes[0]], ("n", *a)),
            helper.make_tensor_value_info("b", ELEMENTS[dtypes[1]], ("n", *b)),
        ],
        [helper.make_tensor_value_info(shown, kind, None)],
        constants if form != "to floats" else constants[:4],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def compared(made: onnx.ModelProto, place: Path, rng: np.random.Generator) -> tuple[int, int, str]:
    """Values compared, how many are not the runtime's, and what was said."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        graph = load(made, place)
    assert sum(isinstance(node.op, MatMul) for node in graph.nodes) == 1
    feeds: dict[str, Array] = {}
    for port in made.graph.input:
        kind = port.type.tensor_type
        info = np.iinfo(helper.tensor_dtype_to_np_dtype(kind.elem_type))
        shape = (250, *(d.dim_value for d in kind.shape.dim[1:]))
        feeds[port.name] = rng.integers(info.min, info.max + 1, shape).astype(info.dtype)
    (want,) = run_ort(made, feeds).outputs.values()
    got: Any = hwsim.emulate(graph, feeds)
    assert got.dtype == want.dtype and got.shape == want.shape
    texts = [str(w.message) for w in said if issubclass(w.category, RuntimeDifference)]
    return want.size, int(np.count_nonzero(got != want)), " ".join(texts)


WHOLE = {
    "uint8": (("uint8",) * 3, "QDQ"),
    "uint8 times int8": (("uint8", "int8", "uint8"), "QDQ"),
    "codes, int8": (("int8",) * 3, "QLinear"),
    "codes, uint8": (("uint8",) * 3, "QLinear"),
    "to floats": (("uint8", "int8", "uint8"), "to floats"),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_products_of_two_tensors_are_the_integer_kernels(tmp_path: Path, kind, rng):
    (dtypes, form), total = WHOLE[kind], 0
    for shapes in SHAPES.values():
        for scales in (None, (0.5, 0.25, 1.0)):  # powers of two: ties
            made = model(dtypes, shapes, rng, form=form, scales=scales)
            count, different, said = compared(made, tmp_path, rng)
            assert (different, said) == (0, "")
            total += count
    assert total >= 50_000


def test_a_transpose_ahead_of_a_product_moves_the_codes_of_heads(tmp_path: Path, rng):
    for dtypes in (("uint8",) * 3, ("uint8", "int8", "uint8")):
        made = model(dtypes, SHAPES["heads"], rng, turned=True)
        assert compared(made, tmp_path, rng)[1:] == (0, "")


def test_a_product_in_float32_is_announced_and_differs_by_few_steps(tmp_path: Path, rng):
    for dtypes in (("int8",) * 3, ("uint8", "uint8", "int8")):
        made = model(dtypes, SHAPES["heads"], rng)
        count, different, said = compared(made, tmp_path, rng)
        assert "'mm': ONNX Runtime adds in float32 here" in said and different <= count // 2_000
        exact = model(dtypes, SHAPES["heads"], rng, scales=(0.5, 0.25, 0.5))
        assert compared(exact, tmp_path, rng)[1:] == (0, "")


def test_factors_that_do_not_fit_are_refused(tmp_path: Path, rng):
    with pytest.raises(HwsimError, match=r"'mm': two computed tensors must be of shapes \(batch,"):
        load(model(("uint8",) * 3, ((4, 6), (5, 3)), rng), tmp_path)
    with pytest.raises(HwsimError, match=r"'mm': the axes ahead of its matrices must broadcast"):
        load(model(("uint8",) * 3, ((2, 4, 6), (3, 6, 3)), rng), tmp_path)


def test_a_product_of_two_norms_that_nothing_rounds_is_computed(tmp_path: Path, seed: int) -> None:
    """Their fine codes have too many bits for a product, and get fewer."""
    n = Net()
    x = n.start(4, 8)
    ones, zeros = n.constant("g", np.ones(8, np.float32)), n.constant("h", np.zeros(8, np.float32))
    norm = n.do("LayerNormalization", x, ones, zeros)
    out = n.do("MatMul", norm, n.do("Transpose", norm, perm=[0, 2, 1]))
    model = n.model((out, 3, "float32"))
    data = feeds(model, seed)
    with pytest.warns(RuntimeDifference, match="last bits"):
        graph = load(model, tmp_path)
    (want,) = run_ort(model, data).outputs.values()
    got = hwsim.emulate(graph, data["x"])
    assert np.abs(got - want).max() <= 2e-6 * np.abs(want).max()
