"""The ends of a QDQ file: quantizers of reals, codes as they are, states."""

from __future__ import annotations

from hwsim.emulator import ports
from hwsim.fixed import Overflow, Rounding
from hwsim.graph import Graph, InputPort, OutputPort
from hwsim.onnx_export.ends import element_of, read_input, show_output, steps_of
from hwsim.onnx_export.onnx_draft import NEXT, OnnxDraft
from hwsim.onnx_export.qdq_draft import QdqDraft, holder, meaning
from hwsim.onnx_export.recorded import FLOAT32, INT64, ROWS, Recorded
from hwsim.ports import channels_first, user_shape


def declared(draft: OnnxDraft, graph: Graph) -> str:
    """Have ports and states among the file's inputs; the name of the first."""
    for port in graph.inputs:
        kind = element_of(port, port.type) if port.element else "float32"
        draft.add_input(port.name, kind, user_shape(port.type, port))
    for state in graph.state:
        draft.add_input(state.name, holder(state.type) or "int64", state.type.shape)
    return draft.inputs[0][0]


def read(sheet: QdqDraft) -> None:
    """Have the edges that ports and states feed."""
    for port in sheet.graph.inputs:
        sheet.draft.now = port.name
        _read_port(sheet, port)
    for state in sheet.graph.state:
        given, held = sheet.draft.read[state.name], holder(state.type)
        if held is None:
            shape = (ROWS, *state.type.shape)
            sheet.whole[state.tensor] = Recorded(given, shape, INT64, sheet.rec)
        else:
            sheet.ints[state.tensor] = {False: given}


def _read_port(sheet: QdqDraft, port: InputPort) -> None:
    kind, given = port.type, sheet.draft.read[port.name]
    first = _lies_first(port)
    if first is None or not _is_linear(port):
        sheet.whole[port.tensor] = read_input(port, given, sheet.rec, integers=False)
    elif port.element is not None:
        sheet.ints[port.tensor] = {first: given}
    else:
        real = Recorded(given, (ROWS, *user_shape(kind, port)), FLOAT32, sheet.rec)
        made = steps_of(port.steps, real, sheet.rec)
        low = -kind.format.max if port.overflow is Overflow.SAT_SYM and kind.format.signed else 0
        sheet.quantize(port.tensor, made.name, first=first, low=low)


def _lies_first(port: InputPort | OutputPort) -> bool | None:
    """Whether its user has channels first, or last as the edge; None for any other view."""
    if port.shape is not None:
        return None
    if port.axes is None or list(port.axes) == sorted(port.axes):
        return False
    return True if port.axes == channels_first(len(port.axes)) else None


def _is_linear(port: InputPort) -> bool:
    """Whether QuantizeLinear makes its codes."""
    held = holder(port.type)
    if port.element is not None:
        return held == element_of(port, port.type)
    nearest = port.rounding is Rounding.RND_CONV and not (port.zero_point_first or port.reciprocal)
    return held is not None and nearest and port.overflow in (Overflow.SAT, Overflow.SAT_SYM)


def show(sheet: QdqDraft) -> None:
    """Have the ports and what states hold next among the file's outputs."""
    for port in sheet.graph.outputs:
        sheet.draft.now = port.name
        made = _shown(sheet, port)
        given = sheet.draft.add_output(port.name, str(made.dtype), made.shape[1:])
        sheet.draft.rename(made.name, given)
    for state in sheet.graph.state:
        sheet.draft.now = state.name
        held = holder(state.type)
        name = sheet.codes(state.next).name if held is None else sheet.integer(state.next)
        given = sheet.draft.add_output(state.name + NEXT, held or "int64", state.type.shape)
        sheet.draft.add("Identity", [name], given)


def _shown(sheet: QdqDraft, port: OutputPort) -> Recorded:
    """What an output's user sees."""
    edge, kind = port.tensor, sheet.kind(port.tensor)
    first = _lies_first(port)
    if edge in sheet.sums:
        real = Recorded(sheet.sums[edge], (ROWS, *kind.shape), FLOAT32, sheet.rec)
        return _stepped(sheet, port, _turned(sheet, port, real))
    if port.element is not None or port.reals is not None or edge not in sheet.ints:
        codes = sheet.codes(edge)
        return show_output(port, kind, codes, sheet.rec, integers=False)
    # A node of its own, which takes the output's name.
    given = [sheet.integer(edge, first=bool(first)), *meaning(sheet.draft, kind)]
    name = sheet.draft.add("DequantizeLinear", given)
    if first is None:
        real = _turned(sheet, port, Recorded(name, (ROWS, *kind.shape), FLOAT32, sheet.rec))
    else:
        real = Recorded(name, (ROWS, *user_shape(kind, port)), FLOAT32, sheet.rec)
    return _stepped(sheet, port, real)


def _stepped(sheet: QdqDraft, port: OutputPort, real: Recorded) -> Recorded:
    """Reals after the float32 steps of an output."""
    if port.steps:
        sheet.draft.before[port.name] = real.name
    return steps_of(port.steps, real, sheet.rec)


def _turned(sheet: QdqDraft, port: OutputPort, real: Recorded) -> Recorded:
    """Reals as the user of an output sees their axes."""
    kind = sheet.kind(port.tensor)
    return sheet.rec.tensor(ports.to_user(sheet.rec, port, kind, real), FLOAT32)
