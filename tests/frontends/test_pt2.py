"""Exported programs of PyTorch: the integers of the runtime that runs them."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from support.seeds import base

import hwsim

pytestmark = pytest.mark.needs("torch")
SAMPLES = 6


def operators():
    """Names of the catalogue, without torch where it is missing."""
    try:
        from support.exported import OPERATORS
    except ImportError:
        return []
    return [(name, number) for name, builds in OPERATORS.items() for number in range(len(builds))]


def drawn(name: str, number: int, *, powers: bool):
    from support.exported import OPERATORS, Maker

    rng = np.random.default_rng(zlib.crc32(f"{name}|{number}|{powers}".encode()) ^ base())
    maker = Maker(rng, powers=powers)
    return maker, maker.exported(OPERATORS[name][number](maker))


def by_torch(program, feeds):
    import torch

    with torch.no_grad():
        rows = [
            program.module()(*(torch.from_numpy(x[k : k + 1]) for x in feeds))
            for k in range(SAMPLES)
        ]
    rows = [row if isinstance(row, tuple) else (row,) for row in rows]
    return [np.concatenate([out.numpy() for out in outs]) for outs in zip(*rows, strict=True)]


def by_hwsim(graph, feeds):
    got = hwsim.emulate(graph, {p.name: x for p, x in zip(graph.inputs, feeds, strict=True)})
    return list(got.values()) if isinstance(got, dict) else [got]


@pytest.mark.filterwarnings("ignore::hwsim.frontends.shared.builder.RuntimeDifference")
@pytest.mark.parametrize(("name", "number"), operators())
def test_an_operator_gives_the_integers_of_torch(name, number, tmp_path):
    from support.exported import saved

    for powers in (True, False):
        maker, program = drawn(name, number, powers=powers)
        feeds = maker.feeds(SAMPLES)
        (tmp_path / "m.pt2").write_bytes(saved(program))
        got = by_hwsim(hwsim.load(tmp_path / "m.pt2", like="torch"), feeds)
        for ours, theirs in zip(got, by_torch(program, feeds), strict=True):
            assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
            assert (ours != theirs).sum() == 0


ORACLE = (
    "conv2d", "conv2d, bounded", "conv2d, dilated", "conv2d, grouped", "conv2d, depthwise",
    "conv1d", "linear", "add", "sub", "mul", "adaptive_avg_pool2d", "mean", "max_pool2d", "relu",
    "hardtanh", "clamp", "requantize", "cat", "view, permute",
)  # fmt: skip
"""Operators whose rules the oracle knows."""
APART = {("add", 3), ("mul", 3), ("sub", 1), ("mul", 2)}
"""With constants, or a clamp that ExecuTorch does not take in: a test with its runtime has them."""


@pytest.mark.parametrize(
    ("name", "number"), [(n, k) for n, k in operators() if n in ORACLE and (n, k) not in APART]
)
def test_an_operator_gives_the_integers_of_the_oracle_of_executorch(name, number, tmp_path):
    from support import oracle_executorch
    from support.exported import saved

    for powers in (True, False):
        maker, program = drawn(name, number, powers=powers)
        feeds = [x[:1] for x in maker.feeds(SAMPLES)]
        (tmp_path / "m.pt2").write_bytes(saved(program))
        got = by_hwsim(hwsim.load(tmp_path / "m.pt2"), feeds)
        for ours, theirs in zip(got, oracle_executorch.outputs(program, feeds), strict=True):
            assert ours.shape == theirs.shape
            assert (ours != theirs).sum() == 0
