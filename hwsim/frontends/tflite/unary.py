"""Functions of each code: a table that is made by the kernel's own arithmetic."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError
from hwsim.frontends.tflite import gemmlowp, wide
from hwsim.frontends.tflite.fixed_point import divided
from hwsim.frontends.tflite.importer import Handler, LiteImporter
from hwsim.frontends.tflite.kernels import F32, NARROW, KernelSet, limits, only
from hwsim.frontends.tflite.lanes import VectorLanes, one
from hwsim.frontends.tflite.model import LiteNode, LiteQuant
from hwsim.frontends.tflite.scaled import away, double, ruy
from hwsim.ops import ChannelTable, Quant, Table
from hwsim.ops.base import IntArray

QUANTIZE_LANES = 16
HALF_RANGE = 1 << 8  # XNNPACK's fraction bits of a multiplier of codes, as a factor

Function = Callable[[LiteImporter, LiteNode, IntArray, LiteQuant, LiteQuant], IntArray]
"""Codes of the result for input codes without their zero point, from both meanings."""


def handler(function: Function, long: Handler | None = None) -> Handler:
    """A handler of operators of one input whose codes that function gives; `long` of int16."""

    def handle(run: LiteImporter, node: LiteNode) -> None:
        if long is not None and run.types[run.edge(node)].format.width > NARROW:
            long(run, node)
            return
        given, made = run.tensor(node, 0), run.made(node)
        kind, out = run.types[run.edge(node)], run.format(made)
        codes = np.arange(kind.format.min, kind.format.max + 1)
        before, after = run.meaning(given), run.meaning(made)
        values = function(run, node, codes - before.zero_point, before, after)
        table = _table(run, node, np.clip(values, out.min, out.max))
        run.give(node, [table], run.edge(node))

    return handle


def _table(run: LiteImporter, node: LiteNode, values: IntArray) -> Table:
    made = run.made(node)
    quant = run.meaning(made)
    meaning = Quant((float(quant.scale),), quant.zero_point)
    return Table(values=values, out=run.format(made), quant=meaning)


def clamped(name: str) -> Function:
    """RELU, RELU6 or RELU_N1_TO_1, brought to the scale of the output."""

    def function(
        run: LiteImporter, node: LiteNode, x: IntArray, before: LiteQuant, after: LiteQuant
    ) -> IntArray:
        made = run.format(run.made(node))
        ends = (made.min, made.max)
        if run.like is KernelSet.TFLM and name == "RELU6":  # looks at the input's meaning only
            low, high = limits(run.like, name, before.scale, before.zero_point, ends)
            return np.clip(x + before.zero_point, low, high)
        if run.like is KernelSet.TFLM:
            factor = float(before.scale) / float(after.scale)
        else:
            factor = float(F32(before.scale) / F32(after.scale))
        low, high = limits(KernelSet.REFERENCE, name, after.scale, after.zero_point, ends)
        return np.clip(double(x, factor) + after.zero_point, low, high)

    return function


def leaky_relu(
    run: LiteImporter, node: LiteNode, x: IntArray, before: LiteQuant, after: LiteQuant
) -> IntArray:
    """LEAKY_RELU."""
    alpha = F32(node.options["alpha"])
    ratio = F32(before.scale) / F32(after.scale)
    if run.like is KernelSet.XNNPACK and 2.0**-8 <= ratio <= 128 and abs(ratio * alpha) >= 2.0**-8:
        up, down = (int(np.rint(F32(HALF_RANGE) * f)) for f in (ratio, F32(ratio * alpha)))
        return (x * np.where(x >= 0, up, down) + (after.zero_point << 8) + 128) >> 8
    if run.like is KernelSet.TFLM:
        plain = float(before.scale) / float(after.scale)
        bent = float(before.scale) * float(alpha) / float(after.scale)
    else:
        plain, bent = float(ratio), float(F32(F32(before.scale) * alpha) / F32(after.scale))
    below = double(x, bent) if bent >= 0 else -double(x, -bent)
    return np.where(x >= 0, double(x, plain), below) + after.zero_point


def hard_swish(
    run: LiteImporter, node: LiteNode, x: IntArray, before: LiteQuant, after: LiteQuant
) -> IntArray:
    """HARD_SWISH, in 16-bit fixed point; the same in all kernel sets."""
    fine = F32(F32(1 / 128) * F32(before.scale))
    out_m, out_shift = gemmlowp.multiplier(float(F32(fine / F32(after.scale))))
    relu_m, relu_shift = gemmlowp.multiplier(float(F32(fine / F32(3 / 32768))))
    if out_shift > 0:
        raise HwsimError(f"{node}: its output's scale must be above 1/128 of its input's")
    high = x << 7
    scaled = _product(high, _half(out_m))
    inner = np.clip(high << relu_shift - 1, -32768, 32767) if relu_shift > 0 else high
    inner = _product(inner, _half(relu_m))
    if relu_shift > 0:
        inner = np.clip(inner << 1, -32768, 32767)
    else:
        inner = divided(inner, -relu_shift)
    inner = (inner + 32768) >> 1
    result = inner * scaled
    truncated = np.where(result >= 0, result >> 15, -(-result >> 15))
    return divided(truncated, -out_shift) + after.zero_point


def _half(m: int) -> int:
    """A multiplier of 31 bits with 15."""
    return 32767 if m >= 2**31 - 1 - 32768 else (m + 32768) >> 16


def _product(a: IntArray, b: int) -> IntArray:
    return (a * b + (1 << 14)) >> 15


def tanh(
    run: LiteImporter, node: LiteNode, x: IntArray, before: LiteQuant, after: LiteQuant
) -> IntArray:
    """TANH."""
    if run.like is KernelSet.TFLM:
        if float(after.scale) != 2.0**-7 or after.zero_point:
            raise HwsimError(f"{node}: its output must have scale 1/128 and zero point 0")
        return gemmlowp.tanh(x, float(before.scale))
    reals = np.tanh((F32(before.scale) * x.astype(F32)).astype(np.float64)).astype(F32)
    return rounded(run, reals, after)


def logistic(
    run: LiteImporter, node: LiteNode, x: IntArray, before: LiteQuant, after: LiteQuant
) -> IntArray:
    """LOGISTIC."""
    zero = run.format(run.made(node)).min
    fixed = float(after.scale) == 2.0**-8 and after.zero_point == zero
    if run.like is not KernelSet.XNNPACK and not fixed:
        raise HwsimError(f"{node}: its output must have scale 1/256 and zero point {zero}")
    if run.like is KernelSet.TFLM:
        return gemmlowp.logistic(x, float(before.scale))
    exact = -(F32(before.scale) * x.astype(F32)).astype(np.float64)
    if run.like is KernelSet.XNNPACK:
        reals = (1 / (1 + np.exp(exact))).astype(F32)
    else:  # each step in float32
        reals = F32(1) / (F32(1) + np.exp(exact).astype(F32))
    return rounded(run, reals, after)


def rounded(run: LiteImporter, reals: npt.NDArray[np.float32], after: LiteQuant) -> IntArray:
    """Float32 numbers as codes: the zero point before rounding in XNNPACK, behind it elsewhere."""
    steps = reals * (F32(1) / F32(after.scale))
    if run.like is KernelSet.XNNPACK:
        return np.asarray(np.rint(steps + F32(after.zero_point)), np.int64)
    return away(steps) + after.zero_point


def quantize(run: LiteImporter, node: LiteNode) -> None:
    """QUANTIZE of codes: another scale, zero point or signedness."""
    given, made = run.tensor(node, 0), run.made(node)
    before, after = run.meaning(given), run.meaning(made)
    kind, out, edge = run.types[run.edge(node)], wide.format_of(run, made), run.edge(node)
    if run.like is KernelSet.TFLM and given.dtype == made.dtype == "uint8":
        raise only(f"{node} of uint8", [k for k in KernelSet if k is not KernelSet.TFLM])
    if max(kind.format.width, out.width) > NARROW:
        wide.quantize(run, node)
        return
    x = np.arange(kind.format.min, kind.format.max + 1) - before.zero_point
    factor = float(before.scale) / float(after.scale)
    same = kind.format.signed == out.signed
    ratio = F32(before.scale) / F32(after.scale)

    def table(values: IntArray) -> Table:
        return _table(run, node, np.clip(values + after.zero_point, out.min, out.max))

    if run.like is KernelSet.XNNPACK and same and 2.0**-8 <= ratio <= 2.0**7:
        m = int(np.rint(F32(HALF_RANGE) * ratio))
        values = (x * m + (after.zero_point << 8) + 128) >> 8
        run.give(node, [_table(run, node, np.clip(values, out.min, out.max))], edge)
        return
    if run.like not in (KernelSet.BUILTIN, KernelSet.XNNPACK):
        run.give(node, [table(double(x, factor))], edge)
        return
    vector, tail = table(ruy(x, factor)), table(double(x, factor))
    if np.array_equal(vector.values, tail.values):
        run.give(node, [vector], edge)
        return
    split = VectorLanes(QUANTIZE_LANES, one(run, vector), one(run, tail))
    run.give(node, [], split.over(run, run.label(made), [edge]))


def prelu(run: LiteImporter, node: LiteNode) -> None:
    """PRELU with one slope, or one a channel."""
    given, made, edge = run.tensor(node, 0), run.made(node), run.edge(node)
    slopes, meant = run.constant(node, 1), run.meaning(run.tensor(node, 1))
    kind, out = run.types[edge], run.format(made)
    if slopes.size not in (1, kind.channels) or slopes.size != slopes.shape[-1]:
        raise HwsimError(
            f"{node}: its slopes must be one or {kind.channels}, one a channel, not of shape "
            f"{slopes.shape}"
        )
    if kind.format.width > NARROW:
        wide.prelu(run, node, slopes, meant)
        return
    before, after = run.meaning(given), run.meaning(made)
    x = np.arange(kind.format.min, kind.format.max + 1) - before.zero_point
    if run.like is KernelSet.TFLM:
        plain = float(before.scale) / float(after.scale)
        bent = float(before.scale) * float(meant.scale) / float(after.scale)
    else:
        plain = float(F32(before.scale) / F32(after.scale))
        bent = float(F32(F32(before.scale) * F32(meant.scale)) / F32(after.scale))
    rows = []
    for slope in slopes.ravel().tolist():
        below = double(x * (int(slope) - meant.zero_point), bent)
        values = np.where(x >= 0, double(x, plain), below) + after.zero_point
        rows.append(np.clip(values, out.min, out.max))
    if len(rows) == 1:
        run.give(node, [_table(run, node, rows[0])], edge)
        return
    meaning = Quant((float(after.scale),), after.zero_point)
    tables = ChannelTable(values=np.stack(rows), out=out, first=kind.format.min, quant=meaning)
    run.give(node, [tables], edge)
