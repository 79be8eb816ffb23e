"""MEAN, SUM, REDUCE_MAX, REDUCE_MIN, ARG_MAX and ARG_MIN."""

from __future__ import annotations

import math

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Format, Rounding
from hwsim.frontends.tflite import gemmlowp
from hwsim.frontends.tflite.importer import LiteImporter
from hwsim.frontends.tflite.interpolated import halved
from hwsim.frontends.tflite.kernels import F32, NARROW, KernelSet, only
from hwsim.frontends.tflite.lanes import VectorLanes, one
from hwsim.frontends.tflite.model import LiteNode, LiteQuant
from hwsim.frontends.tflite.moving import axis_of
from hwsim.frontends.tflite.rounding import requantized
from hwsim.frontends.tflite.scaled import away, double, ruy
from hwsim.frontends.tflite.stepped import Function, stepped
from hwsim.ops import ArgMax, Op, Quant, Reduce, Reduction, Requantize, Scheme, Table, Transpose
from hwsim.ops.base import IntArray
from hwsim.ops.fixed_point import divide_by_power, high_product

LANES = 16
MOST_RATIO = 2.0**30  # of two scales, or its inverse
PLACES, MAP_AXES = (1, 2), 4  # height and width of a map


def axes_of(run: LiteImporter, node: LiteNode) -> tuple[int, ...]:
    """The axes in order; HwsimError where there is none, or no such one."""
    rank = len(run.tensor(node, 0).shape)
    axes = {axis_of(node, axis, rank) for axis in run.whole(node, 1)}
    if not axes:
        raise HwsimError(f"{node}: its axes must be some of {rank}, not none")
    return tuple(sorted(axes))


def reduced(run: LiteImporter, node: LiteNode) -> None:
    """The largest or smallest code along axes."""
    kind = Reduction.MAX if node.op == "REDUCE_MAX" else Reduction.MIN
    axes = axes_of(run, node)
    lead = run.lead(node, 0, axes=axes)
    op = Reduce(reduction=kind, axes=tuple(axis - lead for axis in axes))
    run.give(node, [op], run.seen(node, 0, lead))


def summed(run: LiteImporter, node: LiteNode) -> None:
    """SUM and MEAN: of the codes as they are, then brought to the output's scale."""
    axes, made = axes_of(run, node), run.made(node)
    lead = run.lead(node, 0, axes=axes)
    edge = run.seen(node, 0, lead)
    before, after = run.meaning(run.tensor(node, 0)), run.meaning(made)
    name, out = run.label(made), run.format(made)
    if node.op == "SUM" and run.like is KernelSet.REFERENCE and made.dtype != "uint8":
        raise HwsimError(
            f"{node}: the reference kernel reads int8 codes as uint8 here and is wrong; the other "
            "kernel sets are not"
        )
    total = Reduce(reduction=Reduction.SUM, axes=tuple(axis - lead for axis in axes))
    sums = run.emit(f"{name}.sum", total, [edge], f"{name}.sum")
    kind, given = run.types[sums], run.types[edge]
    count = math.prod(given.shape[axis - lead] for axis in axes)
    quant = Quant((float(after.scale),), after.zero_point)
    exact = _wide(run, node, count, before, after) if out.width > NARROW else None
    if exact is not None:
        run.give(node, exact, sums)
        return
    rules = _rules(run, node, axes, count, before, after)
    ops = [stepped(kind, rule, out, quant) for rule in rules]
    if len(ops) == 1:
        run.give(node, ops, sums)
        return
    vector, tail = (one(run, op) for op in ops)
    split = VectorLanes(LANES, vector, tail)
    run.give(node, [], split.along(run, name, [sums], len(kind.shape) - 1))


def _rules(
    run: LiteImporter,
    node: LiteNode,
    axes: tuple[int, ...],
    count: int,
    before: LiteQuant,
    after: LiteQuant,
) -> list[Function]:
    """What the kernel makes of sums of codes: one rule, or that of lanes and that of the rest."""
    if run.like is KernelSet.XNNPACK and run.format(run.made(node)).width <= NARROW:
        return [_in_float32(count, before, after, mean=node.op == "MEAN")]
    if node.op == "SUM":
        if run.like in (KernelSet.TFLM, KernelSet.REFERENCE):
            ratio = float(before.scale) / float(after.scale)
            return [lambda s: double(s - count * before.zero_point, ratio) + after.zero_point]
        return [_sum_of_builtin(count, before, after)]
    rank, keeps = len(run.tensor(node, 0).shape), bool(node.options["keep_dims"])
    if run.like is KernelSet.BUILTIN and axes == PLACES and rank == MAP_AXES and keeps:
        return _mean_of_lanes(count, before, after)
    return [_mean(count, before, after)]


