"""Max and average pools."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TypeVar, cast

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.frontends.onnx.importer import Importer
from hwsim.frontends.onnx.model import OnnxNode
from hwsim.frontends.onnx.ort.kernels import RuntimeKernel
from hwsim.frontends.onnx.shape import axes
from hwsim.frontends.onnx.window import (
    added_padding,
    as_map,
    declared_pads,
    dilated_taps,
    grown_by,
    is_map,
    map_level,
    window_of,
)
from hwsim.frontends.shared import moves
from hwsim.frontends.shared.arrangement import Arrangement
from hwsim.frontends.shared.maps import MAPS
from hwsim.frontends.shared.values import (
    NO_PADDING,
    Codes,
    Level,
    Mean,
    Padding,
    Pool,
    Real,
)
from hwsim.ops import MaxPool, TensorType, Window
from hwsim.ops.base import IntArray, Shape

Held = TypeVar("Held", Codes, Real)
MOST_UNEVEN = 1 << 17  # outputs of an average that each have a factor of their own


def max_pool(run: Importer, node: OnnxNode) -> None:
    """MaxPool, on codes or on floats."""
    if len(node.outputs) > 1 and node.outputs[1]:
        raise HwsimError(f"{node}: its second output (indices) is not supported")
    value, kernel = run.value(node, 0), node.integers("kernel_shape")
    if isinstance(value, Codes):
        if not is_map(value.layout.shape):
            raise HwsimError(f"{node}: its input must be a map {MAPS}")
        codes = run.arranged(value, Arrangement.map(value.layout.shape), node)
        codes, window = _windowed(run, node, codes, kernel)
        edge = run.emit(node.name, MaxPool(window=window), [codes.edge], node.output)
        *places, channels = run.types[edge].shape
        layout = Arrangement.map((channels, *places))
        run.values[node.output] = replace(codes, edge=edge, layout=layout)
        return
    real, window = _windowed(run, node, as_map(run, node, run.real(node, 0)), kernel)
    run.values[node.output] = pooled(node, real, real.layout.shape, window)


def _windowed(run: Importer, node: OnnxNode, value: Held, kernel: Shape) -> tuple[Held, Window]:
    """The window of a max pool, and what it goes over: dilated windows, one beside the other."""
    shape = value.layout.shape
    if set(node.integers("dilations", (1,))) == {1}:
        return value, window_of(node, shape, kernel)
    if len(kernel) != len(shape) - 1:
        raise HwsimError(f"{node}: 'kernel_shape' must have {len(shape) - 1} numbers, not {kernel}")
    taps: list[list[int]] = dilated_taps(node, shape, kernel)
    way = moves.selected(value.layout, [None, *taps])
    beside = moves.gone(run, value, way, f"{node.name}.windows", f"{node.output}.windows")
    return cast("Held", beside), Window(kernel, kernel)


def pooled(node: OnnxNode, real: Real, shape: Shape, window: Window) -> Real:
    """A max pool still to come, with the layout that it will leave."""
    size = window.output(TensorType((*shape[1:], shape[0]), Format.int(8)))
    layout = Arrangement.map((shape[0], *size))
    return replace(real.then(Pool(str(node), window)), layout=layout)


def global_max_pool(run: Importer, node: OnnxNode) -> None:
    """GlobalMaxPool."""
    real = as_map(run, node, run.real(node, 0))
    shape = real.layout.shape
    run.values[node.output] = pooled(node, real, shape, Window(shape[1:]))


def average(run: Importer, node: OnnxNode, real: Real, *, whole: bool) -> Real:
    """The average behind AveragePool, GlobalAveragePool and their integer forms."""
    level, shape = map_level(run, node, real)
    extra = level.codes.padding
    level = replace(level, codes=replace(level.codes, padding=NO_PADDING))
    if not whole and set(node.integers("dilations", (1,))) != {1}:
        return _dilated(run, node, level, shape, extra)
    if whole:
        window = Window(shape[1:])
    else:
        window = window_of(node, shape, node.integers("kernel_shape"), extra)
    if whole and extra != NO_PADDING:
        raise HwsimError(f"{node}: a Pad must be followed by a convolution")
    layout = Arrangement.map((shape[0], *window.output(run.types[level.codes.edge])))
    # The runtime's own shortcut: a pool that covers its unpadded input is a global one.
    whole = whole or (window.kernel == shape[1:] and not any(window.padding))
    in_reals = run.choice(node.output).kernel is not RuntimeKernel.INTEGER
    counts = None if whole else _counts(node, shape, window, extra)
    if counts is not None and counts.max() > counts.min() and layout.size > MOST_UNEVEN:
        raise HwsimError(
            f"{node}: an average whose windows differ in size must have at most {MOST_UNEVEN} "
            f"outputs, not {layout.size}; 'count_include_pad' 1 makes them alike"
        )
    if in_reals and not whole and _reaches_out(node, shape, window, extra):
        raise HwsimError(
            f"{node}: 'ceil_mode' 1 must add no window that reaches beyond padding that counts, "
            "since it is averaged in float32 here, by another count than integer kernels have"
        )
    mean = Mean(node.name, node.output, level, window, whole, in_reals, counts, run.in_turn)
    return Real(mean, layout)


def _dilated(run: Importer, node: OnnxNode, level: Level, shape: Shape, extra: Padding) -> Real:
    """An average over windows with gaps: what each meets stands side by side, zeros around it."""
    if extra != NO_PADDING:
        raise HwsimError(f"{node}: a Pad before windows with gaps must be followed by a quantizer")
    kernel, rank = node.integers("kernel_shape"), len(shape) - 1
    apart, strides = node.integers("dilations"), node.integers("strides", (1,) * rank)
    if not len(kernel) == len(apart) == len(strides) == rank or min(*kernel, *apart, *strides) < 1:
        raise HwsimError(
            f"{node}: its 'kernel_shape', 'dilations' and 'strides' must be {rank} numbers from 1"
        )
    window = window_of(
        node, shape, tuple((k - 1) * d + 1 for k, d in zip(kernel, apart, strict=True))
    )
    taps, counts = [], np.ones((), np.int64)
    for size, k, d, stride, (before, after) in zip(
        shape[1:], kernel, apart, window.stride, window.ends, strict=True
    ):
        starts = range(0, before + size + after - (k - 1) * d, stride)
        met = np.array([[start + tap * d for tap in range(k)] for start in starts])
        taps.append(met.ravel().tolist())
        inside = ((met >= before) & (met < before + size)).sum(axis=1)
        counts = np.multiply.outer(counts, inside)
    frame = [(0, 0, 0), *((before, after, 0) for before, after in window.ends)]
    name, out = f"{node.name}.windows", f"{node.output}.windows"
    codes = moves.padded(run, level.codes, frame, level.zero_point, f"{name}.frame", f"{out}.frame")
    way = moves.selected(codes.layout, [None, *taps])
    beside = moves.gone(run, codes, way, name, out)
    assert isinstance(beside, Codes)
    even = bool(node.integer("count_include_pad", 0)) or bool((counts == math.prod(kernel)).all())
    if not even and counts.size * shape[0] > MOST_UNEVEN:
        raise HwsimError(f"{node}: its windows must all have the same size: 'count_include_pad' 1")
    mean = Mean(
        node.name,
        node.output,
        replace(level, codes=beside),
        Window(kernel, kernel),
        whole=False,
        in_reals=True,
        counts=None if even else counts,
        in_turn=run.in_turn,
    )
    return Real(mean, Arrangement.map((shape[0], *counts.shape)))


def _counts(node: OnnxNode, shape: Shape, window: Window, extra: Padding) -> IntArray | None:
    """How many elements each position averages; None where that is the size of the window.

    Padding that counts makes it the size everywhere, even for a last window that `ceil_mode` lets
    reach beyond it (ONNX Runtime's QLinearAveragePool; its float operator counts only what there
    is).
    """
    if node.integer("count_include_pad", 0):
        return None
    rank, counts = len(window.kernel), np.ones((), np.int64)
    extra = extra or (0,) * (2 * rank)
    for axis, (size, kernel, stride, (before, after)) in enumerate(
        zip(shape[1:], window.kernel, window.stride, window.ends, strict=True)
    ):
        starts = np.arange((size + before + after - kernel) // stride + 1) * stride - before
        ends = np.minimum(starts + kernel, size + extra[axis + rank])
        counts = np.multiply.outer(counts, ends - np.maximum(starts, -extra[axis]))
    return None if (counts == window.size).all() else counts


def _reaches_out(node: OnnxNode, shape: Shape, window: Window, extra: Padding) -> bool:
    """Whether padding counts and `ceil_mode` adds to it."""
    pads = declared_pads(node, grown_by(shape, extra), window.kernel, window.stride)
    wanted = added_padding(pads, extra)
    return bool(node.integer("count_include_pad", 0)) and window.padding != wanted


def average_pool(run: Importer, node: OnnxNode) -> None:
    """AveragePool."""
    run.values[node.output] = average(run, node, run.real(node, 0), whole=False)


def global_average_pool(run: Importer, node: OnnxNode) -> None:
    """GlobalAveragePool."""
    run.values[node.output] = average(run, node, run.real(node, 0), whole=True)


def reduce_mean(run: Importer, node: OnnxNode) -> None:
    """ReduceMean over a map's axes, channels apart."""
    real = run.real(node, 0)
    rank = len(real.layout.shape) + 1
    if rank not in (3, 4) or sorted(axes(node, run, rank)) != list(range(2, rank)):
        raise HwsimError(
            f"{node}: it must average over height and width (axes 2 and 3) of a map, or over the "
            "length (axis 2) of a line"
        )
    if run.choices is None:  # else notes.py says it, where it makes a difference
        run.note(node.name, "{runtime} averages in float32; the exact average is rounded here")
    out = average(run, node, real, whole=True)
    if not node.integer("keepdims", 1):
        out = replace(out, layout=out.layout.reshaped(out.layout.shape[:1]))
    run.values[node.output] = out
