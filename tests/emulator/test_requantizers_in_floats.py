"""Requantizers of integer schemes in float64: proved or not taken, and then code by code equal."""

from __future__ import annotations

import numpy as np
import pytest
from support import oracle

from hwsim.emulator import requantizers
from hwsim.emulator.run import Emulator
from hwsim.fixed import Format
from hwsim.forms.thresholds import thresholds
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.ops import Requantize, Scheme, TensorType

SCHEMES = (
    Scheme.GEMMLOWP_DOUBLE,
    Scheme.RUY,
    Scheme.HALF_AWAY,
    Scheme.SINGLE,
    Scheme.REDUCED,
)
CHANNELS = 5


def drawn(scheme: Scheme, rng: np.random.Generator) -> tuple[Requantize, TensorType]:
    """A requantizer and its sums: ties in many of them, left shifts, any zero points."""
    bits = int(rng.integers(9, 30))
    reach = 1 << bits
    lo, hi = -int(rng.integers(1, reach)), int(rng.integers(1, reach))
    size = 2.0 ** (rng.uniform(5, 9) - bits)
    multipliers = size * rng.uniform(0.5, 1.0, CHANNELS)
    if rng.random() < 0.5:
        multipliers = 2.0 ** np.rint(np.log2(multipliers)) * rng.choice([1.0, 0.75, 0.625])
    out = Format.int(8) if rng.random() < 0.7 else Format.uint(int(rng.integers(2, 11)))
    op = Requantize(
        scheme=scheme,
        multiplier=tuple(np.maximum(multipliers, 2.0**-31).tolist()),
        out=out,
        zero_point=int(rng.integers(out.min, out.max + 1)),
        input_zero_point=int(rng.integers(-3, 4)) if lo < -3 and hi > 3 else 0,
    )
    return op, TensorType((CHANNELS,), Format.holding(lo, hi), None, (lo, hi))


def alone(op: Requantize, kind: TensorType) -> Graph:
    port = InputPort(name="x", tensor="x", type=kind)
    return Graph((port,), (Node("op", op, ("x",), "y"),), (OutputPort(name="y", tensor="y"),))


def codes(op: Requantize, kind: TensorType, rng: np.random.Generator) -> np.ndarray:
    """All that lie near a threshold, both ends, and any."""
    steps = thresholds(op, kind.lo, kind.hi)
    near = [np.clip(steps.at + k, kind.lo, kind.hi) for k in range(-3, 4)]
    ends = np.full((2, CHANNELS), [[kind.lo], [kind.hi]])
    return np.concatenate([*near, ends, rng.integers(kind.lo, kind.hi + 1, (500, CHANNELS))])


@pytest.mark.parametrize("scheme", SCHEMES)
def test_codes_are_those_of_the_schemes_own_steps(scheme, rng, seed):
    taken = 0
    for _ in range(60):
        op, kind = drawn(scheme, rng)
        x, graph = codes(op, kind, rng), alone(op, kind)
        quick, own = Emulator(graph), Emulator(graph, kernels={})
        taken += quick.plan[0].form.gives.is_float
        got, want = (e.run({"x": x.astype(np.int64)})["y"].astype(int) for e in (quick, own))
        assert np.array_equal(got, want), f"seed {seed}: {op} on {kind}"
    print(f"{taken} of 60 in floats")
    assert taken > 40


@pytest.mark.parametrize("scheme", SCHEMES)
def test_codes_are_those_of_plain_integers(scheme, rng, seed):
    op, kind = drawn(scheme, rng)
    x = codes(op, kind, rng)[-40:]
    got = Emulator(alone(op, kind)).run({"x": x})["y"]
    want = [
        [oracle.requantize(op, int(code), d) for code, d in zip(row, op.multiplier, strict=True)]
        for row in x
    ]
    assert got.astype(int).tolist() == want


def single(scheme: Scheme, multiplier: float, **fields: int) -> Requantize:
    return Requantize(scheme=scheme, multiplier=(multiplier,), out=Format.int(8), **fields)


def test_every_code_of_a_whole_range_is_the_schemes_own():
    kind = TensorType((1,), Format.int(18))
    x = np.arange(kind.lo, kind.hi + 1)[:, None]
    for scheme in SCHEMES:
        for multiplier in (2.0**-9, 0.75 * 2.0**-10, 0.0011):
            graph = alone(single(scheme, multiplier, zero_point=-7), kind)
            quick, own = Emulator(graph), Emulator(graph, kernels={})
            assert quick.plan[0].form.gives.is_float and not own.plan[0].form.gives.is_float
            assert np.array_equal(quick.run({"x": x})["y"], own.run({"x": x})["y"])


@pytest.mark.parametrize(
    ("scheme", "changes"),
    [
        (Scheme.HALF_AWAY, {"factor": 2.0**-9}),  # ties to even
        (Scheme.GEMMLOWP_DOUBLE, {"second": 2.0**-8}),
        (Scheme.RUY, {"offset": 0.0}),
        (Scheme.SINGLE, {"factor": 1.00001 * 2.0**-9}),
    ],
)
def test_a_form_with_another_threshold_is_not_proved(scheme, changes, monkeypatch):
    """The proof's mutants."""
    op, kind = single(scheme, 2.0**-9), TensorType((1,), Format.int(18))
    assert requantizers.proved(op, [kind]) is not None
    tried = list(requantizers.candidates(op))
    monkeypatch.setattr(requantizers, "candidates", lambda _: [k | changes for k in tried])
    requantizers.form.cache_clear()
    assert requantizers.proved(op, [kind]) is None
    assert not Emulator(alone(op, kind)).plan[0].form.gives.is_float
    requantizers.form.cache_clear()


def test_long_codes_and_sums_that_float64_does_not_hold_take_the_own_steps():
    wide = Requantize(scheme=Scheme.SINGLE, multiplier=(0.4,), out=Format.int(16))
    assert requantizers.proved(wide, [TensorType((1,), Format.int(18))]) is None
    far = single(Scheme.SINGLE, 2.0**-30)
    assert requantizers.proved(far, [TensorType((1,), Format.int(60))]) is None
