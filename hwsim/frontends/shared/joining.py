"""Tensors of whatever scales one after the other, which no quantizer reads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hwsim.fixed import Format
from hwsim.frontends.shared import fine_units
from hwsim.frontends.shared.arrangement import Arrangement
from hwsim.frontends.shared.exact_levels import FINE_VALUE_BITS
from hwsim.frontends.shared.rounding import placed, relabel
from hwsim.frontends.shared.tensors import TensorBuilder
from hwsim.frontends.shared.values import Codes, Joined, Level, Scaled
from hwsim.ops import Concat, Quant


def joined(
    run: TensorBuilder, source: Joined, parts: Sequence[Level], layout: Arrangement
) -> Level:
    """The codes of `parts` as they are where all mean the same, else in one fine unit."""
    meanings = {(part.codes.format, part.scale, part.zero_point) for part in parts}
    alike, first = len(meanings) == 1, parts[0]
    if alike:
        unit, zero = first.scale, first.zero_point
        held = [_said(run, part) for part in parts]
    else:
        tops = [part.scale * run.types[part.codes.edge].magnitude for part in parts]
        unit, zero = 2.0 ** (math.ceil(math.log2(max(tops))) - FINE_VALUE_BITS), 0
        held = [_in_unit(run, source.name, part, unit) for part in parts]
    edges = [placed(run, codes, source).edge for codes in held]
    edge = run.emit(source.name, Concat(axis=source.place), edges, f"{source.name}.joined")
    fine = not alike or any(part.fine for part in parts)
    return Level(Codes(edge, run.types[edge].format, layout), unit, zero, fine=fine)


def _said(run: TensorBuilder, part: Level) -> Codes:
    """Codes whose edge says what they mean."""
    codes, quant = part.codes, Quant((part.scale,), part.zero_point)
    if run.types[codes.edge].quant == quant:
        return codes
    return replace(codes, edge=relabel(run, codes.edge, quant, f"{codes.edge}.said"))


def _in_unit(run: TensorBuilder, name: str, part: Level, unit: float) -> Codes:
    """The same reals as whole numbers of `unit`."""
    ones, fmt = np.ones(1), Format.int(FINE_VALUE_BITS + 2)
    line = Scaled(name, part, ones, 0 * ones)
    edge = fine_units.in_unit(run, line, unit, fmt)
    return replace(part.codes, edge=edge, format=fmt)
