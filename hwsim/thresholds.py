"""Requantization as the step function that it is, and the narrowest integer form that has its steps.

A monotone map from the codes `lo..hi` to a narrow format is fully described by its thresholds: for
each code `j` the least `x` that gives `j` or more. Two forms with the same thresholds give the same
integers on the whole range, so hardware may use the cheapest of them. `choose` tries, in order: a
shift, a narrow multiply-add-shift, the scheme's mantissa with one rounding, the scheme literally.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError
from hwsim.fixed import Overflow, Rounding
from hwsim.forms import LONGEST_SHIFT, Affine, FloatProduct, Form, Output, TwoRoundings
from hwsim.narrow import narrowest
from hwsim.ops.base import Carrier
from hwsim.ops.requantize import Requantize, Scheme

IntArray = npt.NDArray[np.int64]
Bound = int | IntArray  # one for all channels, or one a channel
MOST_LEVELS = 4096  # codes of the output beyond which only literal forms are made
HARD_BITS, MANTISSA_BITS = 18, 24  # operand of one hard multiplier; significand of a float32


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """The thresholds of a monotone requantizer, channel by channel.

    `at[k, c]` is the least `x` in `lo[c]..hi[c]` whose code is `low + 1 + k` or more, and
    `hi[c] + 1` where there is none. Codes run over `low..high`.
    """

    lo: IntArray
    hi: IntArray
    low: int
    high: int
    at: IntArray

    def equal(self, form: Form) -> bool:
        """Whether `form` has the very same thresholds."""
        codes = np.arange(self.low + 1, self.high + 1)[:, None]
        here, before = np.clip(self.at, self.lo, self.hi), np.clip(self.at - 1, self.lo, self.hi)
        rises = (self.at > self.hi) | (form.run(here) >= codes)
        falls = (self.at <= self.lo) | (form.run(before) < codes)
        return bool(rises.all() and falls.all())


def literal(op: Requantize, x: IntArray) -> IntArray:
    """The codes of `op` by its own definition; the last axis of `x` is the channels."""
    carrier = Carrier.FLOAT64 if op.scheme is Scheme.F32_RNE_OUT else Carrier.INT64
    out = op.run(np, [x.astype(carrier.value)], op.prepare([], carrier))
    return np.asarray(out).astype(np.int64)


def thresholds(op: Requantize, lo: Bound, hi: Bound, window: tuple[int, int] | None = None) -> Steps:
    """All thresholds on `lo..hi` by bisection of the literal semantics, all at once.

    `window` cuts the codes, as a following clip does. `op` must saturate.
    """
    low, high = window or (op.out.min, op.out.max)
    if op.overflow is not Overflow.SAT:
        raise HwsimError(f"a requantizer with thresholds must saturate, not {op.overflow.value}")
    _, below, above = np.broadcast_arrays(np.array(op.multiplier), lo, hi)
    codes = np.arange(low + 1, high + 1)[:, None]
    first = np.broadcast_to(below.astype(np.int64), (len(codes), len(below))).copy()
    last = np.broadcast_to(above.astype(np.int64) + 1, first.shape).copy()
    while (first < last).any():
        middle = (first + last) >> 1
        reached = literal(op, middle) >= codes
        last = np.where(reached, middle, last)
        first = np.where(reached, first, np.minimum(middle + 1, last))
    return Steps(below.astype(np.int64), above.astype(np.int64), low, high, first)


def choose(op: Requantize, lo: Bound, hi: Bound, window: tuple[int, int] | None = None) -> Form:
    """The cheapest integer form that is proved equal to `op` for every input code `lo..hi`.

    `lo` and `hi` are bounds of the input, one or one a channel. With a `window` the form also does a
    following clip to those codes. Raises HwsimError for a float32 product of sums over 32 bits.
    """
    out = Output(
        format=op.out, zero_point=op.zero_point, overflow=op.overflow, window=window
    )
    if op.scheme is Scheme.SHIFT:
        return _shift(op, out)
    if int(np.min(lo)) < -(1 << 31) or int(np.max(hi)) >= 1 << 31:
        raise HwsimError(
            f"a sum requantized by {op.scheme.value} must fit 32 bits, not range from "
            f"{int(np.min(lo))} to {int(np.max(hi))}"
        )
    if out.high - out.low >= MOST_LEVELS:
        return _literal_form(op, out)
    steps = thresholds(op, lo, hi, (out.low, out.high))
    return next(form for form in _ladder(op, out, steps) if steps.equal(form))


def _ladder(op: Requantize, out: Output, steps: Steps) -> Iterator[Form]:
    """Candidates, cheapest first; the last is the definition itself."""
    if op.scheme is Scheme.F32_RNE_OUT and all(math.frexp(d)[0] == 0.5 for d in op.multiplier):
        yield _shift(op, out)
    narrow = [
        narrowest(steps, out, shared=shared, split=split)
        for split in (None, op.input_zero_point)
        for shared in (True, False)
    ]
    for most in (HARD_BITS, MANTISSA_BITS,36):
        yield from (form for form in narrow if form is not None and form.bits <= most)
    if op.scheme is Scheme.F32_RNE_OUT:
        yield _one_rounding(op, out, *_float_parts(op), Rounding.RND_CONV)
    elif op.scheme is Scheme.GEMMLOWP_DOUBLE:
        yield _single(op, out)
    yield _literal_form(op, out)


def _literal_form(op: Requantize, out: Output) -> Form:
    match op.scheme:
        case Scheme.F32_RNE_OUT:
            m, shift = _float_parts(op)
            return FloatProduct(m=m, shift=shift, input_zero_point=op.input_zero_point, out=out)
        case Scheme.GEMMLOWP_DOUBLE:
            m31, s = op.fixed_point()
            return TwoRoundings(
                m=tuple(m31.tolist()),
                left=tuple(np.maximum(s, 0).tolist()),
                right=tuple(np.maximum(-s, 0).tolist()),
                input_zero_point=op.input_zero_point,
                out=out,
            )
        case _:
            return _single(op, out)


def _shift(op: Requantize, out: Output) -> Affine:
    shifts = [1 - math.frexp(d)[1] for d in op.multiplier]
    m = tuple(1 << max(-s, 0) for s in shifts)
    right = tuple(max(s, 0) for s in shifts)
    return _one_rounding(op, out, m, right, op.rounding if op.scheme is Scheme.SHIFT else Rounding.RND_CONV)


def _single(op: Requantize, out: Output) -> Affine:
    m, s = op.fixed_point()
    return _one_rounding(op, out, tuple(m.tolist()), tuple((31 - s).tolist()), Rounding.RND)


def _one_rounding(
    op: Requantize, out: Output, m: tuple[int, ...], shift: tuple[int, ...], rounding: Rounding
) -> Affine:
    r = tuple(-op.input_zero_point * value for value in m)
    return Affine(m=m, r=r, shift=shift, rounding=rounding, out=out)


def _float_parts(op: Requantize) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """float32(multiplier) as `m * 2**-shift`, with m of up to 24 bits."""
    m, shift = [], []
    for d in op.multiplier:
        fraction, exponent = math.frexp(float(np.float32(d)))
        mantissa, right = int(fraction * 2**MANTISSA_BITS), MANTISSA_BITS - exponent
        m.append(mantissa << max(-right, 0))
        shift.append(min(max(right, 0), LONGEST_SHIFT))
    return tuple(m), tuple(shift)
