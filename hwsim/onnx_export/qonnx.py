"""A Graph as QONNX: Quant and MultiThreshold between ONNX's operators, as its executor runs them.

That executor computes in float32. Numbers that stay below 2**24 steps are exact in it, in any order
of adding; what rounds them is a Quant where QONNX knows the rounding, and else its thresholds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError
from hwsim.graph import Graph, Node
from hwsim.onnx_export import qonnx_ends
from hwsim.onnx_export.integer import padded
from hwsim.onnx_export.onnx_draft import OnnxDraft
from hwsim.onnx_export.qonnx_draft import EXACT, QonnxDraft, broadcast, same_zero, unit
from hwsim.onnx_export.qonnx_steps import (
    write_each,
    write_rounding,
    write_scaled_add,
    write_thresholds,
)
from hwsim.onnx_export.recorded import FLOAT32
from hwsim.onnx_export.recorder import Recorder
from hwsim.ops import (
    AvgPool,
    BatchNorm,
    Carrier,
    Concat,
    Conv,
    Dense,
    Exact,
    MatMul,
    MaxPool,
    Mul,
    Op,
    Pad,
    Reduce,
    Reduction,
    Relu,
    TensorType,
)
from hwsim.ops.accumulate import sum_bound
from hwsim.ops.shape import Moving

OPSET = 18


def written_as_qonnx(graph: Graph, *, integers: bool) -> OnnxDraft:
    """QONNX operators; HwsimError lists all nodes that have none."""
    if integers:
        raise HwsimError("a QONNX file must have its reals at both ends, not codes (integers)")
    if graph.state:
        raise HwsimError("a graph must have no state to be written as QONNX; --as integer has it")
    draft = OnnxDraft(opset=OPSET, batch=1, once_each=True)
    first = qonnx_ends.declared(draft, graph)
    sheet = QonnxDraft(graph, draft, Recorder(draft, first))
    qonnx_ends.read(sheet)
    for node in graph.nodes:
        draft.now = node.name
        rule = write_move if isinstance(node.op, Moving) else RULES.get(node.op.kind)
        try:
            if rule is None:
                raise HwsimError("no QONNX operators are known for it")
            rule(sheet, node)
        except HwsimError as error:
            sheet.troubles.append(f"node {node.name!r} ({node.op.kind}): {error}")
            for edge in node.outputs:
                sheet.tensors[edge] = {False: edge}
    qonnx_ends.show(sheet)
    if sheet.troubles:
        raise HwsimError(
            "everything must have its like in QONNX, and this has none: "
            + "; ".join(sheet.troubles)
            + "; --as integer writes it all the same"
        )
    return draft


def _exact(bound: int) -> None:
    if bound >= EXACT:
        raise HwsimError(
            f"its sums must lie below 2**24, which QONNX's float32 adds exactly, not reach {bound}"
        )


def write_layer(sheet: QonnxDraft, node: Node) -> None:
    """Conv, or MatMul and Add, of exact sums."""
    op, (source,) = node.op, node.inputs
    assert isinstance(op, Conv | Dense)
    x = sheet.kind(source)
    weights, bias, frac = _whole(op, x)
    same_zero(op.zero_point, x)
    reach = op.reach(x)
    most = max(abs(reach.lo - x.zero_point), abs(reach.hi - x.zero_point))
    _exact(sum_bound(weights.reshape(-1, op.outputs), bias, most))
    held = sheet.weights(
        weights if isinstance(op, Dense) else np.moveaxis(weights, (-1, -2), (0, 1)),
        2.0 ** (x.format.frac_bits - frac),
    )
    biases = [sheet.constant(bias * 2.0**-frac)] if bias.any() else []
    if isinstance(op, Dense):
        made = sheet.draft.add("MatMul", [sheet.value(source), held])
        made = sheet.draft.add("Add", [made, *biases]) if biases else made
        sheet.put(node.output, made)
        return
    made = sheet.draft.add(
        "Conv",
        [sheet.value(source, first=True), held, *biases],
        kernel_shape=list(op.window.kernel),
        strides=list(op.window.stride),
        pads=list(op.window.padding),
        group=op.groups,
    )
    sheet.put(node.output, made, first=True)


def _whole(op: Conv | Dense, x: TensorType) -> tuple[npt.NDArray[Any], npt.NDArray[Any], int]:
    """Weights, biases and the fraction bits of sums that no step rounds."""
    if isinstance(op.accumulator, Exact):
        matrix, bias, frac = op.aligned(x)
        bias = bias + op.zero_point * matrix.sum(axis=0)
        return matrix.reshape(op.weights.shape), bias, frac
    steps = op.steps(x)
    if not (steps.exact & steps.fits).all():
        raise HwsimError("its sums are rounded or brought into range step by step")
    frac = op.accumulator.format.frac_bits
    return (steps.weights >> steps.drop).reshape(op.weights.shape), steps.bias, frac


def write_relu(sheet: QonnxDraft, node: Node) -> None:
    """Relu or Clip where zero is the input's, and else by thresholds."""
    op, (source,) = node.op, node.inputs
    assert isinstance(op, Relu)
    x, first = sheet.kind(source), sheet.lies_first(source)
    if op.zero_point != x.zero_point:
        write_each(sheet, node)
        return
    given = [sheet.value(source, first=first)]
    if op.maximum is None:
        made = sheet.draft.add("Relu", given)
    else:
        top = (op.maximum - x.zero_point) * unit(x)
        made = sheet.draft.add("Clip", [*given, sheet.constant(0), sheet.constant(top)])
    sheet.put(node.output, made, first=first)


