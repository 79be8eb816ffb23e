"""Windows that are dilated or padded by more than their kernel: ONNX Runtime's codes."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from support.onnx_builder import Q
from support.onnx_compare import load
from support.onnx_kernels import outcome
from support.onnx_nets import Net, feed, typed
from support.onnx_run import run_ort, session_of
from support.seeds import seeded

import hwsim
from hwsim.errors import HwsimError
from rtl.layers.table import unsupported

pytestmark = pytest.mark.filterwarnings("ignore::hwsim.saturation.InputSaturation")

DILATED: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "plain": ((4, 9, 8), {"kernel_shape": [2, 2], "dilations": [2, 2]}),
    "uneven": ((3, 9, 8), {"kernel_shape": [3, 2], "dilations": [2, 3], "strides": [1, 2]}),
    "padded": (
        (3, 7, 8),
        {"kernel_shape": [3, 3], "dilations": [2, 2], "pads": [2, 1, 2, 2], "strides": [2, 1]},
    ),
    "ceiled": ((2, 8, 9), {"kernel_shape": [2, 3], "dilations": [3, 2], "ceil_mode": 1}),
    "one-axis": ((2, 8, 9), {"kernel_shape": [2, 3], "dilations": [1, 3]}),
    "line": ((3, 17), {"kernel_shape": [3], "dilations": [4], "strides": [2], "pads": [2, 2]}),
}


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("other", [False, True])
@pytest.mark.parametrize("name", DILATED)
def test_dilated_max_pools_are_the_runtimes(name, other, dtype, tmp_path):
    shape, attributes = DILATED[name]
    n = Net(dtype)
    y = n.round(n.do("MaxPool", n.start(*shape), **attributes), 0.0417 if other else 0.03)
    model = n.model((y, len(shape) + 1, "float32"))
    x = np.random.default_rng(seeded(5)).uniform(-5, 5, (100, *shape)).astype(np.float32)
    session, _ = session_of(model, optimize=True)
    (want,) = session.run(None, {"x": x})
    graph = load(model, tmp_path)
    got = hwsim.emulate(graph, x)
    assert got.shape == want.shape and np.array_equal(got, want)
    assert unsupported(graph) == ()


def test_a_dilated_max_pool_stands_behind_a_sum_and_on_codes(tmp_path, seed):
    n = Net()
    x = n.do("Conv", n.start(3, 9, 8), n.kernel((4, 3, 3, 3), 0, 4))
    pooled = n.do("MaxPool", n.do("Relu", x), kernel_shape=[2, 2], dilations=[2, 3])
    model = n.model((n.round(pooled, 0.3, -128), 4, "float32"))
    assert outcome(model, tmp_path, seed) == (["QLinearConv"], "", 0)


@pytest.mark.parametrize("pads", [[3, 3, 3, 3], [5, 0, 0, 4], [0, 1, 2, 0]])
@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_a_convolution_may_be_padded_by_more_than_its_kernel(pads, dtype, tmp_path, seed):
    n = Net(dtype)
    w = n.kernel((4, 3, 2, 2), 0, 4)
    y = n.round(n.do("Conv", n.start(3, 5, 6), w, pads=pads, strides=[2, 1]), 0.5)
    model = n.model((y, 4, "float32"))
    assert outcome(model, tmp_path, seed) == (["QLinearConv"], "", 0)
    kinds = [node.op.kind for node in load(model, tmp_path).nodes]
    assert ("pad" in kinds) == (max(pads) > 1)


def test_a_window_that_meets_nothing_is_refused(tmp_path):
    n = Net()
    y = n.do("MaxPool", n.start(2, 3, 9), kernel_shape=[2, 1], dilations=[5, 1], pads=[4, 0, 4, 0])
    with pytest.raises(HwsimError, match="each of its windows must meet some place of the map"):
        load(n.model((n.round(y, 0.03), 4, "float32")), tmp_path)


@pytest.mark.parametrize("include", [0, 1])
@pytest.mark.parametrize("case", DILATED)
def test_a_dilated_average_is_that_of_what_its_windows_meet(case, include, tmp_path, seed):
    """To 16 bits: between 8-bit quantizers the runtime itself cannot make a kernel of it."""
    shape, attributes = DILATED[case]
    n = Net(seed=seed)
    x = n.qdq(n.input("x", shape), Q("uint8", 0.03125, 119))
    y = n.do("AveragePool", x, count_include_pad=include, **attributes)
    model = typed(n, (n.qdq(y, Q("uint16", 2.0**-12, 30_000)), len(shape) + 1, "float32"))
    with warnings.catch_warnings(record=True):  # ties, of windows of 3 and 6
        warnings.simplefilter("always")
        graph = load(model, tmp_path)
    data = feed(model, seed)
    (want,) = run_ort(model, data).outputs.values()
    got = hwsim.emulate(graph, data)
    assert got.shape == want.shape
    assert (np.abs(got - want) * 2.0**12 > 0.5).mean() <= (0 if case == "plain" else 1e-3)
    assert unsupported(graph) == ()
