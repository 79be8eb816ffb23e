"""All numbers of a tensor, as they are: weights."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from hwsim.compress.calibration.channels import ChannelHistogram, Codes, Reals
from hwsim.errors import HwsimError


class Values:
    """The numbers of `name`, by channel along `axis`, or in one row where that is None.

    HwsimError for none, NaN and infinity.
    """

    def __init__(self, name: str, array: npt.NDArray[np.floating], axis: int | None) -> None:
        rows = array.reshape(1, -1) if axis is None else np.moveaxis(array, axis, 0)
        self.name = name
        self.rows: Reals = rows.reshape(len(rows), -1).astype(np.float64)
        if not self.rows.size or not np.isfinite(self.rows).all():
            raise HwsimError(
                f"tensor {name!r} must hold finite numbers, not "
                f"{'NaN or infinity' if self.rows.size else 'nothing'}"
            )
        self.least, self.most = self.rows.min(axis=1), self.rows.max(axis=1)
        self.average_least, self.average_most = self.least, self.most

    def between(self, low: Fraction, high: Fraction) -> tuple[Reals, Reals]:
        """By channel the lowest numbers with those shares of all at or below them."""
        return _reached(self.rows, low), _reached(self.rows, high)

    def magnitude(self, share: Fraction) -> Reals:
        """By channel the lowest absolute value with that share of all at or below it."""
        return _reached(np.abs(self.rows), share)

    def error(self, scale: Reals, zero_point: Codes, ends: tuple[int, int]) -> Reals:
        """By channel the squared error of rounding to codes `ends`, summed."""
        lows, highs = (np.asarray(end - zero_point)[:, None] for end in ends)
        steps = self.rows / scale[:, None]
        codes = np.clip(np.rint(steps), lows, highs)
        return np.asarray(((steps - codes) ** 2).sum(axis=1) * scale**2)

    def binned(self) -> ChannelHistogram:
        """Counted in bins."""
        found = ChannelHistogram(self.name, 0)
        found.add(self.rows)
        return found


def _reached(rows: Reals, share: Fraction) -> Reals:
    place = max(math.ceil(share * rows.shape[1]), 1) - 1
    return np.asarray(np.sort(rows, axis=1)[:, place])