PAIRS = {"add": "Add", "sub": "Sub", "mul": "Mul", "maximum": "Max", "minimum": "Min"}


def write_pair(sheet: QonnxDraft, node: Node) -> None:
    """Sums, products and the larger of two, which are exact."""
    types = sheet.graph.input_types(node)
    if isinstance(node.op, Mul | MatMul):
        for zero, kind in zip(node.op.zero_points, types, strict=True):
            same_zero(zero, kind)
    _exact(_centred_bound(node.op, types))
    rank = len(sheet.kind(node.output).shape)
    made = sheet.draft.add(PAIRS[node.op.kind], broadcast(sheet, node.inputs, rank))
    first = sheet.lies_first(*node.inputs) and len({kind.shape for kind in types}) == 1
    sheet.put(node.output, made, first=first)


def _centred_bound(op: Op, types: tuple[TensorType, ...]) -> int:
    return op.bound(types) + sum(abs(kind.zero_point) for kind in types)


def write_matmul(sheet: QonnxDraft, node: Node) -> None:
    """MatMul of two computed tensors."""
    op, types = node.op, sheet.graph.input_types(node)
    assert isinstance(op, MatMul)
    for zero, kind in zip(op.zero_points, types, strict=True):
        same_zero(zero, kind)
    _exact(_centred_bound(op, types))
    rank = max(len(kind.shape) for kind in types)
    if any(len(kind.shape) != rank for kind in types):
        raise HwsimError("both tensors must have as many axes")
    sheet.put(node.output, sheet.draft.add("MatMul", [sheet.value(e) for e in node.inputs]))


def write_batchnorm(sheet: QonnxDraft, node: Node) -> None:
    """Mul and Add of constants by channel."""
    op, (source,) = node.op, node.inputs
    assert isinstance(op, BatchNorm)
    x, first = sheet.kind(source), sheet.lies_first(source)
    same_zero(0, x)
    _exact(op.bound([x]))
    scale, bias, frac = op.aligned(x)
    factors = sheet.by_channel(scale * 2.0 ** (x.format.frac_bits - frac), source, first=first)
    made = sheet.draft.add("Mul", [sheet.value(source, first=first), factors])
    if bias.any():
        made = sheet.draft.add(
            "Add", [made, sheet.by_channel(bias * 2.0**-frac, source, first=first)]
        )
    sheet.put(node.output, made, first=first)


def write_maxpool(sheet: QonnxDraft, node: Node) -> None:
    """MaxPool."""
    op = node.op
    assert isinstance(op, MaxPool)
    sheet.put(node.output, _pool(sheet, node, op, "MaxPool"), first=True)


def _pool(sheet: QonnxDraft, node: Node, op: MaxPool | AvgPool, name: str) -> str:
    counted: dict[str, Any] = {"count_include_pad": 1} if isinstance(op, AvgPool) else {}
    return sheet.draft.add(
        name,
        [sheet.value(node.inputs[0], first=True)],
        kernel_shape=list(op.window.kernel),
        strides=list(op.window.stride),
        pads=list(op.window.padding),
        **counted,
    )


