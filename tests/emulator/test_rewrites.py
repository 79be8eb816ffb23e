"""The emulator's faster steps give the integers of the plain ones, on any data."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from support.small_graphs import PLANES, POOL, by_oracle, conv, row

from hwsim.emulator import fuse
from hwsim.emulator.run import Emulator
from hwsim.fixed import Format, Overflow, Rounding, round_int
from hwsim.graph import OutputPort
from hwsim.ops import Cast, Dense, MaxPool, Relu, Requantize, Scheme, TensorType, Window

HLS = [mode for mode in Rounding if mode not in (Rounding.CEIL, Rounding.UP)]


@pytest.mark.parametrize("rounding", HLS)
@pytest.mark.parametrize("overflow", list(Overflow))
@pytest.mark.parametrize("relu", [True, False])
def test_pools_ahead_of_casts_give_the_same_codes(rounding, overflow, relu, rng):
    cast = Cast(out=Format.parse("s9.1"), rounding=rounding, overflow=overflow)
    graph = row(PLANES, conv(rng), *([Relu()] if relu else []), cast, POOL)
    emulator = Emulator(graph)
    wraps = overflow in (Overflow.WRAP, Overflow.SAT_ZERO)
    assert len(emulator.quick) == (len(graph.nodes) if wraps and not relu else 2)
    for span in (8, 128):  # inside the cast's range, and far outside
        x = rng.integers(-span, span, (3, 6, 6, 2))
        assert emulator.run({"t0": x})[graph.outputs[0].tensor].tolist() == by_oracle(graph, x)


def test_a_pool_that_came_first_unchecked_would_be_seen(rng, monkeypatch):
    """The mutant: codes past the first that wraps are pooled all the same."""
    monkeypatch.setattr(fuse, "within", lambda *_: True)
    graph = row(PLANES, conv(rng), Relu(), Cast(out=Format.parse("s9.1")), POOL)
    x = rng.integers(-128, 128, (3, 6, 6, 2))
    assert Emulator(graph).run({"t0": x})["t4"].tolist() != by_oracle(graph, x)


@pytest.mark.parametrize("scheme", list(Scheme))
def test_pools_ahead_of_requantizers_give_the_same_codes(scheme, rng):
    shift = scheme is Scheme.SHIFT
    op = Requantize(
        scheme=scheme,
        multiplier=(0.25, 0.5, 0.125, 1.0) if shift else (0.21, 0.4, 0.11, 0.9),
        out=Format.int(8),
        zero_point=-3,
    )
    graph = row(PLANES, conv(rng), op, POOL)
    assert len(Emulator(graph).quick) <= 3 and isinstance(Emulator(graph).quick[-1].op, MaxPool)
    x = rng.integers(-128, 128, (3, 6, 6, 2))
    assert Emulator(graph).run({"t0": x})["t3"].tolist() == by_oracle(graph, x)


@pytest.mark.parametrize("padding", [(0, 0, 0, 0), (1, 1, 1, 1)])
def test_a_bias_is_added_after_the_pool_where_that_is_the_same(padding, rng):
    pool = MaxPool(window=Window((2, 2), (2, 2), padding))
    graph = row(PLANES, conv(rng), pool)
    emulator, x = Emulator(graph), rng.integers(-128, 128, (3, 6, 6, 2))
    assert (emulator.quick[0].constants["b"] is None) == (not any(padding))
    assert emulator.run({"t0": x})["t2"].tolist() == by_oracle(graph, x)
    both = replace(graph, outputs=(*graph.outputs, OutputPort(name="sums", tensor="t1")))
    assert Emulator(both).quick[0].constants["b"] is not None


def test_an_edge_that_is_an_output_or_has_two_readers_is_kept(rng):
    graph = row(PLANES, conv(rng), Relu(), Cast(out=Format.parse("s9.1")), POOL)
    more = (*graph.outputs, OutputPort(name="relu", tensor="t2"))
    emulator = Emulator(replace(graph, outputs=more))
    out = emulator.run({"t0": rng.integers(-128, 128, (2, 6, 6, 2))})
    kept = emulator.run({"t0": np.zeros((1, 6, 6, 2), np.int64)}, keep=True)
    assert set(out) == {"t2", "t4"} and set(kept) == {f"t{k}" for k in range(5)}


@pytest.mark.parametrize("rounding", HLS)
@pytest.mark.parametrize("overflow", [Overflow.WRAP, Overflow.SAT])
def test_factors_of_casts_move_into_the_weights_exactly(rounding, overflow, rng):
    dense = Dense(
        weights=rng.integers(-(1 << 15), 1 << 15, (6, 5)),
        bias=rng.integers(-(1 << 20), 1 << 20, 5),
        weight_format=Format.parse("s16.8"),
    )
    cast = Cast(out=Format.parse("s12.1"), rounding=rounding, overflow=overflow)
    graph = row(TensorType((6,), Format.parse("s10.3")), dense, Relu(), cast)
    emulator = Emulator(graph)
    assert [step.constants.get("factor") for step in emulator.quick] == [None, None, 1.0]
    assert (emulator.quick[0].constants["w"] * 2.0**10 == emulator.plan[0].constants["w"]).all()
    x = rng.integers(-512, 512, (200, 6))
    assert emulator.run({"t0": x})["t3"].tolist() == by_oracle(graph, x)


@pytest.mark.parametrize("rounding", HLS)
def test_a_cast_rises_up_to_just_below_its_first_wrap(rounding):
    for lo, hi, frac, shift, width in itertools.product((-9, 0), (7, 40), (0, 2), (-1, 0, 3), (3,)):
        x = TensorType((1,), Format.parse(f"s8.{frac}"), None, (lo, hi))
        out = Format(True, width - frac + shift, frac - shift)
        top = Cast(out=out, rounding=rounding).rises_to([x])
        rounded = [round_int(code, shift, rounding) for code in range(lo, hi + 1)]
        fits = [*(out.min <= code <= out.max for code in rounded), False]
        assert top == (lo + fits.index(False) - 1 if fits[0] else None)


def test_operators_that_rise_never_fall(rng):
    """Every code of a small format, for all that claim to rise to the top."""
    x = TensorType((1,), Format.parse("s10.3"))
    codes = np.arange(-512, 512)[:, None]
    ops = [
        *(Cast(out=Format.parse("s6.1"), rounding=r, overflow=Overflow.SAT) for r in Rounding),
        *(Cast(out=Format.parse("u6.1"), rounding=r, overflow=Overflow.SAT_SYM) for r in Rounding),
        *(
            Requantize(scheme=s, multiplier=(m,), out=Format.int(6), zero_point=2)
            for s, m in itertools.product(Scheme, (0.25, 0.03125))
        ),
        Relu(zero_point=-4),
        Relu(maximum=99),
    ]
    for op in ops:
        assert op.rises_to([x]) == 511
        out = Emulator(row(x, op)).run({"t0": codes})["t1"][:, 0]
        assert (np.diff(out) >= 0).all(), op
