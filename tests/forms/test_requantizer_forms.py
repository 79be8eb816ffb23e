"""Integer forms of requantizers against definitions in plain integers and fractions."""

from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from support.forms import choose
from support.seeds import seeded

from hwsim.errors import HwsimError
from hwsim.fixed import Format, Overflow, Rounding
from hwsim.forms.choose import literal_form
from hwsim.forms.doubles import first_within
from hwsim.forms.narrow import narrowest
from hwsim.forms.requantizers import Affine, FloatProduct, Form, Output, TwoRoundings, round_to_f32
from hwsim.forms.thresholds import literal, thresholds
from hwsim.ops.requantize import Requantize, Scheme

SEED = seeded(1124)
INT8, UINT8 = Format.int(8), Format.uint(8)
WIDE = [Scheme.F32_RNE_OUT, Scheme.F32_RNE_IN, Scheme.SINGLE]
"""Schemes that say what becomes of sums of 62 bits."""
SATURATING = [scheme for scheme in Scheme if scheme is not Scheme.SHIFT]


def float32(x: Fraction) -> Fraction:
    """The float32 nearest to `x`, ties to even (no subnormals, no overflow)."""
    if x == 0:
        return x
    exponent = math.floor(math.log2(abs(x))) - 23
    while abs(x) >= Fraction(2) ** (exponent + 24):
        exponent += 1
    while abs(x) < Fraction(2) ** (exponent + 23):
        exponent -= 1
    step = Fraction(2) ** exponent
    return round(x / step) * step


def rounding_divide(x: int, power: int) -> int:
    """gemmlowp's RoundingDivideByPOT: to nearest, ties away from zero."""
    half = Fraction(x, 2**power)
    return (1 if x >= 0 else -1) * math.floor(abs(half) + Fraction(1, 2))


def high_product(a: int, m: int) -> int:
    """gemmlowp's SaturatingRoundingDoublingHighMul, as its C++ text has it."""
    product = a * m
    nudge = 1 << 30 if product >= 0 else 1 - (1 << 30)
    quotient = abs(product + nudge) >> 31
    return quotient if product + nudge >= 0 else -quotient


def oracle(op: Requantize, x: int, channel: int) -> int:
    """One code by the runtimes' documented steps."""
    d = op.multiplier[channel % len(op.multiplier)]
    acc, zero = x - op.input_zero_point, op.zero_point
    fraction, s = math.frexp(d)
    m = math.floor(fraction * 2**31 + 0.5)
    if m == 2**31:
        m, s = m // 2, s + 1
    match op.scheme:
        case Scheme.F32_RNE_OUT:
            y = round(float32(float32(Fraction(acc)) * float32(Fraction(d)))) + zero
        case Scheme.F32_RNE_IN:
            product = float32(float32(Fraction(acc)) * float32(Fraction(d)))
            y = round(float32(product + zero))
        case Scheme.GEMMLOWP_DOUBLE:
            y = rounding_divide(high_product(acc << max(s, 0), m), max(-s, 0)) + zero
        case Scheme.RUY:
            high = ((acc << max(s, 0)) * m + 2**30) // 2**31
            y = math.floor(Fraction(high, 2 ** max(-s, 0)) + Fraction(1, 2)) + zero
        case Scheme.F64_AWAY:
            size = math.floor(abs(Fraction(float(acc) * d)) + Fraction(1, 2))
            y = (size if acc > 0 else -size) + zero
        case Scheme.HALF_AWAY:
            size = math.floor(Fraction(abs(acc) * m, 2 ** (31 - s)) + Fraction(1, 2))
            y = (size if acc > 0 else -size) + zero
        case Scheme.REDUCED:
            m = 0x7FFF if m >= 0x7FFF0000 else (m + 2**15) // 2**16
            y = math.floor(Fraction(acc * m, 2 ** (15 - s)) + Fraction(1, 2)) + zero
        case _:
            y = math.floor(Fraction(acc * m, 2 ** (31 - s)) + Fraction(1, 2)) + zero
    return min(max(y, op.out.min), op.out.max)


def requantize(scheme: Scheme, *multiplier: float, **more: object) -> Requantize:
    return Requantize(scheme=scheme, multiplier=multiplier, **({"out": INT8} | more))  # type: ignore[arg-type]


def edges(op: Requantize, lo: int, hi: int, count: int, rng: random.Random) -> np.ndarray:
    """Inputs around thresholds, and anywhere; one column a channel."""
    at = thresholds(op, lo, hi).at
    near = [at[rng.randrange(len(at))] + rng.randrange(-1, 2) for _ in range(count)]
    far = [[rng.randrange(lo, hi + 1) for _ in range(at.shape[1])] for _ in range(count)]
    return np.clip(np.array([*near, *far]), lo, hi)


