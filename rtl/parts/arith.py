"""Combinational fixed-point arithmetic whose results have exactly the bits that they need.

Each function adds its logic to the combinational domain of `m` and returns a new signal. The
meaning is that of `hwsim.fixed`: same modes, same names. `value` is any Amaranth value; its own
shape says whether it is signed and bounds its range.
"""

from __future__ import annotations

from typing import Any

from amaranth import Const, Module, Mux, Shape, Signal, signed, unsigned
from amaranth.hdl import Value

from hwsim.fixed import Format, Overflow, Rounding, round_int


def shape_of(fmt: Format) -> Shape:
    """The Amaranth shape of one code of `fmt`."""
    return signed(fmt.width) if fmt.signed else unsigned(fmt.width)


def holding(lo: int, hi: int) -> Shape:
    """The narrowest shape with all of `lo..hi`, at least one bit wide."""
    return shape_of(Format.holding(lo, hi))


def bounds(value: Any) -> tuple[int, int]:
    """The least and greatest number that the shape of `value` can hold."""
    shape = Value.cast(value).shape()
    if shape.signed:
        return -(1 << (shape.width - 1)), (1 << (shape.width - 1)) - 1
    return 0, (1 << shape.width) - 1


def shift_round(m: Module, value: Any, shift: int, rounding: Rounding) -> Signal:
    """`value * 2**-shift`, rounded; a negative `shift` multiplies exactly.

    The result is wide enough for every value of the operand's shape and no wider.
    """
    lo, hi = bounds(value)
    out = Signal(holding(round_int(lo, shift, rounding), round_int(hi, shift, rounding)))
    if shift <= 0:
        m.d.comb += out.eq(value << -shift)
        return out
    width = max(len(Value.cast(value)), shift + 1)
    wide = Signal(Shape(width, signed=lo < 0))
    m.d.comb += [wide.eq(value), out.eq((wide >> shift) + round_up(wide, shift, rounding))]
    return out


def round_up(wide: Any, shift: int, rounding: Rounding) -> Any:
    """Whether the low `shift` bits, when dropped, add one to the floor; `wide` has more bits."""
    half = wide[shift - 1]
    below = wide[: shift - 1].any()
    negative = wide[-1] if wide.shape().signed else Const(0)
    match rounding:
        case Rounding.TRN:
            return Const(0)
        case Rounding.TRN_ZERO:
            return negative & (half | below)
        case Rounding.RND:
            return half
        case Rounding.RND_MIN_INF:
            return half & below
        case Rounding.RND_ZERO:
            return half & (below | negative)
        case Rounding.RND_INF:
            return half & (below | ~negative)
        case Rounding.RND_CONV:
            return half & (below | wide[shift])
        case Rounding.CEIL:
            return half | below
        case Rounding.UP:
            return (half | below) & ~negative


def overflow(m: Module, value: Any, fmt: Format, mode: Overflow) -> Signal:
    """Bring `value` into the codes of `fmt`."""
    lo, hi = bounds(value)
    out = Signal(shape_of(fmt))
    m.d.comb += out.eq(value)  # extended by its own sign, or cut: that is WRAP
    if mode is Overflow.WRAP:
        return out
    least = -fmt.max if mode is Overflow.SAT_SYM and fmt.signed else fmt.min
    zero = mode is Overflow.SAT_ZERO
    bits = Value.cast(value)
    magnitude = fmt.width - int(fmt.signed)  # bits that are not a copy of the sign
    top = bits[magnitude:]
    if hi > fmt.max:
        above = top.any() & ~bits[-1] if lo < 0 else top.any()
        with m.If(above):
            m.d.comb += out.eq(0 if zero else fmt.max)
    if lo < fmt.min:
        below = bits[-1] & ~top.all() if fmt.signed else bits[-1]
        with m.If(below):
            m.d.comb += out.eq(0 if zero else least)
    if lo <= fmt.min < least:
        with m.If(bits == fmt.min):
            m.d.comb += out.eq(least)
    return out


def cast(
    m: Module, value: Any, src: Format, dst: Format, rounding: Rounding, mode: Overflow
) -> Signal:
    """A code of `src` as a code of `dst`: rounded first, then brought into range."""
    rounded = shift_round(m, value, src.frac_bits - dst.frac_bits, rounding)
    return overflow(m, rounded, dst, mode)


def clip(m: Module, value: Any, lo: int, hi: int) -> Signal:
    """`min(max(value, lo), hi)`, in the narrowest shape that holds what can come out."""
    least, most = bounds(value)
    out = Signal(holding(min(max(least, lo), hi), max(min(most, hi), lo)))
    m.d.comb += out.eq(value)
    if least < lo:
        with m.If(Value.cast(value) < lo):
            m.d.comb += out.eq(lo)
    if most > hi:
        with m.If(Value.cast(value) > hi):
            m.d.comb += out.eq(hi)
    return out


def maximum(m: Module, a: Any, b: Any) -> Signal:
    """The larger of two values."""
    (a_lo, a_hi), (b_lo, b_hi) = bounds(a), bounds(b)
    out = Signal(holding(max(a_lo, b_lo), max(a_hi, b_hi)))
    a, b = Value.cast(a), Value.cast(b)
    m.d.comb += out.eq(Mux(a > b, a, b))
    return out
