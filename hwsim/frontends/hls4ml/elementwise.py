"""Batch normalization."""

from __future__ import annotations

from typing import Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.hls4ml.factors import read_factors, signs
from hwsim.frontends.hls4ml.importer import LayerBuilder
from hwsim.frontends.hls4ml.types import read_weights
from hwsim.ops import BatchNorm, Flatten, Reshape, TensorType


def read_batchnorm(build: LayerBuilder, layer: Any) -> None:
    """`x * scale + bias` at full precision, then the result's type (`nnet_batchnorm.h`)."""
    source, name = build.edge(layer.inputs[0]), layer.outputs[0]
    data = layer.get_input_variable().type.precision
    source = signs(build, source, f"{name}/signs", data)
    kind = build.types[source]
    factors = read_factors(layer, "scale", kind)
    bias, precision = read_weights("bias", layer.weights["bias"])
    count = int(layer.get_attr("n_filt") or -1)
    scales, biases = (_spread(build, kind, v, count) for v in (factors.codes, bias))
    op = BatchNorm(
        scale=scales, bias=biases, scale_format=factors.format, bias_frac=precision.format.frac_bits
    )
    if scales.size == kind.channels:
        build.finish(layer, build.add(f"{name}/full", op, source))
        return
    flat = build.add(f"{name}/flat", Flatten(), source)
    full = build.add(f"{name}/full", op, flat)
    build.finish(layer, build.add(f"{name}/shape", Reshape(shape=kind.shape), full))


def _spread(build: LayerBuilder, kind: TensorType, given: Any, count: int) -> Any:
    """One number a channel, or one for each element where C++ takes them so.

    Without a count (`n_filt`) each element has its own; with one, element `i` has number
    `i % count`, of a stream within each channel vector.
    """
    values = given.reshape(-1)
    if values.size == kind.size and count == -1:
        return values
    if values.size in (1, kind.channels) and count in (-1, kind.channels):
        return np.broadcast_to(values, kind.channels)
    if values.size != count:
        raise HwsimError(f"there must be {count} scales and biases, not {values.size}")
    return np.resize(values, kind.channels if build.stream else kind.size)
