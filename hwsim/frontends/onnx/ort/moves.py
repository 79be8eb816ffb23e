"""Warnings where ONNX Runtime moves quantizers or a Transpose and so changes what is computed.

All were found by experiment: a DequantizeLinear that moves forward takes a QuantizeLinear along,
whose type without a zero point is uint8; and a Transpose that moves leaves two pairs in a row,
gives codes one reader or several, and takes a quantizer to an output before it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

import numpy as np

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
    "ONNX Runtime may move the Transpose beside this softmax and then compute it with its other "
    "kernel, so that any code may differ; here it is that of {kernel}"
)
TURNED = (
    "ONNX Runtime may move the Transposes before it and then choose another kernel, so that codes "
    "that meet a tie may differ by one step, and reals in their last bits"
)
SHOWN = (
    "ONNX Runtime may move the Transpose behind it, and then rounds this output by the quantizer "
    "there ({quantizer}); here it is as the model has it; leave out that output, or quantize it"
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
    if not run.moves or (kind.lo >= 0 and kind.hi <= 255):
        return
    for mover in _readers(run.model, node.output):
        if mover.op == "MatMul" and len(kind.shape) > 1 and run.model.batch is not None:
            run.warn(node.name, UNSIGNED.format(mover=f"the Reshape that it adds to {mover}"))
        if mover.op in MOVERS and _is_moved_over(run.model, mover):
            run.warn(node.name, UNSIGNED.format(mover=mover))


def _is_moved_over(model: OnnxModel, mover: OnnxNode) -> bool:
    """Whether a DequantizeLinear goes on behind an operator: not where a quantizer reads it."""
    if mover.op == "MaxPool" and model.opset < 12:
        return False
    return all(n.op != Q for n in _readers(model, mover.output))


def note_moved(run: Importer, node: OnnxNode) -> None:
    """Warn where a quantizer behind a Transpose may become one with the quantizer before it.

    It does where another Transpose makes that one move; other operators that quantizers move
    over may stand between the two quantizers too.
    """
    if not run.moves:
        return
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


def is_turned(run: Importer, tensor: str) -> bool:
    """Whether a node has a Transpose before or behind it that another Transpose makes move."""
    model = run.model
    makers = {n.output: n for n in model.nodes}
    before = makers.get(makers[tensor].input(0))
    beside = [*_readers(model, tensor), *([before] if before is not None else [])]
    several = sum(1 for n in model.nodes if n.op == "Transpose") > 1
    return run.moves and several and any(n.op == "Transpose" for n in beside)


def note_turned(run: Importer, name: str, tensor: str) -> None:
    """Warn where Transposes on the way to a node may move, and so change how its codes are held.

    int8 stays int8 where several nodes read it. So it matters where two Transposes stand on one
    way of such codes, and something on the way has several readers.
    """
    if not run.moves:
        return
    makers = {n.output: n for n in run.model.nodes}
    counts = Counter(source for n in run.model.nodes for source in n.inputs)
    counts.update(port.name for port in run.model.outputs)
    for source in makers[tensor].inputs if tensor in makers else ():
        turns, several, signed = 0, False, False
        while (maker := makers.get(source)) is not None and maker.op in (*MOVERS, Q, DQ):
            zero = run.model.constants.get(maker.input(2)) if maker.op in (Q, DQ) else None
            signed = signed or (zero is not None and zero.dtype == np.int8)
            several = several or counts[source] > 1
            turns += maker.op == "Transpose"
            source = maker.input(0)
        if turns > 1 and several and signed:
            run.warn(name, TURNED)
            return


def note_shown(run: Importer, output: str) -> None:
    """Warn where an output of reals is transposed and quantized too."""
    makers = {n.output: n for n in run.model.nodes}
    if not run.moves or output not in makers or makers[output].op == DQ:
        return
    for reader in _readers(run.model, output):
        way = reader
        if way.op != "Transpose":
            continue
        while way.op in MOVERS and len(behind := _readers(run.model, way.output)) == 1:
            way = behind[0]
        if way.op == Q:
            run.warn(makers[output].name, SHOWN.format(quantizer=way.name))


def _readers(model: OnnxModel, tensor: str) -> list[OnnxNode]:
    return [n for n in model.nodes if tensor in n.inputs]
