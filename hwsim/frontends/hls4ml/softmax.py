"""Softmax in hls4ml's four implementations (`nnet_activation.h`, `nnet_activation_stream.h`).

All are composed of general operators. What the C++ loses on the way, an index of few bits, a
difference that wraps, a sum that saturates, is lost here too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Format, Overflow, Rounding
from hwsim.frontends.hls4ml import tables
from hwsim.frontends.hls4ml.importer import LayerBuilder, result
from hwsim.frontends.hls4ml.lookup import check_size, converted, index, table_from
from hwsim.frontends.hls4ml.types import Precision, assigned, read_precision
from hwsim.frontends.shared.glibc import expf
from hwsim.ops import (
    Balanced,
    BatchNorm,
    Mul,
    Reduce,
    Reduction,
    Relu,
    Reshape,
    Sub,
    Table,
    Transpose,
)
from hwsim.ops.base import IntArray

LEGACY = Precision(Format(True, 8, 10), Rounding.TRN, Overflow.WRAP)
"""The type of the legacy tables, which no configuration changes."""
LEGACY_STREAMED = 1024
"""Entries of the legacy tables in a stream, which no configuration changes either."""


@dataclass(frozen=True, slots=True)
class SoftmaxLayer:
    """One layer: its attributes, its result's type, and the names of its nodes."""

    layer: Any
    build: LayerBuilder
    result: Precision

    def type(self, name: str) -> Precision:
        """A type of the layer; that of the reciprocal's index may stand for the table's."""
        held = self.layer.get_attr(f"{name}_t")
        if name == "inv_inp" and getattr(held, "name", "") == "model_default_t":
            held = self.layer.get_attr("exp_table_t")
        return read_precision(f"the precision {name!r}", getattr(held, "precision", held))

    def size(self, name: str) -> int:
        """Entries of one of the two tables; both may have a size of their own."""
        given = self.layer.get_attr(f"{name}_table_size") or self.layer.get_attr("table_size")
        return int(given)

    def add(self, what: str, op: Any, *edges: str) -> str:
        """A node of this layer."""
        return self.build.add(f"{self.layer.outputs[0]}/{what}", op, *edges)

    def cast(self, what: str, edge: str, kind: Precision) -> str:
        """An assignment in this layer."""
        return self.build.cast(f"{self.layer.outputs[0]}/{what}", edge, kind)

    def channels(self, edge: str) -> int:
        """How many codes a softmax is taken over: the innermost axis."""
        return self.build.types[edge].channels

    def last(self, edge: str) -> tuple[int, ...]:
        """The innermost axis."""
        return (len(self.build.types[edge].shape) - 1,)


def read_softmax(build: LayerBuilder, layer: Any) -> None:
    """The layer's implementation over slices that are brought to the innermost axis."""
    source = build.edge(layer.inputs[0])
    kind, name = build.types[source], layer.outputs[0]
    outer, length, inner = _slices(build, layer, kind.shape)
    lies = kind.shape[-1] == length and inner == 1
    if not lies:
        source = build.add(f"{name}/slices", Reshape(shape=(outer, length, inner)), source)
        source = build.add(f"{name}/inward", Transpose(axes=(0, 2, 1)), source)
    one = SoftmaxLayer(layer, build, result(layer))
    made = IMPLEMENTATIONS[implementation(layer)](one, source)
    if not lies:
        made = build.add(f"{name}/outward", Transpose(axes=(0, 2, 1)), made)
        made = build.add(f"{name}/shape", Reshape(shape=kind.shape), made)
    build.finish(layer, made)


def implementation(layer: Any) -> str:
    """Which of the four."""
    return str(layer.get_attr("implementation") or "stable").lower()


