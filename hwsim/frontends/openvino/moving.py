"""Layers of an IR that move elements, and shapes computed of constants, as nodes of ONNX."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.onnx.model import Attribute
from hwsim.frontends.openvino.lowering import DTYPES, IrConstant, Lowering, Rule
from hwsim.frontends.openvino.model import IrLayer

END = (1 << 31) - 1  # of a slice that takes all
LONGEST = 1 << 16  # of a Range, which a few bytes of a file can ask for


def held_rule(compute: Any, plain: Rule) -> Rule:
    """A rule that computes of a constant, and else is another."""

    def rule(state: Lowering, layer: IrLayer) -> None:
        held = state.constant(layer, 0)
        if held is None:
            plain(state, layer)
        else:
            state.held[layer.id, 0] = compute(state, layer, held)

    return rule


def _shaped(state: Lowering, layer: IrLayer, held: IrConstant) -> IrConstant:
    """A constant under the shape of the layer's output, as the file has it."""
    shape = layer.outputs[0].shape
    if any(size is None for size in shape):
        raise HwsimError(f"{layer}: the shape of a constant must be known")
    sizes = [int(size) for size in shape if size is not None]

    def scaled(scale: Any) -> Any:
        if scale.size == 1:
            return scale.reshape((1,) * len(sizes))
        whole = np.broadcast_to(scale, held.array.shape).reshape(sizes)
        for axis in range(len(sizes)):
            first = whole.take([0], axis=axis)
            whole = first if (first == whole).all() else whole
        return whole

    return held.changed(lambda array: array.reshape(sizes), scaled)


def reshape(state: Lowering, layer: IrLayer) -> None:
    """Reshape, Squeeze and Unsqueeze by constants, and others whose output's shape is known."""
    shape = [-1 if size is None else size for size in layer.outputs[0].shape]
    given = state.constant(layer, 1)
    if layer.kind == "Reshape" and given is not None:
        target = [int(value) for value in given.array.ravel()]
        if layer.flag("special_zero", "true"):
            before = state.shape(layer, 0)
            known = [before[i] if v == 0 and i < len(before) else v for i, v in enumerate(target)]
            target = [-1 if value is None else value for value in known]
        target = _rest(target, state.shape(layer, 0)) or target
    else:
        target = shape
    if target.count(-1) > 1 or (target and target.count(-1) == 1 and target[0] != -1):
        target = shape
    if target.count(-1) > 1:
        raise HwsimError(f"{layer}: its target shape must be known but for the batch")
    name = state.new(layer, "shape", np.array(target, np.int64))
    state.node(layer, "Reshape", [state.tensor(layer, 0), name])


def _rest(target: list[int], before: tuple[int | None, ...]) -> list[int] | None:
    """A target of an open batch and another size that follows from the rest; None for others."""
    open_places = [place for place, size in enumerate(target) if size == -1]
    known = [size for size in before[1:] if size is not None]
    given = math.prod(size for size in target if size != -1)
    if len(open_places) != 2 or open_places[0] or len(known) != len(before) - 1 or given < 1:
        return None
    size, left = divmod(math.prod(known), given)
    if left or before[0] is not None:
        return None
    return [size if place == open_places[1] else old for place, old in enumerate(target)]


def _turned(state: Lowering, layer: IrLayer, held: IrConstant) -> IrConstant:
    order = state.integers(layer, 1) or list(range(held.array.ndim))[::-1]
    return held.changed(lambda a: a.transpose(order), lambda a: a.transpose(order))


def _transpose(state: Lowering, layer: IrLayer) -> None:
    order = state.integers(layer, 1) or list(range(len(state.shape(layer, 0))))[::-1]
    state.node(layer, "Transpose", [state.tensor(layer, 0)], {"perm": order})


reshaped = held_rule(_shaped, reshape)
transposed = held_rule(_turned, _transpose)


