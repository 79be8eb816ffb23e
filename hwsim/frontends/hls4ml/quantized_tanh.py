"""Batch normalization and a sign in one layer: thresholds of each channel (`nnet_batchnorm.h`)."""

from __future__ import annotations

from typing import Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.frontends.hls4ml.importer import LayerBuilder
from hwsim.frontends.hls4ml.types import read_weights
from hwsim.ops import Flatten, Reshape, Thresholds
from hwsim.ops.base import IntArray

BINARY = 2
"""What hls4ml's attribute `quantize` says of a sign; it says 3 of a sign with a zero."""


def read_quantized_tanh(build: LayerBuilder, layer: Any) -> None:
    """1 from a threshold on, else 0; or 1 above the higher, -1 up to the lower, else 0."""
    source, name = build.edge(layer.inputs[0]), layer.outputs[0]
    kind = build.types[source]
    binary = layer.get_attr("quantize") == BINARY
    rows = _binary(layer) if binary else _ternary(layer)
    flat = len(rows) != kind.channels
    if len(rows) != (kind.size if flat else kind.channels):
        raise HwsimError(
            f"a quantized tanh must have thresholds for each of {kind.channels} channels, not "
            f"{len(rows)}"
        )
    if flat and build.stream:
        raise HwsimError(
            "a quantized tanh in io_stream must have thresholds for each channel, not for each "
            "code: hls4ml 1.3 has no C++ for it"
        )
    if flat:
        source = build.add(f"{name}/flat", Flatten(), source)
    op = Thresholds(
        values=rows,
        base=np.array([0 if binary else -1]),
        step=np.ones(1, np.int64),
        out=Format.uint(1) if binary else Format.int(2),
    )
    made = build.add(f"{name}/steps", op, source)
    if flat:
        made = build.add(f"{name}/shape", Reshape(shape=kind.shape), made)
    build.finish(layer, made)


def _binary(layer: Any) -> IntArray:
    """One threshold a channel."""
    return read_weights("threshold", layer.weights["threshold"])[0].reshape(-1, 1)


def _ternary(layer: Any) -> IntArray:
    """Two a channel. What is above the higher is 1, even if the lower one lies above that."""
    low, high = (
        read_weights(name, layer.weights[name])[0].reshape(-1)
        for name in ("threshold_lo", "threshold_hi")
    )
    return np.stack([np.minimum(low, high), high], axis=1) + 1
