"""Integer forms as one product between what comes before it and what comes after it.

Where a product takes several cycles anyway, wide constants cost little: the distance by which a
channel is shifted less than others goes into its multiplier, so that all channels share one shift.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from amaranth import Cat, Const, Module, Mux, Shape, Signal
from amaranth.hdl import Value

from hwsim.fixed import Format, Overflow, Rounding
from hwsim.forms.requantizers import F32_BITS, Affine, FloatProduct, Form, Output, TwoRoundings
from rtl.parts import arith
from rtl.parts.floating import add_in_float, apply_sign, magnitude, significand_stages, whole_stages
from rtl.parts.multiply import product_range
from rtl.parts.pipeline import Lane, Stage
from rtl.parts.requantizer import (
    Fields,
    Range,
    add_offset,
    aligning,
    centre,
    closing,
    fitting,
    rounding_stage,
)

MOST = 1 << 62  # products below it can be computed in int64


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One form, for codes of which only those in the format `codes` can change the output.

    Codes are first brought into `codes` (saturated). `before` are functions without registers from
    the lane `x` to the operand `x` in the range `x`; `fields` are the constants of each channel,
    the multiplier `m` among them; `after` are stages, with registers in between, from the product
    `y` to the code `y`.
    """

    codes: Format
    x: Range
    fields: Fields
    before: list[Stage]
    after: list[Stage]
    split: int | None = None

    @property
    def product(self) -> Range:
        """Bounds of the product."""
        return product_range(self.x, self.fields["m"])


def recipe(form: Form, x: Range) -> Recipe:
    """The recipe of a form for inputs in `x`."""
    codes = Format.holding(*changing(form, x))
    x = (max(x[0], codes.min), min(x[1], codes.max))
    if x[0] > x[1]:  # the output never changes
        x = (codes.min, codes.max)
    match form:
        case Affine():
            return _affine(form, codes, x)
        case TwoRoundings():
            return _two_roundings(form, codes, x)
        case FloatProduct():
            return _float_product(form, codes, x)


@lru_cache(maxsize=4096)
def changing(form: Form, x: Range) -> Range:
    """The least interval that has all changes of the output: codes outside may be moved into it.

    All of `x` for a form that does not saturate, or does not rise.
    """
    lo, hi = x
    if (
        form.out.overflow not in (Overflow.SAT, Overflow.SAT_SYM)
        or min(form.m) < 0
        or _long(form, x)
    ):
        return x
    first, last = _codes(form, lo), _codes(form, hi)
    below, above = lo, hi + 1  # the last code with the first outputs, by bisection
    while above - below > 1:
        middle = (below + above) // 2
        below, above = (middle, above) if (_codes(form, middle) == first).all() else (below, middle)
    least = below
    below, above = lo - 1, hi  # the first code with the last outputs
    while above - below > 1:
        middle = (below + above) // 2
        below, above = (below, middle) if (_codes(form, middle) == last).all() else (middle, above)
    return (min(least, above), max(least, above))


def _codes(form: Form, x: int) -> Any:
    """What each channel makes of `x`."""
    return form.run(np.full(len(form.m), x, np.int64))


def _long(form: Form, x: Range) -> bool:
    """Whether `Form.run` might leave 64 bits."""
    left = max(form.left) if isinstance(form, TwoRoundings) else 0
    zero = 0 if isinstance(form, Affine) else form.input_zero_point
    return max(abs(end - zero) for end in x) * max(form.m) << left >= MOST


