"""The reals of an ONNX file's quantizer that only the model's user sees.

The plugin makes one quantizer of the file's pair where its zero point is 0, and rounds as that
does; elsewhere a zero point is taken off codes and the scale comes last.
"""

from __future__ import annotations

import numpy as np

from hwsim.frontends.onnx.importer import Importer
from hwsim.frontends.onnx.model import OnnxNode
from hwsim.frontends.openvino.code_range import CodeRange
from hwsim.frontends.openvino.lines import again, fused
from hwsim.frontends.openvino.readers import LAYERS, MOVING, only_reader
from hwsim.frontends.openvino.shown import FOLLOWED
from hwsim.frontends.shared.values import FloatArray, Real, Unary

F32 = np.float32
APART = {*MOVING, "AveragePool", "GlobalAveragePool", "ReduceMean"} - {"Relu", "Transpose"}
"""Operators that no layer's kernel takes in."""


RESHAPING = ("Flatten", "Reshape", "Squeeze", "Unsqueeze")


def whole_zero(node: OnnxNode, by: CodeRange) -> bool:
    """Whether the zero point of an ONNX file's quantizer is 0."""
    return by.zero_point == (128 if node.attributes["codes"] == "int8" else 0)


def reals_shown(run: Importer, node: OnnxNode, by: CodeRange, *, rectified: bool) -> Unary:
    """The reals of codes at the end, of a zero point 0.

    `rectified` says that a ReLU of codes that mean the same stands before the quantizer, which
    then only scales.
    """
    kernel = in_kernel(run, node)
    least, most = (F32(end.ravel()[0]) for end in by.ends)
    scale, zero = F32(by.scale), F32(by.zero_point)
    step = np.asarray((most - least) / F32(by.levels - 1))
    if rectified and least:
        step = again(np.asarray(scale)) if kernel else np.asarray(scale)
    elif kernel and not least:
        step = again(step)

    def function(x: FloatArray) -> FloatArray:
        places: FloatArray = np.rint(x / scale) + zero
        if rectified and least:
            return np.asarray((places - zero) * step)
        return fused(places, step, least)

    return Unary(FOLLOWED, function, rising=True)


def in_kernel(run: Importer, node: OnnxNode) -> bool:
    """Whether a layer's kernel ends in a quantizer, behind functions of single values."""
    makers = {name: other for other in run.model.nodes for name in other.outputs}
    name = node.inputs[0]
    while (maker := makers.get(name)) is not None and only_reader(run, name) is not None:
        if maker.op in (*LAYERS, "ConvTranspose"):
            return True
        if maker.op in APART and not _changes_nothing(run, maker):
            return False
        name = next((given for given in maker.inputs if given in makers), "")
    return False


def _changes_nothing(run: Importer, node: OnnxNode) -> bool:
    """Whether a tensor keeps its shape."""
    before, after = run.values.get(node.inputs[0]), run.values.get(node.output)
    if not (isinstance(before, Real) and isinstance(after, Real)) or node.op not in RESHAPING:
        return False
    return before.layout.shape == after.layout.shape
