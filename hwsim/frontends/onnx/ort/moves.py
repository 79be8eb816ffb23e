"""Warnings where ONNX Runtime moves quantizers or a Transpose and so changes what is computed.

Both were found by experiment: a DequantizeLinear that moves forward takes a QuantizeLinear along,
whose type without a zero point is uint8; and a Transpose that moves leaves two pairs in a row.
"""

from __future__ import annotations

from collections.abc import Collection

from hwsim.errors import HwsimError
from hwsim.frontends.onnx.importer import Importer
from hwsim.frontends.onnx.model import OnnxModel, OnnxNode
from hwsim.frontends.onnx.ort.graph_copy import DQ, Q
from hwsim.frontends.onnx.ort.pairs import MERGED, parameters
from hwsim.ops import TensorType

MOVERS = (
    "MaxPool",
    "Reshape",
    "Slice",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
)  # what quantizers move over

UNSIGNED = (
    "ONNX Runtime quantizes behind {mover} once more, to uint8, since this node has no zero point, "
    "and so cuts all codes below 0 or above 255; here they are kept; give it a zero point"
)
MOVED = (
    "ONNX Runtime may move the Transpose before it and make one quantizer of two, with a scale "
    "between theirs, so that any code may differ, by up to a step of the coarser one"
)

TURNED_SOFTMAX = (
    "ONNX Runtime may move the Transpose beside this softmax and then compute it in float32, so "
    "that any code may differ; here it is that of its integer kernel"
)


def refuse_moved_rows(model: OnnxModel, tensors: Collection[str]) -> None:
    """Raise HwsimError where what three or more pairs in a row gave goes over an operator.

    `tensors` are those whose scale the runtime changed after its first pass; the quantizer that it
    takes over the operator keeps the scale of that pass.
    """
    for mover in model.nodes:
        if mover.op in MOVERS and mover.input(0) in tensors and _is_moved_over(model, mover):
            raise HwsimError(
                f"{model.path}: {mover}: its input {mover.input(0)!r} must be quantized once, not "
                "three times or more in a row, of which ONNX Runtime moves one over it"
            )


def note_unsigned(run: Importer, node: OnnxNode, kind: TensorType) -> None:
    """Warn where a DequantizeLinear without a zero point moves over an operator."""
    if kind.lo >= 0 and kind.hi <= 255:
        return
    for mover in _readers(run.model, node.output):
        if mover.op == "MatMul" and len(kind.shape) > 1 and run.model.batch is not None:
            run.warn(node.name, UNSIGNED.format(mover=f"the Reshape that it adds to {mover}"))
        if mover.op in MOVERS and _is_moved_over(run.model, mover):
            run.warn(node.name, UNSIGNED.format(mover=mover))


def _is_moved_over(model: OnnxModel, mover: OnnxNode) -> bool:
    """Whether a DequantizeLinear goes on behind an operator: not where quantizers alone read it."""
    if mover.op == "MaxPool" and model.opset < 12:
        return False
    shown = mover.output in {port.name for port in model.outputs}
    return shown or any(n.op != Q for n in _readers(model, mover.output))


def note_moved(run: Importer, node: OnnxNode) -> None:
    """Warn where a quantizer behind a Transpose may become one with the quantizer before it.

    It does where another Transpose makes that one move; other operators that quantizers move
    over may stand between the two quantizers too.
    """
    makers = {n.output: n for n in run.model.nodes}
    before, passed = makers.get(node.input(0)), []
    while before is not None and before.op in MOVERS:
        passed.append(before.op)
        before = makers.get(before.input(0))
    least = 1 + ("Reshape" in passed)  # over which no Transpose moves
    if passed.count("Transpose") < least or before is None or before.op != DQ:
        return
    first = makers.get(before.input(0))
    count = sum(1 for n in run.model.nodes if n.op == "Transpose")
    if first is None or first.op != Q or count <= 1:
        return
    inner, outer = parameters(run.model, first), parameters(run.model, node)
    if inner is None or outer is None or inner == outer or inner[2] != outer[2]:
        return
    alone = all(len(_readers(run.model, n.output)) == 1 for n in (first, before))
    if alone and inner[2] in MERGED:
        run.warn(node.name, MOVED)


def is_turned(model: OnnxModel, tensor: str) -> bool:
    """Whether a node has a Transpose before or behind it that another Transpose makes move."""
    makers = {n.output: n for n in model.nodes}
    before = makers.get(makers[tensor].input(0))
    beside = [*_readers(model, tensor), *([before] if before is not None else [])]
    several = sum(1 for n in model.nodes if n.op == "Transpose") > 1
    return several and any(n.op == "Transpose" for n in beside)


def _readers(model: OnnxModel, tensor: str) -> list[OnnxNode]:
    return [n for n in model.nodes if tensor in n.inputs]