def agrees(form: Form, op: Requantize, x: np.ndarray) -> bool:
    want = [[oracle(op, int(v), c) for c, v in enumerate(row)] for row in x]
    return bool((form.run(x) == np.array(want)).all())


def literals(op: Requantize) -> list[Form]:
    """The scheme's own steps; a product in float64 has no such form in integers."""
    if op.scheme is Scheme.F64_AWAY:
        return []
    return [literal_form(op, Output(format=op.out, zero_point=op.zero_point))]


def tie_by_rounding() -> tuple[float, int]:
    """A multiplier and a sum whose exact product is just below a tie, which float64 makes of it."""
    rng = random.Random(SEED)
    for _ in range(100_000):
        total = rng.randrange(1 << 28, 1 << 30)
        d = (rng.randrange(8000, 16000) + 0.5) / total
        exact = Fraction(d) * total
        if exact < math.floor(exact) + Fraction(1, 2) == Fraction(d * total):
            return d, total
    raise AssertionError("there is none")


def test_a_product_in_float64_is_an_exact_one_but_where_its_own_rounding_makes_a_tie() -> None:
    d, total = tie_by_rounding()
    op = requantize(Scheme.F64_AWAY, d, 0.1, out=Format.int(16))
    form = choose(op, 1 - total, total - 1)
    assert isinstance(form, Affine)
    x = edges(op, 1 - total, total - 1, 150, random.Random(SEED))
    assert agrees(form, op, x)
    with pytest.raises(HwsimError, match=f"no sum from 0 to {total} makes it a tie by its own"):
        choose(op, 0, total)
    assert not agrees(form, op, np.array([[total, total]]))


def test_the_first_multiple_between_two_residues_is_found() -> None:
    rng = random.Random(SEED)
    for _ in range(3000):
        modulus = rng.randrange(2, 200)
        step, low = rng.randrange(modulus), rng.randrange(modulus)
        high = rng.randrange(low, modulus)
        every = (n for n in range(modulus) if low <= n * step % modulus <= high)
        assert first_within(step, modulus, low, high) == next(every, None)


@pytest.mark.parametrize("scheme", SATURATING)
@pytest.mark.parametrize("zero", [0, 7, -128])
def test_the_chosen_form_is_the_scheme_on_every_input_of_a_small_range(
    scheme: Scheme, zero: int
) -> None:
    lo, hi = -500, 430
    x = np.arange(lo, hi + 1)[:, None] * np.ones(5, np.int64)
    op = requantize(scheme, 0.25, 0.1, 2**-5, 0.75, 1.37, zero_point=zero, input_zero_point=-3)
    form = choose(op, lo, hi)
    assert agrees(form, op, x)
    assert all(agrees(form, op, x) for form in literals(op))


@pytest.mark.parametrize(
    ("scheme", "bits"),
    [
        (s, bits)
        for s in SATURATING
        for bits in (14, 20, 25, 31)[: 3 if s is Scheme.F64_AWAY else 4]
    ],
)
def test_the_chosen_form_is_the_scheme_around_every_threshold(scheme: Scheme, bits: int) -> None:
    rng = random.Random(SEED + bits)
    lo, hi = -(1 << bits), (1 << bits) - 1
    for zero in (0, 33):
        d = [2 ** rng.uniform(6 - bits, 8 - bits) for _ in range(3)]
        d[0] = 2.0 ** (6 - bits)  # ties
        op = requantize(scheme, *d, zero_point=zero)
        x = edges(op, lo, hi, 150, rng)
        assert agrees(choose(op, lo, hi), op, x), f"seed {SEED + bits}"
        assert all(agrees(form, op, x) for form in literals(op)), f"seed {SEED + bits}"


@pytest.mark.parametrize("out", [INT8, Format.int(16)], ids=str)
@pytest.mark.parametrize(
    ("scheme", "bits"),
    [
        *((scheme, bits) for scheme in WIDE for bits in (38, 46, 61)),
        *((Scheme.REDUCED, bits) for bits in (38, 46)),
    ],
)
def test_sums_of_up_to_62_bits_are_rounded_as_the_scheme_says(
    scheme: Scheme, bits: int, out: Format, seed: int
) -> None:
    rng = random.Random(seed + bits)
    lo, hi = -(1 << bits), (1 << bits) - 1
    least = -32 if scheme in (Scheme.SINGLE, Scheme.REDUCED) else -200
    for zero in (0, 33):
        d = [2.0 ** max(out.width - 2 - bits + rng.uniform(0, 2), least) for _ in range(3)]
        d[0] = 2.0 ** max(out.width - 2 - bits, least)  # ties
        op = requantize(scheme, *d, zero_point=zero, out=out)
        scales = [1 << rng.randrange(bits + 1) for _ in range(150)]
        far = [[rng.randrange(-s, s) for _ in d] for s in scales]
        x = np.clip(np.array([*far, [lo] * 3, [hi] * 3]), lo, hi)
        if out.width == 8:
            x = np.concatenate([x, edges(op, lo, hi, 150, rng)])
        want = [[oracle(op, int(v), c) for c, v in enumerate(row)] for row in x]
        assert np.array_equal(literal(op, x), want), f"seed {seed}"
        assert agrees(choose(op, lo, hi), op, x), f"seed {seed}"
        wrong = replace(op, multiplier=tuple(v * (1 + 2.0**-7) for v in d))
        assert not np.array_equal(literal(wrong, x), want), "a mutant goes unseen"


