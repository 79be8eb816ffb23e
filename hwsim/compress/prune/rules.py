"""What each operator does to channels: which of its outputs' go with which of its inputs'.

A rule has two halves. `follow` gives labels of what comes out for labels of what goes in, and says
which go together or stay. `cut` gives the operator for tensors that have lost some indices.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.compress.prune.labels import Channels, Labels, along
from hwsim.ops import (
    Add,
    AvgPool,
    BatchNorm,
    Carrier,
    Cast,
    ChannelTable,
    ChosenThresholds,
    Concat,
    Conv,
    Conv1D,
    Conv2D,
    Dense,
    Divide,
    Flatten,
    Literal,
    Maximum,
    MaxPool,
    Minimum,
    Mul,
    Op,
    Pad,
    PairTable,
    Quotient,
    Reduce,
    Relu,
    Requantize,
    Reshape,
    Rsqrt,
    ScaledAdd,
    Select,
    Share,
    Split,
    Stepwise,
    Sub,
    Table,
    TensorType,
    Thresholds,
    Transpose,
    Weighted,
)

Kept = tuple[npt.NDArray[np.int64], ...]
"""The indices of a tensor that stay, axis by axis."""


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node as rules see it: its operator, name and types."""

    name: str
    op: Any
    inputs: tuple[TensorType, ...]
    outputs: tuple[TensorType, ...]

    @property
    def text(self) -> str:
        """What is said of it."""
        return f"{self.name!r} ({self.op.kind})"


Follow = Callable[[Channels, NodeView, Sequence[Labels]], tuple[Labels, ...]]
Cut = Callable[[NodeView, Sequence[Kept], Sequence[Kept]], Op]


@dataclass(frozen=True, slots=True)
class ChannelRule:
    """Both halves of what is known of an operator."""

    follow: Follow
    cut: Cut


# Labels -------------------------------------------------------------------------------------------


def passed(channels: Channels, at: NodeView, xs: Sequence[Labels]) -> tuple[Labels, ...]:
    """Each code by itself."""
    return (xs[0],)


def mixed_up(channels: Channels, at: NodeView, xs: Sequence[Labels]) -> tuple[Labels, ...]:
    """All channels meet, or nothing is known: they stay."""
    for x in xs:
        channels.stay(x, f"{at.text} reads all of its input's channels")
    return tuple(np.zeros(made.shape, np.int64) for made in at.outputs)


def last_only(channels: Channels, at: NodeView, x: Labels) -> Labels:
    """Labels along the last axis; those along another stay."""
    axis = channels.axis(x, f"{at.text} would lose more than whole slices")
    if axis is not None and axis != x.ndim - 1:
        channels.stay(x, f"{at.text} has them along another axis than the last")
    return along(x, x.ndim - 1)


def pooled(channels: Channels, at: NodeView, xs: Sequence[Labels]) -> tuple[Labels, ...]:
    """Windows over other axes than the channels'."""
    row = last_only(channels, at, xs[0])
    return (np.broadcast_to(row, at.outputs[0].shape),)


def divided(channels: Channels, at: NodeView, xs: Sequence[Labels]) -> tuple[Labels, ...]:
    """A divisor for all codes, or one for each position."""
    if at.op.divisors.size > 1:
        last_only(channels, at, xs[0])
    return (xs[0],)


def reduced(channels: Channels, at: NodeView, xs: Sequence[Labels]) -> tuple[Labels, ...]:
    """Axes become 1 long; channels along one of them stay."""
    axis = channels.axis(xs[0], f"{at.text} would lose more than whole slices")
    if axis in at.op.axes:
        channels.stay(xs[0], f"{at.text} adds or compares them")
    out = xs[0]
    for one in at.op.axes:
        out = out.take([0], axis=one)
    return (out,)


def moved(channels: Channels, at: NodeView, xs: Sequence[Labels]) -> tuple[Labels, ...]:
    """Labels go where the codes go: by the operator's own text."""
    return _settled(channels, at, _run(at.op, at.inputs, xs))


def padded(channels: Channels, at: NodeView, xs: Sequence[Labels]) -> tuple[Labels, ...]:
    """What is new has the label that stays; channels with codes between them stay too."""
    axis = channels.axis(xs[0], f"{at.text} would lose more than whole slices")
    if axis is not None and at.op.amounts(at.inputs[0])[axis][2]:
        channels.stay(xs[0], f"{at.text} puts codes between them")
    return _settled(channels, at, _run(replace(at.op, code=0), at.inputs, xs))


def _run(op: Op, types: Sequence[TensorType], xs: Sequence[Labels]) -> tuple[Labels, ...]:
    made = op.run(np, [x[None] for x in xs], op.prepare(types, Carrier.INT64))
    return tuple(m[0] for m in made) if isinstance(made, tuple) else (made[0],)


