"""What gradients see of operators that round: a smooth function beside the exact codes.

Forward, an operator's own text gives its codes. Backward, the derivative of a smooth function of
the same inputs takes its place (a straight-through estimator: Bengio et al. 2013, arXiv 1308.3432;
bounds that do not pass it on: Hubara et al. 2016, arXiv 1609.07061). A table here says which.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from hwsim.compress.training.namespace import torch
from hwsim.compress.training.proportions import (
    SATURATING,
    added,
    beside,
    counted_in_a_row,
    divided_by,
    inverse_root,
    looked_up_by_two,
    shared,
)
from hwsim.fixed import Array
from hwsim.ops import (
    AvgPool,
    Cast,
    ChannelTable,
    ChosenThresholds,
    Divide,
    Exact,
    Op,
    PairTable,
    Quotient,
    Reduce,
    Requantize,
    Rsqrt,
    ScaledAdd,
    Share,
    Table,
    TensorType,
    Thresholds,
    Weighted,
)

Slopes = np.ndarray[Any, Any]


@cache
def _function() -> Any:
    """The autograd function with the codes in front and the smooth function behind."""
    base = torch().autograd.Function

    class Through(base):  # type: ignore[misc, valid-type]
        """Gives `codes`; hands gradients on to `smooth`."""

        @staticmethod
        def forward(ctx: Any, smooth: Array, codes: Array) -> Array:
            return codes.to(smooth.dtype)

        @staticmethod
        def backward(ctx: Any, gradient: Array) -> tuple[Array, None]:
            return gradient, None

    return Through


def through(smooth: Array, codes: Array) -> Array:
    """`codes`, with the gradients of `smooth`, which has their shape."""
    found: Array = _function().apply(smooth, codes)
    return found


def rounded(reals: Array) -> Array:
    """To the nearest whole number, ties to even; gradients pass unchanged."""
    return through(reals, torch().round(reals))


def requantized(
    op: Requantize, types: Sequence[TensorType], xs: Sequence[Array], live: Mapping[str, Array]
) -> Array:
    """The product with the multiplier (`live` holds one that is learned), in bounds."""
    factor = live.get("multiplier")
    if factor is None:
        factor = torch().tensor(op.multiplier, dtype=xs[0].dtype)
    real = (xs[0] - op.input_zero_point) * factor + op.zero_point
    return real.clip(op.out.min, op.out.max) if op.overflow in SATURATING else real


def cast(
    op: Cast, types: Sequence[TensorType], xs: Sequence[Array], live: Mapping[str, Array]
) -> Array:
    """The change of binary point, in bounds of each channel's format."""
    formats = op.channels or (op.out,)
    left = [op.out.frac_bits - (f or op.out).frac_bits for f in formats]
    low = [0 if f is None else f.min << s for f, s in zip(formats, left, strict=True)]
    high = [0 if f is None else f.max << s for f, s in zip(formats, left, strict=True)]
    real = xs[0] * 2.0 ** (op.out.frac_bits - types[0].format.frac_bits)
    if op.overflow not in SATURATING:
        return real
    ends = (torch().tensor(end, dtype=xs[0].dtype) for end in (low, high))
    return torch().clip(real, *ends)


def scaled_add(
    op: ScaledAdd, types: Sequence[TensorType], xs: Sequence[Array], live: Mapping[str, Array]
) -> Array:
    """The sum of both products, in bounds."""
    (ra, rb), (sa, sb, so) = op.ratios, op.shifts
    a, b = beside(xs)
    total = ((a + sa) * ra + (b + sb) * rb + op.offset) / (op.divisor or 1.0)
    return (total - so).clip(op.out.min, op.out.max)


def weighted(
    op: Weighted, types: Sequence[TensorType], xs: Sequence[Array], live: Mapping[str, Array]
) -> Array:
    """Of a step-wise accumulator: the exact sum (`live["sum"]`) at its binary point, in bounds.

    Beyond them no gradient passes, where it wraps neither: which way a code moves with a weight
    says nothing of which way is better there.
    """
    fmt = types[-1].format
    return live["sum"].clip(fmt.min, fmt.max)


def average(
    op: AvgPool, types: Sequence[TensorType], xs: Sequence[Array], live: Mapping[str, Array]
) -> Array:
    """Of a step-wise accumulator: the sum of the window at its binary point."""
    padded = op.window.pad(torch(), xs[0], op.zero_point)
    total = sum(op.window.views(padded))
    return total * 2.0 ** (types[-1].format.frac_bits - types[0].format.frac_bits)


