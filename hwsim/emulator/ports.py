"""Ports: the user's arrays as codes of input edges, and codes of output edges as the user's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import (
    Array,
    Format,
    Namespace,
    Overflow,
    Rounding,
    is_float,
    overflow,
    overflow_range,
    round_real,
)
from hwsim.float_steps import computed
from hwsim.graph import ELEMENTS, InputPort, OutputPort, user_shape
from hwsim.hints import shape_hint, time_hint
from hwsim.ops import TensorType
from hwsim.ports import seen_shape

Ends = tuple[float, float]  # the least and the largest element of an array
NUMBERS = ("bool", "integral", "real floating")


def _is_native(xp: Namespace, x: Any) -> bool:
    return xp is not np and type(x).__module__.split(".")[0] == xp.__name__.split(".")[0]


def numbers(xp: Namespace, port: InputPort, x: Any) -> Array:
    """The user's array in the namespace, of whole numbers, float32 or float64."""
    space = xp if _is_native(xp, x) else np
    try:
        array = x if space is not np else np.asarray(x)
    except (TypeError, ValueError):
        name = type(x).__name__
        raise HwsimError(f"input {port.name!r} must be an array of numbers, not {name}") from None
    if is_float(space, array):
        return array if space is xp else xp.asarray(array)
    if not space.isdtype(array.dtype, NUMBERS):
        raise HwsimError(f"input {port.name!r} must be an array of numbers, not of {array.dtype}")
    if space.isdtype(array.dtype, "real floating"):
        array = space.astype(array, space.float32 if array.dtype.itemsize < 4 else space.float64)
    return array if space is xp else xp.asarray(array)


def ends_of(xp: Namespace, port: InputPort, array: Array) -> Ends:
    """The least and the largest element, which NaN and infinity would be."""
    if not array.size:
        return 0, 0
    kind = float if is_float(xp, array) else int
    low, high = kind(xp.min(array)), kind(xp.max(array))
    if not (math.isfinite(low) and math.isfinite(high)):
        raise HwsimError(f"input {port.name!r} must be finite, but holds NaN or infinity")
    return low, high


def checked_codes(xp: Namespace, port: InputPort, array: Array, ends: Ends) -> Array:
    """The user's codes as int64; HwsimError where one is no code of the port, or a fraction."""
    kind = port.type
    lo, hi = int(ends[0]), int(ends[1])
    if array.shape[0] and (lo < kind.lo or hi > kind.hi):  # numbers past int64 could wrap
        of = f"{port.element} codes" if port.element else "codes"
        raise HwsimError(
            f"input {port.name!r} must hold {of} from {kind.lo} to {kind.hi}, not {lo} to {hi}"
        )
    whole = xp.astype(array, xp.int64, copy=False)
    if is_float(xp, array) and not bool(xp.all(xp.astype(whole, array.dtype) == array)):
        raise HwsimError(f"input {port.name!r} must hold whole codes, not fractions")
    return whole


def outer_axes(port: InputPort, given: tuple[int, ...], axes: tuple[str, ...]) -> tuple[int, ...]:
    """The lengths of the axes ahead of a port's own; HwsimError for any other shape."""
    shape = user_shape(port.type, port)
    if len(given) != len(shape) + len(axes) or given[len(axes) :] != shape:
        wanted = ", ".join(map(str, (*axes, *shape)))
        if len(axes) > 1:
            hint = time_hint(shape, given)
        else:
            hint = shape_hint(shape, given, port.axes)
        raise HwsimError(f"input {port.name!r} must have shape ({wanted}), not {given}{hint}")
    outer = given[: len(axes)]
    if len(axes) > 1 and not outer[1]:
        raise HwsimError(f"input {port.name!r} must have at least one time step, not none")
    return outer


