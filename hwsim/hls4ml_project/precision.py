"""What an edge of a Graph is as an `ap_fixed` type: formats of reals, and constants in text."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Format, Overflow, Rounding
from hwsim.graph import InputPort
from hwsim.ops import Cast, Op, Requantize, Scheme, TensorType

MOST_DIGITS = 53
"""Bits of a constant that a double holds, through which csim reads its text."""

NOT_AP_FIXED = (Rounding.CEIL, Rounding.UP)
EXACT_PRODUCT = 1 << 24
"""Whole numbers below it are float32 values, so a power of two times one is not rounded."""


@dataclass(frozen=True, slots=True)
class Assigned:
    """An `ap_fixed` type: a format of reals, and what an assignment to it does."""

    format: Format
    rounding: Rounding = Rounding.TRN
    overflow: Overflow = Overflow.WRAP

    def __post_init__(self) -> None:
        if self.overflow is Overflow.SAT_SYM and self.format.signed and self.format.width == 1:
            raise HwsimError(
                "a type of one signed bit must not saturate symmetrically: ap_fixed gives -1 where "
                "only 0 is left"
            )

    def __str__(self) -> str:
        fmt = self.format
        kind = "fixed" if fmt.signed else "ufixed"
        modes = "" if self.plain else f",{self.rounding.value},{self.overflow.value}"
        return f"{kind}<{fmt.width},{fmt.int_bits}{modes}>"

    def scaled(self, bits: int) -> Assigned:
        """The same codes, each worth `2**bits` times as much."""
        fmt = self.format
        moved = Format(fmt.signed, fmt.int_bits + bits, fmt.frac_bits - bits)
        return Assigned(moved, self.rounding, self.overflow)

    @property
    def plain(self) -> bool:
        """Whether the modes are those of a type that names none."""
        return (self.rounding, self.overflow) == (Rounding.TRN, Overflow.WRAP)


def room(held: Format, into: Assigned) -> Format:
    """A format that can be assigned to `into`: `held`, or one with more integer bits.

    ap_types end the process where a rounding drops more bits than there are.
    """
    drop = held.frac_bits - into.format.frac_bits
    short = 0 if into.rounding is Rounding.TRN else max(drop - held.width, 0)
    return Format(held.signed, held.int_bits + short, held.frac_bits)


def power_of_two(scale: float) -> int | None:
    """The fraction bits of a scale, or None where it is no power of two."""
    mantissa, exponent = math.frexp(scale)
    return 1 - exponent if mantissa == 0.5 else None


def in_reals(kind: TensorType) -> bool:
    """Whether hls4ml's numbers can be the reals that codes stand for."""
    return all(power_of_two(scale) is not None for scale in kind.scales())


def units(kind: TensorType) -> list[int]:
    """The fraction bits that codes have as hls4ml's numbers, one for all channels or one each.

    Those of the reals that they stand for; or of the codes themselves, less their zero point, where
    a scale is no power of two. Between layers that is only another unit.
    """
    powers = [power_of_two(scale) for scale in kind.scales()]
    found = [power for power in powers if power is not None]
    return found if len(found) == len(powers) else [kind.format.frac_bits]


def reals_of(kind: TensorType) -> Format:
    """The narrowest format of all numbers that codes of a type are in hls4ml."""
    if kind.quant is None:
        return kind.format
    fractions = units(kind)
    low, high = kind.format.min - kind.zero_point, kind.format.max - kind.zero_point
    if len(set(fractions)) == 1 and kind.zero_point == 0:
        return Format(kind.format.signed, kind.format.width - fractions[0], fractions[0])
    fine = max(fractions)
    least = min(low << fine - f for f in fractions)
    return Format.holding(least, max(high << fine - f for f in fractions), fine)


def target(kind: TensorType, what: str, rounding: Rounding, overflow: Overflow) -> Assigned:
    """The type whose assignment gives the codes of `kind`; HwsimError where there is none."""
    fmt = reals_of(kind)
    ends = kind.format.min - kind.zero_point, kind.format.max - kind.zero_point
    if overflow is not Overflow.WRAP and (fmt.min, fmt.max) != ends:
        raise HwsimError(
            f"{what} must have a zero point of 0 or one in the middle or at an end of its codes, "
            f"not {kind.zero_point}"
        )
    if overflow is Overflow.WRAP and kind.zero_point:
        raise HwsimError(f"{what} must have a zero point of 0 to wrap, not {kind.zero_point}")
    if rounding in NOT_AP_FIXED:
        raise HwsimError(f"{what} must be rounded by a mode of ap_fixed, not {rounding.value}")
    return Assigned(fmt, rounding, overflow)


