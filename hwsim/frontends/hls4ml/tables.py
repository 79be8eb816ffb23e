"""The entries of hls4ml's tables, as its C++ makes them when a simulation begins.

`nnet_activation.h` computes in float32, with steps in double where a literal is one. Divisions and
roundings are IEEE's, so NumPy's do; `expf` and `tanhf` are not correctly rounded in the C library
that g++ links (nor are NumPy's, which differ from it), so they are computed here as it does.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.frontends.shared.glibc import expf

Float32s = npt.NDArray[np.float32]
Float64s = npt.NDArray[np.float64]

MOST_ENTRIES = 1 << 18


def _spread(size: int, reach: float) -> Float32s:
    """The middle of the table is 0; its ends are `reach` away."""
    places = np.arange(size, dtype=np.float64)
    return np.asarray(2 * reach * (places - size / 2) / size, np.float32)


def _below(size: int) -> Float32s:
    """From 0 down to -8, which is left out."""
    return np.asarray(-8.0 * np.arange(size, dtype=np.float64) / size, np.float32)


def sigmoid(size: int) -> Float64s:
    """`1.0 / (1 + exp(-x))`: a sum in float32, a quotient in double."""
    return _float32(1.0 / (np.float32(1) + expf(-_spread(size, 8))).astype(np.float64))


def tanh(size: int) -> Float64s:
    """`tanh(float)`."""
    return tanhf(_spread(size, 4)).astype(np.float64)


def softplus(size: int) -> Float64s:
    """`log(exp(x) + 1.)`: only the exponential is one of float32."""
    sums = expf(_spread(size, 8)).astype(np.float64) + 1.0
    return _float32(np.array([math.log(value) for value in sums.tolist()]))


def softsign(size: int) -> Float64s:
    """`x / (abs(x) + 1.)`."""
    x = _spread(size, 8).astype(np.float64)
    return _float32(x / (np.abs(x) + 1.0))


def elu(size: int) -> Float64s:
    """`exp(x) - 1.`, from 0 down."""
    return _float32(expf(_below(size)).astype(np.float64) - 1.0)


def selu(size: int) -> Float64s:
    """`1.0507... * (1.6732... * (exp(x) - 1.))`, from 0 down."""
    grown = expf(_below(size)).astype(np.float64) - 1.0
    return _float32(1.0507009873554804934 * (1.6732632423543772848 * grown))


def exponential(size: int) -> Float64s:
    """`exp(x)` of the legacy softmax."""
    return expf(_spread(size, 8)).astype(np.float64)


def inverse(size: int) -> Float64s:
    """`1.0 / x` of the legacy softmax, from 0 (which stays 0) up to 64, in double."""
    x = np.asarray(64.0 * np.arange(size, dtype=np.float64) / size, np.float32).astype(np.float64)
    return np.divide(1.0, x, out=np.zeros(size), where=x > 0)


ENTRIES: Mapping[str, Callable[[int], Float64s]] = {
    "sigmoid": sigmoid,
    "tanh": tanh,
    "softplus": softplus,
    "softsign": softsign,
    "elu": elu,
    "selu": selu,
}
"""The tables of functions of one code, by hls4ml's name: entries before they are assigned."""


def _float32(values: Any) -> Float64s:
    """Doubles rounded to float32, as a function that returns a float does."""
    return np.asarray(np.asarray(values, np.float32), np.float64)


CORRECT_SINCE = (2, 41)
"""The glibc from which on its tanhf is correctly rounded."""


def tanhf(x: Float32s) -> Float32s:
    """The hyperbolic tangent of float32 numbers within ±4 as this machine's glibc gives it.

    Where another C library is in use: correctly rounded. A table of up to 1,024 entries and 12
    fraction bits comes out the same by both. Source: glibc 2.36,
    `sysdeps/ieee754/flt-32/s_tanhf.c`.
    """
    name, version = platform.libc_ver()
    parts = version.split(".")
    known = name == "glibc" and all(part.isdigit() for part in parts)
    if not known or tuple(map(int, parts)) >= CORRECT_SINCE:
        return np.asarray([math.tanh(value) for value in x.tolist()], np.float32)
    return tanhf_before_2_41(x)


def tanhf_before_2_41(x: Float32s) -> Float32s:
    """The tangent in float32 steps: of `e**(2 |x|) - 1` from 1 on, of `e**(-2 |x|) - 1` below."""
    one, two = np.float32(1), np.float32(2)
    size = np.abs(x)
    far = one - two / (_expm1f(two * np.maximum(size, one)) + two)
    near = _expm1f(-two * np.minimum(size, one))
    tangent = np.where(size >= 1, far, -near / (near + two))
    return np.asarray(np.where(x < 0, -tangent, tangent), np.float32)


def _expm1f(x: Float32s) -> Float32s:
    """`e**x - 1` in float32 steps, for x from -2 to 0 and from 2 to 16 (s_expm1f.c)."""
    one, half = np.float32(1), np.float32(0.5)
    size = np.abs(x)
    k = np.trunc(_INVERSE_LN2 * x + np.copysign(half, x))
    k = np.where(size < np.float32(1.5 * math.log(2)), np.float32(-1), k)
    k = np.where(size <= np.float32(0.5 * math.log(2)), np.float32(0), k)
    high, low = x - k * _LN2_HIGH, k * _LN2_LOW
    rest = high - low
    lost = (high - rest) - low
    by_half = half * rest
    square = rest * by_half
    series = one + square * _horner(square)
    t = np.float32(3) - series * by_half
    e = square * ((series - t) / (np.float32(6) - rest * t))
    plain = rest - (rest * e - square)
    e = rest * (e - lost) - lost - square
    turns = k.astype(np.int64)
    power = np.ldexp(one, -turns)
    halved = half * (rest - e) - half
    wide = np.ldexp(one - (e - rest), turns) - one
    far = np.ldexp((one - power) - (e - rest), turns)
    branches = [turns == 0, turns == -1, turns < -1]
    return np.asarray(np.select(branches, [plain, halved, wide], far), np.float32)


def _horner(square: Float32s) -> Float32s:
    """The series of expm1f but its first term, in float32 steps."""
    total = np.full_like(square, _SERIES[-1])
    for factor in _SERIES[-2::-1]:
        total = factor + square * total
    return total


_LN2_HIGH, _LN2_LOW, _INVERSE_LN2 = np.array([0x3F317180, 0x3717F7D1, 0x3FB8AA3B], np.uint32).view(
    np.float32
)
_SERIES = np.array([0xBD088889, 0x3AD00D01, 0xB8A670CD, 0x36867E54, 0xB457EDBB], np.uint32).view(
    np.float32
)
