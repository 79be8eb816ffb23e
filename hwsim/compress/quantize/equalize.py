"""Cross-layer equalization: channels between two layers get ranges alike, and the function stays.

Nagel, van Baalen, Blankevoort, Welling: Data-free quantization through weight equalization and bias
correction, ICCV 2019, section 4.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.compress.float_model import FloatModel
from hwsim.compress.quantize.places import FloatLayer, Quantizable, places

Reals = npt.NDArray[np.float64]
CHANNEL_WISE = ("Dropout", "Identity", "LeakyRelu", "Relu")
POOLS = ("AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool")
FLAT = ("Flatten", "Squeeze")
"""Operators that give a multiple of what they give for a number, for a multiple of it above 0; the
last two kinds behind a convolution alone, whose channels are the axis that they keep apart."""

CONVOLUTIONS = ("Conv", "ConvTranspose")
ROUNDS = 40
CLOSE = 1e-3
"""Factors this near to 1 end the rounds."""


@dataclass(frozen=True, slots=True)
class LayerPair:
    """Two layers with nothing but multiples between them, and the second's axis of its inputs."""

    first: FloatLayer
    second: FloatLayer
    axis: int


def equalized(model: FloatModel) -> tuple[FloatModel, int]:
    """The model with every pair of layers equalized, and how many pairs there were.

    Channel i of the first layer is divided by `sqrt(r1[i] / r2[i])`, the largest magnitudes of its
    weights there and in the second, which is multiplied by it.
    """
    found = places(model, all_known=False)
    pairs = list(_pairs(model, found))
    values = {
        name: model.constants[name].astype(np.float64)
        for pair in pairs
        for name in (pair.first.weights, pair.first.bias, pair.second.weights)
        if name is not None
    }
    for _ in range(ROUNDS if pairs else 0):
        if max(_equalize(pair, values) for pair in pairs) < CLOSE:
            break
    return model.with_constants(values), len(pairs)


def _equalize(pair: LayerPair, values: dict[str, Reals]) -> float:
    """One pair in place; how far the largest factor is from 1."""
    first, second = values[pair.first.weights], values[pair.second.weights]
    ranges = _by_channel(first, pair.first.axis), _by_channel(second, pair.axis)
    alive = (ranges[0] > 0) & (ranges[1] > 0)
    factor = np.sqrt(np.where(alive, ranges[0], 1.0) / np.where(alive, ranges[1], 1.0))
    values[pair.first.weights] = first / _along(factor, first.ndim, pair.first.axis)
    values[pair.second.weights] = second * _along(factor, second.ndim, pair.axis)
    if pair.first.bias is not None:
        values[pair.first.bias] = values[pair.first.bias] / factor
    return float(np.abs(np.log2(factor)).max())


def _by_channel(weights: Reals, axis: int) -> Reals:
    others = tuple(n for n in range(weights.ndim) if n != axis)
    return np.asarray(np.abs(weights).max(axis=others))


def _along(factor: Reals, rank: int, axis: int) -> Reals:
    shape = [1] * rank
    shape[axis] = -1
    return factor.reshape(shape)


def _pairs(model: FloatModel, found: Quantizable) -> Iterator[LayerPair]:
    """Pairs whose tensors between are read by one node each and are not the model's outputs."""
    readers: dict[str, list[Any]] = {}
    for node in model.nodes:
        for tensor in node.input:
            readers.setdefault(tensor, []).append(node)
    by_output = {layer.output: layer for layer in found.layers}
    names = [name for layer in found.layers for name in (layer.weights, layer.bias)]
    for first in found.layers:
        if any(names.count(name) > 1 for name in (first.weights, first.bias) if name):
            continue
        tensor, between = first.output, [first.op]
        while tensor not in model.outputs and len(readers.get(tensor, ())) == 1:
            reader = readers[tensor][0]
            second = by_output.get(reader.output[0])
            if second is not None:
                axis = _taken_axis(model, first, second, between)
                if axis is not None and names.count(second.weights) == 1:
                    yield LayerPair(first, second, axis)
                break
            if not _multiplies(reader.op_type, first.op):
                break
            tensor = reader.output[0]
            between.append(reader.op_type)


def _multiplies(op: str, first: str) -> bool:
    return op in CHANNEL_WISE or (first in CONVOLUTIONS and op in (*POOLS, *FLAT))


def _taken_axis(
    model: FloatModel, first: FloatLayer, second: FloatLayer, between: Sequence[str]
) -> int | None:
    """Which axis of the second layer's weights the first's channels are; None where there is none.

    A convolution of a single input a group has them as its own outputs.
    """
    flat = any(op in FLAT for op in between)
    if (first.op in CONVOLUTIONS and not flat) != (second.op in CONVOLUTIONS):
        return None
    channels = model.constants[first.weights].shape[first.axis]
    shape = model.constants[second.weights].shape
    plain = {"Conv": 1, "ConvTranspose": 0}.get(second.op, 1 - second.axis)
    if shape[plain] == channels:
        return plain
    alone = second.op == "Conv" and shape[1] == 1 and shape[0] == channels
    return 0 if alone else None
