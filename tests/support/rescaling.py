"""Requantizers for component tests: operators of every scheme, stimuli, and their differences."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np

from hwsim.fixed import Format, Overflow, Rounding
from hwsim.forms.choose import literal_form
from hwsim.forms.requantizers import Form, Output
from hwsim.forms.thresholds import literal, thresholds
from hwsim.ops.requantize import Requantize, Scheme
from support.forms import choose
from support.rtl_bench import Run, beats_of, run, words
from support.seeds import seeded

SEED = seeded(71124)
INT8, UINT8 = Format.int(8), Format.uint(8)
PATTERNS = [(0.0, 0.0, None), (0.5, 0.2, None), (0.2, 0.5, None), (0.3, 0.3, 25)]


Pattern = tuple[float, float, int | None]  # chances of idle and of a stall, the cycle of a reset


def stimulus(op: Requantize, lo: int, hi: int, pixels: int, channels: int) -> list[int]:
    """Codes near thresholds and anywhere in the range, channels innermost."""
    rng = random.Random(SEED)
    at = thresholds(op, lo, hi).at if op.overflow is Overflow.SAT else np.zeros((1, 1), np.int64)
    out = []
    for k in range(pixels * channels):
        edge = int(at[rng.randrange(len(at)), k % channels % at.shape[1]]) + rng.randrange(-1, 2)
        out.append(min(max(edge, lo), hi) if rng.random() < 0.7 else rng.randrange(lo, hi + 1))
    return out


def differing(
    op: Requantize,
    make: Callable[..., Any],
    bits: int,
    *,
    lanes: int = 1,
    pixels: int = 60,
    pattern: Pattern = PATTERNS[0],
    interval: Callable[[Any], tuple[int, int]] | None = None,
) -> int:
    """Beats that a component gives otherwise than the operator, for codes of `bits` and a sign.

    `make` takes `lanes`, `channels` and `in_format`. Where nothing stalls, the cycles are held to
    `interval`: those of the first beat and from one beat to the next.
    """
    lo, hi = -(1 << bits), (1 << bits) - 1
    channels = max(len(op.multiplier), lanes)
    x = stimulus(op, lo, hi, pixels, channels)
    want = literal(op, np.array(x).reshape(-1, channels)).ravel().tolist()
    dut = make(lanes=lanes, channels=channels, in_format=Format.int(bits + 1))
    sent, good = words(beats_of(x, lanes), dut.beat), words(beats_of(want, lanes), dut.target)
    idle, stall, reset = pattern
    print(f"seed {SEED}")
    got: Run = run(
        dut,
        {dut.i: sent},
        {dut.o: len(good)},
        rng=random.Random(SEED),
        idle=idle,
        stall=stall,
        reset_at=reset,
    )
    if pattern == PATTERNS[0] and interval is not None:
        first, each = interval(dut)
        assert got.cycles[dut.o] == [first + k * each for k in range(len(good))]
    return sum(a != b for a, b in zip(got.words[dut.o], good, strict=True))


def op_of(scheme: Scheme, *multiplier: float, **more: Any) -> Requantize:
    return Requantize(scheme=scheme, multiplier=multiplier, **({"out": INT8} | more))


def exact(op: Requantize) -> Form:
    return literal_form(op, Output(format=op.out, zero_point=op.zero_point, overflow=op.overflow))


SIX = (0.011, 0.02, 0.0071, 0.013, 2**-7, 0.0099)
OPS: dict[str, tuple[Requantize, int]] = {
    "float out": (op_of(Scheme.F32_RNE_OUT, *SIX, zero_point=-5), 14),
    "float in": (op_of(Scheme.F32_RNE_IN, *SIX, zero_point=-5, input_zero_point=3), 14),
    "single": (op_of(Scheme.SINGLE, *SIX, zero_point=12), 14),
    "gemmlowp": (op_of(Scheme.GEMMLOWP_DOUBLE, *SIX, zero_point=12), 14),
    "gemmlowp left": (op_of(Scheme.GEMMLOWP_DOUBLE, 2.7, 0.5, 1.9, input_zero_point=-2), 7),
    "shift": (op_of(Scheme.SHIFT, 2**-7, 2**-5, 2**-9, rounding=Rounding.RND_CONV), 14),
    "float large": (op_of(Scheme.F32_RNE_OUT, 2**-20.3, 2**-19.9, zero_point=9), 27),
    "float in large": (op_of(Scheme.F32_RNE_IN, 2**-20.3, 2**-19.9, zero_point=9), 27),
    "float up": (op_of(Scheme.F32_RNE_OUT, 1.3, 3.0, 2.0**23 * 1.1, out=Format.int(16)), 5),
    "unsigned": (op_of(Scheme.F32_RNE_OUT, 0.013, zero_point=7, out=UINT8), 14),
    "float wide": (op_of(Scheme.F32_RNE_OUT, 2**-13.3, 2**-12.7, zero_point=1), 20),
}


def form_of(op: Requantize, kind: str, bits: int) -> Form:
    """The form that is chosen for codes of so many bits and a sign, or the scheme's own."""
    return choose(op, -(1 << bits), (1 << bits) - 1) if kind == "chosen" else exact(op)
