"""The cheapest integer form of a requantizer that has its thresholds.

`choose` tries a shift, the narrowest multiply-add-shift (with one offset, or one on each side of
zero), the scheme's mantissa with one rounding, and falls back to the scheme's own steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Rounding
from hwsim.forms.doubles import exact_parts
from hwsim.forms.narrow import narrowest
from hwsim.forms.requantizers import (
    F32_BITS,
    LONGEST_SHIFT,
    LONGEST_WIDE,
    Affine,
    FloatProduct,
    Form,
    Output,
    TwoRoundings,
)
from hwsim.forms.thresholds import Bound, StepFunction, thresholds
from hwsim.ops.requantize import FLOAT_SCHEMES, TWO_ROUNDINGS, Requantize, Scheme

MOST_LEVELS = 4096  # codes of the output beyond which only literal forms are made
MOST_SUM_BITS = {Scheme.REDUCED: 48, **dict.fromkeys(TWO_ROUNDINGS, 32)}
FLOAT_OUT_BITS = 20  # beyond 2**21 a float32's own rounding reaches whole numbers


def choose(
    op: Requantize,
    lo: Bound,
    hi: Bound,
    window: tuple[int, int] | None = None,
    *,
    operand_bits: Sequence[int],
) -> Form:
    """The cheapest integer form that is proved equal to `op` for every input code `lo..hi`.

    `lo` and `hi` are bounds of the input, one or one a channel. With a `window` the form also does
    a following clip to those codes. `operand_bits` are those of an unsigned operand that one, two
    and so on hard multipliers take: fewer are cheaper, and a form that needs more than the last is
    taken only where it is the scheme's own. Raises HwsimError for sums over 62 bits, and for
    outputs over 20 bits of a float32 scheme.
    """
    out = Output(format=op.out, zero_point=op.zero_point, overflow=op.overflow, window=window)
    if op.scheme is Scheme.SHIFT:
        return _once(op, out, *_powers(op), op.rounding)
    ends = int(np.min(lo)), int(np.max(hi))
    _check(op, *ends)
    longest = LONGEST_SHIFT if _fit(32, *ends) else LONGEST_WIDE
    if out.high - out.low >= MOST_LEVELS:
        return _own_form(op, out, ends, longest)
    steps = thresholds(op, lo, hi, (out.low, out.high))
    for form in _candidates(op, out, steps, operand_bits):
        if steps.equal(form):
            return form
    return _own_form(op, out, ends, longest)


def _own_form(op: Requantize, out: Output, ends: tuple[int, int], longest: int) -> Form:
    """`literal_form`; of a product in float64 the exact one, where no sum of the range is between.

    Raises HwsimError where there is one.
    """
    if op.scheme is not Scheme.F64_AWAY:
        return literal_form(op, out, longest)
    parts = exact_parts(op, max(abs(end - op.input_zero_point) for end in ends))
    if parts is None:
        raise HwsimError(
            f"a product in float64 has an integer form only where no sum from {ends[0]} to "
            f"{ends[1]} makes it a tie by its own rounding, which {op.multiplier} do"
        )
    return _once(op, out, *parts, Rounding.RND_INF)


def literal_form(op: Requantize, out: Output, longest: int = LONGEST_SHIFT) -> Form:
    """The scheme's own steps: right for every input that it accepts; F64_AWAY has none.

    `longest` is the shift from which on a float32 scheme's product is 0 all the same.
    """
    if op.scheme in FLOAT_SCHEMES:
        factors, shifts = _float_parts(op, longest)
        return FloatProduct(
            m=factors,
            shift=shifts,
            input_zero_point=op.input_zero_point,
            out=out,
            zero_point_first=op.scheme is Scheme.F32_RNE_IN,
        )
    if op.scheme in TWO_ROUNDINGS:
        m, s = op.fixed_point()
        return TwoRoundings(
            m=tuple(m.tolist()),
            left=tuple(np.maximum(s, 0).tolist()),
            right=tuple(np.maximum(-s, 0).tolist()),
            input_zero_point=op.input_zero_point,
            out=out,
            rounding=Rounding.RND if op.scheme is Scheme.RUY else Rounding.RND_INF,
        )
    if op.scheme is Scheme.SINGLE:
        return _once(op, out, *_fixed_parts(op), Rounding.RND)
    if op.scheme is Scheme.HALF_AWAY:
        return _once(op, out, *_fixed_parts(op), Rounding.RND_INF)
    if op.scheme is Scheme.REDUCED:
        m, right = op.reduced_point()
        return _once(op, out, tuple(m.tolist()), tuple(right.tolist()), Rounding.RND)
    return _once(op, out, *_powers(op), op.rounding)


def _fit(bits: int, lo: int, hi: int) -> bool:
    return lo >= -(1 << (bits - 1)) and hi < 1 << (bits - 1)


def _check(op: Requantize, lo: int, hi: int) -> None:
    most = MOST_SUM_BITS.get(op.scheme, 62)
    if not _fit(most, lo, hi):
        raise HwsimError(
            f"a sum requantized by {op.scheme.value} must fit {most} bits, not range from {lo} to "
            f"{hi}"
        )
    if op.scheme in FLOAT_SCHEMES and op.out.width > FLOAT_OUT_BITS:
        raise HwsimError(
            f"the output of {op.scheme.value} must have at most {FLOAT_OUT_BITS} bits in hardware, "
            f"not {op.out.width}"
        )


def _candidates(
    op: Requantize, out: Output, steps: StepFunction, operand_bits: Sequence[int]
) -> list[Form]:
    """Forms that may be equal, by the hard multipliers that they take, then by their extras."""
    forms: list[Form | None] = [_by_even_ties(op, out)] if op.scheme in FLOAT_SCHEMES else []
    forms[:0] = [narrowest(steps, out, shared=True), narrowest(steps, out, shared=False)]
    forms += [
        narrowest(steps, out, shared=shared, split=op.input_zero_point) for shared in (True, False)
    ]
    if op.scheme in TWO_ROUNDINGS:
        forms.append(_once(op, out, *_fixed_parts(op), Rounding.RND))
    if op.scheme is Scheme.F64_AWAY:
        forms.append(_once(op, out, *_fixed_parts(op), Rounding.RND_INF))
    width = max(abs(int(steps.lo.min())), abs(int(steps.hi.max()))).bit_length()
    most = min(operand_bits[-1], 62 - width)  # so that `run` stays inside int64
    found = [form for form in forms if form is not None and form.bits <= most]
    return sorted(found, key=lambda form: sum(form.bits > bits for bits in (0, *operand_bits)))


def _by_even_ties(op: Requantize, out: Output) -> Affine:
    """The float32 mantissas with one rounding, ties to even: powers of two become shifts."""
    parts = [_stripped(m, s) for m, s in zip(*_float_parts(op), strict=True)]
    m, shift = tuple(m for m, _ in parts), tuple(s for _, s in parts)
    form = _once(op, out, m, shift, Rounding.RND_CONV)
    if op.scheme is Scheme.F32_RNE_OUT:
        return form
    r = tuple(r + (op.zero_point << s) for r, s in zip(form.r, shift, strict=True))
    return replace(form, r=r, out=replace(out, zero_point=0))


def _stripped(m: int, shift: int) -> tuple[int, int]:
    """`m * 2**-shift` without the zero bits at the end of m."""
    zeros = min((m & -m).bit_length() - 1, shift) if m else 0
    return m >> zeros, shift - zeros


def _once(
    op: Requantize, out: Output, m: tuple[int, ...], shift: tuple[int, ...], rounding: Rounding
) -> Affine:
    r = tuple(-op.input_zero_point * value for value in m)
    return Affine(m=m, r=r, shift=shift, rounding=rounding, out=out)


def _powers(op: Requantize) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Multipliers that are powers of two as `m * 2**-shift`; m is 1 unless they shift left."""
    shifts = [1 - math.frexp(d)[1] for d in op.multiplier]
    return tuple(1 << max(-s, 0) for s in shifts), tuple(max(s, 0) for s in shifts)


def _fixed_parts(op: Requantize) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Multipliers as `m * 2**-shift` with m of 31 bits."""
    m, s = op.fixed_point()
    return tuple(m.tolist()), tuple((31 - s).tolist())


def _float_parts(
    op: Requantize, longest: int = LONGEST_SHIFT
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """float32(multiplier) as `m * 2**-shift`, with m of up to 24 bits where the shift is not 0."""
    m, shift = [], []
    for d in op.multiplier:
        fraction, exponent = math.frexp(float(np.float32(d)))
        right = F32_BITS - exponent
        m.append(int(fraction * 2**F32_BITS) << max(-right, 0))
        shift.append(min(max(right, 0), longest))
    return tuple(m), tuple(shift)
