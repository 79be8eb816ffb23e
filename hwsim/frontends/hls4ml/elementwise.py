"""Batch normalization and sums of two tensors."""

from __future__ import annotations

from typing import Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.hls4ml.importer import LayerBuilder
from hwsim.frontends.hls4ml.types import read_weights
from hwsim.ops import Add, BatchNorm, Mul, Op, Sub

MERGED: dict[str, Op] = {"add": Add(), "subtract": Sub(), "multiply": Mul()}


def read_batchnorm(build: LayerBuilder, layer: Any) -> None:
    """`x * scale + bias` at full precision, then the result's type (`nnet_batchnorm.h`)."""
    source = build.edge(layer.inputs[0])
    scale, precision = read_weights("scale", layer.weights["scale"])
    bias, bias_precision = read_weights("bias", layer.weights["bias"])
    channels = build.types[source].channels
    op = BatchNorm(
        scale=np.broadcast_to(scale.reshape(-1), channels),
        bias=np.broadcast_to(bias.reshape(-1), channels),
        scale_format=precision.format,
        bias_frac=bias_precision.format.frac_bits,
    )
    build.finish(layer, build.add(f"{layer.outputs[0]}/full", op, source))


def read_merge(build: LayerBuilder, layer: Any) -> None:
    """The sum, difference or product at full precision, then the result's type (`nnet_merge.h`)."""
    a, b = (build.edge(name) for name in layer.inputs)
    shapes = [build.types[edge].shape for edge in (a, b)]
    if shapes[0] != shapes[1]:  # C++ then makes as many results as the smaller one has codes
        raise HwsimError(
            f"layer {layer.name!r}: its inputs must have one shape, not {shapes[0]} and {shapes[1]}"
        )
    build.finish(layer, build.add(f"{layer.outputs[0]}/full", MERGED[merged(layer)], a, b))


def merged(layer: Any) -> str:
    """What a Merge computes, in lower case."""
    return str(layer.get_attr("op")).lower()
