"""Formats, roundings, overflows and casts: literal tables, then every code against the oracle."""

from __future__ import annotations

import random
from fractions import Fraction
from functools import cache
from itertools import product
from pathlib import Path

import array_api_strict
import numpy as np
import pytest
from support import oracle

from hwsim.errors import HwsimError
from hwsim.fixed import (
    Format,
    Overflow,
    Rounding,
    cast,
    cast_range,
    overflow,
    overflow_range,
    round_float,
    round_int,
    round_real,
    shift_round,
)

# Quarters, from -2 to 2, rounded to whole numbers: the definitions of AMD UG1399, Table
# "Quantization Modes", worked by hand. CEIL and UP are those of QONNX's `rounding_mode`.
QUARTERS = (-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7, 8)
ROUNDED = {
    "TRN": (-2, -2, -2, -2, -1, -1, -1, -1, 0, 0, 0, 0, 1, 1, 1, 1, 2),
    "TRN_ZERO": (-2, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2),
    "RND": (-2, -2, -1, -1, -1, -1, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2),
    "RND_ZERO": (-2, -2, -1, -1, -1, -1, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2),
    "RND_INF": (-2, -2, -2, -1, -1, -1, -1, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2),
    "RND_MIN_INF": (-2, -2, -2, -1, -1, -1, -1, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2),
    "RND_CONV": (-2, -2, -2, -1, -1, -1, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 2),
    "CEIL": (-2, -1, -1, -1, -1, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2),
    "UP": (-2, -2, -2, -2, -1, -1, -1, -1, 0, 1, 1, 1, 1, 2, 2, 2, 2),
}
# Whole numbers brought into three bits: UG1399, Table "Overflow Modes", worked by hand.
WHOLE = (-13, -9, -8, -6, -5, -4, -3, -1, 0, 3, 4, 5, 7, 8, 12)
FITTED = {
    ("s3", "WRAP"): (3, -1, 0, 2, 3, -4, -3, -1, 0, 3, -4, -3, -1, 0, -4),
    ("s3", "SAT"): (-4, -4, -4, -4, -4, -4, -3, -1, 0, 3, 3, 3, 3, 3, 3),
    ("s3", "SAT_ZERO"): (0, 0, 0, 0, 0, -4, -3, -1, 0, 3, 0, 0, 0, 0, 0),
    ("s3", "SAT_SYM"): (-3, -3, -3, -3, -3, -3, -3, -1, 0, 3, 3, 3, 3, 3, 3),
    ("u3", "WRAP"): (3, 7, 0, 2, 3, 4, 5, 7, 0, 3, 4, 5, 7, 0, 4),
    ("u3", "SAT"): (0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 4, 5, 7, 7, 7),
    ("u3", "SAT_ZERO"): (0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 4, 5, 7, 0, 0),
    ("u3", "SAT_SYM"): (0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 4, 5, 7, 7, 7),
    ("s1", "WRAP"): (-1, -1, 0, 0, -1, 0, -1, -1, 0, -1, 0, -1, -1, 0, 0),
    ("s1", "SAT_SYM"): (0,) * 15,
}
KINDS = ("int64", "float32", "float64")
by_kind = pytest.mark.parametrize("kind", KINDS)
by_xp = pytest.mark.parametrize("xp", [np, array_api_strict], ids=lambda xp: xp.__name__)
by_rounding = pytest.mark.parametrize("rounding", Rounding, ids=lambda r: r.value)
by_overflow = pytest.mark.parametrize("mode", Overflow, ids=lambda m: m.value)


def whole(array: object) -> list[int]:
    """The elements as Python integers, which they must be."""
    out = np.asarray(array)
    assert (out == out.astype(np.int64)).all()
    return out.astype(np.int64).tolist()


@by_kind
@by_rounding
def test_each_rounding_gives_its_row(rounding, kind):
    codes = np.array(QUARTERS, kind)
    assert tuple(whole(shift_round(np, codes, 2, rounding))) == ROUNDED[rounding.value]
    assert tuple(round_int(q, 2, rounding) for q in QUARTERS) == ROUNDED[rounding.value]
    assert (
        tuple(oracle.rounded(Fraction(q, 4), rounding.value) for q in QUARTERS)
        == (ROUNDED[rounding.value])
    )


@by_kind
@pytest.mark.parametrize(("fmt", "mode"), FITTED, ids="-".join)
def test_each_overflow_gives_its_row(fmt, mode, kind):
    kept = Format.parse(fmt)
    assert (
        tuple(whole(overflow(np, np.array(WHOLE, kind), kept, Overflow(mode))))
        == (FITTED[fmt, mode])
    )
    assert tuple(oracle.fitted(w, kept, mode) for w in WHOLE) == FITTED[fmt, mode]


