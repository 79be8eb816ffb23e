"""Requantizer, adder, table and map components against the operators' own definitions."""

from __future__ import annotations

import random
from functools import partial
from typing import Any

import numpy as np
import pytest
from amaranth import Const
from support import rescaling
from support.forms import choose
from support.rescaling import INT8, OPS, PATTERNS, SEED, UINT8, exact, op_of
from support.rtl_bench import beats_of, refused, run, words

from hwsim.fixed import Format, Overflow, Rounding, cast
from hwsim.forms.adders import FittedSum, SearchedSum, SumForm, TableSum, WeightedSum, choose_add
from hwsim.forms.requantizers import Affine, FloatProduct, Form, TwoRoundings
from hwsim.ops.base import TensorType
from hwsim.ops.requantize import Requantize, Scheme
from hwsim.ops.scaled_add import ScaledAdd
from rtl.parts import floating
from rtl.parts.caster import caster
from rtl.parts.pointwise import Adder, Lookup, clipper
from rtl.parts.requantizer import Requantizer
from rtl.parts.stream import Beat


def differing(op: Requantize, form: Form, bits: int, **how: Any) -> int:
    """Beats that the pipelined component gives otherwise than the operator, at full rate."""
    return rescaling.differing(
        op, partial(Requantizer, form), bits, interval=lambda dut: (dut.latency, 1), **how
    )


@pytest.mark.parametrize("name", OPS)
@pytest.mark.parametrize("kind", ["chosen", "literal"])
def test_each_form_gives_the_operator_s_codes_at_full_rate(name: str, kind: str) -> None:
    op, bits = OPS[name]
    assert differing(op, rescaling.form_of(op, kind, bits), bits) == 0


def test_the_cases_cover_every_form() -> None:
    forms = {type(exact(op)) for op, _ in OPS.values()}
    assert forms == {Affine, TwoRoundings, FloatProduct}


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
@pytest.mark.parametrize("lanes", [1, 2, 6])
def test_channels_keep_their_constants_under_any_stall(
    lanes: int, pattern: tuple[float, float, int | None]
) -> None:
    op, bits = OPS["float out"]
    form = choose(op, -(1 << bits), (1 << bits) - 1)
    assert differing(op, form, bits, lanes=lanes, pattern=pattern, pixels=40) == 0
    assert differing(op, exact(op), bits, lanes=lanes, pattern=pattern, pixels=20) == 0


def test_one_constant_serves_many_lanes() -> None:
    op, bits = OPS["unsigned"]
    assert differing(op, choose(op, -(1 << bits), 1 << bits), bits, lanes=4) == 0


@pytest.mark.parametrize("rounding", list(Rounding))
@pytest.mark.parametrize("overflow", list(Overflow))
def test_shift_has_every_rounding_and_overflow(rounding: Rounding, overflow: Overflow) -> None:
    op = op_of(Scheme.SHIFT, 2**-2, rounding=rounding, overflow=overflow, zero_point=3)
    assert differing(op, choose(op, -600, 600), 9, pixels=250) == 0


def test_a_rounding_off_by_one_tie_is_caught() -> None:
    op = op_of(Scheme.SHIFT, 2**-4, rounding=Rounding.RND_CONV)
    wrong = op_of(Scheme.SHIFT, 2**-4, rounding=Rounding.RND)
    assert differing(op, choose(wrong, -600, 600), 9, pixels=200) > 0


def test_a_float_product_without_its_first_rounding_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    op, bits = OPS["float wide"]
    assert differing(op, exact(op), bits, pixels=300) == 0
    monkeypatch.setattr(floating, "half_step", lambda m, value, width, *_: (Const(0, width),) * 2)
    assert differing(op, exact(op), bits, pixels=300) > 0


def test_lanes_must_divide_the_channels() -> None:
    form = exact(OPS["float out"][0])
    refused(
        lambda: Requantizer(form, lanes=4, channels=6, in_format=INT8),
        "a requantizer's lanes must divide 6 channels, not be 4",
    )
    refused(
        lambda: Requantizer(form, lanes=4, channels=4, in_format=INT8),
        "a requantizer's constants must be 1 or 4, not 6",
    )


def add(ra: float, rb: float, offset: float = -2.5) -> ScaledAdd:
    ratios = float(np.float32(ra)), float(np.float32(rb))
    return ScaledAdd(ratios=ratios, offset=offset, out=INT8, shifts=(3, -5, 7))


def steps(a: float, b: float, divisor: float, shifts: tuple[int, int, int]) -> ScaledAdd:
    first, second, last = (float(np.float32(value)) for value in (a, b, divisor))
    return ScaledAdd(ratios=(first, second), offset=0.0, out=INT8, shifts=shifts, divisor=last)


