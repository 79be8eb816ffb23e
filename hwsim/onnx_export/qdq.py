"""A Graph as ONNX with QuantizeLinear and DequantizeLinear, as ONNX Runtime computes it.

A node is written only where the runtime's rule for the operators, on the given scales, is proved to
give its codes: by the thresholds of its requantizer, or by trying every code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from hwsim.errors import HwsimError
from hwsim.graph import Graph, Node
from hwsim.onnx_export import qdq_ends
from hwsim.onnx_export.integer import write_node, write_pad
from hwsim.onnx_export.onnx_draft import OnnxDraft
from hwsim.onnx_export.qdq_draft import QdqDraft, holder, meaning
from hwsim.onnx_export.qdq_functions import FUNCTIONS
from hwsim.onnx_export.qdq_layers import write_layer
from hwsim.onnx_export.qdq_proofs import as_requantizer, equal_channels, least_of, same_codes
from hwsim.onnx_export.qdq_sums import rounded_behind, write_rounded
from hwsim.onnx_export.recorded import Recorded
from hwsim.onnx_export.recorder import Recorder
from hwsim.ops import (
    ArgMax,
    AvgPool,
    Carrier,
    Concat,
    Exact,
    MaxPool,
    Op,
    Pad,
    Reduce,
    Reduction,
    Requantize,
    TensorType,
)
from hwsim.ops.shape import Moving

MIXED = (
    "; --mixed (mixed=True) has these computed by operators on whole numbers in between, and "
    "--as integer all of them"
)


def written_as_qdq(graph: Graph, *, integers: bool, mixed: bool = False) -> OnnxDraft:
    """QDQ operators; HwsimError lists all nodes that have none, unless `mixed`."""
    if integers:
        raise HwsimError("a QDQ file must have its reals at both ends, not codes (integers)")
    draft = OnnxDraft()
    first = qdq_ends.declared(draft, graph)
    sheet = QdqDraft(graph, draft, Recorder(draft, first))
    qdq_ends.read(sheet)
    for node in graph.nodes:
        if node.name not in sheet.done:
            draft.now = node.name
            _write(sheet, node, mixed=mixed)
    if sheet.troubles:
        raise HwsimError(
            "every node must have its like in QDQ operators as ONNX Runtime computes them, and "
            "these have none: " + "; ".join(sheet.troubles) + MIXED
        )
    qdq_ends.show(sheet)
    draft.notes = sheet.islands
    return draft


def _write(sheet: QdqDraft, node: Node, *, mixed: bool) -> None:
    """A node and those behind it that go with it, or the node as integer operators."""
    rule = write_move if isinstance(node.op, Moving) else RULES.get(node.op.kind)
    try:
        if rule is None:
            raise HwsimError("no QDQ operators are known for it")
        rule(sheet, node)
        return
    except HwsimError as error:
        if not mixed:
            sheet.troubles.append(f"node {node.name!r} ({node.op.kind}): {error}")
    sheet.islands.append(node.name)
    edges = {edge: sheet.codes(edge) for edge in node.inputs}
    write_node(sheet.graph, node, edges, sheet.rec)
    sheet.whole.update({edge: edges[edge] for edge in node.outputs})


def write_maxpool(sheet: QdqDraft, node: Node) -> None:
    """MaxPool of reals, which rise with their codes."""
    op, (source,) = node.op, node.inputs
    assert isinstance(op, MaxPool)
    made = sheet.draft.add(
        "MaxPool",
        [sheet.real(source, first=True)],
        kernel_shape=list(op.window.kernel),
        strides=list(op.window.stride),
        pads=list(op.window.padding),
    )
    sheet.quantize(node.output, made, first=True)


def write_average(sheet: QdqDraft, node: Node) -> None:
    """AveragePool and what rounds it, where the runtime's factor has the same steps."""
    op, (source,) = node.op, node.inputs
    assert isinstance(op, AvgPool)
    nodes, by = rounded_behind(sheet, node)
    x, sums = sheet.kind(source), sheet.kind(node.output)
    whole = op.window.kernel == x.shape[:-1] and not any(op.window.padding)
    if not whole or op.zero_point != x.zero_point or not isinstance(op.accumulator, Exact):
        raise HwsimError(
            "it must be over the whole map, of which ONNX Runtime's rule is one of sums"
        )
    out = sheet.kind(nodes[-1].output)
    factor = sheet.scale(source) / (sheet.scale(nodes[-1].output) * np.float32(op.window.size))
    byte = holder(x) == holder(out) and holder(x) in ("int8", "uint8")
    if not byte or not equal_channels(by, np.array([factor], np.float32), sums).all():
        raise HwsimError("ONNX Runtime's average must have the same steps, and has others")
    made = sheet.draft.add("GlobalAveragePool", [sheet.real(source, first=True)])
    write_rounded(sheet, nodes, made, by, first=True)


