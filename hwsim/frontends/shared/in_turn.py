"""Sums and means of float32 values that a runtime adds one after the other, row-major: its codes.

Values from 0 up alone, as their bit patterns: what stands behind a ReLU, or has the zero point at
its low end. A sum that meets a tie is rounded as the runtime's own last bits are.
"""

from __future__ import annotations

import math

import numpy as np

from hwsim.frontends.shared.quantizer import Quantizer
from hwsim.frontends.shared.step_functions import FloatRule, Reals, WholeSums, step_function
from hwsim.frontends.shared.tensors import TensorBuilder
from hwsim.frontends.shared.trying import TABLE_BITS
from hwsim.frontends.shared.values import NO_PADDING, Mean, Real, Total
from hwsim.ops import (
    Float32,
    Op,
    Pad,
    Reduce,
    Reduction,
    Reshape,
    Select,
    Table,
    TensorType,
    Transpose,
    Window,
)
from hwsim.ops.base import IntArray
from hwsim.ops.floats import BITS, LARGEST, patterns

NO_ERROR = np.zeros(1)


def is_in_turn(run: TensorBuilder, real: Real) -> bool:
    """Whether a quantizer of a tensor gets the codes that its runtime's order of sums gives."""
    source = real.source
    if not isinstance(source, Mean | Total) or not source.in_turn or real.steps:
        return False
    if isinstance(source, Mean) and source.counts is not None:
        return False
    level = source.input
    kind = run.types[level.codes.edge]
    narrow = kind.format.width <= TABLE_BITS and level.scales is None
    top = patterns((kind.hi - level.zero_point) * level.scale * kind.size)
    positive = kind.lo >= level.zero_point and int(top) <= LARGEST
    return narrow and positive and level.codes.padding == NO_PADDING


def summed_in_turn(
    run: TensorBuilder, source: Mean | Total, by: Quantizer, name: str, out: str
) -> str | None:
    """The edge with the codes of a sum or mean; None where there would be too many thresholds."""
    level = source.input
    kind = run.types[level.codes.edge]
    reals = (np.arange(kind.lo, kind.hi + 1) - level.zero_point).astype(np.float32)
    reals = reals * np.float32(level.scale)
    ops: list[Op] = [Table(values=patterns(reals), out=BITS, first=kind.lo)]
    if isinstance(source, Mean):
        count, last = source.window.size, source.window.output(kind)
        ops += _windows_innermost(kind, source.window)
        shape = (*last, kind.shape[-1])
    else:
        count = math.prod(kind.shape[axis] for axis in source.axes) if source.mean else 1
        kept = [axis for axis in range(len(kind.shape)) if axis not in source.axes]
        ops += _turned((*kept, *source.axes))
        shape = tuple(1 if a in source.axes else n for a, n in enumerate(kind.shape))
    rank = len(kind.shape) + (len(source.window.kernel) if isinstance(source, Mean) else 0)
    terms = len(source.window.kernel) if isinstance(source, Mean) else len(source.axes)
    axes = tuple(range(rank - terms, rank))
    ops += [Reduce(reduction=Reduction.SUM, axes=axes, accumulator=Float32()), Reshape(shape=shape)]
    edge = run.chain(f"{source.name}.in_turn", level.codes.edge, ops, f"{out}.sums")
    divisor = np.float32(count)

    def means(k: IntArray) -> Reals:
        return (k.astype(np.int32).view(np.float32) / divisor).astype(np.float64)

    found = step_function(WholeSums(run.types[edge], means, NO_ERROR, 1), FloatRule((), by.codes))
    return None if found is None else run.chain(name, edge, found.ops(by.format, by.quant), out)


def _windows_innermost(kind: TensorType, window: Window) -> list[Op]:
    """Each place's window along axes of its own, behind the channels."""
    ops: list[Op] = []
    places, rank = kind.shape[:-1], len(window.kernel)
    if any(window.padding):
        before, after = zip(*window.ends, strict=True)
        ops.append(Pad(before=(*before, 0), after=(*after, 0)))
    apart: list[int] = []
    for axis, (size, kernel, stride, ends, made) in enumerate(
        zip(places, window.kernel, window.stride, window.ends, window.output(kind), strict=True)
    ):
        met = tuple(place * stride + tap for place in range(made) for tap in range(kernel))
        if met != tuple(range(size + sum(ends))):
            ops.append(Select(axis=axis, indices=met))
        apart += [made, kernel]
    ops.append(Reshape(shape=(*apart, kind.shape[-1])))
    return [*ops, *_turned((*range(0, 2 * rank, 2), 2 * rank, *range(1, 2 * rank, 2)))]


def _turned(axes: tuple[int, ...]) -> list[Op]:
    return [] if axes == tuple(range(len(axes))) else [Transpose(axes=axes)]
