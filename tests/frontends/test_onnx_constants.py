"""Tensors and constants of every shape that broadcasts: ONNX Runtime's codes, or it is said."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from support.onnx_builder import Q
from support.onnx_nets import Net
from support.onnx_run import run_ort

import hwsim
from hwsim.frontends.shared.builder import RuntimeDifference
from hwsim.ops import ChannelTable, Literal, ScaledAdd, Table

SHAPE = (4, 3, 5)
SHAPES: dict[str, tuple[int, ...]] = {
    "one": (),
    "one with axes": (1, 1, 1, 1),
    "channels": (4, 1, 1),
    "columns": (5,),
    "rows": (3, 1),
    "positions": (3, 5),
    "positions with a batch": (1, 1, 3, 5),
    "channels and rows": (4, 3, 1),
    "all": SHAPE,
    "all with a batch": (1, *SHAPE),
}


def net(op: str, shape: tuple[int, ...], dtype: str, **how: Any) -> onnx.ModelProto:
    """A tensor of all codes, four times over, and a constant, which may be quantized."""
    rng = np.random.default_rng(how.get("seed", 0))
    n = Net(dtype, seed=how.get("seed", 0))
    scale, out = how.get("scales", (0.03, 0.05))
    low = np.iinfo(dtype).min
    zeros = [int(z) + low for z in rng.integers(60, 200, 3)]
    x = n.qdq(n.input("x", SHAPE), Q(dtype, scale, zeros[0]))
    value = rng.uniform(0.3, 2.5, shape) * rng.choice([-1, 1], shape)
    given = n.constant("c", value.astype(np.float32))
    given = n.qdq(given, Q(dtype, 0.021, zeros[1])) if how.get("quantized") else given
    operands = (given, x) if how.get("first") else (x, given)
    return n.model((n.qdq(n.do(op, *operands), Q(dtype, out, zeros[2])), 4, "float32"))


def outcome(made: onnx.ModelProto, place: Path, seed: int) -> tuple[hwsim.Graph, float, str]:
    """The graph, the share of values that are not the runtime's, and what was said."""
    path = place / "model.onnx"
    onnx.save(made, path)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", RuntimeDifference)
        graph = hwsim.load(path)
    x = np.random.default_rng(seed).uniform(-4, 4, (70, *SHAPE)).astype(np.float32)
    (want,) = run_ort(made, {"x": x}).outputs.values()
    wrong = hwsim.emulate(graph, {"x": x}) != want
    texts = [str(w.message) for w in said if issubclass(w.category, RuntimeDifference)]
    return graph, float(np.mean(wrong)), " ".join(texts)


@pytest.mark.filterwarnings("ignore::hwsim.saturation.InputSaturation")
@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("op", ["Add", "Mul"])
def test_codes_of_a_constant_meet_those_of_a_tensor(op, shape, dtype, tmp_path, seed):
    """QLinearAdd and QLinearMul, whichever operand is the constant."""
    for trial in range(4):
        scales = [(0.03, 0.05), (1 / 32, 1 / 64)][trial // 2]
        how = {"quantized": True, "first": trial % 2, "scales": scales, "seed": seed + trial}
        graph, wrong, said = outcome(net(op, shape, dtype, **how), tmp_path, seed)
        assert (wrong, said) == (0, "")
    kinds = {type(node.op) for node in graph.nodes}
    if op == "Add" and dtype == "uint8":
        assert kinds == ({Table} if np.prod(shape) == 1 else {Literal, ScaledAdd})


@pytest.mark.filterwarnings("ignore::hwsim.saturation.InputSaturation")
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "PRelu"])
def test_reals_of_a_constant_meet_a_tensor(op, shape, tmp_path, seed):
    for trial in range(4):
        how = {
            "first": trial % 2 and op not in ("Div", "PRelu"),
            "seed": seed + trial,
            "scales": (0.031, 0.047),
        }
        _, wrong, said = outcome(net(op, shape, "uint8", **how), tmp_path, seed)
        assert wrong == 0 or said
        assert wrong < 1 / 1000
        assert not said or op not in ("Max", "Min", "PRelu")


