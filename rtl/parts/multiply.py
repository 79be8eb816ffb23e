"""Multiplication in two pipeline stages, cut into the pieces that hard multipliers take."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Signal
from amaranth.hdl import Const, Shape, Value

from rtl.parts.arith import holding
from rtl.parts.pipeline import Lane, Stage
from rtl.targets import REFERENCE

LIMB = REFERENCE.limb_bits


def limbs(value: Any) -> list[tuple[int, Any]]:
    """`value` as pieces (exponent, piece) that add up to it; all but the top one are unsigned."""
    value = Value.cast(value)
    if isinstance(value, Const) and not value.shape().signed:
        return [
            (k, Const(part))
            for k in range(0, max(len(value), 1), LIMB)
            if (part := value.value >> k & ((1 << LIMB) - 1))
        ]
    pieces, start = [], 0
    for shape in limb_shapes(value.shape()):
        piece = value[start : start + shape.width]
        pieces.append((start, piece.as_signed() if shape.signed else piece))
        start += shape.width
    return pieces


def limb_shapes(shape: Shape) -> list[Shape]:
    """The shapes of the pieces of a value, the lowest first; only the top one may be signed."""
    pieces, rest = [], shape.width
    while rest > LIMB + int(shape.signed):
        pieces.append(Shape(LIMB, signed=False))
        rest -= LIMB
    return [*pieces, Shape(rest, signed=shape.signed)]


def times(value: Any, factor: int) -> Any:
    """`value * factor` by shifts and adders alone: no multiplication is left for a synthesizer.

    The factor's canonical signed digits, of which at most every second is not 0.
    """
    total: Any = None
    for place, positive in signed_digits(factor):
        term = Value.cast(value) << place
        if total is None:
            total = term if positive else -term
        else:
            total = total + term if positive else total - term
    return Const(0) if total is None else total


def signed_digits(factor: int) -> list[tuple[int, bool]]:
    """Powers of two (exponent, whether it is added) that add up to `factor`, the largest first."""
    digits, place = [], 0
    while factor:
        if factor & 1:
            positive = factor & 3 == 1
            digits.append((place, positive))
            factor -= 1 if positive else -1
        factor >>= 1
        place += 1
    return digits[::-1]


def partial_products(a: str, b: str, into: str) -> Stage:
    """Stage: `a * b` as separate products, each of one hard multiplier; `a` and `b` are dropped.

    Their names are `into` and the two exponents; `gather` adds them up in the next stage.
    """

    def stage(m: Module, lane: Lane) -> Lane:
        out = {name: value for name, value in lane.items() if name not in (a, b)}
        for i, x in limbs(lane[a]):
            for j, y in limbs(lane[b]):
                out[f"{into}:{i + j}:{i}"] = x * y
        return out

    return stage


def gather(into: str, lo: int, hi: int) -> Stage:
    """Stage: the sum of the products made for `into`, which lies in `lo..hi`."""

    def stage(m: Module, lane: Lane) -> Lane:
        out = {name: value for name, value in lane.items() if not name.startswith(f"{into}:")}
        terms = [
            value << int(name.split(":")[1])
            for name, value in lane.items()
            if name.startswith(f"{into}:")
        ]
        total = Signal(holding(lo, hi))
        m.d.comb += total.eq(sum(terms, Const(0)))
        return {**out, into: total}

    return stage


def product_range(x: tuple[int, int], factors: tuple[int, ...]) -> tuple[int, int]:
    """Bounds of `x * m` for every m of `factors`."""
    ends = [end * m for end in x for m in factors]
    return min(ends), max(ends)
