"""Constants that a model computes itself: masks, products, reductions, as the runtime has them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from support.onnx_compare import assert_same_arrays, load
from support.onnx_nets import Net, feed, typed

import hwsim
from hwsim.frontends.shared.builder import RuntimeDifference

pytestmark = pytest.mark.filterwarnings("ignore::hwsim.saturation.InputSaturation")
Build = Callable[[Net], str]


def real(n: Net, shape: tuple[int, ...]) -> str:
    """Few bits each, so that all sums and products are exact."""
    return n.constant(n.name("c"), (n.rng.integers(-8, 9, shape) / 4).astype(np.float32))


BUILDS: dict[str, Build] = {
    "triangle": lambda n: n.do("Trilu", real(n, (5, 5)), n.constant("k", np.int64(1)), upper=0),
    "identity": lambda n: n.do("EyeLike", real(n, (5, 5)), k=-1),
    "running sum": lambda n: n.do(
        "CumSum", real(n, (5, 5)), n.constant("a", np.int64(1)), exclusive=1, reverse=1
    ),
    "product": lambda n: n.do("MatMul", real(n, (2, 5, 3)), real(n, (3, 5))),
    "mean": lambda n: n.do("ReduceMean", real(n, (4, 5, 8)), n.ints(2), keepdims=0),
    "sum": lambda n: n.do("ReduceSum", real(n, (3, 5, 5)), n.ints(0), keepdims=0),
    "largest": lambda n: n.do("ReduceMax", real(n, (5, 5)), n.ints(-1)),
    "softmax of alike": lambda n: n.do(
        "Softmax", n.constant("z", np.zeros((5, 4), np.float32)), axis=0
    ),
}


@pytest.mark.parametrize("case", BUILDS)
def test_arithmetic_on_constants_is_the_runtimes(case: str, tmp_path: Path, seed: int) -> None:
    n = Net(seed=seed)
    shapes = {"product": (2, 5, 5), "mean": (4, 5), "softmax of alike": (5, 4)}
    shape = shapes.get(case, (5, 5))
    y = n.round(n.do("Add", n.start(*shape), BUILDS[case](n)), 0.05)
    model = typed(n, (y, len(shape) + 1, "float32"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeDifference)
        graph = load(model, tmp_path)
    assert_same_arrays(graph, model, feed(model, seed))


def test_sums_of_constants_are_announced_and_computed_tensors_refused(tmp_path: Path) -> None:
    n = Net()
    y = n.do("Add", n.start(2, 5, 5), BUILDS["product"](n))
    with pytest.warns(RuntimeDifference, match="computed of constants, in float64"):
        load(typed(n, (n.round(y, 0.05), 4, "float32")), tmp_path)
    n = Net()
    y = n.round(n.do("Trilu", n.start(5, 5)), 0.05)
    onnx.save(typed(n, (y, 3, "float32")), tmp_path / "m.onnx")
    with pytest.raises(hwsim.HwsimError, match="its inputs must be constants"):
        hwsim.load(tmp_path / "m.onnx")
