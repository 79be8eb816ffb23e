"""MatMul: with constant weights a dense layer, else the product of two computed tensors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.onnx import weighted
from hwsim.frontends.onnx.importer import Importer
from hwsim.frontends.onnx.model import OnnxNode
from hwsim.frontends.shared.arrangement import Arrangement
from hwsim.frontends.shared.exact_levels import narrowed
from hwsim.frontends.shared.settling import level_of
from hwsim.frontends.shared.values import NO_PADDING, Constant, Level, Product, Real


def matmul(run: Importer, node: OnnxNode) -> None:
    """MatMul of a tensor with constant weights on its right, or with another tensor."""
    if isinstance(run.value(node, 1), Constant):
        weighted.matmul(run, node)
        return
    if isinstance(run.value(node, 0), Constant):
        weights = weighted.weights_of(run, node, 0, 0)
        run.values[node.output] = from_the_left(run, node, weights, run.real(node, 1))
        return
    run.values[node.output] = product(run, node, run.real(node, 0), run.real(node, 1))


def from_the_left(run: Importer, node: OnnxNode, weights: Constant, real: Real) -> Real:
    """A constant matrix times a tensor of matrices: the product of both transposed."""
    shape = real.layout.shape
    if weights.array.ndim != 2 or len(shape) < 2:
        raise HwsimError(
            f"{node}: constant weights on the left of a product must be a matrix, and the tensor "
            f"on its right of shape (batch, ..., k, n), not {weights.array.shape} and (batch, "
            f"{_text(shape)})"
        )
    order = (*range(len(shape) - 2), len(shape) - 1, len(shape) - 2)
    aside = replace(real, layout=real.layout.transposed(order))
    found = weighted.dense(run, node, aside, weighted.turned(weights), None)
    return replace(found, layout=found.layout.transposed(order))


MOST_BITS = 61  # of the sums of products


def product(run: Importer, node: OnnxNode, first: Real, second: Real) -> Real:
    """The product behind MatMul and QLinearMatMul of two computed tensors."""
    shapes = first.layout.shape, second.layout.shape
    rank = len(shapes[0])
    if rank != len(shapes[1]) or rank < 2 or shapes[0][-1] != shapes[1][-2]:
        raise HwsimError(
            f"{node}: two computed tensors must be of shapes (batch, ..., m, k) and (batch, ..., "
            f"k, n), not (batch, {_text(shapes[0])}) and (batch, {_text(shapes[1])})"
        )
    try:
        outer = np.broadcast_shapes(shapes[0][:-2], shapes[1][:-2])
    except ValueError:
        raise HwsimError(
            f"{node}: the axes ahead of its matrices must broadcast, not be {shapes[0][:-2]} and "
            f"{shapes[1][:-2]}"
        ) from None
    a, b = (_plain(run, node, real) for real in (first, second))
    terms = sum(run.types[level.codes.edge].magnitude.bit_length() for level in (a, b))
    if terms + shapes[0][-1].bit_length() > MOST_BITS:
        a, b = (narrowed(run, level, f"{node.name}.narrow") for level in (a, b))
    shape = (*(int(size) for size in outer), shapes[0][-2], shapes[1][-1])
    return Real(Product(node.name, node.output, a, b), Arrangement.plain(shape))


def _plain(run: Importer, node: OnnxNode, real: Real) -> Level:
    level = level_of(run, node, real)
    if level.codes.padding != NO_PADDING:
        raise HwsimError(f"{node}: a Pad must be followed by a convolution")
    held = replace(level.codes, layout=real.layout)
    return replace(level, codes=run.arranged(held, Arrangement.plain(real.layout.shape), node))


def _text(shape: tuple[int, ...]) -> str:
    return ", ".join(map(str, shape))
