"""Fixed-point formats and the casts between them, on integer codes.

A code `c` in `Format(signed, int_bits, frac_bits)` stands for the real number `c * 2**-frac_bits`.
Rounding and overflow carry the names of the HLS `ap_fixed` types, whose definitions (AMD UG1399,
"Arbitrary Precision Fixed-Point Data Types") are followed exactly. Every function takes the array
namespace `xp` (NumPy, CuPy, ...) and works on arrays whose elements are whole numbers: int64, or
float32/float64 as long as the caller has proved that all values stay exactly representable.
"""

from __future__ import annotations

import builtins
import re
from dataclasses import dataclass
from enum import Enum
from typing import Any

from hwsim.errors import HwsimError

Array = Any
Namespace = Any


class Rounding(Enum):
    """What happens to the bits dropped on the right."""

    TRN = "TRN"  # toward minus infinity
    TRN_ZERO = "TRN_ZERO"  # toward zero
    RND = "RND"  # to nearest, ties toward plus infinity
    RND_ZERO = "RND_ZERO"  # to nearest, ties toward zero
    RND_INF = "RND_INF"  # to nearest, ties away from zero
    RND_MIN_INF = "RND_MIN_INF"  # to nearest, ties toward minus infinity
    RND_CONV = "RND_CONV"  # to nearest, ties to the even code
    CEIL = "CEIL"  # toward plus infinity (QONNX; not an ap_fixed mode)
    UP = "UP"  # away from zero (QONNX; not an ap_fixed mode)


class Overflow(Enum):
    """What happens to a code that does not fit on the left."""

    WRAP = "WRAP"  # modulo 2**width
    SAT = "SAT"  # to the nearest code of the format
    SAT_ZERO = "SAT_ZERO"  # to zero
    SAT_SYM = "SAT_SYM"  # to the nearest code of the symmetric range


@dataclass(frozen=True, slots=True)
class Format:
    """The set of codes of one fixed-point type.

    `int_bits` counts the sign bit of a signed format (the I of `ap_fixed<W, I>`) and may be
    negative or larger than the width; `width = int_bits + frac_bits` must be at least 1.
    """

    signed: bool
    int_bits: builtins.int
    frac_bits: builtins.int = 0

    def __post_init__(self) -> None:
        if self.width < 1:
            raise HwsimError(f"a format's width must be at least 1 bit, not {self.width}")

    @classmethod
    def int(cls, width: builtins.int) -> Format:
        """Signed integers of `width` bits."""
        return cls(True, width, 0)

    @classmethod
    def uint(cls, width: builtins.int) -> Format:
        """Unsigned integers of `width` bits."""
        return cls(False, width, 0)

    @classmethod
    def holding(cls, lo: builtins.int, hi: builtins.int, frac_bits: builtins.int = 0) -> Format:
        """The narrowest format with all codes `lo..hi`; unsigned where `lo` is not negative."""
        if lo < 0:
            width = max((-lo - 1).bit_length(), hi.bit_length() if hi > 0 else 0) + 1
        else:
            width = max(hi.bit_length(), 1)
        return cls(lo < 0, width - frac_bits, frac_bits)

    @classmethod
    def parse(cls, text: str) -> Format:
        """Read `s8`, `u4`, `s16.6` (width, then fraction bits); the inverse of `str`."""
        match = re.fullmatch(r"([su])(\d{1,4})(?:\.(-?\d{1,4}))?", text)
        if match is None:
            raise HwsimError(f"a format must be like s8, u4 or s16.6, not {text!r}")
        width, frac = int(match[2]), int(match[3] or "0")
        return cls(match[1] == "s", width - frac, frac)

    @property
    def width(self) -> builtins.int:
        """Bits of a code."""
        return self.int_bits + self.frac_bits

    @property
    def min(self) -> builtins.int:
        """The smallest code."""
        return -(1 << (self.width - 1)) if self.signed else 0

    @property
    def max(self) -> builtins.int:
        """The largest code."""
        return (1 << (self.width - 1)) - 1 if self.signed else (1 << self.width) - 1

    def __str__(self) -> str:
        fraction = f".{self.frac_bits}" if self.frac_bits else ""
        return f"{'s' if self.signed else 'u'}{self.width}{fraction}"


