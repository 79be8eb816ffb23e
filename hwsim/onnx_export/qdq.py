"""A Graph as ONNX with QuantizeLinear and DequantizeLinear, as ONNX Runtime computes it.

A node is written only where the runtime's rule for the operators, on the given scales, is proved to
give its codes: by the thresholds of its requantizer, or by trying every code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError
from hwsim.fixed import Format, Rounding
from hwsim.graph import Graph, Node
from hwsim.onnx_export import qdq_ends
from hwsim.onnx_export.integer import write_node, write_pad
from hwsim.onnx_export.onnx_draft import OnnxDraft
from hwsim.onnx_export.qdq_draft import QdqDraft, holder, meaning, weights_of
from hwsim.onnx_export.qdq_functions import FUNCTIONS
from hwsim.onnx_export.qdq_proofs import (
    as_requantizer,
    equal_channels,
    least_of,
    same_codes,
    weight_scales,
)
from hwsim.onnx_export.recorder import Recorded, Recorder
from hwsim.ops import (
    ArgMax,
    AvgPool,
    Carrier,
    Concat,
    Conv,
    Dense,
    Exact,
    MaxPool,
    Op,
    Pad,
    Reduce,
    Reduction,
    Relu,
    Requantize,
    Scheme,
    TensorType,
)
from hwsim.ops.shape import Moving

INT32 = (1 << 31) - 1
EXACT_FLOAT = 1 << 24
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


def _behind(sheet: QdqDraft, node: Node) -> tuple[list[Node], Requantize]:
    """What alone reads a node's sums: a ReLU perhaps, then what rounds them; and that as such."""
    after = sheet.only_reader(node.output)
    nodes = []
    if after is not None and isinstance(after.op, Relu) and after.op.zero_point == 0:
        nodes, after = [after], sheet.only_reader(after.output)
    by = None if after is None else as_requantizer(after.op, sheet.kind(after.inputs[0]))
    if after is None or by is None or (nodes and nodes[0].op != Relu()):
        raise HwsimError(
            "its sums must be read by one node that rounds to nearest and saturates, alone"
        )
    return [*nodes, after], by


def _rounded(
    sheet: QdqDraft, nodes: list[Node], real: str, by: Requantize, *, first: bool = False
) -> None:
    """Have the last of nodes give what QuantizeLinear makes of reals; a ReLU acts on its codes."""
    (*relu, last) = nodes
    edge, kind = last.output, sheet.kind(last.output)
    low = least_of(last.op, kind)
    if relu:
        low = max(low or kind.format.min, by.zero_point)
    sheet.quantize(edge, real, first=first, zero=by.zero_point, low=low)
    sheet.done.update(node.name for node in nodes)


def write_layer(sheet: QdqDraft, node: Node) -> None:
    """A sum of products and what rounds it: Conv or Gemm between DequantizeLinear and Q."""
    op = node.op
    assert isinstance(op, Conv | Dense)
    if not isinstance(op.accumulator, Exact):
        raise HwsimError("its sums are rounded or brought into range step by step")
    (source,) = node.inputs
    if not sheet.graph.consumers(node.output) and isinstance(op, Dense):
        write_tail(sheet, node)
        return
    nodes, by = _behind(sheet, node)
    x, held = sheet.kind(source), sheet.held(source)
    made = sheet.held(nodes[-1].output)
    weights, bias, by, sums, scale = _integers(op, x, sheet.kind(node.output), by)
    scales = weight_scales(by, scale, sheet.scale(source), sheet.scale(nodes[-1].output), sums)
    if int(np.abs(bias).max()) > INT32 or sums.magnitude > INT32:
        raise HwsimError("its sums and biases must fit 32 bits")
    exact = _powers(sheet, source, nodes[-1].output, scales) and op.bound([x]) * 2 < EXACT_FLOAT
    if not exact and not (held == made and held.endswith("t8") and _byte(weights, held)):
        raise HwsimError(
            f"ONNX Runtime has integer kernels for weights and codes of 8 bits, the same type "
            f"before and behind, not for {held} to {made}; and float32 adds exactly only where all "
            "scales are powers of two and sums lie below 2**24"
        )
    write = _conv if isinstance(op, Conv) else _gemm
    real = write(sheet, node, weights, scales, _biases(sheet, source, bias, scales))
    _rounded(sheet, nodes, real, by, first=isinstance(op, Conv))


def write_tail(sheet: QdqDraft, node: Node) -> None:
    """A dense layer whose sums the model's user sees, as a Gemm that nothing quantizes."""
    op, (source,) = node.op, node.inputs
    assert isinstance(op, Dense)
    x, held = sheet.kind(source), sheet.held(source)
    weights, bias, scales = _aligned(op, x)
    byte = held.endswith("t8") and _byte(weights, held)
    if not byte or sheet.kind(node.output).magnitude > INT32 or int(np.abs(bias).max()) > INT32:
        raise HwsimError("weights and codes must have at most 8 bits, and sums 32")
    if node.output in {state.next for state in sheet.graph.state}:
        raise HwsimError("a state's codes must be quantized")
    unit = np.array(sheet.kind(node.output).scales(), np.float32)
    if (unit != sheet.scale(source) * scales).any():
        raise HwsimError("the scale of its sums must be the product of its own, in float32")
    biases = _biases(sheet, source, bias, scales)
    sheet.sums[node.output] = _gemm(sheet, node, weights, scales, biases)


