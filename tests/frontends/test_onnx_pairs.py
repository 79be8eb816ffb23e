"""Sums, differences and products of two tensors: ONNX Runtime's codes on all pairs."""

from __future__ import annotations

import warnings
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
from hwsim.emulator.run import Emulator
from hwsim.errors import HwsimError
from hwsim.frontends.shared.builder import RuntimeDifference
from hwsim.ops import Mul, PairTable, Requantize, ScaledAdd

ELEMENTS = {"uint8": TensorProto.UINT8, "int8": TensorProto.INT8}
ALONE: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {"alike": ((65536,), (65536,))}
SHAPES = ALONE | {
    "first by channel": ((256, 1, 1), (256, 256, 1)),
    "second by channel": ((256, 256, 1), (256, 1, 1)),
    "second by row": ((256, 256), (1, 256)),
}


def model(
    op: str,
    dtypes: tuple[str, str, str],
    shapes: tuple[tuple[int, ...], tuple[int, ...]],
    scales: Array,
    zeros: Array,
    *,
    codes: bool = False,
    then: str | None = None,
) -> onnx.ModelProto:
    """One operator of two tensors of codes, between (De)QuantizeLinear or on `codes`."""
    constants = []
    for name, scale, zero, dtype in zip("aby", scales, zeros, dtypes, strict=True):
        constants.append(numpy_helper.from_array(np.float32(scale), f"{name}s"))
        constants.append(numpy_helper.from_array(np.array(zero, dtype), f"{name}z"))
    given = [[name, f"{name}s", f"{name}z"] for name in "ab"]
    if codes:
        inputs = [*given[0], *given[1], "ys", "yz"]
        nodes = [helper.make_node(f"QLinear{op}", inputs, ["y"], name="op", domain=MICROSOFT)]
    else:
        nodes = [helper.make_node("DequantizeLinear", g, [f"{g[0]}r"]) for g in given]
        nodes.append(helper.make_node(op, ["ar", "br"], ["r"], name="op"))
        if then is not None:
            nodes.append(helper.make_node(then, ["r"], ["t"]))
        end = "r" if then is None else "t"
        nodes.append(helper.make_node("QuantizeLinear", [end, "ys", "yz"], ["y"]))
    ports = [
        helper.make_tensor_value_info(name, ELEMENTS[dtype], ("n", *shape))
        for name, dtype, shape in zip("ab", dtypes, shapes, strict=False)
    ]
    shown = helper.make_tensor_value_info("y", ELEMENTS[dtypes[2]], None)
    graph = helper.make_graph(nodes, "g", ports, [shown], constants)
    sets = [helper.make_opsetid("", 17), helper.make_opsetid(MICROSOFT, 1)]
    return helper.make_model(graph, opset_imports=sets, ir_version=8)


def all_pairs(
    dtypes: tuple[str, str, str], shapes: tuple[tuple[int, ...], tuple[int, ...]]
) -> dict[str, Array]:
    """Codes of both tensors with which every pair meets."""
    codes = [np.arange(256, dtype=np.uint8).view(dtype) for dtype in dtypes[:2]]
    a, b = np.meshgrid(*codes, indexing="ij")
    if shapes[0][0] == shapes[1][0] == 256:  # by channel: the other one runs through each
        a, b = a.T, b
    large = zip((a, b), codes, shapes, strict=True)
    found = [x if np.prod(shape) == x.size else few for x, few, shape in large]
    return {k: x.reshape(1, *shape) for k, x, shape in zip("ab", found, shapes, strict=True)}


def outcome(made: onnx.ModelProto, feeds: dict[str, Array], place: Path) -> tuple[Any, int, str]:
    """The graph, how many of its codes are not the runtime's, and what was said."""
    path = place / "model.onnx"
    onnx.save(made, path)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        graph = hwsim.load(path)
    want = run_ort(made, feeds).outputs["y"].astype(int)
    got = hwsim.emulate(graph, feeds, codes=True)
    texts = [str(w.message) for w in said if issubclass(w.category, RuntimeDifference)]
    return graph, int(np.count_nonzero(got != want)), " ".join(texts)


