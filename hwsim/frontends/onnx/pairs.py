"""Sums, differences and products of two tensors, whose shapes broadcast."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import takewhile

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.onnx.importer import Importer
from hwsim.frontends.onnx.model import OnnxNode
from hwsim.frontends.onnx.ort.kernels import RuntimeKernel
from hwsim.frontends.shared.arrangement import Arrangement
from hwsim.frontends.shared.exact_levels import narrowed
from hwsim.frontends.shared.literals import lying_as, smallest
from hwsim.frontends.shared.pairing import common_shape, functions_of, lying, same_codes
from hwsim.frontends.shared.settling import level_of
from hwsim.frontends.shared.values import (
    Constant,
    FloatArray,
    Level,
    OfTwoCodes,
    Pair,
    PerChannel,
    Real,
    Scaled,
    Unary,
    Weighing,
)
from hwsim.ops import Add, Mul, Sub
from hwsim.ops.base import Shape

OPERATORS: dict[str, Add | Sub | Mul] = {"Add": Add(), "Sub": Sub(), "Mul": Mul()}


def _power(a: FloatArray, b: FloatArray) -> FloatArray:
    out: FloatArray = np.power(a.astype(np.float64), b.astype(np.float64)).astype(np.float32)
    return out


ARITHMETIC: dict[str, Callable[..., FloatArray]] = {
    "Add": np.add,
    "Div": np.divide,
    "Max": np.maximum,
    "Min": np.minimum,
    "Mul": np.multiply,
    "Pow": _power,
    "Sub": np.subtract,
}
"""What nodes of two operands compute of float32 values."""


def paired(run: Importer, node: OnnxNode, first: Real, second: Real, op: str) -> Real:
    """The result of an Add, Sub or Mul; what is added may be the sum of a layer."""
    found = of_one_code(node, first, second)
    if found is not None:
        return found
    found = of_two_codes(run, node, first, second)
    if found is not None:
        return found
    shape = common_shape(node, first.layout.shape, second.layout.shape)
    if op == "Add" and repeated(first.layout.shape, shape):
        first, second = second, first
    term = level_of if op == "Mul" else _term
    a, b = (_narrow(run, term(run, node, real)) for real in (first, second))
    held = first.layout, second.layout
    layouts, result = lying(held, shape)
    a, b = (
        _laid(run, node, term, layout, to)
        for term, layout, to in zip((a, b), held, layouts, strict=True)
    )
    signed = isinstance(a, Level) and a.codes.format.signed
    choice = run.choice(node.output)
    whole = choice.kernel is RuntimeKernel.INTEGER
    shift = 128 if whole and signed and choice.dtype == "uint8" else 0
    source = Pair(node.name, node.output, a, b, shift, not whole, OPERATORS[op])
    return Real(source, result)


def operation(node: OnnxNode) -> str:
    """What a node does with two operands, by the name of ONNX's operator for it."""
    return {"Mean": "Add", "Sum": "Add"}.get(node.op, node.op.removeprefix("QLinear"))


def of_one_code(node: OnnxNode, first: Real, second: Real) -> Real | None:
    """The result where both operands are functions of the same code, and so it is; None elsewhere.

    A quantizer then tries all codes in the runtime's own arithmetic: x * f(x) is one table.
    """
    plain = not (first.steps or second.steps) and operation(node) in OPERATORS
    square = operation(node) == "Mul" and not isinstance(first.source, Level)
    alike = first.source is second.source and not square
    if plain and (alike or not (square or _scaled(first) or _scaled(second))):
        return None  # a kernel may take it
    return jointly(node, [first, second], ARITHMETIC[operation(node)])


def jointly(
    node: OnnxNode, operands: Sequence[Real | Constant], function: Callable[..., FloatArray]
) -> Real | None:
    """A function of several functions of one code, and of numbers; None where they are none."""
    operands = [_unscaled(x) if isinstance(x, Real) else x for x in operands]
    reals = [x for x in operands if isinstance(x, Real)]
    first = reals[0]
    for real in reals:
        if not (same_codes(first.source, real.source) and real.layout.shape == first.layout.shape):
            return None
        if not real.layout.same(first.layout):
            return None
    together = zip(*(real.steps for real in reals), strict=False)
    kept = len(list(takewhile(lambda steps: all(s is steps[0] for s in steps), together)))
    parts: list[tuple[Unary, ...] | FloatArray] = []
    for operand in operands:
        if isinstance(operand, Constant):
            if operand.array.size != 1 or operand.array.ndim > len(first.layout.shape) + 1:
                return None
            parts.append(operand.array.ravel()[0])
            continue
        rest = functions_of(operand.steps[kept:])
        if rest is None:
            return None
        parts.append(rest)
    rough = any(s.rough for part in parts if isinstance(part, tuple) for s in part)
    step = Unary(str(node), partial(_combined, function, parts), rising=False, rough=rough)
    return replace(first, steps=(*first.steps[:kept], step))


