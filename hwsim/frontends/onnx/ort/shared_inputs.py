"""An input of reals that several different quantizers read: one port, and thresholds for each.

The port rounds to steps of a power of two so fine that every float32 from which a code on begins
is a whole number of them. What lies nearer to 0 is rounded, past no such float32; so each
quantizer's thresholds on those numbers give its very codes.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Format, Overflow, Rounding
from hwsim.frontends.shared.quantizer import Quantizer
from hwsim.frontends.shared.step_functions import FloatRule, WholeSums, step_function
from hwsim.frontends.shared.tensors import Gridded, TensorBuilder
from hwsim.frontends.shared.values import Codes, RawInput
from hwsim.ops import TensorType

FLOAT_BITS = 24
WIDEST = 62  # bits of a port that takes reals


def grid_of(name: str, by: Quantizer) -> Format:
    """The format whose steps hold all that a quantizer tells apart."""
    ends = (by.format.min - 1 - by.zero_point, by.format.max + 1 - by.zero_point)
    most = max(abs(end) for end in ends) * by.scale
    least = by.scale / 4  # the first threshold lies half a step from 0
    whole = max(math.ceil(math.log2(most)) + 1, 1)
    fraction = max(FLOAT_BITS - 1 - math.floor(math.log2(least)), 0)
    return _checked(name, whole, fraction)


def _checked(name: str, whole: int, fraction: int) -> Format:
    if whole + fraction > WIDEST:
        raise HwsimError(
            f"input {name!r} must be quantized by scales that are nearer to each other: its port "
            f"would need {whole + fraction} bits, not at most {WIDEST}"
        )
    return Format(True, whole, fraction)


def both(name: str, a: Format, b: Format) -> Format:
    """The format that holds what two hold."""
    return _checked(name, max(a.int_bits, b.int_bits), max(a.frac_bits, b.frac_bits))


def entered(run: TensorBuilder, raw: RawInput, by: Quantizer, name: str, out: str) -> Codes:
    """The codes of an input whose port has a grid; Gridded where that is not fine enough."""
    grid, wanted = run.grids[raw.name], grid_of(raw.name, by)
    if both(raw.name, grid, wanted) != grid:
        raise Gridded(raw.name, both(raw.name, grid, wanted))
    rule = {"rounding": Rounding.RND_CONV, "overflow": Overflow.SAT}
    codes = run.input_codes(raw, TensorType((), grid), rule, f"{raw.name}.reals")
    key = (codes.edge, by, "thresholds")
    if key not in run.made:
        step = np.array([2.0**-grid.frac_bits])
        sums = WholeSums(run.types[codes.edge], lambda k: k * step, np.zeros(1), 1)
        found = step_function(sums, FloatRule((), by.codes))
        if found is None:
            raise HwsimError(f"input {raw.name!r} must be quantized to fewer codes")
        edge = run.chain(name, codes.edge, found.ops(by.format, by.quant), out)
        run.made[key] = replace(codes, edge=edge, format=by.format)
    return replace(run.made[key], layout=codes.layout, padding=codes.padding)
