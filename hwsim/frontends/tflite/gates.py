"""The gates of int16 LSTMs, as tables of all 65,536 codes.

The reference kernels have gemmlowp's fixed-point functions with 16 bits, TensorFlow Lite Micro an
interpolated table. Sources: gemmlowp `fixedpoint.h`, TensorFlow Lite `lstm_eval.cc` and
`reference/integer_ops/logistic.h`.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from hwsim.frontends.tflite.fixed_point import SHORT
from hwsim.ops.base import IntArray

CODES: IntArray = np.arange(-(1 << 15), 1 << 15)


@cache
def logistic() -> IntArray:
    """1 / (1 + exp(-x)) of Q3.12, 15 fraction bits."""
    return SHORT.logistic(CODES, 3)


@cache
def tanh(integer_bits: int) -> IntArray:
    """tanh of codes with so many integer bits, 15 fraction bits."""
    return SHORT.tanh(CODES, integer_bits)


_UP = (4, 8, 12, 14, 15, 16, 17, 19, 20, 21, 22, 25, 27, 28, 29, 30, 31, 33, 34, 35, 37, 39, 40,
       41, 43, 44, 45, 46, 49, 50, 54, 62, 63, 64, 66, 82, 86, 93, 100, 103, 112, 116, 135,
       255)  # fmt: skip
"""Entries of the interpolated table that are one more than the rounded sigmoid."""


@cache
def sigmoids() -> IntArray:
    """sigmoid(k / 24) for k from 0 to 255, 16 fraction bits."""
    entries = np.floor(65536 / (1 + np.exp(-np.arange(256) / 24.0)) + 0.5).astype(np.int64)
    entries[list(_UP)] += 1
    return entries


@cache
def micro_logistic() -> IntArray:
    """TensorFlow Lite Micro's logistic of Q3.12, 15 fraction bits."""
    entries, tripled = sigmoids(), 3 * CODES
    size = np.abs(tripled)
    place = np.minimum(size >> 9, 254)
    mixed = (entries[place] << 9) + (size & 511) * (entries[place + 1] - entries[place])
    mixed = np.where(size >> 9 >= 255, 32767 << 10, mixed)
    return np.where(tripled >= 0, (mixed + 512) >> 10, ((1 << 25) - mixed + 511) >> 10)


@cache
def micro_tanh(left: int) -> IntArray:
    """Its tanh of codes that are shifted left (or right, rounded) first, 15 fraction bits."""
    entries, tripled = sigmoids(), 3 * CODES
    moved = tripled << left if left >= 0 else (tripled + (1 << -left - 1)) >> -left
    size = np.abs(moved)
    place = np.minimum(size >> 8, 254)
    mixed = (entries[place] << 8) + (size & 255) * (entries[place + 1] - entries[place])
    mixed = np.where(size >> 8 >= 255, 65535 << 8, mixed)
    base = 1 << 23
    return np.where(moved >= 0, (mixed - base + 128) >> 8, (-mixed + base + 127) >> 8)