def concat(state: Lowering, layer: IrLayer) -> None:
    """Concat."""
    axis = layer.integer("axis")
    given = [state.constant(layer, place) for place in range(len(layer.inputs))]
    arrays = [held.array for held in given if held is not None]
    if len(arrays) == len(given):
        state.held[layer.id, 0] = IrConstant(np.concatenate(arrays, axis=axis))
        return
    names = [state.tensor(layer, place) for place in range(len(given))]
    state.node(layer, "Concat", names, {"axis": axis})


def split(state: Lowering, layer: IrLayer) -> None:
    """Split into equal parts, and VariadicSplit."""
    axis = state.integers(layer, 1)[0]
    whole = state.shape(layer, 0)
    size = whole[axis]
    if size is None:
        raise HwsimError(f"{layer}: the axis that is split must have a known length")
    if layer.kind == "Split":
        count = layer.integer("num_splits")
        lengths = [size // count] * count
    else:
        lengths = state.integers(layer, 2)
        lengths = [size - sum(v for v in lengths if v > 0) if v < 0 else v for v in lengths]
    made = [state.made(layer, place) for place in range(len(layer.outputs))]
    held = state.constant(layer, 0)
    if held is not None:
        parts = np.split(held.array, np.cumsum(lengths)[:-1], axis=axis)
        for place, part in enumerate(parts):
            state.held[layer.id, place] = IrConstant(part)
        return
    sizes = state.new(layer, "lengths", np.array(lengths, np.int64))
    state.node(layer, "Split", [state.tensor(layer, 0), sizes], {"axis": axis}, outputs=made)


def _mask(layer: IrLayer, name: str, size: int) -> list[int]:
    found = list(layer.integers(name, ""))[:size]
    return found + [0] * (size - len(found))


def strided_slice(state: Lowering, layer: IrLayer) -> None:
    """StridedSlice: a slice along the first axes, of which some may go or be new."""
    begin, end = state.integers(layer, 1), state.integers(layer, 2)
    count = len(begin)
    step = state.integers(layer, 3) if len(layer.inputs) > 3 else [1] * count
    if any(_mask(layer, "ellipsis_mask", count)) or any(_mask(layer, "new_axis_mask", count)):
        raise HwsimError(f"{layer}: its slices must name the axes in order, with no new one")
    gone = _mask(layer, "shrink_axis_mask", count)
    opened = _mask(layer, "begin_mask", count), _mask(layer, "end_mask", count)
    slices = []
    for first, last, by, free, until, goes in zip(begin, end, step, *opened, gone, strict=True):
        if goes:
            slices.append((first, first + 1 if first != -1 else END, 1))
            continue
        start = (0 if by > 0 else END) if free else first
        stop = (END if by > 0 else -END) if until else last
        slices.append((start, stop, by))
    held = state.constant(layer, 0)
    axes = [axis for axis, goes in enumerate(gone) if goes]
    if held is not None:
        wanted = tuple(_slice(part) for part in slices)
        array = held.array[wanted]
        state.held[layer.id, 0] = IrConstant(array.squeeze(tuple(axes)))
        return
    _sliced(state, layer, slices, list(range(count)), axes)


def _slice(part: tuple[int, int, int]) -> slice:
    start, stop, step = part
    return slice(start, None if stop in (END, -END) else stop, step)


def _sliced(
    state: Lowering,
    layer: IrLayer,
    slices: Sequence[tuple[int, int, int]],
    axes: list[int],
    gone: list[int],
) -> None:
    kept = [(axis, part) for axis, part in zip(axes, slices, strict=True) if part != (0, END, 1)]
    names = [state.tensor(layer, 0)]
    for what, place in (("starts", 0), ("ends", 1)):
        values = np.array([part[place] for _, part in kept], np.int64)
        names.append(state.new(layer, what, values))
    names.append(state.new(layer, "axes", np.array([axis for axis, _ in kept], np.int64)))
    names.append(state.new(layer, "steps", np.array([part[2] for _, part in kept], np.int64)))
    if not gone:
        state.node(layer, "Slice", names)
        return
    cut = state.node(layer, "Slice", names, outputs=[state.between(layer, "cut")])
    removed = state.new(layer, "gone", np.array(gone, np.int64))
    state.node(layer, "Squeeze", [cut, removed])


def slice_rule(state: Lowering, layer: IrLayer) -> None:
    """Slice, by the same inputs as ONNX's, the axes behind the steps."""
    begin, end, step = (state.integers(layer, place) for place in (1, 2, 3))
    axes = state.integers(layer, 4) if len(layer.inputs) > 4 else list(range(len(begin)))
    slices = list(zip(begin, end, step, strict=True))
    held = state.constant(layer, 0)
    if held is None:
        _sliced(state, layer, slices, axes, [])
        return
    wanted: list[slice] = [slice(None)] * held.array.ndim
    for axis, part in zip(axes, slices, strict=True):
        wanted[axis] = slice(*part)
    state.held[layer.id, 0] = IrConstant(held.array[tuple(wanted)])


def gather(state: Lowering, layer: IrLayer) -> None:
    """Gather by constant indices along a constant axis."""
    axis = state.integers(layer, 2)[0]
    if int(layer.text("batch_dims", "0")):
        raise HwsimError(f"{layer}: 'batch_dims' must be 0")
    indices, held = state.values(layer, 1), state.constant(layer, 0)
    if held is not None:
        state.held[layer.id, 0] = IrConstant(
            np.take(held.array, indices.astype(np.int64), axis=axis)
        )
        return
    name = state.new(layer, "indices", indices.astype(np.int64))
    state.node(layer, "Gather", [state.tensor(layer, 0), name], {"axis": axis})


def shape_of(state: Lowering, layer: IrLayer) -> None:
    """ShapeOf: a batch that is open counts as -1, which a Reshape keeps open."""
    shape = [-1 if size is None else size for size in state.shape(layer, 0)]
    state.held[layer.id, 0] = IrConstant(np.array(shape, np.int64))


def pad(state: Lowering, layer: IrLayer) -> None:
    """Pad by constants."""
    modes = {"constant": "constant", "edge": "edge", "reflect": "reflect"}
    mode = layer.text("pad_mode").lower()
    if mode not in modes:
        raise HwsimError(
            f"{layer}: 'pad_mode' must be one of {', '.join(modes)}, not {mode[:20]!r}"
        )
    amounts = [*state.integers(layer, 1), *state.integers(layer, 2)]
    names = [state.tensor(layer, 0), state.new(layer, "pads", np.array(amounts, np.int64))]
    if len(layer.inputs) > 3:
        value = state.values(layer, 3).reshape(())
        names.append(state.new(layer, "value", value.astype(np.float32)))
    state.node(layer, "Pad", names, {"mode": modes[mode]})


def counted(state: Lowering, layer: IrLayer) -> None:
    """Range of constants, as in the axes of ONNX's global averages; HwsimError where it is long."""
    start, stop, step = (float(state.values(layer, place).reshape(())) for place in (0, 1, 2))
    if not step or not np.isfinite([start, stop, step]).all() or (stop - start) / step > LONGEST:
        raise HwsimError(f"{layer}: it must count up to {LONGEST} numbers")
    dtype = DTYPES[layer.outputs[0].element]
    state.held[layer.id, 0] = IrConstant(np.arange(start, stop, step).astype(dtype))


def broadcast(state: Lowering, layer: IrLayer) -> None:
    """Broadcast of a constant to a known shape."""
    held = state.constant(layer, 0)
    if held is None:
        raise HwsimError(f"{layer}: its input must be constant")
    state.held[layer.id, 0] = IrConstant(np.broadcast_to(held.array, state.integers(layer, 1)))


def blocks(op: str) -> Rule:
    """A rule of DepthToSpace and SpaceToDepth."""

    def rule(state: Lowering, layer: IrLayer) -> None:
        size, mode = layer.integer("block_size", "1"), layer.text("mode")
        found: dict[str, Attribute] = {"blocksize": size}
        if op == "DepthToSpace":
            found["mode"] = {"blocks_first": "DCR", "depth_first": "CRD"}.get(mode, mode)
        elif mode != "blocks_first":
            raise HwsimError(f"{layer}: 'mode' must be blocks_first, not {mode[:20]!r}")
        state.node(layer, op, [state.tensor(layer, 0)], found)

    return rule
