"""Shares of sums in hardware: the kernels' codes where a quotient rounded once has another."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from support import oracle_ops, rtl_designs
from support.cases import Case, tensor
from support.together import fed_fast

from hwsim.fixed import Format
from hwsim.ops import Division, Share
from hwsim.ops.base import IntArray
from hwsim.ops.floats import patterns
from rtl.layers.share import SharedAtOnce, SharedByLimbs, SharedSerially
from rtl.layers.table import task
from rtl.parts.shares import FloatDivision, NewtonDivision

ROWS = 24  # of two terms and their sum
TRIES = 2000
TOP = {Division.NEWTON: (1 << 31) - 1, Division.FLOAT32: 127 << 23}


def op(division: Division) -> Share:
    return Share(out=Format.int(8), division=division, zero_point=-128)


def near_tie(division: Division, rng: np.random.Generator) -> tuple[int, int]:
    """A term and a sum whose quotient is about as near to a tie as the kernel's numbers are."""
    total, tie = 1 + 15 * rng.random(), (rng.integers(8, 255) + 0.5) / 256
    tie = min(tie, 1 / total)
    if division is Division.NEWTON:
        code = int(total * 2**19)
        return min(int(tie * code * 2**12) + int(rng.integers(-4, 5)), TOP[division]), code
    (code,) = patterns([total]).tolist()
    (term,) = patterns([tie * float(oracle_ops.float_of(code))]).tolist()
    return min(term + int(rng.integers(-1, 2)), TOP[division]), code


def once(division: Division, term: int, total: int) -> int:
    """The exact quotient, rounded once: no kernel's rule."""
    if division is Division.NEWTON:
        share = Fraction(term, total << 12) * 256
    else:
        share = 256 * oracle_ops.float_of(term) / oracle_ops.float_of(total)
    return int(min(int(share + Fraction(1, 2)) - 128, 127))


def hard(division: Division, seed: int) -> tuple[IntArray, IntArray]:
    """Rows of terms, of which the first is no quotient rounded once, and their sums."""
    rng, rule = np.random.default_rng(seed), op(division)
    pairs = [near_tie(division, rng) for _ in range(TRIES)]
    other = [p for p in pairs if oracle_ops.share(rule, *p) != once(division, *p)]
    print(f"seed {seed}: {len(other)} of {len(pairs)} near ties are no quotients rounded once")
    assert len(other) >= ROWS
    chosen = other[:ROWS]
    terms = [[t, pairs[k][0]] for k, (t, _) in enumerate(chosen)]
    return np.array(terms), np.array([[s] for _, s in chosen])


def check(division: Division, way: type, seed: int) -> None:
    terms, totals = hard(division, seed)
    types = (
        tensor(terms.shape, "u31", codes=(0, TOP[division])),
        tensor(totals.shape, "u31", codes=(int(totals.min()), int(totals.max()))),
    )
    graph = Case("shares", op(division), types).graph()
    option = way(task(graph, graph.nodes[0])).options()[-1]
    codes = {"a": terms[None], "b": totals[None]}
    found, _ = rtl_designs.simulate(graph, fed_fast(graph, option), codes, stall=0.2, seed=seed)
    rule = op(division)
    wanted = [
        [oracle_ops.share(rule, int(term), int(total)) for term in row]
        for row, (total,) in zip(terms, totals, strict=True)
    ]
    assert found["y"][0].tolist() == wanted


@pytest.mark.parametrize("way", [SharedSerially, SharedByLimbs, SharedAtOnce])
@pytest.mark.parametrize("division", Division)
def test_shares_that_are_no_quotients_rounded_once_have_the_kernels_codes(division, way, seed):
    check(division, way, seed)


@pytest.mark.parametrize(
    ("kind", "division"),
    [(NewtonDivision, Division.NEWTON), (FloatDivision, Division.FLOAT32)],
)
def test_one_rounding_less_is_seen(kind, division, seed, monkeypatch):
    """The check's mutant: products that are not rounded to 31 or 24 bits first."""
    monkeypatch.setattr(kind, "nudge", lambda self, product: 0)
    with pytest.raises(AssertionError):
        check(division, SharedAtOnce, seed)
