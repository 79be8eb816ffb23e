"""Formats for a float model's tensors, from what they held on calibration data."""

from __future__ import annotations

import math
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
from hwsim.compress.quantize.places import FloatLayer, Quantizable, places
from hwsim.compress.quantize.qdq_file import activations
from hwsim.compress.quantize.qonnx_file import QuantNode, quantized
from hwsim.errors import HwsimError

__all__ = [
    "Formats",
    "LinearScheme",
    "Widths",
    "along",
    "ends_of",
    "formats",
    "formats_of",
    "of_layer",
    "of_tensor",
    "of_weights",
    "on_channels_grids",
    "quantize",
    "rounded",
]

Reals = npt.NDArray[np.float64]
EVEN = 1e-9  # of a logarithm, which is rounded
MOST_BITS = 16
"""Bits of codes side by side at the end, whose ranges differ."""
Ends = tuple[Any, Any]
"""The lowest and the highest code: whole numbers, or arrays of them."""


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
        layer.name: of_layer(layer, constants[layer.weights], weight_bits[layer.name], linear)
        for layer in found.layers
    }
    _expect_alike(found, weights)
    tensors = {name: of_tensor(seen[name], bits[name], linear) for name in found.tensors}
    wide = found.ending
    for group in found.joined:
        if group in wide.values():
            whole = _of_all(group, tensors)
            tensors |= {out: whole for out, of in wide.items() if of == group}
        else:
            tensors |= _of_one_kind(group, seen, tensors, linear)
    for name in found.constants:
        tensors[name] = of_weights(name, constants[name], linear.widths.activations, None, linear)
    return Formats(found, seen, tensors, weights)


def _expect_alike(found: Quantizable, weights: Mapping[str, QuantNode]) -> None:
    """Layers that read the same weights must have the same bits by channel."""
    first: dict[str, str] = {}
    for layer in found.layers:
        other = first.setdefault(layer.weights, layer.name)
        pair = weights[other], weights[layer.name]
        if len({by.channel_bits or by.bits for by in pair}) > 1 and any(
            by.channel_bits is not None for by in pair
        ):
            raise HwsimError(
                f"layers {other!r} and {layer.name!r} must have the same bits by channel, since "
                "they read the same weights"
            )


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
        layer.name: of_layer(layer, constants[layer.weights], 8, whole) for layer in found.layers
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


def of_layer(
    layer: FloatLayer,
    weights: npt.NDArray[Any],
    bits: int | tuple[int, ...],
    linear: LinearScheme = LinearScheme(),
) -> QuantNode:
    """A format for a layer's weights, of one number of bits or of one a channel.

    HwsimError for as many numbers as there are no channels, or where channels share a scale.
    """
    axis = layer.axis if linear.per_channel and not layer.grouped else None
    if isinstance(bits, int):
        return of_weights(layer.weights, weights, bits, axis, linear)
    if axis is None:
        raise HwsimError(
            f"bits by channel of layer {layer.name!r} must come with a scale a channel, not with "
            f"one a {'group' if layer.grouped else 'layer'}"
        )
    if len(bits) != weights.shape[axis]:
        raise HwsimError(
            f"bits of layer {layer.name!r} must be one number, or one for each of its "
            f"{weights.shape[axis]} channels, not {len(bits)}"
        )
    each = {n: of_weights(layer.weights, weights, n, axis, linear) for n in sorted({*bits})}
    if len(each) == 1:
        return each[bits[0]]
    scale = np.array([each[n].scale[channel] for channel, n in enumerate(bits)], np.float32)
    return replace(each[max(bits)], scale=scale, channel_bits=bits)


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
    """The lowest and the highest code, of the widest channel."""
    if by.signed:
        return -(1 << by.bits - 1) + by.narrow, (1 << by.bits - 1) - 1
    return 0, (1 << by.bits) - 1


def along(by: QuantNode, rank: int) -> tuple[Reals, Ends]:
    """The scale and the ends of a layer's weights, to go with an array of so many axes."""
    shape = [1] * rank
    if by.axis is not None:
        shape[by.axis] = -1
    scale = np.asarray(by.scale, np.float64).reshape(shape)
    if by.channel_bits is None:
        return scale, ends_of(by)
    each = [ends_of(replace(by, bits=n, narrow=n > 1)) for n in by.channel_bits]
    low, high = np.array(each, np.int64).T
    return scale, (low.reshape(shape), high.reshape(shape))


def on_channels_grids(model: FloatModel, made: Formats) -> FloatModel:
    """The model with weights on their grids where channels have bits of their own.

    A file says the most bits of them alone.
    """
    constants = model.constants
    mixed = ((layer.weights, made.weights[layer.name]) for layer in made.found.layers)
    return model.with_constants(
        {
            name: rounded(constants[name].astype(np.float64), *along(by, constants[name].ndim))
            for name, by in mixed
            if by.channel_bits is not None
        }
    )


def rounded(reals: Reals, scale: Any, ends: Ends) -> Reals:
    """Reals as a quantizer gives them back; with the ends of 1 bit and a sign, as a sign."""
    low, high = ends
    sign = (high == 0) & (low >= -1)
    if sign is True:
        return np.asarray(np.where(reals >= 0, scale, -scale))
    codes = np.clip(np.round(reals / scale), low, high)
    if np.any(sign):  # in a wider layer there is a code for weights that were pruned
        codes = np.where(sign, np.sign(reals), codes)
    return np.asarray(codes * scale)


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


def _of_all(group: Sequence[str], tensors: Mapping[str, QuantNode]) -> QuantNode:
    """A format that holds the reals of all of a group, in MOST_BITS at most."""
    each = [tensors[t] for t in group]
    scale = min(float(one.scale.max()) for one in each)
    ends = [
        (code - one.zero_point) * float(one.scale.max())
        for one in each
        for code in (ends_of(one) if one.bits > 1 else (-1, 1))
    ]
    signed, steps = min(ends) < 0, max(max(ends) / scale + 1, -min(ends) / scale)
    bits = math.ceil(math.log2(steps) - EVEN) + signed
    more = max(bits - MOST_BITS, 0)
    return QuantNode(np.asarray([scale * 2.0**more], np.float32), bits - more, signed)
