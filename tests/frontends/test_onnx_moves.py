"""ONNX's operators that only move elements: ONNX Runtime's codes, in every form and mode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from support.onnx_compare import load
from support.onnx_kernels import outcome
from support.onnx_nets import Net, act, typed
from support.onnx_run import session_of
from support.seeds import seeded

import hwsim
from hwsim.errors import HwsimError
from rtl.layers.table import unsupported

Move = Callable[[Net, str], str]
MAP, LINE, HEADS = (4, 6, 5), (4, 9), (2, 3, 4, 5)


def constant(n: Net, *values: Any, dtype: Any = np.int64) -> str:
    return n.constant(n.name("c"), np.array(values[0] if len(values) == 1 else values, dtype))


def sliced(starts: Any, ends: Any, axes: Any = None, steps: Any = None) -> Move:
    def move(n: Net, x: str) -> str:
        given = [np.array(starts), np.array(ends)]
        names = [constant(n, each.tolist()) for each in given]
        names.append("" if axes is None else constant(n, list(axes)))
        names += [] if steps is None else [constant(n, list(steps))]
        return n.do("Slice", x, *names)

    return move


def gathered(indices: Any, axis: int) -> Move:
    return lambda n, x: n.do("Gather", x, n.constant(n.name("c"), np.array(indices)), axis=axis)


def padded(pads: Any, value: float | None = None, mode: str = "constant", axes: Any = None) -> Move:
    def move(n: Net, x: str) -> str:
        names = [constant(n, list(pads))]
        names.append("" if value is None else constant(n, value, dtype=np.float32))
        names += [] if axes is None else [constant(n, list(axes))]
        return n.do("Pad", x, *names, mode=mode)

    return move


pytestmark = pytest.mark.filterwarnings("ignore::hwsim.saturation.InputSaturation")
FAR = 2**63 - 1
MOVES: dict[str, tuple[tuple[int, ...], Move]] = {
    "slice-channels": (MAP, sliced([1], [3], [1])),
    "slice-rows-by-two": (MAP, sliced([0], [FAR], [2], [2])),
    "slice-columns-second-half": (MAP, sliced([1], [FAR], [-1], [2])),
    "slice-crop": (MAP, sliced([1, 0, 1], [-1, 2, 4], [2, 1, 3])),
    "slice-backwards": (MAP, sliced([-1], [-FAR - 1], [2], [-1])),
    "slice-backwards-by-two": (MAP, sliced([4], [0], [3], [-2])),
    "slice-whole-batch": (MAP, sliced([0, 1], [FAR, 3], [0, 2])),
    "slice-without-axes": (MAP, sliced([0, 1, 1, 1], [FAR, 4, 6, 5])),
    "slice-nothing": (MAP, sliced([0], [FAR], [2])),
    "slice-vector": ((17,), sliced([3], [15], [1], [3])),
    "slice-line": (LINE, sliced([1], [-2], [2])),
    "slice-heads": (HEADS, sliced([1, 1], [3, 4], [3, 4])),
    "gather-channels": (MAP, gathered([3, 1, 1, -4], 1)),
    "gather-rows": (MAP, gathered([5, 0, 2], 2)),
    "gather-one-index": (MAP, gathered(2, 1)),
    "gather-one-column": (MAP, gathered(-1, 3)),
    "gather-by-a-matrix": (MAP, gathered([[0, 1], [3, 2]], -1)),
    "gather-vector": ((17,), gathered([16, 2, 2, 7], 1)),
    "gather-tokens": ((6, 8), gathered(0, 1)),
    "depth-to-space-dcr": ((8, 3, 2), lambda n, x: n.do("DepthToSpace", x, blocksize=2)),
    "depth-to-space-crd": (
        (18, 2, 3),
        lambda n, x: n.do("DepthToSpace", x, blocksize=3, mode="CRD"),
    ),
    "space-to-depth": ((3, 4, 6), lambda n, x: n.do("SpaceToDepth", x, blocksize=2)),
    "expand-places": ((4, 1, 1), lambda n, x: n.do("Expand", x, constant(n, 1, 4, 3, 2))),
    "expand-channels": ((1, 3, 4), lambda n, x: n.do("Expand", x, constant(n, 1, 5, 1, 1))),
    "expand-fewer-axes": ((3, 1, 4), lambda n, x: n.do("Expand", x, constant(n, 6, 4))),
    "expand-nothing": (MAP, lambda n, x: n.do("Expand", x, constant(n, 1, 1, 1, 1))),
    "tile-rows": (MAP, lambda n, x: n.do("Tile", x, constant(n, 1, 1, 2, 1))),
    "tile-all": ((2, 2, 3), lambda n, x: n.do("Tile", x, constant(n, 1, 2, 2, 3))),
    "pad-zeros": (MAP, padded([0, 0, 1, 2, 0, 0, 0, 1])),
    "pad-a-value": (MAP, padded([0, 0, 1, 0, 0, 0, 0, 1], 0.77)),
    "pad-past-the-range": (MAP, padded([0, 0, 1, 1, 0, 0, 1, 1], -1e9)),
    "pad-infinity": (MAP, padded([0, 0, 1, 1, 0, 0, 1, 1], -np.inf)),
    "pad-channels": (MAP, padded([0, 2, 0, 0, 0, 1, 0, 0], -0.3)),
    "pad-vector": ((9,), padded([0, 3, 0, 1], 0.5)),
    "pad-line": (LINE, padded([0, 0, 2, 0, 0, 1], 0.0)),
    "pad-and-crop": (MAP, padded([0, 0, -1, 2, 0, -1, 1, -2], 0.4)),
    "pad-reflect": (MAP, padded([0, 0, 2, 1, 0, 0, 5, 4], mode="reflect")),
    "pad-edge": (MAP, padded([0, 1, 2, 0, 0, 0, 0, 7], mode="edge")),
    "transpose-map": (MAP, lambda n, x: n.do("Transpose", x, perm=[0, 3, 1, 2])),
    "transpose-heads": (HEADS, lambda n, x: n.do("Transpose", x, perm=[0, 4, 2, 1, 3])),
}
WIDER: dict[str, tuple[tuple[int, ...], Move]] = {
    "pad-wrap": (MAP, padded([0, 0, 3, 0, 0, 0, 0, 5], mode="wrap")),
    "pad-some-axes": (MAP, padded([1, 2, 0, 3], 0.25, axes=(3, 1))),
}


def rank_of(n: Net, x: str, shape: tuple[int, ...]) -> int:
    """Axes of what a move gives, batch included."""
    if n.nodes[-1].op_type != "Gather":
        return len(shape) + 1
    name = n.nodes[-1].input[1]
    indices = next(c for c in n.constants if c.name == name)
    return len(shape) + len(indices.dims)


# codes in and out: type, scale, zero points; powers of two make ties
FORMS = {
    "same": ("uint8", 0.03, 0.03),
    "other": ("int8", 0.03, 0.0417),
    "ties": ("uint8", 0.03125, 0.0625),
    "signed": ("int8", 0.03, 0.03),
}


def compared(move: Move, shape: tuple[int, ...], form: str, folder: Any, opset: int = 0) -> int:
    """Values that were compared; all are the runtime's."""
    dtype, scale, out = FORMS[form]
    n = Net(dtype, seed=3)
    x = n.round(n.input("x", shape), scale, -9)
    y = move(n, x)
    rank = rank_of(n, x, shape)
    y = n.round(y, out, -9 if scale == out else 21)
    model = typed(n, (y, rank, "float32"), opset=opset) if opset else n.model((y, rank, "float32"))
    size = int(np.prod(shape))
    rng = np.random.default_rng(seeded(7))
    x = rng.uniform(-5, 5, (60_000 // size + 1, *shape)).astype(np.float32)
    session, _ = session_of(model, optimize=True)
    (want,) = session.run(None, {"x": x})
    got = hwsim.emulate(load(model, folder), x)
    assert got.shape == want.shape and np.array_equal(got, want)
    return int(want.size)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", MOVES)
def test_what_moves_gives_the_runtimes_codes(name, form, tmp_path):
    shape, move = MOVES[name]
    assert compared(move, shape, form, tmp_path) > 9000


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", WIDER)
def test_what_came_with_later_opsets_moves_as_well(name, form, tmp_path):
    shape, move = WIDER[name]
    assert compared(move, shape, form, tmp_path, opset=19) > 9000


LATE: dict[str, Callable[[Net, str], str]] = {
    "slice": sliced([1], [5], [2]),
    "gather": gathered([2, 0], 1),
    "depth-to-space": lambda n, x: n.do("DepthToSpace", x, blocksize=2),
    "pad": padded([0, 0, 1, 1, 0, 0, 1, 1], 0.3),
    "pad-and-pool": lambda n, x: n.do(
        "MaxPool", padded([0, 0, 1, 1, 0, 0, 1, 1], -9.0)(n, x), kernel_shape=[3, 3], strides=[2, 2]
    ),
    "slice-and-relu": lambda n, x: n.do("Relu", sliced([1], [5], [2])(n, x)),
    "pad-and-relu": lambda n, x: n.do("Relu", padded([0, 1, 0, 0, 0, 0, 0, 0], -0.3)(n, x)),
    "pad-and-sigmoid": lambda n, x: n.do("Sigmoid", padded([0, 0, 0, 1, 0, 0, 0, 0])(n, x)),
    "two-moves": lambda n, x: n.do(
        "Transpose", sliced([0, 1], [2, 6], [1, 2])(n, x), perm=[0, 2, 1, 3]
    ),
}


SOURCES = ("codes", "sum", "function", "input")
FUNCTIONS = ("slice-and-relu", "pad-and-relu", "pad-and-sigmoid")
UNREAD = [(name, "input") for name in FUNCTIONS] + [("pad-and-sigmoid", "sum")]
"""A function of what nothing has quantized."""


@pytest.mark.parametrize(
    ("name", "source"),
    [(name, source) for name in LATE for source in SOURCES if (name, source) not in UNREAD],
)
def test_what_moves_stands_behind_sums_functions_and_inputs(name, source, tmp_path):
    """Elements move once the sum is rounded, or the input; all scales are powers of two."""
    n = Net("uint8", seed=5)
    x = n.input("x", (4, 6, 5))
    if source != "input":
        x = n.round(x, 2.0**-5, -9)
    if source == "sum":
        w = n.constant("w", n.rng.integers(-3, 4, (4, 4, 1, 1)).astype(np.int8))
        scale, zero = n.constant("ws", np.float32(2.0**-6)), n.constant("wz", np.int8(0))
        x = n.do("Conv", x, n.do("DequantizeLinear", w, scale, zero))
    elif source == "function":
        x = n.do("Tanh", x)
    y = n.round(LATE[name](n, x), 2.0**-4, 21)
    model = n.model((y, 4, "float32"))
    x = np.random.default_rng(seeded(8)).uniform(-5, 5, (200, 4, 6, 5)).astype(np.float32)
    session, _ = session_of(model, optimize=True)
    (want,) = session.run(None, {"x": x})
    got = hwsim.emulate(load(model, tmp_path), x)
    assert got.shape == want.shape and np.array_equal(got, want)


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize(("shape", "axis"), [(MAP, 1), (MAP, 2), (MAP, -1), (LINE, 2), (HEADS, 3)])
def test_tensors_of_unlike_scales_are_joined_along_any_axis(shape, axis, dtype, tmp_path):
    n = Net(dtype, seed=6)
    x = n.round(n.input("x", shape), 0.03, -9)
    other = n.round(n.do("Tanh", x), 0.0083, 3)
    y = n.round(n.do("Concat", x, other, x, axis=axis), 0.0417, 21)
    model = n.model((y, len(shape) + 1, "float32"))
    count = 60_000 // int(np.prod(shape)) // 3 + 1
    x = np.random.default_rng(seeded(9)).uniform(-5, 5, (count, *shape)).astype(np.float32)
    session, _ = session_of(model, optimize=True)
    (want,) = session.run(None, {"x": x})
    graph = load(model, tmp_path)
    got = hwsim.emulate(graph, x)
    assert want.size > 50_000 and np.array_equal(got, want)
    assert unsupported(graph) == ()


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_a_concatenation_of_maps_moves_nothing_along_whichever_axis(axis, tmp_path):
    n = Net()
    x = n.start(*MAP)
    pooled = n.do("MaxPool", x, kernel_shape=[3, 3], pads=[1] * 4)
    y = n.round(n.do("Concat", x, pooled, axis=axis), 0.03)
    kinds = [node.op.kind for node in load(n.model((y, 4, "float32")), tmp_path).nodes]
    assert kinds == ["maxpool", "concat"]


ON_CODES: dict[str, Move] = {
    "slice": sliced([1], [5], [2], [2]),
    "gather": gathered([3, 0], 1),
    "pad": lambda n, x: n.do("Pad", x, constant(n, 0, 0, 1, 1, 0, 0, 0, 2)),
    "pad-a-code": lambda n, x: n.do(
        "Pad", x, constant(n, 0, 1, 0, 0, 0, 0, 0, 2), n.constant("v", np.array(77, n.dtype))
    ),
    "reflect": padded([0, 0, 2, 1, 0, 0, 5, 4], mode="reflect"),
    "tile": lambda n, x: n.do("Tile", x, constant(n, 1, 2, 1, 1)),
    "expand": lambda n, x: n.do("Expand", x, constant(n, 1, 1, 1, 1)),
    "depth-to-space": lambda n, x: n.do("DepthToSpace", x, blocksize=2),
    "nearest": lambda n, x: n.do(
        "Resize", x, "", constant(n, 1, 1, 2, 1.5, dtype=np.float32), mode="nearest"
    ),
    "linear": lambda n, x: n.do(
        "Resize", x, "", constant(n, 1, 1, 2, 4, dtype=np.float32), mode="linear"
    ),
    "linear-half": lambda n, x: n.do(
        "Resize", x, "", constant(n, 1, 1, 0.5, 2, dtype=np.float32), mode="linear"
    ),
    "max-pool": lambda n, x: n.do("MaxPool", x, kernel_shape=[2, 2], dilations=[3, 2]),
}


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("name", ON_CODES)
def test_codes_move_as_they_are(name, dtype, tmp_path):
    """As the quantizer to QLinear operators leaves it: no dequantizer before the node."""
    n = Net(dtype, seed=6)
    scale, zero = n.parameters("q", act(dtype, 0.03))
    codes = n.do("QuantizeLinear", n.input("x", MAP), scale, zero)
    y = n.do("DequantizeLinear", ON_CODES[name](n, codes), scale, zero)
    model = n.model((y, 4, "float32"))
    x = np.random.default_rng(seeded(11)).uniform(-5, 5, (500, *MAP)).astype(np.float32)
    session, _ = session_of(model, optimize=True)
    (want,) = session.run(None, {"x": x})
    got = hwsim.emulate(load(model, tmp_path), x)
    assert got.shape == want.shape and np.array_equal(got, want)


BAD: dict[str, tuple[Move, str]] = {
    "gather-past-the-end": (gathered([0, 4], 1), "whole numbers from -4 to 3, not [0, 4]"),
    "gather-the-batch": (gathered([0], 0), "'axis' must be one of a tensor of rank 4 and not the"),
    "gather-by-an-input": (
        lambda n, x: n.do("Gather", x, n.input("i", (2,), "int64"), axis=1),
        "its indices 'i' must be constant",
    ),
    "slice-the-batch": (sliced([0], [2], [0]), "it must leave the batch as it is, not take 0 to 2"),
    "slice-nothing-left": (sliced([3], [3], [2]), "its result must have from 1 to 67108864"),
    "slice-no-step": (sliced([0], [3], [2], [0]), "its steps not be 0, not axis 2 with step 0"),
    "slice-twice": (
        sliced([0, 0], [3, 2], [2, 2]),
        "its axes must each be given once, not 2 twice",
    ),
    "tile-the-batch": (
        lambda n, x: n.do("Tile", x, constant(n, 2, 1, 1, 1)),
        "it must leave the batch as it is, not repeat it 2 times",
    ),
    "tile-some-axes": (
        lambda n, x: n.do("Tile", x, constant(n, 1, 2)),
        "its repeats must be 4 numbers from 1, not [1, 2]",
    ),
    "expand-what-is-long": (
        lambda n, x: n.do("Expand", x, constant(n, 1, 8, 1, 1)),
        "its input of shape (4, 6, 5) must broadcast to (8, 1, 1)",
    ),
    "blocks-that-do-not-fit": (
        lambda n, x: n.do("DepthToSpace", x, blocksize=3),
        "'blocksize' must be 1 or more and its square divide 4 channels, not 3",
    ),
    "blocks-of-places": (
        lambda n, x: n.do("SpaceToDepth", x, blocksize=2),
        "'blocksize' must be 1 or more and divide 6 and 5, not 2",
    ),
    "reflect-too-far": (
        padded([0, 0, 6, 0, 0, 0, 0, 0], mode="reflect"),
        "in mode reflect it must pad an axis of 6 by 0 to 5, not by 6 and 0",
    ),
    "pad-the-batch": (
        padded([1, 0, 0, 0, 0, 0, 0, 0]),
        "it must leave the batch as it is, not pad it by (1, 0)",
    ),
    "pad-half": (padded([0, 0, 1]), "its pads must be two for each of 4 axes, not [0, 0, 1]"),
    "pad-a-lot": (
        padded([0, 0, 1 << 22, 0, 0, 0, 1 << 22, 0], 1.0),
        "its padded input must have at most 67108864 elements",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_move_is_named(name, tmp_path):
    move, text = BAD[name]
    n = Net()
    y = n.round(move(n, n.start(*MAP)), 0.03)
    port = helper.make_tensor_value_info(y, TensorProto.FLOAT, None)
    graph = helper.make_graph(n.nodes, "g", n.inputs, [port], n.constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with pytest.raises(HwsimError) as error:
        load(model, tmp_path)
    assert text in str(error.value)


SHAPES: dict[str, Move] = {
    "Range": lambda n, x: n.do(
        "Concat",
        constant(n, [-1]),
        n.do("Range", constant(n, 4), constant(n, 5), constant(n, 1)),
        constant(n, [30]),
        axis=0,
    ),
    "ReduceProd": lambda n, x: n.do(
        "Concat", constant(n, [-1, 4]), n.do("ReduceProd", constant(n, [6, 5])), axis=0
    ),
    "Size": lambda n, x: n.do(
        "Concat",
        constant(n, [-1, 30]),
        n.do("Unsqueeze", n.do("Size", constant(n, [1, 2, 3, 4])), constant(n, [0])),
        axis=0,
    ),
    "ScatterND": lambda n, x: n.do(
        "ScatterND", constant(n, [-1, 4, 6]), constant(n, [[2]]), constant(n, [30])
    ),
    "Mod": lambda n, x: n.do("Mod", constant(n, [-1, 14, 70]), constant(n, [10, 10, 40])),
}


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_that_exporters_compute_are_read(name, tmp_path):
    n = Net()
    x = n.start(*MAP)
    target = SHAPES[name](n, x)
    if name == "Mod":
        target = n.do(
            "Where",
            n.do("Greater", target, constant(n, [8, 0, 0])),
            constant(n, [-1, 4, 30]),
            target,
        )
    y = n.round(n.do("Reshape", x, target), 0.0417)
    model = n.model((y, 3, "float32"))
    x = np.random.default_rng(seeded(12)).uniform(-5, 5, (6, *MAP)).astype(np.float32)
    session, _ = session_of(model, optimize=True)
    (want,) = session.run(None, {"x": x})
    got = hwsim.emulate(load(model, tmp_path), x)
    assert got.shape == want.shape and np.array_equal(got, want)


WITHOUT_A_BATCH: dict[str, Move] = {
    "tile-rows": MOVES["tile-rows"][1],
    "slice-whole-batch": MOVES["slice-whole-batch"][1],
    "resize": lambda n, x: n.do(
        "Resize", x, "", constant(n, 1, 1, 2, 2, dtype=np.float32), mode="nearest"
    ),
    "reshape": lambda n, x: n.do("Reshape", x, constant(n, -1, 4, 5, 6)),
}
"""Behind which the runtime knows no more what a free batch is called."""


@pytest.mark.parametrize("name", [*WITHOUT_A_BATCH, "gather-rows", "slice-crop", "pad-edge"])
def test_a_shape_that_is_computed_behind_them_is_known_as_the_runtime_knows_it(name, tmp_path):
    """Else the quantizer before it has two readers and stays int8: the average is in floats."""
    move = WITHOUT_A_BATCH.get(name) or MOVES[name][1]
    n = Net("int8", seed=3)
    y = n.round(n.do("GlobalAveragePool", n.round(move(n, n.start(*MAP)), 0.04)), 0.02)
    count = n.do("Gather", n.do("Shape", y), n.constant("first", np.array(0)), axis=0)
    batch = n.do("Unsqueeze", count, constant(n, [0]))
    target = n.do("Concat", batch, constant(n, [-1]), axis=0)
    model = n.model((n.round(n.do("Reshape", y, target), 0.02), 2, "float32"))
    ran, said, differ = outcome(model, tmp_path, seeded(13))
    assert ran == ([] if name in WITHOUT_A_BATCH else ["QLinearGlobalAveragePool"])
    assert differ == 0 or said
