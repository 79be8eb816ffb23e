"""hls4ml's activations are composed of operators that have hardware, which gives their codes."""

from __future__ import annotations

import numpy as np
import pytest
from support import rtl_designs
from support.hls4ml_activations import SOFTMAXES, activation, signs, softmax
from support.hls4ml_models import Model
from support.seeds import seeded

import hwsim
from hwsim.emulator.run import planned
from rtl.layers import unsupported
from rtl.plan.search import plan_for_cycles

pytestmark = pytest.mark.needs("hls4ml")
SLOW, FAST = 1 << 40, 1  # cycles allowed: one multiplier, or all hardware there can be
SLOWLY = pytest.mark.slow  # what is composed as another one here is
FUNCTIONS = ("leaky_relu", "thresholded_relu", "hard_tanh", "ternary_tanh")


def of(function: str) -> Model:
    """One activation with an input of 16 bits, whose table has fewer entries than it has codes."""
    model = Model(80, (3,), given="fixed<16,6>")
    activation(model, "x", function, {"result": "fixed<12,5>"}, TableSize=64)
    return model


def softmax_of(implementation: str) -> Model:
    model = Model(81, (5,), given="fixed<12,6>")
    softmax(model, "x", implementation, {"result": "fixed<16,6>"}, 256)
    return model


def check(model: Model, folder, cycles: int) -> None:
    """Random codes through the design, with pauses, and through the emulator."""
    graph = hwsim.load(model.build(folder))
    assert not unsupported(graph)
    (port,) = graph.inputs
    rng = np.random.default_rng(seeded(7))
    near = rng.integers(-300, 300, (8, *port.type.shape)).clip(port.type.lo, port.type.hi)
    far = rng.integers(port.type.lo, port.type.hi + 1, (4, *port.type.shape))
    x = np.concatenate([near, far])
    plan = plan_for_cycles(graph, cycles)
    got, _ = rtl_designs.simulate(graph, plan, {port.name: x}, seed=5, stall=0.3)
    want = planned(graph).run({port.tensor: x})
    for out in graph.outputs:
        assert (got[out.name] == want[out.tensor].astype(int)).all(), out.name


@pytest.mark.parametrize("cycles", [SLOW, FAST])
@pytest.mark.parametrize(
    "implementation", ["stable", *(pytest.param(s, marks=SLOWLY) for s in SOFTMAXES[1:])]
)
def test_softmax_in_hardware_gives_the_emulators_codes(implementation, cycles, tmp_path):
    check(softmax_of(implementation), tmp_path, cycles)


@pytest.mark.parametrize(
    "function", ["sigmoid", "selu", *(pytest.param(f, marks=SLOWLY) for f in FUNCTIONS)]
)
def test_activations_of_wide_inputs_in_hardware_give_the_emulators_codes(function, tmp_path):
    check(of(function), tmp_path, SLOW)


def test_batch_norms_joined_with_signs_give_the_emulators_codes(tmp_path):
    check(signs(82, (3,)), tmp_path, SLOW)