def test_thresholds_are_where_the_code_changes() -> None:
    op = requantize(Scheme.F32_RNE_OUT, 0.37, 0.02, zero_point=5, out=UINT8)
    steps = thresholds(op, np.array([-50, -900]), np.array([800, 700]))
    for c, (lo, hi) in enumerate([(-50, 800), (-900, 700)]):
        codes = {x: oracle(op, x, c) for x in range(lo, hi + 1)}
        for k, at in enumerate(steps.at[:, c]):
            assert at == next((x for x in codes if codes[x] >= k + 1), hi + 1)


@pytest.mark.parametrize("scheme", SATURATING)
def test_a_window_clips_like_the_relu_that_follows(scheme: Scheme) -> None:
    op = requantize(scheme, 0.031, zero_point=-20)
    form = choose(op, -5000, 5000, (-20, 90))
    x = np.arange(-5000, 5001)[:, None]
    assert (form.run(x) == np.clip(literal(op, x), -20, 90)).all()
    assert form.bits <= choose(op, -5000, 5000).bits


def test_no_narrower_multiplier_has_the_same_thresholds() -> None:
    rng = random.Random(SEED)
    for _ in range(6):
        op = requantize(Scheme.SINGLE, rng.uniform(0.06, 0.3), out=Format.int(3))
        steps = thresholds(op, -40, 45)
        form = narrowest(steps, Output(format=op.out), shared=True)
        assert form is not None
        t = np.unique([steps.at, steps.at - 1])[:, None]
        want = literal(op, t)
        for shift in range(form.shift[0]):
            for m in range(int(0.4 * 2**shift) + 2):
                r = np.arange(-(20 << shift), 20 << shift)
                same = np.clip((t * m + r) >> shift, op.out.min, op.out.max) == want
                assert not same.all(axis=0).any(), (op.multiplier, m, shift)


@pytest.mark.parametrize("scheme", [Scheme.SINGLE, Scheme.F32_RNE_OUT])
@pytest.mark.parametrize("split", [None, 0])
def test_the_narrowest_form_has_the_very_thresholds(scheme: Scheme, split: int | None) -> None:
    """Before anybody checks it: no offset is one too large or too small."""
    rng = random.Random(SEED)
    found = 0
    for _ in range(40):
        op = requantize(scheme, rng.uniform(0.06, 1.3), rng.uniform(0.06, 0.3), out=Format.int(4))
        steps = thresholds(op, -rng.randrange(20, 60), rng.randrange(20, 60))
        for shared in (False, True):
            form = narrowest(steps, Output(format=op.out), shared=shared, split=split)
            assert form is None or steps.equal(form), (op.multiplier, shared)
            found += form is not None
    assert found > 60


def test_powers_of_two_need_no_multiplier() -> None:
    for scheme in (Scheme.F32_RNE_OUT, Scheme.F32_RNE_IN, Scheme.SINGLE):
        op = requantize(scheme, 2.0**-7, zero_point=3)
        assert choose(op, -(1 << 18), 1 << 18).bits == 0
    op = requantize(Scheme.F32_RNE_OUT, 0.5, 2.0**-9, zero_point=3)
    assert choose(op, -(1 << 18), 1 << 18).bits == 0


def test_gemmlowp_takes_one_offset_on_each_side_of_zero() -> None:
    op = requantize(Scheme.GEMMLOWP_DOUBLE, 0.0123, input_zero_point=11)
    form = choose(op, -20_000, 20_000)
    assert isinstance(form, Affine)
    assert form.split == 11 and form.bits <= 24


@pytest.mark.parametrize("scheme", [Scheme.F32_RNE_OUT, Scheme.F32_RNE_IN, Scheme.GEMMLOWP_DOUBLE])
def test_large_sums_fall_back_to_the_literal_form(scheme: Scheme) -> None:
    op = requantize(scheme, 2**-22.3, 2**-22.1, zero_point=9)
    form = choose(op, -(1 << 30), 1 << 30)
    assert isinstance(form, TwoRoundings if scheme is Scheme.GEMMLOWP_DOUBLE else FloatProduct)