def shift_round(xp: Namespace, codes: Array, shift: int, rounding: Rounding) -> Array:
    """`codes * 2**-shift` as whole numbers, rounded; a negative `shift` multiplies exactly.

    Integer arrays stay int64 and must keep `|code| + 2**shift < 2**63`; float arrays must keep
    `|code| + 2**shift` below 2**24 (float32) or 2**53 (float64), which the caller proves.
    """
    if shift <= 0:
        return codes * 2**-shift if shift else codes
    if is_float(xp, codes):
        return round_float(xp, codes * 2.0**-shift, rounding)
    if shift > 62:  # no code reaches half a step: only its sign decides
        codes, shift = xp.clip(codes, -1, 1), 2
    floor = codes >> shift
    if rounding is Rounding.TRN:
        return floor
    rest, half = codes - (floor << shift), 1 << (shift - 1)
    match rounding:
        case Rounding.TRN_ZERO:
            up = (codes < 0) & (rest != 0)
        case Rounding.RND:
            up = rest >= half
        case Rounding.RND_MIN_INF:
            up = rest > half
        case Rounding.RND_ZERO:
            up = (rest > half) | ((rest == half) & (codes < 0))
        case Rounding.RND_INF:
            up = (rest > half) | ((rest == half) & (codes >= 0))
        case Rounding.RND_CONV:
            up = (rest > half) | ((rest == half) & ((floor & 1) == 1))
        case Rounding.CEIL:
            up = rest != 0
        case Rounding.UP:
            up = (codes > 0) & (rest != 0)
    return floor + xp.astype(up, codes.dtype)


def is_float(xp: Namespace, array: Array) -> bool:
    """Whether the elements are float32 or float64 (true of no integer type)."""
    return bool(array.dtype == xp.float32 or array.dtype == xp.float64)


def round_float(xp: Namespace, x: Array, rounding: Rounding) -> Array:
    """Round floats to whole numbers; exact as long as `x + 0.5` is representable."""
    match rounding:
        case Rounding.TRN:
            return xp.floor(x)
        case Rounding.TRN_ZERO:
            return xp.trunc(x)
        case Rounding.RND:
            return xp.floor(x + 0.5)
        case Rounding.RND_MIN_INF:
            return xp.ceil(x - 0.5)
        case Rounding.RND_CONV:
            return xp.round(x)
        case Rounding.RND_INF:
            return xp.sign(x) * xp.floor(xp.abs(x) + 0.5)
        case Rounding.RND_ZERO:
            return xp.sign(x) * xp.ceil(xp.abs(x) - 0.5)
        case Rounding.CEIL:
            return xp.ceil(x)
        case Rounding.UP:
            return xp.sign(x) * xp.ceil(xp.abs(x))


def round_real(xp: Namespace, x: Array, rounding: Rounding) -> Array:
    """Round any finite floats to whole numbers, exactly, where `x + 0.5` may not be exact."""
    if rounding in (Rounding.TRN, Rounding.TRN_ZERO, Rounding.RND_CONV, Rounding.CEIL, Rounding.UP):
        return round_float(xp, x, rounding)
    whole = xp.trunc(x)
    rest = xp.abs(x - whole)
    away = rest > 0.5
    match rounding:
        case Rounding.RND:
            away = away | ((rest == 0.5) & (x > 0))
        case Rounding.RND_MIN_INF:
            away = away | ((rest == 0.5) & (x < 0))
        case Rounding.RND_INF:
            away = away | (rest == 0.5)
    return whole + xp.sign(x) * xp.astype(away, x.dtype)