def _slices(build: LayerBuilder, layer: Any, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Slices, their length, and how far their codes lie apart.

    A stream's slices are its beats. In parallel a layer that says nothing is one slice, even where
    its tensor has several axes.
    """
    size = math.prod(shape)
    if build.stream:
        axis = layer.get_attr("axis", -1)
        if axis not in (None, -1):
            raise HwsimError(f"a streamed softmax must be over axis -1, not {axis}")
        return size // shape[-1], shape[-1], 1
    outer, inner = (int(layer.get_attr(f"n_{side}") or 1) for side in ("outer", "inner"))
    if size % (outer * inner):
        raise HwsimError(
            f"a softmax's n_outer and n_inner must divide its {size} codes, not be {outer} and "
            f"{inner}"
        )
    return outer, size // outer // inner, inner


def stable(one: SoftmaxLayer, source: str) -> str:
    """`exp(x - max)` over its sum; the difference is kept in the unsigned `inp_norm_t`."""
    given = one.build.types[source].format
    size = one.size("exp")
    if one.layer.get_attr("inp_norm_t") is None:
        width = given.width - given.signed
        if width < 1:
            raise HwsimError("a softmax's input must have 2 bits or more")
        unsigned = Format(False, given.int_bits - given.signed, given.frac_bits)
        norm = Precision(unsigned, Rounding.TRN, Overflow.WRAP)
        if given.signed:
            size = min(one.size("inv"), 1 << width)
    else:
        norm = one.type("inp_norm")
    top = one.add("max", Reduce(reduction=Reduction.MAX, axes=one.last(source)), source)
    below = one.add("below", Sub(), top, source)
    return _normalized(one, _exponentials(one, below, norm, size, negative=True))


def latency(one: SoftmaxLayer, source: str) -> str:
    """`exp(x)` over its sum, without a look at the largest."""
    given = Precision(one.build.types[source].format, Rounding.TRN, Overflow.WRAP)
    return _normalized(one, _exponentials(one, source, given, one.size("exp"), negative=False))


def _exponentials(
    one: SoftmaxLayer, source: str, kind: Precision, size: int, *, negative: bool
) -> str:
    """The exponential of a number, looked up by its leading bits, as a term of the sum."""
    entries, place = _leading(one, "index", source, kind, size)
    scale = np.float32(one.layer.get_attr("exp_scale") or 1.0)
    numbers = entries * scale
    values = expf(-numbers if negative else numbers).astype(np.float64)
    made = assigned(values, table := one.type("exp_table"))
    accum = one.type("accum")
    return one.add("exp", Table(values=converted(made, table, accum), out=accum.format), place)


def _normalized(one: SoftmaxLayer, terms: str) -> str:
    """Terms times the reciprocal of their sum, which is looked up by its leading bits too."""
    accum, index_type = one.type("accum"), one.type("inv_inp")
    total = one.cast("sum", _sum(one, terms, accum), index_type)
    entries, place = _leading(one, "sum_index", total, index_type, one.size("inv"))
    with np.errstate(divide="ignore"):
        values = (np.float32(1) / entries).astype(np.float64)
    made = one.type("inv_table")
    table = Table(values=assigned(values, made), out=made.format)
    product = one.add("product", Mul(), terms, one.add("inverse", table, place))
    return one.cast("result", product, one.result)


def _sum(one: SoftmaxLayer, terms: str, accum: Precision) -> str:
    """hls4ml's tree of sums of a type; exact and then assigned, where that is the same."""
    kind, axes = one.build.types[terms], one.last(terms)
    count = one.channels(terms)
    ends = (min(count * kind.lo, kind.lo), max(count * kind.hi, kind.hi))
    if accum.overflow is Overflow.WRAP or accum.holds(*ends, accum.format.frac_bits):
        exact = one.add("total", Reduce(reduction=Reduction.SUM, axes=axes), terms)
        return one.cast("accum", exact, accum)
    tree = Balanced(format=accum.format, rounding=accum.rounding, overflow=accum.overflow)
    return one.add("total", Reduce(reduction=Reduction.SUM, axes=axes, accumulator=tree), terms)


def _leading(
    one: SoftmaxLayer, what: str, source: str, kind: Precision, size: int
) -> tuple[tables.Float32s, str]:
    """The leading bits of a number assigned to a type, and the numbers that these stand for.

    As many bits as a table of `size` entries needs. One cast does both where the type wraps.
    """
    check_size(size)
    bits, fmt = size.bit_length() - 1, kind.format
    if size & (size - 1) or bits > fmt.width:
        raise HwsimError(
            f"a softmax's table must have a power of two of entries, {1 << min(fmt.width, 18)} at "
            f"the most for codes of {fmt}, not {size}"
        )
    if (kind.rounding, kind.overflow) != (Rounding.TRN, Overflow.WRAP):
        source = one.cast(f"{what}_of", source, kind)
    short = Format(fmt.signed, fmt.int_bits, bits - fmt.int_bits)
    place = one.cast(what, source, Precision(short, Rounding.TRN, Overflow.WRAP))
    codes = np.arange(short.min, short.max + 1)
    return np.ldexp(codes.astype(np.float32), -short.frac_bits), place


def argmax(one: SoftmaxLayer, source: str) -> str:
    """1 for the largest, the first of several: a place added below a code makes all unlike."""
    count, kind = one.channels(source), one.build.types[source]
    bits = (count - 1).bit_length()
    places = BatchNorm(
        scale=np.full(count, 1 << bits),
        bias=np.arange(count)[::-1],
        scale_format=Format.uint(bits + 1),
        bias_frac=kind.format.frac_bits,
    )
    keys = one.add("keys", places, source)
    top = one.add("max", Reduce(reduction=Reduction.MAX, axes=one.last(keys)), keys)
    below = one.add("below", Sub(), keys, top)
    least = max(-1, one.build.types[below].format.min)
    near = one.add("near", Relu(zero_point=least, maximum=0), below)
    whole = Precision(Format.uint(1), Rounding.TRN, Overflow.WRAP)
    values = converted(np.array([0, 1])[1 + least :], whole, one.result)
    return one.add("first", Table(values=values, out=one.result.format, first=least), near)


def legacy(one: SoftmaxLayer, source: str) -> str:
    """1 over the sum of `exp` of all pairwise differences."""
    stream = one.build.stream
    size, inverse_size = (LEGACY_STREAMED if stream else one.size(name) for name in ("exp", "inv"))
    check_size(size)
    check_size(inverse_size)
    shape = one.build.types[source].shape
    rows = one.add("rows", Reshape(shape=(*shape[:-1], 1, shape[-1])), source)
    columns = one.add("columns", Reshape(shape=(*shape, 1)), source)
    differences = one.add("differences", Sub(), rows, columns)
    half = size // 2
    entries = assigned(tables.exponential(size), LEGACY)
    terms = _looked_up(one, "exp", differences, size, 16, -half, entries)
    total = one.add("total", Reduce(reduction=Reduction.SUM, axes=one.last(terms)), terms)
    total = one.add("flat", Reshape(shape=shape), total)
    unit = 1 << LEGACY.format.frac_bits
    if entries[half] != unit:  # a code's difference from itself counts as 1, whatever the table has
        op = BatchNorm(
            scale=np.ones(shape[-1], np.int64),
            bias=np.full(shape[-1], unit - int(entries[half])),
            scale_format=Format.uint(1),
            bias_frac=LEGACY.format.frac_bits,
        )
        total = one.add("itself", op, total)
    total = one.cast("sum", total, LEGACY)
    values = assigned(tables.inverse(inverse_size), LEGACY)
    values = converted(values, LEGACY, one.result)
    return _looked_up(one, "inverse", total, inverse_size, 64, 0, values, one.result)


def _looked_up(
    one: SoftmaxLayer,
    what: str,
    source: str,
    size: int,
    span: int,
    low: int,
    entries: IntArray,
    kind: Precision = LEGACY,
) -> str:
    """An entry by `int(x * size / span)`, the first at the index `low`."""
    x = one.build.types[source]
    ops = index(x, size, span, low, low + size - 1)
    for place, op in enumerate((*ops, table_from(x, ops, entries, low, kind))):
        source = one.add(f"{what}/{place}", op, source)
    return source


IMPLEMENTATIONS: Mapping[str, Callable[[SoftmaxLayer, str], str]] = {
    "stable": stable,
    "latency": latency,
    "argmax": argmax,
    "legacy": legacy,
}
"""What each implementation composes, after an edge with the slices innermost."""
