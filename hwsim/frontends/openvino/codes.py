"""Codes that a quantizer reads again: from one tensor or two, by trying all of them.

The plugin moves what codes mean behind what is done to them, and into the ends of the quantizer
that reads the result. So it is raw codes that are computed with.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from hwsim.frontends.openvino.lines import factor_and_offset, fused
from hwsim.frontends.openvino.residual import QuantizedScale
from hwsim.frontends.openvino.shown import FOLLOWED
from hwsim.frontends.shared.values import Arithmetic, FloatArray, Unary
from hwsim.ops.base import IntArray

F32 = np.float32
Function = Unary | Arithmetic


class Ended(Protocol):
    """A quantizer that has two ends."""

    @property
    def levels(self) -> int:
        """How many codes there are."""

    @property
    def ends(self) -> tuple[FloatArray, FloatArray]:
        """The lowest and the highest real."""

    def codes(self, reals: FloatArray, /) -> IntArray:
        """Codes of float32 values."""

    def on_line(self, values: FloatArray, factor: FloatArray, offset: FloatArray, /) -> IntArray:
        """Codes of float32 values by a factor and an offset."""


def vanishes(function: Function, by: Ended) -> bool:
    """Whether it is a clamp before a quantizer whose range lies inside of its own.

    Without an upper bound, where the quantizer's lowest real is 0.
    """
    if not isinstance(function, Unary) or function.low is None:
        return False
    least, most = by.ends
    if function.high is None:
        return function.low == 0 and bool((least == 0).all())
    low, high = F32(function.low), F32(function.high)
    return bool(function.clamp and (low <= least).all() and (high >= most).all())


def of_codes(
    codes: IntArray,
    meaning: QuantizedScale,
    scale: FloatArray,
    functions: Sequence[Function],
    by: Ended,
) -> IntArray:
    """What a quantizer makes of codes (..., 1 or channels) and functions of them."""
    functions = [f for f in functions if not vanishes(f, by)]
    raw = codes + meaning.lowest
    while functions and _is_factor(functions[0]):
        scale = scale * functions.pop(0).values  # type: ignore[union-attr]
    first = functions[0] if len(functions) == 1 else None
    if isinstance(first, Unary) and first.low is not None and first.high is not None:
        raw, functions = _clamped(raw, meaning, first), []
    elif isinstance(first, Unary) and first.clamp and first.low == 0 and not meaning.shift:
        raw, functions = np.maximum(raw, 0), []
    if not functions:
        low, high = (end / scale + meaning.shift for end in by.ends)
        return by.on_line(raw.astype(F32), *factor_and_offset(low, high, by.levels))
    reals = (raw.astype(F32) - meaning.shift) * scale
    with np.errstate(all="ignore"):
        for function in functions:
            reals = function.function(reals)
    return by.codes(reals)


def _is_factor(function: Function) -> bool:
    """Whether it multiplies by numbers above 0, which the plugin takes into what codes mean."""
    factor = isinstance(function, Arithmetic) and function.op == "mul"
    return factor and bool((function.values > 0).all())  # type: ignore[union-attr]


def _clamped(raw: IntArray, meaning: QuantizedScale, clamp: Unary) -> IntArray:
    """Codes cut at the whole numbers inside of the ends of a clamp."""
    for end, keep, whole in (
        (clamp.low, np.maximum, math.ceil),
        (clamp.high, np.minimum, math.floor),
    ):
        if end is not None:
            place = whole(F32(end / float(meaning.scale)) + meaning.shift)
            raw = keep(raw, max(place, meaning.lowest))
    return raw


def cut(clamp: Unary, meaning: QuantizedScale, zero: int) -> Unary:
    """A clamp that cuts codes at the end of a model, on the reals that they mean exactly."""
    scale, shift = meaning.scale, meaning.shift

    def function(x: FloatArray) -> FloatArray:
        raw = np.rint(x / scale).astype(np.int64) + zero + meaning.lowest
        return np.asarray((_clamped(raw, meaning, clamp).astype(F32) - shift) * scale)

    return Unary(FOLLOWED, function, rising=True)


def of_sum(
    codes: tuple[IntArray, IntArray],
    meanings: tuple[QuantizedScale, QuantizedScale],
    full: int,
    by: Ended,
    *,
    alone: bool,
    clamps: Sequence[Unary] = (),
) -> IntArray:
    """What a quantizer makes of a sum, whose tensor `full` is brought to the other's codes.

    `clamps` stand between them. `alone` says that nothing else reads that tensor: its quantizer
    then gives what is added.
    """
    own, other = meanings[full], meanings[1 - full]
    shift = own.shift + other.shift * other.scale / own.scale
    moved = _moved(codes[full], replace(own, scale=own.scale / other.scale, shift=shift), alone)
    low, high = (end / other.scale for end in by.ends)
    total = between(moved + _raw(codes[1 - full], other), clamps, other.scale)
    return _apart(by, total, low, high)


def between(values: FloatArray, clamps: Sequence[Unary], scale: np.float32) -> FloatArray:
    """Values no further than the bounds of clamps, which the scale goes into."""
    for clamp in clamps:
        for end, keep in ((clamp.low, np.maximum), (clamp.high, np.minimum)):
            if end is not None:
                values = keep(values, F32(end) / scale)
    return values


def _raw(codes: IntArray, meaning: QuantizedScale) -> FloatArray:
    return (codes + meaning.lowest).astype(F32)


def _moved(codes: IntArray, meaning: QuantizedScale, alone: bool) -> FloatArray:
    """What codes mean, step by step, or by a quantizer's own factor and offset."""
    if not alone:
        return np.asarray((_raw(codes, meaning) - meaning.shift) * meaning.scale)
    low, high = (
        (F32(end) - meaning.shift) * meaning.scale for end in (meaning.lowest, meaning.lowest + 255)
    )
    return fused(codes.astype(F32), (high - low) / F32(255), low)


def _apart(by: Ended, values: FloatArray, low: FloatArray, high: FloatArray) -> IntArray:
    """Places by a product and a sum, each rounded, as where operators are compiled together."""
    factor = F32(by.levels - 1) / (high - low)
    steps = np.rint(values * factor + -low * factor)
    return np.asarray(np.clip(steps, 0, by.levels - 1), np.int64)


def of_reals(
    codes: tuple[IntArray, IntArray],
    meanings: tuple[QuantizedScale, QuantizedScale],
    operation: Callable[[FloatArray, FloatArray], FloatArray],
    by: Ended,
    alone: tuple[bool, bool],
    clamps: Sequence[Unary] = (),
) -> IntArray:
    """What a quantizer makes of a difference or a product of what codes mean."""
    reals = [_moved(c, m, one) for c, m, one in zip(codes, meanings, alone, strict=True)]
    return _apart(by, between(operation(reals[0], reals[1]), clamps, F32(1)), *by.ends)


def of_product(
    codes: tuple[IntArray, IntArray],
    meanings: tuple[QuantizedScale, QuantizedScale],
    by: Ended,
    alone: tuple[bool, bool],
    clamps: Sequence[Unary] = (),
) -> IntArray:
    """What a quantizer makes of a product; codes without a shift are multiplied as they are."""
    first, second = meanings
    if second.shift:
        return of_reals(codes, meanings, np.multiply, by, alone, clamps)
    whole = replace(first, scale=first.scale * second.scale)
    product = _moved(codes[0], whole, alone[0]) * _raw(codes[1], second)
    return _apart(by, between(product, clamps, F32(1)), *by.ends)
