"""What codes can hold: how wide, with a sign or not, with a zero point, a scale of which kind."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError

Reals = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]
SMALLEST, LARGEST = float(np.finfo(np.float32).tiny), 2.0**127


class Form(Enum):
    """How codes stand for reals."""

    AFFINE = "affine"
    """A scale and a zero point: both ends of a range are met."""
    SYMMETRIC = "symmetric"
    """A scale alone."""
    POWER_OF_TWO = "power of two"
    """A scale that is a power of two: fixed point, a shift in hardware."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeGrid:
    """Codes of 1 to 16 bits and their form; `narrow` leaves the lowest of a sign's codes out."""

    form: Form
    bits: int
    signed: bool
    narrow: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 16:
            raise HwsimError(f"bits must be from 1 to 16, not {self.bits}")
        if self.narrow and (self.bits == 1 or not self.signed):
            raise HwsimError(
                "a grid without its lowest code must have a sign and 2 bits or more, not "
                f"{self.bits} bits {'with' if self.signed else 'without'} one"
            )

    @property
    def ends(self) -> tuple[int, int]:
        """The lowest and the highest code."""
        if not self.signed:
            return 0, (1 << self.bits) - 1
        return -(1 << self.bits - 1) + self.narrow, (1 << self.bits - 1) - 1

    def steps(self, low: Reals, high: Reals) -> tuple[npt.NDArray[np.float32], Codes]:
        """Scale and zero point by row, such that codes hold `low` to `high` (and 0, always).

        A row of nothing but zeros has the scale 1. Without a zero point, what codes have no sign
        for (or no code above 0, in one bit) does not count.
        """
        lo, hi = self.ends
        low, high = np.minimum(low, 0.0), np.maximum(high, 0.0)
        if self.form is Form.AFFINE:
            scale = (high - low) / (hi - lo)
        else:
            scale = np.maximum(low / lo if lo else 0.0 * low, high / hi if hi else 0.0 * high)
        scale = np.where(scale > 0, np.clip(scale, SMALLEST, LARGEST), 1.0)
        if self.form is Form.POWER_OF_TWO:
            mantissa, exponent = np.frexp(scale)
            scale = np.ldexp(1.0, exponent - (mantissa == 0.5))
        single = scale.astype(np.float32)
        zero = np.zeros(len(single), np.int64)
        if self.form is Form.AFFINE:
            zero = np.clip(np.rint(lo - low / single.astype(np.float64)), lo, hi).astype(np.int64)
        return single, zero
