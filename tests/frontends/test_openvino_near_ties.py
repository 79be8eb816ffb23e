"""Thresholds of a layer at which the order of float32 roundings decides are all counted."""

from __future__ import annotations

import numpy as np
import pytest

from hwsim.frontends.openvino import near_ties

F32 = np.float32
REACHED = 4000


def undecided(rng: np.random.Generator) -> tuple[int, int]:
    """Sums whose code two orders of roundings do not share, and how many thresholds are counted."""
    scale, factor = F32(rng.uniform(1e-4, 1e-2)), F32(rng.uniform(5, 40))
    bias, offset = F32(rng.normal() * 2), F32(rng.integers(0, 255))
    sums = np.arange(-REACHED, REACHED + 1).astype(F32)
    moved = sums * F32(scale * factor) + F32(F32(bias * factor) + offset)
    in_turn = F32(F32(sums * scale) + bias) * factor + offset
    codes = [np.clip(np.rint(places), 0, 255) for places in (moved, in_turn)]
    slope, added = float(scale) * float(factor), float(bias) * float(factor)
    found, count = near_ties.near_ties(
        np.array([slope]), np.array([added]), np.array([float(offset)]),
        ends=(-REACHED, REACHED), levels=256,
    )  # fmt: skip
    assert found <= count
    return int((codes[0] != codes[1]).sum()), found


def test_every_sum_that_two_orders_round_apart_is_counted(rng):
    pairs = [undecided(rng) for _ in range(2000)]
    assert sum(differ for differ, _ in pairs) > 20
    assert all(differ <= found for differ, found in pairs)
    assert sum(found == 0 for _, found in pairs) > 200  # and no untrue alarm for all


def test_a_count_without_roundings_misses_some(monkeypatch, rng):
    monkeypatch.setattr(near_ties, "REACH", 0.0)
    pairs = [undecided(rng) for _ in range(2000)]
    assert any(differ > found for differ, found in pairs)


@pytest.mark.parametrize("slope", [0.0, 1.0])
def test_a_line_that_reaches_no_tie_has_none(slope):
    found, _ = near_ties.near_ties(
        np.array([slope]), np.array([0.0]), np.array([0.0]), ends=(0, 200), levels=256
    )
    assert found == 0
