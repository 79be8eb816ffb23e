"""Functions that no quantizer stands behind before something else reads them: equal, or said."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from support.onnx_builder import Q
from support.onnx_nets import Net
from support.onnx_run import run_ort

import hwsim
from hwsim.frontends.shared.builder import RuntimeDifference

Build = Callable[[Net, str], str]


def pooled(n: Net, x: str) -> str:
    return n.do("GlobalAveragePool", n.do("HardSwish", x))


def averaged(n: Net, x: str) -> str:
    return n.do("AveragePool", n.do("Sigmoid", x), kernel_shape=[2, 3], strides=[2, 1])


def gated(n: Net, x: str) -> str:
    """A factor a channel that nothing has rounded."""
    y = n.qdq(n.input("y", (4, 1, 1)), Q(n.dtype, 0.05, 131))
    return n.do("Mul", x, n.do("HardSigmoid", y))


def summed(n: Net, x: str) -> str:
    y = n.qdq(n.input("y", (4, 6, 5)), Q(n.dtype, 0.05, 131))
    return n.do("Add", n.do("Tanh", x), n.do("Elu", y))


def three_summed(n: Net, x: str) -> str:
    y = n.qdq(n.input("y", (4, 1, 5)), Q(n.dtype, 0.03, 131))
    return n.do("Sum", x, y, n.qdq(n.input("z", (4, 6, 5)), Q(n.dtype, 0.011, 12)))


def sum_times_codes(n: Net, x: str) -> str:
    """Of what a ReLU has cut."""
    y, z = (n.qdq(n.input(k, (4, 6, 5)), Q(n.dtype, 0.043, 131)) for k in "yz")
    return n.do("Mul", n.do("Relu", n.do("Sub", x, y)), z)


def squared_error(n: Net, x: str) -> str:
    """As an autoencoder's score: a function of two codes, and its mean."""
    y = n.qdq(n.input("y", (4, 6, 5)), Q(n.dtype, 0.043, 131))
    square = n.do("Pow", n.do("Sub", x, y), n.constant("two", np.float32(2)))
    return n.do("GlobalAveragePool", square)


def weighed(n: Net, x: str) -> str:
    return n.do("Conv", n.do("Sigmoid", x), n.kernel((3, 4, 3, 3), 0, 3))


def multiplied(n: Net, x: str) -> str:
    return n.do("Gemm", n.do("Flatten", n.do("HardSwish", x)), n.kernel((120, 7), 1))


BUILDS: list[tuple[Build, float]] = [
    (pooled, 0.04), (averaged, 0.004), (gated, 0.03), (summed, 0.02), (weighed, 0.1),
    (three_summed, 0.07), (sum_times_codes, 0.19), (multiplied, 0.5), (squared_error, 0.3),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore::hwsim.saturation.InputSaturation")
@pytest.mark.parametrize(("build", "scale"), BUILDS, ids=[f.__name__ for f, _ in BUILDS])
def test_what_is_left_in_reals_is_a_fine_fixed_point_number(
    build: Build, scale: float, tmp_path: Path, seed: int
) -> None:
    """Of all values at most one in a thousand differs, by one step, and never in silence."""
    n = Net("uint8", seed=seed)
    out = build(n, n.qdq(n.input("x", (4, 6, 5)), Q("uint8", 0.05, 119)))
    rank = 2 if build is multiplied else 4
    made = n.model((n.qdq(out, Q("uint8", scale, 77)), rank, "float32"))
    onnx.save(made, tmp_path / "m.onnx")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", RuntimeDifference)
        graph = hwsim.load(tmp_path / "m.onnx")
    rng = np.random.default_rng(seed)
    feeds = {
        port.name: rng.uniform(
            -7, 7, (600, *[d.dim_value for d in port.type.tensor_type.shape.dim[1:]])
        ).astype(np.float32)
        for port in made.graph.input
    }
    (want,) = run_ort(made, feeds).outputs.values()
    off = np.rint(np.abs(hwsim.emulate(graph, feeds) - want) / scale)
    announced = any(issubclass(w.category, RuntimeDifference) for w in said)
    assert off.max() <= 1
    assert np.mean(off > 0) <= 1 / 1000
    assert announced or not off.any()


@pytest.mark.parametrize("first", ["MatMul", "Conv"])
def test_a_norm_by_single_numbers_at_the_end_is_part_of_the_output(
    first: str, tmp_path: Path, seed: int
) -> None:
    """As Brevitas ends its binary networks: a mean, a deviation, a factor and an offset."""
    n = Net("uint8", seed=seed)
    if first == "MatMul":
        x = n.qdq(n.input("x", (24,)), Q("uint8", 0.05, 119))
        out, rank = n.do("MatMul", x, n.kernel((24, 5), 1)), 2
    else:
        x = n.qdq(n.input("x", (4, 6, 5)), Q("uint8", 0.05, 119))
        out, rank = n.do("Conv", x, n.kernel((3, 4, 3, 3), 0)), 4
    for op, number in (("Sub", 0.31), ("Div", 0.77), ("Mul", 1.03), ("Add", -0.37)):
        out = n.do(op, out, n.constant(f"{op} constant", np.float32([number])))
    made = n.model((out, rank, "float32"))
    onnx.save(made, tmp_path / "m.onnx")
    with pytest.warns(RuntimeDifference, match="last bits"):
        graph = hwsim.load(tmp_path / "m.onnx")
    shape = [d.dim_value for d in made.graph.input[0].type.tensor_type.shape.dim[1:]]
    x = np.random.default_rng(seed).uniform(-6, 6, (50, *shape)).astype(np.float32)
    (want,) = run_ort(made, {"x": x}).outputs.values()
    off = np.abs(hwsim.emulate(graph, x) - want).max()
    assert off <= 1e-6 * np.abs(want).max()
    assert np.unique(want).size > 100
