"""A histogram of a stream of reals whose bins double as the numbers grow: bounded memory, one pass.

The bins of `-2**k` to `2**k` are halves of those of `-2**(k+1)` to `2**(k+1)`, so what is counted
does not depend on how the stream was cut into batches.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError

BINS = 4096
Counts = npt.NDArray[np.int64]
Array = npt.NDArray[np.float32]


class Histogram:
    """Counts of reals in equal bins from `-reach` to `reach`, a power of two; the ends are exact.

    `name` is what messages call the tensor. `add` raises HwsimError for NaN and infinity.
    """

    def __init__(self, name: str) -> None:
        self.name, self.exponent = name, -30
        self.counts: Counts = np.zeros(BINS, np.int64)
        self.least, self.most = math.inf, -math.inf

    @property
    def reach(self) -> float:
        """The end of the last bin."""
        return 2.0**self.exponent

    @property
    def total(self) -> int:
        """How many numbers were seen."""
        return int(self.counts.sum())

    def add(self, reals: npt.NDArray[np.floating]) -> None:
        """Count the numbers of any array."""
        flat = np.asarray(reals, np.float32).reshape(-1)
        if not flat.size:
            return
        low, high = float(flat.min()), float(flat.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise HwsimError(
                f"tensor {self.name!r} must be finite on the calibration data, but holds NaN or "
                "infinity"
            )
        self.least, self.most = min(self.least, low), max(self.most, high)
        while max(-low, high) >= self.reach:
            self._double()
        places = np.floor((flat.astype(np.float64) / self.reach + 1) * (BINS // 2)).astype(np.int64)
        self.counts += np.bincount(np.clip(places, 0, BINS - 1), minlength=BINS)

    def centres(self) -> npt.NDArray[np.float64]:
        """The middle of each bin."""
        width = 2 * self.reach / BINS
        return np.asarray((np.arange(BINS) + 0.5) * width - self.reach)

    def _double(self) -> None:
        """Twice the reach: each pair of bins becomes one."""
        pairs = self.counts.reshape(-1, 2).sum(axis=1)
        self.counts = np.zeros(BINS, np.int64)
        quarter = BINS // 4
        self.counts[quarter : 3 * quarter] = pairs
        self.exponent += 1
