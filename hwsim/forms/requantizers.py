"""Integer forms of a requantizer, as hardware computes them.

Each form is its own definition on plain integers: `run` gives the codes, and
`rtl.parts.requantizer` builds the same steps. Constants are tuples with one entry, or one a
channel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hwsim.fixed import Format, Overflow, Rounding, overflow, round_int, shift_round
from hwsim.ops.base import IntArray

PerChannel = tuple[int, ...]  # one entry for all channels, or one a channel
F32_BITS = 24  # significant bits of a float32
LONGEST_SHIFT = 62  # a float32's product with 32 bits stays below 2**57: a longer one gives 0 too
LONGEST_WIDE = 92  # and with 62 bits below 2**87


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What follows the last rounding: add the zero point, fit the format, keep to the window."""

    format: Format
    zero_point: int = 0
    overflow: Overflow = Overflow.SAT
    window: tuple[int, int] | None = None

    @property
    def low(self) -> int:
        """The least code that can come out."""
        return self.format.min if self.window is None else max(self.window[0], self.format.min)

    @property
    def high(self) -> int:
        """The greatest code that can come out."""
        return self.format.max if self.window is None else min(self.window[1], self.format.max)

    def run(self, y: IntArray) -> IntArray:
        """Codes of the format."""
        codes = overflow(np, y + self.zero_point, self.format, self.overflow)
        return np.asarray(np.clip(codes, self.low, self.high), np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Affine:
    """`round((x * m + r) * 2**-shift)`: one multiplication, one addition, one rounding.

    With every `m` a power of two there is no multiplier. With a `split`, an `x` below it takes
    `r_below` for `r`.
    """

    m: PerChannel
    r: PerChannel
    shift: PerChannel
    rounding: Rounding
    out: Output
    split: int | None = None
    r_below: PerChannel | None = None

    @property
    def bits(self) -> int:
        """Width of the multiplier operand; 0 where wiring does it."""
        return 0 if all(m & (m - 1) == 0 for m in self.m) else max(self.m).bit_length()

    def run(self, x: IntArray) -> IntArray:
        """The codes of `x`, whose last axis is the channels."""
        r = np.array(self.r)
        x = _unbounded(x, max(map(abs, self.m)), max(map(abs, self.r)))
        if self.split is not None and self.r_below is not None:
            r = np.where(x < self.split, np.array(self.r_below), r)
        y = x * np.array(self.m, x.dtype) + r
        return self.out.run(_by_channel(y, self.shift, self.rounding))


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoRoundings:
    """gemmlowp's pair: `(x - zero) * 2**left * m` by 31 bits, ties up, then by `right`, ties away.

    With `rounding` RND the second rounding has ties up too, as in ruy.

    The saturating rounding doubling high multiplication truncates a nudged product toward zero;
    over all signs that is rounding to nearest with ties up.
    """

    m: PerChannel
    left: PerChannel
    right: PerChannel
    input_zero_point: int
    out: Output
    rounding: Rounding = Rounding.RND_INF

    @property
    def bits(self) -> int:
        """Width of the multiplier operand."""
        return max(self.m).bit_length()

    def run(self, x: IntArray) -> IntArray:
        """The codes of `x`, whose last axis is the channels."""
        product = ((x - self.input_zero_point) << np.array(self.left)) * np.array(self.m)
        high = shift_round(np, product, 31, Rounding.RND)
        return self.out.run(_by_channel(high, self.right, self.rounding))


@dataclass(frozen=True, slots=True, kw_only=True)
class FloatProduct:
    """`rint(float32(x - zero) * float32 d)` with `d = m * 2**-shift` and `m` of 24 bits.

    Sum and product are each rounded to 24 significant bits, ties to even; then to a whole number.
    With `zero_point_first` the output's zero point is added to the product, in float32, before the
    last rounding.
    """

    m: PerChannel
    shift: PerChannel
    input_zero_point: int
    out: Output
    zero_point_first: bool = False

    @property
    def bits(self) -> int:
        """Width of the multiplier operand."""
        return max(self.m).bit_length()

    def run(self, x: IntArray) -> IntArray:
        """The codes of `x`, whose last axis is the channels."""
        centred = x - self.input_zero_point
        if self.zero_point_first:
            factor = np.ldexp(np.array(self.m), -np.array(self.shift)).astype(np.float32)
            y = np.rint(centred.astype(np.float32) * factor + np.float32(self.out.zero_point))
            return np.asarray(np.clip(y, self.out.low, self.out.high).astype(np.int64))
        whole = _unbounded(round_to_f32(np.abs(centred)), max(self.m))
        product = round_to_f32(whole * np.array(self.m, whole.dtype))
        return self.out.run(np.sign(centred) * _by_channel(product, self.shift, Rounding.RND_CONV))


Form = Affine | TwoRoundings | FloatProduct


def round_to_f32(x: IntArray) -> IntArray:
    """Whole numbers of 0 or more rounded to 24 significant bits, ties to even."""
    drop: IntArray = np.maximum(_lengths(x) - F32_BITS, 0).astype(x.dtype)
    floor = x >> drop
    rest, tie = x - (floor << drop), (1 << drop) >> 1
    up = (rest > tie) | ((rest == tie) & (drop > 0) & (floor & 1 == 1))
    return np.asarray((floor + up) << drop)


def _lengths(x: IntArray) -> IntArray:
    """Bits of whole numbers of 0 or more."""
    if x.dtype == object:
        return np.array([int(v).bit_length() for v in x.flat]).reshape(x.shape)
    high = x >> 32
    return np.asarray(np.where(high > 0, np.frexp(high)[1] + 32, np.frexp(x & 0xFFFFFFFF)[1]))


def _unbounded(x: IntArray, factor: int, offset: int = 0) -> Any:
    """`x`, as Python's own integers where products with a factor up to `factor` pass int64."""
    top = int(np.abs(x).max(initial=0))
    return x if top * factor + offset < 1 << 62 else x.astype(object)


def _by_channel(y: Any, shifts: PerChannel, rounding: Rounding) -> IntArray:
    """Round by each channel's own shift."""
    if y.dtype == object:
        each = np.broadcast_to(np.array(shifts), y.shape)
        found = [
            round_int(int(v), int(s), rounding) for v, s in zip(y.flat, each.flat, strict=True)
        ]
        return np.array(found, object).reshape(y.shape)
    if len(set(shifts)) == 1:
        return np.asarray(shift_round(np, y, shifts[0], rounding))
    y = np.broadcast_to(y, np.broadcast_shapes(y.shape, (len(shifts),)))
    out = np.empty(y.shape, np.int64)
    for shift in set(shifts):
        here = np.array(shifts) == shift
        out[..., here] = shift_round(np, y[..., here], shift, rounding)
    return out
