"""What a model computes of reals behind its last codes: steps of an output's port."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hwsim.errors import HwsimError
from hwsim.float_steps import FloatStep, PortStep, RowStep, UnaryStep, narrowed
from hwsim.frontends.shared.trying import TABLE_BITS
from hwsim.frontends.shared.values import (
    Arithmetic,
    FloatArray,
    Level,
    Pool,
    Real,
    Scaled,
    Softmax,
    Unary,
    Weighing,
)
from hwsim.ops.base import Shape

F32 = np.float32


def at_the_end(real: Real) -> tuple[Real, tuple[RowStep, ...]]:
    """A float tensor without the softmax that makes it, and the step of a port that does it."""
    source = real.source
    if not isinstance(source, Softmax) or real.steps:
        return real, ()
    held, inner = source.layout, source.input
    same = real.layout.walk.same(held.walk)
    axes = _moved(held.shape, real.layout.shape, source.axes) if same else None
    if axes is None:
        raise HwsimError(
            f"{source.name}: what comes behind a softmax at the end must keep its rows in place; "
            "leave out the Reshape or Transpose behind it"
        )
    inner = replace(inner, layout=replace(inner.layout, shape=real.layout.shape))
    return inner, (RowStep(op="log_softmax" if source.log else "softmax", axes=axes),)


def _moved(shape: Shape, new: Shape, axes: Sequence[int]) -> tuple[int, ...] | None:
    """The axes of a reshaped tensor that hold the same rows; None where none do."""
    if shape == new:
        return tuple(axes)
    length = math.prod(shape[axis] for axis in axes)
    inside = math.prod(shape[axes[-1] + 1 :])
    for first in range(len(new)):
        for last in range(first, len(new)):
            rows = math.prod(new[first : last + 1])
            if rows == length and math.prod(new[last + 1 :]) == inside:
                return tuple(range(first, last + 1))
    return None


def _at_port(step: Unary) -> bool:
    """Whether a port takes a function of sums: a Clip too, but no ReLU, which codes take."""
    return step.step is not None or (step.clamp and step.high is not None)


def _arithmetic_at_the_end(real: Real) -> int | None:
    """The first step of those at the end that a port computes, arithmetic with a number among them.

    None where there is no such arithmetic, or something else behind it.
    """
    places = [i for i, step in enumerate(real.steps) if isinstance(step, Unary) and step.arithmetic]
    if not places:
        return None
    rest = real.steps[places[0] :]
    fits = all(
        isinstance(step, Unary) and (step.arithmetic or step.clamp or step.step) for step in rest
    )
    return places[0] if fits else None


def float_steps(real: Real) -> tuple[Real, tuple[PortStep, ...]]:
    """A tensor without the float32 steps at its end, and those on the axes that its user sees."""
    source = real.source
    tabled = isinstance(source, Level) and source.codes.format.width <= TABLE_BITS
    first = next(
        (
            i
            for i, s in enumerate(real.steps)
            if isinstance(s, Arithmetic) or (not tabled and isinstance(s, Unary) and _at_port(s))
        ),
        None,
    )
    if first is None and isinstance(source, Scaled | Weighing):
        first = _arithmetic_at_the_end(real)
    scaled: tuple[FloatStep, ...] = ()
    layout = real.layout

    def seen(op: str, values: FloatArray) -> FloatStep:
        lying = np.broadcast_to(values, (math.prod(layout.physical[:-1]), layout.physical[-1]))
        whole = np.empty(layout.size, F32)
        whole[layout.order] = lying.ravel()
        return narrowed(op, whole.reshape(layout.shape))

    if isinstance(source, Level) and source.scales is not None:
        if source.zero_point or any(not isinstance(s, Unary | Pool) for s in real.steps[:first]):
            raise HwsimError("it must be quantized with one scale and zero point 0")
        scaled = (seen("mul", source.scales),)
        real = replace(real, source=replace(source, scale=1.0, scales=None))
    if first is None:
        return real, scaled
    for step in real.steps[first:]:
        if not isinstance(step, Arithmetic | Unary):  # it moves what constants are laid along
            raise HwsimError(f"{step.name} must be followed by a quantizer")
    found: list[PortStep] = [*scaled]
    for step in real.steps[first:]:
        if isinstance(step, Arithmetic):
            found.append(seen(step.op, step.values))
        elif isinstance(step, Unary) and step.clamp:
            limits = (("max", step.low), ("min", step.high))
            found += [seen(op, np.array([v], F32)) for op, v in limits if v is not None]
        elif isinstance(step, Unary) and step.step is not None:
            found.append(UnaryStep(op=step.step))
        elif isinstance(step, Unary) and step.arithmetic is not None:
            op, number = step.arithmetic
            found.append(seen(op, np.array([number], F32)))
        else:
            raise HwsimError(f"{step.name} must be followed by a quantizer")
    return replace(real, steps=real.steps[:first]), tuple(found)