def overflow(xp: Namespace, codes: Array, fmt: Format, mode: Overflow) -> Array:
    """Bring whole numbers into the codes of `fmt`."""
    lo, hi = fmt.min, fmt.max
    if mode is Overflow.SAT:
        return xp.clip(codes, lo, hi)
    if mode is Overflow.SAT_SYM:
        return xp.clip(codes, -hi if fmt.signed else 0, hi)
    if mode is Overflow.SAT_ZERO:
        return xp.where((codes < lo) | (codes > hi), xp.zeros_like(codes), codes)
    if is_float(xp, codes):
        turns = (codes - lo) * 2.0**-fmt.width
        return codes - xp.floor(turns) * 2.0**fmt.width
    if fmt.width >= 64:
        return codes
    return ((codes - lo) & ((1 << fmt.width) - 1)) + lo


def within(xp: Namespace, codes: Array, low: Any, high: Any) -> bool:
    """Whether all codes are known to lie from `low` to `high` (None: proved beforehand).

    Two cheap passes spare the many of a wrap; on a GPU the answer would stall the queue, so there
    an unproved bound is taken as not known.
    """
    if low is None and high is None:
        return True
    if codes.device != "cpu" or not codes.size:
        return False
    return (low is None or bool(xp.min(codes) >= low)) and (
        high is None or bool(xp.max(codes) <= high)
    )


def cast(
    xp: Namespace, codes: Array, src: Format, dst: Format, rounding: Rounding, mode: Overflow
) -> Array:
    """Codes of `src` as codes of `dst`: rounded first, then brought into range."""
    rounded = shift_round(xp, codes, src.frac_bits - dst.frac_bits, rounding)
    return overflow(xp, rounded, dst, mode)


def cast_range(
    lo: int, hi: int, src: Format, dst: Format, rounding: Rounding, mode: Overflow
) -> tuple[int, int]:
    """Bounds of `cast` over all codes `lo..hi`, by plain integers of any size."""
    shift = src.frac_bits - dst.frac_bits
    low, high = round_int(lo, shift, rounding), round_int(hi, shift, rounding)
    return overflow_range(low, high, dst, mode)


def overflow_range(low: int, high: int, fmt: Format, mode: Overflow) -> tuple[int, int]:
    """Bounds of `overflow` over all whole numbers `low..high`; tight where they are consecutive."""
    least = -fmt.max if mode is Overflow.SAT_SYM and fmt.signed else fmt.min
    if mode in (Overflow.SAT, Overflow.SAT_SYM):
        return min(max(low, least), fmt.max), min(max(high, least), fmt.max)
    if fmt.min <= low and high <= fmt.max:
        return low, high
    if mode is Overflow.SAT_ZERO:
        inside = low <= fmt.max and high >= fmt.min
        return (min(max(low, fmt.min), 0), max(min(high, fmt.max), 0)) if inside else (0, 0)
    turn = (low - fmt.min) >> fmt.width
    if turn != (high - fmt.min) >> fmt.width:
        return fmt.min, fmt.max
    return low - (turn << fmt.width), high - (turn << fmt.width)


def round_int(value: int, shift: int, rounding: Rounding) -> int:
    """`value * 2**-shift` rounded, for one plain integer of any size."""
    if shift <= 0:
        return value << -shift
    floor, half = value >> shift, 1 << (shift - 1)
    rest = value - (floor << shift)
    match rounding:
        case Rounding.TRN:
            up = False
        case Rounding.TRN_ZERO:
            up = value < 0 and rest != 0
        case Rounding.RND:
            up = rest >= half
        case Rounding.RND_MIN_INF:
            up = rest > half
        case Rounding.RND_ZERO:
            up = rest > half or (rest == half and value < 0)
        case Rounding.RND_INF:
            up = rest > half or (rest == half and value >= 0)
        case Rounding.RND_CONV:
            up = rest > half or (rest == half and floor & 1 == 1)
        case Rounding.CEIL:
            up = rest != 0
        case Rounding.UP:
            up = value > 0 and rest != 0
    return floor + up
