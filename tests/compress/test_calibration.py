"""Ranges from histograms: each method against plain Python, and ONNX Runtime where it agrees."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest

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
from hwsim.compress.calibration.entropy import divergence
from hwsim.errors import HwsimError

FORMS = list(Form)
SIGNED8 = CodeGrid(form=Form.SYMMETRIC, bits=8, signed=True)


def skewed(rng, size=4000):
    """Numbers as after a layer: many zeros, a long tail, some below 0."""
    reals = rng.laplace(0.3, 0.6, size)
    return np.where(rng.random(size) < 0.2, 0, reals).astype(np.float32)


def histogram_of(reals):
    found = Histogram("x")
    found.add(reals)
    return found


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


def plain_steps(grid, low, high):
    """Scale and zero point in plain Python; the scale rounded to float32."""
    lo, hi = grid.ends
    low, high = min(low, 0.0), max(high, 0.0)
    if grid.form is Form.AFFINE:
        scale = (high - low) / (hi - lo)
    else:
        scale = max(low / lo if lo else 0.0, high / hi if hi else 0.0)
    if scale <= 0:
        return 1.0, lo if grid.form is Form.AFFINE else 0
    if grid.form is Form.POWER_OF_TWO:
        power = -200
        while 2.0**power < scale:
            power += 1
        scale = 2.0**power
    scale = float(np.float32(scale))
    zero = round(lo - low / scale) if grid.form is Form.AFFINE else 0
    return scale, min(max(zero, lo), hi)


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


def integral(low, high, scale, zero, ends):
    """The mean squared error between two reals, split where the code changes; exact."""
    low, high, scale = Fraction(low), Fraction(high), Fraction(scale)
    lo, hi = ends[0] - zero, ends[1] - zero
    first, last = (min(max(math.floor(x / scale + Fraction(1, 2)), lo), hi) for x in (low, high))
    total, start = Fraction(0), low
    for code in range(first, last + 1):
        stop = high if code == last else (code + Fraction(1, 2)) * scale
        total += ((stop - code * scale) ** 3 - (start - code * scale) ** 3) / 3
        start = stop
    return total / (high - low)


@pytest.mark.parametrize("form", FORMS)
def test_the_error_of_a_histogram_is_the_integral_over_its_bins(form, rng):
    reals = skewed(rng, 300)
    seen = histogram_of(reals)
    edges = seen.only.edges[0].tolist()
    counts = seen.counts.tolist()
    counts[len(counts) // 2] -= int((reals == 0).sum())
    for bits in (1, 2, 5, 9):
        grid = CodeGrid(form=form, bits=bits, signed=True)
        scale, zero = grid.steps(np.array([-1.0]), np.array([1.3]))
        places = [k for k, count in enumerate(counts) if count]
        wanted = sum(
            counts[k] * integral(edges[k], edges[k + 1], float(scale[0]), int(zero[0]), grid.ends)
            for k in places
        )
        found = seen.only.error(scale.astype(np.float64), zero, grid.ends)
        assert found[0] == pytest.approx(float(wanted), rel=1e-9)


def plain_error(values, grid, low, high):
    scale, zero = plain_steps(grid, low, high)
    lo, hi = grid.ends
    total = 0.0
    for x in values:
        code = min(max(round(x / scale), lo - zero), hi - zero)
        total += (code * scale - x) ** 2
    return total


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [1, 2, 3, 4, 8])
def test_mse_finds_the_best_of_all_powers_of_two(bits, signed, rng):
    rows = rng.standard_t(3, size=(4, 60))
    grid = CodeGrid(form=Form.POWER_OF_TWO, bits=bits, signed=signed)
    seen = Values("w", rows, 0)
    scale, _ = grid.steps(*ranges(seen, Calibration(), grid))
    for row, found in zip(rows.tolist(), scale.tolist(), strict=True):
        lo, hi = grid.ends
        whole = plain_steps(grid, min(row), max(row))[0]
        tried = [whole * 2.0**-k for k in range(11)]
        errors = [plain_error(row, grid, lo * step, hi * step) for step in tried]
        assert found == tried[errors.index(min(errors))]


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_mse_finds_the_best_symmetric_range(bits, rng):
    row = rng.standard_t(3, size=80).tolist()
    grid = CodeGrid(form=Form.SYMMETRIC, bits=bits, signed=True, narrow=True)
    scale, _ = grid.steps(*ranges(Values("w", np.array(row), None), Calibration(), grid))
    hi = grid.ends[1]
    whole = plain_steps(grid, min(row), max(row))[0]
    best = min(plain_error(row, grid, -hi * whole * k / 128, hi * whole * k / 128)
               for k in range(1, 129))  # fmt: skip
    assert plain_error(row, grid, -hi * scale[0], hi * scale[0]) == pytest.approx(best, rel=1e-12)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_no_end_of_an_affine_range_can_be_moved_for_a_lesser_error(bits, rng):
    row = skewed(rng, 70).astype(np.float64).tolist()
    grid = CodeGrid(form=Form.AFFINE, bits=bits, signed=False)
    low, high = (
        float(end[0]) for end in ranges(Values("w", np.array(row), None), Calibration(), grid)
    )
    found = plain_error(row, grid, low, high)
    least, most = min(row), max(row)
    others = [(least * k / 128, high) for k in range(129)]
    others += [(low, most * k / 128) for k in range(129)]
    assert found <= min(plain_error(row, grid, *ends) for ends in others) * (1 + 1e-12)
    assert found < plain_error(row, grid, least, most)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("method", list(Method))
def test_a_channel_has_the_range_that_it_has_alone(method, form, rng):
    reals = (skewed(rng, 1500).reshape(500, 3) * [0.01, 1, 30]).astype(np.float32)
    grid = CodeGrid(form=form, bits=4, signed=True)
    how = Calibration(method=method, percentile=99)
    together = ChannelHistogram("x", 1)
    together.add(reals)
    for seen in (together, Values("x", reals, 1)):
        found = np.transpose(ranges(seen, how, grid)).tolist()
        for channel in range(3):
            one = reals[:, channel]
            alone = histogram_of(one) if seen is together else Values("x", one, None)
            assert found[channel] == np.ravel(ranges(alone, how, grid)).tolist()


@pytest.mark.parametrize("form", FORMS)
def test_minmax_holds_what_was_seen_and_zero(form):
    grid = CodeGrid(form=form, bits=8, signed=True)
    low, high = ranges(histogram_of(np.array([0.5, 2.0])), Calibration(method=Method.MINMAX), grid)
    assert (low.tolist(), high.tolist()) == ([0.0], [2.0])


def test_the_average_is_that_of_the_batches_and_then_moves(rng):
    batches = [rng.normal(size=20).astype(np.float32) for _ in range(150)]
    seen = Histogram("x")
    low = high = 0.0
    for place, batch in enumerate(batches):
        seen.add(batch)
        if place < 100:
            first = batches[: place + 1]
            low = sum(float(min(b)) for b in first) / len(first)
            high = sum(float(max(b)) for b in first) / len(first)
        else:
            low += 0.01 * (float(min(batch)) - low)
            high += 0.01 * (float(max(batch)) - high)
    found = ranges(seen, Calibration(method=Method.AVERAGE), SIGNED8)
    assert np.ravel(found) == pytest.approx([low, high], rel=1e-12)


@pytest.mark.parametrize("percentile", [50, 90, 99, 99.9, 100])
@pytest.mark.parametrize("form", [Form.AFFINE, Form.SYMMETRIC])
def test_a_percentile_of_numbers_is_that_of_plain_python(form, percentile, rng):
    row = sorted(skewed(rng, 777).astype(np.float64).tolist())
    grid = CodeGrid(form=form, bits=8, signed=True)
    how = Calibration(method=Method.PERCENTILE, percentile=percentile)
    low, high = (float(e[0]) for e in ranges(Values("w", np.array(row), None), how, grid))
    if form is Form.AFFINE:
        cut = (1 - Fraction(str(percentile)) / 100) / 2
        wanted = [next(x for n, x in enumerate(row, 1) if n >= share * len(row))
                  for share in (cut, 1 - cut)]  # fmt: skip
    else:
        sizes = sorted(map(abs, row))
        top = next(
            x for n, x in enumerate(sizes, 1) if n >= Fraction(str(percentile)) / 100 * len(row)
        )
        wanted = [max(-top, row[0]), min(top, row[-1])]
    assert [low, high] == wanted


@pytest.mark.parametrize("percentile", [90, 99, 99.9, 99.99])
@pytest.mark.parametrize("symmetric", [False, True])
def test_a_percentile_of_a_histogram_is_onnx_runtimes_at_the_other_side_of_the_bin(
    symmetric, percentile, rng, capsys
):
    calibrate = pytest.importorskip("onnxruntime.quantization.calibrate")
    seen = histogram_of(skewed(rng, 19_997))
    edges, counts = seen.only.edges[0], seen.counts
    width = edges[1] - edges[0]
    if symmetric:
        half = len(counts) // 2
        counts = counts[half:] + counts[half - 1 :: -1]
        edges = edges[half:]
    theirs = calibrate.HistogramCollector("percentile", symmetric, 0, 0, percentile, "same")
    theirs.histogram_dict["x"] = (counts, edges, np.float64(seen.least), np.float64(seen.most))
    wanted = theirs.compute_percentile()["x"][:2]
    form = Form.SYMMETRIC if symmetric else Form.AFFINE
    grid = CodeGrid(form=form, bits=8, signed=True)
    how = Calibration(method=Method.PERCENTILE, percentile=percentile)
    low, high = (float(end[0]) for end in ranges(seen, how, grid))
    assert high == min(wanted[1] + width, seen.most)
    assert low == max(wanted[0] - (width if symmetric else 0), seen.least)
    assert (seen.least < low and high < seen.most) or percentile > 99.9


def plain_divergence(counts, start, stop, levels):
    size = stop - start
    inside = counts[start:stop]
    reference = list(inside)
    reference[0] += sum(counts[:start])
    reference[-1] += sum(counts[stop:])
    left = [0.0] * size
    for code in range(levels):
        bins = [n for n in range(size) if n * levels // size == code]
        held = [n for n in bins if reference[n]]
        for n in held:
            left[n] = sum(inside[m] for m in bins) / len(held)
    if any(p and not q for p, q in zip(reference, left, strict=True)) or not any(reference):
        return math.inf
    whole, kept = sum(reference), sum(left)
    return sum(
        p / whole * math.log((p / whole) / (q / kept))
        for p, q in zip(reference, left, strict=True)
        if p
    )


def test_the_divergence_is_that_of_plain_python(rng):
    for _ in range(200):
        counts = rng.integers(0, 6, int(rng.integers(4, 24))) * (rng.random() < 0.9)
        start = int(rng.integers(0, len(counts) // 2))
        stop = int(rng.integers(start + 2, len(counts) + 1))
        levels = int(rng.integers(1, stop - start + 1))
        wanted = plain_divergence(counts.tolist(), start, stop, levels)
        found = divergence(counts, start, stop, levels)
        assert found == pytest.approx(wanted, rel=1e-9, abs=1e-12)


def test_the_divergence_spreads_codes_as_the_method_was_published():
    counts = np.array([1, 0, 2, 3, 5, 3, 1, 7])
    spread = [2, 0, 2, 2, 4, 4, 4, 4]
    wanted = sum(
        p / 22 * math.log(p / q) for p, q in zip(counts.tolist(), spread, strict=True) if p
    )
    assert divergence(counts, 0, 8, 2) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_entropy_takes_the_threshold_of_least_divergence(form, rng):
    seen = histogram_of(skewed(rng, 3000))
    grid = CodeGrid(form=form, bits=4, signed=True)
    low, high = (float(e[0]) for e in ranges(seen, Calibration(method=Method.ENTROPY), grid))
    counts, half = seen.counts.copy(), len(seen.counts) // 2
    counts[half] -= seen.zeros
    width = seen.reach / half
    scale = grid.steps(np.array([low]), np.array([high]))[0][0]
    ends = (-8 * scale, 8 * scale) if form is Form.POWER_OF_TWO else (low, high)
    bins = [min(max(round(end / width) + half, 0), 2 * half) for end in ends]
    if form is Form.SYMMETRIC:
        top = max(half - bins[0], bins[1] - half)
        bins = [half - top, half + top]
    found = divergence(counts, *bins, 16)
    filled = np.flatnonzero(counts)
    most = max(half - int(filled[0]), int(filled[-1]) + 1 - half)
    tried = [half >> k for k in range(7)]
    if form is not Form.POWER_OF_TWO:
        tried = [n for n in range(most, 0, -(most // 256)) if n > 16][::5]
    for one in tried:
        span = [half - one, half + one]
        if form is Form.AFFINE:
            span = [max(span[0], int(filled[0])), min(span[1], int(filled[-1]) + 1)]
        assert found <= plain_divergence(counts.tolist(), *span, 16) * (1 + 1e-9)


def test_entropy_of_as_many_codes_as_bins_is_all_that_was_seen(rng):
    seen = histogram_of(skewed(rng))
    grid = CodeGrid(form=Form.SYMMETRIC, bits=16, signed=True)
    found = ranges(seen, Calibration(method=Method.ENTROPY), grid)
    assert np.ravel(found).tolist() == [seen.least, seen.most]


@pytest.mark.parametrize(
    ("text", "method", "percentile"),
    [("mse", Method.MSE, 99.99), ("percentile:99.5", Method.PERCENTILE, 99.5)],
)
def test_a_method_is_read_from_text(text, method, percentile):
    assert Calibration.parse(text) == Calibration(method=method, percentile=percentile)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("max", "one of minmax, average, percentile, entropy, mse or percentile:99.9, not 'max'"),
        ("mse:3", "not 'mse:3'"),
        ("percentile:x", "percentile must be a number such as 99.9, not 'x'"),
        ("percentile:0", "percentile must be above 0 and at most 100, not 0"),
        ("percentile:101", "percentile must be above 0 and at most 100, not 101"),
        ("percentile:nan", "percentile must be above 0 and at most 100, not nan"),
    ],
)
def test_a_method_that_is_none_is_told(text, says):
    with pytest.raises(HwsimError, match=says):
        Calibration.parse(text)


def test_ranges_of_nothing_are_refused():
    with pytest.raises(HwsimError, match="calibration data must have at least one sample"):
        ranges(Histogram("x"), Calibration(), SIGNED8)


@pytest.mark.parametrize("array", [np.zeros((0, 3)), np.array([[1.0, np.inf]])])
def test_weights_that_are_no_numbers_are_told(array):
    with pytest.raises(HwsimError, match="tensor 'w' must hold finite numbers, not"):
        Values("w", array, None)
