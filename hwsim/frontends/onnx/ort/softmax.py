"""Softmax of codes as ONNX Runtime 1.32 computes it, with operators on integers.

Its integer kernel (QLinearSoftmax) has a table of exponentials in float32, aligned to the row's
largest code, adds them in float32 in the order of the row, and rounds the quotients in float64.
Source: `qlinear_softmax.cc`, checked by experiment (docs/frontends.md).
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Format, Rounding
from hwsim.float_functions import logarithm
from hwsim.frontends.shared.quantizer import Quantizer
from hwsim.frontends.shared.settling import level_of
from hwsim.frontends.shared.tensors import TensorBuilder
from hwsim.frontends.shared.values import Level, Softmax
from hwsim.ops import (
    BatchNorm,
    Float32,
    Mul,
    Op,
    Quant,
    Quotient,
    Reduce,
    Reduction,
    Relu,
    Requantize,
    Scheme,
    Sub,
    Table,
)
from hwsim.ops.base import IntArray
from hwsim.ops.elementwise import MOST_ENTRIES
from hwsim.ops.floats import BITS, patterns
from hwsim.ops.quotient import MOST_FACTOR

F32 = np.float32
RESERVE = 5.0  # that the logarithm of the sum of exponentials stays below its limit
FRACTION = 30  # bits of exponentials where the runtime computes in float32
DISTANCE_BITS = 28  # that two tables hold
FACTOR_BITS = 24  # of one over the output's scale, where exponentials need two tables


def rounded(run: TensorBuilder, source: Softmax, by: Quantizer, out: str) -> tuple[str, list[Op]]:
    """The codes of a softmax that `by` quantizes, as operators after the edge given back."""
    if source.log:
        raise HwsimError(
            f"{source.name}: a LogSoftmax must stand at the end of the model, without a quantizer"
        )
    level = level_of(run, source.name, source.input)
    held = replace(level.codes, layout=source.input.layout)  # behind a Transpose it lies otherwise
    codes = run.arranged(held, source.layout, source.name)
    edge, kind = codes.edge, run.types[codes.edge]
    axes = (len(kind.shape) - 1,)
    top = run.emit(
        f"{source.name}.max", Reduce(reduction=Reduction.MAX, axes=axes), [edge], f"{out}.max"
    )
    below = run.emit(f"{source.name}.below", Sub(), [top, edge], f"{out}.below")
    below = run.emit(f"{source.name}.distance", Relu(), [below], f"{out}.distance")
    if source.whole:
        return _in_float32(run, source, level, by, below, out)
    return _in_fixed_point(run, source, level, by, below, out)


def _in_float32(
    run: TensorBuilder, source: Softmax, level: Level, by: Quantizer, below: str, out: str
) -> tuple[str, list[Op]]:
    factor = math.floor(F32(1) / F32(by.scale))
    if factor >= MOST_FACTOR:
        raise HwsimError(
            f"{source.name}: the scale of a softmax must be above {1 / MOST_FACTOR:.3g}, not "
            f"{by.scale:.3g}"
        )
    kind = run.types[below]
    table = Table(
        values=patterns(exponentials(level.scale, kind.channels)[: kind.hi + 1]), out=BITS, first=0
    )
    terms = run.emit(f"{source.name}.exp", table, [below], f"{out}.exp")
    add = Reduce(reduction=Reduction.SUM, axes=(len(kind.shape) - 1,), accumulator=Float32())
    total = run.emit(f"{source.name}.sum", add, [terms], f"{out}.sum")
    total = _of_one(run, source, total, int(table.values[0]), out)
    quotient = Quotient(
        out=by.format, factor=factor, zero_point=by.zero_point, quant=by.quant, floats=True
    )
    return run.emit(source.name, quotient, [terms, total], out), []


def exponentials(scale: float, length: int) -> list[float]:
    """Of the distances 0 to 255 from the largest code of a row of `length`, in float64."""
    most = F32(np.finfo(np.float32).max) / F32(length)
    raised = max(0.0, float(logarithm(np, np.array(most))) - RESERVE) / float(F32(scale))
    return [math.exp((raised - below) * float(F32(scale))) for below in range(256)]


def _of_one(run: TensorBuilder, source: Softmax, total: str, largest: int, out: str) -> str:
    """A row's sum, which is at least the exponential of its largest code, as its type then says."""
    bound = Relu(zero_point=largest)
    return run.emit(f"{source.name}.total", bound, [total], f"{out}.total")


