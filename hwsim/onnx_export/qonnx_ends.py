"""The ends of a QONNX file: quantizers of reals, and scales for what is not a power of two."""

from __future__ import annotations

import numpy as np

from hwsim.emulator import ports
from hwsim.errors import HwsimError
from hwsim.fixed import Overflow
from hwsim.graph import Graph, InputPort, OutputPort
from hwsim.notices import warn
from hwsim.onnx_export.ends import steps_of
from hwsim.onnx_export.onnx_draft import OnnxDraft
from hwsim.onnx_export.qonnx_draft import MODES, QonnxDraft, unit
from hwsim.onnx_export.recorded import FLOAT32, ROWS, Recorded
from hwsim.ops import TensorType
from hwsim.ports import user_shape


class OtherOverflow(UserWarning):
    """Reals outside of an input's range become other codes than in the Graph."""


def declared(draft: OnnxDraft, graph: Graph) -> str:
    """Have ports among the file's inputs, all of float32; the name of the first."""
    for port in graph.inputs:
        draft.add_input(port.name, "float32", user_shape(port.type, port))
    return draft.inputs[0][0]


def read(sheet: QonnxDraft) -> None:
    """Have the edges that ports feed."""
    for port in sheet.graph.inputs:
        sheet.draft.now = port.name
        kind, given = port.type, sheet.draft.read[port.name]
        seen = Recorded(given, (ROWS, *user_shape(kind, port)), FLOAT32, sheet.rec)
        try:
            made = _quantized(sheet, port, seen)
            edge = ports.from_user(sheet.rec, port, kind, _recorded(made, seen))
            sheet.put(port.tensor, edge.name)
        except HwsimError as error:
            sheet.troubles.append(f"input {port.name!r}: {error}")
            sheet.tensors[port.tensor] = {False: given}


def _recorded(name: str, like: Recorded) -> Recorded:
    return Recorded(name, like.shape, FLOAT32, like.recorder)


def _quantized(sheet: QonnxDraft, port: InputPort, x: Recorded) -> str:
    """The numbers of an input's edge, in its user's view."""
    kind, fmt = port.type, port.type.format
    if port.element is not None:
        made = sheet.quant(x.name, 1.0, fmt.width, signed=fmt.signed, mode="ROUND")
        return _less(sheet, made, kind)
    real = steps_of(port.steps, x, sheet.rec)
    if port.rounding not in MODES or fmt.width <= fmt.signed or port.reciprocal:
        raise HwsimError(f"Quant does not round reals by {port.rounding.name} to {fmt}")
    if port.overflow not in (Overflow.SAT, Overflow.SAT_SYM):
        low, high = (code * kind.scales()[0] for code in (kind.lo, kind.hi))
        warn(
            f"input {port.name!r}: reals outside of {low:g} to {high:g} saturate in QONNX, where "
            f"the Graph overflows by {port.overflow.name}",
            OtherOverflow,
        )
    narrow = port.overflow is Overflow.SAT_SYM and fmt.signed
    mode = MODES[port.rounding]
    if kind.quant is None:
        return sheet.quant(
            real.name, unit(kind), fmt.width, signed=fmt.signed, narrow=narrow, mode=mode
        )
    if len(kind.quant.scale) > 1 or (port.zero_point_first and kind.zero_point):
        raise HwsimError("its scale must be one, and its zero point added behind the rounding")
    ratio = sheet.draft.add("Div", [real.name, sheet.constant(kind.quant.scale[0])])
    low, high = (end - kind.zero_point for end in (fmt.min + narrow, fmt.max))
    if kind.zero_point == 0:
        return sheet.quant(ratio, 1.0, fmt.width, signed=fmt.signed, narrow=narrow, mode=mode)
    bits = max(abs(low), high).bit_length() + 1
    wide = sheet.quant(ratio, 1.0, bits, signed=True, mode=mode)
    held = sheet.draft.add("Clip", [wide, sheet.constant(low), sheet.constant(high)])
    return sheet.quant(held, 1.0, bits, signed=True, mode=mode)


def _less(sheet: QonnxDraft, codes: str, kind: TensorType) -> str:
    """Codes without their zero point, at their binary point."""
    if kind.zero_point:
        codes = sheet.draft.add("Sub", [codes, sheet.constant(kind.zero_point)])
    if kind.format.frac_bits:
        codes = sheet.draft.add("Mul", [codes, sheet.constant(unit(kind))])
    return sheet.again(codes, kind) if kind.zero_point or kind.format.frac_bits else codes


UNROUNDED = ("Add", "Sub", "Mul", "Max", "Min", "Clip", "Relu", "Reshape", "Transpose")


def show(sheet: QonnxDraft) -> None:
    """Have the ports among the file's outputs."""
    for port in sheet.graph.outputs:
        sheet.draft.now = port.name
        try:
            made = _shown(sheet, port)
        except HwsimError as error:
            sheet.troubles.append(f"output {port.name!r}: {error}")
            continue
        given = sheet.draft.add_output(port.name, "float32", made.shape[1:])
        sheet.draft.rename(made.name, given)


def _shown(sheet: QonnxDraft, port: OutputPort) -> Recorded:
    """What an output's user sees, in float32: reals, or codes."""
    edge, kind = port.tensor, sheet.kind(port.tensor)
    if port.reals is not None:
        raise HwsimError("it must show codes times a scale, not what a function makes of them")
    tensor = sheet.tensor(edge)
    makers = {node.outputs[0]: node.op for node in sheet.draft.nodes}
    if makers.get(tensor.name) in UNROUNDED:  # readers take no sum for an end that has no Quant
        tensor = _recorded(sheet.again(tensor.name, kind), tensor)
    seen = sheet.rec.tensor(ports.to_user(sheet.rec, port, kind, tensor), FLOAT32)
    if port.element is not None:
        codes = (
            seen if kind.format.frac_bits == 0 else seen * np.float32(2.0**kind.format.frac_bits)
        )
        return codes + np.float32(kind.zero_point) if kind.zero_point else codes
    if kind.quant is not None:
        scales = np.array(kind.quant.scale, np.float32) * np.float32(2.0**kind.format.frac_bits)
        if len(scales) > 1 and (port.axes is not None or port.shape is not None):
            raise HwsimError("scales of channels must be along its user's last axis")
        seen = seen * (scales if len(scales) > 1 else scales[0])
    return steps_of(port.steps, seen, sheet.rec)
