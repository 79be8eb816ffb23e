"""Max and average pools; what a stream gathers it assigns first."""

from __future__ import annotations

from typing import Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Overflow, Rounding
from hwsim.frontends.hls4ml.importer import LayerBuilder, window_of
from hwsim.frontends.hls4ml.types import Precision, read_precision
from hwsim.ops import AvgPool, Divide, MaxPool, Reshape, Stepwise, TensorType, Window

# Modes that give the same whether a code or its sum with a code on the coarser grid is rounded.
EVEN_HANDED = (Rounding.TRN, Rounding.RND, Rounding.RND_MIN_INF)


def read_pool(build: LayerBuilder, layer: Any) -> None:
    """Max and average pools; what a stream gathers it assigns to `accum_t` first."""
    source = build.edge(layer.inputs[0])
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
        pooled = _average(build, layer, window, source, acc)
    if set(kind.shape[:-1]) != {1} and layer.variables[name].shape != list(
        build.types[pooled].shape
    ):
        shape = tuple(int(n) for n in layer.variables[name].shape)
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


def _average(build: LayerBuilder, layer: Any, window: Window, source: str, acc: Precision) -> str:
    """The sum in `accum_t`, divided toward zero at its binary point."""
    kind, name = build.types[source], layer.outputs[0]
    sums = AvgPool(
        window=window,
        accumulator=Stepwise(format=acc.format, rounding=acc.rounding, overflow=acc.overflow),
    )
    if not adds_alike(kind, window, acc):
        raise HwsimError(
            f"an average pool's accumulator must hold its sums, or wrap and round by "
            f"{', '.join(r.value for r in EVEN_HANDED)}, not be {acc.format} with "
            f"{acc.rounding.value} and {acc.overflow.value}"
        )
    total = build.add(f"{name}/sum", sums, source)
    counted = bool(layer.get_attr("count_pad", True)) or not any(window.padding)
    divisors = np.array([window.size]) if counted else _overlaps(window, kind, build.types[total])
    return build.add(f"{name}/mean", Divide(divisors=divisors), total)


def _overlaps(window: Window, kind: TensorType, out: TensorType) -> Any:
    """How many positions of each window lie on the map."""
    found: Any = np.ones((), np.int64)
    for axis, (first, _) in enumerate(window.ends):
        starts = np.arange(out.shape[axis]) * window.stride[axis] - first
        ends = np.minimum(starts + window.kernel[axis], kind.shape[axis])
        found = np.multiply.outer(found, ends - np.maximum(starts, 0))
    return found
