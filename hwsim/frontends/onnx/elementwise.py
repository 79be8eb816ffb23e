"""Add, concat, argmax, and functions of one value."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError
from hwsim.frontends.onnx import float_chain
from hwsim.frontends.onnx.importer import Importer
from hwsim.frontends.onnx.model import OnnxNode
from hwsim.frontends.onnx.ort.kernels import RuntimeKernel
from hwsim.frontends.onnx.pairs import paired, repeated
from hwsim.frontends.onnx.scale import along, arithmetic_of, folded
from hwsim.frontends.onnx.weighted import biased
from hwsim.frontends.shared.arrangement import Arrangement
from hwsim.frontends.shared.literals import level_behind, literal
from hwsim.frontends.shared.settling import level_of
from hwsim.frontends.shared.values import (
    Codes,
    Constant,
    Fixed,
    FloatArray,
    Joined,
    Level,
    RawInput,
    Real,
    Unary,
    Weighing,
)
from hwsim.frontends.shared.walks import LoopOrder
from hwsim.ops import Conv, Quant, Relu
from hwsim.ops.base import Shape

F32 = np.float32


def add(run: Importer, node: OnnxNode) -> None:
    """Add of two tensors, or of a bias to a layer."""
    values = [run.value(node, i) for i in (0, 1)]
    constants = [v for v in values if isinstance(v, Constant)]
    if len(constants) == 2:
        run.values[node.output] = folded(node, *constants)
        return
    if float_chain.arithmetic(run, node):
        return
    if len(constants) == 1:
        real = run.real(node, 0 if isinstance(values[1], Constant) else 1)
        run.values[node.output] = _add_constant(run, node, real, constants[0])
        return
    run.values[node.output] = paired(run, node, run.real(node, 0), run.real(node, 1), "Add")


def _add_constant(run: Importer, node: OnnxNode, real: Real, bias: Constant) -> Real:
    source = real.source
    number = bias.array.size == 1
    if isinstance(source, Weighing) and not (real.steps or _kept(run, source, number=number)):
        outputs = source.op.outputs
        fits = bias.array.size == 1 or bias.array.shape[-1] == outputs == bias.array.size
        if isinstance(source.op, Conv):
            ones = (1,) * source.op.rank
            places = bias.array.shape[-len(ones) - 1 :]
            fits = bias.array.size == 1 or places == (outputs, *ones)
        if not fits:
            raise HwsimError(f"{node}: a constant added to a layer must be one value a channel")
        if run.choice(node.output) is not run.choice(source.tensor):
            rounded = (
                run.choice(source.tensor).kernel is RuntimeKernel.BLOCKS
            )  # before the constant
            tensor = source.tensor if rounded else node.output
            source = replace(source, tensor=tensor, exact=False, integer_bias=False)
        return replace(real, source=biased(run, node, source, bias))
    if run.choice(node.output).kernel is RuntimeKernel.INTEGER:
        return sum_of_codes(run, node, real, bias)
    if number:
        value = F32(bias.array.reshape(())[()])
        named = ("add", float(value))
        return real.then(Unary(str(node), lambda x: x + value, rising=True, arithmetic=named))
    offset = bias.array.astype(np.float64)
    own = arithmetic_of(node, bias.array.astype(F32))
    return along(run, node, real, np.ones_like(offset), offset, own)


def _kept(run: Importer, source: Weighing, *, number: bool) -> bool:
    """Whether a layer has a bias, or others read its sum without a number that is added to it."""
    readers = [node for node in run.model.nodes if source.tensor in node.inputs]
    return bool(source.op.bias.any()) or (number and len(readers) > 1)


def sum_of_codes(run: Importer, node: OnnxNode, real: Real, constant: Constant) -> Real:
    """What QLinearAdd computes of a tensor and constant codes."""
    if constant.codes is None or constant.scale is None or constant.scale.size != 1:
        raise HwsimError(f"{node}: its constant must be quantized with one scale")
    level = level_of(run, node, real)
    like = replace(level.codes, layout=real.layout)
    zero, scale = constant.zero_point, float(constant.scale.ravel()[0])
    codes = constant.codes + zero
    held = literal(
        run, like, codes, like.format, quant=Quant((scale,), zero), name=f"{node.name}.constant"
    )
    other = Real(Level(held, scale, zero), real.layout)
    given = constant.array.shape[-len(real.layout.shape) :]
    shape = (1,) * (len(real.layout.shape) - len(given)) + given
    first = isinstance(run.value(node, 0), Constant) and not repeated(shape, real.layout.shape)
    return paired(run, node, *((other, real) if first else (real, other)), "Add")


def total(run: Importer, node: OnnxNode) -> None:
    """Sum: from the first on, one tensor after the other; Mean divides it by their number."""
    _summed(run, node)
    made, count = run.values[node.output], F32(len(node.inputs))
    if node.op == "Mean" and isinstance(made, Real):
        step = Unary(str(node), lambda x: x / count, rising=True)
        run.values[node.output] = made.then(step)
    elif node.op == "Mean" and isinstance(made, Constant):
        run.values[node.output] = Constant(made.array / count)


def _summed(run: Importer, node: OnnxNode) -> None:
    if not node.inputs:
        raise HwsimError(f"{node}: it must have at least one input")
    if len(node.inputs) == 1:
        run.values[node.output] = run.value(node, 0)
    elif len(node.inputs) == 2:
        add(run, node)
    else:
        first, *others = (run.real(node, i) for i in range(len(node.inputs)))
        for other in others:
            first = paired(run, node, first, other, "Add")
        run.values[node.output] = first


def concat(run: Importer, node: OnnxNode) -> None:
    """Concat along the channels, or of constants."""
    values = [run.value(node, i) for i in range(len(node.inputs))]
    if all(isinstance(v, Constant) for v in values):
        arrays: list[npt.NDArray[np.generic]] = [v.array for v in values if isinstance(v, Constant)]
        joined = np.concatenate(arrays, axis=node.integer("axis", 0))
        run.values[node.output] = Constant(joined)
        return
    parts: list[Real | Constant] = [
        v if isinstance(v, Constant) else run.real(node, i) for i, v in enumerate(values)
    ]
    run.values[node.output] = concatenated(run, node, parts, node.integer("axis", 1))


def concatenated(
    run: Importer, node: OnnxNode, parts: Sequence[Real | Constant], axis: int
) -> Real:
    """Tensors one after the other along an axis that is not the batch; some may be constant."""
    shapes = [
        _each(run, node, p).shape if isinstance(p, Constant) else p.layout.shape for p in parts
    ]
    rank = len(shapes[0]) + 1
    axis = axis + rank if axis < 0 else axis
    if not 1 <= axis < rank or any(len(s) != rank - 1 for s in shapes):
        raise HwsimError(
            f"{node}: it must concatenate along an axis that all inputs have and that is not the "
            f"batch, not along axis {axis} of {rank} axes"
        )
    ends = [s[axis - 1] for s in shapes]
    rest = {s[: axis - 1] + s[axis:] for s in shapes}
    if len(rest) != 1:
        raise HwsimError(f"{node}: its inputs must agree but for axis {axis}, not be {shapes}")
    shape = (*shapes[0][: axis - 1], sum(ends), *shapes[0][axis:])
    moving = [part for part in parts if isinstance(part, Real)]
    place, lying = _in_place(moving, axis) if run.choices is not None else (-1, None)
    way = lying or (lambda shape: Arrangement.innermost(shape, axis - 1))
    if rank == 2:
        way = Arrangement.plain
    reals = [p if isinstance(p, Real) else _fixed(run, node, p, moving[0], way) for p in parts]
    if rank == 2:
        starts = np.cumsum([0, *ends[:-1]])
        order = np.concatenate([r.layout.order + s for r, s in zip(reals, starts, strict=True)])
        return Real(
            Joined(node.name, tuple(reals), 0), Arrangement(shape, shape, LoopOrder.of(order))
        )
    return Real(Joined(node.name, tuple(reals), axis - 1, place), way(shape))


def _each(run: Importer, node: OnnxNode, constant: Constant) -> FloatArray:
    """What a constant is for each sample."""
    array: FloatArray = constant.array.astype(F32)
    alike = array.ndim > 0 and array.shape[0] in (1, run.model.batch)
    if not alike or (array != array[:1]).any():
        raise HwsimError(
            f"{node}: a constant that is concatenated must be the same for all samples, its first "
            f"axis 1, not of shape {array.shape}"
        )
    each: FloatArray = array[0]
    return each


def _fixed(
    run: Importer,
    node: OnnxNode,
    constant: Constant,
    beside: Real,
    way: Callable[[Shape], Arrangement],
) -> Real:
    """A constant as a tensor that lies as the others do."""
    each = _each(run, node, constant)
    layout = way(each.shape)
    values = each.reshape(-1)[layout.order].reshape(layout.physical)
    like = level_behind(beside.source).codes
    return Real(Fixed(node.name, values, like), layout)


def _in_place(reals: list[Real], axis: int) -> tuple[int, Callable[[Shape], Arrangement] | None]:
    """The edges' axis along which tensors that lie alike are joined as they are, and how they lie.

    None where the axis is innermost, or has to become it.
    """
    inner = len(reals[0].layout.shape) - 1
    ways: list[tuple[int, Callable[[Shape], Arrangement]]] = [
        ((axis - 2) % (inner + 1), Arrangement.map),
        (axis - 1, Arrangement.plain),
    ]
    for place, lying in ways:
        alike = all(real.layout.same(lying(real.layout.shape)) for real in reals)
        if alike:
            return (-1, None) if place == inner else (place, lying)
    return -1, None


def clip(run: Importer, node: OnnxNode) -> None:
    """Clip, its limits from inputs or attributes."""
    low = node.real("min", -math.inf) if "min" in node.attributes else -math.inf
    high = node.real("max", math.inf) if "max" in node.attributes else math.inf
    low = _limit(run, node, 1, low)
    high = _limit(run, node, 2, high)
    if low > high:
        raise HwsimError(f"{node}: its minimum must not be above its maximum")
    value = run.value(node, 0)
    if isinstance(value, Constant):
        kept = value.array.astype(np.float64)
        run.values[node.output] = Constant(np.clip(kept, low, high).astype(value.array.dtype))
        return
    if isinstance(value, Codes):
        run.values[node.output] = _clipped(run, node, value, low, high)
        return
    lowest, highest = F32(low), F32(high)
    step = Unary(
        str(node),
        lambda x: np.clip(x, lowest, highest),
        rising=True,
        low=None if math.isinf(low) else low,
        high=None if math.isinf(high) else high,
    )
    if isinstance(value, RawInput):
        run.values[node.output] = float_chain.raw_function(node, value, step)
        return
    real = run.real(node, 0)
    run.values[node.output] = real.then(step) if step.clamp else real


def _clipped(run: Importer, node: OnnxNode, codes: Codes, low: float, high: float) -> Codes:
    """Codes between a quantizer and its dequantizer, cut to fewer of them."""
    fmt = codes.format
    lowest, highest = int(max(low, fmt.min)), int(min(high, fmt.max))
    if lowest > highest:
        raise HwsimError(f"{node}: its limits must leave some of the codes of {fmt}")
    if (lowest, highest) == (fmt.min, fmt.max):
        return codes
    op = Relu(zero_point=lowest, maximum=None if highest == fmt.max else highest)
    return replace(codes, edge=run.emit(node.name, op, [codes.edge], node.output))


def _limit(run: Importer, node: OnnxNode, position: int, default: float) -> float:
    if not node.input(position):
        return default
    value = run.constant(node, position).array
    if value.size != 1 or np.isnan(value.reshape(())[()]):
        raise HwsimError(f"{node}: its limits must be numbers")
    return float(value.reshape(())[()])


def identity(run: Importer, node: OnnxNode) -> None:
    """Identity, and Dropout at inference."""
    run.values[node.output] = run.value(node, 0)
