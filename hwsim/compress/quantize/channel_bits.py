"""Bits by output channel of a layer's weights: as many on average, where they are worth most.

A channel's error is that of its own sums, by the second moments of what the layer reads, with the
nearest codes or with those of error feedback. Sums of channels do not touch each other, so that the
least error within a number of bits is a multiple-choice knapsack of one small cost, solved exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.compress.float_model import Batch, FloatModel
from hwsim.compress.quantize.feedback import as_rows, best_codes, grids, moments_of
from hwsim.compress.quantize.linear import Formats, along, of_layer, of_weights, rounded
from hwsim.compress.quantize.options import BitSpan, LinearScheme
from hwsim.compress.quantize.places import FloatLayer
from hwsim.compress.quantize.qonnx_file import QuantNode
from hwsim.compress.quantize.sampled import LayerNode, first_samples, in_codes

Reals = npt.NDArray[np.float64]
SAMPLES = 256
"""Of calibration data, on which errors of sums are measured."""
TOGETHER = 1024
"""Channels of one knapsack; a layer of more is dealt to several of the same average."""


def with_channel_bits(
    model: FloatModel, batches: Iterable[Batch], made: Formats, linear: LinearScheme
) -> Formats:
    """Formats whose channels have bits of their own, no more on average than the layer had.

    Layers stay as they are that have a scale for all channels, bits of their channels already, or
    no bits between those of `linear.channel_bits`. Of layers that share their weights the first
    decides, whose quantizer a file has.
    """
    span = linear.channel_bits
    if span is None:
        return made
    weights, first = dict(made.weights), dict[str, QuantNode]()
    shown, few = in_codes(model, made.tensors), list(first_samples(batches, SAMPLES))
    for layer in made.found.layers:
        by, held = made.weights[layer.name], model.constants[layer.weights]
        if layer.weights in first:
            by = first[layer.weights]
        elif by.axis is not None and by.channel_bits is None and span.least < by.bits < span.most:
            errors = np.stack(list(_errors(model, shown, few, layer, linear, span)), axis=1)
            by = of_layer(layer, held, least_error(errors, span.least, by.bits), linear)
        first[layer.weights] = weights[layer.name] = by
    return replace(made, weights=weights)


def _errors(
    model: FloatModel,
    shown: FloatModel,
    batches: Iterable[Batch],
    layer: FloatLayer,
    linear: LinearScheme,
    span: BitSpan,
) -> Iterator[Reals]:
    """By number of bits, what each channel errs; of layers without rows in their weights alone."""
    nearest = linear.rounding == "nearest"
    held, node = model.constants[layer.weights], LayerNode(model, layer)
    moments = moments_of(node, shown, batches, centred=linear.correct_bias) if node.known else None
    for bits in span.every:
        by = of_weights(layer.weights, held, bits, layer.axis, linear)
        if moments is None:
            off = rounded(held.astype(np.float64), *along(by, held.ndim)) - held
            yield (off**2).sum(axis=tuple(n for n in range(held.ndim) if n != layer.axis))
            continue
        groups = zip(as_rows(node, held), grids(node, by, held), moments, strict=True)
        yield np.concatenate(
            [
                one.loss(rounded(rows, *grid) if nearest else best_codes(rows, *grid, one))
                for rows, grid, one in groups
            ]
        )


def least_error(errors: npt.NDArray[Any], least: int, average: int) -> tuple[int, ...]:
    """Bits by channel for the least sum of errors, at most `average` each in the mean.

    `errors` is (channels, options), for `least` bits and each one more.
    """
    channels = len(errors)
    found = np.zeros(channels, np.int64)
    parts = -(-channels // TOGETHER)
    for part in range(parts):
        some = errors[part::parts]
        found[part::parts] = least + _dealt(some, len(some) * (average - least))
    return tuple(found.tolist())


def _dealt(errors: npt.NDArray[Any], budget: int) -> npt.NDArray[np.int64]:
    """The option of each row for the least sum, their numbers at most `budget` together.

    Row after row the least sum is known for each number up to the budget; of equals the first
    option is taken.
    """
    rows, options = errors.shape
    sums, taken = np.zeros(budget + 1), np.zeros((rows, budget + 1), np.uint8)
    for row in range(rows):
        ways = np.full((options, budget + 1), np.inf)
        for option in range(min(options, budget + 1)):
            ways[option, option:] = sums[: budget + 1 - option] + errors[row, option]
        taken[row] = ways.argmin(axis=0)
        sums = ways.min(axis=0)
    found, left = np.zeros(rows, np.int64), budget
    for row in reversed(range(rows)):
        found[row] = taken[row, left]
        left -= int(found[row])
    return found
