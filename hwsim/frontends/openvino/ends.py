"""The reals of an ONNX file's quantizer that only the model's user sees.

The plugin makes one quantizer of the file's pair where its zero point is 0 or a constant that is
used elsewhere too, and rounds as that does; else a zero point is taken off codes and the scale
comes last.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hwsim.frontends.onnx.importer import Importer
from hwsim.frontends.onnx.model import OnnxNode
from hwsim.frontends.openvino.code_range import CodeRange
from hwsim.frontends.openvino.lines import again as reciprocal
from hwsim.frontends.openvino.lines import fused
from hwsim.frontends.openvino.readers import (
    LAYERS,
    MOVING,
    computed_input,
    maker_of,
    only_reader,
    takes_int8,
)
from hwsim.frontends.openvino.shown import FOLLOWED
from hwsim.frontends.shared.values import FloatArray, Real, Unary

F32 = np.float32
APART = {*MOVING, "AveragePool", "GlobalAveragePool", "ReduceMean"} - {"Relu", "Transpose"}
"""Operators that no layer's kernel takes in."""


RESHAPING = ("Flatten", "Reshape", "Squeeze", "Unsqueeze")


def _shares_zero(run: Importer, node: OnnxNode) -> bool:
    """Whether another pair has that constant as its zero point too, and no layer takes it in."""
    name = node.attributes["zero"]
    others = [
        other
        for other in run.model.nodes
        if name and other is not node and other.attributes.get("zero") == name
    ]
    return any(_stays(run, other) for other in others)


def _stays(run: Importer, node: OnnxNode) -> bool:
    """Whether a pair's zero point is taken off by itself, since others than layers read it."""
    if node.attributes["codes"] == "int8" and not takes_int8(run, node):
        return False
    reached = [node.output]
    for other in run.model.nodes:
        if not set(other.inputs) & set(reached):
            continue
        if other.op in MOVING and other.op != "Relu":
            reached += other.outputs
        elif other.op not in LAYERS:
            return True
    return any(port.name in reached for port in run.model.outputs)


def reals_shown(run: Importer, node: OnnxNode, by: CodeRange, *, again: bool) -> list[Unary]:
    """The reals of codes at the end of an ONNX file; nothing where they are what codes mean.

    `again` says that the quantizer reads codes that mean the same, over which the plugin leaves it
    out; behind a ReLU there it only scales.
    """
    maker = maker_of(run, node.inputs[0])
    whole = by.zero_point == (128 if node.attributes["codes"] == "int8" else 0)
    if maker == "Concat" or not (whole or _shares_zero(run, node)):
        return []
    if again and whole and maker in MOVING:
        return [_scaled(run, node, by)] if maker == "Relu" else []
    least, most = (F32(end.ravel()[0]) for end in by.ends)
    step = np.asarray((most - least) / F32(by.levels - 1))
    if not least and in_kernel(run, node):
        step = reciprocal(step)
    return [_of_places(by, lambda places: fused(places, step, least))]


def _scaled(run: Importer, node: OnnxNode, by: CodeRange) -> Unary:
    """Codes times a scale, by whose reciprocal a layer's kernel divides."""
    scale, zero = np.asarray(by.scale, F32), F32(by.zero_point)
    if not zero:
        least, most = (F32(end.ravel()[0]) for end in by.ends)
        scale = np.asarray((most - least) / F32(by.levels - 1))
    step = reciprocal(scale) if in_kernel(run, node) else scale
    return _of_places(by, lambda places: np.asarray((places - zero) * step))


def _of_places(by: CodeRange, reals: Callable[[FloatArray], FloatArray]) -> Unary:
    """A function of places from 0 on as one of the reals that they mean."""
    scale, zero = F32(by.scale), F32(by.zero_point)
    return Unary(FOLLOWED, lambda x: reals(np.rint(x / scale) + zero), rising=True)


def in_kernel(run: Importer, node: OnnxNode) -> bool:
    """Whether a layer's kernel ends in a quantizer, behind functions of single values."""
    makers = {name: other for other in run.model.nodes for name in other.outputs}
    name = node.inputs[0]
    while (maker := makers.get(name)) is not None and only_reader(run, name) is not None:
        if maker.op in (*LAYERS, "ConvTranspose"):
            return True
        if maker.op in APART and not _changes_nothing(run, maker):
            return False
        name = computed_input(run, maker)
    return False


def _changes_nothing(run: Importer, node: OnnxNode) -> bool:
    """Whether a tensor keeps its shape."""
    before, after = run.values.get(node.inputs[0]), run.values.get(node.output)
    if not (isinstance(before, Real) and isinstance(after, Real)) or node.op not in RESHAPING:
        return False
    return before.layout.shape == after.layout.shape