def _spread(values: Sequence[int], count: int) -> tuple[int, ...]:
    """One value for each of `count` channels."""
    return tuple(values) * (count // len(values))


def _to_one_shift(
    shifts: tuple[int, ...], least: int, *constants: tuple[int, ...]
) -> tuple[int, list[tuple[int, ...]]]:
    """The largest of the shifts, and constants that give the same numbers with it."""
    common = max(*shifts, least)
    count = max(len(values) for values in (shifts, *constants))
    left = [common - shift for shift in _spread(shifts, count)]
    moved = [
        tuple(v << s for v, s in zip(_spread(values, count), left, strict=True))
        for values in constants
    ]
    return common, [values[:1] if len(set(values)) == 1 else values for values in moved]


def _chained(stages: Sequence[Stage]) -> list[Stage]:
    """Several stages as one, without registers."""

    def stage(m: Module, lane: Lane) -> Lane:
        for each in stages:
            lane = each(m, lane)
        return lane

    return [stage]


def _affine(form: Affine, codes: Format, x: Range) -> Recipe:
    offsets = (form.r,) if form.r_below is None else (form.r, form.r_below)
    shift, (factors, *moved) = _to_one_shift(form.shift, 0, form.m, *offsets)
    low, high = product_range(x, factors)
    every = [r for values in moved for r in values]
    fields: Fields = {"m": factors, "r": moved[0]}
    if len(moved) > 1:
        fields["r_below"] = moved[1]
    add = [add_offset((low + min(every), high + max(every)))] if any(every) else []
    return Recipe(
        codes=codes,
        x=x,
        fields=fields,
        before=[],
        after=_chained([*add, *closing(shift, form.rounding, form.out)]),
        split=form.split if len(moved) > 1 else None,
    )


def _two_roundings(form: TwoRoundings, codes: Format, x: Range) -> Recipe:
    x = (x[0] - form.input_zero_point, x[1] - form.input_zero_point)
    _, (factors,) = _to_one_shift(tuple(-left for left in form.left), 0, form.m)
    fields: Fields = {"m": factors}
    stages: list[Stage] = [rounding_stage(31, Rounding.RND)]
    shift = aligning(form.right, fields, stages)
    return Recipe(
        codes=codes,
        x=x,
        fields=fields,
        before=centre(form.input_zero_point, x),
        after=[stages[0], *_chained([*stages[1:], *closing(shift, form.rounding, form.out)])],
    )


def _float_product(form: FloatProduct, codes: Format, x: Range) -> Recipe:
    x = (x[0] - form.input_zero_point, x[1] - form.input_zero_point)
    most = max(abs(end) for end in x)
    count = max(len(form.m), len(form.shift))
    pairs = zip(_spread(form.m, count), _spread(form.shift, count), strict=True)
    # A channel that never reaches a quarter gives 0: its long shift must not burden the others.
    parts = [(0, 0) if 4 * most * m < 1 << s else (m, s) for m, s in pairs]
    shift, (factors,) = _to_one_shift(tuple(s for _, s in parts), 2, tuple(m for m, _ in parts))
    before = centre(form.input_zero_point, x)
    if most > 1 << F32_BITS:
        before += [*significand_stages(most), _signed_code]
        x = (-2 * most, 2 * most) if x[0] < 0 else (0, 2 * most)
    if form.zero_point_first:
        after = [
            lambda m, lane: magnitude(m, lane, "y"),
            *add_in_float(form.out.zero_point, shift),
            *whole_stages(shift),
            *fitting(replace(form.out, zero_point=0)),
        ]
    else:
        after = _chained([whole_float(shift, form.out), *fitting(form.out)])
    return Recipe(codes=codes, x=x, fields={"m": factors}, before=before, after=after)


def _signed_code(m: Module, lane: Lane) -> Lane:
    """A magnitude with its sign."""
    return {"x": apply_sign(m, {"y": lane["x"], "negative": lane["negative"]})["y"]}


def whole_float(shift: int, out: Output) -> Stage:
    """`rint(float32(y * 2**-shift))` for the codes of `out`, from a product with its sign.

    The first rounding matters where it lands on a tie of the second, `q + 1/2` with a whole `q`:
    within half a float32 step of it, which follows from the highest bit of `q` (of `~q` below 0).
    Only a `q` inside of `out` is looked at: all others saturate.
    """
    low, high = out.low - out.zero_point, out.high - out.zero_point
    octaves = max(abs(low) + 1, abs(high) + 1).bit_length()

    def stage(m: Module, lane: Lane) -> Lane:
        # Bits below the point, with zeros so that the shortest half step has a place.
        pad = max(F32_BITS + 1 - shift, 0)
        point = shift + pad
        y = Value.cast(lane["y"])
        product = Signal(arith.holding(*(end << pad for end in arith.bounds(y))), name="product")
        m.d.comb += product.eq(y << pad)
        wide = _longer(m, product, point + octaves + 1)
        q, half = wide[point:], wide[point - 1]
        size = (
            wide[point : point + octaves] ^ wide[-1].replicate(octaves)
            if y.shape().signed
            else (wide[point : point + octaves])
        )
        near = near_tie(m, wide[: point - 1], half, Value.cast(size))
        total = Signal(
            arith.holding(*(end + 1 for end in arith.bounds(_shaped(q, y)))), name="whole"
        )
        m.d.comb += total.eq(_shaped(q, y) + Mux(near, q[0], half))
        return {"y": total}

    return stage


def near_tie(m: Module, below: Any, half: Any, size: Any) -> Signal:
    """Whether float32 takes a number for the tie: `below` are its bits below the half bit.

    With bit k the highest of `size`, numbers within `2**(k - 24)` (a half step) do, and with none
    those within `2**-25`; here in units of the lowest bit of the part of `below` that may differ.
    """
    zone = len(size) + 1
    start = len(below) + 1 - F32_BITS - 1  # the place of 2**-25
    fixed, free, rest = below[start + zone :], below[start : start + zone], below[:start]
    inside = Signal(zone)  # bits below the half step
    step = Signal(zone)  # the half step itself
    m.d.comb += [inside[k].eq(size[k:].any()) for k in range(len(size))]
    m.d.comb += step.eq(~inside & Cat(Const(1, 1), inside))
    ones = fixed.all() & (free | inside).all()
    zeros = ~fixed.any() & (~(free & ~inside).any() | ((free == step) & ~rest.any()))
    near = Signal()
    m.d.comb += near.eq(Mux(half, zeros, ones))
    return near


def _longer(m: Module, value: Any, width: int) -> Any:
    """At least so many bits of a value."""
    value = Value.cast(value)
    if len(value) >= width:
        return value
    out = Signal(Shape(width, signed=value.shape().signed), name="wide")
    m.d.comb += out.eq(value)
    return out


def _shaped(bits: Any, like: Any) -> Any:
    """Bits with the sign of another value."""
    return bits.as_signed() if like.shape().signed else bits
