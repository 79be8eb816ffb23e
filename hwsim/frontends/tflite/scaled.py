"""Codes times a real multiplier, as the kernels of unary and binary operators compute them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError
from hwsim.frontends.tflite import gemmlowp
from hwsim.ops.base import IntArray
from hwsim.ops.fixed_point import divide_by_power, high_product

Float64Array = npt.NDArray[np.float64]


LEAST_SHIFT, MOST_SHIFT = -31, 30  # below, a multiplier is 0; above, codes would leave 32 bits


def _multiplier(factor: float) -> tuple[int, int]:
    m, shift = gemmlowp.multiplier(factor)
    if shift < LEAST_SHIFT:
        return 0, 0
    if shift > MOST_SHIFT:
        raise HwsimError(f"scales must have a ratio below 2**{MOST_SHIFT}, not {factor:.3g}")
    return m, shift


def double(values: IntArray, factor: float) -> IntArray:
    """Two roundings, the second with ties away from zero: gemmlowp's."""
    m, shift = _multiplier(factor)
    high = high_product(np, values << max(shift, 0), np.array(m))
    return np.asarray(divide_by_power(np, high, np.array(max(-shift, 0))), np.int64)


def ruy(values: IntArray, factor: float) -> IntArray:
    """Two roundings with ties up in both."""
    m, shift = _multiplier(factor)
    high = high_product(np, values << max(shift, 0), np.array(m))
    right = max(-shift, 0)
    return np.asarray((high + ((1 << right) >> 1)) >> right, np.int64)


def away(values: npt.NDArray[np.floating]) -> IntArray:
    """To nearest, ties away from zero."""
    wide = values.astype(np.float64)
    return np.asarray(np.copysign(np.floor(np.abs(wide) + 0.5), wide), np.int64)
