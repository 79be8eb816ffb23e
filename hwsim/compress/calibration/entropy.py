"""The range that keeps most of what a distribution tells: least divergence of what codes leave.

After S. Migacz, "8-bit Inference with TensorRT" (GPU Technology Conference 2017): numbers beyond a
threshold are counted at it, what codes merge is spread evenly over the bins that were not empty,
and of all thresholds that one is taken whose two distributions have the least Kullback-Leibler
divergence. Other than there, the bins that a code takes differ by at most one in number, however
many there are, and exact zeros do not count, because every grid holds them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hwsim.compress.calibration.channels import ChannelHistogram, Counts, Reals
from hwsim.compress.calibration.grid import CodeGrid, Form

TRIED = 256
"""Thresholds that are looked at, at most."""


def entropy_ranges(seen: ChannelHistogram, grid: CodeGrid) -> tuple[Reals, Reals]:
    """The low and high end by channel.

    Where bins are no finer than codes nothing can be told: then all that was seen.
    """
    found = [_of_row(seen, row, grid) for row in range(seen.channels)]
    low, high = np.array(found, np.float64).T
    return low, high


def _of_row(seen: ChannelHistogram, row: int, grid: CodeGrid) -> tuple[float, float]:
    counts, half = seen.nonzero()[row], seen.counts.shape[1] // 2
    width = float(seen.reach[row]) / half
    least, most = float(seen.least[row]), float(seen.most[row])
    best: tuple[float, tuple[float, float]] = (np.inf, (least, most))
    for bins in _thresholds(counts, grid):
        start, stop = _between(counts, bins, grid)
        loss = divergence(counts, start, stop, _levels(grid))
        if loss < best[0]:
            ends = (start - half) * width, (stop - half) * width
            best = loss, _as_held(ends, (least, most), grid)
    return best[1]


def _levels(grid: CodeGrid) -> int:
    lo, hi = grid.ends
    return hi - lo + 1 + grid.narrow


def _thresholds(counts: Counts, grid: CodeGrid) -> list[int]:
    """Bins on each side of zero, the most first: those that give each code one or more."""
    half = len(counts) // 2
    if grid.form is Form.POWER_OF_TWO:
        tried = [half >> k for k in range(half.bit_length())]
    else:
        filled = np.flatnonzero(counts)
        most = int(max(half - filled[0], filled[-1] + 1 - half)) if len(filled) else 0
        step = max(most // TRIED, 1)
        tried = list(range(most, 0, -step))
    spans = [(bins, np.subtract(*_between(counts, bins, grid)[::-1])) for bins in tried]
    return [bins for bins, size in spans if size > _levels(grid)]


def _between(counts: Counts, bins: int, grid: CodeGrid) -> tuple[int, int]:
    """The first bin inside, and the first beyond."""
    half = len(counts) // 2
    if grid.form is Form.AFFINE:
        filled = np.flatnonzero(counts)
        return max(half - bins, min(int(filled[0]), half)), min(
            half + bins, max(int(filled[-1]) + 1, half)
        )
    return (half - bins if grid.signed else half), half + bins


def _as_held(
    ends: tuple[float, float], seen: tuple[float, float], grid: CodeGrid
) -> tuple[float, float]:
    """Ends of bins as a range: no more than was seen, or the ends of codes of a power of two."""
    if grid.form is Form.POWER_OF_TWO:
        lo, hi = grid.ends
        scale = ends[1] / (hi + 1)
        return lo * scale, hi * scale
    return max(ends[0], min(seen[0], 0.0)), min(ends[1], max(seen[1], 0.0))


def divergence(counts: Counts, start: int, stop: int, levels: int) -> float:
    """Kullback-Leibler divergence of what `levels` codes leave of the bins from start to stop.

    Infinite where a code would have to stand for numbers of which none lies inside.
    """
    inside: npt.NDArray[np.float64] = counts[start:stop].astype(np.float64)
    reference = inside.copy()
    reference[0] += counts[:start].sum()
    reference[-1] += counts[stop:].sum()
    code = np.arange(stop - start) * levels // (stop - start)
    held = reference > 0
    filled = np.bincount(code, held, levels)
    merged = np.bincount(code, inside, levels) / np.maximum(filled, 1)
    left = np.where(held, merged[code], 0.0)[held]
    if not left.size or not left.all():
        return float(np.inf)
    p, q = reference[held] / reference.sum(), left / left.sum()
    return float((p * np.log(p / q)).sum())