def test_a_channel_with_one_code_costs_nothing() -> None:
    op = requantize(Scheme.F32_RNE_OUT, 0.01, 0.01, 0.01)
    form = choose(op, np.array([5, 90_000, -90_000]), np.array([5, 90_010, -89_000]))
    assert isinstance(form, Affine)
    assert form.bits == 0
    assert form.run(np.array([[5, 90_000, -90_000]])).tolist() == [[0, 127, -128]]


def test_shift_keeps_its_rounding_and_overflow() -> None:
    x = np.arange(-600, 600)[:, None]
    for rounding in Rounding:
        for overflow in Overflow:
            op = requantize(
                Scheme.SHIFT, 2.0**-2, rounding=rounding, overflow=overflow, zero_point=3
            )
            assert (choose(op, -600, 599).run(x) == literal(op, x)).all(), (rounding, overflow)


MUTANTS = {
    "offset": lambda f: replace(f, r=(f.r[0] + (1 << f.shift[0] - 1), *f.r[1:])),
    "slope": lambda f: replace(f, m=(f.m[0] + (f.m[0] >> 6) + 1, *f.m[1:])),
    "zero": lambda f: replace(f, out=replace(f.out, zero_point=1)),
    "tie": lambda f: replace(f, rounding=Rounding.RND),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_thresholds_tell_a_wrong_form(name: str) -> None:
    d = (2.0**-6,) if name == "tie" else (0.0131,)
    op = requantize(Scheme.F32_RNE_OUT, *d)
    steps, form = thresholds(op, -9000, 9000), choose(op, -9000, 9000)
    assert isinstance(form, Affine)
    assert steps.equal(form)
    assert not steps.equal(MUTANTS[name](form))


def test_one_rounding_is_not_the_float32_product() -> None:
    rng = random.Random(SEED)
    lo, hi = -(1 << 20), 1 << 20
    different = 0
    for _ in range(20):
        op = requantize(Scheme.F32_RNE_OUT, 2 ** rng.uniform(-14, -12))
        exact = literal_form(op, Output(format=INT8))
        assert isinstance(exact, FloatProduct)
        once = Affine(
            m=exact.m, r=(0,), shift=exact.shift, rounding=Rounding.RND_CONV, out=exact.out
        )
        different += not thresholds(op, lo, hi).equal(once)
    assert different >= 10  # random inputs almost never meet the few sums that differ


def test_rounding_to_24_bits_equals_numpy_float32() -> None:
    rng = random.Random(SEED)
    x = [rng.getrandbits(rng.randrange(1, 53)) for _ in range(3000)]
    x += [(1 << k) + d for k in range(23, 52) for d in (-1, 0, 1)]
    x += [((2 * rng.getrandbits(23) + (1 << 24)) << k) + (1 << k) for k in range(1, 26)]  # ties
    want = np.array(x).astype(np.float32).astype(np.int64)
    assert (round_to_f32(np.array(x)) == want).all()


def test_every_rung_is_used() -> None:
    rng, rungs = random.Random(SEED), Counter[str]()
    for scheme in SATURATING:
        for bits in (12, 16, 20, 24 if scheme is Scheme.F64_AWAY else 30):
            op = requantize(scheme, 2 ** rng.uniform(6 - bits, 8 - bits))
            form = choose(op, -(1 << bits), 1 << bits)
            split = isinstance(form, Affine) and form.split is not None
            rungs[f"{type(form).__name__}{' split' * split}"] += 1
    assert set(rungs) == {"Affine", "Affine split", "TwoRoundings", "FloatProduct"}


@pytest.mark.parametrize(
    ("op", "hi", "text"),
    [
        (
            requantize(Scheme.GEMMLOWP_DOUBLE, 0.1),
            1 << 31,
            "a sum requantized by gemmlowp_double must fit 32 bits, not range from 0 to 2147483648",
        ),
        (
            requantize(Scheme.REDUCED, 0.1),
            1 << 47,
            "a sum requantized by reduced must fit 48 bits, not range from 0 to 140737488355328",
        ),
        (
            requantize(Scheme.SINGLE, 0.1),
            1 << 61,
            "a sum requantized by single must fit 62 bits, not range from 0 to 2305843009213693952",
        ),
        (
            requantize(Scheme.F32_RNE_OUT, 0.1, out=Format.int(24)),
            99,
            "the output of f32_rne_out must have at most 20 bits in hardware, not 24",
        ),
    ],
)
def test_what_hardware_cannot_do_is_said(op: Requantize, hi: int, text: str) -> None:
    with pytest.raises(HwsimError, match=f"^{text}$"):
        choose(op, 0, hi)
