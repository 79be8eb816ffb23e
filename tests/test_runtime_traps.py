"""Graphs in which ONNX Runtime does what nobody expects: its integers, or a word about it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from test_frontend_forms import norm
from test_frontend_graphs import Net
from test_kernels import outcome, row

Build = Callable[[Net], onnx.ModelProto]


def biased(n: Net, x: str) -> str:
    return n.do("Gemm", x, n.kernel((12, 7), 1), row(n))


def norm_of_a_biased_layer(n: Net) -> onnx.ModelProto:
    return n.model((n.round(norm(n, biased(n, n.start(12)), 7), 0.9), 2, "float32"))


def biased_layers_added(n: Net) -> onnx.ModelProto:
    x = n.start(12)
    total = n.do("Add", biased(n, x), n.do("Gemm", x, n.kernel((12, 7), 1)))
    return n.model((n.round(total, 0.9), 2, "float32"))


def biased_layer_added_to_codes(n: Net) -> onnx.ModelProto:
    x = n.start(12)
    total = n.do("Add", biased(n, x), n.dense(x, 7, 12))
    return n.model((n.round(total, 0.9), 2, "float32"))


def biased_layer_times_a_constant(n: Net) -> onnx.ModelProto:
    total = n.do("Mul", biased(n, n.start(12)), n.constant("k", np.float32(1.7)))
    return n.model((n.round(total, 0.9), 2, "float32"))


@pytest.mark.parametrize(
    "build",
    [
        norm_of_a_biased_layer,
        biased_layers_added,
        biased_layer_added_to_codes,
        biased_layer_times_a_constant,
    ],
)
def test_fraction_bits_of_a_real_bias_count_once(build: Build, tmp_path: Path, seed: int) -> None:
    for number in range(6):
        ran, said, differ = outcome(build(Net(seed=number)), tmp_path, seed)
        assert "200,000" in said or differ == 0
        assert differ <= 1, ran
