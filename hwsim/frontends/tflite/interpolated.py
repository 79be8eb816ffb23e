"""Functions of int16 codes by tables between whose entries the kernels interpolate.

An exact graph of small tables, a product and a sum takes the place of 65,536 entries.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.fixed import Format, Overflow, Rounding
from hwsim.frontends.tflite.importer import LiteImporter
from hwsim.frontends.tflite.scaled import away
from hwsim.ops import Add, Cast, Mul, Quant, Requantize, Scheme, Table
from hwsim.ops.base import IntArray

ENTRIES = 512
REST = 7  # bits of a code between two entries
STEPS = 65535  # between the least and the largest code


def between(
    run: LiteImporter, name: str, edge: str, bits: int, base: IntArray, slope: IntArray
) -> str:
    """`base[k] + slope[k] * rest` of codes `k * 2**bits + rest`; the first k is -256."""
    kind = run.types[edge]
    high = Cast(out=Format(True, kind.format.width, -bits))
    index = run.emit(f"{name}.index", high, [edge], f"{name}.index")
    low = Cast(out=Format.uint(bits), overflow=Overflow.WRAP)
    rest = run.emit(f"{name}.rest", low, [edge], f"{name}.rest")
    start = run.emit(f"{name}.entry", _table(base), [index], f"{name}.entry")
    rise = run.emit(f"{name}.slope", _table(slope), [index], f"{name}.slope")
    moved = run.emit(f"{name}.moved", Mul(), [rise, rest], f"{name}.moved")
    return run.emit(f"{name}.between", Add(), [start, moved], f"{name}.between")


def _table(values: IntArray) -> Table:
    out = Format.holding(int(values.min()), int(values.max()))
    return Table(values=values, out=out, first=-values.size // 2)


def looked_up(run: LiteImporter, name: str, edge: str, entries: IntArray) -> str:
    """What the kernels' lookup of 513 entries gives for an int16 code."""
    exact = between(run, name, edge, REST, entries[:-1] << REST, np.diff(entries))
    rounding = halved(REST, Format.int(16))
    return run.emit(f"{name}.value", rounding, [exact], f"{name}.value")


def halved(
    bits: int, out: Format, rounding: Rounding = Rounding.RND, *, quant: Quant | None = None
) -> Requantize:
    """A right shift, rounded, that saturates."""
    return Requantize(
        scheme=Scheme.SHIFT, multiplier=(2.0**-bits,), out=out, rounding=rounding, quant=quant
    )


@cache
def entries_of(function: str, dtype: np.dtype[Any]) -> IntArray:
    """The 513 entries of `exp` over -10 to 0, or `reciprocal` of 1 + x over 0 to 1.

    `dtype` is the float type in which the kernels compute them. Source: TensorFlow Lite
    `internal/common.h`.
    """
    kind = dtype.type
    if function == "exp":
        scale, zero, real = kind(kind(10) / kind(STEPS)), 32767, _exp(kind)
    else:
        scale, zero, real = kind(kind(1) / kind(STEPS)), -32768, lambda x: kind(1) / (kind(1) + x)
    low, high = kind(scale * kind(-32768 - zero)), kind(scale * kind(32767 - zero))
    out = kind(kind(2) / kind(STEPS))
    return entries(real, low, high, out, kind)


def entries(
    real: Callable[[npt.NDArray[Any]], npt.NDArray[Any]], low: Any, high: Any, out: Any, kind: Any
) -> IntArray:
    """The 513 entries of a function from `low` to `high`, in steps of `out`, all of type `kind`.

    Each is moved by half of the error in the middle between it and the next one.
    """
    span = kind(kind(out * kind(32767)) - kind(out * kind(-32768)))
    inverse, step = kind(kind(65536) / span), kind(kind(high - low) / kind(ENTRIES))
    places = np.arange(ENTRIES + 1).astype(kind)
    at = (low + places[:-1] * step).astype(kind)
    values = real(at)
    middles, following = real((at + kind(step / 2)).astype(kind)), real(low + places[1:] * step)
    sample = away(values * inverse).astype(kind)
    mixed = away((following * inverse + sample) / kind(2))
    bias = away((mixed - away(middles * inverse)) / 2)
    last = away(np.asarray([real(np.asarray([high], kind))[0] * inverse]))
    moved = np.concatenate([sample.astype(np.int64) - bias, last])
    return np.asarray(np.clip(moved, -32768, 32767), np.int64)


def _exp(kind: type[Any]) -> Callable[[npt.NDArray[Any]], npt.NDArray[Any]]:
    """The exponential, rounded to the type."""
    return lambda x: np.exp(x.astype(np.float64)).astype(kind)
