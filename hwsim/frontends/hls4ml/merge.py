"""Layers of two inputs: sums, products, the larger one, the dot product (`nnet_merge.h`)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.frontends.hls4ml.factors import is_bit, is_ternary
from hwsim.frontends.hls4ml.importer import LayerBuilder, accumulator
from hwsim.frontends.hls4ml.types import Precision
from hwsim.ops import (
    Add,
    AvgPool,
    BatchNorm,
    Maximum,
    Minimum,
    Mul,
    Op,
    Reshape,
    Select,
    Sub,
    Table,
    Window,
)

# What each computes; an average's sum is then halved.
MERGED: Mapping[str, Op] = {
    "add": Add(),
    "subtract": Sub(),
    "multiply": Mul(),
    "average": Add(),
    "maximum": Maximum(),
    "minimum": Minimum(),
}


def merged(layer: Any) -> str:
    """What a Merge computes, in lower case."""
    return str(layer.get_attr("op")).lower()


def read_merge(build: LayerBuilder, layer: Any) -> None:
    """The function of both at full precision, then the result's type."""
    name, what = layer.outputs[0], merged(layer)
    shape = tuple(int(n) for n in layer.variables[name].shape)
    pair = _together(build, layer, shape)
    edge = build.add(f"{name}/full", MERGED[what], *pair)
    if what == "average":
        edge = build.add(f"{name}/half", _half(build.types[edge].channels), edge)
    if build.types[edge].shape != shape:
        edge = build.add(f"{name}/shape", Reshape(shape=shape), edge)
    build.finish(layer, edge)


def _half(channels: int) -> BatchNorm:
    """The same codes at a binary point one bit further left."""
    ones, none = np.ones(channels, np.int64), np.zeros(channels, np.int64)
    return BatchNorm(scale=ones, bias=none, scale_format=Format(True, 1, 1))


def _together(build: LayerBuilder, layer: Any, shape: tuple[int, ...]) -> list[str]:
    """Both inputs, so that they broadcast as C++ does it: code `i` meets code `i % size`.

    C++ makes as many codes as one of its sizes, which hls4ml chooses by comparing them as text.
    """
    edges = [build.edge(name) for name in layer.inputs]
    given = [layer.get_input_variable(name).shape for name in layer.inputs]
    texts = ["*".join(str(int(n)) for n in one) for one in given]
    shapes = [build.types[edge].shape for edge in edges]
    if shapes[0] == shapes[1]:
        return edges
    if build.stream and texts[0] != texts[1]:
        raise HwsimError(f"its inputs must have one shape under io_stream, not {_two(shapes)}")
    made, size = (math.prod(map(int, text.split("*"))) for text in (max(texts), _text(shape)))
    if made < size:
        raise HwsimError(
            f"its inputs must have one shape, not {_two(shapes)}: hls4ml's C++ makes only {made} "
            f"of {size} codes"
        )
    big = 0 if math.prod(shapes[0]) >= math.prod(shapes[1]) else 1
    name = layer.outputs[0]
    edges[1 - big], whole = _stretched(build, f"{name}/other", edges[1 - big], shapes[big])
    if whole is not None:
        edges[big] = build.add(f"{name}/rows", Reshape(shape=whole), edges[big])
    return edges


def _text(shape: tuple[int, ...]) -> str:
    return "*".join(map(str, shape))


def _two(shapes: list[tuple[int, ...]]) -> str:
    return f"{shapes[0]} and {shapes[1]}"


def _stretched(
    build: LayerBuilder, name: str, edge: str, wanted: tuple[int, ...]
) -> tuple[str, tuple[int, ...] | None]:
    """The smaller input, and the shape that the larger one must have beside it if not its own."""
    shape, size = build.types[edge].shape, math.prod(wanted)
    few = build.types[edge].size
    plain = shape
    while len(plain) > 1 and plain[0] == 1:
        plain = plain[1:]
    if plain == wanted[len(wanted) - len(plain) :]:
        return edge, None
    if few == size:
        return build.add(name, Reshape(shape=wanted), edge), None
    flat = build.add(f"{name}/flat", Reshape(shape=(few,)), edge) if len(shape) > 1 else edge
    if size % few == 0:
        return flat, (size // few, few)
    indices = tuple(k % few for k in range(size))
    return build.add(name, Select(axis=0, indices=indices), flat), (size,)


def read_dot(build: LayerBuilder, layer: Any) -> None:
    """Products and partial sums of two vectors in `accum_t`."""
    name = layer.outputs[0]
    edges = [build.edge(i) for i in layer.inputs]
    types = [layer.get_input_variable(i).type.precision for i in layer.inputs]
    if any(is_bit(precision) for precision in types):
        raise HwsimError("the inputs of a dot product must have more than one bit")
    if is_ternary(types[1]) and build.types[edges[1]].lo < -1:  # see factors: -2 is taken as 1
        table = Table(values=np.array([1, -1, 0, 1]), out=Format.int(2))
        edges[1] = build.add(f"{name}/ternary", table, edges[1])
    acc = accumulator(layer)
    product = build.add(f"{name}/products", Mul(), *edges)
    kind = Precision(acc.format, acc.rounding, acc.overflow)
    product = build.cast(f"{name}/terms", product, kind)
    size = build.types[product].size
    line = build.add(f"{name}/line", Reshape(shape=(size, 1)), product)
    total = build.add(f"{name}/sum", AvgPool(window=Window((size,)), accumulator=acc), line)
    build.finish(layer, build.add(f"{name}/one", Reshape(shape=(1,)), total))
