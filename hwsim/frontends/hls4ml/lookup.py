"""Tables that are indexed by a number: the index as hls4ml's C++ computes it, then the entry."""

from __future__ import annotations

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Format, Overflow, Rounding, round_int
from hwsim.frontends.hls4ml import tables
from hwsim.frontends.hls4ml.types import Precision, assigned
from hwsim.ops import BatchNorm, Carrier, Cast, Op, Relu, Table, TensorType
from hwsim.ops.base import IntArray
from hwsim.ops.elementwise import MOST_ENTRIES

REACH = {"sigmoid": 8, "tanh": 4, "softplus": 8, "softsign": 8}
"""How far to both sides of 0 the table of a function goes."""


def lookup(
    function: str, size: int, table: Precision, result: Precision, x: TensorType
) -> tuple[Op, ...]:
    """sigmoid, tanh, softplus or softsign of a tensor: operators one after the other.

    `int(x * size / 16) + size / 2`, with 8 for 16 in tanh, cut to the table's ends, is the index of
    an entry of type `table`, which is then assigned to `result` (`nnet_activation.h`).
    """
    check_size(size)
    entries = assigned(tables.ENTRIES[function](size), table)
    half = size // 2
    chain = index(x, size, 2 * REACH[function], -half, size - 1 - half)
    return (*chain, table_from(x, chain, converted(entries, table, result), -half, result))


def check_size(size: int) -> None:
    """HwsimError where a table is too large or empty."""
    if not 2 <= size <= tables.MOST_ENTRIES:
        raise HwsimError(f"a table must have 2 to {tables.MOST_ENTRIES} entries, not {size}")


def converted(codes: IntArray, source: Precision, result: Precision) -> IntArray:
    """Codes of one type as codes of another, as an assignment gives them."""
    return after(source.format, codes, (result.cast(),))


def after(fmt: Format, codes: IntArray, ops: tuple[Op, ...]) -> IntArray:
    """What operators on single codes make of some codes of a format."""
    kind, found = TensorType((1,), fmt), codes[:, None]
    for op in ops:
        found = op.run(np, [found], op.prepare([kind], Carrier.INT64))
        (kind,) = op.output_types([kind])
    return np.asarray(found[:, 0], np.int64)


def index(x: TensorType, size: int, span: int, low: int, high: int) -> tuple[Op, ...]:
    """`int(x * size / span)`, cut to `low..high`.

    Both steps are toward zero, at the binary point of x where that is left of the units, then at
    the units. HwsimError where C++'s int would overflow.
    """
    frac = x.format.frac_bits
    most = (x.magnitude * size << max(-frac, 0)) // (span << max(frac, 0))
    if most >= (1 << 31) - size:
        raise HwsimError(
            f"a number that a table of {size} entries is indexed by must be below 2**31 steps of "
            f"it, not of {x.format}"
        )
    power = size & (size - 1) == 0
    if power and (frac >= 0 or size % span == 0) and low in (-high - 1, -high, 0):
        bits = (high - low).bit_length()
        point = size.bit_length() - span.bit_length()
        mode = Overflow.SAT_SYM if low == -high else Overflow.SAT
        fmt = Format(low < 0, bits - point, point)
        return (Cast(out=fmt, rounding=Rounding.TRN_ZERO, overflow=mode),)
    return _scaled_index(x, size, span, low, high)


def _scaled_index(x: TensorType, size: int, span: int, low: int, high: int) -> tuple[Op, ...]:
    """The index by a product, where the size is no power of two."""
    fine = span.bit_length() - 1
    scale = BatchNorm(
        scale=np.full(x.channels, size),
        bias=np.zeros(x.channels, np.int64),
        scale_format=Format.holding(0, size, fine),
    )
    (product,) = scale.output_types([x])
    point = min(x.format.frac_bits, 0)
    ends = [
        round_int(end, product.format.frac_bits - point, Rounding.TRN_ZERO)
        for end in (product.lo, product.hi)
    ]
    whole = Format.holding(ends[0], ends[1], point)
    ops: list[Op] = [scale, Cast(out=whole, rounding=Rounding.TRN_ZERO)]
    units = Format.holding(ends[0] << -point, ends[1] << -point)
    if point:
        ops.append(Cast(out=units))
    low, high = max(low, units.min), min(high, units.max)
    return (*ops, Relu(zero_point=low, maximum=high))


def table_from(
    x: TensorType, chain: tuple[Op, ...], entries: IntArray, first: int, result: Precision
) -> Table:
    """The table after the operators of an index, whose first entry is that of the index `first`."""
    kind = x
    for op in chain:
        (kind,) = op.output_types([kind])
    if entries.size <= MOST_ENTRIES:
        return Table(values=entries, out=result.format, first=first)
    places = np.arange(kind.format.min, kind.format.max + 1) - first
    return Table(values=entries[np.clip(places, 0, entries.size - 1)], out=result.format)
