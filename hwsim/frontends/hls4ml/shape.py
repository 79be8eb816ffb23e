"""Layers that only move codes: concatenations, reshapes, transposes, clones, paddings."""

from __future__ import annotations

import math
from typing import Any

from hwsim.errors import HwsimError
from hwsim.frontends.hls4ml.importer import SIDES, LayerBuilder, result
from hwsim.ops import Concat, Reshape, Transpose


def read_concatenate(build: LayerBuilder, layer: Any) -> None:
    """Each input is assigned to the result's type; along the channels only."""
    name, precision = layer.outputs[0], result(layer)
    sources = [build.edge(i) for i in layer.inputs]
    rank = len(build.types[sources[0]].shape)
    axis = int(layer.get_attr("axis", -1))
    if axis not in (-1, rank):
        raise HwsimError(f"a concatenation must be along the channels, not axis {axis}")
    parts = [build.cast(f"{name}/{k}", source, precision) for k, source in enumerate(sources)]
    build.edges[name] = build.add(name, Concat(), *parts)


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
    build.finish(layer, build.add(f"{name}/turned", Transpose(axes=axes), source))


def read_clone(build: LayerBuilder, layer: Any) -> None:
    """A stream that several layers read."""
    source = build.edge(layer.inputs[0])
    for name in layer.outputs:
        build.edges[name] = build.cast(name, source, result(layer, name))


def read_zero_padding(build: LayerBuilder, layer: Any) -> None:
    """Kept for the convolution that follows."""
    name = layer.outputs[0]
    source = build.cast(f"{name}/value", build.edge(layer.inputs[0]), result(layer))
    build.edges[name] = source
    build.paddings[name] = tuple(int(layer.get_attr(f"pad_{side}")) for side in SIDES)
