"""What gradients see of an operator is the operator, but for its rounding."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from support.cases import CASES

from hwsim.compress.training.through import smooth_of
from hwsim.emulator.run import emulate
from hwsim.fixed import Format
from hwsim.ops import (
    ChosenThresholds,
    Float32,
    PairTable,
    Quotient,
    Reduce,
    Rsqrt,
    Share,
    TensorType,
    Thresholds,
)
from hwsim.ops.floats import BITS

pytestmark = pytest.mark.needs("torch", "array_api_compat")
torch = pytest.importorskip("torch")
RATIOS = [case for case in CASES if isinstance(case.op, Quotient | Rsqrt | Share)]
SLOPES = [
    case
    for case in CASES
    if isinstance(case.op, ChosenThresholds | PairTable)
    or (isinstance(case.op, Reduce) and isinstance(case.op.accumulator, Float32))
]


def smooth(case, seed):
    """Codes of a case's edges by the emulator, its stand-in's reals, and tensors with gradients."""
    graph, given = case.graph(), case.inputs(8, seed)
    (node,) = graph.nodes
    codes = case.by_name(emulate(graph, given, codes=True))[graph.outputs[0].name]
    kinds = [*graph.input_types(node), *graph.output_types(node)]
    arrays = given if isinstance(given, dict) else {graph.inputs[0].name: given}
    by_edge = {port.tensor: arrays[port.name] for port in graph.inputs}
    xs = [
        torch.tensor(np.asarray(by_edge[edge]), dtype=torch.float64, requires_grad=True)
        for edge in node.inputs
    ]
    function = smooth_of(node.op)
    assert function is not None
    return np.asarray(codes), function(node.op, kinds, xs, {}), xs


@pytest.mark.parametrize("case", RATIOS, ids=lambda case: case.id)
def test_a_ratios_stand_in_is_within_a_rounding_of_its_codes(case, seed):
    codes, found, _ = smooth(case, seed)
    reals = found.detach().numpy()
    assert reals.shape == codes.shape
    assert (np.abs(reals - codes) <= np.maximum(1.0, np.abs(reals) * 2.0**-20)).all()


@pytest.mark.parametrize("case", SLOPES, ids=lambda case: case.id)
def test_a_stand_in_has_a_gradient_for_what_the_codes_depend_on(case, seed):
    codes, found, xs = smooth(case, seed)
    assert found.shape == codes.shape
    found.sum().backward()
    reached = [bool(x.grad.any()) for x in xs if x.grad is not None]
    assert any(reached) and all(torch.isfinite(x.grad).all() for x in xs if x.grad is not None)


def test_the_gradient_of_a_float32_sum_is_that_of_its_numbers(rng):
    case = next(case for case in SLOPES if isinstance(case.op, Reduce))
    op = dataclasses.replace(case.op, axes=(0,))
    reals = rng.uniform(0.5, 4.0, (5, 7)).astype(np.float32)
    x = torch.tensor(reals.view(np.int32), dtype=torch.float64, requires_grad=True)
    kind = TensorType((7,), BITS)
    found = smooth_of(op)(op, [kind, kind], [x], {})
    sums = reals.astype(np.float64).sum(1)
    assert np.array_equal(found.detach().numpy()[:, 0], sums.astype(np.float32).view(np.int32))
    found.sum().backward()
    ulps = np.spacing(reals) / np.spacing(sums.astype(np.float32))[:, None]
    assert np.array_equal(x.grad.numpy(), ulps)


def slope_at(op: Thresholds, codes: np.ndarray) -> np.ndarray:
    """The gradient of what thresholds give, at codes (batch, channels)."""
    x = torch.tensor(codes, dtype=torch.float64, requires_grad=True)
    kind = TensorType(codes.shape[1:], Format.int(16))
    reached = (codes[..., None] >= op.values).sum(axis=-1)
    live = {"codes": torch.tensor(op.base + op.step * reached)}
    smooth_of(op)(op, [kind, kind], [x], live).sum().backward()
    return np.asarray(x.grad)


def thresholds(*rows: list[int]) -> Thresholds:
    """Thresholds from 0 up, a row a channel."""
    values, size = np.array(rows), len(rows)
    return Thresholds(
        values=values, base=np.zeros(size, int), step=np.ones(size, int), out=Format.int(9)
    )


def test_thresholds_have_the_slope_of_where_a_code_is_in_each_channel():
    even = thresholds([0, 10, 20, 30])
    codes = np.array([[-6], [-4], [5], [29], [34], [36]])
    assert slope_at(even, codes)[:, 0].tolist() == [0, 0.1, 0.1, 0.1, 0.1, 0]
    steep = thresholds([0, 2, 4, 1004, 2004, 3004], [-50, -40, -30, -20, -10, 0])
    found = slope_at(steep, np.array([[3, -55], [1500, -5], [2900, 4], [4000, 100]]))
    assert found.tolist() == [[0.5, 0.1], [0.001, 0.1], [0.001, 0.1], [0, 0]]


def test_a_sign_has_a_gradient_around_its_threshold_as_wide_as_its_codes_are():
    found = slope_at(thresholds([10]), np.array([[0], [9], [14], [35]]))[:, 0]
    assert found[:3].tolist() == [0.05, 0.05, 0.05] and found[3] == 0