def _biases(
    sheet: QdqDraft, source: str, bias: npt.NDArray[np.int64], scales: npt.NDArray[np.float32]
) -> list[str]:
    """The biases of a layer in units of its sums, if it has any."""
    if not bias.any():
        return []
    return [weights_of(sheet.draft, bias, sheet.scale(source) * scales, 0, "int32")]


def _byte(weights: npt.NDArray[np.int64], held: str) -> bool:
    """Whether ONNX Runtime has integer kernels for weights beside such an input."""
    low, high = int(weights.min()), int(weights.max())
    return (low >= -128 and high <= 127) or (held == "uint8" and low >= 0 and high <= 255)


def _powers(sheet: QdqDraft, source: str, made: str, scales: npt.NDArray[np.float32]) -> bool:
    every = [*scales.tolist(), float(sheet.scale(source)), float(sheet.scale(made))]
    return bool((np.frexp(every)[0] == 0.5).all())


OFFSETS: Mapping[Rounding, Callable[[int], int]] = {
    Rounding.RND: lambda s: 1,
    Rounding.RND_MIN_INF: lambda s: -1,
    Rounding.TRN: lambda s: 1 - (1 << s),
    Rounding.CEIL: lambda s: (1 << s) - 1,
}
"""What is added to twice a sum, shifted by `s + 1` then, so that nearest is this rounding."""


def _integers(
    op: Conv | Dense, x: TensorType, sums: TensorType, by: Requantize
) -> tuple[
    npt.NDArray[np.int64],
    npt.NDArray[np.int64],
    Requantize,
    TensorType,
    npt.NDArray[np.float32],
]:
    """Weights, biases, requantizer, sums and scales of weights at one binary point.

    A rounding that is none to nearest even becomes that of twice the sums and an odd number.
    """
    weights, bias, unit = _aligned(op, x)
    offset = OFFSETS.get(by.rounding) if by.scheme is Scheme.SHIFT else None
    if offset is not None and max(by.shifts) > 0:
        adds = np.array([offset(s) if s > 0 else 0 for s in by.shifts])
        weights, bias, unit = 2 * weights, 2 * bias + adds, unit * np.float32(0.5)
        ends = 2 * sums.lo + int(adds.min()), 2 * sums.hi + int(adds.max())
        sums = TensorType(sums.shape, Format.holding(*ends), None, ends)
        halves = tuple(m / 2 for m in by.multiplier)
        by = replace(by, rounding=Rounding.RND_CONV, multiplier=halves)
    return weights, bias, by, sums, unit


def _aligned(
    op: Conv | Dense, x: TensorType
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Weights and biases at one binary point, and the scales of the weights there."""
    matrix, bias, frac = op.aligned(x)
    bias = bias + op.zero_point * matrix.sum(axis=0)
    left = frac - x.format.frac_bits - op.weight_format.frac_bits
    unit = np.asarray(op.weight_scale or (2.0**-op.weight_format.frac_bits,), float) * 2.0**-left
    return matrix.reshape(op.weights.shape), bias, np.asarray(unit, np.float32)


def _conv(
    sheet: QdqDraft,
    node: Node,
    weights: npt.NDArray[np.int64],
    scales: npt.NDArray[np.float32],
    biases: list[str],
) -> str:
    op, draft = node.op, sheet.draft
    assert isinstance(op, Conv)
    turned = np.transpose(weights, (op.rank + 1, op.rank, *range(op.rank)))
    given = [
        sheet.real(node.inputs[0], first=True, zero=op.zero_point),
        weights_of(draft, turned, scales, 0),
        *biases,
    ]
    return draft.add(
        "Conv",
        given,
        kernel_shape=list(op.window.kernel),
        strides=list(op.window.stride),
        pads=list(op.window.padding),
        group=op.groups,
    )


def _gemm(
    sheet: QdqDraft,
    node: Node,
    weights: npt.NDArray[np.int64],
    scales: npt.NDArray[np.float32],
    biases: list[str],
) -> str:
    op, draft, (source,) = node.op, sheet.draft, node.inputs
    assert isinstance(op, Dense)
    if len(sheet.kind(source).shape) != 1:
        raise HwsimError("a Gemm's input must have one axis behind the batch's")
    given = [
        sheet.real(source, zero=op.zero_point),
        weights_of(draft, weights, scales, 1),
        *biases,
    ]
    return draft.add("Gemm", given)


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
    nodes, by = _behind(sheet, node)
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
    _rounded(sheet, nodes, made, by, first=True)


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