def write_move(sheet: QdqDraft, node: Node) -> None:
    """An operator that moves codes, on reals; the codes are the same behind it."""
    op, types = node.op, sheet.graph.input_types(node)
    for edge in node.outputs:
        sheet.held(edge)
    if isinstance(op, Pad) and (op.code != types[0].zero_point or any(op.between)):
        raise HwsimError("it must pad with the code of zero, and not between codes")
    channels = isinstance(op, Concat) and op.place(types[0]) == len(types[0].shape) - 1
    if channels and all(sheet.lies_first(edge) for edge in node.inputs):
        reals = [sheet.real(edge, first=True) for edge in node.inputs]
        joined = sheet.draft.add("Concat", reals, axis=1)
        sheet.quantize(node.output, joined, first=True)
        return
    xs = [sheet.real_tensor(edge) for edge in node.inputs]
    op = replace(op, code=0) if isinstance(op, Pad) else op
    for edge, made in zip(node.outputs, recorded_move(op, types, xs, sheet.rec), strict=True):
        sheet.quantize(edge, made.name)


def recorded_move(
    op: Op, types: tuple[TensorType, ...], xs: list[Recorded], rec: Recorder
) -> tuple[Recorded, ...]:
    """What an operator's text makes of reals that it only moves."""
    if isinstance(op, Pad):
        return (write_pad(op, types, xs, rec),)
    made = op.run(rec, xs, op.prepare(types, Carrier.FLOAT32))
    return made if isinstance(made, tuple) else (made,)


def write_function(sheet: QdqDraft, node: Node) -> None:
    """A function of one code, or of two, by the first ONNX operator that gives all its codes."""
    nodes, edge = [node], node.output
    if holder(sheet.kind(edge)) is None or node.op.kind in WITH_ROUNDING:
        after = sheet.only_reader(node.output)
        if after is not None and as_requantizer(after.op, sheet.kind(node.output)) is not None:
            nodes, edge = [node, after], after.output
    types, out = sheet.graph.input_types(node), sheet.kind(edge)
    if len(node.inputs) > 2 or any(holder(kind) is None for kind in (*types, out)):
        raise HwsimError("QDQ operators compute it only of codes of at most 16 bits")
    op = nodes[-1].op
    zero = op.zero_point if isinstance(op, Requantize) else None
    low = least_of(op, out)
    for write in FUNCTIONS[len(node.inputs)](node.op, types, out):
        if same_codes(write, nodes, types, out, zero=zero, low=low):
            first = _first(sheet, node)
            reals = [_with_rank(sheet, source, node, first=first) for source in node.inputs]
            sheet.quantize(edge, write(sheet.draft, reals), first=first, zero=zero, low=low)
            sheet.done.update(n.name for n in nodes)
            return
    raise HwsimError("no ONNX operator between DequantizeLinear and QuantizeLinear has its codes")


def _with_rank(sheet: QdqDraft, edge: str, node: Node, *, first: bool) -> str:
    """The reals of an edge with axes of 1 behind the batch's, so that they broadcast."""
    kind, rank = sheet.kind(edge), len(sheet.kind(node.output).shape)
    if len(kind.shape) == rank:
        return sheet.real(edge, first=first)
    filled = (*(1,) * (rank - len(kind.shape)), *kind.shape)
    given = [sheet.integer(edge), sheet.rec.ints(-1, *filled)]
    shaped = sheet.draft.add("Reshape", given)
    return sheet.draft.add("DequantizeLinear", [shaped, *meaning(sheet.draft, kind)])


def _first(sheet: QdqDraft, node: Node) -> bool:
    """Whether it is best computed with channels first: where all inputs lie so."""
    shapes = {kind.shape for kind in sheet.graph.input_types(node)}
    return len(shapes) == 1 and all(sheet.lies_first(edge) for edge in node.inputs)


WITH_ROUNDING = ("add", "maximum", "minimum", "mul", "sub")


def write_argmax(sheet: QdqDraft, node: Node) -> None:
    """ArgMax of reals, which rise with their codes."""
    (source,) = node.inputs
    assert isinstance(node.op, ArgMax)
    shown = [port for port in sheet.graph.outputs if port.tensor == node.output]
    if sheet.graph.consumers(node.output) or not all(port.element for port in shown):
        raise HwsimError("its indices must be an output of integers, and nothing else")
    made = sheet.rec.argmax(sheet.real_tensor(source), axis=-1, keepdims=True)
    sheet.whole[node.output] = made


def write_reduce(sheet: QdqDraft, node: Node) -> None:
    """ReduceMax or ReduceMin of reals, which rise with their codes."""
    op, (source,) = node.op, node.inputs
    if not isinstance(op, Reduce) or op.reduction not in (Reduction.MAX, Reduction.MIN):
        raise HwsimError("the runtime adds reals in float32, in an order of its own")
    made = op.run(sheet.rec, [sheet.real_tensor(source)], {})
    sheet.quantize(node.output, made.name)


RULES: Mapping[str, Callable[[QdqDraft, Node], None]] = {
    "add": write_function,
    "argmax": write_argmax,
    "avgpool": write_average,
    "cast": write_function,
    "conv1d": write_layer,
    "conv2d": write_layer,
    "dense": write_layer,
    "maximum": write_function,
    "maxpool": write_maxpool,
    "minimum": write_function,
    "mul": write_function,
    "pair_table": write_function,
    "reduce": write_reduce,
    "relu": write_function,
    "requantize": write_function,
    "scaled_add": write_function,
    "sub": write_function,
    "table": write_function,
    "thresholds": write_function,
}
"""How a node is written that does not only move codes, by its operator's kind."""
