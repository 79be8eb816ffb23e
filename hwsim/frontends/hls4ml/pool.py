"""Max and average pools; what a stream gathers it assigns first."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Overflow, Rounding
from hwsim.frontends.hls4ml.importer import LayerBuilder, window_of
from hwsim.frontends.hls4ml.types import Precision, read_precision
from hwsim.ops import Add, AvgPool, Divide, MaxPool, Reshape, Select, Stepwise, TensorType, Window

# Modes that give the same whether a code or its sum with a code on the coarser grid is rounded.
EVEN_HANDED = (Rounding.TRN, Rounding.RND, Rounding.RND_MIN_INF)
MOST_STEPS = 256
"""Of a window whose sums are added by operators of their own."""


def read_pool(build: LayerBuilder, layer: Any) -> None:
    """Max and average pools; what a stream gathers it assigns to `accum_t` first."""
    source = build.map(layer)
    kind, name = build.types[source], layer.outputs[0]
    whole = "pool_width" not in layer.attributes
    window = Window(kind.shape[:-1]) if whole else window_of(layer, "pool")
    if build.stream and not whole:
        _check_streamed(layer, window)
    acc = read_precision("the precision 'accum'", layer.get_attr("accum_t").precision)
    if layer.get_attr("pool_op") == "Max":
        if any(window.padding) and not kind.format.signed:
            source, window = _half_padded(build, name, source, window)
        if build.stream:
            source = build.cast(f"{name}/gathered", source, acc)
            pooled = build.add(f"{name}/max", MaxPool(window=window), source)
        else:
            pooled = build.add(f"{name}/max", MaxPool(window=window), source)
            pooled = build.cast(f"{name}/accum", pooled, acc)
    else:
        pooled = _average(build, layer, window, source, acc, whole=whole)
    shape = tuple(int(n) for n in layer.variables[name].shape)
    if build.types[pooled].shape != shape:
        pooled = build.add(f"{name}/shape", Reshape(shape=shape), pooled)
    build.finish(layer, pooled)


def _check_streamed(layer: Any, window: Window) -> None:
    """HwsimError for a window at which csim stops: an assertion of `nnet_pooling_stream.h`."""
    if any(window.padding):
        raise HwsimError("a pool in io_stream must have no padding: csim stops there")
    encoded = str(layer.model.config.get_conv_implementation(layer)).lower() == "encoded"
    if (encoded or len(window.kernel) == 2) and window.stride != window.kernel:
        raise HwsimError(
            f"a pool in io_stream must have a stride of its size, {window.kernel}, not "
            f"{window.stride}: csim stops there"
        )


def _half_padded(build: LayerBuilder, name: str, source: str, window: Window) -> tuple[str, Window]:
    """Padding of an unsigned map with its highest bit, half its range, as in C++ (`pad_val`)."""
    code = 1 << (build.types[source].format.width - 1)
    edge = build.padded(f"{name}/padded", source, window.padding, code)
    return edge, Window(window.kernel, window.stride)


def adds_alike(kind: TensorType, window: Window, acc: Precision) -> bool:
    """Whether a window's sum is the same where each code is assigned to `acc` before it is added.

    hls4ml assigns the sum of what it has and the next code, so the rounding must not look at that
    sum's sign or parity, and no sum may saturate.
    """
    drops = kind.format.frac_bits > acc.format.frac_bits
    most = window.size * kind.magnitude
    left = acc.format.frac_bits - kind.format.frac_bits
    fits = (most << max(left, 0)) >> max(-left, 0) < acc.format.max
    even = not drops or acc.rounding in EVEN_HANDED
    return even and (fits or acc.overflow is Overflow.WRAP)


def _average(
    build: LayerBuilder, layer: Any, window: Window, source: str, acc: Precision, *, whole: bool
) -> str:
    """The sum in `accum_t`, divided toward zero at its binary point."""
    kind, name = build.types[source], layer.outputs[0]
    if adds_alike(kind, window, acc) or (whole and build.stream):  # a stream's whole sum: in turn
        sums = AvgPool(
            window=window,
            accumulator=Stepwise(format=acc.format, rounding=acc.rounding, overflow=acc.overflow),
        )
        total = build.add(f"{name}/sum", sums, source)
    elif window.size > MOST_STEPS:
        raise HwsimError(
            f"an average pool's accumulator must hold its sums of {window.size} codes, or wrap and "
            f"round by {', '.join(r.value for r in EVEN_HANDED)}, not be {acc}"
        )
    else:
        total = _added(build, name, _views(build, name, source, window), acc)
    if whole or not build.stream:
        _check_divided(build.types[total], acc, window)
    counted = bool(layer.get_attr("count_pad", True)) or not any(window.padding)
    divisors = np.array([window.size]) if counted else _overlaps(window, kind, build.types[total])
    return build.add(f"{name}/mean", Divide(divisors=divisors), total)


def _check_divided(total: TensorType, acc: Precision, window: Window) -> None:
    """HwsimError for a negative `ap_int`, which the C++ divides as if it were unsigned."""
    if acc.whole and total.lo < 0 and window.size > 1:
        raise HwsimError(
            f"an average pool's accumulator must be fixed<…>, or never negative, not "
            f"int<{acc.format.width}>: ap_types divide a negative ap_int as an unsigned number"
        )


def _views(build: LayerBuilder, name: str, source: str, window: Window) -> list[str]:
    """The codes that each position of the window meets, row by row."""
    if any(window.padding):
        source = build.padded(f"{name}/around", source, window.padding)
    counts = window.positions(build.types[source].shape[:-1])
    found = []
    for place in itertools.product(*map(range, window.kernel)):
        edge = source
        for axis, (first, count) in enumerate(zip(place, counts, strict=True)):
            stride = window.stride[axis]
            indices = tuple(range(first, first + count * stride, stride))
            if len(indices) != build.types[edge].shape[axis]:
                at = f"{name}/{'.'.join(map(str, place))}/{axis}"
                edge = build.add(at, Select(axis=axis, indices=indices), edge)
        found.append(edge)
    return found


def _added(build: LayerBuilder, name: str, terms: Sequence[str], acc: Precision) -> str:
    """The terms' sum in `accum_t`: one after the other; in a stream, each assigned, as a tree."""
    if build.stream:
        held = [build.cast(f"{name}/term{k}", term, acc) for k, term in enumerate(terms)]
        return _tree(build, f"{name}/sum", held, acc)
    total = build.cast(f"{name}/sum0", terms[0], acc)
    for place, term in enumerate(terms[1:], 1):
        total = _pair(build, f"{name}/sum{place}", total, term, acc)
    return total


def _tree(build: LayerBuilder, name: str, terms: Sequence[str], acc: Precision) -> str:
    """`reduce` of `nnet_common.h`: left as many terms as the largest power of two below all."""
    if len(terms) == 1:
        return terms[0]
    most = 1 << (len(terms) - 1).bit_length() - 1
    left = _tree(build, f"{name}.0", terms[:most], acc)
    right = _tree(build, f"{name}.1", terms[most:], acc)
    return _pair(build, name, left, right, acc)


def _pair(build: LayerBuilder, name: str, a: str, b: str, acc: Precision) -> str:
    return build.cast(name, build.add(f"{name}/full", Add(), a, b), acc)


def _overlaps(window: Window, kind: TensorType, out: TensorType) -> Any:
    """How many positions of each window lie on the map."""
    found: Any = np.ones((), np.int64)
    for axis, (first, _) in enumerate(window.ends):
        starts = np.arange(out.shape[axis]) * window.stride[axis] - first
        ends = np.minimum(starts + window.kernel[axis], kind.shape[axis])
        found = np.multiply.outer(found, ends - np.maximum(starts, 0))
    return found
