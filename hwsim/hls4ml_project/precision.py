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

    def __str__(self) -> str:
        fmt = self.format
        kind = "fixed" if fmt.signed else "ufixed"
        modes = "" if self.plain else f",{self.rounding.value},{self.overflow.value}"
        return f"{kind}<{fmt.width},{fmt.int_bits}{modes}>"

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


def fraction_bits(scale: float, what: str) -> int:
    """The fraction bits of a scale; HwsimError where it is no power of two."""
    mantissa, exponent = math.frexp(scale)
    if mantissa != 0.5:
        raise HwsimError(f"{what} must have scales that are powers of two, not {scale!r}")
    return 1 - exponent


def reals_of(kind: TensorType, what: str) -> Format:
    """The narrowest format of all reals that codes of a type stand for.

    Raises HwsimError for a scale that is no power of two.
    """
    if kind.quant is None:
        return kind.format
    fractions = [fraction_bits(scale, what) for scale in kind.quant.scale]
    low, high = kind.format.min - kind.zero_point, kind.format.max - kind.zero_point
    if len(set(fractions)) == 1 and kind.zero_point == 0:
        return Format(kind.format.signed, kind.format.width - fractions[0], fractions[0])
    fine = max(fractions)
    least = min(low << fine - f for f in fractions)
    return Format.holding(least, max(high << fine - f for f in fractions), fine)


def target(kind: TensorType, what: str, rounding: Rounding, overflow: Overflow) -> Assigned:
    """The type whose assignment gives the codes of `kind`; HwsimError where there is none."""
    fmt = reals_of(kind, what)
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
    ends = [fraction_bits(s, what) for s in x.scales()]
    step = fraction_bits(out.scales()[0], what) if len(out.scales()) == 1 else None
    powers = [fraction_bits(m, f"{what}'s multipliers") for m in op.multiplier]
    count = max(len(ends), len(powers))
    given, factors = ends * (count // len(ends)), powers * (count // len(powers))
    if step is None or any(g - f != step for g, f in zip(given, factors, strict=True)):
        raise HwsimError(f"{what} must keep what its codes stand for, and it multiplies them")
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
    if x.magnitude + abs(op.input_zero_point) >= EXACT_PRODUCT:
        raise HwsimError(
            f"{what} must have sums below 2**24, which float32 holds, not up to {x.magnitude}"
        )
    return Rounding.RND_CONV


def entering(port: InputPort) -> Assigned:
    """The type of an input; HwsimError where its quantizer is none of ap_fixed."""
    what = f"input {port.name!r}"
    if port.steps:
        raise HwsimError(f"{what} must be quantized as it comes, not computed with in float32")
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


def common(values: Iterable[Fraction], what: str) -> tuple[list[int], int]:
    """Dyadic numbers as codes at one binary point, and its fraction bits."""
    numbers = list(values)
    frac = max((value.denominator.bit_length() - 1 for value in numbers), default=0)
    return [int(value * 2**frac) for value in numbers], frac
