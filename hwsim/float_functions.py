"""Functions of float32 numbers as ONNX Runtime's vector kernels compute them on x86-64.

The logistic function and the hyperbolic tangent are rational approximations, evaluated with fused
multiply-adds (MLAS's `logistic.cpp` and `tanh.cpp`). Softmax is that of AVX-512.

Each row's largest number is taken off first. The exponential is a polynomial of fused
multiply-adds, the sum runs in 16 lanes, which are added at the end. Source: MLAS's
`TransKernelAvx512F.S` and `compute.cpp`; the logarithm is that of the C library (glibc's
`e_logf.c`). Compared with the runtime bit for bit (docs/frontends.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from hwsim.fixed import Array, Namespace, Rounding, round_real

LANES = 16
LOWEST = -103.9720840454  # below, an exponential is 0
MAGIC = 12_582_912.0  # 1.5 * 2**23: what is added to it is rounded to a whole number
LOG2_E = 1.44269504088896341
LN2_HIGH, LN2_LOW = -6.93145752e-1, -1.42860677e-6
POLYNOMIAL = tuple(
    map(
        float.fromhex,
        ("0x1.694p-10", "0x1.125edcp-7", "0x1.555b5ap-5", "0x1.55545p-3", "0x1.fffff6p-2"),
    )
)
MOST_HALVINGS = 160

# Intervals of the logarithm: the inverse of a number in each, and the number's logarithm.
LOG_START = 0.69921875  # of the significands' binade
LOG_PARTS = tuple(
    (float.fromhex(inverse), float.fromhex(logarithm))
    for inverse, logarithm in (
        ("0x1.661ec79f8f3bep+0", "-0x1.57bf7808caadep-2"),
        ("0x1.571ed4aaf883dp+0", "-0x1.2bef0a7c06ddbp-2"),
        ("0x1.49539f0f010bp+0", "-0x1.01eae7f513a67p-2"),
        ("0x1.3c995b0b80385p+0", "-0x1.b31d8a68224e9p-3"),
        ("0x1.30d190c8864a5p+0", "-0x1.6574f0ac07758p-3"),
        ("0x1.25e227b0b8eap+0", "-0x1.1aa2bc79c81p-3"),
        ("0x1.1bb4a4a1a343fp+0", "-0x1.a4e76ce8c0e5ep-4"),
        ("0x1.12358f08ae5bap+0", "-0x1.1973c5a611cccp-4"),
        ("0x1.0953f419900a7p+0", "-0x1.252f438e10c1ep-5"),
        ("0x1p+0", "0x0p+0"),
        ("0x1.e608cfd9a47acp-1", "0x1.aa5aa5df25984p-5"),
        ("0x1.ca4b31f026aap-1", "0x1.c5e53aa362eb4p-4"),
        ("0x1.b2036576afce6p-1", "0x1.526e57720db08p-3"),
        ("0x1.9c2d163a1aa2dp-1", "0x1.bc2860d22477p-3"),
        ("0x1.886e6037841edp-1", "0x1.1058bc8a07ee1p-2"),
        ("0x1.767dcf5534862p-1", "0x1.4043057b6ee09p-2"),
    )
)
LOG_POLYNOMIAL = tuple(
    map(float.fromhex, ("-0x1.00ea348b88334p-2", "0x1.5575b0be00b6ap-2", "-0x1.ffffef20a4123p-2"))
)
LN2 = float.fromhex("0x1.62e42fefa39efp-1")


SIGMOID_TOP = (
    4.37031012579801e-11, 1.15627324459942e-07, 6.08574864600143e-05, 8.51377133304701e-03,
    2.48287947061529e-01,
)  # fmt: skip
SIGMOID_BOTTOM = (
    6.10247389755681e-13, 5.76102136993427e-09, 6.29106785017040e-06, 1.70198817374094e-03,
    1.16817656904453e-01, 9.93151921023180e-01,
)  # fmt: skip
TANH_TOP = (
    -2.76076847742355e-16, 2.00018790482477e-13, -8.60467152213735e-11, 5.12229709037114e-08,
    1.48572235717979e-05, 6.37261928875436e-04, 4.89352455891786e-03,
)  # fmt: skip
TANH_BOTTOM = (
    1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03,
)  # fmt: skip


def fused(xp: Namespace, a: Array, b: Array, c: Array) -> Array:
    """float32(a * b + c) with one rounding, of float32 arrays; nothing may overflow.

    The sum is rounded to float64 first. That matters only where it lands halfway between two
    float32 numbers, and there its error says which way to go.
    """
    product, addend = xp.astype(a, xp.float64) * xp.astype(b, xp.float64), xp.astype(c, xp.float64)
    total = product + addend
    back = total - product
    error = (product - (total - back)) + (addend - back)
    nearest = xp.astype(total, xp.float32)
    other = xp.astype(nearest, xp.float64) + 2 * (total - xp.astype(nearest, xp.float64))
    halfway = (other != total) & (xp.astype(xp.astype(other, xp.float32), xp.float64) == other)
    nudged = total + xp.sign(error) * xp.abs(total) * 2.0**-50
    return xp.astype(xp.where(halfway, nudged, total), xp.float32)


def _constant(xp: Namespace, like: Array, value: float) -> Array:
    return xp.full_like(like, float(np.float32(value)))


def exponential(xp: Namespace, x: Array) -> Array:
    """The exponential of float32 numbers that are not above 0."""
    x = xp.maximum(x, _constant(xp, x, LOWEST))
    magic = _constant(xp, x, MAGIC)
    turns = fused(xp, x, _constant(xp, x, LOG2_E), magic) - magic
    for part in (LN2_HIGH, LN2_LOW):
        x = fused(xp, turns, _constant(xp, x, part), x)
    out = _constant(xp, x, POLYNOMIAL[0])
    for coefficient in (*POLYNOMIAL[1:], 1.0, 1.0):
        out = fused(xp, out, x, _constant(xp, x, coefficient))
    powers = xp.asarray(2.0 ** -np.arange(MOST_HALVINGS, dtype=np.float64))
    places = xp.reshape(xp.astype(-turns, xp.int64), (-1,))
    scale = xp.reshape(xp.take(powers, places, axis=0), turns.shape)
    return xp.astype(xp.astype(out, xp.float64) * scale, xp.float32)


def lane_sum(xp: Namespace, x: Array) -> Array:
    """The sum over the last axis, which stays: 16 lanes, then the lanes in pairs."""
    *outer, length = x.shape
    if length % LANES:
        zeros = xp.zeros((*outer, -length % LANES), dtype=x.dtype)
        x = xp.concat([x, zeros], axis=-1)
    lanes = x[..., :LANES]
    for start in range(LANES, x.shape[-1], LANES):
        lanes = lanes + x[..., start : start + LANES]
    lanes = xp.reshape(lanes[..., :8] + lanes[..., 8:], (*outer, 8))
    while lanes.shape[-1] > 1:
        lanes = lanes[..., 0::2] + lanes[..., 1::2]
    return lanes


def logarithm(xp: Namespace, x: Array) -> Array:
    """The natural logarithm of float32 numbers from 1 up."""
    wide = xp.astype(x, xp.float64)
    halvings = xp.zeros_like(wide)
    for power in range(1, 129):
        halvings = halvings + xp.astype(wide >= LOG_START * 2.0**power, xp.float64)
    powers = xp.asarray(2.0 ** -np.arange(129, dtype=np.float64))
    places = xp.reshape(xp.astype(halvings, xp.int64), (-1,))
    z = wide * xp.reshape(xp.take(powers, places, axis=0), wide.shape)
    # A sixteenth of the significands each: their bits count on twice as finely below 1.
    count = xp.where(z < 1, (2 * z - 1) * 16.0, (z - 1) * 16.0 + 16)
    part = xp.astype(xp.floor(count - (2 * LOG_START - 1) * 16.0), xp.int64)
    inverses, logs = (xp.asarray(np.array(column)) for column in zip(*LOG_PARTS, strict=True))
    flat = xp.reshape(part, (-1,))
    r = z * xp.reshape(xp.take(inverses, flat, axis=0), z.shape) - 1
    base = xp.reshape(xp.take(logs, flat, axis=0), z.shape) + halvings * LN2
    square = r * r
    high, middle, low = LOG_POLYNOMIAL
    out = (high * square + (middle * r + low)) * square + (base + r)
    return xp.astype(out, xp.float32)


def softmax(xp: Namespace, x: Array) -> Array:
    """Softmax of float32 rows, along the last axis."""
    exponentials = exponential(xp, x - xp.max(x, axis=-1, keepdims=True))
    total = lane_sum(xp, exponentials)
    return exponentials * (xp.ones_like(total) / total)


def log_softmax(xp: Namespace, x: Array) -> Array:
    """The logarithm of a softmax of float32 rows, along the last axis."""
    centred = x - xp.max(x, axis=-1, keepdims=True)
    return centred - logarithm(xp, lane_sum(xp, exponential(xp, centred)))


def _polynomial(xp: Namespace, x: Array, coefficients: Sequence[float]) -> Array:
    """By fused multiply-adds, the highest power's coefficient first."""
    total = _constant(xp, x, coefficients[0])
    for coefficient in coefficients[1:]:
        total = fused(xp, total, x, _constant(xp, x, coefficient))
    return total


