"""The float weights that a quantized graph came from, found again in the float model."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hwsim.compress.float_model import FloatModel
from hwsim.compress.quantize.places import FloatLayer, places
from hwsim.compress.training.layers import Reals, has_unit, real_unit
from hwsim.errors import HwsimError
from hwsim.graph import Graph, Node
from hwsim.ops import Conv, Flatten, Reshape, TensorType, Weighted

MOST_OFF = 0.02
"""The share of codes that may lie a step or more from their reals: what error feedback moves."""


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """Weights of a float layer in a node's order, and the share of codes that are not theirs."""

    layer: FloatLayer
    weights: Reals
    off: float


def float_weights(graph: Graph, model: FloatModel) -> dict[str, dict[str, Reals]]:
    """Reals for `finetune`, by node: `weights` of the operator's shape, and a `bias`, if any.

    A node's layer is the one of its name, or else the first of the same size whose weights become
    the node's codes. Convolutions turn channels last, a dense layer behind a flattened map has its
    rows in the map's order. Each code must be one of the two next to its real (rounding to nearest,
    or up or down as one likes), but for a few.
    Raises HwsimError for a node whose codes come from no layer of the model.
    """
    constants = model.constants
    left = list(places(model).layers)
    found: dict[str, dict[str, Reals]] = {}
    for node in graph.nodes:
        if not isinstance(node.op, Weighted):
            continue
        fit = _fitting(graph, node, node.op, left, constants)
        left.remove(fit.layer)
        found[node.name] = {"weights": fit.weights}
        bias = _bias(graph, node, node.op, constants.get(fit.layer.bias or ""))
        if bias is not None:
            found[node.name]["bias"] = bias
    return found


def _fitting(
    graph: Graph,
    node: Node,
    op: Weighted,
    layers: Sequence[FloatLayer],
    constants: dict[str, npt.NDArray[np.float32]],
) -> Fit:
    alike = [one for one in layers if constants[one.weights].size == op.weights.size]
    alike.sort(key=lambda one: one.name != node.name)
    kind = graph.types()[node.inputs[0]]
    best: Fit | None = None
    for layer in alike:
        for weights in _ordered(graph, node, op, layer, constants[layer.weights]):
            codes = weights / _steps(op, kind, weights)
            off = _share_off(codes, op)
            if best is None or off < best.off:
                best = Fit(layer, codes * real_unit(op, kind), off)
        if best is not None and best.off <= MOST_OFF:
            return best
    if best is None:
        raise HwsimError(
            f"the float model must have a layer with the {op.weights.size:,} weights of node "
            f"{node.name!r}, and has none"
        )
    raise HwsimError(
        f"the weights of node {node.name!r} must be those of the float model, rounded: of "
        f"{best.layer.name!r}, the nearest, {best.off:.0%} are not"
    )


def _steps(op: Weighted, x: TensorType, weights: Reals) -> Reals:
    """Reals a code step: those of the model, or where it has none the nearest, by channel."""
    if has_unit(op, x):
        return real_unit(op, x)
    rows, codes = (a.reshape(-1, op.outputs).astype(np.float64) for a in (weights, op.weights))
    found = (rows * codes).sum(0) / np.maximum((codes**2).sum(0), 1.0)
    return np.asarray(np.where(found > 0, found, np.abs(rows).max(0) + 1e-30))


def _share_off(reals: Reals, op: Weighted) -> float:
    """The share of codes that are a step or more from the reals, which saturate.

    A step of an encoding's values goes to the next of them.
    """
    if op.encoding is None:
        ends = op.weight_ends
        return float((np.abs(reals.clip(*ends) - op.weights) >= 1.0 + 1e-6).mean())
    values = op.encoding.values
    at = np.searchsorted(values, op.weights)
    below, above = values[np.maximum(at - 1, 0)], values[np.minimum(at + 1, len(values) - 1)]
    held = reals.clip(values[0], values[-1])
    return float(((held < below - 1e-6) | (held > above + 1e-6)).mean())


def _ordered(
    graph: Graph, node: Node, op: Weighted, layer: FloatLayer, array: npt.NDArray[np.float32]
) -> Iterator[Reals]:
    """A layer's weights in each order that a node of the same size could have them in."""
    real = array.astype(np.float64)
    axes = tuple(range(2, real.ndim))
    if layer.op == "Conv":
        real = real.transpose(*axes, 1, 0)
    elif layer.op == "ConvTranspose":
        real = np.flip(real, axes).transpose(*axes, 0, 1)
    elif layer.axis == 0:
        real = real.T
    if real.shape[-1] != op.outputs:
        return
    yield real.reshape(op.weights.shape)
    shape = () if isinstance(op, Conv) or real.ndim > 2 else _flattened(graph, node)
    if len(shape) > 1 and math.prod(shape) == len(real):
        rows = real.reshape(shape[-1], *shape[:-1], op.outputs)
        yield np.moveaxis(rows, 0, -2).reshape(op.weights.shape)


def _flattened(graph: Graph, node: Node) -> tuple[int, ...]:
    """The shape of the map whose codes a dense layer reads in a row."""
    edge = node.inputs[0]
    while (maker := graph.makers().get(edge)) is not None and len(maker.inputs) == 1:
        before = graph.types()[maker.inputs[0]]
        if isinstance(maker.op, Flatten | Reshape) and len(before.shape) > 1:
            return before.shape
        if before.size != graph.types()[edge].size:
            break
        edge = maker.inputs[0]
    return ()


def _bias(
    graph: Graph, node: Node, op: Weighted, given: npt.NDArray[np.float32] | None
) -> Reals | None:
    """The float bias where the node's is that one, rounded; the node's own is kept otherwise."""
    kind = graph.types()[node.inputs[0]]
    unknown = op.weight_scale is None and kind.quant is not None
    if given is None or given.size != op.bias.size or unknown:
        return None
    finer = 2.0 ** (kind.format.frac_bits + op.weight_format.frac_bits - op.bias_frac)
    reals = given.reshape(-1).astype(np.float64)
    unit = real_unit(op, kind) * float(kind.scales()[0]) * finer
    near = np.abs(reals / unit - op.bias) < 1.0
    return reals if near.all() else None
