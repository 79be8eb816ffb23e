"""Sums and means that a runtime adds up in float32: their codes, and where its rounding decides."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.shared.exact_sums import averaged, totalled
from hwsim.frontends.shared.step_functions import FloatRule, WholeSums, step_function
from hwsim.frontends.shared.tensors import TensorBuilder
from hwsim.frontends.shared.trying import TABLE_BITS
from hwsim.frontends.shared.values import Arithmetic, Codes, Mean, Real, Total, Unary
from hwsim.frontends.torch.decomposed import F32, Decomposed
from hwsim.ops import Float32, Op, Reduce, Reduction, Table
from hwsim.ops.base import IntArray
from hwsim.ops.floats import BITS, patterns

UNIT = 2.0**-24  # of a float32's rounding
NEAR = (
    "the runtime adds {terms} numbers in float32, and at {doubtful:,} of its {count:,} thresholds "
    "its rounding decides: a code may differ by one step there"
)


def of_reals(run: TensorBuilder, real: Real, by: Decomposed, name: str, out: str) -> Codes | None:
    """The codes of functions of a sum or mean in float32, by thresholds; None of another tensor."""
    source = real.source
    if not (isinstance(source, Total) or (isinstance(source, Mean) and source.in_reals)):
        return None
    functions = [step for step in real.steps if isinstance(step, Unary)]
    if len(functions) != len(real.steps):
        return None
    level = source.input
    if isinstance(source, Total) and by.in_turn:
        exact = _in_turn(run, source, functions, by)
        if exact is not None:
            edge, ops = exact
            return Codes(run.chain(name, edge, ops, out), by.format, real.layout)
    if isinstance(source, Mean):
        edge, terms, divides = averaged(run, source), source.window.size, True
    else:
        edge, _ = totalled(run, source)
        shape = run.types[level.codes.edge].shape
        terms, divides = math.prod(shape[axis] for axis in source.axes), source.mean
    kind, given = run.types[edge], run.types[level.codes.edge]
    most = max(abs(given.lo - level.zero_point), abs(given.hi - level.zero_point))
    powers = math.frexp(level.scale)[0] == 0.5 and kind.magnitude < 1 << 24
    error = 0.0 if powers else terms * UNIT * terms * most * level.scale
    worth = np.float64(F32(level.scale))
    first = (Arithmetic(source.name, "div", np.array([terms], F32)),) if divides else ()
    sums = WholeSums(
        kind, lambda k: k.astype(np.float64) * worth, np.array([error]), 1, None, first
    )
    rule = FloatRule((*first, *functions), by.codes)
    found = step_function(sums, rule)
    if found is None:
        raise HwsimError(f"{name}: the function of a mean must step one way, or its codes be few")
    if found.doubtful:
        run.warn(name, NEAR.format(terms=terms, doubtful=found.doubtful, count=found.count))
    edge = run.chain(name, edge, found.ops(by.format, by.quant), out)
    return Codes(edge, by.format, real.layout)


def _in_turn(
    run: TensorBuilder, source: Total, functions: Sequence[Unary], by: Decomposed
) -> tuple[str, list[Op]] | None:
    """Float32 numbers from 0 up, added one after the other; None where some are below 0."""
    level, kind = source.input, run.types[source.input.codes.edge]
    if kind.lo < level.zero_point or kind.format.width > TABLE_BITS:
        return None
    codes = np.arange(kind.lo, kind.hi + 1) - level.zero_point
    values = patterns(codes.astype(F32) * F32(level.scale))
    title = f"{source.name}.float32"
    numbers = run.emit(
        title, Table(values=values, out=BITS, first=kind.lo), [level.codes.edge], title
    )
    op = Reduce(reduction=Reduction.SUM, axes=source.axes, accumulator=Float32())
    edge = run.emit(source.name, op, [numbers], f"{source.name}.sum")
    terms = math.prod(kind.shape[axis] for axis in source.axes)
    first = Arithmetic(source.name, "div", np.array([terms], F32))
    rule = FloatRule((*((first,) if source.mean else ()), *functions), by.codes)

    def reals(k: IntArray) -> Any:
        return k.astype(np.int32).view(F32).astype(np.float64)

    found = step_function(WholeSums(run.types[edge], reals, np.zeros(1), 1), rule)
    return None if found is None else (edge, found.ops(by.format, by.quant))