def divided(
    op: Divide, types: Sequence[TensorType], xs: Sequence[Array], live: Mapping[str, Array]
) -> Array:
    """The quotient."""
    by = torch().tensor(op.divisors, dtype=xs[0].dtype)
    return xs[0] / (by if op.divisors.size == 1 else by[..., None])


def looked_up(
    op: Table, types: Sequence[TensorType], xs: Sequence[Array], live: Mapping[str, Array]
) -> Array:
    """A line with the slope of the table around each code."""
    return _by_slopes(_slopes(op.values), xs[0], op.start(types[0]))


def looked_up_by_channel(
    op: ChannelTable, types: Sequence[TensorType], xs: Sequence[Array], live: Mapping[str, Array]
) -> Array:
    """A line with the slope of the channel's table around each code."""
    slopes = np.stack([_slopes(row) for row in op.values])
    places = torch().arange(len(slopes)) * slopes.shape[1]
    return _by_slopes(slopes.reshape(-1), xs[0], op.first, places)


def counted(
    op: Thresholds, types: Sequence[TensorType], xs: Sequence[Array], live: Mapping[str, Array]
) -> Array:
    """A line with the slope that the channel's thresholds have around each code, in their bounds.

    Half a step beyond the first and the last threshold is inside. A single threshold's line is as
    wide as the codes usually are far from it. `live` has the codes that they give.
    """
    x, kept = xs[0], {"dtype": xs[0].dtype}
    values, step = torch().tensor(op.values, **kept), torch().tensor(op.step, **kept)
    with torch().no_grad():
        if op.values.shape[1] == 1:
            away = (x - values[:, 0]).abs()
            width = 2 * away.mean(tuple(range(x.ndim - 1)), keepdim=True).clip(1)
            slope = (away <= width / 2) / width
        else:
            slope = _rises(op, values, x, live["codes"].to(x.dtype))
    return x * slope * step


def _rises(op: Thresholds, values: Array, x: Array, codes: Array) -> Array:
    """The slope at each code, 0 out of bounds; rows of thresholds are for all channels or each.

    How many thresholds each reaches is known from the `codes` that they give.
    """
    rows, count = op.values.shape
    kept = {"dtype": x.dtype}
    base = torch().tensor(op.base, **kept)
    step = torch().tensor(np.where(op.step == 0, 1, op.step), **kept)
    reached = ((codes - base) / step).long() + torch().arange(rows) * (count + 1)
    slope = torch().tensor(_steepness(op.values).reshape(-1), **kept)[reached]
    beyond = torch().maximum(values[:, 0] - x, x - values[:, -1])
    return slope * (beyond * slope <= 0.5)


def _steepness(values: np.ndarray[Any, Any]) -> Slopes:
    """Thresholds a code around each place between them: of one gap, or of three together."""
    count = values.shape[1]
    places, found = np.arange(1, count), np.zeros((len(values), count - 1))
    for more in (0, 1):
        low, high = np.maximum(places - 1 - more, 0), np.minimum(places + more, count - 1)
        rise = (high - low) / np.maximum(values[:, high] - values[:, low], 1)
        found = np.maximum(found, rise)
    return np.concatenate([found[:, :1], found, found[:, -1:]], axis=1)


def _slopes(values: np.ndarray[Any, Any]) -> Slopes:
    """Half the difference of a table's neighbours."""
    return np.gradient(values.astype(np.float64)) if values.size > 1 else np.zeros(1)


def _by_slopes(slopes: Slopes, codes: Array, first: int, places: Any = 0) -> Array:
    at = codes.detach().long() - first + places
    return codes * torch().tensor(slopes, dtype=codes.dtype)[at]


SMOOTH: Mapping[type[Op], Callable[..., Array]] = {
    Requantize: requantized,
    Cast: cast,
    ScaledAdd: scaled_add,
    Divide: divided,
    Table: looked_up,
    ChannelTable: looked_up_by_channel,
    Thresholds: counted,
    ChosenThresholds: counted_in_a_row,
    PairTable: looked_up_by_two,
    Quotient: divided_by,
    Rsqrt: inverse_root,
    Share: shared,
}
"""What gradients see of operators that round; the text of the others is smooth as it stands."""


def smooth_of(op: Op) -> Callable[..., Array] | None:
    """The smooth function beside an operator's codes; None where its own text is smooth, if any."""
    if isinstance(op, AvgPool):
        return None if isinstance(op.accumulator, Exact) else average
    if isinstance(op, Reduce):
        return None if isinstance(op.accumulator, Exact) else added
    return SMOOTH.get(type(op))
