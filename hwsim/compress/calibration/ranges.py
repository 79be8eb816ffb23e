"""Which range of a tensor codes shall hold: five methods, of a histogram or of exact numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from typing import Protocol

import numpy as np

from hwsim.compress.calibration.channels import ChannelHistogram, Codes, Reals
from hwsim.compress.calibration.entropy import entropy_ranges
from hwsim.compress.calibration.grid import CodeGrid, Form
from hwsim.compress.calibration.histogram import Histogram
from hwsim.errors import HwsimError

SHARES = 128
"""Parts of what was seen in which the method of least squares moves an end."""

HALVINGS = 10
"""Powers of two that it tries below the one that holds everything."""

ROUNDS = 16
Ends = tuple[Reals, Reals]


class Method(Enum):
    """How a range is chosen."""

    MINMAX = "minmax"
    """All that was seen."""
    AVERAGE = "average"
    """The batches' ends on average: of the first hundred, then moving by a hundredth."""
    PERCENTILE = "percentile"
    """All but a share of the numbers: the largest by magnitude, or half at each end (affine)."""
    ENTROPY = "entropy"
    """The least divergence of the codes' distribution (`entropy.py`)."""
    MSE = "mse"
    """The least squared error of the codes."""


METHODS = tuple(method.value for method in Method)


class Numbers(Protocol):
    """Numbers by channel: `ChannelHistogram` or `Values`."""

    least: Reals
    most: Reals
    average_least: Reals
    average_most: Reals

    def between(self, low: Fraction, high: Fraction) -> Ends: ...
    def magnitude(self, share: Fraction) -> Reals: ...
    def error(self, scale: Reals, zero_point: Codes, ends: tuple[int, int]) -> Reals: ...
    def binned(self) -> ChannelHistogram: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A method, and for `PERCENTILE` how many percent of the numbers the range holds."""

    method: Method = Method.MSE
    percentile: float = 99.99

    def __post_init__(self) -> None:
        if not 0 < self.percentile <= 100:
            raise HwsimError(f"percentile must be above 0 and at most 100, not {self.percentile:g}")

    @classmethod
    def parse(cls, text: str) -> Calibration:
        """Read `mse`, or `percentile:99.9`."""
        name, _, number = text.partition(":")
        if name not in METHODS or (number and name != Method.PERCENTILE.value):
            raise HwsimError(
                f"calibration must be one of {', '.join(METHODS)} or percentile:99.9, not {text!r}"
            )
        try:
            return cls(method=Method(name), percentile=float(number or 99.99))
        except ValueError:
            raise HwsimError(f"percentile must be a number such as 99.9, not {number!r}") from None


def ranges(seen: Numbers | Histogram, calibration: Calibration, grid: CodeGrid) -> Ends:
    """The low and high end by channel (one, for a Histogram); `grid.steps` makes scales of them.

    HwsimError where nothing was seen.
    """
    rows: Numbers = seen.only if isinstance(seen, Histogram) else seen
    if not rows.least.size:
        raise HwsimError("calibration data must have at least one sample, not none")
    low, high = _BY_METHOD[calibration.method](rows, calibration, grid)
    return np.minimum(low, 0.0), np.maximum(high, 0.0)


def _minmax(seen: Numbers, calibration: Calibration, grid: CodeGrid) -> Ends:
    return seen.least, seen.most


def _average(seen: Numbers, calibration: Calibration, grid: CodeGrid) -> Ends:
    return seen.average_least, seen.average_most


def _percentile(seen: Numbers, calibration: Calibration, grid: CodeGrid) -> Ends:
    share = Fraction(str(calibration.percentile)) / 100
    if grid.form is Form.AFFINE:
        cut = (1 - share) / 2
        low, high = seen.between(cut, 1 - cut)
    else:
        high = seen.magnitude(share)
        low = -high
    return np.maximum(low, seen.least), np.minimum(high, seen.most)


def _entropy(seen: Numbers, calibration: Calibration, grid: CodeGrid) -> Ends:
    return entropy_ranges(seen.binned(), grid)


def _mse(seen: Numbers, calibration: Calibration, grid: CodeGrid) -> Ends:
    if grid.form is Form.AFFINE:
        return _both_ends(seen, grid)
    return _least(seen, grid, _together(seen, grid))


def _together(seen: Numbers, grid: CodeGrid) -> Iterator[Ends]:
    """Ranges without a zero point: the whole, and smaller ones."""
    lo, hi = grid.ends
    scale = grid.steps(seen.least, seen.most)[0].astype(np.float64)
    if grid.form is Form.POWER_OF_TWO:
        shares = [2.0**-k for k in range(HALVINGS + 1)]
    else:
        shares = [k / SHARES for k in range(SHARES, 0, -1)]
    for share in shares:
        yield lo * scale * share, hi * scale * share


def _least(seen: Numbers, grid: CodeGrid, tried: Iterator[Ends]) -> Ends:
    """Of the ranges tried the one with the least error, by channel; the first of equals."""
    low, high = next(tried)
    best = _error(seen, grid, (low, high))
    for ends in tried:
        error = _error(seen, grid, ends)
        less = error < best
        low, high = np.where(less, ends[0], low), np.where(less, ends[1], high)
        best = np.where(less, error, best)
    return low, high


def _error(seen: Numbers, grid: CodeGrid, ends: Ends) -> Reals:
    scale, zero = grid.steps(*ends)
    return seen.error(scale.astype(np.float64), zero, grid.ends)


def _both_ends(seen: Numbers, grid: CodeGrid) -> Ends:
    """One end after the other to the best of all its shares, until neither moves."""
    whole = [np.minimum(seen.least, 0.0), np.maximum(seen.most, 0.0)]
    shares = [k / SHARES for k in range(SHARES, -1, -1)]
    ends = list(whole)
    for turn in range(ROUNDS):
        side = turn % 2
        before = ends[side]
        if whole[side].any():
            tried = (_put(ends, side, whole[side] * share) for share in shares)
            ends = list(_least(seen, grid, _first(_put(ends, side, before), tried)))
        if turn and np.array_equal(before, ends[side]):
            break
    return ends[0], ends[1]


def _put(ends: list[Reals], side: int, end: Reals) -> Ends:
    return (end, ends[1]) if side == 0 else (ends[0], end)


def _first(ends: Ends, others: Iterator[Ends]) -> Iterator[Ends]:
    yield ends
    yield from others


_BY_METHOD: dict[Method, Callable[[Numbers, Calibration, CodeGrid], Ends]] = {
    Method.MINMAX: _minmax,
    Method.AVERAGE: _average,
    Method.PERCENTILE: _percentile,
    Method.ENTROPY: _entropy,
    Method.MSE: _mse,
}
