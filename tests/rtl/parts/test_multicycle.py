"""Serial requantizers and ones that share a multiplier: the operator's codes, cycle by cycle."""

from __future__ import annotations

import random
from functools import partial
from typing import Any

import numpy as np
import pytest
from amaranth import Const, Module
from support import rescaling
from support.forms import choose
from support.rescaling import INT8, OPS, PATTERNS, SEED, SIX, UINT8, exact, form_of, op_of
from support.rtl_bench import beats_of, refused, run, words

from hwsim.fixed import Format, Overflow, Rounding
from hwsim.forms.requantizers import Affine, Form, Output
from hwsim.forms.thresholds import literal, thresholds
from hwsim.ops.requantize import Requantize, Scheme
from rtl.flow import cells, verilog, yosys
from rtl.parts import recipes
from rtl.parts.multicycle import Multiplication, Serial, Shared
from rtl.parts.requantizer_multicycle import MulticycleRequantizer
from rtl.targets import ecp5

WAYS: dict[str, Multiplication] = {
    "serial": Serial(),
    "serial, 2 bits": Serial(bits=2),
    "shared": Shared(),
}


def differing(op: Requantize, form: Form, way: Multiplication, bits: int, **how: Any) -> int:
    """Beats given otherwise than by the operator, at exactly the rate that is claimed."""
    make = partial(MulticycleRequantizer, form, way)
    return rescaling.differing(
        op, make, bits, interval=lambda dut: (dut.cycles + 1, dut.cycles), **how
    )


@pytest.mark.parametrize("name", OPS)
@pytest.mark.parametrize("kind", ["chosen", "literal"])
@pytest.mark.parametrize("way", WAYS)
def test_each_form_gives_the_operator_s_codes_at_the_claimed_rate(name, kind, way):
    op, bits = OPS[name]
    assert differing(op, form_of(op, kind, bits), WAYS[way], bits, pixels=15) == 0


def outputs(form: Form, way: Multiplication, x: list[int], fmt: Format) -> list[int]:
    """The codes (as bits) that the component of one channel makes of `x`."""
    dut = MulticycleRequantizer(form, way, lanes=1, channels=1, in_format=fmt)
    sent = words(beats_of(x, 1), dut.beat)
    got = run(dut, {dut.i: sent}, {dut.o: len(x)}, rng=random.Random(SEED), limit=10**6)
    return [word & ((1 << form.out.format.width) - 1) for word in got.words[dut.o]]


def codes(op: Requantize, x: list[int]) -> list[int]:
    """The operator's own codes, as bits."""
    return [int(y) & ((1 << op.out.width) - 1) for y in literal(op, np.array(x)[:, None]).ravel()]


FLOAT, IN_FLOAT, TWICE = Scheme.F32_RNE_OUT, Scheme.F32_RNE_IN, Scheme.GEMMLOWP_DOUBLE
EVERY = [("shared", scheme, INT8) for scheme in (FLOAT, IN_FLOAT, TWICE)]
EVERY += [("shared", FLOAT, UINT8), ("serial", FLOAT, UINT8), ("serial, 2 bits", FLOAT, INT8)]


@pytest.mark.parametrize(("way", "scheme", "out"), EVERY, ids=str)
def test_every_threshold_and_its_neighbours_are_right(way, scheme, out):
    op = op_of(scheme, 2**-11.37, out=out, zero_point=3, input_zero_point=-2)
    at = thresholds(op, -(1 << 20), (1 << 20) - 1).at.ravel().tolist()
    x = [t + k for t in at for k in (-1, 0)]
    assert outputs(exact(op), WAYS[way], x, Format.int(21)) == codes(op, x)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("lanes", [2, 6])  # with 6 each lane has one constant, of its own width
@pytest.mark.parametrize("codes", [range(-32, 32), range(64)], ids=["signed", "unsigned"])
@pytest.mark.parametrize("m", [(5, -3, 2, -128, 127, 0)])
def test_multipliers_of_either_sign_and_all_codes_are_exact(m, codes, lanes, way):
    form = Affine(
        m=m, r=(7, -9, 0, 1000, -1, 4), shift=(0,), rounding=Rounding.TRN, out=wide_output()
    )
    x, fmt = list(codes) * 6, Format.holding(codes[0], codes[-1])
    want = form.run(np.array(x).reshape(-1, 6)).ravel().tolist()
    dut = MulticycleRequantizer(form, WAYS[way], lanes=lanes, channels=6, in_format=fmt)
    sent, good = words(beats_of(x, lanes), dut.beat), words(beats_of(want, lanes), dut.target)
    got = run(dut, {dut.i: sent}, {dut.o: len(good)}, rng=random.Random(SEED))
    assert got.words[dut.o] == good


def wide_output() -> Output:
    return Output(format=Format.int(14), overflow=Overflow.WRAP)


@pytest.mark.parametrize("way", ["serial, 2 bits", "shared"])
@pytest.mark.parametrize("rounding", list(Rounding))
def test_an_affine_form_has_every_rounding_and_an_offset_below_its_split(rounding, way):
    form = Affine(
        m=(13,),
        r=(40,),
        shift=(6,),
        rounding=rounding,
        out=Output(format=INT8, window=(-90, 100)),
        split=-3,
        r_below=(17,),
    )
    x = list(range(-300, 300))
    want = [int(y) & 0xFF for y in form.run(np.array(x)[:, None]).ravel()]
    assert outputs(form, WAYS[way], x, Format.int(10)) == want


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
@pytest.mark.parametrize("lanes", [1, 2, 6])
@pytest.mark.parametrize("way", WAYS)
def test_channels_keep_their_constants_under_any_stall(way, lanes, pattern):
    op, bits = OPS["float out"]
    how: dict[str, Any] = {"lanes": lanes, "pattern": pattern, "pixels": 6}
    assert differing(op, form_of(op, "chosen", bits), WAYS[way], bits, **how) == 0


