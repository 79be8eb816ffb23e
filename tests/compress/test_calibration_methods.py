"""Ranges from histograms: each method against plain Python, and ONNX Runtime where it agrees."""

from __future__ import annotations

import math
from fractions import Fraction

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
from hwsim.compress.calibration.entropy import divergence
from hwsim.errors import HwsimError

SIGNED8 = CodeGrid(form=Form.SYMMETRIC, bits=8, signed=True)


def skewed(rng, size=4000):
    """Numbers as after a layer: many zeros, a long tail, some below 0."""
    reals = rng.laplace(0.3, 0.6, size)
    return np.where(rng.random(size) < 0.2, 0, reals).astype(np.float32)


def histogram_of(reals):
    found = Histogram("x")
    found.add(reals)
    return found


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
    # an end that is what was seen lies within a bin, the others between two
    outer = math.floor(ends[0] / width + 1e-6), math.ceil(ends[1] / width - 1e-6)
    bins = [min(max(end + half, 0), 2 * half) for end in outer]
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
