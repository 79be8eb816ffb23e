"""A histogram of all numbers of a stream: one row of `ChannelHistogram`."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from hwsim.compress.calibration.channels import BINS, FIRST, ChannelHistogram, Counts, Reals


class Histogram:
    """Counts of reals in equal bins from `-reach` to `reach`, a power of two; the ends are exact.

    `name` is what messages call the tensor. With `axis`, that of channels, it is remembered which
    of them are constant. `add` raises HwsimError for NaN and infinity.
    """

    def __init__(self, name: str, axis: int | None = None) -> None:
        self.name, self.axis, self.only = name, axis, ChannelHistogram(name, None)
        self._ends: tuple[Reals, Reals] | None = None

    @property
    def reach(self) -> float:
        """The end of the last bin."""
        return float(self.only.reach[0]) if self.only.channels else 2.0**FIRST

    @property
    def counts(self) -> Counts:
        """How many numbers each bin holds."""
        return self.only.counts[0] if self.only.channels else np.zeros(BINS, np.int64)

    @property
    def least(self) -> float:
        """The lowest number; infinity where none was seen."""
        return float(self.only.least[0]) if self.only.channels else math.inf

    @property
    def most(self) -> float:
        """The highest number; minus infinity where none was seen."""
        return float(self.only.most[0]) if self.only.channels else -math.inf

    @property
    def total(self) -> int:
        """How many numbers were seen."""
        return int(self.counts.sum())

    @property
    def zeros(self) -> int:
        """How many of them were exactly 0."""
        return int(self.only.zeros[0]) if self.only.channels else 0

    def add(self, reals: npt.NDArray[np.floating]) -> None:
        """Count the numbers of any array."""
        self.only.add(reals)
        if self.axis is not None and self.axis < reals.ndim and reals.size:
            others = tuple(n for n in range(reals.ndim) if n != self.axis)
            low, high = reals.min(axis=others), reals.max(axis=others)
            if self._ends is not None and low.shape == self._ends[0].shape:
                low, high = np.minimum(low, self._ends[0]), np.maximum(high, self._ends[1])
            self._ends = low, high

    def constant(self) -> dict[int, float]:
        """Channels that always held one number, and it."""
        low, high = self._ends or (np.zeros(0), np.ones(0))
        return {int(n): float(low[n]) for n in np.flatnonzero(low == high)}

    @property
    def channels(self) -> int:
        """How many there are along `axis`; 0 where that is not known."""
        return 0 if self._ends is None else len(self._ends[0])

    def centres(self) -> Reals:
        """The middle of each bin."""
        width = 2 * self.reach / BINS
        return np.asarray((np.arange(BINS) + 0.5) * width - self.reach)
