"""QONNX models whose weights a tool has quantized: plain floats that are whole numbers."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import onnx
import pytest
from support.qonnx_nets import Array, Net, differences, off_grid

import hwsim
from hwsim.frontends.shared.builder import RuntimeDifference
from hwsim.frontends.shared.whole_numbers import in_steps, whole_numbers
from hwsim.ops import Conv, Dense

pytest.importorskip("qonnx")

F32 = np.float32


def of_kind(kind: str, rng: np.random.Generator, shape: tuple[int, ...], axis: int) -> Array:
    """Floats that a quantizer gave, with scales of one kind."""
    codes = rng.integers(-7, 8, shape).astype(F32)
    along = [1] * len(shape)
    along[axis] = shape[axis]
    scale: Any = {
        "whole": F32(1),
        "power": F32(2.0**-5),
        "any": F32(0.0371),
        "channels": rng.uniform(0.01, 0.2, along).astype(F32),
        "powers": (2.0 ** rng.integers(-9, -1, along)).astype(F32),
    }.get(kind, F32(1))
    if kind == "signs":
        return np.where(codes < 0, F32(-1), F32(1))
    return codes * scale


KINDS = ("signs", "whole", "power", "any", "channels", "powers")


def network(n: Net, kind: str, layer: str) -> onnx.ModelProto:
    rng = n.rng
    if layer == "Conv":
        x = n.start(3, 6, 6)
        w = n.constant(of_kind(kind, rng, (5, 3, 3, 3), 0))
        x = n.quant(n.norm(n.do("Conv", [x, w]), 5), 2.0**-3, 5)
        return n.model(x, 5, 4, 4)
    x = n.start(24)
    if layer == "MatMul":
        x = n.do("MatMul", [x, n.constant(of_kind(kind, rng, (24, 7), 1))])
    else:
        w = n.constant(of_kind(kind, rng, (7, 24), 0))
        x = n.do("Gemm", [x, w, n.constant(rng.normal(0, 1, 7))], transB=1)
    return n.model(n.quant(n.norm(x, 7), 2.0**-3, 5), 7)


@pytest.mark.parametrize("layer", ["Conv", "MatMul", "Gemm"])
@pytest.mark.parametrize("kind", KINDS)
def test_folded_weights_are_codes_again_and_give_the_executors_values(
    kind: str, layer: str, seed: int
) -> None:
    n = Net(seed)
    model = network(n, kind, layer)
    with warnings.catch_warnings():
        exact = kind in ("signs", "whole", "power", "powers")
        warnings.simplefilter("error" if exact else "ignore", RuntimeDifference)
        graph = hwsim.load(model)
    assert differences(graph, model, off_grid(n.shape, seed)) == 0
    (op,) = [node.op for node in graph.nodes if isinstance(node.op, Conv | Dense)]
    assert op.weight_format.width <= 4


def test_floats_of_no_step_are_refused(seed: int) -> None:
    n = Net(seed)
    x = n.do("MatMul", [n.start(8), n.constant(n.rng.normal(0, 1, (8, 4)))])
    with pytest.raises(hwsim.HwsimError, match=r"must be quantized .* not plain floats"):
        hwsim.load(n.model(n.quant(x, 0.5, 4), 4))


def test_a_step_is_found_whatever_the_smallest_number(seed: int) -> None:
    """4,000 draws: products in float32 of whole numbers and a float32."""
    rng = np.random.default_rng(seed)
    for _ in range(4000):
        most = int(rng.integers(1, 200))
        codes = rng.integers(-most, most + 1, int(rng.integers(1, 30)))
        step = F32(rng.uniform(0.001, 5.0))
        values = codes.astype(F32) * step
        found = in_steps(values)
        if np.abs(codes)[codes != 0].min(initial=1000) in range(128, 1000):
            continue
        assert found is not None
        assert np.array_equal(found[0].astype(F32) * found[1], values)
        assert np.abs(found[0]).max() <= np.abs(codes).max()


def test_powers_of_two_hold_floats_as_narrowly_as_they_can() -> None:
    found = whole_numbers(np.array([0.75, -6.0, 0.0], F32))
    assert found is not None
    assert (found[0].tolist(), found[1]) == ([3, -24, 0], -2)
    assert whole_numbers(np.array([1e30, 1e-30], F32)) is None
    assert whole_numbers(np.zeros(3, F32)) is not None
