"""Windows on maps: kernels, strides, padding, dilation."""

from __future__ import annotations

import math
from dataclasses import replace

from hwsim.errors import HwsimError
from hwsim.frontends.onnx.importer import Importer
from hwsim.frontends.onnx.model import OnnxNode
from hwsim.frontends.shared import moves
from hwsim.frontends.shared.arrangement import Arrangement
from hwsim.frontends.shared.builder import MAX_ELEMENTS
from hwsim.frontends.shared.maps import MAPS, lying_as_map, with_gaps
from hwsim.frontends.shared.settling import level_of
from hwsim.frontends.shared.values import (
    NO_PADDING,
    Level,
    Padding,
    Real,
)
from hwsim.ops import Window
from hwsim.ops.base import IntArray, Shape

THIRD = (
    "three axes can be gone over two at a time: the slices along the third each by a layer of its "
    "own, whose results are added, or the larger taken"
)
COUNTS = {1: "one number", 2: "two numbers", 4: "four numbers"}


def is_map(shape: Shape) -> bool:
    """Whether a tensor can be a map (channels, height, width) or a line (channels, length)."""
    return len(shape) in (2, 3)


def _maps(shape: Shape) -> str:
    """What a tensor of places must be, with what helps where it has three axes of them."""
    return f"{MAPS} ({THIRD})" if len(shape) == 4 else MAPS


def map_level(
    run: Importer, node: OnnxNode, real: Real, *, several_scales: bool = False
) -> tuple[Level, Shape]:
    """The codes behind a map (channels, ...) that is only dequantized."""
    level = level_of(run, node, real, several_scales=several_scales)
    shape = real.layout.shape
    if not is_map(shape):
        raise HwsimError(f"{node}: its input must be {_maps(shape)}, not of rank {len(shape) + 1}")
    if level.scales is not None and not real.layout.same(Arrangement.map(shape)):
        raise HwsimError(f"{node}: its input, with a scale for each channel, must stay in place")
    held = replace(level.codes, layout=real.layout)
    return replace(level, codes=run.arranged(held, Arrangement.map(shape), node)), shape


def as_map(run: Importer, node: OnnxNode, real: Real) -> Real:
    """A map that lies as operators on maps expect it."""
    source, layout = real.source, real.layout
    if isinstance(source, Level) and source.codes.padding != NO_PADDING:
        raise HwsimError(f"{node}: a Pad must be followed by a convolution")
    if not is_map(layout.shape):
        raise HwsimError(f"{node}: its input must be a map {_maps(layout.shape)}")
    return lying_as_map(run, node, real)


def window_of(node: OnnxNode, shape: Shape, kernel: Shape, extra: Padding = NO_PADDING) -> Window:
    """Kernel, strides and padding of an ONNX operator on (channels, ...)."""
    return Window(*_parts(node, shape, kernel, extra))


def window_in_frame(
    node: OnnxNode, shape: Shape, kernel: Shape, extra: Padding = NO_PADDING
) -> tuple[Window, list[moves.Amounts]]:
    """As `window_of`, and what has to be around the map before, since no window pads so much."""
    kernel, strides, pads = _parts(node, shape, kernel, extra)
    inside = [min(p, k - 1) for p, k in zip(pads, kernel * 2, strict=True)]
    rest, rank = [p - q for p, q in zip(pads, inside, strict=True)], len(kernel)
    frame = [(b, a, 0) for b, a in zip(rest[:rank], rest[rank:], strict=True)]
    return Window(kernel, strides, tuple(inside)), [(0, 0, 0), *frame]


def _parts(
    node: OnnxNode, shape: Shape, kernel: Shape, extra: Padding
) -> tuple[Shape, Shape, Padding]:
    rank = len(shape) - 1
    strides = node.integers("strides", (1,) * rank)
    if len(kernel) != rank or len(strides) != rank or min(*kernel, *strides) < 1:
        raise HwsimError(f"{node}: kernel and strides must be {COUNTS[rank]} from 1 each")
    grown = grown_by(shape, extra)
    pads = declared_pads(node, grown, kernel, strides)
    if node.integer("ceil_mode", 0):
        pads = _ceiled(grown, kernel, strides, pads)
    pads = added_padding(pads, extra)
    if math.prod(grown_by(shape, pads)) > MAX_ELEMENTS:
        raise HwsimError(f"{node}: its padded input must have at most {MAX_ELEMENTS} elements")
    return kernel, strides, pads


