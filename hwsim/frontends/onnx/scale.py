"""A factor and an offset for each channel: BatchNormalization, and arithmetic with constants."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError
from hwsim.frontends.onnx import float_chain
from hwsim.frontends.onnx.importer import Importer
from hwsim.frontends.onnx.model import OnnxNode
from hwsim.frontends.onnx.ort.kernels import RuntimeKernel
from hwsim.frontends.onnx.ort.sum_functions import is_sum
from hwsim.frontends.onnx.pairs import NARROW, OPERATORS, of_one_code, of_two_codes, paired, varying
from hwsim.frontends.shared.arrangement import Arrangement
from hwsim.frontends.shared.builder import MAX_ELEMENTS
from hwsim.frontends.shared.settling import level_of
from hwsim.frontends.shared.values import (
    Constant,
    FloatArray,
    Level,
    Real,
    Scaled,
    Unary,
    Weighing,
)

F32 = np.float32
F64 = np.float64
STEPS = {"Add": "add", "Div": "div", "Mul": "mul", "Sub": "sub", "Sum": "add"}
"""Names of arithmetic in `float_steps`."""

Factors = npt.NDArray[np.float64]
Function = Callable[[FloatArray], FloatArray]


@dataclass(frozen=True, slots=True)
class Own:
    """What the runtime computes of float32 values: `make` makes it of a node's constants."""

    values: tuple[FloatArray, ...]
    make: Callable[..., Function]

    def over(self, change: Callable[[FloatArray], FloatArray]) -> Own:
        """With its constants laid otherwise."""
        return replace(self, values=tuple(change(value) for value in self.values))

    def function(self) -> Function:
        """Of values, channels innermost."""
        return self.make(*(value.ravel() for value in self.values))


def batch_norm(run: Importer, node: OnnxNode) -> None:
    """BatchNormalization at inference, along axis 1; along `axis` as `batch_rules.py` has it."""
    if node.integer("training_mode", 0) or node.integer("spatial", 1) != 1:
        raise HwsimError(f"{node}: 'training_mode' must be 0 and 'spatial' 1")
    constants = [run.constant(node, i).array for i in range(1, 5)]
    axis = node.integer("axis", 1) - 1
    if not axis and float_chain.normalized(run, node, constants, node.real("epsilon", 1e-5)):
        return
    real = run.real(node, 0)
    count = real.layout.shape[axis] if real.layout.shape else 0
    factor, offset = float_chain.line(node, constants, node.real("epsilon", 1e-5), count)
    own = Own((factor, offset), lambda scale, bias: lambda x: x * scale + bias)
    wide = factor.astype(F64), offset.astype(F64)
    run.values[node.output] = by_channel(run, node, real, axis, *wide, own)


def arithmetic(run: Importer, node: OnnxNode) -> None:
    """Mul, Sub and Div of a tensor and a constant, or of constants; Mul and Sub of two tensors."""
    first, second = run.value(node, 0), run.value(node, 1)
    if isinstance(first, Constant) and isinstance(second, Constant):
        run.values[node.output] = folded(node, first, second)
        return
    if float_chain.arithmetic(run, node):
        return
    reverse = isinstance(first, Constant)
    constant = first if reverse else second
    if not isinstance(constant, Constant):
        reals = run.real(node, 0), run.real(node, 1)
        run.values[node.output] = _of_tensors(run, node, *reals)
        return
    real = run.real(node, 1 if reverse else 0)
    value = constant.array.astype(F32)
    if not np.isfinite(value).all() or (node.op == "Div" and not (reverse or value.all())):
        raise HwsimError(f"{node}: its constant must be finite, and what it divides by too")
    if node.op == "Div" and reverse and value.size == 1:
        number = F32(value.ravel()[0])
        step = Unary(str(node), lambda x: _divided(x, number), rising=False)
        run.values[node.output] = real.then(step)
        return
    if node.op == "Div" and reverse:
        run.values[node.output] = varying(run, node, real, value, _divided)
        return
    if run.choice(node.output).kernel is RuntimeKernel.INTEGER:
        run.values[node.output] = product_of_codes(run, node, real, constant)
        return
    plain = isinstance(real.source, Level) and not real.source.fine
    if value.size == 1 and (plain or is_sum(real)):
        run.values[node.output] = real.then(_function(node, F32(value.ravel()[0]), reverse))
        return
    factor, offset = _line(node.op, value.astype(F64), reverse)
    own = arithmetic_of(node, value, reverse=reverse)
    run.values[node.output] = along(run, node, real, factor, offset, own)


