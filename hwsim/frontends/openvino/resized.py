"""Maps that Interpolate makes longer or shorter, whose sums the plugin computes in float32."""

from __future__ import annotations

from hwsim.frontends.onnx.handlers import FLOAT_HANDLERS
from hwsim.frontends.onnx.importer import Importer
from hwsim.frontends.onnx.model import OnnxNode
from hwsim.frontends.openvino.announcements import INTERPOLATED
from hwsim.frontends.openvino.importer import OvImporter
from hwsim.frontends.shared.resizing import WEIGHT_BITS
from hwsim.frontends.shared.values import Real, Weighing
from hwsim.ops import Conv, Dense


def resize(run: Importer, node: OnnxNode) -> None:
    """Resize; a sum of two neighbours' shares is no layer's, and rounded where these are."""
    before = len(run.nodes)
    FLOAT_HANDLERS["", "Resize"](run, node)
    made = run.values[node.output]
    source = made.source if isinstance(made, Real) else None
    if not isinstance(run, OvImporter) or not isinstance(source, Weighing):
        return
    run.between.add(source.tensor)
    layers = [source.op, *(emitted.op for emitted in run.nodes[before:])]
    if run.of_onnx or any(_rounded(op) for op in layers):
        run.warn(node.name, INTERPOLATED)


def _rounded(op: object) -> bool:
    """Whether shares are no sums of a few powers of two."""
    return isinstance(op, Conv | Dense) and op.weight_format.frac_bits == WEIGHT_BITS