def quantize(xp: Namespace, port: InputPort, x: Array, ends: Ends) -> Array:
    """Reals as codes, whole numbers of any dtype: float32 division by the scale, or exactly.

    `ends` are the least and the largest of `x`. Reals inside a power-of-two format stay floats of
    the type in which they came, which is exact: scaling by it moves only the exponent.
    """
    kind, fmt = port.type, port.type.format
    if fmt.width > 62 or abs(fmt.frac_bits) > 512:
        raise HwsimError(f"input {port.name!r} must have at most 62 bits to take reals, not {fmt}")
    if kind.quant is None:
        real = x if is_float(xp, x) else xp.astype(x, xp.float64)
        if _inside(fmt, ends):
            return round_real(xp, _scaled(xp, real, fmt.frac_bits), port.rounding)
        real = _reduced(xp, port, xp.astype(real, xp.float64))
        whole, zero = _scaled(xp, real, fmt.frac_bits), 0
    else:
        scale, real = np.array(kind.quant.scale, np.float32), xp.astype(x, xp.float32)
        zero = kind.quant.zero_point
        if port.line is not None:
            factor, offset = (np.float32(number) for number in port.line)
            whole, zero = _fused(xp, real, factor, float(offset)), 0
        elif port.reciprocal and port.zero_point_first:
            whole, zero = _fused(xp, real, 1 / scale, zero), 0
        else:
            ratio = real * xp.asarray(1 / scale) if port.reciprocal else real / xp.asarray(scale)
            whole, zero = (ratio + zero, 0) if port.zero_point_first else (ratio, zero)
        whole = xp.clip(whole, -(2.0**62), 2.0**62)
    codes = xp.astype(round_real(xp, whole, port.rounding), xp.int64)
    codes = codes + zero if zero else codes
    if port.lanes and kind.size % port.lanes:
        codes = _behind_lanes(xp, port, x, codes)
    return overflow(xp, codes, fmt, port.overflow)


def _behind_lanes(xp: Namespace, port: InputPort, x: Array, codes: Array) -> Array:
    """The codes, but for those at a sample's end that vector code leaves to plain code."""
    quant, size = port.type.quant, port.type.size
    assert quant is not None, "lanes are of ports with a scale"
    whole = size // port.lanes * port.lanes
    scale = xp.asarray(np.array(quant.scale, np.float32).astype(np.float64))
    quotients = xp.astype(xp.astype(x, xp.float32), xp.float64) / scale
    away = round_real(xp, xp.clip(quotients, -(2.0**62), 2.0**62), Rounding.RND_INF)
    plain = xp.reshape(xp.astype(away, xp.int64) + quant.zero_point, (-1, size))
    rows = xp.reshape(codes, (-1, size))
    joined = xp.concat([rows[:, :whole], plain[:, whole:]], axis=1)
    return xp.reshape(joined, codes.shape)


def _fused(xp: Namespace, real: Array, factor: Any, added: float) -> Array:
    """`real * factor + added` of float32 numbers, rounded to float32 once.

    A product of two float32 numbers is exact in float64. Its sum is rounded there first, which
    matters where that lies half way between two float32 numbers: then its error decides.
    """
    product = xp.astype(real, xp.float64) * xp.asarray(factor.astype(np.float64))
    total = product + float(added)
    back = total - product
    error = (product - (total - back)) + (float(added) - back)
    near = xp.astype(xp.astype(total, xp.float32), xp.float64)
    other = 2 * total - near  # as far on the other side
    half_way = (near != total) & (xp.astype(xp.astype(other, xp.float32), xp.float64) == other)
    low, high = xp.minimum(near, other), xp.maximum(near, other)
    decided = xp.where(error > 0, high, low)
    return xp.astype(xp.where(half_way & (error != 0), decided, near), xp.float32)


def check_proven(xp: Namespace, port: InputPort, codes: Array) -> None:
    """Raise HwsimError for codes of reals outside of what the port says that there can be."""
    kind, fmt = port.type, port.type.format
    if kind.range is None:
        return
    low, high = overflow_range(fmt.min - 1, fmt.max + 1, fmt, port.overflow)
    if (kind.lo <= low and high <= kind.hi) or not codes.size:
        return
    lo, hi = int(xp.min(codes)), int(xp.max(codes))
    if lo < kind.lo or hi > kind.hi:
        raise HwsimError(
            f"input {port.name!r} must hold reals whose codes lie from {kind.lo} to {kind.hi}, not "
            f"{lo} to {hi}"
        )


