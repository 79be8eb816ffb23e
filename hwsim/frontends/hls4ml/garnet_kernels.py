"""What a GarNet computes in: its types, its groups of vertices and its weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from hwsim.errors import HwsimError
from hwsim.fixed import Format, Overflow, Rounding
from hwsim.frontends.hls4ml.types import Precision, read_precision, read_weights
from hwsim.ops.base import IntArray

FRACTION = 10


@dataclass(frozen=True, slots=True)
class Types:
    """The types within a layer, and how its vertices are grouped."""

    edge: Precision
    edge_sum: Precision
    features: Precision
    vertices: int
    groups: int

    @property
    def group_bits(self) -> int:
        """Of a group's number of vertices, by which its sums are divided."""
        return int(math.log2(self.vertices)) - int(math.log2(self.groups))


@dataclass(frozen=True, slots=True, eq=False)
class Kernels:
    """The weights of a sublayer: codes and formats."""

    distance: tuple[IntArray, Precision]  # (aggregators, features)
    distance_bias: tuple[IntArray, Precision]
    features: tuple[IntArray, Precision]  # (outputs, aggregators, features)
    edges: tuple[IntArray, Precision]  # (outputs, aggregators)
    bias: tuple[IntArray, Precision]

    @property
    def outputs(self) -> int:
        """How many numbers the sublayer gives of each vertex."""
        return int(self.bias[0].size)


def read_types(layer: Any) -> Types:
    """The types of the template, where the configuration does not say others."""
    vertices, groups = int(layer.get_attr("n_vertices")), int(layer.get_attr("reuse_factor"))
    width, log2 = int(math.log2(vertices)), int(math.log2(groups))
    whole = max(log2, width - log2)
    if groups << (width - log2) != vertices:
        raise HwsimError(
            f"a GarNet's vertices and reuse factor must be powers of two, not {vertices}"
        )
    wrap = Rounding.TRN, Overflow.WRAP
    made = {
        "edge_weight": Precision(Format(False, 0, FRACTION), *wrap),
        "edge_weight_aggr": Precision(Format(False, whole, FRACTION), *wrap),
        "aggr": Precision(Format(True, whole + 3, FRACTION), *wrap),
    }
    for name in made:
        given, kind = layer.model.config.get_precision(layer, var=name)
        if not kind.endswith("default_t"):
            made[name] = read_precision(f"the precision {name!r}", given)
    return Types(made["edge_weight"], made["edge_weight_aggr"], made["aggr"], vertices, groups)


def read_kernels(layer: Any, part: str) -> Kernels:
    """The weights of a layer, or of one of a stack, whose names have its number as `part`."""

    def of(name: str, kind: str) -> tuple[IntArray, Precision]:
        weight = f"{name}_{part}{kind}"
        return read_weights(weight, layer.weights[weight])

    return Kernels(
        distance=of("aggregator_distance", "weights"),
        distance_bias=of("aggregator_distance", "biases"),
        features=of("input_transform", "weights"),
        edges=of("input_transform", "biases"),
        bias=of("output_transform", "biases"),
    )
