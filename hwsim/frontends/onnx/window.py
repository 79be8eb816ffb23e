"""Kernels, strides and padding; max and average pools."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.frontends.onnx.importer import Importer
from hwsim.frontends.onnx.model import OnnxNode
from hwsim.frontends.onnx.ort.kernels import RuntimeKernel
from hwsim.frontends.onnx.shape import axes
from hwsim.frontends.shared.arrangement import Arrangement
from hwsim.frontends.shared.builder import MAX_ELEMENTS
from hwsim.frontends.shared.settling import level_of
from hwsim.frontends.shared.values import (
    NO_PADDING,
    Codes,
    Level,
    Mean,
    Padding,
    Pool,
    RawInput,
    Real,
)
from hwsim.ops import MaxPool, TensorType, Window
from hwsim.ops.base import IntArray

MOST_UNEVEN = 1 << 17  # outputs of an average that each have a factor of their own


def map_level(run: Importer, node: OnnxNode, real: Real) -> tuple[Level, tuple[int, int, int]]:
    """The codes behind a map (channels, height, width) that is only dequantized."""
    level = level_of(run, node, real)
    if len(real.layout.shape) != 3:
        raise HwsimError(
            f"{node}: its input must be (batch, channels, height, width), not of rank "
            f"{len(real.layout.shape) + 1}"
        )
    codes = run.standard(replace(level.codes, layout=real.layout), node)
    channels, height, width = real.layout.shape
    return replace(level, codes=codes), (channels, height, width)


def as_map(run: Importer, node: OnnxNode, real: Real) -> Real:
    """A map that lies as operators on maps expect it."""
    source, layout = real.source, real.layout
    if isinstance(source, Level):
        if source.codes.padding != NO_PADDING:
            raise HwsimError(f"{node}: a Pad must be followed by a convolution")
        moved = len(layout.shape) == 3 and not layout.same(Arrangement.channels_last(layout.shape))
        pooled = any(isinstance(step, Pool) for step in real.steps)
        if len(layout.shape) == 3 and moved and not pooled:
            codes = run.standard(replace(source.codes, layout=layout), node)
            return replace(real, source=replace(source, codes=codes), layout=codes.layout)
    if len(layout.shape) != 3 or not layout.same(Arrangement.channels_last(layout.shape)):
        raise HwsimError(f"{node}: its input must be a map (batch, channels, height, width)")
    return real


def window_of(
    node: OnnxNode, shape: tuple[int, ...], kernel: tuple[int, ...], extra: Padding = NO_PADDING
) -> Window:
    """RuntimeKernel, strides and padding of an ONNX operator on (channels, height, width)."""
    strides = node.integers("strides", (1, 1))
    if len(kernel) != 2 or len(strides) != 2 or min(*kernel, *strides) < 1:
        raise HwsimError(f"{node}: kernel and strides must be two numbers from 1 each")
    grown = (shape[0], shape[1] + extra[0] + extra[2], shape[2] + extra[1] + extra[3])
    pads = declared_pads(node, grown, kernel, strides)
    if node.integer("ceil_mode", 0):
        pads = _ceiled(grown, kernel, strides, pads)
    top, left, bottom, right = (p + e for p, e in zip(pads, extra, strict=True))
    if (shape[1] + top + bottom) * (shape[2] + left + right) * shape[0] > MAX_ELEMENTS:
        raise HwsimError(f"{node}: its padded input must have at most {MAX_ELEMENTS} elements")
    return Window((kernel[0], kernel[1]), (strides[0], strides[1]), (top, left, bottom, right))


def declared_pads(
    node: OnnxNode, shape: tuple[int, ...], kernel: tuple[int, ...], strides: tuple[int, ...]
) -> tuple[int, ...]:
    """Padding (top, left, bottom, right) as `pads` or `auto_pad` ask for it."""
    pads = node.integers("pads", NO_PADDING)
    auto = node.text("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        pads = _same(shape, kernel, strides, upper=auto == "SAME_UPPER")
    elif auto not in ("NOTSET", "VALID", ""):
        raise HwsimError(f"{node}: 'auto_pad' must be known, not {auto!r}")
    if len(pads) != 4 or min(pads) < 0:
        raise HwsimError(f"{node}: 'pads' must be four numbers from 0, not {pads}")
    return pads


def _same(
    shape: tuple[int, ...], kernel: tuple[int, ...], strides: tuple[int, ...], *, upper: bool
) -> Padding:
    pads = []
    for size, k, s in zip(shape[1:], kernel, strides, strict=True):
        total = max((-(-size // s) - 1) * s + k - size, 0)
        small, large = total // 2, total - total // 2
        pads.append((small, large) if upper else (large, small))
    return pads[0][0], pads[1][0], pads[0][1], pads[1][1]


def _ceiled(
    shape: tuple[int, ...], kernel: tuple[int, ...], strides: tuple[int, ...], pads: tuple[int, ...]
) -> Padding:
    """Padding at the end so that the last, partial window counts, if it starts inside."""
    ends = []
    for i, (size, k, s) in enumerate(zip(shape[1:], kernel, strides, strict=True)):
        before, after = pads[i], pads[i + 2]
        windows = -(-(size + before + after - k) // s) + 1
        if (windows - 1) * s >= size + before:
            windows -= 1
        ends.append(max((windows - 1) * s + k - size - before, after))
    return pads[0], pads[1], ends[0], ends[1]


def dilated(node: OnnxNode, taps: IntArray) -> IntArray:
    """A kernel (height, width, ...) with zeros between its taps."""
    dilations = node.integers("dilations", (1, 1))
    if len(dilations) != 2 or min(dilations) < 1:
        raise HwsimError(f"{node}: 'dilations' must be two numbers from 1, not {dilations}")
    if dilations == (1, 1):
        return taps
    height, width = ((n - 1) * d + 1 for n, d in zip(taps.shape, dilations, strict=False))
    if height * width * math.prod(taps.shape[2:]) > MAX_ELEMENTS:
        raise HwsimError(f"{node}: its dilated kernel must have at most {MAX_ELEMENTS} elements")
    out = np.zeros((height, width, *taps.shape[2:]), np.int64)
    out[:: dilations[0], :: dilations[1]] = taps
    return out


def max_pool(run: Importer, node: OnnxNode) -> None:
    """MaxPool, on codes or on floats."""
    if len(node.outputs) > 1 and node.outputs[1]:
        raise HwsimError(f"{node}: its second output (indices) is not supported")
    if node.integers("dilations", (1, 1)) != (1, 1):
        raise HwsimError(f"{node}: 'dilations' must be 1")
    value = run.value(node, 0)
    if isinstance(value, Codes):
        codes = run.standard(value, node)
        window = window_of(node, codes.layout.shape, node.integers("kernel_shape"))
        edge = run.emit(node.name, MaxPool(window=window), [codes.edge], node.output)
        height, width, channels = run.types[edge].shape
        layout = Arrangement.channels_last((channels, height, width))
        run.values[node.output] = replace(codes, edge=edge, layout=layout)
        return
    real = as_map(run, node, run.real(node, 0))
    shape = real.layout.shape
    window = window_of(node, shape, node.integers("kernel_shape"))
    run.values[node.output] = pooled(node, real, shape, window)


def pooled(node: OnnxNode, real: Real, shape: tuple[int, ...], window: Window) -> Real:
    """A max pool still to come, with the layout that it will leave."""

    size = window.output(TensorType((shape[1], shape[2], shape[0]), Format.int(8)))
    layout = Arrangement.channels_last((shape[0], *size))
    return replace(real.then(Pool(str(node), window)), layout=layout)


def global_max_pool(run: Importer, node: OnnxNode) -> None:
    """GlobalMaxPool."""
    real = as_map(run, node, run.real(node, 0))
    shape = real.layout.shape
    run.values[node.output] = pooled(node, real, shape, Window((shape[1], shape[2])))


def average(run: Importer, node: OnnxNode, real: Real, *, whole: bool) -> Real:
    """The average behind AveragePool, GlobalAveragePool and their integer forms."""
    level, shape = map_level(run, node, real)
    extra = level.codes.padding
    level = replace(level, codes=replace(level.codes, padding=NO_PADDING))
    if whole:
        window = Window((shape[1], shape[2]))
    else:
        if node.integers("dilations", (1, 1)) != (1, 1):
            raise HwsimError(f"{node}: 'dilations' must be 1")
        window = window_of(node, shape, node.integers("kernel_shape"), extra)
    if whole and extra != NO_PADDING:
        raise HwsimError(f"{node}: a Pad must be followed by a convolution")
    height, width = window.output(run.types[level.codes.edge])
    layout = Arrangement.channels_last((shape[0], height, width))
    # The runtime's own shortcut: a pool that covers its unpadded input is a global one.
    whole = whole or (window.kernel == (shape[1], shape[2]) and window.padding == NO_PADDING)
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
            "since ONNX Runtime averages in float32 here, by another count than its integer kernels"
        )
    mean = Mean(node.name, node.output, level, window, whole, in_reals, counts)
    return Real(mean, layout)


def _counts(
    node: OnnxNode, shape: tuple[int, ...], window: Window, extra: Padding
) -> IntArray | None:
    """How many elements each position averages; None where that is the size of the window.

    Padding that counts makes it the size everywhere, even for a last window that `ceil_mode` lets
    reach beyond it (ONNX Runtime's QLinearAveragePool; its float operator counts only what there
    is).
    """
    if node.integer("count_include_pad", 0):
        return None
    sides = []
    for axis in (0, 1):
        kernel, stride = window.kernel[axis], window.stride[axis]
        before, after = window.padding[axis], window.padding[axis + 2]
        places = (shape[axis + 1] + before + after - kernel) // stride + 1
        starts = np.arange(places) * stride - before
        ends = np.minimum(starts + kernel, shape[axis + 1] + extra[axis + 2])
        sides.append(ends - np.maximum(starts, -extra[axis]))
    counts: IntArray = np.outer(*sides)
    return None if (counts == window.size).all() else counts


def _reaches_out(node: OnnxNode, shape: tuple[int, ...], window: Window, extra: Padding) -> bool:
    """Whether padding counts and `ceil_mode` adds to it."""
    grown = (shape[0], shape[1] + extra[0] + extra[2], shape[2] + extra[1] + extra[3])
    pads = declared_pads(node, grown, window.kernel, window.stride)
    wanted = tuple(p + e for p, e in zip(pads, extra, strict=True))
    return bool(node.integer("count_include_pad", 0)) and window.padding != wanted


def average_pool(run: Importer, node: OnnxNode) -> None:
    """AveragePool."""
    run.values[node.output] = average(run, node, run.real(node, 0), whole=False)


def global_average_pool(run: Importer, node: OnnxNode) -> None:
    """GlobalAveragePool."""
    run.values[node.output] = average(run, node, run.real(node, 0), whole=True)


def reduce_mean(run: Importer, node: OnnxNode) -> None:
    """ReduceMean over height and width."""

    real = run.real(node, 0)
    rank = len(real.layout.shape) + 1
    if rank != 4 or sorted(axes(node, run, rank)) != [2, 3]:
        raise HwsimError(f"{node}: it must average over height and width (axes 2 and 3) of a map")
    if run.choices is None:  # else notes.py says it, where it makes a difference
        run.warn(node.name, "ONNX Runtime averages in float32; the exact average is rounded here")
    out = average(run, node, real, whole=True)
    if not node.integer("keepdims", 1):
        out = replace(out, layout=out.layout.reshaped(out.layout.shape[:1]))
    run.values[node.output] = out


def pad(run: Importer, node: OnnxNode) -> None:
    """Pad with real zeros around a map; the next convolution takes it in."""
    given = run.value(node, 0)
    if isinstance(given, RawInput):
        new = _pad_amounts(run, node)
        if len(given.plain.shape) != 3 or not given.dtype.startswith("float"):
            raise HwsimError(
                f"{node}: its input must be reals (batch, channels, height, width), not "
                f"{given.dtype} of rank {len(given.plain.shape) + 1}"
            )
        run.values[node.output] = replace(given, padding=_added(given.padding, new))
        return
    real = run.real(node, 0)
    level, _ = map_level(run, node, real)
    codes = replace(level.codes, padding=_added(level.codes.padding, _pad_amounts(run, node)))
    run.values[node.output] = Real(replace(level, codes=codes), real.layout)


def _added(old: Padding, new: Padding) -> Padding:
    top, left, bottom, right = (o + n for o, n in zip(old, new, strict=True))
    return top, left, bottom, right


def _pad_amounts(run: Importer, node: OnnxNode) -> Padding:
    """What a Pad adds: zeros around height and width."""
    amounts = node.integers("pads") or tuple(
        int(v) for v in (run.constant(node, 1).array.ravel() if node.input(1) else ())
    )
    value = run.constant(node, 2).array if node.input(2) else np.zeros(1)
    zero = value.size == 1 and float(value.reshape(())[()]) == 0 and not node.real("value", 0.0)
    if node.text("mode", "constant") != "constant" or not zero or node.input(3):
        raise HwsimError(f"{node}: it must pad all axes with constant zeros")
    if len(amounts) != 8 or min(amounts) < 0 or any(amounts[i] for i in (0, 1, 4, 5)):
        raise HwsimError(f"{node}: it must pad height and width only, not by {amounts}")
    return amounts[2], amounts[3], amounts[6], amounts[7]
