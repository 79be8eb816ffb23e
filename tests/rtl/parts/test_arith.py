"""Combinational arithmetic against the definitions, over every value of small operands."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from amaranth import Module, Shape, Signal, signed, unsigned
from amaranth.sim import Simulator

from hwsim.fixed import Format, Overflow, Rounding
from rtl.parts import arith

WIDTH = 6
ROUND: dict[Rounding, Callable[[Fraction], int]] = {
    Rounding.TRN: math.floor,
    Rounding.TRN_ZERO: math.trunc,
    Rounding.RND: lambda x: math.floor(x + Fraction(1, 2)),
    Rounding.RND_MIN_INF: lambda x: math.ceil(x - Fraction(1, 2)),
    Rounding.RND_ZERO: lambda x: sign(x) * math.ceil(abs(x) - Fraction(1, 2)),
    Rounding.RND_INF: lambda x: sign(x) * math.floor(abs(x) + Fraction(1, 2)),
    Rounding.RND_CONV: round,
    Rounding.CEIL: math.ceil,
    Rounding.UP: lambda x: sign(x) * math.ceil(abs(x)),
}
FORMATS = [Format(s, w) for s in (True, False) for w in (1, 3, 5, 6, 8)]


def sign(x: Fraction) -> int:
    return (x > 0) - (x < 0)


def into(code: int, fmt: Format, mode: Overflow) -> int:
    """The overflow modes by their sentences."""
    if mode is Overflow.WRAP:
        while code > fmt.max:
            code -= 2**fmt.width
        while code < fmt.min:
            code += 2**fmt.width
        return code
    least = -fmt.max if mode is Overflow.SAT_SYM and fmt.signed else fmt.min
    if code > fmt.max:
        return 0 if mode is Overflow.SAT_ZERO else fmt.max
    return (0 if mode is Overflow.SAT_ZERO and code < fmt.min else least) if code < least else code


Case = tuple[str, Any, Callable[[int], int]]


def differences(shape: Shape, build: Callable[[Module, Any], list[Case]]) -> list[str]:
    """Evaluate all cases on every value of one operand; names of those that differ anywhere."""
    m, value = Module(), Signal(shape)
    cases = build(m, value)
    wrong: list[str] = []

    async def sweep(ctx: Any) -> None:
        lo, hi = arith.bounds(value)
        for code in range(lo, hi + 1):
            ctx.set(value, code)
            await ctx.delay(1e-9)
            wrong.extend(name for name, out, fn in cases if ctx.get(out) != fn(code))

    sim = Simulator(m)
    sim.add_testbench(sweep)
    sim.run()
    return sorted(set(wrong))


SHAPES = [signed(WIDTH), unsigned(WIDTH)]


def rounding_cases(m: Module, value: Any, swap: dict[Rounding, Rounding]) -> list[Case]:
    cases: list[Case] = []
    for shift in (-2, 0, 1, 2, 3, WIDTH - 1, WIDTH, WIDTH + 2):
        for mode in Rounding:
            out = arith.shift_round(m, value, shift, swap.get(mode, mode))
            step = Fraction(2) ** -shift
            cases.append((mode.name, out, lambda c, f=ROUND[mode], s=step: f(c * s)))
    return cases


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_rounding_mode_equals_its_definition_on_all_values(shape: Shape) -> None:
    assert differences(shape, lambda m, v: rounding_cases(m, v, {})) == []


def test_each_rounding_mode_differs_from_every_other_on_a_tie() -> None:
    for mode in Rounding:
        other = Rounding.RND if mode is not Rounding.RND else Rounding.RND_CONV
        swap = {mode: other}
        assert mode.name in differences(signed(WIDTH), lambda m, v, s=swap: rounding_cases(m, v, s))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_rounded_results_have_no_bit_to_spare(shape: Shape) -> None:
    wrong: list[str] = []

    def shapes(m: Module, value: Any) -> list[Case]:
        lo, hi = arith.bounds(value)
        for name, out, fn in rounding_cases(m, value, {}):
            wrong.extend([name] * (out.shape() != arith.holding(fn(lo), fn(hi))))
        return []

    differences(shape, shapes)
    assert wrong == []


def overflow_cases(m: Module, value: Any) -> list[Case]:
    return [
        (
            f"{mode.name} to {fmt}",
            arith.overflow(m, value, fmt, mode),
            lambda c, a=(fmt, mode): into(c, *a),
        )
        for fmt in FORMATS
        for mode in Overflow
    ]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_overflow_mode_equals_its_definition_on_all_values(shape: Shape) -> None:
    assert differences(shape, overflow_cases) == []


def test_a_cast_rounds_before_it_saturates() -> None:
    src, dst = Format(True, 3, 3), Format(True, 2, 1)

    def cases(m: Module, value: Any) -> list[Case]:
        return [
            (
                f"{r.name} {o.name}",
                arith.cast(m, value, src, dst, r, o),
                lambda c, r=r, o=o: into(ROUND[r](Fraction(c, 4)), dst, o),
            )
            for r in Rounding
            for o in Overflow
        ]

    assert differences(signed(WIDTH), cases) == []


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_clip_and_maximum_equal_python(shape: Shape) -> None:
    ends = [(-9, 7), (0, 20), (3, 3), (-100, 100), (-40, -35), (70, 90)]

    def cases(m: Module, value: Any) -> list[Case]:
        clips: list[Case] = [
            (f"clip {e}", arith.clip(m, value, *e), lambda c, e=e: min(max(c, e[0]), e[1]))
            for e in ends
        ]
        for k in (-50, -3, 0, 5, 62):
            other = Signal(arith.holding(min(k, 0), max(k, 0)), init=k)
            clips.append((f"max {k}", arith.maximum(m, value, other), lambda c, k=k: max(c, k)))
        return clips

    assert differences(shape, cases) == []
