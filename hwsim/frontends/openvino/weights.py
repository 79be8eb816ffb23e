"""Layers with weights as the plugin computes them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hwsim.frontends.onnx import matmul as products
from hwsim.frontends.onnx import weighted
from hwsim.frontends.onnx.handlers import FLOAT_HANDLERS
from hwsim.frontends.onnx.importer import Importer
from hwsim.frontends.onnx.model import OnnxNode
from hwsim.frontends.openvino import wrong
from hwsim.frontends.openvino.aligned import note_aligned
from hwsim.frontends.openvino.announcements import IN_FLOAT, TRANSPOSED
from hwsim.frontends.openvino.importer import OvImporter
from hwsim.frontends.openvino.kernels import sums_of_weights
from hwsim.frontends.openvino.lines import again
from hwsim.frontends.openvino.readers import shown_only
from hwsim.frontends.shared.rounding import relabel
from hwsim.frontends.shared.values import Arithmetic, Constant, Real, Weighing
from hwsim.ops import Dense, Quant

F32 = np.float32


def conv(run: Importer, node: OnnxNode) -> None:
    """Conv without a bias; the plugin takes whole numbers where weights have no zero point."""
    note_float(run, node)
    wrong.note_joined(run, node)
    note_aligned(run, node)
    weighted.conv(run, node)


def note_float(run: Importer, node: OnnxNode) -> None:
    """Say it of a layer that the plugin computes in float32."""
    held = run.values.get(node.input(1))
    if not isinstance(held, Constant):
        return
    narrow = held.codes is not None and bool((np.abs(held.codes) <= 128).all())
    if held.shifted or not narrow or _of_four_bits(run, node.input(1)):
        run.warn(node.name, IN_FLOAT)


def _of_four_bits(run: Importer, name: str) -> bool:
    """Whether a constant is made of codes of 4 bits."""
    makers = {other: node for node in run.model.nodes for other in node.outputs}
    while name in makers:
        name = makers[name].inputs[0]
    held = run.model.constants.get(name)
    return held is not None and str(held.dtype).endswith("int4")


def conv_transpose(run: Importer, node: OnnxNode) -> None:
    """ConvTranspose; the plugin has no whole numbers for codes that have a place of 0."""
    note_float(run, node)
    FLOAT_HANDLERS["", "ConvTranspose"](run, node)
    made = run.values[node.output]
    source = made.source if isinstance(made, Real) else None
    if not isinstance(run, OvImporter) or not isinstance(source, Weighing):
        return
    if run.meaning(source.input).shift:
        run.warn(node.name, TRANSPOSED)


def matmul(run: Importer, node: OnnxNode) -> None:
    """MatMul; one whose codes have a place of 0 gets that out of its sums as the plugin does.

    It multiplies the weights' sums by the place of 0, which it has rounded to float32.
    """
    note_float(run, node)
    wrong.note_chain(run, node)
    products.matmul(run, node)
    made = run.values[node.output]
    source = made.source if isinstance(made, Real) else None
    if not isinstance(run, OvImporter) or not isinstance(source, Weighing):
        return
    meaning = run.meaning(source.input)
    weights, shift = run.values[node.inputs[1]], float(meaning.shift)
    if shift and isinstance(weights, Constant) and weights.codes is not None:
        run.zeros[source.tensor] = sums_of_weights(weights.codes, F32(shift))
    shown = shown_only(run, node)
    alike = bool((source.scale == source.scale[0]).all())  # then the plugin has one for all
    exact = shift == source.input.zero_point + meaning.lowest
    if not shift or (exact and not (shown and alike)):
        return
    assert isinstance(made, Real) and isinstance(source.op, Dense)
    edge = source.input.codes.edge
    bare = relabel(run, edge, Quant((1.0,), -meaning.lowest), f"{edge}.bare")
    codes = replace(source.input.codes, edge=bare)
    level = replace(source.input, codes=codes, scale=1.0, zero_point=-meaning.lowest)
    ones = None if source.op.weight_format.frac_bits == 0 else (1.0,)
    op = replace(source.op, zero_point=-meaning.lowest, weight_scale=ones)
    whole = replace(source, input=level, op=op, scale=np.ones(1, F32))
    taken = run.zeros.get(source.tensor, np.zeros(1, F32))
    scale = again(source.scale) if shown and alike else source.scale
    steps = (Arithmetic(str(node), "sub", taken), Arithmetic(str(node), "mul", scale))
    run.values[node.output] = replace(made, source=whole, steps=steps)