def _settled(channels: Channels, at: NodeView, made: tuple[Labels, ...]) -> tuple[Labels, ...]:
    for labels in made:
        channels.axis(labels, f"{at.text} would lose more than whole slices")
    return made


def paired(channels: Channels, at: NodeView, xs: Sequence[Labels]) -> tuple[Labels, ...]:
    """Channels that meet go together; one that is repeated along an axis lets those of it go."""
    shape = at.outputs[0].shape
    why = f"{at.text} brings them together with channels that stay"
    a, b = (x.reshape((1,) * (len(shape) - x.ndim) + x.shape) for x in xs)
    axes = [channels.axis(x, why) for x in (a, b)]
    free = [
        axis is not None and other.shape[axis] == 1 < x.shape[axis]
        for axis, x, other in zip(axes, (a, b), (b, a), strict=True)
    ]
    for x, alone, axis in zip((a, b), free, axes, strict=True):
        if all(free) or (any(free) and not alone and axis is not None):
            channels.stay(x, f"{at.text} spreads channels along two axes")
    wide = [np.broadcast_to(x, shape) for x in (a, b)]
    if not any(free):
        channels.join(wide[0], wide[1], why)
    return (wide[1] if free[1] and not free[0] else wide[0],)


def summed(channels: Channels, at: NodeView, xs: Sequence[Labels]) -> tuple[Labels, ...]:
    """Sums read all channels and make new ones; depthwise ones go with what they read."""
    op: Weighted = at.op
    row = last_only(channels, at, xs[0])
    made = channels.fresh(op.outputs)
    if isinstance(op, Conv) and op.groups > 1:
        if op.weights.shape[-2] == 1:
            channels.join(
                made,
                row.repeat(op.outputs // op.groups),
                f"{at.text} is depthwise, and what it reads stays",
            )
        else:  # groups stay of one size: the first of each go together, and so on
            for labels in (row, made):
                each = labels.reshape(op.groups, -1)
                why = f"{at.text} has groups, of which one has channels that stay"
                channels.join(each, np.broadcast_to(each[0], each.shape), why)
    return (np.broadcast_to(made, at.outputs[0].shape),)


# Operators ----------------------------------------------------------------------------------------


def unchanged(at: NodeView, read: Sequence[Kept], made: Sequence[Kept]) -> Op:
    """Nothing of a channel in it."""
    op: Op = at.op
    return op


def per_channel(*names: str) -> Cut:
    """Constants of those names, and scales, have an entry a channel where they have several."""

    def cut(at: NodeView, read: Sequence[Kept], made: Sequence[Kept]) -> Op:
        last = made[0][-1] if made[0] else np.zeros(1, np.int64)
        whole = at.outputs[0].channels
        parts = {name: _rows(getattr(at.op, name), last, whole) for name in names}
        quant = getattr(at.op, "quant", None)
        if quant is not None and len(quant.scale) > 1:
            parts["quant"] = replace(quant, scale=_rows(quant.scale, last, whole))
        op: Op = replace(at.op, **parts) if parts else at.op
        return op

    return cut


def _rows(value: Any, kept: npt.NDArray[np.int64], whole: int) -> Any:
    """The entries of some channels, of a tuple or an array; all where there is one for all."""
    if value is None or len(value) == 1 or len(kept) == whole:
        return value
    if isinstance(value, tuple):
        return tuple(value[k] for k in kept)
    return value[kept]


def batch_norm(at: NodeView, read: Sequence[Kept], made: Sequence[Kept]) -> Op:
    """Factors and offsets, at the binary point that they gave the result before."""
    op: BatchNorm = at.op
    last = made[0][-1]
    frac = op.aligned(at.inputs[0])[2]
    cut = replace(op, scale=op.scale[last], bias=op.bias[last])
    quant = op.quant
    if quant is not None and len(quant.scale) > 1:
        cut = replace(cut, quant=replace(quant, scale=tuple(quant.scale[k] for k in last)))
    finer = frac - cut.aligned(at.inputs[0])[2]
    fmt = replace(cut.scale_format, frac_bits=cut.scale_format.frac_bits + finer)
    return replace(cut, scale=cut.scale << finer, scale_format=fmt)


def literal(at: NodeView, read: Sequence[Kept], made: Sequence[Kept]) -> Op:
    """Its values, where they are not repeated along an axis."""
    op: Literal = at.op
    values, axes = op.values, made[0]
    for back in range(1, min(values.ndim, len(axes)) + 1):
        if values.shape[-back] > 1:
            values = values.take(axes[-back], axis=-back)
    cut: Any = per_channel()(at, read, made)
    return replace(cut, values=values)  # type: ignore[no-any-return]


def reshape(at: NodeView, read: Sequence[Kept], made: Sequence[Kept]) -> Op:
    """What is left."""
    return replace(at.op, shape=tuple(map(len, made[0])))  # type: ignore[no-any-return]


def select(at: NodeView, read: Sequence[Kept], made: Sequence[Kept]) -> Op:
    """Indices of what is left, at their new places."""
    op: Select = at.op
    places = {old: new for new, old in enumerate(read[0][op.axis].tolist())}
    return replace(op, indices=tuple(places[i] for i in op.indices if i in places))


def split(at: NodeView, read: Sequence[Kept], made: Sequence[Kept]) -> Op:
    """The sizes that are left."""
    return replace(at.op, sizes=tuple(len(m[at.op.axis]) for m in made))  # type: ignore[no-any-return]


def weights(at: NodeView, read: Sequence[Kept], made: Sequence[Kept]) -> Op:
    """Rows of what is read, columns of what is made, at the binary point of the sums before."""
    op: Weighted = at.op
    rows, columns = read[0][-1], made[0][-1]
    taken = rows
    parts: dict[str, Any] = {}
    if isinstance(op, Conv) and op.groups > 1:
        taken = rows[rows < op.weights.shape[-2]]  # of the first group, as of every other
        if op.weights.shape[-2] == 1:
            taken, parts["groups"] = np.zeros(1, np.int64), len(rows)
    parts["weights"] = op.weights.take(taken, axis=-2).take(columns, axis=-1)
    parts["bias"] = op.bias[columns]
    parts["weight_scale"] = _rows(op.weight_scale, columns, op.outputs)
    parts["channel_bits"] = _rows(op.channel_bits, columns, op.outputs)
    acc = op.accumulator
    if isinstance(acc, Stepwise) and acc.order is not None:
        parts["accumulator"] = replace(acc, order=_order(acc.order, taken, op.weights.shape[-2]))
    return _at_the_binary_point(replace(op, **parts), at)


def _order(order: tuple[int, ...], taken: npt.NDArray[np.int64], inputs: int) -> tuple[int, ...]:
    """The terms that are left, in the order that they had."""
    kept = np.isin(np.arange(len(order)) % inputs, taken)
    places = np.cumsum(kept) - 1
    return tuple(int(places[term]) for term in order if kept[term])


def _at_the_binary_point(cut: Weighted, at: NodeView) -> Weighted:
    """Finer weights where no bias is left that made the sum's binary point finer."""
    x = at.inputs[0]
    if isinstance(cut.accumulator, Stepwise) or not (finer := _frac(at.op, x) - _frac(cut, x)):
        return cut
    fmt = replace(cut.weight_format, frac_bits=cut.weight_format.frac_bits + finer)
    scale = cut.weight_scale and tuple(s * 2.0**-finer for s in cut.weight_scale)
    kept = cut.encoding and cut.encoding.shifted(finer)
    return replace(
        cut,
        weights=cut.weights << finer,
        weight_format=fmt,
        weight_scale=scale,
        encoding=kept,
        channel_bits=cut.finer_bits(finer),
    )


def _frac(op: Weighted, x: TensorType) -> int:
    return op.aligned(x)[2]


SUMS = ChannelRule(summed, weights)
PAIRS = ChannelRule(paired, per_channel())
RULES: Mapping[type[Op], ChannelRule] = {
    Dense: SUMS,
    Conv1D: SUMS,
    Conv2D: SUMS,
    Requantize: ChannelRule(passed, per_channel("multiplier")),
    Thresholds: ChannelRule(passed, per_channel("values", "base", "step")),
    ChannelTable: ChannelRule(passed, per_channel("values")),
    Cast: ChannelRule(passed, per_channel("channels")),
    BatchNorm: ChannelRule(passed, batch_norm),
    Relu: ChannelRule(passed, unchanged),
    Table: ChannelRule(passed, per_channel()),
    Rsqrt: ChannelRule(passed, per_channel()),
    Literal: ChannelRule(passed, literal),
    MaxPool: ChannelRule(pooled, unchanged),
    AvgPool: ChannelRule(pooled, unchanged),
    Divide: ChannelRule(divided, unchanged),
    Reduce: ChannelRule(reduced, unchanged),
    Flatten: ChannelRule(moved, unchanged),
    Reshape: ChannelRule(moved, reshape),
    Transpose: ChannelRule(moved, unchanged),
    Concat: ChannelRule(moved, unchanged),
    Select: ChannelRule(moved, select),
    Split: ChannelRule(moved, split),
    Pad: ChannelRule(padded, unchanged),
    Add: ChannelRule(paired, unchanged),
    Sub: ChannelRule(paired, unchanged),
    Maximum: ChannelRule(paired, unchanged),
    Minimum: ChannelRule(paired, unchanged),
    Mul: PAIRS,
    ScaledAdd: PAIRS,
    PairTable: PAIRS,
    ChosenThresholds: PAIRS,
    Quotient: PAIRS,
    Share: PAIRS,
}
"""What is known; channels that another operator reads or makes stay."""

UNKNOWN = ChannelRule(mixed_up, unchanged)
"""Of every other operator."""