@pytest.mark.parametrize("way", WAYS)
def test_a_constant_that_is_the_same_everywhere_needs_no_memory(way):
    op, bits = OPS["unsigned"]
    assert differing(op, choose(op, -(1 << bits), 1 << bits), WAYS[way], bits, lanes=4) == 0


def edges() -> list[tuple[float, int]]:
    """Multipliers and codes whose product lies exactly half a float32 step beside a tie."""
    found = []
    for q in (0, 1, 2, 5, 11, 20, 37, 70, 100, 126):
        octave = q.bit_length() - 1
        for sign in (1, -1):
            number = ((2 * q + 1) << (23 - octave)) + sign
            factors = [f for f in range(3, 4000, 2) if number % f == 0 and number // f < 1 << 24]
            found += [(number // f / 2.0 ** (24 - octave), f) for f in factors[:1]]
    return found


@pytest.mark.parametrize("way", WAYS)
def test_products_on_the_very_edge_of_a_tie_are_right(way):
    some = edges()
    assert len(some) > 10
    for multiplier, x in some:
        op = op_of(Scheme.F32_RNE_OUT, multiplier)
        row = [x, -x, x + 1, x - 1]
        assert outputs(exact(op), WAYS[way], row, Format.int(13)) == codes(op, row), multiplier


def test_a_tie_without_its_edge_is_caught(monkeypatch):
    near = recipes.near_tie

    def narrower(m: Module, below: Any, half: Any, size: Any) -> Any:
        return near(m, below, half, size >> 1)

    monkeypatch.setattr(recipes, "near_tie", narrower)
    wrong = 0
    for multiplier, x in edges():
        op = op_of(Scheme.F32_RNE_OUT, multiplier)
        wrong += outputs(exact(op), Serial(), [x, -x], Format.int(13)) != codes(op, [x, -x])
    assert wrong > 0


def test_a_float_product_without_its_first_rounding_is_caught(monkeypatch):
    op, bits = OPS["float wide"]
    assert differing(op, exact(op), Shared(), bits, pixels=300) == 0
    monkeypatch.setattr(recipes, "near_tie", lambda m, below, half, size: Const(0))
    assert differing(op, exact(op), Shared(), bits, pixels=300) > 0


@pytest.mark.parametrize("way", ["serial", "serial, 2 bits"])
def test_a_product_that_stops_a_digit_early_is_caught(way, monkeypatch):
    op, bits = OPS["single"]
    cycles = Serial.cycles
    monkeypatch.setattr(Serial, "cycles", lambda *shapes: cycles(*shapes) - 1)
    assert differing(op, exact(op), WAYS[way], bits, pixels=5) > 0


def test_codes_outside_of_the_last_thresholds_are_brought_in():
    op = op_of(Scheme.F32_RNE_OUT, 2**-3.3, out=UINT8)
    made = recipes.recipe(exact(op), (-(1 << 30), (1 << 30) - 1))
    assert made.codes == Format.uint(12)
    row = [-(1 << 30), -1, 0, 4, 5, 6, 2500, 4095, 4096, (1 << 30) - 1]
    assert outputs(exact(op), Serial(), row, Format.int(31)) == codes(op, row)


def test_a_form_that_wraps_is_not_brought_in():
    op = op_of(Scheme.SHIFT, 2**-2, overflow=Overflow.WRAP)
    assert recipes.changing(choose(op, -600, 600), (-600, 600)) == (-600, 600)


def test_a_channel_that_gives_nothing_lengthens_no_product():
    op = op_of(Scheme.F32_RNE_OUT, 0.01, 1e-30, 0.02)
    made = recipes.recipe(exact(op), (-5000, 5000))
    assert max(made.fields["m"]).bit_length() <= 26
    assert differing(op, exact(op), Shared(), 12, pixels=20) == 0


@pytest.mark.needs("yosys")
@pytest.mark.parametrize(("way", "expected"), [("serial", 0), ("serial, 2 bits", 0), ("shared", 2)])
def test_the_multipliers_are_those_that_are_claimed(way, expected, tmp_path):
    op = op_of(Scheme.F32_RNE_OUT, *SIX)
    dut = MulticycleRequantizer(exact(op), WAYS[way], lanes=2, channels=6, in_format=Format.int(24))
    assert dut.multipliers == expected
    (tmp_path / "top.v").write_text(verilog.convert(dut, name="top"), encoding="utf-8")
    found = yosys.synthesize(tmp_path, ["top.v"], "top", ecp5.FAMILY, "netlist.json")
    assert cells.count(found, ecp5.FAMILY)[0]["dsp"] == expected


def test_bad_calls_are_refused():
    form = exact(OPS["float out"][0])
    refused(
        lambda: MulticycleRequantizer(form, Serial(), lanes=4, channels=6, in_format=INT8),
        "a requantizer's lanes must divide 6 channels, not be 4",
    )
    refused(
        lambda: MulticycleRequantizer(form, Serial(), lanes=4, channels=4, in_format=INT8),
        "a requantizer's constants must be 1 or 4, not 6",
    )
    refused(lambda: Serial(bits=3), "a serial product's bits a cycle must be 1 or 2, not 3")
