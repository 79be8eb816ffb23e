"""What is computed of constants alone while a model is read: shapes, mostly."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.onnx.importer import Importer
from hwsim.frontends.onnx.model import OnnxNode
from hwsim.frontends.shared.builder import MAX_ELEMENTS
from hwsim.frontends.shared.values import Constant
from hwsim.ops.base import IntArray

MAX_POWERS = 1 << 20  # of constants, one by one


def mapped(value: Constant, move: Callable[[Any], Any]) -> Constant:
    """A constant whose elements moved: its codes too, and the scale of each."""
    array = move(value.array)
    if value.codes is None or value.scale is None:
        return Constant(array)
    codes: IntArray = move(value.codes)
    scale = np.asarray(move(np.broadcast_to(value.scale, value.codes.shape)))
    for axis in range(scale.ndim):  # one scale where all along an axis are alike
        first = np.take(scale, [0], axis=axis) if scale.shape[axis] else scale
        scale = first if (scale == first).all() else scale
    return Constant(array, codes, value.format, scale, value.shifted, value.zero_point)


def constant(run: Importer, node: OnnxNode) -> None:
    """Constant."""
    for name in ("value", "value_int", "value_float", "value_ints", "value_floats"):
        if name in node.attributes:
            value = np.asarray(node.attributes[name])
            narrow = {"f": np.float32, "i": np.int64}.get(
                value.dtype.kind if name != "value" else ""
            )
            run.values[node.output] = Constant(value.astype(narrow) if narrow else value)
            return
    raise HwsimError(f"{node}: it must have a numeric value")


def powers(node: OnnxNode, base: Any, exponent: Any) -> Any:
    """A constant to the power of another, as the runtime's: cubes by products, others by powf."""
    shape = np.broadcast_shapes(base.shape, exponent.shape)
    if math.prod(shape) > MAX_POWERS:
        raise HwsimError(f"{node}: its result must have at most {MAX_POWERS} elements")
    with np.errstate(all="ignore"):
        if base.dtype != np.float32:
            made = np.power(base.astype(np.float64), exponent.astype(np.float64))
            return made.astype(base.dtype)
        if exponent.size == 1 and float(exponent.ravel()[0]) in (2.0, 3.0):
            square = base * base
            made = square if float(exponent.ravel()[0]) == 2.0 else square * base
            return np.broadcast_to(made, shape)
        pairs = np.broadcast_arrays(base, exponent.astype(np.float32))
        each = [x**y for x, y in zip(*(p.ravel() for p in pairs), strict=True)]  # scalars: libm's
        return np.array(each, np.float32).reshape(shape)


def constant_of_shape(run: Importer, node: OnnxNode) -> None:
    """ConstantOfShape with a constant shape."""
    shape = tuple(int(d) for d in run.constant(node, 0).array.ravel())
    if any(d < 0 for d in shape) or math.prod(shape) > MAX_ELEMENTS:
        raise HwsimError(f"{node}: its result must have at most {MAX_ELEMENTS} elements")
    value = np.asarray(node.attributes.get("value", np.zeros(1, np.float32))).ravel()
    run.values[node.output] = Constant(np.full(shape, value[0]))


def modulo(run: Importer, node: OnnxNode) -> None:
    """Mod of constants; what is left has the divisor's sign, or with `fmod` 1 the dividend's."""
    a, b = (run.constant(node, position).array for position in (0, 1))
    if math.prod(np.broadcast_shapes(a.shape, b.shape)) > MAX_ELEMENTS or not b.all():
        raise HwsimError(
            f"{node}: its result must have at most {MAX_ELEMENTS} elements, and no divisor be 0"
        )
    run.values[node.output] = Constant((np.fmod if node.integer("fmod", 0) else np.mod)(a, b))


def evaluated(run: Importer, node: OnnxNode) -> None:
    """Range, Size, ReduceProd and ScatterND of constants, as exporters compute shapes by them."""
    arrays = [run.constant(node, i).array for i, name in enumerate(node.inputs) if name]
    found: Any
    match node.op:
        case "Range":
            start, stop, step = (array.reshape(())[()] for array in arrays)
            if not step or abs(float(stop) - float(start)) / abs(float(step)) > MAX_ELEMENTS:
                raise HwsimError(
                    f"{node}: its step must not be 0, and its result have at most {MAX_ELEMENTS} "
                    "elements"
                )
            count = max(math.ceil((float(stop) - float(start)) / float(step)), 0)
            found = (start + np.arange(count) * step).astype(arrays[0].dtype)
        case "Size":
            found = np.array(arrays[0].size, np.int64)
        case "ReduceProd":
            axes = node.integers("axes") or tuple(int(a) for a in arrays[1:2] for a in a.ravel())
            keep = bool(node.integer("keepdims", 1))
            found = arrays[0].prod(axis=axes or None, keepdims=keep, dtype=arrays[0].dtype)
        case _:
            if node.text("reduction", "none") != "none":
                raise HwsimError(f"{node}: 'reduction' must be none")
            found = arrays[0].copy()
            found[tuple(np.moveaxis(arrays[1], -1, 0))] = arrays[2]
    run.values[node.output] = Constant(np.asarray(found))


def fold(run: Importer, node: OnnxNode) -> None:
    """Gather and Slice of constants only."""
    values = [run.constant(node, i) for i, name in enumerate(node.inputs) if name]
    arrays = [value.array for value in values]
    if node.op == "Gather":
        places, axis = arrays[1].astype(np.int64), node.integer("axis", 0)
        if arrays[0].size // max(arrays[0].shape[axis], 1) * places.size > MAX_ELEMENTS:
            raise HwsimError(f"{node}: its result must have at most {MAX_ELEMENTS} elements")
        out = mapped(values[0], lambda array: np.take(array, places, axis=axis))
    else:
        given = [
            run.constant(node, i).array if name else None for i, name in enumerate(node.inputs)
        ]
        cut = [slice(None)] * arrays[0].ndim
        for place, wanted in slices(node, given[1:]):
            cut[place] = wanted
        out = mapped(values[0], lambda array: array[tuple(cut)])
    run.values[node.output] = out


def slices(node: OnnxNode, arrays: Sequence[Any]) -> list[tuple[int, slice]]:
    """What a Slice takes of which axis; `arrays` are its inputs behind the first, None if left out.

    Ends that count from the back are below 0, as for a slice of Python.
    """
    if not arrays:
        starts, ends = node.integers("starts"), node.integers("ends")
        along: Sequence[int] = node.integers("axes", range(len(starts)))
        steps: Sequence[int] = (1,) * len(starts)
    else:
        given = [None if a is None else tuple(int(v) for v in a.ravel()) for a in arrays]
        given += [None] * (4 - len(given))
        if given[0] is None or given[1] is None:
            raise HwsimError(f"{node}: its starts and ends must be there")
        starts, ends = given[0], given[1]
        along = range(len(starts)) if given[2] is None else given[2]
        steps = (1,) * len(starts) if given[3] is None else given[3]
    if not len(starts) == len(ends) == len(along) == len(steps):
        raise HwsimError(
            f"{node}: its starts, ends, axes and steps must be as many, not {len(starts)}, "
            f"{len(ends)}, {len(along)} and {len(steps)}"
        )
    return [
        (axis, slice(start, end, step))
        for start, end, axis, step in zip(starts, ends, along, steps, strict=True)
    ]
