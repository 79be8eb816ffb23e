"""Histograms by channel, and scales and zero points of ranges: those of plain Python."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from support.plain_ranges import FORMS, plain_steps

from hwsim.compress.calibration import (
    Calibration,
    ChannelHistogram,
    CodeGrid,
    Form,
    Histogram,
    Method,
    Values,
    ranges,
)
from hwsim.errors import HwsimError


def test_a_channels_row_is_the_histogram_of_that_channel_alone(rng):
    reals = (rng.normal(size=(6, 5, 7, 3)) * [1e-3, 1, 40]).astype(np.float32)
    reals[0, :, :, 1] = 0
    found = ChannelHistogram("x", -1)
    for part in np.array_split(reals, 3):
        found.add(part)
    for channel in range(3):
        alone = Histogram("x")
        for part in np.array_split(reals, 3):
            alone.add(part[..., channel])
        assert found.counts[channel].tolist() == alone.counts.tolist()
        assert (found.least[channel], found.most[channel]) == (alone.least, alone.most)
        assert (found.zeros[channel], found.reach[channel]) == (alone.zeros, alone.reach)


def test_bins_of_many_channels_are_bounded():
    found = ChannelHistogram("x", 1)
    found.add(np.ones((2, 5000), np.float32))
    assert found.counts.shape == (5000, 256)
    assert found.total == 10_000


def test_another_number_of_channels_is_told():
    found = ChannelHistogram("conv_out", 1)
    found.add(np.ones((2, 3, 4), np.float32))
    with pytest.raises(HwsimError, match="'conv_out' must have 3 channels in every batch, not 4"):
        found.add(np.ones((2, 4, 3), np.float32))


def test_an_axis_that_is_none_is_told():
    with pytest.raises(HwsimError, match="'logits' must have an axis 2 of channels, not 2 axes"):
        ChannelHistogram("logits", 2).add(np.ones((2, 3), np.float32))


@pytest.mark.parametrize("form", FORMS)
def test_scale_and_zero_point_are_those_of_plain_python(form, rng):
    for bits, signed in itertools.product(range(1, 17), (False, True)):
        grid = CodeGrid(form=form, bits=bits, signed=signed)
        lows, highs = -rng.exponential(size=20), rng.exponential(size=20)
        lows[:3], highs[2:5] = 0, 0
        scale, zero = grid.steps(lows, highs)
        rows = zip(lows.tolist(), highs.tolist(), strict=True)
        assert list(zip(scale.tolist(), zero.tolist(), strict=True)) == [
            plain_steps(grid, low, high) for low, high in rows
        ]


def test_affine_codes_are_those_of_the_formula_of_both_ends():
    grid = CodeGrid(form=Form.AFFINE, bits=4, signed=False)
    low, high = -0.75, 3.0  # 0 is a code
    scale, zero = grid.steps(np.array([low]), np.array([high]))
    for k in range(-6, 25):
        x = low + k * (high - low) / 18 + 0.01
        literal = round((x - low) / (high - low) * (2**4 - 1))
        assert int(np.clip(np.rint(x / scale[0]) + zero[0], 0, 15)) == min(max(literal, 0), 15)


def test_a_power_of_two_is_taken_as_it_is():
    grid = CodeGrid(form=Form.POWER_OF_TWO, bits=8, signed=True)
    for power in range(-20, 10):
        top = np.array([127 * 2.0**power])
        assert grid.steps(-top, top)[0].tolist() == [2.0**power]
        assert grid.steps(-top, np.nextafter(top, np.inf))[0].tolist() == [2.0 ** (power + 1)]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("method", list(Method))
def test_a_row_of_zeros_has_the_scale_1(form, method):
    grid = CodeGrid(form=form, bits=4, signed=True)
    reals = np.zeros((5, 2), np.float32)
    reals[:, 1] = [0, 1, -2, 3, 4]
    seen = ChannelHistogram("x", 1)
    seen.add(reals)
    for given in (seen, Values("x", reals, 1)):
        scale, zero = grid.steps(*ranges(given, Calibration(method=method), grid))
        assert scale[0] == 1 and 0 < scale[1] < 2
        assert np.rint(0 / scale + zero).tolist() == zero.tolist()


ODD = {
    "one number": np.full((6, 3), 1.5),
    "below the first bin": np.full((6, 3), -2e-14),
    "the largest": np.array([[3e38, -3e38, 1e-38]] * 4),
    "subnormal": np.array([[0, 1e-40, 5.0]] * 4),
    "one sample": np.array([[-0.3, 0.7, 0.1]]),
    "negative": -np.eye(3) - 0.5,
    "pixels": np.array([[255, 254, 0]] * 9),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("numbers", ODD.values(), ids=ODD)
def test_no_numbers_have_a_scale_that_is_none(numbers):
    reals = numbers.astype(np.float32)
    seen = ChannelHistogram("x", 1)
    seen.add(reals)
    for form, bits, method, signed in itertools.product(FORMS, (1, 16), Method, (False, True)):
        grid = CodeGrid(form=form, bits=bits, signed=signed)
        for given in (seen, Values("x", reals, 1)):
            low, high = ranges(given, Calibration(method=method), grid)
            scale, zero = grid.steps(low, high)
            assert ((low <= 0) & (high >= 0) & np.isfinite(low) & np.isfinite(high)).all()
            assert (np.isfinite(scale) & (scale > 0)).all()
            assert ((zero >= grid.ends[0]) & (zero <= grid.ends[1])).all()


@pytest.mark.parametrize(
    ("bits", "signed", "narrow", "says"),
    [
        (0, True, False, "bits must be from 1 to 16, not 0"),
        (17, True, False, "bits must be from 1 to 16, not 17"),
        (1, True, True, "must have a sign and 2 bits or more, not 1 bits with one"),
        (8, False, True, "must have a sign and 2 bits or more, not 8 bits without one"),
    ],
)
def test_a_grid_that_is_none_is_told(bits, signed, narrow, says):
    with pytest.raises(HwsimError, match=says):
        CodeGrid(form=Form.SYMMETRIC, bits=bits, signed=signed, narrow=narrow)
