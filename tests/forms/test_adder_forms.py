"""Integer forms of a scaled add give its codes for every pair, and no shorter one does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support import oracle
from support.cases import CASES, tensor

from hwsim.fixed import Format, Rounding
from hwsim.forms import adders as sums
from hwsim.forms.adders import (
    LONGEST,
    FittedSum,
    TableSum,
    WeightedSum,
    choose_add,
    fitted_sum,
    narrowest_add,
    searched_sum,
    table_sum,
)
from hwsim.forms.requantizers import Output
from hwsim.ops import ScaledAdd, TensorType

S4 = Format.int(4)


def pairs(a: TensorType, b: TensorType) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of codes in the proven ranges."""
    x, y = np.meshgrid(np.arange(a.lo, a.hi + 1), np.arange(b.lo, b.hi + 1), indexing="ij")
    return x, y


def defined(op: ScaledAdd, a: TensorType, b: TensorType) -> list[list[int]]:
    return [
        [oracle.scaled_add(op, x, y) for y in range(b.lo, b.hi + 1)] for x in range(a.lo, a.hi + 1)
    ]


def small(ratios: tuple[float, float], offset: float = 0.0, so: int = 0) -> ScaledAdd:
    return ScaledAdd(ratios=ratios, offset=float(np.float32(offset)), out=S4, shifts=(8, 8, so))


F32 = [float(np.float32(v)) for v in (0.53, 1.17, 0.071)]
ADDS = {
    "plain": (small((0.5, 0.25), -3.0), (-8, 7), (-8, 7)),
    "uneven": (small((F32[0], F32[1]), -9.3), (-8, 7), (-8, 7)),
    "narrow ranges": (small((F32[0], F32[1]), -9.3), (-3, 6), (0, 2)),
    "steep": (small((F32[1], F32[1]), -21.0, so=3), (-8, 7), (-8, 7)),
    "flat": (small((F32[2], F32[2]), 40.0), (-8, 7), (-8, 7)),
}


@pytest.mark.parametrize("name", ADDS)
def test_the_chosen_form_is_the_add_on_every_pair(name):
    op, *ranges = ADDS[name]
    a, b = (tensor(1, "s4", codes=codes) for codes in ranges)
    form, want = choose_add(op, a, b), defined(op, a, b)
    assert isinstance(form, WeightedSum) and form.run(*pairs(a, b)).tolist() == want
    exact = table_sum(op, a, b)
    assert exact is not None and exact.run(*pairs(a, b)).tolist() == want
    for change in ({"r": form.r + (1 << form.shift)}, {"ma": form.ma + 8}, {"mb": form.mb + 8}):
        if name != "flat":
            assert replace(form, **change).run(*pairs(a, b)).tolist() != want


@pytest.mark.parametrize("name", ["plain", "uneven", "narrow ranges"])
def test_no_shorter_shift_has_the_same_codes(name):
    op, *ranges = ADDS[name]
    a, b = (tensor(1, "s4", codes=codes) for codes in ranges)
    form, want, (x, y) = choose_add(op, a, b), np.array(defined(op, a, b)), pairs(a, b)
    assert isinstance(form, WeightedSum)
    for shift in range(1, form.shift):
        near = [[int(ratio * 2**shift) + d for d in (-1, 0, 1, 2)] for ratio in op.ratios]
        for ma in near[0]:
            for mb in near[1]:
                offsets = np.arange(-(64 << shift), 64 << shift)[:, None, None]
                floors = (x * ma + y * mb + offsets) >> shift
                same = np.clip(floors, S4.min, S4.max) == want
                assert not same.all(axis=(1, 2)).any(), (shift, ma, mb)


def test_the_catalogues_adds_have_exact_forms_on_all_codes():
    for case in CASES:
        if isinstance(case.op, ScaledAdd) and getattr(case.op, "divisor", None) is None:
            a, b = case.types
            form = choose_add(case.op, a, b)
            assert form is not None
            assert (form.run(*pairs(a, b)) == case.op.pairs([a, b])).all(), case.id


def test_a_table_that_no_sum_has_gives_none():
    table = np.array([[0, 5], [5, 0]])
    assert narrowest_add(table, 0, 0, (1.0, 1.0), Output(format=S4)) is None
    assert fitted_sum(table, 0, 0, (1.0, 1.0), Output(format=S4)) is None


def test_tables_of_a_literal_sum_are_exact_up_to_62_bits():
    """The largest sum times 2**shift stays below 2**62, or there is no table."""
    a, b = tensor(1, "s4", codes=(0, 1)), tensor(1, "s4", codes=(0, 1))
    for power, there in ((-50, True), (-61, True), (-62, False)):
        op = ScaledAdd(ratios=(1.0, 2.0**power), offset=0.0, out=S4)
        made = table_sum(op, a, b)
        assert (made is not None) == there
        if made is not None:
            assert isinstance(made, TableSum) and made.shift == -power
            assert made.table_a == (0, 1 << -power) and made.table_b == (0, 1)
    assert LONGEST <= 62 - 9 - 24  # products of 8-bit codes and multipliers stay inside int64


def test_ties_to_even_are_taken_where_a_floor_fails():
    op = small((0.5, 0.5), 0.0)
    a = b = tensor(1, "s4")
    form = choose_add(op, a, b)
    assert isinstance(form, WeightedSum) and form.rounding is Rounding.RND_CONV
    assert form.shift == 1 and form.run(*pairs(a, b)).tolist() == defined(op, a, b)