@pytest.mark.parametrize("shape", [(4, 1, 1), (3, 5), SHAPE])
@pytest.mark.parametrize("then", ["HardSwish", "Relu", "GlobalAveragePool"])
def test_what_follows_a_function_a_channel_is_taken_into_it(then, shape, tmp_path, seed):
    n = Net("uint8", seed=seed)
    slope = n.constant("c", n.rng.uniform(-0.5, 0.5, shape).astype(np.float32))
    bent = n.do("PRelu", n.qdq(n.input("x", SHAPE), Q(n.dtype, 0.03, 101)), slope)
    made = n.model((n.qdq(n.do(then, bent), Q("uint8", 0.017, 87)), 4, "float32"))
    graph, wrong, said = outcome(made, tmp_path, seed)
    if then == "GlobalAveragePool":
        assert wrong < 1 / 1000 and (said or not wrong)
        return
    assert (wrong, said) == (0, "")
    assert sum(isinstance(node.op, ChannelTable) for node in graph.nodes) == 1


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Max", "Min"])
def test_a_function_of_an_unrounded_result_of_two_tensors_is_followed(op, tmp_path, seed):
    n = Net("uint8", seed=seed)
    x, y = (n.qdq(n.input(k, SHAPE), Q(n.dtype, s, 101)) for k, s in (("x", 0.03), ("y", 0.017)))
    out = n.do("Sigmoid", n.do(op, x, y))
    made = n.model((n.qdq(out, Q("uint8", 1 / 256, 3)), 4, "float32"))
    path = tmp_path / "model.onnx"
    onnx.save(made, path)
    graph, rng = hwsim.load(path), np.random.default_rng(seed)
    feeds = {k: rng.uniform(-3, 3, (100, *SHAPE)).astype(np.float32) for k in "xy"}
    (want,) = run_ort(made, feeds).outputs.values()
    assert np.array_equal(hwsim.emulate(graph, feeds), want)


def test_a_constant_over_a_tensor_is_a_table_a_channel(tmp_path, seed):
    n = Net("uint8", seed=seed)
    top = n.constant("c", n.rng.uniform(-0.5, 0.5, (4, 1, 1)).astype(np.float32))
    out = n.do("Tanh", n.do("Div", top, n.qdq(n.input("x", SHAPE), Q(n.dtype, 0.03, 101))))
    made = n.model((n.qdq(out, Q("uint8", 0.01, 87)), 4, "float32"))
    _, wrong, said = outcome(made, tmp_path, seed)
    assert (wrong, said) == (0, "")


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("shape", [(4, 1, 1), (3, 5), SHAPE])
def test_a_constant_mask_keeps_some_elements(shape, kept, tmp_path, seed):
    n = Net("uint8", seed=seed)
    mask = n.constant("m", n.rng.integers(0, 2, shape).astype(bool))
    other = n.constant("c", n.rng.uniform(-2, 2, (4, 1, 1)).astype(np.float32))
    x = n.qdq(n.input("x", SHAPE), Q(n.dtype, 0.03, 101))
    out = n.do("Where", mask, *((x, other) if kept else (other, x)))
    made = n.model((n.qdq(out, Q("uint8", 0.05, 87)), 4, "float32"))
    _, wrong, said = outcome(made, tmp_path, seed)
    assert (wrong, said) == (0, "")


def as_wide_as_a_map(n: Net) -> str:
    """A positional embedding, in codes."""
    given = n.constant("c", n.rng.uniform(-2, 2, SHAPE).astype(np.float32))
    given = n.qdq(given, Q(n.dtype, 0.021, 129))
    return n.do("Add", n.qdq(n.input("x", SHAPE), Q(n.dtype, 0.03, 101)), given)


def bent_by_channel(n: Net) -> str:
    slope = n.constant("c", n.rng.uniform(0, 0.5, (4, 1, 1)).astype(np.float32))
    return n.do("PRelu", n.qdq(n.input("x", SHAPE), Q(n.dtype, 0.03, 101)), slope)


def kept_above_a_mask(n: Net) -> str:
    limit = n.constant("c", n.rng.uniform(-2, 2, (3, 5)).astype(np.float32))
    return n.do("Max", n.qdq(n.input("x", SHAPE), Q(n.dtype, 0.03, 101)), limit)


def gated_in_reals(n: Net) -> str:
    gate = n.do("HardSigmoid", n.qdq(n.input("y", (4, 1, 1)), Q(n.dtype, 0.03, 99)))
    return n.do("Mul", n.qdq(n.input("x", SHAPE), Q(n.dtype, 0.03, 101)), gate)


@pytest.mark.needs("amaranth")
@pytest.mark.parametrize(
    "build", [as_wide_as_a_map, bent_by_channel, kept_above_a_mask, gated_in_reals]
)
def test_constants_and_tables_are_the_same_in_hardware(build, tmp_path, seed):
    from support import rtl_designs

    from hwsim.emulator.run import Emulator
    from rtl.plan.search import plan_for_cycles

    n = Net("uint8", seed=seed)
    path = tmp_path / "model.onnx"
    onnx.save(n.model((n.qdq(build(n), Q("uint8", 0.05, 87)), 4, "float32")), path)
    graph = hwsim.load(path)
    rng, kinds = np.random.default_rng(seed), graph.types()
    codes = {
        port.name: rng.integers(0, 256, (3, *kinds[port.tensor].shape)) for port in graph.inputs
    }
    edges = {port.tensor: codes[port.name] for port in graph.inputs}
    want = Emulator(graph).run(edges)[graph.outputs[0].tensor]
    for cycles in (1 << 40, 20):
        plan = plan_for_cycles(graph, cycles)
        got, _ = rtl_designs.simulate(graph, plan, codes, seed=3, stall=0.2)
        assert np.array_equal(np.array(next(iter(got.values()))), want)