def _divided(x: FloatArray, value: Any) -> FloatArray:
    with np.errstate(all="ignore"):
        out: FloatArray = value / x
    return out


def _of_tensors(run: Importer, node: OnnxNode, first: Real, second: Real) -> Real:
    """Mul and Sub of two tensors; Div of two functions of one code."""
    if node.op in OPERATORS:
        return paired(run, node, first, second, node.op)
    found = of_one_code(node, first, second) or of_two_codes(run, node, first, second)
    if found is None:
        raise HwsimError(
            f"{node}: one of its inputs must be constant, or both of at most {NARROW} bits"
        )
    return found


def product_of_codes(run: Importer, node: OnnxNode, real: Real, constant: Constant) -> Real:
    """What QLinearMul computes: codes times codes, whose scales come in with the rounding."""
    if constant.codes is None or constant.scale is None or constant.scale.size != 1:
        raise HwsimError(f"{node}: its constant must be quantized with one scale")
    codes = constant.codes.astype(F64)
    out = along(run, node, real, codes, np.zeros_like(codes))
    source, unit = out.source, float(constant.scale.ravel()[0])
    assert isinstance(source, Scaled)
    signed = isinstance(source.term, Level) and source.term.codes.format.signed
    shift = 128 if signed and run.choice(node.output).dtype == "uint8" else 0
    return replace(out, source=replace(source, unit=unit, shift=shift))


def _function(node: OnnxNode, value: Any, reverse: bool) -> Unary:
    """The function of a float32 and the node's constant, as the runtime computes it."""
    match node.op:
        case "Mul":
            made = Unary(str(node), lambda x: x * value, rising=bool(np.all(value >= 0)))
        case "Div":
            made = Unary(str(node), lambda x: x / value, rising=bool(np.all(value > 0)))
        case "Add" | "Sum":
            made = Unary(str(node), lambda x: x + value, rising=True)
        case _ if reverse:
            made = Unary(str(node), lambda x: value - x, rising=False)
        case _:
            made = Unary(str(node), lambda x: x - value, rising=True)
    if np.ndim(value):
        return made
    name = "sub_from" if node.op == "Sub" and reverse else STEPS[node.op]
    return replace(made, arithmetic=(name, float(value)))


def arithmetic_of(node: OnnxNode, value: FloatArray, *, reverse: bool = False) -> Own:
    """What the runtime computes of a tensor and a constant, which comes first if `reverse`."""
    return Own((value,), lambda value: _function(node, value, reverse).function)


def _line(op: str, value: Factors, reverse: bool) -> tuple[Factors, Factors]:
    """Factor and offset of `x * value`, `x / value`, `x - value` or `value - x`."""
    if op == "Mul":
        return value, np.zeros_like(value)
    if op == "Div":
        return 1 / value, np.zeros_like(value)
    ones = np.ones_like(value)
    return (-ones, value) if reverse else (ones, -value)


def folded(node: OnnxNode, first: Constant, second: Constant) -> Constant:
    """Arithmetic on constants."""
    a, b = first.array, second.array
    if math.prod(np.broadcast_shapes(a.shape, b.shape)) > MAX_ELEMENTS:
        raise HwsimError(f"{node}: its result must have at most {MAX_ELEMENTS} elements")
    match node.op:
        case "Add" | "Mean" | "Sum":
            return Constant(a + b)
        case "Sub":
            return Constant(a - b)
        case "Mul":
            return Constant(a * b)
    if a.dtype.kind in "iu":
        if not b.all():
            raise HwsimError(f"{node}: what it divides by must not be 0")
        return Constant(np.trunc(a / b).astype(a.dtype))
    return Constant(a / b)


