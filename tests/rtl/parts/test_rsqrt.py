"""Reciprocal roots digit by digit: float64's own codes, whatever it rounds on the way."""

from __future__ import annotations

import itertools
import math
import random
from fractions import Fraction

import pytest
from support.rtl_bench import beats_of, refused, run, unpack, words

from hwsim.fixed import Format
from rtl.parts import rsqrt
from rtl.parts.rsqrt import ReciprocalRoot, Sum

FORMS = [  # bits of a code, the offset, bits of the result
    (3, 1.0, 0),  # ties at whole numbers, results of 0 and 1
    (8, 0.1, 12),
    (20, 2.0**-55, 4),  # hardly anything under the least root
    (30, 6553.6, 40),
    (53, 0.3, 48),
    (55, 1e-3, 47),
    (60, 4.0, 53),
    (62, 9e15 + 0.5, 62),
    (10, 3e20, 20),  # nothing but the offset
]


def float64(code: int, offset: float, bits: int) -> int:
    """The definition in float64, whose sum, root and quotient are each rounded to nearest."""
    return round(2.0**bits / math.sqrt(float(code) + offset))


def once(code: int, offset: float, bits: int) -> int:
    """The exact number, rounded once."""
    square = Fraction(4) ** bits / (code + Fraction(offset))
    return (math.isqrt(math.floor(4 * square)) + 1) // 2


def samples(width: int, offset: float, count: int, rng: random.Random) -> list[int]:
    """Both ends, powers of two and their neighbours, and what makes a square with the offset."""
    top = (1 << width) - 1

    def one() -> int:
        near = (1 << rng.randrange(width + 1)) + rng.randint(-2, 2)
        square = rng.randrange(1 << width // 2) ** 2 - int(offset)
        return min(max(rng.choice([near, square, rng.randint(0, top)]), 0), top)

    return [0, top, *(one() for _ in range(count - 2))]


def made(width: int, offset: float, bits: int) -> ReciprocalRoot:
    top, fmt = (1 << width) - 1, Format.uint(width)
    out = Format.holding(float64(top, offset, bits), float64(0, offset, bits))
    return ReciprocalRoot(
        1, total=Sum(Fraction(offset), (0, top)), bits=bits, in_format=fmt, out=out
    )


def outputs(form: tuple[int, float, int], codes: list[int], rng: random.Random, **how: float):
    dut = made(*form)
    sent = words(beats_of(codes, 1), dut.i.payload.shape())
    got = run(dut, {dut.i: sent}, {dut.o: len(codes)}, rng=rng, limit=10**6, **how)
    if not how:
        times = got.cycles[dut.o]
        assert times[0] - got.cycles[dut.i][0] == dut.cycles + 1
        assert {b - a for a, b in itertools.pairwise(times)} == {dut.cycles}
    target = dut.target
    return [unpack(word, 1, target.width, target.is_signed)[0] for word in got.words[dut.o]]


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_codes_are_float64s_at_the_claimed_rate(form, seed):
    rng = random.Random(seed)
    codes = samples(form[0], form[1], 16, rng)
    assert outputs(form, codes, rng) == [float64(code, *form[1:]) for code in codes]


@pytest.mark.parametrize("form", FORMS[::3], ids=str)
def test_codes_are_float64s_under_stalls(form, seed):
    rng = random.Random(seed)
    codes = samples(form[0], form[1], 6, rng)
    found = outputs(form, codes, rng, idle=0.5, stall=0.9)
    assert found == [float64(code, *form[1:]) for code in codes]


@pytest.mark.slow
@pytest.mark.parametrize("number", range(60))
def test_codes_are_float64s_for_random_forms(number, seed):
    rng = random.Random(seed + number)
    width = rng.randint(1, 62)
    offset = rng.choice([rng.random(), 1.0, 1.75]) * 2.0 ** rng.randint(-30, 60)
    bits = min(rng.randint(0, 62), math.floor(51 + math.log2(offset) / 2))
    codes = samples(width, offset, 12, rng)
    found = outputs((width, offset, bits), codes, rng)
    assert found == [float64(code, offset, bits) for code in codes], (width, offset, bits)


def test_codes_that_the_roundings_on_the_way_decide_are_float64s(seed):
    """Its mutant: no code of these is what one rounding of the exact number gives."""
    rng, form = random.Random(seed), (12, 4.0, 53)
    shown = [c for c in range(1 << 12) if float64(c, *form[1:]) != once(c, *form[1:])]
    assert len(shown) > 50
    codes = rng.sample(shown, 20)
    assert outputs(form, codes, rng) == [float64(code, *form[1:]) for code in codes]


def test_a_sum_that_is_not_rounded_is_caught(seed, monkeypatch):
    form, rng = FORMS[5], random.Random(seed)
    codes = samples(form[0], form[1], 16, rng)
    whole = rsqrt.rounded
    monkeypatch.setattr(rsqrt, "rounded", lambda m, total: whole(m, total & -(1 << 9)))
    assert outputs(form, codes, rng) != [float64(code, *form[1:]) for code in codes]


def test_codes_below_0_are_refused():
    refused(
        lambda: Sum(Fraction(1), (-1, 5)),
        "the codes under a root must be 0 or more, not from -1 on",
    )