def write_average(sheet: QonnxDraft, node: Node) -> None:
    """AveragePool where windows are a power of two large; else the sums, by a Conv with ones."""
    op, (source,) = node.op, node.inputs
    assert isinstance(op, AvgPool)
    x, size = sheet.kind(source), op.window.size
    if not isinstance(op.accumulator, Exact):
        raise HwsimError("its sums are rounded or brought into range step by step")
    offset = (x.zero_point - op.zero_point) * size
    powers = x.quant is None and size & (size - 1) == 0
    if offset and (powers or any(op.window.padding)):
        same_zero(op.zero_point, x)
    _exact(op.bound([x]) + size * abs(x.zero_point))
    if powers:
        made = _pool(sheet, node, op, "AveragePool")
    else:
        ones = np.ones((x.channels, 1, *op.window.kernel), np.int64)
        made = sheet.draft.add(
            "Conv",
            [sheet.value(source, first=True), sheet.weights(ones, 1.0)],
            kernel_shape=list(op.window.kernel),
            strides=list(op.window.stride),
            pads=list(op.window.padding),
            group=x.channels,
        )
    if offset:
        made = sheet.draft.add("Add", [made, sheet.constant(offset * unit(x))])
    sheet.put(node.output, made, first=True)


def write_reduce(sheet: QonnxDraft, node: Node) -> None:
    """ReduceMax, ReduceMin, ReduceSum; a mean of a power of two as ReduceMean."""
    op, (source,) = node.op, node.inputs
    assert isinstance(op, Reduce)
    x, terms = sheet.kind(source), op.terms(sheet.kind(source))
    adds = op.reduction in (Reduction.SUM, Reduction.MEAN)
    if not isinstance(op.accumulator, Exact):
        raise HwsimError("its sums are rounded or brought into range step by step")
    if adds:
        same_zero(op.zero_point, x)
        _exact(op.bound([x]))
    means = op.reduction is Reduction.MEAN and x.quant is None and terms & (terms - 1) == 0
    name = "Sum" if adds and not means else op.reduction.value.capitalize()
    axes = sheet.rec.ints(*(axis + 1 for axis in op.axes))
    made = sheet.draft.add(f"Reduce{name}", [sheet.value(source), axes], keepdims=1)
    sheet.put(node.output, made)


def write_move(sheet: QonnxDraft, node: Node) -> None:
    """An operator that moves codes, on the numbers that they are."""
    op, types = node.op, sheet.graph.input_types(node)
    channels = isinstance(op, Concat) and op.place(types[0]) == len(types[0].shape) - 1
    if channels and sheet.lies_first(*node.inputs):
        reals = [sheet.value(edge, first=True) for edge in node.inputs]
        sheet.put(node.output, sheet.draft.add("Concat", reals, axis=1), first=True)
        return
    xs = [sheet.tensor(edge) for edge in node.inputs]
    if isinstance(op, Pad):
        amounts = op.amounts(types[0])
        if any(between for _, _, between in amounts):
            raise HwsimError("it must not pad between codes")
        ends = [[0, *(amount[k] for amount in amounts)] for k in (0, 1)]
        real = (op.code - types[0].zero_point) * unit(types[0])
        made: Any = padded(xs[0], ends[0], ends[1], real, sheet.rec)
    else:
        made = op.run(sheet.rec, xs, op.prepare(types, Carrier.FLOAT32))
    tensors = made if isinstance(made, tuple) else (made,)
    for edge, tensor in zip(node.outputs, tensors, strict=True):
        sheet.put(edge, tensor.name)


def write_argmax(sheet: QonnxDraft, node: Node) -> None:
    """ArgMax, and its indices as float32 numbers."""
    found = sheet.rec.argmax(sheet.tensor(node.inputs[0]), axis=-1, keepdims=True)
    sheet.put(node.output, sheet.rec.tensor(found, FLOAT32).name)


RULES: Mapping[str, Callable[[QonnxDraft, Node], None]] = {
    "add": write_pair,
    "argmax": write_argmax,
    "avgpool": write_average,
    "batchnorm": write_batchnorm,
    "cast": write_rounding,
    "channel_table": write_each,
    "conv1d": write_layer,
    "conv2d": write_layer,
    "dense": write_layer,
    "matmul": write_matmul,
    "maximum": write_pair,
    "maxpool": write_maxpool,
    "minimum": write_pair,
    "mul": write_pair,
    "reduce": write_reduce,
    "relu": write_relu,
    "requantize": write_rounding,
    "scaled_add": write_scaled_add,
    "sub": write_pair,
    "table": write_each,
    "thresholds": write_thresholds,
}
"""How a node is written that does not only move codes, by its operator's kind."""
