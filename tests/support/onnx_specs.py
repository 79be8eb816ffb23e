"""What the synthetic ONNX models vary, and the random weights and scales that follow from it.

Defaults are meant to hurt: odd zero points, outputs that saturate now and then. ``pow2=True`` makes
every scale a power of two and the weights small, so that a few per cent of all accumulators are
exact ties of the rounding.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from support.onnx_builder import Builder, Q, Weights, activation

# Channels, height and width of models that have no other say in it.
SHAPE = (4, 6, 5)


def source(dtype: str, *, pow2: bool) -> Q:
    return activation(dtype, scale=2.0**-5 if pow2 else 0.0317, zero_point=-7)


def target(dtype: str, *, fan_in: int, weights: Weights, source: Q, pow2: bool) -> Q:
    """An output scale at which the sum of ``fan_in`` products saturates now and then."""
    spread = np.std(weights.codes.astype(float)) * 74.0 * np.sqrt(fan_in)
    scale = spread * source.scale * float(weights.scale.max()) / 60.0
    if pow2:
        scale = 2.0 ** np.round(np.log2(scale))
    return activation(dtype, scale=scale, zero_point=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvSpec:
    """Everything a convolution case varies; ``pads`` is ONNX's (top, left, bottom, right)."""

    channels: int = 4
    size: tuple[int, int] = (7, 6)
    filters: int = 8
    kernel: tuple[int, int] = (3, 3)
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    group: int = 1
    per_channel: bool = True
    bias: bool = True
    dtype: str = "uint8"
    weight_dtype: str = "int8"
    pow2: bool = False
    then: str | None = None  # "Relu", "Clip" or "ClipInside" between the convolution and its Q

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        return (self.filters, self.channels // self.group, *self.kernel)

    def attributes(self) -> dict[str, Any]:
        names = ("strides", "pads", "group")
        return {"kernel_shape": self.kernel, **{n: getattr(self, n) for n in names}}

    def quantities(self, b: Builder) -> tuple[Q, Weights, Q]:
        x = source(self.dtype, pow2=self.pow2)
        scales = self.filters if self.per_channel else 1
        w = b.weights(self.weight_shape, scales, pow2=self.pow2, dtype=self.weight_dtype)
        fan_in = int(np.prod(self.weight_shape[1:]))
        y = target(self.dtype, fan_in=fan_in, weights=w, source=x, pow2=self.pow2)
        if self.then is not None:  # so that ONNX Runtime may drop the ReLU or clip
            y = replace(y, zero_point=int(y.info.min), scale=y.scale / 2)
        return x, w, y


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseSpec:
    """Everything a dense case varies; ``trans_b`` says that the weights are (units, features)."""

    features: int = 24
    units: int = 10
    trans_b: bool = False
    per_channel: bool = False
    bias: bool = True
    dtype: str = "uint8"
    weight_dtype: str = "int8"
    pow2: bool = False
    then: str | None = None

    def quantities(self, b: Builder) -> tuple[Q, Weights, Q]:
        x = source(self.dtype, pow2=self.pow2)
        shape = (self.units, self.features) if self.trans_b else (self.features, self.units)
        scales = self.units if self.per_channel else 1
        w = b.weights(shape, scales, pow2=self.pow2, dtype=self.weight_dtype)
        y = target(self.dtype, fan_in=self.features, weights=w, source=x, pow2=self.pow2)
        if self.then is not None:
            y = replace(y, zero_point=int(y.info.min), scale=y.scale / 2)
        return x, w, y


def two_sources(dtype: str, *, pow2: bool) -> tuple[Q, Q, Q]:
    """Two unlike inputs and an output that saturates now and then."""
    return (
        activation(dtype, scale=2.0**-5 if pow2 else 0.0317, zero_point=-7),
        activation(dtype, scale=2.0**-6 if pow2 else 0.0191, zero_point=13),
        activation(dtype, scale=2.0**-5 if pow2 else 0.0283, zero_point=5),
    )
