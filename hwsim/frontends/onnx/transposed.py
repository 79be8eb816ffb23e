"""ConvTranspose: a convolution over a stretched map, its kernel turned round."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.onnx.importer import Importer
from hwsim.frontends.onnx.model import OnnxNode
from hwsim.frontends.onnx.weighted import (
    among_codes,
    beside,
    layer,
    scales_along,
    weights_of,
)
from hwsim.frontends.onnx.window import COUNTS, dilated, map_level
from hwsim.frontends.shared import moves
from hwsim.frontends.shared.arrangement import Arrangement
from hwsim.frontends.shared.builder import MAX_ELEMENTS
from hwsim.frontends.shared.maps import turned_round
from hwsim.frontends.shared.values import NO_PADDING, Codes, Level, Real
from hwsim.ops import Window
from hwsim.ops.base import Shape

Ends = list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Stretch:
    """How far codes lie apart, and what stands around them: for each place of a map."""

    strides: Shape
    ends: Ends  # below 0: what is cut off

    def split(self, kernel: Shape) -> tuple[Ends, Ends, Ends]:
        """What a window pads, what a Pad does besides, and what is cut off."""
        inside = [
            (min(max(b, 0), k - 1), min(max(a, 0), k - 1))
            for (b, a), k in zip(self.ends, kernel, strict=True)
        ]
        more = [
            (max(b, 0) - p, max(a, 0) - q) for (b, a), (p, q) in zip(self.ends, inside, strict=True)
        ]
        return inside, more, [(max(-b, 0), max(-a, 0)) for b, a in self.ends]


def conv_transpose(run: Importer, node: OnnxNode) -> None:
    """ConvTranspose along one axis or two."""
    real, weights = run.real(node, 0), weights_of(run, node, 1, 1)
    bias = run.constant(node, 2) if node.input(2) else None
    level, shape = map_level(run, node, real)
    if level.codes.padding != NO_PADDING:
        raise HwsimError(f"{node}: a Pad must be followed by a convolution")
    codes, rank, groups = weights.codes, len(shape) - 1, node.integer("group", 1)
    if codes is None or codes.ndim != rank + 2 or weights.format is None:
        raise HwsimError(f"{node}: its weights must be a constant of {rank + 2} axes")
    if groups < 1 or codes.shape[0] != shape[0] or shape[0] % groups:
        raise HwsimError(
            f"{node}: weights of shape {codes.shape} in {groups} groups must fit an input of "
            f"{shape[0]} channels"
        )
    kernel = node.integers("kernel_shape", codes.shape[2:])
    if kernel != codes.shape[2:]:
        raise HwsimError(f"{node}: 'kernel_shape' must be {codes.shape[2:]}, not {kernel}")
    scale = scales_along(node, weights, 1)
    if scale.size > 1:
        scale = np.tile(scale, groups)
    taps = dilated(node, turned_round(codes, groups))
    stretch = _stretch(node, shape[1:], taps.shape[:rank])
    level, window = _stretched(run, node, level, stretch, taps.shape[:rank])
    held = taps, weights.format, scale
    source = layer(run, node, level, held, among_codes(run, bias), (window, groups))
    *places, outputs = source.op.infer([run.types[source.input.codes.edge]]).shape
    made = Real(source, Arrangement.map((outputs, *places)))
    run.values[node.output] = beside(run, node, made, bias)


def _stretch(node: OnnxNode, places: Shape, kernel: Shape) -> Stretch:
    """From strides, pads, output_padding and output_shape; `kernel` with its dilation."""
    rank = len(places)
    strides = node.integers("strides", (1,) * rank)
    extra = node.integers("output_padding", (0,) * rank)
    if len(strides) != rank or min(strides) < 1:
        raise HwsimError(f"{node}: 'strides' must be {COUNTS[rank]} from 1, not {strides}")
    if len(extra) != rank or min(extra) < 0:
        raise HwsimError(f"{node}: 'output_padding' must be {COUNTS[rank]} from 0, not {extra}")
    whole = [
        (size - 1) * stride + reach + more
        for size, stride, reach, more in zip(places, strides, kernel, extra, strict=True)
    ]
    pads = _pads(node, places, strides, whole)
    ends = [
        (reach - 1 - before, reach - 1 - after + more)
        for reach, (before, after), more in zip(kernel, pads, extra, strict=True)
    ]
    made = [size - sum(each) for size, each in zip(whole, pads, strict=True)]
    if min(made) < 1 or math.prod(made) > MAX_ELEMENTS:
        raise HwsimError(
            f"{node}: its result must have from 1 to {MAX_ELEMENTS} places, not {tuple(made)}"
        )
    return Stretch(strides, ends)


def _pads(node: OnnxNode, places: Shape, strides: Shape, whole: Sequence[int]) -> Ends:
    """What is taken off the whole result, before and after on each axis."""
    rank, auto = len(places), node.text("auto_pad", "NOTSET")
    if auto not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER", ""):
        raise HwsimError(f"{node}: 'auto_pad' must be known, not {auto!r}")
    wanted = node.integers("output_shape")[-rank:]
    if not wanted and auto.startswith("SAME"):
        wanted = tuple(size * stride for size, stride in zip(places, strides, strict=True))
    if wanted:
        if len(wanted) != rank:
            raise HwsimError(f"{node}: 'output_shape' must be {COUNTS[rank]}, not {wanted}")
        total = [max(size - new, 0) for size, new in zip(whole, wanted, strict=True)]
        low = [(each // 2, each - each // 2) for each in total]
        return low if auto == "SAME_UPPER" else [(after, before) for before, after in low]
    pads = (0,) * (2 * rank) if auto == "VALID" else node.integers("pads", (0,) * (2 * rank))
    if len(pads) != 2 * rank or min(pads) < 0:
        raise HwsimError(f"{node}: 'pads' must be {COUNTS[2 * rank]} from 0, not {pads}")
    return list(zip(pads[:rank], pads[rank:], strict=True))


def _stretched(
    run: Importer, node: OnnxNode, level: Level, stretch: Stretch, kernel: Shape
) -> tuple[Level, Window]:
    """Codes with real zeros between them, and the window that goes over them one by one."""
    inside, more, cut = stretch.split(kernel)
    amounts = [
        (0, 0, 0),
        *((b, a, s - 1) for (b, a), s in zip(more, stretch.strides, strict=True)),
    ]
    name, out = f"{node.name}.stretched", f"{node.output}.stretched"
    codes = moves.padded(run, level.codes, amounts, level.zero_point, name, out)
    shape = codes.layout.shape
    kept = [range(b, size - a) for size, (b, a) in zip(shape[1:], cut, strict=True)]
    way = moves.selected(codes.layout, [None, *kept])
    codes = moves.gone(run, codes, way, f"{node.name}.cut", f"{node.output}.cut")
    assert isinstance(codes, Codes)
    padding = (*(b for b, _ in inside), *(a for _, a in inside))
    return replace(level, codes=codes), Window(kernel, (1,) * len(kernel), padding)