def _ratio(before: LiteQuant, after: LiteQuant) -> np.float32:
    """What a step of the sums is worth in steps of the result."""
    with np.errstate(over="ignore"):
        ratio = F32(before.scale) / F32(after.scale)
    if not MOST_RATIO > ratio > 1 / MOST_RATIO:
        raise HwsimError(
            f"scales must have a ratio below {MOST_RATIO:g}, not {before.scale} and {after.scale}"
        )
    return ratio


def _wide(
    run: LiteImporter, node: LiteNode, count: int, before: LiteQuant, after: LiteQuant
) -> list[Op] | None:
    """Sums of int16 codes as codes of the output; None where only thresholds can say it."""
    made = run.made(node)
    quant = Quant((float(after.scale),))
    if node.op == "SUM":
        ratio = np.array([float(before.scale) / float(after.scale)])
        double = requantized(run, made, Scheme.GEMMLOWP_DOUBLE, ratio)
        return [double] if run.like is KernelSet.TFLM else None
    part, power = _divided(count, before, after)
    long = Format.int(32)
    left = max(power, 0)
    product = Requantize(scheme=Scheme.SINGLE, multiplier=(part * 2.0 ** (left - 31),), out=long)
    return [product, halved(max(-power, 0), run.format(made), Rounding.RND_INF, quant=quant)]


def _divided(count: int, before: LiteQuant, after: LiteQuant) -> tuple[int, int]:
    """The multiplier of a mean, truncated, and its exponent."""
    m, shift = gemmlowp.multiplier(float(before.scale) / float(after.scale))
    left = max(min(count.bit_length() - 1, 32, 31 + shift), 0)
    return (m << left) // count, shift - left


def _mean(count: int, before: LiteQuant, after: LiteQuant) -> Function:
    """The reference kernel: the division goes into the multiplier, which it truncates."""
    part, power = _divided(count, before, after)

    def function(sums: IntArray) -> IntArray:
        centred = (sums - before.zero_point * count) << max(power, 0)
        high = high_product(np, centred, np.array(part))
        means = divide_by_power(np, high, np.array(max(-power, 0))) + after.zero_point
        return np.asarray(means, np.int64)

    return function


def _mean_of_lanes(count: int, before: LiteQuant, after: LiteQuant) -> list[Function]:
    """The optimized kernel: the part of the zero points is rounded by itself."""
    _ratio(before, after)
    moved = F32(F32(F32(before.zero_point) * F32(before.scale)) / F32(after.scale))
    half = F32(0.5) if moved > 0 else F32(-0.5)
    bias = after.zero_point - int(np.trunc(F32(moved + half)))
    ratio = float(F32(before.scale) / F32(F32(count) * F32(after.scale)))
    return [lambda s: ruy(s, ratio) + bias, lambda s: double(s, ratio) + bias]


def _in_float32(count: int, before: LiteQuant, after: LiteQuant, *, mean: bool) -> Function:
    """XNNPACK: a product and a sum in float32, to nearest even."""
    factor = _ratio(before, after)
    factor = F32(factor * F32(F32(1) / F32(count))) if mean else factor
    offset = F32(F32(after.zero_point) - F32(F32(count * before.zero_point) * factor))

    def function(sums: IntArray) -> IntArray:
        return np.asarray(np.rint((sums.astype(F32) * factor).astype(F32) + offset), np.int64)

    return function


def _sum_of_builtin(count: int, before: LiteQuant, after: LiteQuant) -> Function:
    factor = _ratio(before, after)
    offset = F32(F32(F32(-before.zero_point) * factor) * F32(count))

    def function(sums: IntArray) -> IntArray:
        return away((sums.astype(F32) * factor).astype(F32) + offset) + after.zero_point

    return function


def arg(run: LiteImporter, node: LiteNode) -> None:
    """ARG_MAX and ARG_MIN along any axis: the first of equal codes."""
    made = run.made(node)
    if run.like is KernelSet.TFLM and made.dtype != "int32":
        sets = [known for known in KernelSet if known is not KernelSet.TFLM]
        raise only(f"{node} as {made.dtype}", sets)
    rank = len(run.tensor(node, 0).shape)
    place = axis_of(node, run.single(node, 1), rank)
    lead = run.lead(node, 0, axes=[place])
    edge, axis = run.seen(node, 0, lead), place - lead
    kind = run.types[edge]
    ops: list[Op] = []
    if node.op == "ARG_MIN":
        values = -1 - np.arange(kind.format.min, kind.format.max + 1)
        values = values if kind.format.signed else values + 1 + kind.format.max
        ops.append(Table(values=values, out=kind.format))
    others = [one for one in range(len(kind.shape)) if one != axis]
    if axis != len(kind.shape) - 1:
        ops.append(Transpose(axes=(*others, axis)))
    run.give(node, [*ops, ArgMax()], edge)
