"""Reshapes, transposes and casts: bookkeeping, as long as no operator needs another order."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.onnx.constants import mapped
from hwsim.frontends.onnx.importer import Importer
from hwsim.frontends.onnx.model import OnnxNode
from hwsim.frontends.onnx.types import format_of
from hwsim.frontends.shared.arrangement import Arrangement
from hwsim.frontends.shared.values import (
    NO_PADDING,
    Codes,
    Constant,
    Level,
    RawInput,
    Real,
    Unary,
    Value,
)
from hwsim.graph import ELEMENTS
from hwsim.ops import Quant, TensorType
from hwsim.ops.base import Shape

BATCH = -1  # stands for the batch in shapes that are computed


def layout_of(value: Value, node: OnnxNode) -> Arrangement:
    """The layout of a tensor that is not constant."""
    match value:
        case Codes() | Real():
            return value.layout
        case RawInput():
            return value.plain
    raise HwsimError(f"{node}: its input must not be a constant")


def relaid(value: Value, change: Any) -> Value:
    """The same elements under another layout."""
    source = value.source if isinstance(value, Real) else value
    held = source.codes if isinstance(source, Level) else source
    if isinstance(held, Codes | RawInput) and held.padding != NO_PADDING:
        raise HwsimError("a Pad must be followed by a convolution")
    match value:
        case Codes() | Real():
            return replace(value, layout=change(value.layout))
        case RawInput():
            plain, last = change(value.plain), change(value.channels_last)
            return replace(value, plain=plain, channels_last=last)
    raise HwsimError("a constant has no layout")


def axes(node: OnnxNode, run: Importer, rank: int) -> tuple[int, ...]:
    """Axes from an attribute or the second input, counted from 0."""
    given = node.integers("axes")
    if node.input(1):
        given = tuple(int(a) for a in run.constant(node, 1).array.ravel())
    out = tuple(a + rank if a < 0 else a for a in given)
    if any(not 0 <= a < rank for a in out):
        raise HwsimError(f"{node}: axes must lie in a tensor of rank {rank}, not {given}")
    return out


def reshape(run: Importer, node: OnnxNode) -> None:
    """Reshape: bookkeeping only, as long as the batch stays."""
    value = run.value(node, 0)
    target = [int(d) for d in run.constant(node, 1).array.ravel()]
    if node.integer("allowzero", 0) and 0 in target:
        raise HwsimError(
            f"{node}: with 'allowzero' 1 a target shape of {target} is empty; it must have no 0"
        )
    if isinstance(value, Constant):
        old = value.array.shape
        target = [old[i] if d == 0 and i < len(old) else d for i, d in enumerate(target)]
        run.values[node.output] = mapped(value, lambda array: array.reshape(target))
        return
    layout = layout_of(value, node)
    _check_batch(run, node, target)
    shape = tuple(new_shape(node, layout, target))
    run.values[node.output] = relaid(value, lambda old: old.reshaped(shape))


def _check_batch(run: Importer, node: OnnxNode, target: list[int]) -> None:
    """Refuse a number of rows that is not the batch; warn where it fits one batch only."""
    rows, batch = target[0] if target else -1, run.model.batch
    if rows < 1 or rows == batch:
        return
    if batch is not None:
        raise HwsimError(f"{node}: its target shape must keep the batch of {batch}, not {target}")
    if -1 in target[1:]:
        run.warn(
            node.name,
            f"The runtime makes {rows} rows of any batch here (target shape {target}), so that "
            f"batches of other sizes than {rows} come out in another shape; here the batch stays",
        )


def new_shape(node: OnnxNode, layout: Arrangement, target: list[int]) -> list[int]:
    """The target of a Reshape without its batch, all sizes known."""
    what = f"{node}: its target shape must keep the batch and {layout.size} elements, not {target}"
    if not target:
        raise HwsimError(what)
    rest = target[1:]
    for i, d in enumerate(rest):
        if d == 0 and i < len(layout.shape):
            rest[i] = layout.shape[i]
    known = math.prod(d for d in rest if d != -1)
    if rest.count(-1) == 1 and known > 0 and layout.size % known == 0:
        rest[rest.index(-1)] = layout.size // known
    if any(d < 1 for d in rest) or math.prod(rest) != layout.size or target[0] < -1:
        raise HwsimError(what)
    return rest


def flatten(run: Importer, node: OnnxNode) -> None:
    """Flatten after the batch."""
    value = run.value(node, 0)
    if isinstance(value, Constant):
        axis = node.integer("axis", 1)
        rows = math.prod(value.array.shape[:axis])
        run.values[node.output] = mapped(value, lambda array: array.reshape(rows, -1))
        return
    layout = layout_of(value, node)
    axis = node.integer("axis", 1)
    if axis not in (1, -len(layout.shape)):
        raise HwsimError(f"{node}: attribute 'axis' must be 1, not {axis}")
    run.values[node.output] = relaid(value, lambda old: old.reshaped((old.size,)))


def squeeze(run: Importer, node: OnnxNode) -> None:
    """Squeeze: axes of length 1 go, the batch stays."""
    value = run.value(node, 0)
    if isinstance(value, Constant):
        gone = axes(node, run, value.array.ndim) or None
        run.values[node.output] = mapped(value, lambda array: np.squeeze(array, gone))
        return
    layout = layout_of(value, node)
    gone = axes(node, run, len(layout.shape) + 1)
    if not gone and (run.model.batch or 1) == 1:
        run.warn(
            node.name,
            "The runtime takes out the batch's axis too where it has length 1, since 'axes' are "
            "not given; here the batch stays",
        )
    gone = gone or tuple(i + 1 for i, d in enumerate(layout.shape) if d == 1)
    if 0 in gone or any(layout.shape[a - 1] != 1 for a in gone):
        raise HwsimError(f"{node}: squeezed axes must have length 1 and not be the batch")
    shape = tuple(d for i, d in enumerate(layout.shape) if i + 1 not in gone)
    run.values[node.output] = relaid(value, lambda old: old.reshaped(shape))


def unsqueeze(run: Importer, node: OnnxNode) -> None:
    """Unsqueeze: axes of length 1 come, behind the batch."""
    value = run.value(node, 0)
    if isinstance(value, Constant):
        new = axes(node, run, value.array.ndim + added(run, node))
        run.values[node.output] = mapped(value, lambda array: np.expand_dims(array, new))
        return
    layout = layout_of(value, node)
    rank = len(layout.shape) + 1 + added(run, node)
    new = axes(node, run, rank)
    if 0 in new or rank > 8:
        raise HwsimError(f"{node}: new axes must lie behind the batch, not at {new}")
    old = iter(layout.shape)
    shape = tuple(1 if i in new else next(old, 1) for i in range(1, rank))
    run.values[node.output] = relaid(value, lambda was: was.reshaped(shape))


def added(run: Importer, node: OnnxNode) -> int:
    """How many axes an Unsqueeze adds."""
    return int(run.constant(node, 1).array.size) if node.input(1) else len(node.integers("axes"))


def transpose(run: Importer, node: OnnxNode) -> None:
    """Transpose: bookkeeping; whoever reads the tensor decides whether its order is usable."""
    value = run.value(node, 0)
    if isinstance(value, Constant):
        _transposed_constant(run, node, value)
        return
    layout = layout_of(value, node)
    rank = len(layout.shape) + 1
    order = node.integers("perm", range(rank - 1, -1, -1))
    if sorted(order) != list(range(rank)) or order[0] != 0:
        raise HwsimError(f"{node}: attribute 'perm' must permute axes 1 to {rank - 1}, not {order}")
    moved: Shape = tuple(a - 1 for a in order[1:])
    run.values[node.output] = relaid(value, lambda old: old.transposed(moved))


def _transposed_constant(run: Importer, node: OnnxNode, value: Constant) -> None:
    rank = value.array.ndim
    order = node.integers("perm", range(rank - 1, -1, -1))
    if sorted(order) != list(range(rank)):
        raise HwsimError(f"{node}: attribute 'perm' must permute {rank} axes, not be {order}")
    run.values[node.output] = mapped(value, lambda array: array.transpose(order))


def shape_of(run: Importer, node: OnnxNode) -> None:
    """Shape, with -1 for the batch."""
    value = run.value(node, 0)
    shape = (
        value.array.shape if isinstance(value, Constant) else (BATCH, *layout_of(value, node).shape)
    )
    run.values[node.output] = Constant(np.array(shape[shape_part(node)], np.int64))


def shape_part(node: OnnxNode) -> slice:
    """The axes whose sizes a Shape gives: from opset 15 perhaps not all."""
    return slice(node.integer("start", 0), node.integer("end", 1 << 31))


def cast(run: Importer, node: OnnxNode) -> None:
    """Cast of a constant; of codes to floats that mean the codes themselves; or of nothing."""
    from onnx.helper import tensor_dtype_to_np_dtype

    value = run.value(node, 0)
    try:
        to = np.dtype(tensor_dtype_to_np_dtype(node.integer("to", 1)))
    except KeyError:
        raise HwsimError(f"{node}: 'to' must be a type of ONNX") from None
    if isinstance(value, Constant):
        same = value.array.dtype == to
        run.values[node.output] = value if same else Constant(value.array.astype(to))
        return
    if isinstance(value, RawInput) and value.dtype in ELEMENTS:
        fmt = format_of(node, value.dtype)
        if fmt.width > 16:
            raise HwsimError(f"{node}: an input of the graph must have at most 16 bits")
        kind, options = TensorType((), fmt, Quant()), {"element": value.dtype}
        value = run.input_codes(value, kind, options, value.name)
        run.values[node.input(0)] = value
    if isinstance(value, Codes):
        run.values[node.output] = _cast_codes(node, value, to)
        return
    if to != np.float32:
        raise HwsimError(f"{node}: reals must stay float32, not become {to}")
    run.values[node.output] = value


def _cast_codes(node: OnnxNode, codes: Codes, to: np.dtype[Any]) -> Value:
    """Codes as reals, or in an integer type that holds them all."""
    if to == np.float32 and codes.format.width <= 24:
        # The runtime computes in floats behind a Cast, so a quantizer has to come before any layer.
        return Real(Level(codes, 1.0, 0), codes.layout, (Unary(str(node), np.copy, rising=True),))
    if to.kind in "iu":
        info, fmt = np.iinfo(to), codes.format
        if info.min <= fmt.min and fmt.max <= info.max:
            return codes
    raise HwsimError(f"{node}: codes of {codes.format} must not become {to}")
