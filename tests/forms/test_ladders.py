"""Thresholds as a multiply-add-shift, a few inputs moved; tables of pairs as sums."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.seeds import seeded

from hwsim.fixed import Format
from hwsim.forms import ladders
from hwsim.forms.ladders import moved, step_function
from hwsim.forms.tabled_sums import sum_form
from hwsim.ops import PairTable, TensorType, Thresholds

BITS = (17, 34)
U8, S8 = Format.uint(8), Format.int(8)


def in_float32(rng: np.random.Generator, channels: int, reach: int) -> Thresholds:
    """Thresholds of sums that are scaled, shifted and rounded in float32, as runtimes do it."""
    scale = (rng.uniform(0.3, 1.2, (channels, 1)) * 200 / reach).astype(np.float32)
    shift = rng.uniform(20, 90, (channels, 1)).astype(np.float32)
    x = np.arange(-reach, reach + 1).astype(np.float32)
    codes = np.clip(np.rint(x * scale + shift), 0, 255).astype(int)
    at = [np.searchsorted(row, np.arange(1, 256)) - reach for row in codes]
    return Thresholds(values=np.array(at), base=np.array([0]), step=np.array([1]), out=U8)


def given(op: Thresholds, x: np.ndarray) -> np.ndarray:
    """What thresholds give, counted one by one."""
    counts = [np.searchsorted(row, x, side="right") for row in op.values]
    return np.stack(counts, axis=-1) * op.step + op.base


def test_float32_thresholds_are_a_line_and_a_few_moved_inputs_for_every_input(rng):
    somewhere = 0
    for reach in (3000, 70_000, 400_000):
        op = in_float32(rng, 5, reach)
        form = moved(op, -reach, reach, operand_bits=BITS)
        assert form is not None
        somewhere += bool(form.up[0] or form.down[0])
        x = np.arange(-reach, reach + 1)
        got = form.run(np.broadcast_to(x[:, None], (len(x), 5)))
        assert int((got != given(op, x)).sum()) == 0
    assert somewhere


def test_an_input_that_is_not_moved_is_seen_by_the_proof():
    op = in_float32(np.random.default_rng(seeded(3)), 4, 400_000)
    form = moved(op, -400_000, 400_000, operand_bits=BITS)
    steps = step_function(op, -400_000, 400_000)
    assert form is not None and steps is not None and ladders.equal(steps, form)
    for name in ("up", "down"):
        rows = getattr(form, name)
        for channel, row in enumerate(rows):
            for place, value in enumerate(row):
                if value > 400_000:
                    continue
                short = (*row[:place], 400_001, *row[place + 1 :])
                other = replace(form, **{name: (*rows[:channel], short, *rows[channel + 1 :])})
                assert not ladders.equal(steps, other)
                return
    pytest.fail("no input is moved")


def test_a_wrong_slope_offset_or_window_is_seen_by_the_proof(rng):
    op = in_float32(rng, 3, 9000)
    form = moved(op, -9000, 9000, operand_bits=BITS)
    steps = step_function(op, -9000, 9000)
    assert form is not None and steps is not None
    m, r = form.form.m, form.form.r
    wide = replace(form.form.out, window=(0, 254))
    for other in (
        replace(form.form, m=(m[0] + max(m[0] >> 7, 1), *m[1:])),
        replace(form.form, r=(*r[:-1], r[-1] + (1 << form.form.shift[-1]) // 2)),
        replace(form.form, out=wide),
    ):
        assert not ladders.equal(steps, replace(form, form=other))


@pytest.mark.parametrize("how", ["falling", "twos", "random", "curve"])
def test_thresholds_that_are_no_line_have_no_such_form(how, rng):
    at = np.sort(rng.integers(-9000, 9000, (3, 200))) if how == "random" else None
    if at is None:
        even = np.linspace(-80, 80, 200) ** 3 / 60 if how == "curve" else np.arange(200) * 37 - 9000
        at = np.tile(even.astype(int), (3, 1))
    step = {"falling": -1, "twos": 2}.get(how, 1)
    base = 200 if how == "falling" else 0
    op = Thresholds(values=at, base=np.array([base]), step=np.array([step]), out=Format.int(10))
    assert moved(op, -9999, 9999, operand_bits=BITS) is None


@pytest.mark.parametrize("number", range(4))
def test_a_table_of_rounded_sums_is_a_sum_for_every_pair(number, rng):
    a, b = TensorType((1,), U8), TensorType((1,), S8 if number & 1 else U8)
    first, second = rng.uniform(0.2, 0.9, 2).astype(np.float32)
    rows, columns = (np.arange(t.format.min, t.format.max + 1, dtype=np.float32) for t in (a, b))
    whole = np.rint(rows[:, None] * first + columns * second - np.float32(11.3)).astype(int)
    table = PairTable(values=np.clip(whole, 20 * (number > 1), 255 - 99 * (number == 3)), out=U8)
    form = sum_form(table, a, b)
    assert form is not None
    grid = np.meshgrid(rows.astype(int), columns.astype(int), indexing="ij")
    assert (form.run(*grid) == table.values).all()


def test_a_table_of_products_or_with_one_entry_far_off_is_no_sum(rng):
    kind = TensorType((1,), U8)
    codes = np.arange(256)
    product = PairTable(values=codes[:, None] * codes >> 8, out=U8)
    assert sum_form(product, kind, kind) is None
    sums = (codes[:, None] + codes) // 2
    sums[100, 90] += 3
    assert sum_form(PairTable(values=sums, out=U8), kind, kind) is None