def _scaled(real: Real) -> bool:
    """Whether it is a layer's sum times one number, plus one."""
    source = real.source
    if not isinstance(source, Scaled) or source.unit is not None or source.function is None:
        return False
    return source.factor.size == source.offset.size == 1 and isinstance(source.term, Weighing)


def _unscaled(real: Real) -> Real:
    """The sum itself, with a function."""
    source = real.source
    if not _scaled(real):
        return real
    assert isinstance(source, Scaled) and source.function is not None
    step = Unary(source.name, source.function, rising=bool(source.factor.min() >= 0))
    return replace(real, source=source.term, steps=(step, *real.steps))


def _combined(
    function: Callable[..., FloatArray],
    parts: Sequence[tuple[Unary, ...] | FloatArray],
    x: FloatArray,
) -> FloatArray:
    """A function of functions of one float32, and of numbers."""
    operands = []
    for part in parts:
        value = x if isinstance(part, tuple) else part
        for step in part if isinstance(part, tuple) else ():
            value = step.function(value)
        operands.append(value)
    with np.errstate(all="ignore"):
        return function(*operands)


def varying(
    run: Importer,
    node: OnnxNode,
    real: Real,
    values: FloatArray,
    function: Callable[[FloatArray, FloatArray], FloatArray],
) -> Real:
    """A function of each element of a tensor and of constants that broadcast to it."""
    level = level_of(run, node, real)
    codes = replace(level.codes, layout=real.layout)
    each = smallest(lying_as(codes.layout, values, str(node)))
    if each.size != each.shape[-1]:  # they vary along other axes than the innermost one
        codes = run.flat(codes)
        each = lying_as(codes.layout, values, str(node))
    each = each.reshape(-1)
    source = PerChannel(node.name, replace(level, codes=codes), lambda x: function(x, each))
    return Real(source, codes.layout)


NARROW = 8
"""Bits of codes of which all pairs go into a table."""


def of_two_codes(run: Importer, node: OnnxNode, first: Real, second: Real) -> Real | None:
    """The result as a table of all pairs of codes, where operands are functions of narrow ones.

    None where they are wide, and for sums and products of plain codes, which need no table.
    """
    a, b = first.source, second.source
    if not (isinstance(a, Level) and isinstance(b, Level)):
        return None
    one, other = (functions_of(real.steps) for real in (first, second))
    narrow = all(x.codes.format.width <= NARROW and x.scales is None for x in (a, b))
    if one is None or other is None or not narrow:
        return None
    if operation(node) in OPERATORS and all(step.clamp for step in (*one, *other)):
        return None
    shape = common_shape(node, first.layout.shape, second.layout.shape)
    layouts, result = lying((first.layout, second.layout), shape)
    laid = [
        replace(x, codes=run.arranged(replace(x.codes, layout=real.layout), to, node))
        for x, real, to in zip((a, b), (first, second), layouts, strict=True)
    ]
    function = partial(_of_two, ARITHMETIC[operation(node)], one, other)
    rough = node.op == "Pow" or any(step.rough for step in (*one, *other))
    return Real(OfTwoCodes(node.name, laid[0], laid[1], function, rough), result)


def _of_two(
    operation: Callable[..., FloatArray],
    first: Sequence[Unary],
    second: Sequence[Unary],
    a: FloatArray,
    b: FloatArray,
) -> FloatArray:
    """An operation on functions of two float32."""
    for step in first:
        a = step.function(a)
    for step in second:
        b = step.function(b)
    with np.errstate(all="ignore"):
        return operation(a, b)


def repeated(shape: Shape, wanted: Shape) -> bool:
    """Whether one code meets many in a row: QLinearAdd then takes it for its second operand."""
    rows = [size for size, whole in zip(shape, wanted, strict=True) if whole > 1]
    return bool(rows) and rows[-1] == 1


def _narrow(run: Importer, term: Level | Weighing) -> Level | Weighing:
    """An operand that leaves room for the other one's fraction bits."""
    if isinstance(term, Level) and term.codes.format.width > MOST_BITS:
        return narrowed(run, term, f"{term.codes.edge}.narrow")
    return term


MOST_BITS = 40
"""Of codes that are added to or multiplied by others as they are."""


def _term(run: Importer, node: OnnxNode, real: Real) -> Level | Weighing:
    if isinstance(real.source, Weighing) and not real.steps:
        return real.source
    return level_of(run, node, real)


def _laid(
    run: Importer, node: OnnxNode, term: Level | Weighing, layout: Arrangement, wanted: Arrangement
) -> Level | Weighing:
    """A tensor in the order of `wanted`."""
    if isinstance(term, Level):
        return replace(term, codes=run.arranged(replace(term.codes, layout=layout), wanted, node))
    if layout.same(wanted):
        return term
    raise HwsimError(f"{node}: a Transpose of a layer's sum must have a quantizer before it")
