"""Histograms of the channels of a stream, side by side: bounded memory, one pass.

The bins of `-2**k` to `2**k` are halves of those of `-2**(k+1)` to `2**(k+1)`, so what is counted
does not depend on how the stream was cut into batches. Only the average of the batches' ends does.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError

BINS = 4096
ALL_BINS = 1 << 20
"""Bins of all channels together, as long as each has the fewest."""

FEWEST = 256
FIRST = -30
"""The exponent of the ends of a histogram in which nothing was counted."""

SMOOTH = 0.01
"""How much one batch moves the average of the batches' ends, once a hundred were seen."""

Counts = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]


class ChannelHistogram:
    """Counts of reals in equal bins from `-reach` to `reach`, a power of two for each channel.

    `name` is what messages call the tensor, `axis` that of the channels (None: all numbers are one
    row). `add` raises HwsimError for NaN, infinity, and another number of channels.
    """

    def __init__(self, name: str, axis: int | None) -> None:
        self.name, self.axis, self.batches = name, axis, 0
        self._begin(0)

    @property
    def channels(self) -> int:
        """How many there are; 0 before the first batch."""
        return len(self.counts)

    @property
    def total(self) -> int:
        """How many numbers were seen, of all channels."""
        return int(self.counts.sum())

    @property
    def reach(self) -> Reals:
        """The end of the last bin, by channel."""
        return np.asarray(2.0**self.exponents)

    @property
    def edges(self) -> Reals:
        """Where bins begin and end: (channels, bins + 1)."""
        bins = self.counts.shape[1]
        return np.asarray(np.linspace(-1, 1, bins + 1) * self.reach[:, None])

    def add(self, reals: npt.NDArray[np.floating]) -> None:
        """Count the numbers of any array."""
        rows = self._rows(np.asarray(reals, np.float32))
        if not rows.size:
            return
        low, high = rows.min(axis=1).astype(np.float64), rows.max(axis=1).astype(np.float64)
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise HwsimError(
                f"tensor {self.name!r} must be finite on the calibration data, but holds NaN or "
                "infinity"
            )
        if not self.channels:
            self._begin(len(rows))
            largest = np.maximum(-low, high)
            self.exponents = np.maximum(FIRST, np.where(largest > 0, np.frexp(largest)[1], FIRST))
        self._see(low, high)
        while (small := np.maximum(-low, high) >= self.reach).any():
            self._double(small)
        bins = self.counts.shape[1]
        places = np.floor((rows.astype(np.float64) / self.reach[:, None] + 1) * (bins // 2))
        held = np.clip(places.astype(np.int64), 0, bins - 1) + np.arange(len(rows))[:, None] * bins
        self.counts += np.bincount(held.reshape(-1), minlength=self.counts.size).reshape(-1, bins)
        self.zeros += np.asarray(rows.shape[1] - np.count_nonzero(rows, axis=1), np.int64)

    def between(self, low: Fraction, high: Fraction) -> tuple[Reals, Reals]:
        """By channel ends of bins, from where up to `low` of the numbers lie to `high` of them."""
        edges = self.edges
        return _reached(self.counts, edges[:, :-1], low), _reached(self.counts, edges[:, 1:], high)

    def magnitude(self, share: Fraction) -> Reals:
        """By channel the end of the bin up to which that share of the absolute values lies."""
        half = self.counts.shape[1] // 2
        folded = self.counts[:, half:] + self.counts[:, half - 1 :: -1]
        return _reached(folded, self.edges[:, half + 1 :], share)

    def error(self, scale: Reals, zero_point: Codes, ends: tuple[int, int]) -> Reals:
        """By channel the squared error of rounding to codes `ends`, summed over the numbers.

        In a bin numbers lie evenly, so that this is an integral; exact zeros are counted apart.
        """
        counts = self.nonzero()
        filled = np.flatnonzero(counts.any(axis=0))
        if not filled.size:
            return np.zeros(len(counts))
        first, last = int(filled[0]), int(filled[-1]) + 1
        edges = self.edges[:, first : last + 1]
        steps = edges / scale[:, None]
        lows, highs = (np.asarray(end - zero_point)[:, None] for end in ends)
        codes = np.clip(np.rint(steps), lows, highs)
        off = steps - codes
        integral = codes / 12 + off * off * off / 3
        squares = np.diff(integral) * scale[:, None] ** 3
        width = edges[:, 1] - edges[:, 0]
        return np.asarray((squares * counts[:, first:last]).sum(axis=1) / width)

    def nonzero(self) -> Counts:
        """The counts without exact zeros, which every grid holds."""
        found = self.counts.copy()
        found[:, found.shape[1] // 2] -= self.zeros
        return found

    def binned(self) -> ChannelHistogram:
        """This one; what else ranges are chosen of is counted first."""
        return self

    def _rows(self, reals: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        if self.axis is None:
            return reals.reshape(1, -1)
        if not -reals.ndim <= self.axis < reals.ndim:
            raise HwsimError(
                f"tensor {self.name!r} must have an axis {self.axis} of channels, not {reals.ndim} "
                "axes"
            )
        moved = np.moveaxis(reals, self.axis, 0)
        if self.channels and len(moved) != self.channels:
            raise HwsimError(
                f"tensor {self.name!r} must have {self.channels} channels in every batch, not "
                f"{len(moved)}"
            )
        return moved.reshape(len(moved), -1)

    def _begin(self, rows: int) -> None:
        bins = BINS
        while bins * rows > ALL_BINS and bins > FEWEST:
            bins //= 2
        self.counts: Counts = np.zeros((rows, bins), np.int64)
        self.zeros: Counts = np.zeros(rows, np.int64)
        self.exponents = np.full(rows, FIRST)
        self.least, self.most = np.full(rows, np.inf), np.full(rows, -np.inf)
        self.average_least, self.average_most = np.zeros(rows), np.zeros(rows)

    def _see(self, low: Reals, high: Reals) -> None:
        """The ends, and their average: of all of the first hundred batches, then a moving one."""
        self.batches += 1
        share = max(1 / self.batches, SMOOTH)
        self.least, self.most = np.minimum(self.least, low), np.maximum(self.most, high)
        self.average_least += share * (low - self.average_least)
        self.average_most += share * (high - self.average_most)

    def _double(self, small: npt.NDArray[np.bool_]) -> None:
        """Twice the reach of some channels: each pair of their bins becomes one."""
        bins = self.counts.shape[1]
        pairs = self.counts[small].reshape(-1, bins // 2, 2).sum(axis=2)
        self.counts[small] = np.pad(pairs, ((0, 0), (bins // 4, bins // 4)))
        self.exponents[small] += 1


def _reached(counts: Counts, ends: Reals, share: Fraction) -> Reals:
    """By row the end of the first bin at which so large a share was counted."""
    up_to = np.cumsum(counts, axis=1)
    wanted = np.array([[max(math.ceil(share * total), 1)] for total in up_to[:, -1].tolist()])
    return np.asarray(ends[np.arange(len(ends)), np.argmax(up_to >= wanted, axis=1)])
