"""Multiplication in two pipeline stages, cut into the pieces that hard multipliers take."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Signal
from amaranth.hdl import Const, Value

from rtl.arith import holding
from rtl.pipeline import Lane, Stage

LIMB = 17  # unsigned bits that a signed 18 x 18 multiplier (ECP5 MULT18X18D, DSP48) takes


def limbs(value: Any) -> list[tuple[int, Any]]:
    """`value` as pieces (exponent, piece) that add up to it; all but the top one are unsigned."""
    value = Value.cast(value)
    top = LIMB + int(value.shape().signed)
    if isinstance(value, Const) and not value.shape().signed:
        return [
            (k, Const(part))
            for k in range(0, max(len(value), 1), LIMB)
            if (part := value.value >> k & ((1 << LIMB) - 1))
        ]
    pieces, start = [], 0
    while len(value) - start > top:
        pieces.append((start, value[start : start + LIMB]))
        start += LIMB
    rest = value[start:]
    return [*pieces, (start, rest.as_signed() if value.shape().signed else rest)]


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
