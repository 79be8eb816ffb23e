"""Average pools as OpenVINO's CPU plugin computes them: of the codes that it holds.

Padding that counts is code 0 of these, so the lowest real where they are uint8. Padding that does
not count is left out of the sum and of what that is divided by.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.onnx import pool
from hwsim.frontends.onnx.importer import Importer
from hwsim.frontends.onnx.model import OnnxNode
from hwsim.frontends.onnx.window import declared_pads, map_level, window_of
from hwsim.frontends.openvino.announcements import AVERAGED_ROW
from hwsim.frontends.openvino.importer import OvImporter
from hwsim.frontends.shared import moves
from hwsim.frontends.shared.values import NO_PADDING, Codes, Level, Mean, Real
from hwsim.ops import Flatten, Op, Reshape
from hwsim.ops.base import IntArray, Shape


def average_pool(run: Importer, node: OnnxNode) -> None:
    """AveragePool."""
    real = run.real(node, 0)
    _note_row(run, node, real)
    if isinstance(run, OvImporter) and node.integer("count_include_pad", 0):
        framed = _framed(run, node, real)
        node = _bare(node) if framed is not None else _excluding(node)
        real = real if framed is None else framed
    run.values[node.output] = pool.average(run, node, real, whole=False)


def _note_row(run: Importer, node: OnnxNode, real: Real) -> None:
    """Say that an ONNX file's averages of uint8 codes along one axis are rounded otherwise."""
    if not isinstance(run, OvImporter) or not run.of_onnx or not isinstance(real.source, Level):
        return
    if len(node.integers("kernel_shape")) == 1 and not run.meaning(real.source).lowest:
        run.warn(node.name, AVERAGED_ROW)


def _framed(run: OvImporter, node: OnnxNode, real: Real) -> Real | None:
    """A map with the padding that counts around it; None where the node declares none.

    Where it does, what a last window that begins on the map meets beyond it counts too.
    """
    level, shape = map_level(run, node, real)
    if level.codes.padding != NO_PADDING:
        raise HwsimError(
            f"{node}: a Pad before padding that counts must be followed by a quantizer"
        )
    kernel = node.integers("kernel_shape")
    apart = node.integers("dilations", (1,) * len(kernel))
    span = tuple((k - 1) * d + 1 for k, d in zip(kernel, apart, strict=True))
    window = window_of(node, shape, span)
    if not any(declared_pads(node, shape, span, window.stride)):
        return None
    name, lowest = f"{node.name}.frame", -run.meaning(level).lowest
    frame = [(0, 0, 0), *((before, after, 0) for before, after in window.ends)]
    codes = moves.padded(run, level.codes, frame, lowest, name, f"{node.output}.frame")
    assert isinstance(codes, Codes)
    return Real(replace(level, codes=codes), codes.layout)


def _bare(node: OnnxNode) -> OnnxNode:
    """The same pool over a map that has its padding."""
    kept = {
        name: value
        for name, value in node.attributes.items()
        if name not in ("pads", "auto_pad", "ceil_mode")
    }
    return replace(node, attributes=kept)


def _excluding(node: OnnxNode) -> OnnxNode:
    """The same pool, whose windows count what there is."""
    return replace(node, attributes={**node.attributes, "count_include_pad": 0})


def sizes(source: Mean, channels: int) -> IntArray:
    """How many codes each mean is of: one number, or one for each element of a flattened map."""
    if source.counts is None or source.counts.max() == source.counts.min():
        return np.array([source.window.size if source.counts is None else source.counts.max()])
    return np.repeat(source.counts.ravel(), channels)


def flattened(shape: Shape, ops: list[Op]) -> list[Op]:
    """Operators that have a row for each element of a map."""
    return [Flatten(), *ops, Reshape(shape=shape)]
