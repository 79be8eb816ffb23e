"""Functions of sums that nothing has rounded: Conv, SiLU, QuantizeLinear.

The runtime adds in float32 and takes the function of that; here it is taken of the exact sum, and
thresholds on that sum give the quantizer's codes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.shared import fine_units
from hwsim.frontends.shared.exact_sums import averaged, multiplied, totalled, weighed
from hwsim.frontends.shared.node_by_node import pools
from hwsim.frontends.shared.quantizer import Quantizer
from hwsim.frontends.shared.step_functions import FloatRule, Reals, WholeSums
from hwsim.frontends.shared.tensors import TensorBuilder
from hwsim.frontends.shared.trying import TABLE_BITS
from hwsim.frontends.shared.turning import by_path
from hwsim.frontends.shared.values import (
    Codes,
    FloatArray,
    Level,
    Mean,
    Pair,
    Product,
    Real,
    Scaled,
    Total,
    Unary,
    Weighing,
)
from hwsim.ops import Mul
from hwsim.ops.base import IntArray

NO_ERROR = np.zeros(1)
MOST_TRIED = 1 << 14
GOLDEN = (5**0.5 - 1) / 2  # its multiples lie evenly, in no order
LAST_BITS = 2.0**-21


def is_sum(real: Real) -> bool:
    """Whether arithmetic with a number is a function of an unrounded sum, for want of better."""
    source = real.source
    if isinstance(source, Product | Total | Mean):
        return True
    wide = isinstance(source, Weighing | Scaled) or (isinstance(source, Pair) and source.wide)
    return bool(real.steps) and wide


def is_function_of_sums(real: Real) -> bool:
    """Whether more than a clamp stands between an unrounded source and its quantizer."""
    functions = [step for step in real.steps if isinstance(step, Unary)]
    source = real.source
    taken = isinstance(source, Weighing | Product | Total | Mean | Pair | Scaled)
    if isinstance(source, Level):
        taken = source.fine and source.codes.format.width > TABLE_BITS
    return taken and not all(step.clamp for step in functions)


@dataclass(frozen=True, slots=True, eq=False)
class TriedSums:
    """Some sums of every channel, as reals, and what becomes of them."""

    met: IntArray
    reals: Reals
    sums: WholeSums
    rule: FloatRule

    @property
    def values(self) -> FloatArray:
        """What the function gives."""
        y = self.reals.astype(np.float32)
        for step in self.rule.functions:
            y = step.function(y)
        return y

    def missed(self, by: Quantizer) -> float:
        """The share that gets another code by the path than by the function itself."""
        found = by_path(self.sums, self.rule).codes(self.met[:, None])
        return float(np.mean(by.codes(self.values) != found))

    @property
    def near(self) -> float:
        """The share of those that get another code where a sum has other last bits."""
        ends = (
            self.rule.of(self.reals * (1 - LAST_BITS)),
            self.rule.of(self.reals * (1 + LAST_BITS)),
        )
        return float(np.mean(ends[0] != ends[1]))


def tried_sums(run: TensorBuilder, real: Real, by: Quantizer) -> TriedSums:
    """All sums or as many as are tried, of a tensor that has been quantized by thresholds."""
    _, sums = _sums(run, real, by, "")
    rule = FloatRule(tuple(step for step in real.steps if isinstance(step, Unary)), by.codes)
    span = sums.kind.hi - sums.kind.lo + 1
    most = max(MOST_TRIED // sums.rows, 1)
    met = np.arange(sums.kind.lo, sums.kind.hi + 1) if span <= most else None
    if met is None:
        share = (np.arange(most) * GOLDEN) % 1
        met = sums.kind.lo + (share * span).astype(np.int64)
    return TriedSums(met, sums.reals(met[:, None]), sums, rule)


def function_of_sums(run: TensorBuilder, real: Real, by: Quantizer, name: str, out: str) -> Codes:
    """The codes of functions of exact sums, with max pools among them."""
    functions = tuple(step for step in real.steps if isinstance(step, Unary))
    ahead, behind = pools(real)
    edge, sums = _sums(run, real, by, out)
    edge = run.chain(name, edge, ahead, f"{out}.pool")
    try:
        found = by_path(sums, FloatRule(functions, by.codes))
    except HwsimError as error:
        raise HwsimError(f"{functions[-1].name}: {error}") from None
    edge = run.chain(name, edge, [*found.ops(by.format, by.quant), *behind], out)
    return Codes(edge, by.format, real.layout)


def _sums(run: TensorBuilder, real: Real, by: Quantizer, out: str) -> tuple[str, WholeSums]:
    """The edge of a tensor's exact whole numbers, and what they mean."""
    source = real.source
    match source:
        case Weighing():
            edge, scale = weighed(run, source)
        case Product():
            edge, scale = multiplied(run, source), np.array([source.scale])
        case Total():
            edge, scale = totalled(run, source)
        case Level():
            edge, scale = source.codes.edge, np.array([source.scale])
        case Mean() if source.counts is None:
            edge = averaged(run, source)
            scale = np.array([source.input.scale / source.window.size])
        case Pair():
            edge, unit = _pair(run, source, by, out)
            scale = np.array([unit])
        case Scaled():
            edge, unit = fine_units.line(run, source, by.scale)
            scale = np.array([unit])
        case _:
            raise HwsimError(f"{real.steps[0].name}: its input must be quantized first")
    worth: Any = np.asarray(scale, np.float64)
    kind = run.types[edge]
    return edge, WholeSums(kind, lambda k: k * worth, NO_ERROR, worth.size, worth)


def _pair(run: TensorBuilder, source: Pair, by: Quantizer, out: str) -> tuple[str, float]:
    """The sum, difference or product of two tensors and what a step of it is worth."""
    if isinstance(source.op, Mul):
        a, b = source.a, source.b
        assert isinstance(a, Level) and isinstance(b, Level)
        op = Mul(zero_points=(a.zero_point, b.zero_point))
        return run.emit(source.name, op, [a.codes.edge, b.codes.edge], f"{out}.product"), float(
            a.scale
        ) * float(b.scale)
    edge, unit, _ = fine_units.summed(run, source, by.scale, out)
    return edge, unit