def along(
    run: Importer,
    node: OnnxNode,
    real: Real,
    factor: Factors,
    offset: Factors,
    own: Own | None = None,
) -> Real:
    """Constants that broadcast to the tensor, applied; `own` is how the runtime does it.

    Those that vary along several axes are applied to each element of the tensor as a flat one.
    """
    shape = real.layout.shape
    given = (1,) * (len(shape) + 1 - factor.ndim) + factor.shape
    axes = [axis for axis, size in enumerate(given) if size > 1]
    fits = len(given) == len(shape) + 1 and 0 not in axes
    if fits and len(axes) > 1 and all(given[axis] == shape[axis - 1] for axis in axes):
        return _by_element(run, node, real, factor, offset, own)
    if not fits or len(axes) > 1:
        raise HwsimError(
            f"{node}: its constant must broadcast to (batch, {', '.join(map(str, shape))}), not "
            f"be of shape {factor.shape}"
        )
    if not axes:
        return by_channel(run, node, real, None, factor.ravel(), offset.ravel(), own)
    axis = axes[0] - 1
    if given[axes[0]] != shape[axis]:
        raise HwsimError(f"{node}: its constant must have {shape[axis]} values, not {factor.size}")
    return by_channel(run, node, real, axis, factor.ravel(), offset.ravel(), own)


def _by_element(
    run: Importer,
    node: OnnxNode,
    real: Real,
    factor: Factors,
    offset: Factors,
    own: Own | None,
) -> Real:
    """`x * factor + offset`, one of each for every element of the tensor as a flat one."""
    shape = real.layout.shape
    many = [np.broadcast_to(part, (1, *shape)).reshape(-1) for part in (factor, offset)]
    if own is not None:
        own = own.over(lambda part: np.broadcast_to(part, (1, *shape)).reshape(-1))
    flat = replace(real, layout=real.layout.reshaped((real.layout.size,)))
    found = by_channel(run, node, flat, 0, many[0], many[1], own)
    return replace(found, layout=found.layout.reshaped(shape))


def by_channel(
    run: Importer,
    node: OnnxNode,
    real: Real,
    axis: int | None,
    factor: Factors,
    offset: Factors,
    own: Own | None,
) -> Real:
    """`x * factor + offset`, one of each, or one for every index of `axis` (the batch apart)."""
    if not (np.isfinite(factor).all() and np.isfinite(offset).all()):
        raise HwsimError(f"{node}: its constants must be finite")
    layout, source = real.layout, real.source
    if isinstance(source, Scaled) and axis is None and not real.steps and _of_a_sum(source):
        return replace(real, source=_one_line(node, source, factor, offset))
    wanted = layout if axis is None else Arrangement.innermost(layout.shape, axis)
    at_once = isinstance(source, Weighing) and not real.steps
    if isinstance(source, Weighing) and at_once and (layout.same(wanted) or run.choices is None):
        if not layout.same(wanted):
            raise HwsimError(f"{node}: it must scale the channels of a layer's sum")
        term: Level | Weighing = source
    else:
        level = level_of(run, node, real)
        codes = replace(level.codes, layout=layout)
        if axis is not None and len(layout.shape) == 1:
            codes = run.flat(codes)
            order = codes.layout.order
            factor, offset = factor[order], offset[order]
            own = None if own is None else own.over(lambda part: part.ravel()[order])
        elif axis is not None:
            codes = run.arranged(codes, wanted, node)
        term, layout = replace(level, codes=codes), codes.layout
    function = None if own is None else own.function()
    return Real(Scaled(node.name, term, factor, offset, function=function), layout)


def _of_a_sum(source: Scaled) -> bool:
    """Whether a line is one of a layer's sum, in reals."""
    return isinstance(source.term, Weighing) and source.unit is None


def _one_line(node: OnnxNode, source: Scaled, factor: Factors, offset: Factors) -> Scaled:
    """A line behind that of a layer's sum is one with it."""
    scale, shift = float(factor.ravel()[0]), float(offset.ravel()[0])
    return replace(
        source,
        name=node.name,
        factor=source.factor * scale,
        offset=source.offset * scale + shift,
        function=None,
    )
