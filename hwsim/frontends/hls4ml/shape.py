"""Layers that only move codes: concatenations, reshapes, transposes, clones."""

from __future__ import annotations

import math
from typing import Any

from hwsim.errors import HwsimError
from hwsim.frontends.hls4ml.importer import LayerBuilder, result
from hwsim.ops import Concat, Reshape, Transpose


def read_concatenate(build: LayerBuilder, layer: Any) -> None:
    """Each input is assigned to the result's type, then one comes after the other.

    C++ knows the last axis by -1 or its number with the batch's, the middle one of three by 2 or
    -2, and takes any other number for the first (`nnet_merge.h`).
    """
    name, precision = layer.outputs[0], result(layer)
    sources = [build.edge(i) for i in layer.inputs]
    rank = len(build.types[sources[0]].shape)
    axis = int(layer.get_attr("axis", -1))
    if rank > 3:
        raise HwsimError(f"a concatenation must be of at most 3 axes, not {rank}")
    place = rank - 1 if axis in (-1, rank) else 1 if rank == 3 and axis in (2, -2) else 0
    parts = [build.cast(f"{name}/{k}", source, precision) for k, source in enumerate(sources)]
    build.edges[name] = build.add(name, Concat(axis=-1 if place == rank - 1 else place), *parts)


def read_reshape(build: LayerBuilder, layer: Any) -> None:
    """The same codes, row-major."""
    source, name = build.edge(layer.inputs[0]), layer.outputs[0]
    shape = tuple(int(n) for n in layer.variables[name].shape)
    if math.prod(shape) != build.types[source].size:
        raise HwsimError(f"a reshape must keep {build.types[source].size} codes, not be {shape}")
    build.finish(layer, build.add(f"{name}/shape", Reshape(shape=shape), source))


def read_transpose(build: LayerBuilder, layer: Any) -> None:
    """Axes as hls4ml's `perm`; axes of length 1 that it puts in front are left out."""
    source, name = build.edge(layer.inputs[0]), layer.outputs[0]
    axes = tuple(int(axis) for axis in layer.get_attr("perm"))
    rank = len(build.types[source].shape)
    while len(axes) > rank and axes[0] == 0:
        axes = tuple(axis - 1 for axis in axes[1:])
    shape = build.types[source].shape
    if build.stream and axes == (0, 1) and shape[1] > 1:
        raise HwsimError(
            f"a transpose of two axes in io_stream must swap them, not leave {shape}: the C++ of "
            "hls4ml 1.3 swaps them whatever its perm is"
        )
    build.finish(layer, build.add(f"{name}/turned", Transpose(axes=axes), source))


def read_clone(build: LayerBuilder, layer: Any) -> None:
    """A stream that several layers read."""
    source = build.edge(layer.inputs[0])
    for name in layer.outputs:
        build.edges[name] = build.cast(name, source, result(layer, name))
