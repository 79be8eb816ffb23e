"""Formats for a float model's tensors, from what they held on calibration data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.compress.calibration import Histogram, observe
from hwsim.compress.float_model import Batch, FloatModel
from hwsim.compress.quantize.options import LinearScheme, Widths
from hwsim.compress.quantize.places import Quantizable, places
from hwsim.compress.quantize.qonnx_file import QuantNode, quantized

__all__ = ["Formats", "LinearScheme", "Widths", "formats", "of_tensor", "of_weights", "quantize"]

Reals = npt.NDArray[np.float64]
EXPONENTS = 5  # powers of two that are tried below the one that holds everything


@dataclass(frozen=True, slots=True)
class Formats:
    """What a model is quantized to: places, a quantizer a tensor and one a layer's weights.

    `seen` are histograms of the tensors.
    """

    found: Quantizable
    seen: Mapping[str, Histogram]
    tensors: Mapping[str, QuantNode]
    weights: Mapping[str, QuantNode]


def quantize(model: FloatModel, batches: Iterable[Batch], widths: Widths) -> Any:
    """A QONNX ModelProto with scales that are powers of two, of the least squared error.

    Weights have one scale a channel and no lowest code, activations one, and no sign where none was
    seen. The bias has the unit of the sum.
    """
    made = formats(model, batches, LinearScheme(widths=widths))
    return quantized(model, made.found, made.tensors, made.weights)


def formats(model: FloatModel, batches: Iterable[Batch], linear: LinearScheme) -> Formats:
    """A quantizer for each place of a model, from calibration data."""
    found = places(model)
    weight_bits, bits = linear.bits(found, model.inputs)
    seen = observe(model, batches, found.tensors)
    constants = model.constants
    weights = {
        layer.name: of_weights(
            constants[layer.weights],
            weight_bits[layer.name],
            layer.axis if linear.per_channel else None,
            linear,
        )
        for layer in found.layers
    }
    tensors = {name: of_tensor(seen[name], bits[name], linear) for name in found.tensors}
    for group in found.joined:
        tensors.update(_of_one_kind(group, seen, tensors, linear))
    for name in found.constants:
        tensors[name] = of_weights(constants[name], linear.widths.activations, None, linear)
    return Formats(found, seen, tensors, weights)


def of_tensor(
    seen: Histogram, bits: int, linear: LinearScheme = LinearScheme(), *, signed: bool | None = None
) -> QuantNode:
    """A format for a tensor; 1 bit is 0 and 1, or both signs where there are negative numbers."""
    sign = seen.least < 0 if signed is None else signed
    rows, shares = seen.centres()[None, :], seen.counts[None, :].astype(np.float64)
    ends = (-(1 << bits - 1), (1 << bits - 1) - 1) if sign else (0, (1 << bits) - 1)
    top = np.array([max(-seen.least, seen.most)])
    scale = _scales(rows, shares, top, ends)
    return QuantNode(scale.astype(np.float32), bits, sign)


def of_weights(
    weights: npt.NDArray[Any], bits: int, axis: int | None, linear: LinearScheme = LinearScheme()
) -> QuantNode:
    """A format for each channel of a layer's weights, or one for all where `axis` is None.

    1 bit is a sign, times the scale.
    """
    moved = weights[None] if axis is None else np.moveaxis(weights, axis, 0)
    rows = moved.reshape(len(moved), -1).astype(np.float64)
    most = (1 << bits - 1) - 1
    scale = _scales(rows, np.ones_like(rows), np.abs(rows).max(axis=1), (-most, most))
    return QuantNode(scale.astype(np.float32), bits, signed=True, narrow=bits > 1, axis=axis)


def rounded(reals: Reals, scale: Any, ends: tuple[int, int]) -> Reals:
    """Reals as a quantizer gives them back; with the ends of 1 bit and a sign, as a sign."""
    if ends in ((0, 0), (-1, 0)):
        return np.asarray(np.where(reals >= 0, scale, -scale))
    return np.asarray(np.clip(np.round(reals / scale), *ends) * scale)


def _of_one_kind(
    group: Sequence[str],
    seen: Mapping[str, Histogram],
    tensors: Mapping[str, QuantNode],
    linear: LinearScheme,
) -> dict[str, QuantNode]:
    """One format for all of a group: the coarsest scale, the most bits."""
    bits = max(tensors[t].bits for t in group)
    signed = any(tensors[t].signed for t in group)
    each = [of_tensor(seen[t], bits, linear, signed=signed) for t in group]
    widest = max(each, key=lambda one: float(one.scale.max()))
    return dict.fromkeys(group, replace(widest))


def _scales(rows: Reals, shares: Reals, top: Reals, ends: tuple[int, int]) -> Reals:
    """For each row the power of two with the least squared error, each number by its share."""
    reach = max(ends[1], -ends[0], 1)
    first = np.ceil(np.log2(np.maximum(top, 2.0**-60) / reach))
    tried = []
    for below in range(EXPONENTS):
        scale = 2.0 ** (first - below)[:, None]
        tried.append((shares * (rounded(rows, scale, ends) - rows) ** 2).sum(axis=1))
    return np.asarray(2.0 ** (first - np.argmin(tried, axis=0)))
