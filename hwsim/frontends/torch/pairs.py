"""Sums, differences and products of two tensors, or of one and a constant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.shared.literals import literal, lying_as, smallest
from hwsim.frontends.shared.pairing import common_shape, functions_of, lying, same_codes
from hwsim.frontends.shared.settling import level_of
from hwsim.frontends.shared.values import (
    Constant,
    FloatArray,
    Level,
    OfTwoCodes,
    Pair,
    PerChannel,
    Product,
    RawInput,
    Real,
    Unary,
)
from hwsim.frontends.torch.importer import ProgramImporter
from hwsim.frontends.torch.program import ProgramNode
from hwsim.frontends.torch.unary import after
from hwsim.ops import Add, Mul, Quant, Sub

F32 = np.float32
OPERATORS: dict[str, Add | Sub | Mul] = {"add": Add(), "sub": Sub(), "mul": Mul()}
FLOATS: dict[str, Callable[[Any, Any], Any]] = {
    "add": np.add,
    "div": np.divide,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "mul": np.multiply,
    "sub": np.subtract,
}
NARROW = 8


def paired(run: ProgramImporter, node: ProgramNode) -> None:
    """add, sub, mul, div, maximum, minimum."""
    name = node.op.removeprefix("aten.").removesuffix("_")
    if name == "rsub":
        turned = {**node.args, "self": node.args.get("other"), "other": node.args.get("self")}
        node, name = replace(node, args=turned), "sub"
    if node.real("alpha", 1.0) != 1.0:
        raise HwsimError(f"{node}: its alpha must be 1, not {node.args['alpha']}")
    first, second = run.number(node, "self"), run.number(node, "other")
    if first is not None and second is not None:
        run.values[node.output] = Constant(FLOATS[name](first, second).astype(F32))
        return
    if first is not None or second is not None:
        run.values[node.output] = _with_constant(run, node, name, first, second)
        return
    a, b = run.real(node, "self"), run.real(node, "other")
    run.values[node.output] = _of_one_code(node, a, b, name) or _of_two(run, node, a, b, name)


def _of_one_code(node: ProgramNode, a: Real, b: Real, name: str) -> Real | None:
    """A function of one code where both operands are some of the same (x * sigmoid(x))."""
    one, other = functions_of(a.steps), functions_of(b.steps)
    if one is None or other is None or not (one or other):
        return None
    if not same_codes(a.source, b.source) or not a.layout.same(b.layout):
        return None
    if a.layout.shape != b.layout.shape or not isinstance(a.source, Level):
        return None

    def of(x: FloatArray) -> FloatArray:
        with np.errstate(all="ignore"):
            out: FloatArray = FLOATS[name](after(x, one), after(x, other))
        return out

    rough = any(step.rough for step in (*one, *other))
    return replace(a, steps=(Unary(str(node), of, rising=False, rough=rough),))


def _of_two(run: ProgramImporter, node: ProgramNode, a: Real, b: Real, name: str) -> Real:
    shape = common_shape(node, a.layout.shape, b.layout.shape)
    one, other = functions_of(a.steps), functions_of(b.steps)
    layouts, result = lying((a.layout, b.layout), shape)
    plain = name in OPERATORS and not (one or other) and one is not None
    narrow = all(
        isinstance(real.source, Level) and real.source.codes.format.width <= NARROW
        for real in (a, b)
    )
    in_reals = not plain or node.name not in run.whole
    if narrow and in_reals and one is not None and other is not None:
        laid = [
            _laid(run, node, real.source, real, layout)
            for real, layout in zip((a, b), layouts, strict=True)
            if isinstance(real.source, Level)
        ]

        def of(x: FloatArray, y: FloatArray) -> FloatArray:
            with np.errstate(all="ignore"):
                out: FloatArray = FLOATS[name](after(x, one), after(y, other))
            return out

        return Real(OfTwoCodes(node.name, laid[0], laid[1], of), result)
    if name not in OPERATORS:
        raise HwsimError(f"{node}: both of its operands must be quantized to at most 8 bits")
    levels = [
        _laid(run, node, level_of(run, node, real), real, layout)
        for real, layout in zip((a, b), layouts, strict=True)
    ]
    source = Pair(node.name, node.output, levels[0], levels[1], 0, in_reals, OPERATORS[name])
    return Real(source, result)


def _laid(run: ProgramImporter, node: ProgramNode, level: Level, real: Real, wanted: Any) -> Level:
    held = replace(level.codes, layout=real.layout)
    return replace(level, codes=run.arranged(held, wanted, node))


def _with_constant(
    run: ProgramImporter, node: ProgramNode, name: str, first: Any, second: Any
) -> Real | RawInput:
    constant = np.asarray(first if second is None else second)
    argument = "other" if second is None else "self"
    if not np.isfinite(constant.astype(F32)).all():
        raise HwsimError(f"{node}: its constant must be finite")
    function = FLOATS[name]
    real = run.real(node, argument)
    if constant.size == 1 and constant.ndim <= len(real.layout.shape) + 1:
        quantized = _quantized_constant(run, node, argument)
        if quantized is None or node.name not in run.whole:
            value = F32(constant.ravel()[0])
            return real.then(_arithmetic(node, name, value, first=second is None))
    other = _quantized_constant(run, node, argument)
    if other is not None and node.name in run.whole:
        return _of_codes(run, node, name, real, other, first=second is None)
    return _varying(run, node, real, constant.astype(F32), function, first=second is None)


def _arithmetic(node: ProgramNode, name: str, value: Any, *, first: bool) -> Unary:
    function = FLOATS[name]

    def of(x: FloatArray) -> FloatArray:
        with np.errstate(all="ignore"):
            out: FloatArray = function(value, x) if first else function(x, value)
        return out

    rising = name in ("add", "maximum", "minimum") or (name == "sub" and not first)
    rising = rising or (name in ("mul", "div") and not first and value > 0)
    step = {"add": "add", "mul": "mul", "div": "div"}.get(name)
    step = {"sub": "sub_from" if first else "sub"}.get(name, step)
    arithmetic = None if step is None or (first and name == "div") else (step, float(value))
    return Unary(str(node), of, rising=bool(rising), arithmetic=arithmetic)


def _quantized_constant(run: ProgramImporter, node: ProgramNode, moving: str) -> Constant | None:
    """The constant operand, if it came through a quantizer of one scale."""
    argument = "self" if moving == "other" else "other"
    if isinstance(node.args.get(argument), (int, float)):
        return None
    held = run.value(node, argument)
    if not isinstance(held, Constant) or held.codes is None or held.scale is None:
        return None
    return held if held.scale.size == 1 else None


def _of_codes(
    run: ProgramImporter, node: ProgramNode, name: str, real: Real, held: Constant, *, first: bool
) -> Real:
    """With constant codes, which the runtime takes as it takes a tensor."""
    level = level_of(run, node, real)
    like = replace(level.codes, layout=real.layout)
    assert held.codes is not None and held.scale is not None
    scale, zero = float(held.scale.ravel()[0]), held.zero_point
    codes = literal(
        run,
        like,
        held.codes + zero,
        like.format,
        quant=Quant((scale,), zero),
        name=f"{node.name}.constant",
    )
    other = Level(codes, scale, zero)
    a, b = (other, replace(level, codes=like)) if first else (replace(level, codes=like), other)
    return Real(Pair(node.name, node.output, a, b, 0, False, OPERATORS[name]), real.layout)


def prelu(run: ProgramImporter, node: ProgramNode) -> None:
    """prelu: below 0 times a slope, one for all or one a channel."""
    real, slopes = run.real(node, "self"), run.constant(node, "weight").array.astype(F32)
    shape = real.layout.shape
    if slopes.size not in (1, shape[0] if shape else 1) or not np.isfinite(slopes).all():
        raise HwsimError(f"{node}: its slopes must be finite, one for all or one a channel")
    along = slopes.reshape(1, -1, *[1] * (len(shape) - 1))

    def of(slope: Any, x: Any) -> Any:
        return np.where(x > 0, x, x * slope)

    run.values[node.output] = _varying(run, node, real, along, of, first=True)


def _varying(
    run: ProgramImporter,
    node: ProgramNode,
    real: Real,
    values: FloatArray,
    function: Callable[[Any, Any], Any],
    *,
    first: bool,
) -> Real:
    """A function of each element and of constants that broadcast to the tensor."""
    level = level_of(run, node, real)
    codes = replace(level.codes, layout=real.layout)
    each = smallest(lying_as(codes.layout, values, str(node)))
    if each.size != each.shape[-1]:
        codes = run.flat(codes)
        each = lying_as(codes.layout, values, str(node))
    flat = each.reshape(-1)

    def of(x: FloatArray) -> FloatArray:
        with np.errstate(all="ignore"):
            out: FloatArray = function(flat, x) if first else function(x, flat)
        return out

    return Real(PerChannel(node.name, replace(level, codes=codes), of), codes.layout)


def matmul(run: ProgramImporter, node: ProgramNode) -> None:
    """matmul and bmm of two computed tensors."""
    names = ("self", "mat2" if "mat2" in node.args else "other")
    levels, shapes = [], []
    for name in names:
        real = run.real(node, name)
        shape = real.layout.shape
        if len(shape) < 2:
            raise HwsimError(f"{node}: its operands must be tensors of matrices, not {shape}")
        level = level_of(run, node, real)
        levels.append(_laid(run, node, level, real, type(real.layout).plain(shape)))
        shapes.append(shape)
    first, second = shapes
    if first[:-2] != second[:-2] or first[-1] != second[-2]:
        raise HwsimError(f"{node}: its operands must fit, not be of {first} and {second}")
    made = (*first[:-1], second[-1])
    source = Product(node.name, node.output, levels[0], levels[1])
    run.values[node.output] = Real(source, type(run.real(node, names[0]).layout).plain(made))
