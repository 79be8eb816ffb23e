"""Normalizations and softmaxes between Quant nodes: the executor's codes, but for what is said."""

from __future__ import annotations

import warnings

import numpy as np
import onnx
import pytest
from support.qonnx_nets import executed, off_grid
from support.qonnx_norms import KINDS, SHAPE, network
from support.seeds import seeded

import hwsim
from hwsim import HwsimError

pytest.importorskip("qonnx")

RUNS = 3


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