def _in_fixed_point(
    run: TensorBuilder, source: Softmax, level: Level, by: Quantizer, below: str, out: str
) -> tuple[str, list[Op]]:
    """Exponentials of 30 bits, one table for the sum and one, over the output's scale, above it."""
    kind = run.types[below]
    if kind.hi >= MOST_ENTRIES:
        return _of_wide_codes(run, source, level, by, below, out)
    exact = np.exp(-np.arange(kind.hi + 1) * float(F32(level.scale)))
    edges = []
    for name, step in (("exp", 1.0), ("scaled", by.scale)):
        values: IntArray = np.rint(exact * 2.0**FRACTION / step).astype(np.int64)
        table = Table(values=values, out=Format.holding(0, int(values[0])), first=0)
        edges.append(run.emit(f"{source.name}.{name}", table, [below], f"{out}.{name}"))
    add = Reduce(reduction=Reduction.SUM, axes=(len(kind.shape) - 1,))
    total = run.emit(f"{source.name}.sum", add, edges[:1], f"{out}.sum")
    total = _of_one(run, source, total, 1 << FRACTION, out)
    quotient = Quotient(out=by.format, zero_point=by.zero_point, quant=by.quant)
    return run.emit(source.name, quotient, [edges[1], total], out), []


def _of_wide_codes(
    run: TensorBuilder, source: Softmax, level: Level, by: Quantizer, below: str, out: str
) -> tuple[str, list[Op]]:
    """As `_in_fixed_point`, of exponentials that one table cannot hold."""
    terms = _by_two_tables(run, source, float(F32(level.scale)), below, out)
    add = Reduce(reduction=Reduction.SUM, axes=(len(run.types[terms].shape) - 1,))
    total = run.emit(f"{source.name}.sum", add, [terms], f"{out}.sum")
    total = _of_one(run, source, total, 1 << FRACTION, out)
    power = FACTOR_BITS + math.ceil(math.log2(by.scale))
    above = _times(run, f"{source.name}.scaled", terms, round(2.0**power / by.scale))
    under = _times(run, f"{source.name}.under", total, 1 << power)
    quotient = Quotient(out=by.format, zero_point=by.zero_point, quant=by.quant)
    return run.emit(source.name, quotient, [above, under], out), []


def _by_two_tables(run: TensorBuilder, source: Softmax, scale: float, below: str, out: str) -> str:
    """exp(-distance): of the distance's upper bits times that of its lower bits.

    Distances whose exponential is 0 in 30 bits count as the first of them.
    """
    name, kind = source.name, run.types[below]
    last = min(math.ceil((FRACTION + 2) * math.log(2) / scale), kind.hi)
    near = run.emit(f"{name}.near", Relu(maximum=last), [below], f"{out}.near")
    extra = max(last.bit_length() - DISTANCE_BITS, 0)
    if extra:
        shorter = Requantize(
            scheme=Scheme.SHIFT,
            multiplier=(2.0**-extra,),
            out=Format.uint(DISTANCE_BITS),
            quant=Quant((1.0,)),
        )
        near = run.emit(f"{name}.short", shorter, [near], f"{out}.short")
        last, scale = run.types[near].hi, scale * 2.0**extra
    fine = max((last.bit_length() + 1) // 2, 1)
    cut = Requantize(
        scheme=Scheme.SHIFT,
        multiplier=(2.0**-fine,),
        out=Format.uint(max(last.bit_length() - fine, 1)),
        rounding=Rounding.TRN,
        quant=Quant((1.0,)),
    )
    upper = run.emit(f"{name}.upper", cut, [near], f"{out}.upper")
    held = _times(run, f"{name}.held", upper, 1 << fine, run.types[near].quant)
    lower = run.emit(f"{name}.lower", Sub(), [near, held], f"{out}.lower")
    kept = Relu(maximum=(1 << fine) - 1)  # as it is in any case, which bounds do not know
    lower = run.emit(f"{name}.kept", kept, [lower], f"{out}.kept")
    edges = []
    for edge, step in ((upper, 1 << fine), (lower, 1)):
        exact = np.exp(-np.arange(run.types[edge].hi + 1) * (step * scale))
        values: IntArray = np.rint(exact * 2.0**FRACTION).astype(np.int64)
        table = Table(values=values, out=Format.holding(0, 1 << FRACTION), first=0)
        edges.append(run.emit(f"{edge}.exp", table, [edge], f"{edge}.exp"))
    product = run.emit(f"{name}.product", Mul(), edges, f"{out}.product")
    rounding = Requantize(
        scheme=Scheme.SHIFT, multiplier=(2.0**-FRACTION,), out=Format.uint(FRACTION + 1)
    )
    return run.emit(f"{name}.exp", rounding, [product], f"{out}.exp")


def _times(
    run: TensorBuilder, name: str, edge: str, factor: int, quant: Quant | None = None
) -> str:
    """Codes times a whole number, of that meaning."""
    channels = run.types[edge].channels
    op = BatchNorm(
        scale=np.full(channels, factor),
        bias=np.zeros(channels, np.int64),
        scale_format=Format.holding(0, factor),
        quant=quant or Quant((1.0,)),
    )
    return run.emit(name, op, [edge], name)