def assignment(op: Op, x: TensorType, out: TensorType, what: str) -> Assigned:
    """A Cast or a Requantize as an assignment of the reals that it is given."""
    if isinstance(op, Cast):
        if op.channels is not None:
            raise HwsimError(f"{what} must be cast to one format, not to one for each channel")
        return target(out, what, op.rounding, op.overflow)
    assert isinstance(op, Requantize)
    given, made = units(x), units(out)
    powers = [power_of_two(multiplier) for multiplier in op.multiplier]
    count = max(len(given), len(made), len(powers))
    steps = zip(*(side * (count // len(side)) for side in (given, powers, made)), strict=True)
    if any(p is None or g is None or m is None or g - p != m for g, p, m in steps):
        raise HwsimError(f"{what} must assign, and it multiplies by no power of two")
    if op.input_zero_point != x.zero_point or op.zero_point != out.zero_point:
        raise HwsimError(f"{what} must keep zero where it is, and it moves it")
    return target(out, what, _rounding(op, x, what), op.overflow)


def _rounding(op: Requantize, x: TensorType, what: str) -> Rounding:
    """How a requantizer by powers of two rounds."""
    if op.scheme is Scheme.SHIFT:
        return op.rounding
    if op.scheme is Scheme.SINGLE:
        return Rounding.RND
    floats = op.scheme in (Scheme.F32_RNE_OUT, Scheme.F32_RNE_IN)
    odd = op.scheme is Scheme.F32_RNE_IN and op.zero_point % 2
    if not floats or odd:
        raise HwsimError(f"{what} must round as ap_fixed does, not by scheme {op.scheme.value}")
    most = op.out.max - op.zero_point, op.zero_point - op.out.min
    rounds = EXACT_PRODUCT * min(op.multiplier) <= max(most) + 1  # a larger sum would saturate
    if rounds and x.magnitude + abs(op.input_zero_point) >= EXACT_PRODUCT:
        raise HwsimError(
            f"{what} must have sums below 2**24, which float32 holds, not up to {x.magnitude}"
        )
    return Rounding.RND_CONV


def entering(port: InputPort, *, integers: bool) -> Assigned:
    """The type of an input; HwsimError where its quantizer is none of ap_fixed.

    With `integers` float steps and a scale that is no power of two are left to the user, who then
    gives codes less their zero point.
    """
    what = f"input {port.name!r}"
    if port.steps and not integers:
        raise HwsimError(f"{what} must be quantized as it comes, not computed with in float32")
    if not in_reals(port.type):
        if integers:
            return Assigned(reals_of(port.type))
        scale = port.type.scales()[0]
        raise HwsimError(f"{what} must have scales that are powers of two, not {scale!r}")
    return target(port.type, what, port.rounding, port.overflow)


@dataclass(frozen=True, slots=True)
class Decimals:
    """Constants whose decimal text is exact, and their type."""

    values: Any
    type: Assigned

    def wider(self, bits: int) -> Decimals:
        """The same numbers in a type of more integer bits."""
        fmt = self.type.format
        return Decimals(
            self.values, Assigned(Format(fmt.signed, fmt.int_bits + bits, fmt.frac_bits))
        )


def decimals(codes: Any, frac_bits: int, what: str, *, format: Format | None = None) -> Decimals:
    """Codes as float64 numbers, in `format` or in the narrowest signed one.

    hls4ml writes as many decimal digits as the type has fraction bits, which for numbers on the
    grid of the type is all that they have. Raises HwsimError past 53 bits.
    """
    array = np.asarray(codes, object)
    low, high = int(array.min()), int(array.max())
    fmt = format or Format.holding(min(low, -1), max(high, 1), frac_bits)
    if max(abs(low), abs(high)) >= 1 << MOST_DIGITS:
        raise HwsimError(
            f"{what} must have at most {MOST_DIGITS} bits, which a double holds, not {fmt.width}"
        )
    values = np.ldexp(array.astype(np.float64), -frac_bits)
    return Decimals(values, Assigned(fmt))


def common(values: Iterable[Fraction]) -> tuple[list[int], int]:
    """Dyadic numbers as codes at one binary point, and its fraction bits."""
    numbers = list(values)
    frac = max((value.denominator.bit_length() - 1 for value in numbers), default=0)
    return [int(value * 2**frac) for value in numbers], frac