def test_casts_of_the_specification():
    """Examples of UG1399: ap_fixed<3, 2> of 1.25 and -1.25 in each quantization mode."""
    src, dst = Format.parse("s6.3"), Format(True, 2, 1)
    rows = {
        "RND": (3, -2),
        "RND_ZERO": (2, -2),
        "RND_MIN_INF": (2, -3),
        "RND_INF": (3, -3),
        "RND_CONV": (2, -2),
        "TRN": (2, -3),
        "TRN_ZERO": (2, -2),
    }
    for mode, row in rows.items():
        got = cast(np, np.array([10, -10]), src, dst, Rounding(mode), Overflow.WRAP)
        assert tuple(got.tolist()) == row, mode


SOURCES = tuple(map(Format.parse, ("s10.4", "u9.4")))
TARGETS = tuple(
    map(Format.parse, ("s5.2", "u5.2", "s3.4", "u4.-1", "s12.9", "s1", "s4.-2", "s3.-8"))
)


@cache
def defined(src: Format, dst: Format, rounding: str, mode: str) -> list[int]:
    """The oracle's cast of every code."""
    reals = (oracle.real(code, src.frac_bits) for code in range(src.min, src.max + 1))
    return [oracle.cast(r, dst, rounding, mode) for r in reals]


@by_xp
@by_kind
@by_overflow
def test_every_cast_of_ten_bits_equals_the_definition(mode, kind, xp):
    compared = 0
    for src, dst, rounding in product(SOURCES, TARGETS, Rounding):
        codes = xp.asarray(np.arange(src.min, src.max + 1).astype(kind))
        got = whole(cast(xp, codes, src, dst, rounding, mode))
        assert got == defined(src, dst, rounding.value, mode.value), (src, dst, rounding)
        compared += len(got)
    assert compared == (1024 + 512) * len(TARGETS) * len(Rounding)


@by_rounding
def test_the_comparison_sees_every_other_rounding(rounding):
    """Each mode differs from each other one on the codes compared above."""
    codes = np.arange(-512, 512)
    for other in set(Rounding) - {rounding}:
        here, there = (shift_round(np, codes, 2, mode) for mode in (rounding, other))
        assert (here != there).any(), other


@by_rounding
def test_shifts_longer_than_a_code_leave_its_sign(rounding):
    for shift in (61, 62, 63, 64, 90):
        codes = [0, 1, -1, (1 << 60), -(1 << 60), (1 << 60) + 1, -(1 << 60) - 1]
        got = shift_round(np, np.array(codes), shift, rounding)
        assert whole(got) == [
            oracle.rounded(Fraction(code, 2**shift), rounding.value) for code in codes
        ]


@by_rounding
def test_a_bound_range_is_exact_up_to_the_carriers_limit(rounding):
    """The largest codes that `shift_round` promises, in each float."""
    for kind, bits in (("float32", 24), ("float64", 53)):
        for shift in (1, 3, 10):
            top = (1 << bits) - (1 << shift) - 1
            codes = [s * (top - k) for k in range(40) for s in (1, -1)]
            got = whole(shift_round(np, np.array(codes, kind), shift, rounding))
            assert got == [
                oracle.rounded(Fraction(code, 2**shift), rounding.value) for code in codes
            ]


@by_xp
@by_rounding
def test_any_real_is_rounded_exactly(rounding, xp, seed):
    """Reals have no proven grid: next to a tie and past 2**52, adding a half would round."""
    rng = random.Random(seed)
    below = float(np.nextafter(0.5, 0))
    reals = [below, -below, 0.5, -0.5, 1.5, 2.5, -2.5, 2.0**52 + 1, -(2.0**52) - 1, 1e300, 1e-300]
    reals += [-1e-300, 2.0**51 + 0.5, 2.0**51 + 1.5, -(2.0**51) - 0.5]
    reals += [rng.uniform(-9, 9) for _ in range(200)] + [rng.randint(-9, 9) / 2 for _ in range(50)]
    got = np.asarray(round_real(xp, xp.asarray(np.array(reals)), rounding)).tolist()
    assert [int(g) for g in got] == [oracle.rounded(Fraction(r), rounding.value) for r in reals]
    if rounding is Rounding.RND:
        assert round_float(np, np.array([below]), rounding)[0] == 1.0  # what the above would catch


