"""What every rule of numbers means, in plain Python integers and Fractions.

Slow, and shares no code with hwsim: only the fields of its dataclasses are read. Rules come from
the definitions: AMD UG1399 for the fixed-point modes, gemmlowp's and TensorFlow Lite's C for their
requantizers, IEEE 754 for float32. `oracle_ops` has the operators on whole tensors.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

HALF = Fraction(1, 2)


def rounded(q: Fraction, mode: str) -> int:
    """The whole number that `mode` names for the rational `q`."""
    floor, ceil = math.floor(q), math.ceil(q)
    if floor == ceil:
        return floor
    zero, infinity = (floor, ceil) if q > 0 else (ceil, floor)
    simple = {"TRN": floor, "CEIL": ceil, "TRN_ZERO": zero, "UP": infinity}
    if mode in simple:
        return simple[mode]
    if q - floor != HALF:
        return floor if q - floor < HALF else ceil
    even = floor if floor % 2 == 0 else ceil
    ties = {
        "RND": ceil,
        "RND_ZERO": zero,
        "RND_INF": infinity,
        "RND_MIN_INF": floor,
        "RND_CONV": even,
    }
    return ties[mode]


def fitted(code: int, fmt: Any, mode: str) -> int:
    """A whole number brought into `fmt`."""
    codes = 2**fmt.width
    low = -codes // 2 if fmt.signed else 0
    high = low + codes - 1
    if mode == "WRAP":
        return (code - low) % codes + low
    if mode == "SAT_SYM" and fmt.signed:
        low = -high
    if low <= code <= high:
        return code
    if mode == "SAT_ZERO":
        return 0
    return low if code < low else high


def real(code: int, frac_bits: int) -> Fraction:
    """What a code stands for."""
    return code * Fraction(2) ** -frac_bits


def cast(value: Fraction, fmt: Any, rounding: str, overflow: str) -> int:
    """The code of `fmt` for a real number."""
    return fitted(rounded(value * Fraction(2) ** fmt.frac_bits, rounding), fmt, overflow)


def f32(q: Fraction) -> Fraction:
    """`q` rounded to float32, ties to even; no overflow to infinity is expected."""
    if q == 0:
        return q
    exponent = math.floor(math.log2(abs(q)))
    exponent += (abs(q) >= Fraction(2) ** (exponent + 1)) - (abs(q) < Fraction(2) ** exponent)
    step = Fraction(2) ** (max(exponent, -126) - 23)
    assert abs(q) < Fraction(2) ** 127
    return rounded(q / step, "RND_CONV") * step


def quantized_multiplier(value: float) -> tuple[int, int]:
    """TensorFlow Lite's QuantizeMultiplier: `m * 2**(shift - 31)`."""
    fraction, shift = math.frexp(value)
    m = rounded(Fraction(fraction) * 2**31, "RND_INF")
    return (m // 2, shift + 1) if m == 2**31 else (m, shift)


def c_divide(a: int, b: int) -> int:
    """C's integer division: toward zero."""
    return abs(a) // b if a >= 0 else -(abs(a) // b)


def gemmlowp(x: int, value: float) -> int:
    """MultiplyByQuantizedMultiplier of gemmlowp's two roundings."""
    m, shift = quantized_multiplier(value)
    left, right = max(shift, 0), max(-shift, 0)
    ab = x * 2**left * m
    high = c_divide(ab + (2**30 if ab >= 0 else 1 - 2**30), 2**31)
    mask = 2**right - 1
    remainder, threshold = high & mask, (mask >> 1) + (1 if high < 0 else 0)
    return (high >> right) + (1 if remainder > threshold else 0)


def single(x: int, value: float) -> int:
    """MultiplyByQuantizedMultiplier under TFLITE_SINGLE_ROUNDING."""
    m, shift = quantized_multiplier(value)
    return (x * m + 2 ** (30 - shift)) >> (31 - shift)


def reduced(x: int, value: float) -> int:
    """MultiplyByQuantizedMultiplier of a 64-bit sum: the multiplier is cut to 15 bits."""
    m, shift = quantized_multiplier(value)
    m = (m + 2**15) >> 16 if m < 0x7FFF0000 else 0x7FFF
    return (x * m + 2 ** (14 - shift)) >> (15 - shift)


def ruy(x: int, value: float) -> int:
    """Both of gemmlowp's roundings, with ties up."""
    m, shift = quantized_multiplier(value)
    high = ((x << max(shift, 0)) * m + 2**30) // 2**31
    return rounded(Fraction(high, 2 ** max(-shift, 0)), "RND")


def half_away(x: int, value: float) -> int:
    """The 31-bit multiplier, one rounding with ties away from zero."""
    m, shift = quantized_multiplier(value)
    return rounded(Fraction(x * m, 2 ** (31 - shift)), "RND_INF")


def requantize(op: Any, x: int, value: float) -> int:
    """One code; `value` is the channel's multiplier."""
    x -= op.input_zero_point
    overflow = "SAT"
    match op.scheme.value:
        case "shift":
            y = rounded(x * Fraction(value), op.rounding.value) + op.zero_point
            overflow = op.overflow.value
        case "gemmlowp_double":
            y = gemmlowp(x, value) + op.zero_point
        case "ruy":
            y = ruy(x, value) + op.zero_point
        case "half_away":
            y = half_away(x, value) + op.zero_point
        case "f64_away":
            product = Fraction(float(x) * value)  # Python's floats are float64, and x is exact
            y = rounded(product, "RND_INF") + op.zero_point
        case "single":
            y = single(x, value) + op.zero_point
        case "reduced":
            y = reduced(x, value) + op.zero_point
        case "f32_rne_out":
            y = rounded(f32(f32(Fraction(x)) * f32(Fraction(value))), "RND_CONV") + op.zero_point
        case "f32_rne_in":
            product = f32(f32(Fraction(x)) * f32(Fraction(value)))
            y = rounded(f32(product + op.zero_point), "RND_CONV")
    return fitted(y, op.out, overflow)


def scaled_add(op: Any, a: int, b: int) -> int:
    """Two fused multiply-adds, each rounded once to float32; with a divisor every step is."""
    (ra, rb), (sa, sb, so) = op.ratios, op.shifts
    if op.divisor is not None:
        products = f32((a + sa) * Fraction(ra)), f32((b + sb) * Fraction(rb))
        quotient = f32(f32(sum(products)) / Fraction(op.divisor))
        return fitted(rounded(quotient, "RND_CONV") - so, op.out, "SAT")
    inner = f32((b + sb) * Fraction(rb) + Fraction(op.offset))
    total = f32((a + sa) * Fraction(ra) + inner)
    return fitted(rounded(total, "RND_CONV") - so, op.out, "SAT")


def stepwise(acc: Any, bias: Fraction, products: list[Fraction]) -> int:
    """The bias, then each product cast to the accumulator, each sum brought into range."""
    fmt, rounding, overflow = acc.format, acc.rounding.value, acc.overflow.value
    total = cast(bias, fmt, rounding, overflow)
    for k in acc.order or range(len(products)):
        total = fitted(total + cast(products[k], fmt, rounding, overflow), fmt, overflow)
    return total


def whole(q: Fraction) -> int:
    """A rational that must be a whole number."""
    assert q.denominator == 1, q
    return int(q)
