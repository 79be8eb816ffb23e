"""A Graph as plain ONNX operators on whole numbers, which every runtime computes alike.

Most nodes are written by their operator's own text (`recorder`); the rules here stand in where ONNX
has one operator that does as much.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from hwsim.errors import HwsimError
from hwsim.graph import Graph, Node
from hwsim.onnx_export.recorded import INT64, Recorded
from hwsim.onnx_export.recorder import Recorder
from hwsim.ops import (
    Carrier,
    Conv,
    Dense,
    Exact,
    Op,
    Pad,
    TensorType,
    Thresholds,
)

BYTE = 255
WHOLE = (Carrier.INT64, Carrier.FLOAT64, Carrier.FLOAT32)
"""What operators' texts are recorded in, the first that they take."""

Types = Sequence[TensorType]
Tensors = Sequence[Recorded]


def write_node(graph: Graph, node: Node, edges: dict[str, Recorded], rec: Recorder) -> None:
    """The ONNX nodes of a node, whose edges are tensors of int64, channels last.

    Raises HwsimError where there are none.
    """
    types, xs = graph.input_types(node), [edges[edge] for edge in node.inputs]
    rule = RULES.get(node.op.kind)
    made = None if rule is None else rule(node.op, types, xs, rec)
    outputs = recorded(node.op, types, xs, rec) if made is None else (made,)
    for edge, tensor in zip(node.outputs, outputs, strict=True):
        edges[edge] = rec.astype(tensor, INT64)


def recorded(op: Op, types: Types, xs: Tensors, rec: Recorder) -> tuple[Recorded, ...]:
    """What an operator's own text makes of tensors of whole numbers."""
    some = op.carriers(types)
    carrier = next((kind for kind in WHOLE if kind in some), some[0])
    if op.bound(types) >= carrier.limit:
        raise HwsimError(f"its whole numbers must fit {carrier.value}, not reach {op.bound(types)}")
    held = [rec.astype(x, np.dtype(carrier.value)) for x in xs]
    made = op.run(rec, held, op.prepare(types, carrier))
    return made if isinstance(made, tuple) else (made,)


def write_products(op: Op, types: Types, xs: Tensors, rec: Recorder) -> Recorded | None:
    """A sum of products of bytes as ConvInteger or MatMulInteger; None where they are wider.

    Both factors are unsigned: kernels for signed ones saturate on some processors.
    """
    assert isinstance(op, Conv | Dense)
    (kind,), (x,) = types, xs
    if not isinstance(op.accumulator, Exact) or op.bound(types) >= 1 << 31:
        return None
    low, high = min(kind.lo, op.zero_point), max(kind.hi, op.zero_point)
    least = min(0, int(op.weights.min()))
    if high - low > BYTE or int(op.weights.max()) - least > BYTE:
        return None
    codes = rec.astype(x - low, np.uint8)
    weights = (op.weights - least).astype(np.uint8)
    zeros = [rec.draft.constant(np.array(zero, np.uint8)) for zero in (op.zero_point - low, -least)]
    if isinstance(op, Dense):
        name = rec.draft.constant(weights)
        shape = (*x.shape[:-1], op.outputs)
        sums = rec.record("MatMulInteger", [codes.name, name, *zeros], shape, np.int32)
    else:
        sums = convolved(op, codes, weights, zeros, rec)
    shifted, bias, frac = op.aligned(kind)
    left = frac - kind.format.frac_bits - op.weight_format.frac_bits  # to the bias's binary point
    whole = rec.tensor(sums, INT64)
    whole = whole << left if left else whole
    bias = bias + op.zero_point * shifted.sum(axis=0)  # what ONNX takes off by itself
    return whole + bias if bias.any() else whole


