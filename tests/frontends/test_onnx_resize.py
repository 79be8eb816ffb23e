"""ONNX's Resize and Upsample: the elements that ONNX Runtime takes, and its sums of two of them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.onnx_compare import load
from support.onnx_kernels import outcome
from support.onnx_nets import Net, typed
from support.onnx_run import session_of
from support.seeds import seeded

import hwsim
from hwsim.errors import HwsimError
from hwsim.frontends.onnx.ort import resizing
from hwsim.frontends.onnx.ort.resizing import NEAREST, PLACES, ResizedAxis, length
from hwsim.frontends.shared.builder import RuntimeDifference

pytestmark = pytest.mark.filterwarnings("ignore::hwsim.saturation.InputSaturation")


def line(size: int, given: Mapping[str, Any], *, opset: int, op: str = "Resize", **modes: str):
    """A Resize of the last of four axes, in floats."""
    constants = {name: np.asarray(value) for name, value in given.items()}
    names = ["x", *("scales" for _ in range(1) if opset < 11)]
    if opset >= 11:
        constants["roi"] = np.zeros(0, np.float32)
        constants.setdefault("scales", np.zeros(0, np.float32))
        names = ["x", "roi", "scales", *(["sizes"] if "sizes" in constants else [])]
    node = helper.make_node(op, names, ["y"], mode="nearest", **modes)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 1, size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def taken(model: onnx.ModelProto, size: int) -> list[int]:
    session, _ = session_of(model, optimize=True)
    x = np.arange(size, dtype=np.float32).reshape(1, 1, 1, size)
    return [int(v) for v in session.run(None, {"x": x})[0].ravel()]


def drawn(rng: np.random.Generator) -> tuple[ResizedAxis, str, dict[str, Any]]:
    """An axis that becomes another, by scales or sizes, and how."""
    size, mode = int(rng.integers(1, 50)), PLACES[rng.integers(len(PLACES))]
    rule = NEAREST[rng.integers(len(NEAREST))]
    while True:
        if rng.random() < 0.5:
            wanted = int(rng.integers(1, 110))
            scale, given = (
                float(np.float32(wanted) / np.float32(size)),
                {"sizes": [1, 1, 1, wanted]},
            )
        else:
            usual = [2, 3, 4, 0.5, 1.5, 1 / 3, 2.5, rng.uniform(0.2, 4)]
            scale = float(np.float32(usual[rng.integers(len(usual))]))
            wanted = length(size, scale)
            given = {"scales": np.array([1, 1, 1, scale], np.float32)}
        whole = mode != "half_pixel_symmetric" or np.float32(size) * np.float32(scale) == wanted
        if wanted not in (0, size) and whole:
            return ResizedAxis(size, wanted, scale, mode), rule, given


def compared(rng: np.random.Generator, count: int) -> tuple[int, int]:
    """Indices of random axes, and how many the runtime has otherwise."""
    total = different = 0
    for _ in range(count):
        axis, rule, given = drawn(rng)
        opset = {"half_pixel_symmetric": 19, "tf_half_pixel_for_nn": 11}.get(axis.mode, 13)
        modes = {"coordinate_transformation_mode": axis.mode, "nearest_mode": rule}
        theirs = taken(line(axis.size, given, opset=opset, **modes), axis.size)
        total += axis.wanted
        different += sum(a != b for a, b in zip(axis.nearest(rule).tolist(), theirs, strict=True))
    return total, different


def test_the_nearest_elements_are_the_runtimes(seed):
    total, different = compared(np.random.default_rng(seed), 250)
    print(f"{total} indices, {different} different")
    assert total > 5000 and different == 0


def test_places_near_halfway_are_ties_for_the_runtime():
    """The mutant: without the tolerance, 8.5 / (0.7 in float32) is no tie."""
    axis = ResizedAxis(30, 39, float(np.float32(39) / np.float32(30)), "pytorch_half_pixel")
    modes = {"coordinate_transformation_mode": axis.mode, "nearest_mode": "round_prefer_floor"}
    theirs = taken(line(30, {"sizes": [1, 1, 1, 39]}, opset=13, **modes), 30)
    assert axis.nearest("round_prefer_floor").tolist() == theirs
    assert np.ceil(axis.places() - np.float32(0.5)).astype(int).tolist() != theirs
    assert abs(axis.places()[19] - 14.5) < resizing.TIE


@pytest.mark.slow
def test_many_nearest_elements_are_the_runtimes(seed):
    total, different = compared(np.random.default_rng(seed), 6000)
    print(f"{total} indices, {different} different")
    assert total > 100_000 and different == 0


@pytest.mark.parametrize(("op", "opset"), [("Upsample", 9), ("Resize", 10)])
@pytest.mark.parametrize("scale", [2.0, 3.0, 1.5, 2.71])
def test_resizing_of_old_opsets_rounds_down(op, opset, scale):
    given = {"scales": np.array([1, 1, 1, scale], np.float32)}
    axis = ResizedAxis(13, length(13, scale), float(np.float32(scale)), "asymmetric")
    assert axis.nearest("simple").tolist() == taken(line(13, given, opset=opset, op=op), 13)


FORMS = {"same": ("uint8", 0.03, 0.03), "other": ("int8", 0.03, 0.0417), "ties": ("uint8", 1, 2)}
SCALES = {
    "twice": (1, 1, 2, 2),
    "uneven": (1, 1, 1.7, 0.6),
    "channels": (1, 2, 1, 1.5),
    "nothing": (1, 1, 1.01, 1),
}


def resized(n: Net, x: str, scales: Any, **modes: str) -> str:
    return n.do("Resize", x, "", n.constant("s", np.array(scales, np.float32)), **modes)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", SCALES)
def test_nearest_codes_are_the_runtimes(name, form, tmp_path):
    dtype, scale, out = FORMS[form]
    n = Net(dtype)
    x = n.round(n.input("x", (4, 6, 5)), scale)
    y = n.round(resized(n, x, SCALES[name], mode="nearest"), out, -9 if out == scale else 20)
    model = n.model((y, 4, "float32"))
    x = np.random.default_rng(seeded(3)).uniform(-5, 5, (150, 4, 6, 5)).astype(np.float32)
    session, _ = session_of(model, optimize=True)
    (want,) = session.run(None, {"x": x * np.float32(scale / 0.03)})
    got = hwsim.emulate(load(model, tmp_path), x * np.float32(scale / 0.03))
    assert want.size > 15_000 and np.array_equal(got, want)


LINEAR = {
    "twice": ((4, 5, 6), (1, 1, 2, 2), "half_pixel"),
    "four-times": ((2, 3, 4), (1, 1, 4, 4), "pytorch_half_pixel"),
    "half": ((3, 8, 4), (1, 1, 0.5, 0.5), "half_pixel"),
    "twice-asymmetric": ((4, 5, 6), (1, 1, 2, 2), "asymmetric"),
    "uneven-powers": ((2, 4, 5), (1, 1, 4, 2), "asymmetric"),
    "corners": ((2, 5, 3), (1, 1, 1.8, 5 / 3), "align_corners"),
    "two-columns": ((2, 3, 2), (1, 1, 2, 2), "half_pixel"),
    "line": ((3, 7), (1, 1, 2), "half_pixel"),
}


@pytest.mark.parametrize("name", LINEAR)
def test_linear_codes_are_the_runtimes_where_its_floats_are_exact(name, tmp_path):
    shape, scales, mode = LINEAR[name]
    n = Net("uint8")
    x = n.round(n.input("x", shape), 2.0**-5)
    y = resized(n, x, scales, mode="linear", coordinate_transformation_mode=mode)
    model = n.model((n.round(y, 2.0**-4, 20), len(shape) + 1, "float32"))
    x = np.random.default_rng(seeded(4)).uniform(-4, 4, (300, *shape)).astype(np.float32)
    session, _ = session_of(model, optimize=True)
    (want,) = session.run(None, {"x": x})
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeDifference)
        got = hwsim.emulate(load(model, tmp_path), x)
    assert got.shape == want.shape and np.array_equal(got, want)


@pytest.mark.parametrize("scales", [(1, 1, 2, 2), (1, 1, 1.7, 2.3), (1, 1, 3, 3)])
def test_linear_codes_of_any_scales_are_announced_and_hardly_differ(scales, tmp_path, seed):
    n = Net("int8")
    x = n.round(n.input("x", (4, 6, 5)), 0.03)
    y = n.round(resized(n, x, scales, mode="linear"), 0.0317, 3)
    _, said, differ = outcome(n.model((y, 4, "float32")), tmp_path, seed)
    assert "one code in" in said and differ <= 2


@pytest.mark.parametrize(
    ("scales", "modes", "text"),
    [
        ((1, 1, 2), {}, "must be a number above 0 for each of 4 axes, not [1.0, 1.0, 2.0]"),
        ((2, 1, 1, 1), {}, "it must leave the batch as it is, not resize it by 2"),
        ((1, 1, 2, 2), {"mode": "cubic"}, "'mode' must be nearest or linear, not 'cubic'"),
        ((1, 1, 2, 2), {"nearest_mode": "up"}, "'nearest_mode' must be round_prefer_floor"),
        (
            (1, 1, 2, 2),
            {"coordinate_transformation_mode": "tf_crop_and_resize"},
            "asymmetric, tf_half_pixel_for_nn, not 'tf_crop_and_resize'",
        ),
        ((1, 1, 0.1, 1), {}, "its result must not be empty, not of shape (4, 0, 5)"),
        ((1, 2, 2, 2), {"mode": "linear"}, "the places of a map or line, not its channels"),
    ],
)
def test_what_cannot_be_resized_is_named(scales, modes, text, tmp_path):
    n = Net()
    y = n.round(resized(n, n.start(4, 6, 5), scales, **modes), 0.03)
    graph = helper.make_graph(
        n.nodes, "g", n.inputs, [helper.make_tensor_value_info(y, 1, None)], n.constants
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with pytest.raises(HwsimError) as error:
        load(model, tmp_path)
    assert text in str(error.value)


def test_sizes_that_say_a_batch_of_one_are_announced(tmp_path):
    n = Net()
    sizes = n.constant("sizes", np.array([1, 4, 9, 4]))
    model = n.model((n.round(n.do("Resize", n.start(4, 6, 5), "", "", sizes), 0.03), 4, "float32"))
    with pytest.warns(RuntimeDifference, match="one row of any batch here .* the batch stays"):
        load(model, tmp_path)


def test_axes_and_sizes_of_later_opsets_are_read(tmp_path):
    n = Net()
    sizes = n.constant("sizes", np.array([9, 4]))
    y = n.round(n.do("Resize", n.start(4, 6, 5), "", "", sizes, axes=[3, 2]), 0.03)
    model = typed(n, (y, 4, "float32"), opset=19)
    x = np.random.default_rng(seeded(1)).uniform(-4, 4, (3, 4, 6, 5)).astype(np.float32)
    session, _ = session_of(model, optimize=True)
    (want,) = session.run(None, {"x": x})
    assert want.shape == (3, 4, 4, 9)
    assert np.array_equal(hwsim.emulate(load(model, tmp_path), x), want)