A, B = TensorType((4,), INT8), TensorType((4,), UINT8, range=(2, 200))
ADDS = {
    "half": (add(0.5, 0.5), WeightedSum),
    "quarter": (add(0.5, 0.25, 0.0), WeightedSum),
    "free": (add(0.75826, 0.45304), WeightedSum),
    "literal": (add(0.8131, 0.3307), TableSum),
    "fitted": (steps(0.0149, 0.0043, 0.0174, (-56, -58, 4)), FittedSum),
    "searched": (steps(0.0131, 0.0061, 0.0018, (-51, -59, -39)), SearchedSum),
    "few codes": (steps(0.001, 0.002, 0.1, (30, -60, 0)), SearchedSum),
}


def form_of(name: str) -> tuple[ScaledAdd, SumForm]:
    op, kind = ADDS[name]
    form = choose_add(op, A, B)
    assert isinstance(form, kind)
    return op, form


@pytest.mark.parametrize("name", ADDS)
def test_a_sum_s_form_agrees_on_every_pair_of_codes(name: str) -> None:
    op, form = form_of(name)
    a, b = np.meshgrid(np.arange(A.lo, A.hi + 1), np.arange(B.lo, B.hi + 1), indexing="ij")
    assert (form.run(a, b) == op.pairs([A, B])[a - INT8.min, b]).all()


@pytest.mark.parametrize("name", ADDS)
@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_the_adder_gives_the_operator_s_codes(
    name: str, pattern: tuple[float, float, int | None]
) -> None:
    (op, form), lanes, rng = form_of(name), 2, random.Random(SEED)
    dut = Adder(form, lanes, a_format=INT8, b_format=UINT8)
    a = [rng.randrange(A.lo, A.hi + 1) for _ in range(160)]
    b = [rng.randrange(B.lo, B.hi + 1) for _ in range(160)]
    table = op.pairs([A, B])
    want = [int(table[x - INT8.min, y]) for x, y in zip(a, b, strict=True)]
    fed = {
        dut.a: words(beats_of(a, lanes), Beat.of(lanes, INT8)),
        dut.b: words(beats_of(b, lanes), Beat.of(lanes, UINT8)),
    }
    idle, stall, reset = pattern
    got = run(dut, fed, {dut.o: 80}, rng=rng, idle=idle, stall=stall, reset_at=reset)
    assert got.words[dut.o] == words(beats_of(want, lanes), dut.target)
    if pattern == PATTERNS[0]:
        assert got.cycles[dut.o] == [k + dut.latency for k in range(80)]


def mapped(dut: Any, codes: list[int], fmt: Format, pattern: Any) -> list[int]:
    idle, stall, reset = pattern
    sent = words(beats_of(codes, 2), Beat.of(2, fmt))
    rng, ports = random.Random(SEED), {dut.o: len(codes) // 2}
    return run(dut, {dut.i: sent}, ports, rng=rng, idle=idle, stall=stall, reset_at=reset).words[
        dut.o
    ]


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
@pytest.mark.parametrize("fmt", [INT8, UINT8], ids=str)
def test_a_lookup_and_a_clip_are_right_on_all_codes(fmt: Format, pattern: Any) -> None:
    rng = random.Random(SEED)
    values, codes = [rng.randrange(-8, 8) for _ in range(256)], list(range(fmt.min, fmt.max + 1))
    dut = Lookup(values, 2, in_format=fmt, out=Format.int(4))
    assert mapped(dut, codes, fmt, pattern) == words(beats_of(values, 2), dut.out)
    relu = clipper(2, fmt=fmt, lo=3, hi=100)
    want = [min(max(code, 3), 100) for code in codes]
    assert mapped(relu, codes, fmt, pattern) == words(beats_of(want, 2), relu.out)


def test_a_caster_casts_all_codes() -> None:
    src, dst, codes = Format(True, 4, 4), Format(True, 2, 2), list(range(-128, 128))
    modes = {"rounding": Rounding.RND_CONV, "overflow": Overflow.SAT_SYM}
    dut = caster(2, src=src, dst=dst, **modes)  # type: ignore[arg-type]
    want = cast(np, np.array(codes), src, dst, Rounding.RND_CONV, Overflow.SAT_SYM).tolist()
    assert mapped(dut, codes, src, PATTERNS[0]) == words(beats_of(want, 2), dut.out)


def test_a_table_of_the_wrong_length_is_refused() -> None:
    text = "a table for codes of s4 must have 16 entries, not 3"
    refused(lambda: Lookup([1, 2, 3], 1, in_format=Format.int(4), out=INT8), text)
