"""Float32 rounding on integers: what a runtime's product of a sum and a scale goes through.

A float32 result is rounded twice: to 24 significant bits, then to a whole number, each to nearest
with ties to even. The first rounding can only matter where it lands on a tie of the second, so the
hardware rounds once and asks whether the exact number lies within half a float32 step of that tie.
All stages work on a magnitude and a sign: both roundings are symmetric.
"""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.hdl import Value

from hwsim.fixed import Rounding
from hwsim.forms.requantizers import F32_BITS
from rtl.parts import arith
from rtl.parts.pipeline import Lane, Stage


def significand_stages(most: int) -> list[Stage]:
    """From a signed `x`, at most `most` in magnitude, to float32's magnitude `x` and `negative`."""
    stages: list[Stage] = [lambda m, lane: magnitude(m, lane, "x")]
    if most > 1 << F32_BITS:
        stages.append(lambda m, lane: to_significand(m, lane, most))
    return stages


def whole_stages(shift: int) -> list[Stage]:
    """From a magnitude `y` and `negative` to `rint(float32(y * 2**-shift))`, signed.

    The shift must be at least 2, and results of 2**21 or more must saturate: for those the first
    rounding is not looked at.
    """
    return [lambda m, lane: around_tie(m, lane, shift), nearest, apply_sign]


def add_in_float(zero: int, shift: int) -> list[Stage]:
    """Round the magnitude `y` to float32, give it its sign, add `zero * 2**shift`."""

    def add(m: Module, lane: Lane) -> Lane:
        signed_ = apply_sign(m, lane)["y"]
        low, high = arith.bounds(signed_)
        total = Signal(arith.holding(low + (zero << shift), high + (zero << shift)))
        m.d.comb += total.eq(signed_ + (zero << shift))
        return {"y": total}

    return [split_step, round_step, add, lambda m, lane: magnitude(m, lane, "y")]


def magnitude(m: Module, lane: Lane, name: str) -> Lane:
    """The value `name` as sign and magnitude."""
    value = Value.cast(lane[name])
    low, high = arith.bounds(value)
    out, negative = Signal(arith.holding(0, max(-low, high))), Signal()
    m.d.comb += [negative.eq(value < 0), out.eq(Mux(negative, -value, value))]
    return {**lane, name: out, "negative": negative}


def to_significand(m: Module, lane: Lane, most: int) -> Lane:
    """Round a magnitude above 2**24 to 24 significant bits, as the conversion to float32 does."""
    x = Value.cast(lane["x"])
    out = Signal(arith.holding(0, 2 * most))
    m.d.comb += out.eq(x)
    for drop in range(1, len(x) - F32_BITS + 1):  # the longest that applies comes last, and wins
        rounded = arith.shift_round(m, x, drop, Rounding.RND_CONV)
        with m.If(x[F32_BITS + drop - 1]):
            m.d.comb += out.eq(rounded << drop)
    return {**lane, "x": out}


def half_step(
    m: Module, value: Any, width: int, precision: int = F32_BITS
) -> tuple[Signal, Signal]:
    """Half a float32 step at the magnitude `value`, as one bit `edge`, and `reach`, all bits below.

    The dropped bits are those of both. Bit k is below if `value` has a bit at k + 25 or above; it
    is the half step itself if its highest bit is k + 24: `precision`, other floats' with another.
    """
    reach, edge = Signal(width), Signal(width)
    bits = Value.cast(value)
    for k in range(width):
        inside, top = bits[k + precision + 1 :].any(), bits[k + precision : k + precision + 1].any()
        m.d.comb += [reach[k].eq(inside), edge[k].eq(top & ~inside)]
    return reach, edge


def split_step(m: Module, lane: Lane, precision: int = F32_BITS) -> Lane:
    """Find the float32 step of `y`, or that of floats with another `precision`."""
    reach, edge = half_step(m, lane["y"], len(Value.cast(lane["y"])), precision)
    return {**lane, "reach": reach, "edge": edge}


def round_step(m: Module, lane: Lane) -> Lane:
    """Round `y` to the significant bits of its step, ties to even."""
    y, reach, edge = (Value.cast(lane[name]) for name in ("y", "reach", "edge"))
    odd = (y & (edge << 1)).any()
    up = (y & edge).any() & ((y & reach).any() | odd)
    out = Signal(len(y) + 1)
    kept = y & ~(reach | edge)
    m.d.comb += out.eq(kept + Mux(up, edge << 1, 0))
    return {"y": out, "negative": lane["negative"]}


def around_tie(m: Module, lane: Lane, shift: int) -> Lane:
    """The floor, the distance to the tie above it, and how far a float32 step reaches."""
    wide = Signal(max(len(Value.cast(lane["y"])), shift + 1))
    m.d.comb += wide.eq(lane["y"])
    half, low = wide[shift - 1], Cat(wide[: shift - 1], Const(0, 1))
    distance = Signal(shift)
    m.d.comb += distance.eq(Mux(half, low, (1 << (shift - 1)) - low))
    reach, edge = half_step(m, wide, shift)
    return {
        "negative": lane["negative"],
        "floor": wide[shift:],
        "half": half,
        "beyond": distance & ~reach,
        "within": (distance & reach).any(),
        "edge": edge,
    }


def nearest(m: Module, lane: Lane) -> Lane:
    """Round to nearest; to even where the float32 number is the tie."""
    beyond, floor = Value.cast(lane["beyond"]), Value.cast(lane["floor"])
    tie = (beyond == 0) | ((beyond == lane["edge"]) & ~lane["within"])
    y = Signal(len(floor) + 1)
    m.d.comb += y.eq(floor + Mux(tie, floor[0], lane["half"]))
    return {"y": y, "negative": lane["negative"]}


def apply_sign(m: Module, lane: Lane) -> Lane:
    """Back from sign and magnitude."""
    y = Signal(arith.holding(-(1 << len(lane["y"])) + 1, 1))
    m.d.comb += y.eq(Mux(lane["negative"], -lane["y"], lane["y"]))
    return {"y": y}