@pytest.mark.parametrize("divisor", [0.25, 1.0, 4.0, float(np.float32(0.37))])
def test_a_divisor_is_in_the_forms_too(divisor):
    """A table is one rounding before the division: only a power of two divides as exactly."""
    ratios = (float(np.float32(0.113)) * divisor, float(np.float32(0.241)) * divisor)
    ratios = (float(np.float32(ratios[0])), float(np.float32(ratios[1])))
    op = ScaledAdd(ratios=ratios, offset=0.0, out=S4, shifts=(8, 3, -2), divisor=divisor)
    a, b = tensor(1, "s4"), tensor(1, "s5")
    want = defined(op, a, b)
    form = choose_add(op, a, b)
    assert form is not None and form.run(*pairs(a, b)).tolist() == want
    if divisor in (0.25, 1.0, 4.0):
        exact = table_sum(op, a, b)
        assert exact is not None and exact.run(*pairs(a, b)).tolist() == want


def test_a_table_that_does_not_agree_on_every_pair_is_not_taken(monkeypatch):
    """The proof is made, not assumed: a form that is wrong for one code gives none."""
    op, *ranges = ADDS["uneven"]
    a, b = (tensor(1, "s4", codes=codes) for codes in ranges)
    right = table_sum(op, a, b)
    assert right is not None
    for other in ("narrowest_add", "fitted_sum", "searched_sum"):
        monkeypatch.setattr(sums, other, lambda *_: None)
    assert choose_add(op, a, b) == right
    wrong = replace(right, table_a=(right.table_a[0] + (1 << right.shift), *right.table_a[1:]))
    for found in (wrong, None):
        monkeypatch.setattr(sums, "table_sum", lambda *_, found=found: found)
        assert choose_add(op, a, b) is None


def stepped(scales: tuple[float, float, float], zeros: tuple[int, int, int]) -> ScaledAdd:
    """Two dequantized tensors of int8 added and quantized again, one step after the other."""
    a, b, y = (float(np.float32(s)) for s in scales)
    za, zb, zy = zeros
    return ScaledAdd(
        ratios=(a, b), offset=0.0, out=Format.int(8), shifts=(-za, -zb, -zy), divisor=y
    )


def test_entries_of_tables_are_fitted_where_no_two_factors_will_do():
    op = stepped((0.0022869, 0.009224787, 0.009174136), (5, -128, -128))
    a = b = tensor(1)
    table = op.pairs([a, b])
    ratios = (op.ratios[0] / op.divisor, op.ratios[1] / op.divisor)
    assert narrowest_add(table, -128, -128, ratios, Output(format=op.out, zero_point=-128)) is None
    form = choose_add(op, a, b)
    assert isinstance(form, FittedSum) and form.shift < 16
    assert (form.run(*pairs(a, b)) == table).all()
    for name in ("table_a", "table_b"):
        entries = list(getattr(form, name))
        entries[17] += 1 << form.shift
        assert (replace(form, **{name: tuple(entries)}).run(*pairs(a, b)) != table).any()


@pytest.mark.parametrize("number", range(12))
def test_steps_with_any_scales_have_a_form(number, seed):
    rng = np.random.default_rng(seed + number)
    zeros = tuple(map(int, rng.integers(-128, 128, 3)))
    op = stepped(tuple(map(float, rng.uniform(0.001, 0.02, 3))), zeros)
    a = b = tensor(1)
    ratios = (op.ratios[0] / op.divisor, op.ratios[1] / op.divisor)
    out = Output(format=op.out, zero_point=zeros[2])
    chosen = choose_add(op, a, b)
    assert chosen is not None and (chosen.run(*pairs(a, b)) == op.pairs([a, b])).all()
    fitted = fitted_sum(op.pairs([a, b]), -128, -128, ratios, out)
    assert fitted is None or (fitted.run(*pairs(a, b)) == op.pairs([a, b])).all()


ROUND = (0.1, 0.05, 0.02, 0.01, 0.025, 0.125, 0.2, 0.04, 1 / 3, 0.3, 0.6, 0.15)


@pytest.mark.parametrize("number", range(12))
def test_scales_in_round_ratios_have_thresholds_of_an_exact_sum(number, seed):
    rng = np.random.default_rng(seed + number)
    zeros = tuple(map(int, rng.integers(-128, 128, 3)))
    op = stepped(tuple(map(float, rng.choice(ROUND, 3))), zeros)
    a, b = tensor(1), tensor(1, codes=(-60, 100))
    table = op.pairs([a, b])[:, 68:229]
    form = searched_sum(op, a, b, table)
    assert form is not None and (form.run(*pairs(a, b)) == table).all()
    chosen = choose_add(op, a, b)
    assert chosen is not None and (chosen.run(*pairs(a, b)) == table).all()
    if form.thresholds:
        later = (*form.thresholds[:-1], form.thresholds[-1] + (1 << 40))
        assert (replace(form, thresholds=later).run(*pairs(a, b)) != table).any()


def test_codes_that_do_not_rise_with_the_sum_have_no_thresholds():
    a = b = tensor(1, "s4")
    op = small((0.5, 0.25))
    table = op.pairs([a, b]).copy()
    assert searched_sum(op, a, b, table) is not None
    table[3, 3] += 1
    assert searched_sum(op, a, b, table) is None
