"""Rounding with error feedback: what a weight's rounding errs, later weights of its sum take up.

Frantar, Ashkboos, Hoefler, Alistarh: OPTQ: Accurate quantization for generative pre-trained
transformers, ICLR 2023 (GPTQ, arXiv 2210.17323), algorithm 1, columns of the most energy first:
with H the inputs' second moments, column after column is rounded and its error put, by the
Cholesky factor of H's inverse, into those that are left. Then each code is the best one beside
all others, column by column, as long as that helps. Layers follow one another, and each is to
give the float model's sums of the inputs that the rounded layers before it leave.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.compress.float_model import Batch, FloatModel
from hwsim.compress.quantize.linear import Ends, Formats, along, rounded
from hwsim.compress.quantize.qonnx_file import QuantNode
from hwsim.compress.quantize.sampled import LayerNode, in_codes

Reals = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
DAMPING = 0.01
"""Of the mean energy of a column, added to each (section 3.3 of the paper)."""
BLOCK = 128
"""Columns whose errors reach the others behind them at once."""
SWEEPS = 20
MOST_NUMBERS = 1 << 23
"""Of inputs unfolded at once."""


def fed_back(
    model: FloatModel, batches: Iterable[Batch], made: Formats, *, centred: bool = False
) -> FloatModel:
    """The model with weights that are reals of their codes; transposed convolutions stay.

    On what a layer reads of `batches` its sums err no more, squared and summed a channel, than
    with the nearest codes; with `centred` but for their means, which bias correction takes off.
    Memory is the square of the terms of a sum, whatever the samples. HwsimError without samples.
    """
    shown, now, constants = model, in_codes(model, made.tensors), model.constants
    done = set[str]()
    for layer in made.found.layers:
        node = LayerNode(model, layer)
        if not node.known or layer.weights in done:
            continue
        done.add(layer.weights)
        moments = moments_of(node, now, batches, centred=centred)
        rows = as_rows(node, constants[layer.weights])
        each = grids(node, made.weights[layer.name], constants[layer.weights])
        found = [
            best_codes(weights, *grid, one)
            for weights, grid, one in zip(rows, each, moments, strict=True)
        ]
        codes = {layer.weights: _as_weights(node, np.stack(found), constants[layer.weights].shape)}
        now, shown = now.with_constants(codes), shown.with_constants(codes)
    return shown


@dataclass(slots=True, eq=False)
class Moments:
    """Second moments of inputs (terms, terms), and of wanted sums with inputs (sums, terms)."""

    inputs: Reals
    sums: Reals

    def loss(self, weights: Reals) -> Reals:
        """The mean squared error of each sum, but for a constant of each."""
        return np.asarray(((weights @ self.inputs - 2 * self.sums) * weights).sum(axis=1))


def best_codes(weights: Reals, scale: Reals, ends: Ends, moments: Moments) -> Reals:
    """Weights (sums, terms) as reals of codes, for the least loss that is found.

    `scale` is (sums, 1), and so may be the ends. The loss of no row is above that of the nearest
    codes. Weights that are 0 stay so: they were pruned.
    """
    energy = moments.inputs.diagonal()
    damping = DAMPING * float(energy.mean()) or 1.0
    damped = moments.inputs + damping * np.eye(len(energy))
    inverse = np.linalg.inv(damped)
    wanted = weights + (moments.sums - weights @ moments.inputs) @ inverse
    order = np.argsort(-energy, kind="stable")
    fed = np.empty_like(weights)
    upper = np.linalg.cholesky(inverse[np.ix_(order, order)]).T
    nearest = rounded(weights, scale, ends)
    gone = (weights == 0) & (nearest == 0)
    fed[:, order] = _with_feedback(wanted[:, order], gone[:, order], scale, ends, upper)
    better = moments.loss(fed) < moments.loss(nearest)
    found = _descended(np.where(better[:, None], fed, nearest), gone, scale, ends, moments)
    return np.where((moments.loss(found) < moments.loss(nearest))[:, None], found, nearest)


def _with_feedback(weights: Reals, gone: Mask, scale: Reals, ends: Ends, upper: Reals) -> Reals:
    """Column after column rounded, its error in those behind it."""
    left, codes = weights.copy(), np.empty_like(weights)
    for start in range(0, weights.shape[1], BLOCK):
        block = slice(start, min(start + BLOCK, weights.shape[1]))
        errors = np.empty((len(weights), block.stop - start))
        for column in range(start, block.stop):
            near = rounded(left[:, [column]], scale, ends)[:, 0]
            codes[:, column] = np.where(gone[:, column], 0.0, near)
            error = (left[:, column] - codes[:, column]) / upper[column, column]
            left[:, column : block.stop] -= error[:, None] * upper[column, column : block.stop]
            errors[:, column - start] = error
        left[:, block.stop :] -= errors @ upper[block, block.stop :]
    return codes


def _descended(codes: Reals, gone: Mask, scale: Reals, ends: Ends, moments: Moments) -> Reals:
    """Each code the best one beside all others, until none changes."""
    codes, energy = codes.copy(), moments.inputs.diagonal()
    slope = moments.sums - codes @ moments.inputs
    for _ in range(SWEEPS):
        changed = False
        for column in np.flatnonzero(energy > 0):
            wanted = codes[:, [column]] + slope[:, [column]] / energy[column]
            best = np.where(gone[:, column], 0.0, rounded(wanted, scale, ends)[:, 0])
            step = best - codes[:, column]
            if step.any():
                changed = True
                slope -= step[:, None] * moments.inputs[column]
                codes[:, column] = best
        if not changed:
            break
    return codes


def moments_of(
    node: LayerNode, now: FloatModel, batches: Iterable[Batch], *, centred: bool
) -> list[Moments]:
    """Of what a layer reads in `now`, one for each group; `centred` without the means."""
    total = 0
    inputs = sums = mean = level = np.zeros(())
    for x, wanted in node.read_and_given(now, node.model, batches):
        for columns, rows in _unfolded(node, x, wanted):
            total += columns.shape[1]
            across = columns.transpose(0, 2, 1)
            inputs = inputs + across @ columns
            sums = sums + rows.transpose(0, 2, 1) @ columns
            mean, level = mean + columns.sum(axis=1), level + rows.sum(axis=1)
    inputs, sums, mean, level = (each / total for each in (inputs, sums, mean, level))
    if centred:
        inputs = inputs - mean[:, :, None] * mean[:, None, :]
        sums = sums - level[:, :, None] * mean[:, None, :]
    return [Moments(*both) for both in zip(inputs, sums, strict=True)]


def _unfolded(
    node: LayerNode, x: npt.NDArray[np.float32], wanted: npt.NDArray[np.float32]
) -> Iterator[tuple[Reals, Reals]]:
    """Parts of a batch: (groups, places, terms) of what is read, (groups, places, sums)."""
    if node.layer.op != "Conv":
        read, given = (a.reshape(1, -1, a.shape[-1]).astype(np.float64) for a in (x, wanted))
        yield read, given
        return
    kernel = node.model.constants[node.layer.weights].shape[2:]
    rank, groups = len(kernel), node.attributes.get("group", 1)
    padded = np.pad(x, [(0, 0), (0, 0), *node.padding(x.shape[2:], kernel)])
    gaps, strides = node.along("dilations", rank), node.along("strides", rank)
    reach = [(taps - 1) * gap + 1 for taps, gap in zip(kernel, gaps, strict=True)]
    places = tuple(range(2, 2 + rank))
    windows = np.lib.stride_tricks.sliding_window_view(padded, reach, places)
    thinned = (*(slice(None, None, s) for s in strides), *(slice(None, None, g) for g in gaps))
    windows = windows[(slice(None), slice(None), *thinned)]
    size = max(1, MOST_NUMBERS // max(1, windows[:1].size))
    for start in range(0, len(x), size):
        part, rows = windows[start : start + size], wanted[start : start + size]
        split = part.reshape(len(part), groups, -1, *part.shape[2:])
        moved = np.moveaxis(split, 2, 2 + rank)  # samples, groups, places, channels, taps
        columns = moved.swapaxes(0, 1).reshape(groups, -1, split.shape[2] * int(np.prod(kernel)))
        rows = np.moveaxis(rows.reshape(len(part), groups, -1, *rows.shape[2:]), 2, -1)
        rows = rows.swapaxes(0, 1).reshape(groups, columns.shape[1], -1)
        yield columns.astype(np.float64), rows.astype(np.float64)


def as_rows(node: LayerNode, weights: npt.NDArray[np.float32]) -> Reals:
    """Weights as (groups, sums, terms)."""
    if node.layer.op == "Conv":
        groups = node.attributes.get("group", 1)
        return weights.reshape(groups, len(weights) // groups, -1).astype(np.float64)
    matrix = weights if node.layer.axis == 0 else weights.T
    return matrix[None].astype(np.float64)


def _as_weights(node: LayerNode, rows: Reals, shape: tuple[int, ...]) -> Reals:
    if node.layer.op == "Conv":
        return rows.reshape(shape)
    return np.asarray(rows[0] if node.layer.axis == 0 else rows[0].T)


def grids(
    node: LayerNode, by: QuantNode, weights: npt.NDArray[np.float32]
) -> Iterator[tuple[Reals, Ends]]:
    """The scale and the ends of each row, (sums, 1), by group."""
    groups = node.attributes.get("group", 1) if node.layer.op == "Conv" else 1
    scale, ends = along(by, weights.ndim)

    def parts(each: Any) -> Reals:
        rows = np.broadcast_to(np.ravel(each), weights.shape[node.layer.axis])
        return np.asarray(rows.reshape(groups, -1, 1))

    low, high = ([end] * groups if isinstance(end, int) else parts(end) for end in ends)
    yield from zip(parts(scale), zip(low, high, strict=True), strict=True)
