"""Where OpenVINO itself was seen to compute something else than the model says, by any amount.

The sums and means are the model's here, and a warning says that OpenVINO's are not.
"""

from __future__ import annotations

from hwsim.frontends.onnx.handlers import FLOAT_HANDLERS
from hwsim.frontends.onnx.importer import Handler, Importer
from hwsim.frontends.onnx.model import OnnxNode
from hwsim.frontends.openvino.importer import OvImporter
from hwsim.frontends.shared.values import Real

DENSE = (
    "OpenVINO 2026.4.1 was seen to give wrong sums for dense layers of int8 codes in ONNX files, "
    "by any amount; the sums here are right, and those of uint8 codes are the same"
)
JOINED = (
    "OpenVINO 2026.4.1 was seen to give wrong sums for convolutions of int8 codes that a Concat "
    "has joined in ONNX files, by any amount; the sums here are right, and those of uint8 codes "
    "are the same"
)
MEAN = (
    "OpenVINO 2026.4.1 was seen to give wrong means along one axis of a tensor of three in ONNX "
    "files where the zero point is not 0, by any amount, infinities too; the means here are right"
)
PASSED = ("FakeQuantize", "Identity", "Relu", "Reshape", "Resize", "Slice", "Split", "Transpose")
"""What may stand between the Concat and the convolution."""


def note_joined(run: Importer, node: OnnxNode) -> None:
    """Say it of a convolution of an ONNX file behind a Concat of int8 codes."""
    if not isinstance(run, OvImporter) or not run.of_onnx:
        return
    makers = {name: other for other in run.model.nodes for name in other.outputs}
    maker, seen_int8 = makers.get(node.inputs[0]), False
    while maker is not None and maker.op in PASSED:
        seen_int8 |= maker.attributes.get("codes") == "int8"
        maker = makers.get(maker.inputs[0])
    if maker is None or maker.op != "Concat":
        return
    joined = [makers[name] for name in maker.inputs if name in makers]
    if seen_int8 or any(other.attributes.get("codes") == "int8" for other in joined):
        run.warn(node.name, JOINED)


def _mean(op: str) -> Handler:
    """A handler of a mean that says where OpenVINO's is wrong."""

    def handler(run: Importer, node: OnnxNode) -> None:
        before = run.value(node, 0)
        FLOAT_HANDLERS["", op](run, node)
        after = run.values.get(node.output)
        if not isinstance(run, OvImporter) or not isinstance(after, Real):
            return
        if isinstance(before, Real) and _one_axis(before, after) and _zero_point(run, node):
            run.warn(node.name, MEAN)

    return handler


def _one_axis(before: Real, after: Real) -> bool:
    """Whether two axes and the batch become one, or the last of them becomes 1 long."""
    if len(before.layout.shape) != 2:
        return False
    channels, _ = before.layout.shape
    return len(after.layout.shape) == 1 or after.layout.shape == (channels, 1)


def _zero_point(run: Importer, node: OnnxNode) -> bool:
    """Whether the quantizer of an ONNX file that stands before a node has one that is not 0."""
    makers = {name: other for other in run.model.nodes for name in other.outputs}
    maker = makers.get(node.inputs[0])
    while maker is not None and maker.op in (*PASSED, "MaxPool"):
        if maker.op == "FakeQuantize" and "codes" in maker.attributes:
            low = float(run.constant(maker, 1).array.reshape(()))
            lowest = -128 if maker.attributes["codes"] == "int8" else 0
            return round(low / maker.real("scale", 1.0)) != lowest
        maker = makers.get(maker.inputs[0])
    return False


MEANS: dict[tuple[str, str], Handler] = {
    ("", op): _mean(op) for op in ("GlobalAveragePool", "ReduceMean")
}
