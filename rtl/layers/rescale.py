"""The integer form that a rescaling operator is built as, found before anything is built."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import lru_cache
from typing import Any

from hwsim.fixed import Rounding
from hwsim.forms.adders import SumForm, choose_add
from hwsim.forms.choose import choose
from hwsim.forms.requantizers import Affine, Form, Output
from hwsim.ops import BatchNorm, Divide, Op, Requantize, ScaledAdd, TensorType

Rescaler = tuple[Form, int]  # a form, and the number of codes after which its constants come again


def rescaler(op: Op, x: TensorType) -> Rescaler | None:
    """The form of an operator that multiplies each code by a constant; None for all others."""
    match op:
        case Requantize():
            return requantizer_form(op, x.lo, x.hi), x.channels
        case BatchNorm():
            return batchnorm_form(op, x), x.channels
        case Divide():
            form = divide_form(op, x)
            return form, x.channels if len(form.m) == 1 else x.size
    return None


@lru_cache(maxsize=4096)
def requantizer_form(op: Requantize, lo: int, hi: int) -> Form:
    """The cheapest integer form with the thresholds of `op` on lo..hi; found once for each."""
    distinct = tuple(dict.fromkeys(op.multiplier))
    if len(distinct) == len(op.multiplier):
        return choose(op, lo, hi)
    form = choose(replace(op, multiplier=distinct), lo, hi)
    places = [distinct.index(d) for d in op.multiplier]
    several: dict[str, Any] = {
        f.name: tuple(value[place] for place in places)
        for f in fields(form)
        if isinstance(value := getattr(form, f.name), tuple) and len(value) > 1
    }
    return replace(form, **several)


def batchnorm_form(op: BatchNorm, x: TensorType) -> Affine:
    """A multiplication and an addition with the constants of each channel."""
    scale, bias, _ = op.aligned(x)
    return Affine(
        m=tuple(scale.tolist()),
        r=tuple(bias.tolist()),
        shift=(0,),
        rounding=Rounding.TRN,
        out=Output(format=op.infer([x]).format),
    )


def divide_form(op: Divide, x: TensorType) -> Affine:
    """Multiplication by a reciprocal that is exact on the proven range, truncated toward zero.

    With `m` the reciprocal rounded up and `e = n * m - 2**s`, `x * m / 2**s` exceeds `x / n` by
    less than 1 / n, hence by too little to reach a whole number, as long as `|x| * e < 2**s`.
    """
    divisors = [int(n) for n in op.divisors.reshape(-1)]
    shift = 0
    while any((-(1 << shift) % n) * x.magnitude >= 1 << shift for n in divisors):
        shift += 1
    factors = [-(-(1 << shift) // n) for n in divisors for _ in range(x.channels)]
    return Affine(
        m=(factors[0],) if len(set(factors)) == 1 else tuple(factors),
        r=(0,),
        shift=(shift,),
        rounding=Rounding.TRN,
        out=Output(format=op.infer([x]).format),
        split=0,
        r_below=((1 << shift) - 1,),
    )


@lru_cache(maxsize=256)
def add_form(op: ScaledAdd, a: TensorType, b: TensorType) -> SumForm | None:
    """The cheapest integer form of a scaled add for all pairs of codes; found once for each."""
    return choose_add(op, a, b)
