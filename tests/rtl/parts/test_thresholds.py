"""Thresholds in hardware, compared at once and searched: the operator's codes at any stall."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from support.rescaling import PATTERNS, SEED
from support.rtl_bench import beats_of, refused, run, words

from hwsim.fixed import Format
from hwsim.ops import TensorType, Thresholds
from rtl.parts.thresholds import Comparators, Ladder, Search

WAYS = [Comparators, Search]


def ladder(rows: int, count: int, x: tuple[int, int], out: Format, *, steps: Any = (1,)) -> Ladder:
    """Random thresholds, some of them alike, some out of reach."""
    rng = np.random.default_rng([SEED, rows, count])
    values = np.sort(rng.integers(x[0] - 3, x[1] + 4, (rows, count)), axis=1)
    values[:, count // 2 :] = np.maximum(values[:, count // 2 :], values[:, count // 2, None])
    step = tuple(steps[k % len(steps)] for k in range(rows))
    base = tuple(int(v) for v in rng.integers(-3, 4, rows) + (count if min(steps) < 0 else 0))
    return Ladder(rows=tuple(map(tuple, values.tolist())), base=base, step=step, x=x, out=out)


def differing(
    way: Any,
    held: Ladder,
    *,
    lanes: int,
    channels: int,
    pattern: Any = PATTERNS[0],
    built: Ladder | None = None,
) -> int:
    """Beats that a component gives otherwise than the operator; `built` is a mutant's ladder."""
    rng = random.Random(SEED)
    lo, hi = held.x
    fmt = Format.holding(lo, hi)
    near = [t + d for row in held.rows for t in row for d in (-1, 0, 1)]
    codes = [code for code in rng.sample(near, min(len(near), 20)) for _ in range(channels)]
    while len(codes) < 40 * channels:
        codes.append(rng.choice([rng.choice(near), rng.randint(lo, hi)]))
    codes = [min(max(code, lo), hi) for code in codes]
    op = Thresholds(
        values=np.array(held.rows), base=np.array(held.base), step=np.array(held.step), out=held.out
    )
    kind = TensorType((40, channels), fmt, range=(lo, hi))
    op.infer([kind])
    x = np.array(codes).reshape(40, channels)
    counts = (x[..., None] >= np.array(held.rows)).sum(axis=-1)
    want = (np.array(held.base) + np.array(held.step) * counts).ravel().tolist()
    dut = way(built or held, lanes=lanes, channels=channels, in_format=fmt)
    sent, good = words(beats_of(codes, lanes), dut.beat), words(beats_of(want, lanes), dut.target)
    idle, stall, reset = pattern
    print(f"seed {SEED}")
    got = run(
        dut, {dut.i: sent}, {dut.o: len(good)}, rng=random.Random(SEED), idle=idle, stall=stall,
        reset_at=reset,
    )  # fmt: skip
    if pattern == PATTERNS[0]:
        each = dut.cycles if isinstance(dut, Search) else 1
        first = dut.cycles + 1 if isinstance(dut, Search) else dut.latency
        assert got.cycles[dut.o] == [first + k * each for k in range(len(good))]
    return sum(a != b for a, b in zip(got.words[dut.o], good, strict=True))


@pytest.mark.parametrize("count", [1, 2, 3, 5, 7, 8, 15, 16, 31])
@pytest.mark.parametrize("way", WAYS)
def test_any_number_of_thresholds_is_counted(way: Any, count: int) -> None:
    held = ladder(2, count, (-70, 90), Format.int(8))
    assert differing(way, held, lanes=1, channels=2) == 0


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
@pytest.mark.parametrize("lanes", [1, 2, 6])
@pytest.mark.parametrize("way", WAYS)
def test_channels_keep_their_thresholds_under_any_stall(way: Any, lanes: int, pattern: Any) -> None:
    held = ladder(6, 6, (-500, 400), Format.int(8), steps=(1, -1, 2, -3))
    assert differing(way, held, lanes=lanes, channels=6, pattern=pattern) == 0


@pytest.mark.parametrize("way", WAYS)
def test_one_row_serves_many_lanes(way: Any) -> None:
    held = ladder(1, 7, (0, 255), Format.int(6), steps=(-2,))
    assert differing(way, held, lanes=4, channels=8) == 0


@pytest.mark.parametrize("way", WAYS)
def test_a_threshold_that_is_one_off_is_seen(way: Any) -> None:
    """The mutant."""
    fields = {"base": (0, -2), "step": (1, 1), "x": (-7, 9), "out": Format.int(8)}
    held, other = (
        Ladder(rows=((-3, 0, 4), (-5, inner, 6)), **fields)  # type: ignore[arg-type]
        for inner in (1, 2)
    )
    assert differing(way, held, lanes=1, channels=2) == 0
    assert differing(way, held, lanes=1, channels=2, built=other) > 0


def test_lanes_and_rows_that_do_not_fit_are_refused() -> None:
    held = ladder(2, 3, (0, 9), Format.int(4))
    for way in WAYS:
        refused(
            lambda way=way: way(held, lanes=3, channels=4, in_format=Format.uint(4)),
            "thresholds' lanes must divide 4 channels, not be 3",
        )
        refused(
            lambda way=way: way(held, lanes=1, channels=4, in_format=Format.uint(4)),
            "thresholds must have 1 or 4 rows, not 2",
        )
