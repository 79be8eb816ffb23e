"""QONNX's FloatQuant: the executor's small floats, value for value, as whole numbers."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from support.qonnx_nets import Net, differences, off_grid, on_grid

import hwsim
from hwsim.float_steps import MinifloatStep
from hwsim.frontends.onnx import qonnx_float
from hwsim.frontends.shared.builder import RuntimeDifference
from hwsim.ops import Conv, Table, Thresholds
from rtl.layers.table import unsupported

pytest.importorskip("qonnx")

FORMATS = ((2, 1), (3, 1), (2, 3), (3, 2), (4, 3))
NAMES = [f"E{e}M{m}" for e, m in FORMATS]


def loaded(model: onnx.ModelProto) -> hwsim.Graph:
    """Sums that float32 may round are announced; of so few values none meets a threshold."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeDifference)
        return hwsim.load(model)


def spread(n: Net, kind: str, channels: int, axes: int) -> Any:
    """A scale of 1, any one, or one a channel."""
    if kind == "ones":
        return 1.0
    shape = (1, channels, *(1,) * axes) if kind == "channels" else ()
    return n.rng.uniform(0.02, 0.3, shape)


def residual(n: Net, floats: tuple[int, int], scales: str) -> onnx.ModelProto:
    """An input, convolutions, a norm, a residual sum, a max pool and an average, all in floats."""
    kind = "ones" if scales == "ones" else "any"
    n.shape = (3, 6, 6)
    x = n.floats("x", *floats, spread(n, kind, 3, 2))

    def conv(x: str, inputs: int, outputs: int) -> str:
        values = n.constant(n.rng.normal(0, 0.6, (outputs, inputs, 3, 3)))
        alike = spread(n, scales, outputs, 2)
        alike = np.moveaxis(alike, 1, 0) if np.ndim(alike) else alike
        return n.do("Conv", [x, n.floats(values, *floats, alike)], pads=[1] * 4)

    x = n.do("Relu", [n.norm(conv(x, 3, 4), 4, spread=2.0)])
    x = n.floats(x, *floats, spread(n, kind, 4, 2))
    y = n.floats(n.norm(conv(x, 4, 4), 4, spread=2.0), *floats, spread(n, kind, 4, 2))
    x = n.floats(n.do("Relu", [n.do("Add", [x, y])]), *floats, spread(n, kind, 4, 2))
    x = n.do("MaxPool", [x], kernel_shape=[2, 2], strides=[2, 2])
    x = n.floats(conv(x, 4, 5), *floats, spread(n, kind, 5, 2))
    x = n.floats(n.do("AveragePool", [x], kernel_shape=[3, 3]), *floats, spread(n, scales, 5, 2))
    return n.model(x, 5, 1, 1)


@pytest.mark.parametrize("scales", ["ones", "any", "channels"])
@pytest.mark.parametrize("floats", FORMATS, ids=NAMES)
def test_a_network_of_small_floats_gives_the_executors(
    floats: tuple[int, int], scales: str, seed: int
) -> None:
    n = Net(seed)
    model = residual(n, floats, scales)
    graph = loaded(model)
    size = 0.5 if scales == "ones" else 0.05
    assert differences(graph, model, size * off_grid(n.shape, seed, batch=6)) == 0


@pytest.mark.parametrize("floats", FORMATS[:2], ids=NAMES[:2])
def test_few_exponent_bits_keep_sums_exact_and_nothing_is_announced(
    floats: tuple[int, int], seed: int
) -> None:
    n = Net(seed)
    model = residual(n, floats, "ones")
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeDifference)
        graph = hwsim.load(model)
    assert differences(graph, model, on_grid(n.shape, seed, step=2.0**-4)) == 0
    assert any(isinstance(step, MinifloatStep) for step in graph.inputs[0].steps)
    kinds = [type(node.op) for node in graph.nodes]
    assert Thresholds in kinds and Table in kinds
    assert unsupported(graph) == ()


def alone(n: Net, **rule: Any) -> onnx.ModelProto:
    """Codes of an input as floats of three exponent bits."""
    x = n.quant(n.do("Mul", [n.start(40, bits=12), n.constant(1.5)]), 2.0**-6, 12)
    return n.model(n.floats(x, 3, 1, **rule), 40)


@pytest.mark.parametrize("mode", ["ROUND", "half_even", "HALF_UP", "HALF_DOWN"])
def test_ties_subnormals_and_saturation_are_the_executors(mode: str, seed: int) -> None:
    for rule in ({}, {"scale": 0.75}, {"most": 12.0}, {"bias": 5.0}):
        n = Net(seed)
        model = alone(n, mode=mode, **rule)
        assert differences(loaded(model), model, 8 * on_grid((40,), seed, batch=20)) == 0


def test_a_rule_without_subnormals_would_be_caught(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = qonnx_float.minifloat

    def wrong(xp: Any, x: Any, mantissa: int, lowest: int, highest: float, mode: Any) -> Any:
        return right(xp, x, mantissa, lowest - 1, highest, mode)

    model = alone(Net(seed))
    assert differences(loaded(model), model, on_grid((40,), seed)) == 0
    monkeypatch.setattr(qonnx_float, "minifloat", wrong)
    assert differences(loaded(model), model, on_grid((40,), seed)) > 0


def test_weights_are_whole_numbers_as_narrow_as_they_can_be(seed: int) -> None:
    n = Net(seed)
    values = np.array([[0.25, -0.5], [0.75, 1.5], [6.0, 0.0]], np.float32)
    w = n.floats(n.constant(values.T[:, :, None]), 4, 3)
    n.shape = (3, 5)
    x = n.quant("x", 2.0**-5, 8)
    graph = loaded(n.model(n.do("Conv", [x, w], kernel_shape=[1]), 2, 5))
    (op,) = [node.op for node in graph.nodes if isinstance(node.op, Conv)]
    assert op.weight_format.frac_bits == 2
    assert np.array_equal(op.weights.reshape(3, 2), values * 4)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"saturation": 0}, r"must saturate \(saturation=1\), not become infinities or NaN"),
        ({"mode": "FLOOR"}, "must be ROUND, HALF_EVEN, HALF_UP or HALF_DOWN, not 'FLOOR'"),
        ({"most": 23.0}, "largest value must be one of its floats, not 23"),
        ({"bias": 2.5}, "exponent bias must be a whole number, not 2.5"),
        ({"scale": 0.0}, "its scale must be finite numbers above 0"),
    ],
)
def test_floats_that_are_no_numbers_of_one_step_are_refused(
    rule: dict[str, Any], said: str
) -> None:
    with pytest.raises(hwsim.HwsimError, match=said):
        loaded(alone(Net(0), **rule))


def wide_input(n: Net) -> str:
    n.shape = (4,)
    return n.floats("x", 5, 2)


def many(n: Net) -> str:
    return n.floats(n.start(4), 5, 11)


def channels(n: Net) -> str:
    n.shape = (4,)
    return n.floats("x", 3, 2, [[1.0, 2.0, 3.0, 4.0]])


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (wide_input, "whole numbers of 32 bits of their smallest step, not of 34: fewer exponent"),
        (many, "must have at most 15 bits for exponent and mantissa"),
        (channels, "an input of the graph must have one scale for all channels"),
    ],
)
def test_floats_past_the_bounds_are_refused(build: Callable[[Net], str], said: str) -> None:
    n = Net(0)
    with pytest.raises(hwsim.HwsimError, match=said):
        loaded(n.model(build(n), 4))
