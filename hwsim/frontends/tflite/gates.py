"""The gates of int16 LSTMs, as tables of all 65,536 codes.

The reference kernels have gemmlowp's fixed-point functions with 16 bits, TensorFlow Lite Micro an
interpolated table. Sources: gemmlowp `fixedpoint.h`, TensorFlow Lite `lstm_eval.cc` and
`reference/integer_ops/logistic.h`.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from hwsim.ops.base import IntArray

CODES: IntArray = np.arange(-(1 << 15), 1 << 15)
BITS = 15


def _high(a: IntArray, b: IntArray | int) -> IntArray:
    """The rounding doubling high product of 16 bits."""
    return np.asarray((a * np.asarray(b, np.int64) + (1 << 14)) >> 15, np.int64)


def _short(constant: int) -> int:
    """A constant of 32 bits with 16."""
    return (constant + (1 << 15)) >> 16


def _kept(x: IntArray) -> IntArray:
    return np.clip(x, -(1 << 15), (1 << 15) - 1)


def _divided(x: IntArray, right: int) -> IntArray:
    """By a power of two, ties away from zero."""
    if not right:
        return x
    return np.asarray((x + (1 << right - 1) - (x < 0)) >> right, np.int64)


def _left(x: IntArray, by: int) -> IntArray:
    """A left shift that saturates; a right one rounds."""
    return _divided(x, -by) if by < 0 else _kept(x << by)


BARREL = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)
EIGHTH, THIRD = 1895147668, 715827883
HALF_RANGE = (1515870810, -1010580540)


def _exp_on_negative(a: IntArray, integer_bits: int) -> IntArray:
    """exp of codes of 0 or less; 15 fraction bits."""
    fraction = BITS - integer_bits
    quarter = 1 << fraction - 2
    rest = (a & quarter - 1) - quarter
    x = (rest << integer_bits) + (1 << 12)
    square = _high(x, x)
    cube, fourth = _high(square, x), _high(square, square)
    inner = _divided(_high(_divided(fourth, 2) + cube, _short(THIRD)) + square, 1)
    result = _kept(_short(EIGHTH) + _high(x + inner, _short(EIGHTH)))
    remainder = rest - a
    for exponent, factor in zip(range(-2, 5), BARREL, strict=True):
        if integer_bits > exponent:
            taken = (remainder & (1 << fraction + exponent)) != 0
            result = np.where(taken, _high(result, _short(factor)), result)
    return np.where(a == 0, (1 << 15) - 1, result)


def _reciprocal(a: IntArray) -> IntArray:
    """2 / (1 + a) halved, for a from 0 to 1 with 15 fraction bits; 13 of them."""
    half = (a + (1 << 15)) >> 1
    x = _short(HALF_RANGE[0]) + _high(half, -((-HALF_RANGE[1] + (1 << 15)) >> 16))
    for _ in range(3):
        x = x + _left(_high(x, (1 << 13) - _high(half, x)), 2)
    return x


@cache
def logistic() -> IntArray:
    """1 / (1 + exp(-x)) of Q3.12, 15 fraction bits."""
    exponential = _exp_on_negative(-np.abs(CODES), 3)
    positive = _left(_reciprocal(exponential), 1)
    positive = np.where(CODES == 0, 1 << 14, positive)
    return np.where(CODES < 0, (1 << 15) - 1 - positive, positive)


@cache
def tanh(integer_bits: int) -> IntArray:
    """tanh of codes with so many integer bits, 15 fraction bits."""
    if integer_bits < 0:
        raise ValueError(integer_bits)
    doubled = -np.abs(CODES)
    exponential = _exp_on_negative(doubled, integer_bits + 1)
    positive = _left(_reciprocal(exponential) - (1 << 13), 2)
    return np.where(CODES == 0, 0, np.where(CODES < 0, -positive, positive))


_UP = (4, 8, 12, 14, 15, 16, 17, 19, 20, 21, 22, 25, 27, 28, 29, 30, 31, 33, 34, 35, 37, 39, 40,
       41, 43, 44, 45, 46, 49, 50, 54, 62, 63, 64, 66, 82, 86, 93, 100, 103, 112, 116, 135,
       255)  # fmt: skip
"""Entries of the interpolated table that are one more than the rounded sigmoid."""


@cache
def _sigmoids() -> IntArray:
    """sigmoid(k / 24) for k from 0 to 255, 16 fraction bits."""
    entries = np.floor(65536 / (1 + np.exp(-np.arange(256) / 24.0)) + 0.5).astype(np.int64)
    entries[list(_UP)] += 1
    return entries


@cache
def micro_logistic() -> IntArray:
    """TensorFlow Lite Micro's logistic of Q3.12, 15 fraction bits."""
    entries, tripled = _sigmoids(), 3 * CODES
    size = np.abs(tripled)
    place = np.minimum(size >> 9, 254)
    mixed = (entries[place] << 9) + (size & 511) * (entries[place + 1] - entries[place])
    mixed = np.where(size >> 9 >= 255, 32767 << 10, mixed)
    return np.where(tripled >= 0, (mixed + 512) >> 10, ((1 << 25) - mixed + 511) >> 10)


@cache
def micro_tanh(left: int) -> IntArray:
    """Its tanh of codes that are shifted left (or right, rounded) first, 15 fraction bits."""
    entries, tripled = _sigmoids(), 3 * CODES
    moved = tripled << left if left >= 0 else (tripled + (1 << -left - 1)) >> -left
    size = np.abs(moved)
    place = np.minimum(size >> 8, 254)
    mixed = (entries[place] << 8) + (size & 255) * (entries[place + 1] - entries[place])
    mixed = np.where(size >> 8 >= 255, 65535 << 8, mixed)
    base = 1 << 23
    return np.where(moved >= 0, (mixed - base + 128) >> 8, (-mixed + base + 127) >> 8)
