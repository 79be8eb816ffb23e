"""Normalizations and softmaxes between Quant nodes: the executor's codes, but for what is said."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import onnx
import pytest
from support.qonnx_nets import Net, executed, off_grid
from support.seeds import seeded

import hwsim
from hwsim import HwsimError

pytest.importorskip("qonnx")

SHAPE = (40, 24)
KINDS = ("LayerNormalization", "InstanceNormalization", "GroupNormalization", "Softmax")
RUNS = 3


def network(seed: int, kind: str, *, mode: str = "ROUND", epsilon: float = 1e-5) -> Any:
    """A model of one such node with quantizers before and behind it; scales and widths drawn."""
    n = Net(seed, opset=21)
    rng = n.rng
    bits, power = int(rng.integers(3, 9)), bool(rng.random() < 0.6)
    step = 2.0 ** -float(rng.integers(2, 6)) if power else float(rng.uniform(0.03, 0.3))
    x = n.start(*SHAPE, scale=step, bits=bits)
    size = {"LayerNormalization": SHAPE[-1]}.get(kind, SHAPE[0])
    constants = [n.constant(rng.normal(1, 0.3, size)), n.constant(rng.normal(0, 0.3, size))]
    match kind:
        case "Softmax":
            y = n.do("Softmax", [x], axis=-1)
        case "GroupNormalization":
            y = n.do(kind, [x, *constants], num_groups=5, epsilon=epsilon)
            n.shapes[y] = (1, *SHAPE)
        case _:
            y = n.do(kind, [x, *constants], epsilon=epsilon)
    out = 2.0 ** -float(rng.integers(5, 9)) if kind == "Softmax" else 2.0**-4
    signed = int(kind != "Softmax")
    odd = 1.0 if power else 1.07
    y = n.quant(y, out * odd, 8, signed=signed, narrow=signed & seed % 2, mode=mode)
    return n.model(y, *SHAPE)


def loaded(model: onnx.ModelProto) -> tuple[hwsim.Graph, list[str]]:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        graph = hwsim.load(model)
    return graph, [str(one.message) for one in found]


@pytest.mark.parametrize("kind", KINDS)
def test_codes_are_the_executors_but_for_the_share_that_is_announced(kind):
    compared = different = 0
    for number in range(RUNS):
        model = network(seeded(number), kind)
        graph, said = loaded(model)
        assert any("about one code in 200,000 may differ by one step" in text for text in said)
        x = off_grid(SHAPE, seeded(number), batch=6)
        ours, theirs = hwsim.emulate(graph, x), executed(model, x)
        assert np.unique(theirs).size > 3
        compared, different = compared + ours.size, different + int((ours != theirs).sum())
    assert compared == RUNS * 6 * SHAPE[0] * SHAPE[1]
    assert different <= 1


def test_another_epsilon_is_noticed():
    model = network(seeded(0), "LayerNormalization", epsilon=0.02)
    graph, _ = loaded(network(seeded(0), "LayerNormalization"))
    x = off_grid(SHAPE, seeded(1), batch=4)
    assert (hwsim.emulate(graph, x) != executed(model, x)).any()


@pytest.mark.parametrize("kind", ["LayerNormalization", "Softmax"])
def test_another_rounding_than_to_nearest_is_refused(kind):
    with pytest.raises(HwsimError, match=r"its quantizer must round by ROUND, not by FLOOR$"):
        hwsim.load(network(seeded(0), kind, mode="FLOOR"))
