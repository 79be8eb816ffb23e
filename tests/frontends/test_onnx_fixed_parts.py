"""Constants that are concatenated with computed tensors: a transformer's class token."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from support.onnx_compare import assert_same_arrays, load
from support.onnx_nets import Net, feed, typed

import hwsim

Build = Callable[[Net, str], str]
FEATURES = 8


def token(n: Net, count: int = 1) -> str:
    reals = n.rng.normal(0, 1, (1, count, FEATURES)).astype(np.float32)
    return n.constant(n.name("token"), reals)


def expanded(n: Net, x: str) -> str:
    """To as many as there are samples, as PyTorch's exporter writes it."""
    all_ = n.ints(-1)
    batch = n.do("Gather", n.do("Shape", x), n.ints(0))
    shape = n.do("Concat", batch, all_, all_, axis=0)
    ones = n.do("ConstantOfShape", n.ints(3))
    ones = n.do("Cast", n.do("Add", ones, n.constant("f1", np.float32(1))), to=7)
    kept = n.do("Where", n.do("Equal", shape, all_), ones, shape)
    return n.round(n.do("Expand", token(n), kept), 0.025, 3)


def patches(n: Net, x: str) -> str:
    """A map cut into patches, (batch, 6, FEATURES)."""
    y = n.conv(x, 3, FEATURES, 0.04, strides=[2, 2], pads=[1, 1, 1, 1])
    y = n.do("Transpose", n.do("Reshape", y, n.ints(0, FEATURES, 6)), perm=[0, 2, 1])
    return n.round(y, 0.04)


def class_token(n: Net, x: str) -> str:
    joined = n.round(n.do("Concat", expanded(n, x), patches(n, x), axis=1), 0.04)
    place = n.constant("place", n.rng.normal(0, 1, (1, 7, FEATURES)).astype(np.float32))
    y = n.round(n.do("Add", joined, n.round(place, 0.02, 0)), 0.05)
    return n.round(n.do("Gather", y, n.constant("first", np.int64(0)), axis=1), 0.05)


def plain_floats(n: Net, x: str) -> str:
    """Two of them, that nothing has quantized, behind the tensor and ahead of it."""
    return n.round(n.do("Concat", token(n, 3), patches(n, x), token(n), axis=1), 0.031)


def under_a_function(n: Net, x: str) -> str:
    return n.round(n.do("Sigmoid", n.do("Concat", patches(n, x), token(n), axis=1)), 0.004)


def channels(n: Net, x: str) -> str:
    """Of a map: constant places, as CoordConv has them."""
    grid = n.constant("grid", n.rng.uniform(-1, 1, (1, 2, 4, 6)).astype(np.float32))
    return n.round(n.do("Concat", x, n.round(grid, 0.008), axis=1), 0.03)


def features(n: Net, x: str) -> str:
    """Of vectors."""
    row = n.constant("row", n.rng.normal(0, 1, (1, 5)).astype(np.float32))
    return n.dense(n.round(n.do("Concat", n.do("Flatten", x), row, axis=1), 0.03), 7, 77, 0.3)


BUILDS = [(class_token, 2), (plain_floats, 3), (under_a_function, 3), (channels, 4), (features, 2)]


@pytest.mark.filterwarnings("ignore::hwsim.saturation.InputSaturation")
@pytest.mark.filterwarnings("ignore::hwsim.frontends.shared.builder.RuntimeDifference")
@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize(("build", "rank"), BUILDS, ids=[f.__name__ for f, _ in BUILDS])
def test_a_constant_part_is_the_same_for_every_sample(
    build: Build, rank: int, dtype: str, tmp_path: Path, seed: int
) -> None:
    n = Net(dtype, seed=seed)
    out = build(n, n.start(3, 4, 6))
    model = typed(n, (out, rank, "float32"))
    graph = load(model, tmp_path)
    rounds, batch = (1, 40) if build is class_token else (20, 1)  # a constant's first axis is 1
    for number in range(rounds):
        assert_same_arrays(graph, model, feed(model, seed + number, batch=batch))


def test_a_constant_that_differs_from_sample_to_sample_is_refused(
    tmp_path: Path, seed: int
) -> None:
    n = Net("uint8", seed=seed)
    two = n.constant("two", n.rng.normal(0, 1, (2, 5)).astype(np.float32))
    out = n.round(n.do("Concat", n.do("Flatten", n.start(3, 4, 6)), two, axis=1), 0.03)
    onnx.save(typed(n, (out, 2, "float32")), tmp_path / "m.onnx")
    with pytest.raises(hwsim.HwsimError, match="must be the same for all samples, its first axis"):
        hwsim.load(tmp_path / "m.onnx")