def _scaled(xp: Namespace, real: Array, frac_bits: int) -> Array:
    """`real * 2**frac_bits`, or where that would vanish something as near to zero."""
    if frac_bits >= 0:
        return real * 2.0**frac_bits
    real = xp.astype(real, xp.float64)
    tiny = (xp.abs(real) < 2.0**-500) & (real != 0)
    return xp.where(tiny, xp.sign(real) * 2.0**-500, real) * 2.0**frac_bits


def _inside(fmt: Format, ends: Ends) -> bool:
    """Whether reals between the two ends cannot overflow a format, however they are rounded."""
    step = 2.0**-fmt.frac_bits
    return (fmt.min + 1) * step <= ends[0] and ends[1] <= (fmt.max - 1) * step


def _reduced(xp: Namespace, port: InputPort, real: Array) -> Array:
    """Reals near enough to zero to be scaled, with the same code after overflow."""
    fmt = port.type.format
    if port.overflow is not Overflow.WRAP:
        return xp.clip(real, -(2.0 ** (62 - fmt.frac_bits)), 2.0 ** (62 - fmt.frac_bits))
    turn = 2.0**fmt.int_bits
    some = xp.abs(real) < turn * 2.0**54  # beyond, a float64 is a whole number of turns
    real = xp.where(some, real, xp.zeros_like(real))
    return real - xp.trunc(real / turn) * turn


def decode(
    xp: Namespace, port: OutputPort, kind: TensorType, array: Array, as_codes: bool
) -> Array:
    """The codes of an output edge as its user takes them, or in int64."""
    if as_codes:
        out = xp.astype(array, xp.int64)
    elif port.element is not None:
        out = xp.astype(array, getattr(xp, ELEMENTS[port.element]))
    elif port.reals is not None:
        places = xp.reshape(xp.astype(array, xp.int64) - kind.format.min, (-1,))
        reals = xp.asarray(np.array(port.reals, np.float32))
        out = xp.reshape(xp.take(reals, places, axis=0), array.shape)
        if port.lanes and kind.size % port.lanes:
            whole = kind.size // port.lanes * port.lanes
            rows = (
                xp.reshape(held, (-1, kind.size)) for held in (out, dequantize(xp, kind, array))
            )
            first, rest = (
                part[:, cut]
                for part, cut in zip(rows, (slice(None, whole), slice(whole, None)), strict=True)
            )
            out = xp.reshape(xp.concat([first, rest], axis=1), array.shape)
    else:
        out = dequantize(xp, kind, array)
    out = to_user(xp, port, kind, out)
    return out if as_codes or not port.steps else computed(xp, port.steps, out)


def dequantize(xp: Namespace, kind: TensorType, codes: Array) -> Array:
    """Codes as reals: float32 as runtimes do, float64 where a power-of-two format needs more."""
    if kind.quant is None:
        wide = xp.float32 if kind.format.width <= 24 else xp.float64
        return xp.astype(xp.astype(codes, xp.float64) * 2.0**-kind.format.frac_bits, wide)
    centred = xp.astype(xp.astype(codes, xp.int64) - kind.quant.zero_point, xp.float32)
    return centred * xp.asarray(np.array(kind.quant.scale, np.float32))


def from_user(xp: Namespace, port: InputPort, kind: TensorType, array: Array) -> Array:
    """A batch as the user of a port sees it, in the shape and order of its edge."""
    array = _shaped(xp, array, seen_shape(kind, port))
    if port.axes is None:
        return array
    places = (port.axes.index(axis) + 1 for axis in range(len(port.axes)))
    return xp.permute_dims(array, (0, *places))


def to_user(xp: Namespace, port: OutputPort, kind: TensorType, array: Array) -> Array:
    """A batch on an edge, as the user of a port sees it."""
    if port.axes is not None:
        array = xp.permute_dims(array, (0, *(axis + 1 for axis in port.axes)))
    return _shaped(xp, array, user_shape(kind, port))


def _shaped(xp: Namespace, array: Array, shape: tuple[int, ...]) -> Array:
    same = tuple(array.shape[1:]) == shape
    return array if same else xp.reshape(array, (array.shape[0], *shape))
