"""Formats for a float model's tensors, from what they held on calibration data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.compress.calibration import (
    Calibration,
    CodeGrid,
    Form,
    Histogram,
    Method,
    Values,
    observe,
    ranges,
)
from hwsim.compress.float_model import Batch, FloatModel
from hwsim.compress.quantize.options import LinearScheme, Widths
from hwsim.compress.quantize.places import Quantizable, places
from hwsim.compress.quantize.qdq_file import activations
from hwsim.compress.quantize.qonnx_file import QuantNode, quantized

__all__ = [
    "Formats",
    "LinearScheme",
    "Widths",
    "ends_of",
    "formats",
    "formats_of",
    "of_tensor",
    "of_weights",
    "quantize",
    "rounded",
]

Reals = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Formats:
    """What a model is quantized to: places, a quantizer a tensor and one a layer's weights.

    `seen` are histograms of the tensors, `ranges` of more of them what codes are to hold.
    """

    found: Quantizable
    seen: Mapping[str, Histogram]
    tensors: Mapping[str, QuantNode]
    weights: Mapping[str, QuantNode]
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)


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
    return formats_of(model, found, observe(model, batches, found.tensors), linear)


def formats_of(
    model: FloatModel, found: Quantizable, seen: Mapping[str, Histogram], linear: LinearScheme
) -> Formats:
    """The same from what is known already: the places, and what each tensor held."""
    weight_bits, bits = linear.bits(found, model.inputs)
    constants = model.constants
    weights = {
        layer.name: of_weights(
            layer.weights,
            constants[layer.weights],
            weight_bits[layer.name],
            layer.axis if linear.per_channel and not layer.grouped else None,
            linear,
        )
        for layer in found.layers
    }
    tensors = {name: of_tensor(seen[name], bits[name], linear) for name in found.tensors}
    for group in found.joined:
        tensors.update(_of_one_kind(group, seen, tensors, linear))
    for name in found.constants:
        tensors[name] = of_weights(name, constants[name], linear.widths.activations, None, linear)
    return Formats(found, seen, tensors, weights)


def byte_formats(model: FloatModel, batches: Iterable[Batch], linear: LinearScheme) -> Formats:
    """Ranges of all activations for a file of 8 bits, and the quantizers that come of them."""
    found = places(model, all_known=False)
    everything = tuple(dict.fromkeys((*activations(model), *found.tensors)))
    seen = observe(model, batches, everything)
    symmetric = linear.form is Form.SYMMETRIC
    grid = CodeGrid(form=linear.form, bits=8, signed=symmetric, narrow=symmetric)
    chosen, every = linear.calibration, Calibration(method=Method.MINMAX)
    ends = {
        name: ranges(seen[name], chosen if name in found.tensors else every, grid)
        for name in everything
    }
    tensors = {}
    for name in found.tensors:
        scale, zero = grid.steps(*ends[name])
        tensors[name] = QuantNode(scale, 8, symmetric, symmetric, int(zero[0]))
    constants, whole = model.constants, replace(linear, method="minmax")
    weights = {
        layer.name: of_weights(
            layer.weights,
            constants[layer.weights],
            8,
            layer.axis if linear.per_channel and not layer.grouped else None,
            whole,
        )
        for layer in found.layers
    }
    held = {name: (float(low[0]), float(high[0])) for name, (low, high) in ends.items()}
    kept = {name: seen[name] for name in found.tensors}
    return Formats(found, kept, tensors, weights, held)


def as_written(made: Formats, held: Mapping[str, tuple[npt.NDArray[np.float32], int]]) -> Formats:
    """The same with the scales and zero points that a file holds."""
    tensors = {
        name: replace(by, scale=held[name][0], zero_point=held[name][1]) if name in held else by
        for name, by in made.tensors.items()
    }
    return replace(made, tensors=tensors)


def of_tensor(
    seen: Histogram, bits: int, linear: LinearScheme = LinearScheme(), *, signed: bool | None = None
) -> QuantNode:
    """A format for a tensor; 1 bit is 0 and 1, or both signs where there are negative numbers."""
    sign = seen.least < 0 if signed is None else signed
    if sign and bits == 1 and linear.form is not Form.AFFINE:
        middle = float((np.abs(seen.centres()) * seen.counts).sum() / max(seen.total, 1))
        return QuantNode(_scale_of_signs(np.array([middle]), linear), 1, signed=True)
    grid = CodeGrid(form=linear.form, bits=bits, signed=sign and linear.form is not Form.AFFINE)
    scale, zero = grid.steps(*ranges(seen, linear.calibration, grid))
    return QuantNode(scale, bits, grid.signed, zero_point=int(zero[0]))


def of_weights(
    name: str,
    weights: npt.NDArray[Any],
    bits: int,
    axis: int | None,
    linear: LinearScheme = LinearScheme(),
) -> QuantNode:
    """A format for each channel of a layer's weights, or one for all where `axis` is None.

    They have no zero point and no lowest code; 1 bit is a sign, times the scale.
    """
    values = Values(name, weights, axis)
    if bits == 1:
        scale = _scale_of_signs(np.abs(values.rows).mean(axis=1), linear)
        return QuantNode(scale, 1, signed=True, axis=axis)
    form = Form.POWER_OF_TWO if linear.form is Form.POWER_OF_TWO else Form.SYMMETRIC
    grid = CodeGrid(form=form, bits=bits, signed=True, narrow=True)
    calibration = linear.calibration
    if calibration.method is not Method.MSE:  # of activations alone: weights are all there
        calibration = Calibration(method=Method.MINMAX)
    scale, _ = grid.steps(*ranges(values, calibration, grid))
    return QuantNode(scale, bits, signed=True, narrow=True, axis=axis)


def _scale_of_signs(mean: Reals, linear: LinearScheme) -> npt.NDArray[np.float32]:
    """The scale of signs with the least squared error, from the mean magnitude.

    That is the mean itself, and of powers of two the nearest, since the error is a parabola.
    """
    mean = np.where(mean > 0, mean, 1.0)
    if linear.form is Form.POWER_OF_TWO:
        below = 2.0 ** np.floor(np.log2(mean))
        mean = np.where(mean - below <= 2 * below - mean, below, 2 * below)
    return mean.astype(np.float32)


def ends_of(by: QuantNode) -> tuple[int, int]:
    """The lowest and the highest code."""
    if by.signed:
        return -(1 << by.bits - 1) + by.narrow, (1 << by.bits - 1) - 1
    return 0, (1 << by.bits) - 1


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
