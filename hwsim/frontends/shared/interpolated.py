"""A function of more codes than a table holds, which nothing rounds: lines between its values."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Format, Rounding
from hwsim.frontends.shared.exact_levels import FINE_VALUE_BITS
from hwsim.frontends.shared.tensors import TensorBuilder
from hwsim.frontends.shared.values import Codes, FloatArray, Level, Unary
from hwsim.ops import Add, BatchNorm, Mul, Quant, Relu, Requantize, Scheme, Sub, Table
from hwsim.ops.base import IntArray

SEGMENT_BITS = 16  # of the number of lines


def interpolated(
    run: TensorBuilder, level: Level, functions: Sequence[Unary], name: str
) -> tuple[Codes, float]:
    """The codes of functions of a wide code, and what a step of them is worth.

    A code's upper bits choose the line, its lower ones the place on it: two tables, a product and
    a sum. How far that is from the function is measured halfway between its values, and told.
    """
    edge, kind = level.codes.edge, run.types[level.codes.edge]
    low = max((kind.hi - kind.lo).bit_length() - SEGMENT_BITS, 0)
    lines = ((kind.hi - kind.lo) >> low) + 1
    ends = _reals(level, kind.lo + (np.arange(lines + 1) << low), functions)
    middles = _reals(level, kind.lo + (np.arange(lines) << low) + (1 << low >> 1), functions)
    if not (np.isfinite(ends).all() and np.isfinite(middles).all()):
        raise HwsimError(f"{functions[0].name}: its values must be finite for all codes")
    unit = 2.0 ** (math.frexp(float(np.abs(ends).max()))[1] - FINE_VALUE_BITS)
    off = float(np.abs(middles - (ends[1:].astype(np.float64) + ends[:-1]) / 2).max())
    run.warn(
        name,
        f"its values of {kind.format.width}-bit sums are taken from {lines:,} straight lines, off "
        f"by at most {off + unit:.1g}",
    )
    values = np.rint(ends.astype(np.float64) / unit).astype(np.int64)
    upper, lower = _parted(run, edge, low, f"{name}.line")
    starts = _table(run, upper, values[:-1], unit, f"{name}.starts")
    rises = _table(run, upper, np.diff(values), unit, f"{name}.rises")
    product = run.emit(f"{name}.share", Mul(quant=Quant((1.0,))), [rises, lower], f"{name}.share")
    top = int(np.abs(np.diff(values)).max())
    rounding = Requantize(
        scheme=Scheme.SHIFT,
        multiplier=(2.0**-low,),
        out=Format.holding(-max(top, 1), max(top, 1)),
        quant=Quant((unit,)),
    )
    share = run.emit(f"{name}.rise", rounding, [product], f"{name}.rise")
    out = run.emit(f"{name}.value", Add(), [starts, share], f"{name}.value")
    return Codes(out, run.types[out].format, level.codes.layout), unit


def _reals(level: Level, codes: IntArray, functions: Sequence[Unary]) -> FloatArray:
    reals = (codes - level.zero_point).astype(np.float32) * np.float32(level.scale)
    for function in functions:
        reals = function.function(reals)
    return reals


def _parted(run: TensorBuilder, edge: str, low: int, name: str) -> tuple[str, str]:
    """What `low` bits and the bits above them say of codes, counted from the lowest."""
    kind = run.types[edge]
    cut = Requantize(
        scheme=Scheme.SHIFT,
        multiplier=(2.0**-low,),
        out=Format.uint(max(((kind.hi - kind.lo) >> low).bit_length(), 1)),
        input_zero_point=kind.lo,
        rounding=Rounding.TRN,
        quant=Quant((1.0,)),
    )
    upper = run.emit(name, cut, [edge], name)
    first = BatchNorm(
        scale=np.full(kind.channels, 1 << low),
        bias=np.full(kind.channels, kind.lo),
        scale_format=Format.holding(0, 1 << low),
        quant=Quant((kind.scales()[0],)),
    )
    start = run.emit(f"{name}.start", first, [upper], f"{name}.start")
    rest = run.emit(f"{name}.rest", Sub(), [edge, start], f"{name}.rest")
    bounds = Relu(maximum=(1 << low) - 1)  # as it is in any case, which bounds do not know
    return upper, run.emit(f"{name}.place", bounds, [rest], f"{name}.place")


def _table(run: TensorBuilder, edge: str, values: IntArray, unit: float, name: str) -> str:
    many = run.types[edge].hi + 1
    held = values[:many]
    fmt = Format.holding(min(int(held.min()), -1), max(int(held.max()), 0))
    op = Table(values=held, out=fmt, quant=Quant((unit,)), first=0)
    return run.emit(name, op, [edge], name)
