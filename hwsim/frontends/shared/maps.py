"""Maps as operators with windows expect them; kernels with gaps, or turned round."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.shared import moves
from hwsim.frontends.shared.arrangement import Arrangement
from hwsim.frontends.shared.builder import MAX_ELEMENTS
from hwsim.frontends.shared.tensors import TensorBuilder
from hwsim.frontends.shared.values import Arithmetic, Level, Moved, Real, Unary
from hwsim.ops.base import IntArray

MAPS = "(batch, channels, length) or (batch, channels, height, width)"


def lying_as_map(run: TensorBuilder, node: object, real: Real) -> Real:
    """A map (channels, ...) that lies with its channels innermost; HwsimError names the node."""
    source, layout = real.source, real.layout
    wanted = Arrangement.map(layout.shape)
    if layout.same(wanted):
        return real
    if isinstance(source, Level) and all(isinstance(s, Unary | Arithmetic) for s in real.steps):
        codes = run.arranged(replace(source.codes, layout=layout), wanted, node)
        return replace(real, source=replace(source, codes=codes), layout=codes.layout)
    way = moves.turned(layout, wanted)
    if way is None:
        raise HwsimError(f"{node}: its input must be a map {MAPS}")
    return replace(real.then(Moved(str(node), way.ops)), layout=wanted)


def with_gaps(node: object, taps: IntArray, dilations: Sequence[int]) -> IntArray:
    """A kernel (its axes, in, out) with zeros between its taps."""
    if set(dilations) == {1}:
        return taps
    sizes = ((n - 1) * d + 1 for n, d in zip(taps.shape, dilations, strict=False))
    shape = (*sizes, *taps.shape[len(dilations) :])
    if math.prod(shape) > MAX_ELEMENTS:
        raise HwsimError(f"{node}: its dilated kernel must have at most {MAX_ELEMENTS} elements")
    out = np.zeros(shape, np.int64)
    out[tuple(slice(None, None, d) for d in dilations)] = taps
    return out


def turned_round(codes: IntArray, groups: int) -> IntArray:
    """Weights (in, out / groups, kernel axes) as a convolution has them, output channels last."""
    inputs, outputs, *kernel = codes.shape
    rank = len(kernel)
    cut = codes.reshape(groups, inputs // groups, outputs, *kernel)
    flipped = np.flip(cut, tuple(range(3, 3 + rank)))
    moved = flipped.transpose(*range(3, 3 + rank), 1, 0, 2)
    return moved.reshape(*kernel, inputs // groups, groups * outputs)
