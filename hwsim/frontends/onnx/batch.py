"""Tensors whose batch is not the first axis: attention that PyTorch computes as (time, batch, ...).

The batch never is part of a layout: a sample's elements are the same wherever the model keeps its
batch. So a tensor whose batch has moved is held as all of the model's axes for ONE sample, and its
`Place` says which of them the batch is in. A node that reads such a tensor is read as if a batch
axis stood before all others: its rule here moves the axes that it names one on, finds where the
batch is behind it, and refuses what would mix samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from hwsim.frontends.onnx.batch_reading import FIRST, MADE, NOWHERE, Reading
from hwsim.frontends.onnx.batch_rules import RULES
from hwsim.frontends.onnx.importer import Handler, Importer, Place
from hwsim.frontends.onnx.model import OnnxNode
from hwsim.frontends.onnx.shape import (
    added,
    axes,
    layout_of,
    relaid,
    reshape,
    shape_part,
)
from hwsim.frontends.shared.values import Constant
from hwsim.ops.base import Shape


def read_node(run: Importer, node: OnnxNode, handler: Handler) -> None:
    """Read a node by its handler, wherever the tensors that it reads hold their batch."""
    found = _moved(run, node)
    if found is None:
        handler(run, node)
        return
    if node.op == "Shape":
        run.values[node.output] = _shape(found)
        return
    rule = RULES.get(node.op)
    if rule is None:
        raise found.refusal("it must have its batch as the first axis")
    node, place = rule(found)
    (reshape if node.op == "Reshape" else handler)(run, node)  # a Flatten becomes one
    for name in filter(None, node.outputs):
        _settle(run, node, name, place)


def _moved(run: Importer, node: OnnxNode) -> Reading | None:
    """The node, if its batch is not the first axis, or will not be."""
    for position, name in enumerate(node.inputs):
        if name in run.places:
            shape = layout_of(run.values[name], node).shape
            return Reading(run, node, position, run.places[name], shape)
    value, starts = run.values.get(node.input(0)), STARTS.get(node.op)
    if starts is None or value is None or isinstance(value, Constant):
        return None
    shape = (1, *layout_of(value, node).shape)
    if not starts(run, node, shape):
        return None
    # The same elements, their batch an axis of length 1 like any other.
    viewed = f"{node.input(0)}{MADE}viewed"
    run.values[viewed] = relaid(value, lambda layout: layout.reshaped((1, *layout.shape)))
    node = replace(node, inputs=(viewed, *node.inputs[1:]))
    return Reading(run, node, 0, NOWHERE if run.model.batch == 1 else FIRST, shape)


def _turns(run: Importer, node: OnnxNode, shape: Shape) -> bool:
    """Whether a Transpose moves the first axis."""
    order = node.integers("perm", range(len(shape) - 1, -1, -1))
    return sorted(order) == list(range(len(shape))) and order[0] != 0


def _merges(run: Importer, node: OnnxNode, shape: Shape) -> bool:
    """Whether a Reshape makes one axis of the batch and axes behind it."""
    target = run.values.get(node.input(1))
    if not isinstance(target, Constant) or not target.array.size:
        return False
    first, *rest = (int(d) for d in target.array.ravel())
    batch = run.model.batch
    several = first < 0 or (batch is not None and first > batch and first % batch == 0)
    return several and all(d > 0 for d in rest) and math.prod(rest) < math.prod(shape)


def _flattens(run: Importer, node: OnnxNode, shape: Shape) -> bool:
    """Whether a Flatten makes one axis of the batch and axes behind it."""
    axis = node.integer("axis", 1)
    return 1 < axis + len(shape) * (axis < 0) <= len(shape)


def _precedes(run: Importer, node: OnnxNode, shape: Shape) -> bool:
    """Whether an Unsqueeze makes an axis ahead of the batch."""
    return 0 in axes(node, run, len(shape) + added(run, node))


def _squeezes(run: Importer, node: OnnxNode, shape: Shape) -> bool:
    """Whether a Squeeze takes the batch out, as it may where it is 1."""
    return run.model.batch == 1 and 0 in axes(node, run, len(shape))


STARTS: dict[str, Callable[[Importer, OnnxNode, Shape], bool]] = {
    "Flatten": _flattens,
    "Reshape": _merges,
    "Squeeze": _squeezes,
    "Transpose": _turns,
    "Unsqueeze": _precedes,
}
"""Whether an operator moves a batch that is the first axis of a tensor of that shape."""


def _settle(run: Importer, node: OnnxNode, name: str, place: Place) -> None:
    """Remember where a tensor holds its batch; as the first axis it needs no place."""
    shape = layout_of(run.values[name], node).shape
    if place in (FIRST, NOWHERE) and shape[:1] == (1,):
        run.values[name] = relaid(run.values[name], lambda layout: layout.reshaped(shape[1:]))
    else:
        run.places[name] = place


def _shape(found: Reading) -> Constant:
    """Shape: below 0 where it counts samples."""
    return Constant(np.array(found.counted[shape_part(found.node)], np.int64))
