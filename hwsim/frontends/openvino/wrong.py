"""Where OpenVINO itself was seen to compute something else than the model says, by any amount.

The sums and means are the model's here, and a warning says that OpenVINO's are not.
"""

from __future__ import annotations

import numpy as np

from hwsim.frontends.onnx.handlers import FLOAT_HANDLERS
from hwsim.frontends.onnx.importer import Handler, Importer
from hwsim.frontends.onnx.model import OnnxNode
from hwsim.frontends.openvino.ends import APART
from hwsim.frontends.openvino.importer import OvImporter
from hwsim.frontends.openvino.readers import LAYERS, computed_input, only_reader
from hwsim.frontends.shared.values import Constant, Real

CHAIN = (
    "OpenVINO 2026.4.1 was seen to give wrong sums, by any amount, where it compiles dense layers "
    "of an ONNX file together and a layer among them that is quantized has no bias: layers one "
    "behind the other, of up to {width} inputs and outputs, for a fixed batch below {batch}; the "
    "sums here are right, and with an open batch OpenVINO's are too"
)
WIDEST, FEWEST = 256, 16
"""What the plugin compiles together: dense layers no wider, for a batch that is fixed below."""
JOINED = (
    "OpenVINO 2026.4.1 was seen to give wrong sums for convolutions of int8 codes that a Concat "
    "has joined in ONNX files, by any amount; the sums here are right, and those of uint8 codes "
    "are the same"
)
MEAN = (
    "OpenVINO 2026.4.1 was seen to give wrong means along one axis of a tensor of three in ONNX "
    "files where the zero point is not 0, by any amount, infinities too; the means here are right"
)
PADDED = (
    "OpenVINO 2026.4.1 was seen to pad a zero point too, in ONNX files where pairs on both sides "
    "of a Pad along one axis share its constant, and to be wrong by any amount there; the padding "
    "here is right, and with a constant for each pair OpenVINO's is too"
)
PASSED = ("FakeQuantize", "Identity", "Relu", "Reshape", "Resize", "Slice", "Split", "Transpose")
"""What may stand between the Concat and the convolution."""


def note_chain(run: Importer, node: OnnxNode) -> None:
    """Say it of a dense layer of an ONNX file without a bias, next to another one."""
    if not isinstance(run, OvImporter) or not run.of_onnx:
        return
    sizes = [port.shape[0] for port in run.model.inputs if port.shape]
    batch = sizes[0] if sizes else None
    if batch is None or batch >= FEWEST or not _narrow(run, node):
        return
    behind = only_reader(run, node.output)
    added = behind is not None and behind.op == "Add" and _is_constant(run, behind)
    behind, quantized = _next_layer(run, node)
    before = _layer_before(run, node)
    joined = [other for other in (before, behind) if other is not None and _narrow(run, other)]
    if joined and quantized and not added:
        run.warn(node.name, CHAIN.format(width=WIDEST, batch=FEWEST))


def _is_constant(run: Importer, node: OnnxNode) -> bool:
    """Whether one of two inputs is a constant."""
    return any(isinstance(run.values.get(name), Constant) for name in node.inputs)


def _narrow(run: Importer, node: OnnxNode) -> bool:
    """Whether it is a MatMul with constant weights that the plugin compiles with others."""
    weights = run.values.get(node.input(1)) if node.op == "MatMul" else None
    if node.op == "MatMul" and weights is None:  # of a node that is read later
        return True
    if not isinstance(weights, Constant) or weights.array.ndim != 2:
        return False
    return all(size <= WIDEST for size in weights.array.shape)


def _next_layer(run: Importer, node: OnnxNode) -> tuple[OnnxNode | None, bool]:
    """The dense layer that a layer's result goes to, and whether a quantizer stands behind it."""
    quantized, reader = False, only_reader(run, node.output)
    while reader is not None and reader.op not in (*APART, *LAYERS):
        quantized |= reader.op == "FakeQuantize"
        reader = only_reader(run, reader.output)
    return reader if reader is not None and reader.op == "MatMul" else None, quantized


def _layer_before(run: Importer, node: OnnxNode) -> OnnxNode | None:
    """The dense layer whose result comes to a layer."""
    makers = {name: other for other in run.model.nodes for name in other.outputs}
    name = node.inputs[0]
    while (maker := makers.get(name)) is not None and only_reader(run, name) is not None:
        if maker.op in (*APART, *LAYERS):
            return maker if maker.op == "MatMul" else None
        name = computed_input(run, maker)
    return None


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


def pad(run: Importer, node: OnnxNode) -> None:
    """Pad; said where OpenVINO's is wrong."""
    value = run.values.get(node.inputs[0])
    row = isinstance(value, Real) and len(value.layout.shape) == 2
    makers = {name: other for other in run.model.nodes for name in other.outputs}
    maker = makers.get(node.inputs[0])
    name = None if maker is None else maker.attributes.get("zero")
    users = sum(other.attributes.get("zero") == name for other in run.model.nodes)
    if row and name and users > 1 and np.any(run.model.constants[str(name)]):
        run.warn(node.name, PADDED)
    FLOAT_HANDLERS["", "Pad"](run, node)


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
