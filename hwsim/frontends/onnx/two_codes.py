"""Any function of two tensors of narrow codes: comparisons, choices, slopes that are computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hwsim.frontends.onnx.importer import Importer
from hwsim.frontends.onnx.model import OnnxNode
from hwsim.frontends.onnx.pairs import NARROW
from hwsim.frontends.shared.pairing import common_shape, functions_of, lying, same_codes
from hwsim.frontends.shared.trying import narrow_pair
from hwsim.frontends.shared.values import (
    Constant,
    FloatArray,
    Level,
    OfTwoCodes,
    Pair,
    Real,
    Unary,
)
from hwsim.ops.base import Shape

Operand = Real | Constant
Part = Callable[[FloatArray, FloatArray], Any]


def of_operands(
    run: Importer, node: OnnxNode, operands: Sequence[Operand], function: Callable[..., FloatArray]
) -> Real | None:
    """A function of operands that are numbers, or functions of one or both of two narrow codes.

    None where they are others.
    """
    operands = [_absorbed(x) if isinstance(x, Real) else x for x in operands]
    pair = _pair(operands)
    if pair is None or any(isinstance(x, Constant) and x.array.size != 1 for x in operands):
        return None
    first, second = pair
    shape = common_shape(node, first.layout.shape, second.layout.shape)
    layouts, result = lying((first.layout, second.layout), shape)
    laid = []
    for real, to in zip(pair, layouts, strict=True):
        assert isinstance(real.source, Level)
        held = replace(real.source.codes, layout=real.layout)
        laid.append(replace(real.source, codes=run.arranged(held, to, node)))
    parts = [_part(x, first, laid, shape) for x in operands]
    if any(part is None for part in parts):
        return None
    known = [part for part in parts if part is not None]

    def both(a: FloatArray, b: FloatArray) -> FloatArray:
        with np.errstate(all="ignore"):
            return function(*(part(a, b) for part in known))

    rough = any(_is_rough(x) for x in operands if isinstance(x, Real))
    return Real(OfTwoCodes(node.name, laid[0], laid[1], both, rough), result)


def _pair(operands: Sequence[Operand]) -> tuple[Real, Real] | None:
    """Operands with the two codes that all are functions of."""
    found: list[Real] = []
    for x in _of_codes(operands):
        level = x.source
        narrow = isinstance(level, Level) and level.codes.format.width <= NARROW
        if not narrow or getattr(level, "scales", None) is not None:
            return None
        if not any(same_codes(level, known.source) for known in found):
            found.append(x)
    return (found[0], found[1]) if len(found) == 2 else None


def _absorbed(x: Real) -> Real:
    """A sum or product of narrow codes as a function of both."""
    source = narrow_pair(x.source) if isinstance(x.source, Pair) else None
    return x if source is None else replace(x, source=source)


def _of_codes(operands: Sequence[Operand]) -> Iterator[Real]:
    """Each tensor that operands are functions of."""
    for x in operands:
        if isinstance(x, Real) and isinstance(x.source, OfTwoCodes):
            yield from (Real(level, level.codes.layout) for level in (x.source.a, x.source.b))
        elif isinstance(x, Real):
            yield x


def _part(x: Operand, first: Real, laid: Sequence[Level], shape: Shape) -> Part | None:
    """An operand as a function of both codes' reals."""
    if isinstance(x, Constant):
        number = x.array.ravel()[0]
        return lambda a, b: number
    steps = functions_of(x.steps)
    if steps is None:
        return None
    if isinstance(x.source, OfTwoCodes):
        edges = [level.codes.edge for level in (x.source.a, x.source.b)]
        wanted, two = [level.codes.edge for level in laid], x.source.function
        if x.layout.shape != shape or sorted(edges) != sorted(wanted):
            return None
        if edges == wanted:
            return lambda a, b: _after(steps, two(a, b))
        return lambda a, b: _after(steps, two(b, a))
    if same_codes(x.source, first.source):
        return lambda a, b: _after(steps, a)
    return lambda a, b: _after(steps, b)


def _after(steps: Sequence[Unary], value: FloatArray) -> FloatArray:
    for step in steps:
        value = step.function(value)
    return value


def _is_rough(x: Real) -> bool:
    rough = any(isinstance(step, Unary) and step.rough for step in x.steps)
    return rough or (isinstance(x.source, OfTwoCodes) and x.source.rough)
