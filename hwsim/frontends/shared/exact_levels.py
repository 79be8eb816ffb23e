"""Sums, means and products of codes that nothing rounds, as whole numbers with a scale.

What a model goes on to compute of them would be wider with each step: beyond WIDEST bits they are
rounded, still finer than the float32 that the model's runtime has there.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hwsim.fixed import Format
from hwsim.frontends.shared import fine_units
from hwsim.frontends.shared.arrangement import Arrangement
from hwsim.frontends.shared.exact_sums import averaged, multiplied, totalled, weighed
from hwsim.frontends.shared.tensors import TensorBuilder
from hwsim.frontends.shared.values import (
    Codes,
    Level,
    Mean,
    Pair,
    Product,
    Scaled,
    Source,
    Total,
    Weighing,
)
from hwsim.ops import Mul, Quant, Requantize, Scheme

FINE_VALUE_BITS = 25
"""Bits of the largest value of a function that nothing rounds: one more than a float32 has."""
WIDEST = 36
"""Bits of the largest result that is taken as it is."""


def whole(run: TensorBuilder, source: Source, layout: Arrangement) -> Level | None:
    """The exact result of a source, its reals in `layout`; None of one that has none.

    A sum of terms of different scales is in a unit finer than a float32's. The model's runtime
    rounds reals meanwhile, so that its last bits are others: the level counts as `fine`.
    """
    match source:
        case Mean(counts=counts) if counts is None or counts.max() == counts.min():
            edge = averaged(run, source)
        case Total():
            edge, _ = totalled(run, source)
        case Product():
            edge = multiplied(run, source)
        case Weighing():
            edge = _layer(run, source)
        case Pair():
            edge = _of_two(run, source, layout)
        case _:
            return None
    kind = run.types[edge]
    level = Level(Codes(edge, kind.format, layout), kind.scales()[0], 0, fine=True)
    wide = kind.magnitude.bit_length() > WIDEST
    return narrowed(run, level, f"{edge}.kept") if wide else level


def _layer(run: TensorBuilder, source: Weighing) -> str:
    """The edge of a layer's sums, of one scale for all channels."""
    edge, scale = weighed(run, source)
    if np.all(scale == scale[0]):
        return edge
    ones = np.ones(1)
    edge, _ = fine_units.line(run, Scaled(source.name, source, ones, 0 * ones), float(scale.max()))
    return edge


def _of_two(run: TensorBuilder, source: Pair, layout: Arrangement) -> str:
    """The edge of a sum, a difference or a product of two tensors."""
    if source not in run.made:
        a, b = source.a, source.b
        if isinstance(source.op, Mul) and isinstance(a, Level) and isinstance(b, Level):
            unit: Any = np.float32(a.scale) * np.float32(b.scale)
            op = Mul(zero_points=(a.zero_point, b.zero_point), quant=Quant((float(unit),)))
            edges = [a.codes.edge, b.codes.edge]
            edge = run.emit(source.name, op, edges, f"{source.name}.whole")
        else:
            scale = max(float(np.max(part.scale)) for part in (a, b))
            edge, _, _ = fine_units.summed(run, source, scale, source.name)
        run.made[source] = Codes(edge, run.types[edge].format, layout)
    return run.made[source].edge


def narrowed(run: TensorBuilder, level: Level, name: str) -> Level:
    """Reals that nothing has rounded, in no more bits than a function has: for their product."""
    kind = run.types[level.codes.edge]
    extra = kind.magnitude.bit_length() - FINE_VALUE_BITS
    if extra <= 0 or not level.fine:
        return level
    unit = level.scale * 2.0**extra
    op = Requantize(
        scheme=Scheme.SHIFT,
        multiplier=(2.0**-extra,),
        input_zero_point=level.zero_point,
        out=Format.int(FINE_VALUE_BITS + 2),
        quant=Quant((unit,)),
    )
    edge = run.emit(name, op, [level.codes.edge], name)
    return Level(Codes(edge, op.out, level.codes.layout), unit, 0, fine=True)
