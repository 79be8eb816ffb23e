"""Smooth functions beside operators that divide, take roots, look up pairs and add float32 numbers.

Where codes are bit patterns of float32 numbers, the numbers are what is smooth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from hwsim.compress.training.namespace import torch
from hwsim.fixed import Array, Overflow
from hwsim.ops import (
    ChosenThresholds,
    Division,
    Float32,
    PairTable,
    Quotient,
    Reduce,
    Rsqrt,
    Share,
    TensorType,
)
from hwsim.ops.floats import FRACTION
from hwsim.ops.share import SUM_FRACTION

SATURATING = (Overflow.SAT, Overflow.SAT_SYM)
LEAST = -126  # the exponent of the smallest normal number


def beside(xs: Sequence[Array]) -> list[Array]:
    """Tensors of one rank, whose shapes broadcast as those of operators on pairs do."""
    rank = max(x.ndim for x in xs)
    return [x.reshape(len(x), *(1,) * (rank - x.ndim), *x.shape[1:]) for x in xs]


def divided_by(
    op: Quotient, types: Sequence[TensorType], xs: Sequence[Array], live: Mapping[str, Array]
) -> Array:
    """The quotient of codes, or of the numbers that they are patterns of, in bounds."""
    a, b = (numbers(x) if op.floats else x for x in beside(xs))
    return (op.factor * a / b + op.zero_point).clip(op.out.min, op.out.max)


def shared(
    op: Share, types: Sequence[TensorType], xs: Sequence[Array], live: Mapping[str, Array]
) -> Array:
    """What share of the sum a term is, in bounds."""
    a, b = beside(xs)
    if op.division is Division.FLOAT32:
        a, b = numbers(a), numbers(b)
    else:
        b = b * 2.0**SUM_FRACTION
    return (2.0**op.bits * a / b + op.zero_point).clip(op.out.min, op.out.max)


def inverse_root(
    op: Rsqrt, types: Sequence[TensorType], xs: Sequence[Array], live: Mapping[str, Array]
) -> Array:
    """One over the root."""
    return 2.0**op.bits / torch().sqrt(xs[0] + op.offset)


def looked_up_by_two(
    op: PairTable, types: Sequence[TensorType], xs: Sequence[Array], live: Mapping[str, Array]
) -> Array:
    """A plane with the slopes of the table around each pair of codes."""
    a, b = beside(xs)
    rows, columns = (x.detach().long() - t.format.min for x, t in zip((a, b), types, strict=False))
    values, total = op.values.astype(np.float64), 0.0
    for x, axis in ((a, 0), (b, 1)):
        slopes = np.gradient(values, axis=axis) if values.shape[axis] > 1 else values * 0
        total = total + x * torch().tensor(slopes, dtype=x.dtype)[rows, columns]
    return total


def counted_in_a_row(
    op: ChosenThresholds,
    types: Sequence[TensorType],
    xs: Sequence[Array],
    live: Mapping[str, Array],
) -> Array:
    """A line of the row's usual step in its bounds; along the rows half their difference."""
    a, b = beside(xs)
    place, last = a.detach().long() - types[0].format.min, len(op.values) - 1
    with torch().no_grad():
        above, below = (_on_a_line(op, place + step, b, last) for step in (1, -1))
    return _on_a_line(op, place, b, last) + a * (above - below) / 2


def _on_a_line(op: ChosenThresholds, rows: Array, codes: Array, last: int) -> Array:
    rows, count = rows.clip(0, last), op.values.shape[1]
    usual = np.median(np.diff(op.values, axis=1), axis=1) if count > 1 else np.ones(last + 1)
    first, width, step, base = (
        torch().tensor(part, dtype=codes.dtype)[rows]
        for part in (op.values[:, 0], np.maximum(usual, 1.0), op.step, op.base)
    )
    return base + step * ((codes - first) / width + 0.5).clip(0, count)


def added(
    op: Reduce, types: Sequence[TensorType], xs: Sequence[Array], live: Mapping[str, Array]
) -> Array:
    """The sum at its accumulator's binary point, in bounds; of patterns that of their numbers."""
    axes = tuple(axis + 1 for axis in op.axes)
    if isinstance(op.accumulator, Float32):
        return patterns(numbers(xs[0]).sum(axes, keepdim=True))
    out = types[-1].format
    total = xs[0].sum(axes, keepdim=True) * 2.0 ** (out.frac_bits - types[0].format.frac_bits)
    saturates = op.accumulator.overflow in SATURATING  # type: ignore[union-attr]
    return total.clip(out.min, out.max) if saturates else total


def numbers(codes: Array) -> Array:
    """The float32 numbers of bit patterns in float64; between patterns they rise in a line."""
    with torch().no_grad():
        bits = codes.long()
        step = torch().exp2(((bits >> FRACTION).clip(1) - 150).double())
        found = bits.int().view(torch().float32).double()
    return found + step * (codes.double() - codes.detach().double())


def patterns(reals: Array) -> Array:
    """The bit patterns of numbers from 0 up, as codes that rise in a line."""
    with torch().no_grad():
        exponents = torch().log2(reals).floor().clip(LEAST)
        codes = reals.float().view(torch().int32).double()
    return codes + (reals - reals.detach()) / torch().exp2(exponents - FRACTION)