def grown_by(shape: Shape, padding: Padding) -> Shape:
    """A shape (channels, ...) with padding around it."""
    if padding == NO_PADDING:
        return shape
    rank = len(shape) - 1
    sides = zip(shape[1:], padding[:rank], padding[rank:], strict=True)
    return (shape[0], *(size + before + after for size, before, after in sides))


def added_padding(old: Padding, new: Padding) -> Padding:
    """One padding around another."""
    if NO_PADDING in (old, new):
        return old or new
    return tuple(o + n for o, n in zip(old, new, strict=True))


def declared_pads(node: OnnxNode, shape: Shape, kernel: Shape, strides: Shape) -> Padding:
    """Padding, before on each axis and then after, as `pads` or `auto_pad` ask for it."""
    count = 2 * len(kernel)
    pads = node.integers("pads", (0,) * count)
    auto = node.text("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        pads = _same(shape, kernel, strides, upper=auto == "SAME_UPPER")
    elif auto not in ("NOTSET", "VALID", ""):
        raise HwsimError(f"{node}: 'auto_pad' must be known, not {auto!r}")
    if len(pads) != count or min(pads) < 0:
        raise HwsimError(f"{node}: 'pads' must be {COUNTS[count]} from 0, not {pads}")
    return pads


def _same(shape: Shape, kernel: Shape, strides: Shape, *, upper: bool) -> Padding:
    pads = []
    for size, k, s in zip(shape[1:], kernel, strides, strict=True):
        total = max((-(-size // s) - 1) * s + k - size, 0)
        small, large = total // 2, total - total // 2
        pads.append((small, large) if upper else (large, small))
    return (*(before for before, _ in pads), *(after for _, after in pads))


def _ceiled(shape: Shape, kernel: Shape, strides: Shape, pads: Padding) -> Padding:
    """Padding at the end so that the last, partial window counts, if it starts inside."""
    ends = []
    for i, (size, k, s) in enumerate(zip(shape[1:], kernel, strides, strict=True)):
        before, after = pads[i], pads[i + len(kernel)]
        windows = -(-(size + before + after - k) // s) + 1
        if (windows - 1) * s >= size + before:
            windows -= 1
        ends.append(max((windows - 1) * s + k - size - before, after))
    return (*pads[: len(kernel)], *ends)


def dilated(node: OnnxNode, taps: IntArray) -> IntArray:
    """A kernel (its axes, in, out) with zeros between its taps."""
    rank = taps.ndim - 2
    dilations = node.integers("dilations", (1,) * rank)
    if len(dilations) != rank or min(dilations) < 1:
        raise HwsimError(f"{node}: 'dilations' must be {COUNTS[rank]} from 1, not {dilations}")
    return with_gaps(node, taps, dilations)


def dilated_taps(node: OnnxNode, shape: Shape, kernel: Shape) -> list[list[int]]:
    """For each axis of a map (channels, ...) what a dilated window meets, one after the other.

    Beyond the map it meets, in place of padding, the first that it meets on it.
    """
    rank = len(shape) - 1
    apart = node.integers("dilations", (1,) * rank)
    if len(apart) != rank or min(apart) < 1:
        raise HwsimError(f"{node}: 'dilations' must be {COUNTS[rank]} from 1, not {apart}")
    whole = tuple((k - 1) * d + 1 for k, d in zip(kernel, apart, strict=True))
    window = window_of(node, shape, whole)
    found = []
    for size, k, d, stride, (before, after) in zip(
        shape[1:], kernel, apart, window.stride, window.ends, strict=True
    ):
        starts = range(-before, size + after - (k - 1) * d, stride)
        met = [[start + tap * d for tap in range(k)] for start in starts]
        inside = [[place for place in places if 0 <= place < size] for places in met]
        if not all(inside):
            raise HwsimError(f"{node}: each of its windows must meet some place of the map")
        found.append(
            [
                place if 0 <= place < size else kept[0]
                for places, kept in zip(met, inside, strict=True)
                for place in places
            ]
        )
    return found