def sigmoid(xp: Namespace, x: Array) -> Array:
    """The logistic function of float32 numbers."""
    x = xp.clip(x, -18.0, 18.0)
    square = x * x
    top, bottom = (_polynomial(xp, square, part) for part in (SIGMOID_TOP, SIGMOID_BOTTOM))
    return xp.clip(top * x / bottom + 0.5, 0.0, 1.0)


def tanh(xp: Namespace, x: Array) -> Array:
    """The hyperbolic tangent of float32 numbers."""
    x = xp.clip(x, -9.0, 9.0)
    square = x * x
    return _polynomial(xp, square, TANH_TOP) * x / _polynomial(xp, square, TANH_BOTTOM)


def minifloat(
    xp: Namespace, x: Array, mantissa: int, lowest: int, highest: float, rounding: Rounding
) -> Array:
    """The nearest float of so many mantissa bits, at least `2**lowest` apart times them.

    Below `2**lowest` numbers are as far apart as just above it (subnormal); past `highest` they are
    that. Each step is exact, and a tie goes as `rounding` says. Source: QONNX 1.0
    `custom_op/general/floatquant.py`.
    """
    binades = np.exp2(np.arange(lowest, max(math.frexp(highest)[1], lowest + 1))).astype(np.float32)
    place = xp.searchsorted(xp.asarray(binades[1:]), xp.abs(x), side="right")
    units = xp.asarray(binades * np.float32(2.0**-mantissa))
    unit = xp.reshape(xp.take(units, xp.reshape(place, (-1,))), x.shape)
    return xp.clip(round_real(xp, x / unit, rounding) * unit, -highest, highest)
