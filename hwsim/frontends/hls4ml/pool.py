"""Max and average pools; what a stream gathers it assigns first."""

from __future__ import annotations

from typing import Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Overflow, Rounding
from hwsim.frontends.hls4ml.importer import SIDES, LayerBuilder
from hwsim.frontends.hls4ml.types import Precision, read_precision
from hwsim.ops import AvgPool, Divide, MaxPool, Reshape, Stepwise, TensorType, Window

# Modes that give the same whether a code or its sum with a code on the coarser grid is rounded.
EVEN_HANDED = (Rounding.TRN, Rounding.RND, Rounding.RND_MIN_INF)


def read_pool(build: LayerBuilder, layer: Any) -> None:
    """Max and average pools; what a stream gathers it assigns to `accum_t` first."""
    source = build.edge(layer.inputs[0])
    kind, name = build.types[source], layer.outputs[0]
    if "pool_height" in layer.attributes:
        window = Window(
            (int(layer.get_attr("pool_height")), int(layer.get_attr("pool_width"))),
            (int(layer.get_attr("stride_height")), int(layer.get_attr("stride_width"))),
            tuple(int(layer.get_attr(f"pad_{side}", 0)) for side in SIDES),
        )
    else:
        window = Window((kind.shape[0], kind.shape[1]))
    acc = read_precision("the precision 'accum'", layer.get_attr("accum_t").precision)
    if layer.get_attr("pool_op") == "Max":
        if any(window.padding) and not kind.format.signed:
            raise HwsimError("a padded max pool's input must be signed: hls4ml pads wrongly here")
        if build.stream:
            source = build.cast(f"{name}/gathered", source, acc)
            pooled = build.add(f"{name}/max", MaxPool(window=window), source)
        else:
            pooled = build.add(f"{name}/max", MaxPool(window=window), source)
            pooled = build.cast(f"{name}/accum", pooled, acc)
    else:
        pooled = _average(build, layer, window, source, acc)
    if kind.shape[:2] != (1, 1) and layer.variables[name].shape != list(build.types[pooled].shape):
        shape = tuple(int(n) for n in layer.variables[name].shape)
        pooled = build.add(f"{name}/shape", Reshape(shape=shape), pooled)
    build.finish(layer, pooled)


def _average(build: LayerBuilder, layer: Any, window: Window, source: str, acc: Precision) -> str:
    """The sum in `accum_t`, divided toward zero at its binary point."""
    kind, name = build.types[source], layer.outputs[0]
    sums = AvgPool(
        window=window,
        accumulator=Stepwise(format=acc.format, rounding=acc.rounding, overflow=acc.overflow),
    )
    drops = kind.format.frac_bits > acc.format.frac_bits
    most = window.size * kind.magnitude
    left = acc.format.frac_bits - kind.format.frac_bits
    fits = (most << max(left, 0)) >> max(-left, 0) < acc.format.max
    if (drops and acc.rounding not in EVEN_HANDED) or not (fits or acc.overflow is Overflow.WRAP):
        raise HwsimError(
            f"an average pool's accumulator must hold its sums, or wrap and round by "
            f"{', '.join(r.value for r in EVEN_HANDED)}, not be {acc.format} with "
            f"{acc.rounding.value} and {acc.overflow.value}"
        )
    total = build.add(f"{name}/sum", sums, source)
    height, width = build.types[total].shape[:2]
    counted = bool(layer.get_attr("count_pad", True)) or not any(window.padding)
    divisors = np.array([window.size]) if counted else _overlaps(window, kind, height, width)
    return build.add(f"{name}/mean", Divide(divisors=divisors), total)


def _overlaps(window: Window, kind: TensorType, height: int, width: int) -> Any:
    """How many positions of each window lie on the map."""

    def along(axis: int, count: int) -> list[int]:
        first, size = window.padding[axis], kind.shape[axis]
        found = []
        for k in range(count):
            start = k * window.stride[axis] - first
            found.append(min(start + window.kernel[axis], size) - max(start, 0))
        return found

    return np.outer(along(0, height), along(1, width))
