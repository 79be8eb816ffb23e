"""Bias correction: the mean error that rounded weights make in a layer's sums, taken off its bias.

Nagel, van Baalen, Blankevoort, Welling: Data-free quantization through weight equalization and bias
correction, ICCV 2019, section 4.2, with means of calibration data as in its appendix D.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.compress.float_model import Batch, FloatModel
from hwsim.compress.quantize.linear import Formats, along, rounded
from hwsim.compress.quantize.places import FloatLayer
from hwsim.compress.quantize.qonnx_file import QuantNode
from hwsim.compress.quantize.sampled import first_samples

Reals = npt.NDArray[np.float64]


SAMPLES = 512
"""Samples of calibration data whose means are taken."""

CLOSE = 1e-4
"""A change below this share of the largest mean ends the rounds."""


def corrected(
    model: FloatModel, batches: Iterable[Batch], made: Formats, shown: FloatModel | None = None
) -> FloatModel:
    """The model, or `shown`, with new biases; a layer without a bias of its own is left as it is.

    `shown` is the model with weights that are reals of codes already, where these are not the
    nearest ones.

    With rounded weights every layer's sums then have the float model's mean in each channel, over
    samples and places. A round corrects all layers at once; the first layer is right after the
    first, each other after those before it.
    """
    biases = [layer.bias for layer in made.found.layers]
    layers = [one for one in made.found.layers if one.bias and biases.count(one.bias) == 1]
    start = shown or model
    constants = start.constants
    now = start.with_constants(
        {
            layer.weights: _rounded(constants[layer.weights], made.weights[layer.name])
            for layer in made.found.layers
        }
    )
    few = list(first_samples(batches, SAMPLES))
    wanted = _means(model, few, layers)
    moved = {str(layer.bias): constants[str(layer.bias)].astype(np.float64) for layer in layers}
    for _ in layers:
        found = _means(now, few, layers)
        changes = {str(one.bias): wanted[one.name] - found[one.name] for one in layers}
        moved = {name: bias + changes[name] for name, bias in moved.items()}
        now = now.with_constants(moved)
        largest = max(float(np.abs(mean).max()) for mean in wanted.values())
        if max(float(np.abs(change).max()) for change in changes.values()) <= CLOSE * largest:
            break
    return start.with_constants(moved)


def _means(
    model: FloatModel, batches: Iterable[Batch], layers: Sequence[FloatLayer]
) -> dict[str, Reals]:
    """The mean of each layer's sums by channel; the bias of a MatMul is an Add behind it."""
    sums: dict[str, Reals] = {}
    rows: dict[str, int] = {}  # of a layer, which may read several a sample
    outputs = {layer.name: _with_bias(model, layer) for layer in layers}
    for found in model.run(batches, list(outputs.values())):
        for layer in layers:
            reals = found[outputs[layer.name]].astype(np.float64)
            axis = 1 if layer.op in ("Conv", "ConvTranspose") else reals.ndim - 1
            mean = reals.mean(axis=tuple(n for n in range(reals.ndim) if n != axis))
            sums[layer.name] = sums.get(layer.name, np.zeros_like(mean)) + mean * len(reals)
            rows[layer.name] = rows.get(layer.name, 0) + len(reals)
    return {name: total / rows[name] for name, total in sums.items()}


def _with_bias(model: FloatModel, layer: FloatLayer) -> str:
    for node in model.nodes:
        if layer.output in node.input and layer.bias in node.input:
            return str(node.output[0])
    return layer.output


def _rounded(weights: npt.NDArray[Any], by: QuantNode) -> Reals:
    return rounded(weights.astype(np.float64), *along(by, weights.ndim))