def drawn(rng: np.random.Generator, dtypes: tuple[str, str, str], trial: int) -> tuple[Any, Any]:
    """Scales as drawn, or such that ties abound; zero points of each type."""
    sa, sb, sy = (float(np.float32(s)) for s in rng.uniform(0.01, 0.2, 3))
    scales = [(sa, sb, sy), (sa, sa, sy), (0.5, 0.25, 0.125), (sa, 0.25, sa)][trial % 4]
    zeros = [int(rng.integers(np.iinfo(d).min, np.iinfo(d).max + 1)) for d in dtypes]
    return scales, zeros


def covers(feeds: dict[str, Array]) -> bool:
    a, b = np.broadcast_arrays(*(feeds[name].astype(int) for name in "ab"))
    return len(np.unique(a.ravel() * 1000 + b.ravel())) == 65536


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("shapes", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("op", ["Add", "Sub", "Mul"])
def test_all_65536_pairs_agree_with_the_runtime_broadcast_or_not(op, shapes, dtype, tmp_path, rng):
    dtypes = (dtype,) * 3
    feeds = all_pairs(dtypes, shapes)
    assert covers(feeds)
    for trial in range(8):
        scales, zeros = drawn(rng, dtypes, trial)
        graph, wrong, said = outcome(model(op, dtypes, shapes, scales, zeros), feeds, tmp_path)
        assert (wrong, said) == (0, "")
        wanted = Mul if op == "Mul" else ScaledAdd
        assert sum(isinstance(node.op, wanted) for node in graph.nodes) == 1


@pytest.mark.parametrize("shapes", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("op", ["Add", "Mul"])
def test_operators_on_codes_agree_on_all_pairs(op, shapes, tmp_path, rng):
    dtypes = ("uint8",) * 3
    feeds = all_pairs(dtypes, shapes)
    for trial in range(4):
        scales, zeros = drawn(rng, dtypes, trial)
        made = model(op, dtypes, shapes, scales, zeros, codes=True)
        assert outcome(made, feeds, tmp_path)[1:] == (0, "")


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("shapes", SHAPES.values(), ids=SHAPES)
def test_quotients_of_all_65536_pairs_are_a_table_of_them(shapes, dtype, tmp_path, rng):
    """What is divided by 0 saturates, and 0 / 0 gives the lowest code, as the runtime has it."""
    dtypes = (dtype,) * 3
    for trial in range(6):
        scales, zeros = drawn(rng, dtypes, trial)
        made = model("Div", dtypes, shapes, scales, zeros)
        graph, wrong, said = outcome(made, all_pairs(dtypes, shapes), tmp_path)
        assert (wrong, said) == (0, "")
        assert [type(node.op) for node in graph.nodes] == [PairTable]


def test_powers_of_all_pairs_differ_by_little_and_never_in_silence(tmp_path, rng):
    dtypes = ("uint8",) * 3
    for trial in range(4):
        scales, _ = drawn(rng, dtypes, trial)
        made = model("Pow", dtypes, ALONE["alike"], scales, (0, 128, 3))
        _, wrong, said = outcome(made, all_pairs(dtypes, ALONE["alike"]), tmp_path)
        assert wrong <= 4
        assert said or not wrong


def test_a_quotient_of_wide_codes_is_refused_in_a_sentence(tmp_path):
    made = model("Div", ("uint8",) * 3, ((3,), (3,)), (1, 1, 1), (0, 0, 0))
    for constant in made.graph.initializer:
        if constant.name == "az":
            constant.CopyFrom(numpy_helper.from_array(np.array(0, "uint16"), "az"))
    made.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT16
    path = tmp_path / "model.onnx"
    onnx.save(made, path)
    with pytest.raises(HwsimError, match="must be constant, or both of at most 8 bits"):
        hwsim.load(path)


UNLIKE = [("uint8", "int8", "uint8"), ("int8", "int8", "uint8"), ("int8", "uint8", "int8")]


@pytest.mark.parametrize("dtypes", UNLIKE, ids="-".join)
@pytest.mark.parametrize("op", ["Add", "Sub", "Mul"])
def test_unlike_types_are_computed_in_reals_and_what_differs_is_said(op, dtypes, tmp_path, rng):
    """No integer kernel takes them: sums are followed, products of reals are rounded once more."""
    shapes = ALONE["alike"]
    for trial in range(8):
        scales, zeros = drawn(rng, dtypes, trial)
        made = model(op, dtypes, shapes, scales, zeros)
        _, wrong, said = outcome(made, all_pairs(dtypes, shapes), tmp_path)
        assert (wrong > 0) == bool(said) and wrong < 700
        assert op == "Mul" or not wrong


@pytest.mark.parametrize("op", ["Sub", "Mul"])
def test_a_relu_behind_a_pair_is_followed(op, tmp_path, rng):
    dtypes, shapes = ("uint8",) * 3, ALONE["alike"]
    for trial in range(4):
        scales, zeros = drawn(rng, dtypes, trial)
        made = model(op, dtypes, shapes, scales, zeros, then="Relu")
        _, wrong, said = outcome(made, all_pairs(dtypes, shapes), tmp_path)
        assert (wrong > 0) == bool(said)


def test_another_rounding_of_the_product_would_be_seen(tmp_path, rng):
    """The mutant: a zero point that is added after the rounding."""
    from dataclasses import replace

    from hwsim.ops import Scheme

    dtypes, shapes = ("uint8",) * 3, ALONE["alike"]
    feeds, caught = all_pairs(dtypes, shapes), 0
    for _ in range(6):
        zeros = [3, 200, 101]
        made = model("Mul", dtypes, shapes, (0.5, 0.25, 0.25), zeros)
        graph, wrong, _ = outcome(made, feeds, tmp_path)
        assert wrong == 0
        node = next(n for n in graph.nodes if isinstance(n.op, Requantize))
        late = graph.with_op(node.name, replace(node.op, scheme=Scheme.F32_RNE_OUT))
        mutant = hwsim.emulate(late, feeds, codes=True)
        caught += int((mutant != hwsim.emulate(graph, feeds, codes=True)).sum())
    assert caught > 0


@pytest.mark.parametrize(
    ("op", "shapes", "text"),
    [
        ("Mul", ((3, 4), (4,)), "its inputs must have shapes that broadcast, not (3, 4) and (4,)"),
        ("Sub", ((3,), (4,)), "its inputs must have shapes that broadcast, not (3,) and (4,)"),
    ],
)
def test_shapes_that_do_not_broadcast_are_refused(op, shapes, text, tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(model(op, ("uint8",) * 3, shapes, (1, 1, 1), (0, 0, 0)), path)
    with pytest.raises(HwsimError, match="must have shapes that broadcast") as error:
        hwsim.load(path)
    assert str(error.value).endswith(text)


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul"])
def test_a_row_and_the_same_row_as_a_column_make_a_table(op, tmp_path, seed):
    """Their codes lie alike, and yet one is repeated by rows and the other by columns."""
    net = Net("uint8")
    x = net.start(1, 5)
    turned = net.do("Transpose", x, perm=[0, 2, 1])
    made = net.model((net.round(net.do(op, turned, x), 0.06), 3, "float32"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = load(made, tmp_path)
        assert_same_arrays(graph, made, net_feeds(made, seed))


@pytest.mark.needs("amaranth")
def test_maps_are_gated_by_channel_in_hardware_too(tmp_path, rng):
    """Squeeze and excitation: (channels, height, width) times (channels, 1, 1)."""
    from support import rtl_designs

    from rtl.plan.search import plan_for_cycles

    dtypes, shapes = ("uint8",) * 3, ((4, 3, 5), (4, 1, 1))
    scales, zeros = (0.1, 0.004, 0.05), (120, 0, 110)
    feeds = {
        name: rng.integers(0, 256, (2, *shape)).astype(np.uint8)
        for name, shape in zip("ab", shapes, strict=True)
    }
    graph, wrong, _ = outcome(model("Mul", dtypes, shapes, scales, zeros), feeds, tmp_path)
    assert wrong == 0 and [type(n.op) for n in graph.nodes] == [Mul, Requantize]
    emulator = Emulator(graph)
    edges = emulator.encode(feeds, codes=True)
    codes = {port.name: edges[port.tensor] for port in graph.inputs}
    want = emulator.run(edges)[graph.outputs[0].tensor]
    for cycles in (1 << 40, 1):
        plan = plan_for_cycles(graph, cycles)
        got, _ = rtl_designs.simulate(graph, plan, codes, seed=3, stall=0.2)
        assert np.array_equal(got["y"], want)