def convolved(
    op: Conv,
    codes: Recorded,
    weights: np.ndarray[tuple[int, ...], np.dtype[np.uint8]],
    zeros: Sequence[str],
    rec: Recorder,
) -> Recorded:
    """A ConvInteger of bytes, channels last before and after."""
    rank = codes.ndim - 2
    inner, outer = (0, rank + 1, *range(1, rank + 1)), (0, *range(2, rank + 2), 1)
    name = rec.draft.constant(np.transpose(weights, (rank + 1, rank, *range(rank))))
    first = rec.permute_dims(codes, inner)
    places = [
        size + sum(ends) for size, ends in zip(codes.shape[1:-1], op.window.ends, strict=True)
    ]
    shape = (codes.shape[0], op.outputs, *op.window.positions(tuple(places)))
    sums = rec.record(
        "ConvInteger",
        [first.name, name, *zeros],
        shape,
        np.int32,
        kernel_shape=list(op.window.kernel),
        strides=list(op.window.stride),
        pads=list(op.window.padding),
        group=op.groups,
    )
    made: Recorded = rec.permute_dims(sums, outer)
    return made


def write_pad(op: Op, types: Types, xs: Tensors, rec: Recorder) -> Recorded:
    """A Pad; indices between others are first an axis of their own."""
    assert isinstance(op, Pad)
    (kind,), (x,) = types, xs
    amounts = op.amounts(kind)
    for axis, (_, _, between) in enumerate(amounts, start=1):
        if between:
            x = _apart(x, axis, between, op.code, rec)
    before = [0, *(b for b, _, _ in amounts)]
    after = [0, *(a for _, a, _ in amounts)]
    return padded(x, before, after, op.code, rec)


def _apart(x: Recorded, axis: int, between: int, code: int, rec: Recorder) -> Recorded:
    apart = x[(slice(None),) * (axis + 1) + (None, ...)]
    after = [0] * apart.ndim
    after[axis + 1] = between
    filled = padded(apart, [0] * apart.ndim, after, code, rec)
    long = (between + 1) * x.shape[axis]
    joined: Recorded = rec.reshape(filled, (*x.shape[:axis], long, *x.shape[axis + 1 :]))
    return joined[(slice(None),) * axis + (slice(0, long - between), ...)]


def padded(
    x: Recorded, before: Sequence[int], after: Sequence[int], code: float, rec: Recorder
) -> Recorded:
    """More indices that hold one code, some before and some after on each axis."""
    if not any((*before, *after)):
        return x
    shape = tuple(b + n + a for b, n, a in zip(before, x.shape, after, strict=True))
    code_name = rec.draft.constant(np.array(code, x.dtype))
    return rec.record("Pad", [x.name, rec.ints(*before, *after), code_name], shape, x.dtype)


def write_thresholds(op: Op, types: Types, xs: Tensors, rec: Recorder) -> Recorded | None:
    """A binary search in each channel's row; None where there are so few that each is compared."""
    assert isinstance(op, Thresholds)
    rows, count = op.values.shape
    if count <= 4:
        return None
    (x,) = xs
    steps = count.bit_length()
    length = (1 << steps) - 1
    most = np.iinfo(np.int64).max
    filled = np.full((rows, length), most, np.int64)
    filled[:, :count] = op.values
    first = np.arange(rows, dtype=np.int64) * length if rows > 1 else np.zeros(1, np.int64)
    place = rec.tensor(first, INT64)
    for step in reversed(range(steps)):
        there = rec.take(filled.reshape(-1), place + ((1 << step) - 1), axis=0)
        place = place + rec.astype(there <= x, INT64) * (1 << step)
    reached = place - first if rows > 1 else place
    return reached * op.step + op.base


RULES: Mapping[str, Callable[[Op, Types, Tensors, Recorder], Recorded | None]] = {
    "conv1d": write_products,
    "conv2d": write_products,
    "dense": write_products,
    "pad": write_pad,
    "thresholds": write_thresholds,
}
"""How a node is written where its operator's text is not recorded, by its kind."""
