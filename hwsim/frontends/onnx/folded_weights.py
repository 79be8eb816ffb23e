"""Weights whose quantizer a tool has run already: plain floats that are whole numbers of a step."""

from __future__ import annotations

import numpy as np

from hwsim.fixed import Format
from hwsim.frontends.shared.values import Constant, FloatArray
from hwsim.frontends.shared.whole_numbers import in_steps, whole_numbers
from hwsim.ops.base import IntArray

F32 = np.float32
WIDEST = 24
"""Bits that no weight may pass."""
GAIN = 2
"""Bits that a step for each channel must save."""


def folded_weights(value: Constant, axis: int) -> Constant:
    """The constant with its codes, if it has any: of one step, or of one for each index of `axis`.

    Its floats stay the very same, so that a model with other floats is not read as another.
    """
    array = value.array
    if array.dtype.kind not in "fiu" or not array.size or not np.isfinite(array).all():
        return value
    floats = array.astype(F32)
    if not np.array_equal(floats, array):
        return value
    found = _of_power(floats) or _of_step(floats)
    if found is None or _bits(found[0]) > 2 * GAIN:
        each = _by_channel(floats, axis)
        if each is not None and (found is None or _bits(each[0]) + GAIN <= _bits(found[0])):
            found = each
    return value if found is None else _constant(floats, *found)


Found = tuple[IntArray, FloatArray]
"""Codes, and scales that broadcast against them."""


def _of_power(floats: FloatArray) -> Found | None:
    found = whole_numbers(floats)
    if found is None or _bits(found[0]) > WIDEST:
        return None
    return found[0], np.full((1,) * floats.ndim, 2.0 ** found[1], F32)


def _of_step(floats: FloatArray) -> Found | None:
    found = in_steps(floats)
    return None if found is None else (found[0], np.full((1,) * floats.ndim, found[1]))


def _by_channel(floats: FloatArray, axis: int) -> Found | None:
    channels = np.moveaxis(floats, axis, 0) if axis < floats.ndim else floats[None]
    codes, scales = np.empty(channels.shape, np.int64), np.ones(len(channels), F32)
    for place, channel in enumerate(channels):
        found = in_steps(channel)
        if found is None:
            return None
        codes[place], scales[place] = found
    shape = [1] * floats.ndim
    if axis < floats.ndim:
        codes, shape[axis] = np.moveaxis(codes, 0, axis), len(scales)
        return codes, scales.reshape(shape)
    return codes[0], scales.reshape(shape)


def _bits(codes: IntArray) -> int:
    return Format.holding(int(codes.min()), int(codes.max())).width


def _constant(floats: FloatArray, codes: IntArray, scales: FloatArray) -> Constant:
    power = np.frexp(scales.ravel()[0])
    fraction = 1 - int(power[1]) if scales.size == 1 and power[0] == 0.5 else 0
    fmt = Format.holding(int(codes.min()), int(codes.max()), fraction)
    return Constant(floats, codes, fmt, scales)
