"""hls4ml's types and weights: formats with modes, and codes read through the decimal text."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError
from hwsim.fixed import Format, Overflow, Rounding, overflow, round_real
from hwsim.ops import Cast
from hwsim.ops.base import IntArray


@dataclass(frozen=True, slots=True)
class Precision:
    """An `ap_fixed` or `ap_int` type: a format, and what an assignment to it does.

    `whole` says that it is an `ap_int`, which takes a double in a way of its own.
    """

    format: Format
    rounding: Rounding
    overflow: Overflow
    whole: bool = False

    def __str__(self) -> str:
        """As `hwsim inspect` shows an accumulator: s10.7 RND SAT; or int<8>."""
        if self.whole:
            return f"{'' if self.format.signed else 'u'}int<{self.format.width}>"
        return f"{self.format} {self.rounding.value} {self.overflow.value}"

    def cast(self) -> Cast:
        """The assignment of another value to this type."""
        return Cast(out=self.format, rounding=self.rounding, overflow=self.overflow)

    @property
    def cuts_and_wraps(self) -> bool:
        """Whether sums of whole steps of this type may be added in any order, and cast once."""
        return (self.rounding, self.overflow) == (Rounding.TRN, Overflow.WRAP)

    @property
    def least(self) -> int:
        """The smallest code that an assignment can leave."""
        symmetric = self.overflow is Overflow.SAT_SYM and self.format.signed
        return -self.format.max if symmetric else self.format.min

    def holds(self, lo: int, hi: int, frac_bits: int) -> bool:
        """Whether all codes `lo..hi` with `frac_bits` pass an assignment unchanged."""
        left = self.format.frac_bits - frac_bits
        return left >= 0 and self.least <= lo << left and hi << left <= self.format.max


def read_precision(what: str, precision: Any) -> Precision:
    """The type that an hls4ml precision object stands for; `what` names it in a HwsimError."""
    kind = type(precision).__name__
    if kind == "UnspecifiedPrecisionType":
        raise HwsimError(f"{what} must be a known precision, but is still 'auto'")
    if kind not in _FIXED:
        raise HwsimError(f"{what} must be a fixed-point or integer precision, not {precision}")
    wraps = kind not in WHOLE and precision.saturation_mode.name == Overflow.WRAP.value
    if wraps and precision.saturation_bits:  # those that saturate have no use for them
        raise HwsimError(f"{what} must wrap without saturation bits, not {precision}")
    try:
        fmt = Format(
            bool(precision.signed),
            int(precision.integer),
            int(precision.width) - int(precision.integer),
        )
    except HwsimError as error:
        raise HwsimError(f"{what}: {error}") from None
    if kind in WHOLE:
        return Precision(fmt, Rounding.TRN_ZERO, Overflow.WRAP, whole=True)
    mode = Overflow(precision.saturation_mode.name)
    return Precision(fmt, Rounding(precision.rounding_mode.name), as_assigned(fmt, mode))


def as_assigned(fmt: Format, mode: Overflow) -> Overflow:
    """The mode that gives what ap_fixed does: `SAT_SYM` of one signed bit leaves -1, not 0."""
    one_bit = fmt.signed and fmt.width == 1
    return Overflow.SAT if one_bit and mode is Overflow.SAT_SYM else mode


WHOLE = (
    "IntegerPrecisionType",
    "APIntegerPrecisionType",
    "XnorPrecisionType",
    "APXnorPrecisionType",
)
"""`ap_int` and `ap_uint`: an `ap_fixed` that is assigned to one loses its fraction toward zero
(`ap_fixed_base::to_ap_int_base`), and wraps."""

_FIXED = ("FixedPrecisionType", "APFixedPrecisionType", *WHOLE)


def read_weights(what: str, variable: Any) -> tuple[IntArray, Precision]:
    """The codes of a weight variable, in its shape, and their type.

    hls4ml writes each weight with as many decimal digits as its type has fraction bits, and csim
    reads that text as a double and assigns it (`WeightVariable.update_precision`, `nnet_helpers.h`
    `load_weights_from_txt`).
    """
    precision = read_precision(what, variable.type.precision)
    values = np.asarray(variable.data, np.float64)
    if not np.isfinite(values).all():
        raise HwsimError(f"{what} must be finite, but holds NaN or infinity")
    codes = _codes(_through_text(values, variable.precision_fmt, precision.format), precision)
    return codes.reshape(values.shape), precision


def _through_text(
    values: npt.NDArray[np.float64], text: str, fmt: Format
) -> npt.NDArray[np.float64]:
    """Values as their text says them; those it cannot take over a step stay as they are."""
    digits = max(0, fmt.frac_bits)
    flat = values.reshape(-1).copy()
    # The text is off by half a unit of its last digit at most: only near a multiple of half a step
    # (any rounding mode decides there) can that change the code.
    halves = np.ldexp(flat, fmt.frac_bits + 1)
    near = np.ldexp(0.5 * 10.0**-digits, fmt.frac_bits + 1) * (1 + 1e-9) + 1e-9
    doubtful = (np.abs(halves - np.rint(halves)) <= near) | (np.abs(halves) >= 2.0**50)
    flat[doubtful] = [float(text.format(value)) for value in flat[doubtful]]
    return flat


def _codes(values: npt.NDArray[np.float64], precision: Precision) -> IntArray:
    """Weights assigned to a type; HwsimError for numbers that are far outside of it."""
    frac = precision.format.frac_bits
    if float(np.abs(np.ldexp(values, frac)).max(initial=0.0)) >= LARGE:
        raise HwsimError(f"weights must be below 2**{62 - frac} to be read as {precision.format}")
    return assigned(values, precision)


LARGE = 2.0**62


def assigned(values: npt.NDArray[np.float64], precision: Precision) -> IntArray:
    """Doubles assigned to a type, exactly; infinity counts as a power of two beyond every type.

    An `ap_int` makes 1 of what lies between -0.5 and 0 (`ap_int_base(double)`).
    """
    fmt = precision.format
    if precision.whole:
        values = np.where((values > -0.5) & (values < 0), 1.0, values)
    steps = np.ldexp(values, fmt.frac_bits)
    far = np.abs(steps) >= LARGE  # whole numbers, multiples of 2**10
    whole = round_real(np, np.where(far, 0.0, steps), precision.rounding).astype(np.int64)
    codes = np.asarray(overflow(np, whole, fmt, precision.overflow), np.int64)
    if far.any():
        codes[far] = [_far(step, precision) for step in steps[far].tolist()]
    return codes


def _far(step: float, precision: Precision) -> int:
    """The code of a number of steps that no type here holds."""
    fmt, mode = precision.format, precision.overflow
    if mode is Overflow.WRAP:
        turned = 0 if math.isinf(step) else int(step) & ((1 << fmt.width) - 1)
        return turned - (1 << fmt.width) if turned > fmt.max else turned
    if mode is Overflow.SAT_ZERO:
        return 0
    return fmt.max if step > 0 else precision.least
