"""What is tried of codes one by one: those that can occur, and reals of one or two of each."""

from __future__ import annotations

from dataclasses import replace
from itertools import takewhile

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.shared.tensors import TensorBuilder
from hwsim.frontends.shared.values import (
    Extreme,
    Fixed,
    FloatArray,
    Joined,
    Level,
    OfTwoCodes,
    Pair,
    PerChannel,
    Real,
    Scaled,
    Unary,
)
from hwsim.ops import Add, Mul, Sub, TensorType
from hwsim.ops.base import IntArray
from hwsim.ops.elementwise import MOST_ENTRIES

TABLE_BITS = 12


def absorbed(real: Real) -> Real:
    """Functions right behind one of a code and its channel, or of two codes, taken into it.

    Into the parts of a Max or Min, where they rise, and of a Concat.
    """
    source = real.source
    steps = tuple(takewhile(lambda step: isinstance(step, Unary), real.steps))
    functions = [step for step in steps if isinstance(step, Unary)]
    if isinstance(source, Pair) and not all(step.clamp for step in functions):
        source = narrow_pair(source) or source
    if isinstance(source, Fixed):
        for step in functions:
            source = replace(source, values=step.function(source.values))
        return replace(real, source=source, steps=real.steps[len(steps) :])
    if isinstance(source, Joined) and not all(step.clamp for step in functions):
        parts = tuple(part.then(functions[0]) for part in source.parts)
        whole = replace(source, parts=parts)
        return absorbed(replace(real, source=whole, steps=real.steps[1:]))
    if isinstance(source, Scaled) and not all(step.clamp for step in functions):
        source = _of_channel(source) or source
    if isinstance(source, Extreme) and functions and functions[0].rising:
        return absorbed(replace(real, source=_each(source, functions[0]), steps=real.steps[1:]))
    if not functions or not isinstance(source, PerChannel | OfTwoCodes):
        return real
    rough = source.rough or any(step.rough for step in functions)

    def after(value: FloatArray) -> FloatArray:
        for step in functions:
            value = step.function(value)
        return value

    taken: PerChannel | OfTwoCodes
    if isinstance(source, PerChannel):
        one = source.function
        taken = replace(source, function=lambda x: after(one(x)), rough=rough)
    else:
        two = source.function
        taken = replace(source, function=lambda a, b: after(two(a, b)), rough=rough)
    return replace(real, source=taken, steps=real.steps[len(steps) :])


def narrow_pair(source: Pair) -> OfTwoCodes | None:
    """A sum or product of float32 values of narrow codes as any function of them."""
    a, b = source.a, source.b
    if not (source.in_reals and isinstance(a, Level) and isinstance(b, Level)) or source.wide:
        return None
    operation = {Add: np.add, Sub: np.subtract, Mul: np.multiply}[type(source.op)]
    return OfTwoCodes(source.name, a, b, operation)


def _of_channel(source: Scaled) -> PerChannel | None:
    """What the runtime computes of narrow codes and their channel as any function of them."""
    if source.unit is not None or source.function is None or not isinstance(source.term, Level):
        return None
    if source.term.codes.format.width > TABLE_BITS:
        return None
    return PerChannel(source.name, source.term, source.function)


def _each(source: Extreme, step: Unary) -> Extreme:
    """A rising function of each part in the place of one of the largest or smallest."""
    limit = None if source.limit is None else step.function(source.limit)
    return replace(source, parts=tuple(part.then(step) for part in source.parts), limit=limit)


def reals_by_channel(run: TensorBuilder, source: PerChannel) -> tuple[FloatArray, int]:
    """The function of all codes (that can occur) in each channel, and the first of them."""
    level = source.term
    kind = run.types[level.codes.edge]
    codes, first = met(kind, "a tensor that a function a channel is taken of")
    reals = (codes - level.zero_point).astype(np.float32) * np.float32(level.scale)
    values = source.function(np.repeat(reals[:, None], kind.channels, axis=1))
    return values, kind.format.min if first is None else first


def reals_of_pairs(source: OfTwoCodes) -> FloatArray:
    """The function of all codes of two formats, the first one's by rows."""
    values = []
    for level in (source.a, source.b):
        fmt = level.codes.format
        codes = np.arange(fmt.min, fmt.max + 1) - level.zero_point
        values.append(codes.astype(np.float32) * np.float32(level.scale))
    return source.function(values[0][:, None], values[1][None, :])


def met(kind: TensorType, what: str) -> tuple[IntArray, int | None]:
    """The codes that a table needs entries for: all, or of a wide format those that can occur.

    With them the first, where they are not all.
    """
    fmt = kind.format
    if fmt.width <= TABLE_BITS:
        return np.arange(fmt.min, fmt.max + 1), None
    if kind.hi - kind.lo >= MOST_ENTRIES:
        raise HwsimError(
            f"{what} must have at most {TABLE_BITS} bits, or {MOST_ENTRIES} codes that can occur, "
            f"not {fmt.width} bits and codes from {kind.lo} to {kind.hi}"
        )
    return np.arange(kind.lo, kind.hi + 1), kind.lo
