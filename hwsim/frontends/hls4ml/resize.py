"""Layers that give a line or a map other ends, or another size: paddings, crops, resizes."""

from __future__ import annotations

import math
from typing import Any

from hwsim.errors import HwsimError
from hwsim.frontends.hls4ml.importer import LayerBuilder, result, sides_of
from hwsim.frontends.hls4ml.types import read_precision
from hwsim.ops import Select


def read_zero_padding(build: LayerBuilder, layer: Any) -> None:
    """Kept for the layers that follow: convolutions take it in, others read a Pad."""
    _channels_last(layer)
    name = layer.outputs[0]
    source = build.cast(f"{name}/value", build.map(layer), result(layer))
    build.edges[name] = source
    rank = len(build.types[source].shape) - 1
    build.paddings[name] = tuple(int(layer.get_attr(f"pad_{side}")) for side in sides_of(rank))


def read_cropping(build: LayerBuilder, layer: Any) -> None:
    """What is left of each axis (`nnet_cropping.h`)."""
    _channels_last(layer)
    source, name = build.map(layer), layer.outputs[0]
    shape = tuple(int(n) for n in layer.variables[name].shape)
    befores = sides_of(len(shape) - 1)[: len(shape) - 1]
    for axis, side in enumerate(befores):
        first = int(layer.get_attr(f"crop_{side}"))
        indices = tuple(range(first, first + shape[axis]))
        if len(indices) != build.types[source].shape[axis]:
            source = build.add(f"{name}/{side}", Select(axis=axis, indices=indices), source)
    build.finish(layer, source)


def read_resize(build: LayerBuilder, layer: Any) -> None:
    """The nearest position, found as C++ finds it (`nnet_image.h`)."""
    _channels_last(layer)
    if str(layer.get_attr("algorithm")) != "nearest":
        raise HwsimError(f"a resize's algorithm must be nearest, not {layer.get_attr('algorithm')}")
    given = read_precision("the input's precision", layer.get_input_variable().type.precision)
    if result(layer) != given:
        raise HwsimError(
            f"a resize's result must be of its input's type, {given}, not {result(layer)}: the C++ "
            "of hls4ml 1.3 copies between one type only"
        )
    source, name = build.map(layer), layer.outputs[0]
    shape = tuple(int(n) for n in layer.variables[name].shape)
    for axis, (was, wanted) in enumerate(
        zip(build.types[source].shape[:-1], shape[:-1], strict=True)
    ):
        if was != wanted:
            indices = _nearest(was, wanted, stream=build.stream)
            source = build.add(f"{name}/{axis}", Select(axis=axis, indices=indices), source)
    build.finish(layer, source)


def _nearest(was: int, wanted: int, *, stream: bool) -> tuple[int, ...]:
    """Which of `was` positions each of the wanted ones shows."""
    if stream:
        if wanted % was:
            raise HwsimError(
                f"a resize under io_stream must be to a multiple of {was}, not to {wanted}: csim "
                "stops there"
            )
        return tuple(k // (wanted // was) for k in range(wanted))
    ratio = (was << 16) // wanted + 1
    return tuple((k * ratio) >> 16 for k in range(wanted))


def _channels_last(layer: Any) -> None:
    if layer.get_attr("data_format") == "channels_first":
        raise HwsimError("data_format must be channels_last, not channels_first")


def read_broadcast(build: LayerBuilder, layer: Any) -> None:
    """Axes of length 1 repeated, which hls4ml inserts before a streamed Merge under Vivado."""
    source, name = build.edge(layer.inputs[0]), layer.outputs[0]
    shape = tuple(int(n) for n in layer.variables[name].shape)
    for axis, (was, wanted) in enumerate(zip(build.types[source].shape, shape, strict=True)):
        if was != wanted:
            indices = (0,) * wanted
            source = build.add(f"{name}/{axis}", Select(axis=axis, indices=indices), source)
    if math.prod(shape) != build.types[source].size:
        raise HwsimError(f"a broadcast must give {shape}, not {build.types[source].shape}")
    build.finish(layer, source)