@by_rounding
@by_overflow
def test_proven_ranges_hold_and_are_tight(rounding, mode):
    src = Format.parse("s7.3")
    for dst in map(Format.parse, ("s4.1", "u4.1", "s8.3", "s3.2")):
        table = cast(np, np.arange(src.min, src.max + 1), src, dst, rounding, mode)
        for lo in range(src.min, src.max + 1, 5):
            for hi in range(lo, src.max + 1, 7):
                met = table[lo - src.min : hi - src.min + 1]
                bounds = cast_range(lo, hi, src, dst, rounding, mode)
                if mode is Overflow.WRAP and bounds == (dst.min, dst.max):
                    continue  # more than one turn
                assert bounds == (met.min(), met.max()), (lo, hi)


@by_overflow
def test_a_range_that_leaves_the_format_on_one_side_is_kept(mode):
    fmt = Format.parse("s4")
    for low in range(-40, 40):
        for high in range(low, 40):
            codes = [oracle.fitted(c, fmt, mode.value) for c in range(low, high + 1)]
            lo, hi = overflow_range(low, high, fmt, mode)
            assert lo <= min(codes) and max(codes) <= hi
            if mode is not Overflow.WRAP or (low + 8) // 16 == (high + 8) // 16:
                assert (lo, hi) == (min(codes), max(codes))


def test_plain_integers_of_any_size_are_rounded_too(seed):
    rng = random.Random(seed)
    for _ in range(2000):
        value, shift = rng.randint(-(1 << 90), 1 << 90), rng.randint(-5, 95)
        for mode in Rounding:
            expected = oracle.rounded(Fraction(value) * Fraction(2) ** -shift, mode.value)
            assert round_int(value, shift, mode) == expected


def test_a_format_names_its_codes():
    fmt = Format(True, 10, 6)
    assert (fmt.width, fmt.min, fmt.max, str(fmt)) == (16, -32768, 32767, "s16.6")
    assert (Format.uint(8).min, Format.uint(8).max, str(Format.uint(8))) == (0, 255, "u8")
    assert (Format.int(1).min, Format.int(1).max) == (-1, 0)
    assert Format(True, -2, 6) == Format.parse("s4.6")
    assert Format(False, 9, -3) == Format.parse("u6.-3")
    for text in ("s8", "u4", "s16.6", "s4.9", "u6.-3", "s1", "u64.64"):
        assert str(Format.parse(text)) == text


def test_the_narrowest_format_holds_its_ends():
    for lo in range(-20, 21):
        for hi in range(lo, 21):
            fmt = Format.holding(lo, hi)
            assert fmt.min <= lo and hi <= fmt.max and fmt.signed == (lo < 0)
            if fmt.width > 1:
                less = Format(fmt.signed, fmt.int_bits - 1)
                assert lo < less.min or hi > less.max
    assert str(Format.holding(-5, 3, 7)) == "s4.7"


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Format(True, -3, 3), "a format's width must be at least 1 bit, not 0"),
        (lambda: Format.int(0), "a format's width must be at least 1 bit, not 0"),
        (lambda: Format.parse("s0"), "a format's width must be at least 1 bit, not 0"),
        (lambda: Format.parse("i8"), "a format must be like s8, u4 or s16.6, not 'i8'"),
        (lambda: Format.parse("s8.x"), "a format must be like s8, u4 or s16.6, not 's8.x'"),
        (lambda: Format.parse("s8\n"), "a format must be like s8, u4 or s16.6, not 's8\\n'"),
    ],
)
def test_a_format_that_cannot_be_is_refused(make, text):
    with pytest.raises(HwsimError) as error:
        make()
    assert str(error.value) == text


def test_the_manuals_table_of_roundings_is_right():
    """docs/numbers.md: every cell of its first table."""
    text = (Path(__file__).parents[2] / "docs" / "numbers.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in line.strip("|\n").split("|")]
        for line in text.splitlines()
        if line.startswith("| ")
    ]
    head = rows[0]
    values = [Fraction(cell) for cell in head[2:]]
    table = {row[0]: [int(cell) for cell in row[2:]] for row in rows[1:] if row[0] in ROUNDED}
    assert table == {mode: [oracle.rounded(value, mode) for value in values] for mode in ROUNDED}
    fits = {row[0]: tuple(map(int, row[2:])) for row in rows if row[0] in Overflow.__members__}
    s3, u3 = Format.parse("s3"), Format.parse("u3")
    met = ((-9, s3), (-4, s3), (4, s3), (12, u3))
    assert fits == {
        mode: tuple(oracle.fitted(code, fmt, mode) for code, fmt in met)
        for mode in Overflow.__members__
    }
