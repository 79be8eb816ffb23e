"""Inputs of reals that several quantizers read: one port, and each quantizer's very codes."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from support.onnx_builder import Q
from support.onnx_compare import load
from support.onnx_nets import Net, typed
from support.onnx_run import run_ort

import hwsim
from hwsim import HwsimError
from rtl.layers.table import unsupported

pytestmark = pytest.mark.filterwarnings("ignore::hwsim.saturation.InputSaturation")

KINDS = [
    Q("uint8", 0.03, 119), Q("uint8", 0.031, 0), Q("int8", 0.0078125, -128), Q("int8", 1.7, 3),
    Q("uint8", 1 / 3, 255), Q("int16", 0.00013, 7), Q("uint8", 6e-5, 128),
]  # fmt: skip


def read_by(n: Net, x: str, kinds: list[Q]) -> list[str]:
    """What each quantizer gives, shown by its dequantizer."""
    found = []
    for number, q in enumerate(kinds):
        scale, zero = n.parameters(f"q{number}", q)
        code = n.do("QuantizeLinear", x, scale, zero)
        found.append(n.do("DequantizeLinear", code, scale, zero))
    return found


def delicate(kinds: list[Q]) -> np.ndarray:
    """Float32 on each tie of each quantizer, their neighbours, and what lies near 0 and far off."""
    ties = []
    for q in kinds:
        codes = np.arange(max(q.info.min, -600), min(q.info.max, 600) + 1) - q.zero_point
        ties.append(((codes + 0.5) * np.float64(np.float32(q.scale))).astype(np.float32))
    x = np.concatenate([*ties, np.array([0, 1e-30, -1e-42, 1e4, -3e5], np.float32)])
    x = np.concatenate([x, np.nextafter(x, np.float32(np.inf)), np.nextafter(x, -np.float32(1e9))])
    return np.pad(x, (0, -len(x) % 6))


@pytest.mark.parametrize("kinds", [*combinations(KINDS, 2), KINDS[:5]], ids=str)
def test_each_quantizer_of_an_input_gives_its_own_codes(
    kinds: tuple[Q, ...], tmp_path: Path
) -> None:
    n = Net()
    outs = read_by(n, n.input("x", (6,)), list(kinds))
    model = typed(n, *((out, 2, "float32") for out in outs))
    graph = load(model, tmp_path)
    x = delicate(list(kinds)).reshape(-1, 6)
    got, want = hwsim.emulate(graph, x), run_ort(model, {"x": x}).outputs
    assert all(np.array_equal(got[name], value) for name, value in want.items())
    assert len(graph.inputs) == 1 and unsupported(graph) == ()


def test_quantizers_share_what_an_input_becomes_first(tmp_path: Path, seed: int) -> None:
    """`x / 255` at the port, then two of them, of pixels."""
    n = Net(seed=seed)
    x = n.do("Div", n.input("x", (3, 4, 4)), n.constant("full", np.float32(255)))
    outs = read_by(n, x, [Q("uint8", 0.004, 0), Q("int8", 0.0078, -100)])
    model = typed(n, *((out, 4, "float32") for out in outs))
    x = np.random.default_rng(seed).integers(0, 256, (50, 3, 4, 4)).astype(np.float32)
    got, want = hwsim.emulate(load(model, tmp_path), x), run_ort(model, {"x": x}).outputs
    assert all(np.array_equal(got[name], value) for name, value in want.items())


def test_scales_too_far_apart_for_one_port_are_refused(tmp_path: Path) -> None:
    n = Net()
    outs = read_by(n, n.input("x", (6,)), [Q("uint8", 1e-6, 0), Q("uint8", 4e3, 0)])
    with pytest.raises(HwsimError, match="its port would need 66 bits, not at most 62"):
        load(typed(n, *((out, 2, "float32") for out in outs)), tmp_path)
