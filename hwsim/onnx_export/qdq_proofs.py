"""Whether QDQ operators, as ONNX Runtime computes them, give a node's codes: for all of them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from hwsim.emulator.run import planned
from hwsim.errors import HwsimError
from hwsim.fixed import Overflow, round_int
from hwsim.forms.thresholds import literal, thresholds
from hwsim.frontends import load
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.onnx_export.onnx_draft import OnnxDraft
from hwsim.onnx_export.qdq_draft import holder, meaning, quantize
from hwsim.ops import Cast, Requantize, Scheme, TensorType

Flags = npt.NDArray[np.bool_]
Reals = npt.NDArray[np.float32]
NEIGHBOURS = (0, 1, -1, 2, -2, 3, -3)
"""Steps of float32 from a scale, in which others are tried."""

SATURATING = (Overflow.SAT, Overflow.SAT_SYM)

MOST_CODES = 1 << 16
"""Codes, or pairs of them, that are tried one by one."""


def as_requantizer(op: object, x: TensorType) -> Requantize | None:
    """What saturates and rounds codes of type `x`, as a Requantize; None for another operator."""
    if isinstance(op, Cast):
        shift = x.format.frac_bits - op.out.frac_bits
        ends = [round_int(end, shift, op.rounding) for end in (x.lo, x.hi)]
        inside = op.out.min <= min(ends) and max(ends) <= op.out.max
        if op.channels is not None or not (inside or op.overflow in SATURATING):
            return None
        return Requantize(
            scheme=Scheme.SHIFT, multiplier=(2.0**-shift,), out=op.out, rounding=op.rounding
        )
    if not isinstance(op, Requantize) or op.overflow not in SATURATING or op.input_zero_point:
        return None
    return replace(op, overflow=Overflow.SAT)


def least_of(op: object, out: TensorType) -> int:
    """The smallest code that is given, where the format has a smaller one; else 0."""
    symmetric = isinstance(op, Cast | Requantize) and op.overflow is Overflow.SAT_SYM
    return -out.format.max if symmetric and out.format.signed else 0


def equal_channels(op: Requantize, factors: Reals, sums: TensorType) -> Flags:
    """Channels in which `rint(f32(sum) * factor)` gives the codes of `op` for every sum."""
    size = max(len(op.multiplier), len(factors))
    ours = np.broadcast_to(np.array(op.multiplier, np.float32), (size,))
    if op.scheme is Scheme.F32_RNE_OUT:
        same: Flags = np.broadcast_to(factors, (size,)) == ours
        if same.all():
            return same
    each = [np.broadcast_to(f, (size,)).astype(float) for f in (op.multiplier, factors)]
    wide, theirs = (replace(op, multiplier=tuple(f.tolist())) for f in each)
    theirs = replace(theirs, scheme=Scheme.F32_RNE_OUT)
    steps = thresholds(wide, sums.lo, sums.hi)
    codes = np.arange(steps.low + 1, steps.high + 1)[:, None]
    here = np.clip(steps.at, sums.lo, sums.hi)
    before = np.clip(steps.at - 1, sums.lo, sums.hi)
    rises = (steps.at > sums.hi) | (literal(theirs, here) >= codes)
    falls = (steps.at <= sums.lo) | (literal(theirs, before) < codes)
    return np.asarray((rises & falls).all(axis=0))


def weight_scales(
    op: Requantize, first: Reals, x: np.float32, y: np.float32, sums: TensorType
) -> Reals:
    """Scales of weights with which ONNX Runtime's requantizer has the steps of `op`.

    `first` are those to begin with, one or one a channel; `x` and `y` are the scales of input and
    output. HwsimError where some channel has none among the nearest.
    """
    size = max(len(op.multiplier), len(first))
    scales = np.broadcast_to(first, (size,)).copy()
    factors = np.broadcast_to(np.array(op.multiplier), (size,))
    good = np.broadcast_to(equal_channels(op, x * first / y, sums), (size,)).copy()
    if good.all():
        return first
    wanted = (factors * float(y) / float(x)).astype(np.float32)
    for step in NEIGHBOURS:
        tried = wanted.copy()
        for _ in range(abs(step)):
            tried = np.nextafter(tried, np.float32(np.inf if step > 0 else 0))
        tried = np.where(good, scales, tried)
        found = np.broadcast_to(equal_channels(op, x * tried / y, sums), (size,))
        scales, good = np.where(good | found, tried, scales), good | found
        if good.all():
            return scales
    raise HwsimError(
        f"no scale of the weights gives QuantizeLinear the steps of {op.scheme.value} in "
        f"{int((~good).sum())} of {size} channels"
    )


Write = Callable[[OnnxDraft, Sequence[str]], str]
"""Writes operators on dequantized tensors; gives the tensor that QuantizeLinear rounds."""


def piece(
    write: Write,
    inputs: Sequence[TensorType],
    out: TensorType,
    *,
    zero: int | None = None,
    low: int = 0,
) -> Graph | None:
    """What the reader of QDQ files makes of a piece alone; None where it is not sure of it."""
    draft = OnnxDraft()
    reals = []
    for place, kind in enumerate(inputs):
        name = draft.add_input(f"x{place}", str(holder(kind)), kind.shape)
        reals.append(draft.add("DequantizeLinear", [name, *meaning(draft, kind)]))
    made = draft.add_output("y", str(holder(out)), out.shape)
    quantized = quantize(draft, write(draft, reals), out, zero=zero, low=low)
    draft.rename(quantized, made)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return load(draft.proto("a piece"))
        except (HwsimError, Warning):
            return None


def same_codes(
    write: Write,
    nodes: Sequence[Node],
    inputs: Sequence[TensorType],
    out: TensorType,
    *,
    zero: int | None = None,
    low: int = 0,
) -> bool:
    """Whether a piece gives the codes of nodes in a row, for every code or pair of codes.

    The first node reads all inputs, each other one what the one before it made.
    """
    spans = [np.arange(kind.lo, kind.hi + 1) for kind in inputs]
    count = int(np.prod([len(span) for span in spans]))
    if count > MOST_CODES or any(holder(kind) is None for kind in (*inputs, out)):
        return False
    flat = [kind.with_shape((1,)) for kind in inputs]
    ours = _in_a_row(nodes, flat)
    made = None if ours is None else piece(write, flat, out.with_shape((1,)), zero=zero, low=low)
    if ours is None or made is None:
        return False
    grid = np.meshgrid(*spans, indexing="ij")
    codes = [array.reshape(-1, 1) for array in grid]
    found = []
    for graph in (ours, made):
        edges = {port.tensor: x for port, x in zip(graph.inputs, codes, strict=True)}
        found.append(planned(graph).run(edges)[graph.outputs[0].tensor])
    return bool((found[0] == found[1]).all())


def _in_a_row(nodes: Sequence[Node], inputs: Sequence[TensorType]) -> Graph | None:
    """Nodes in a row on single codes; None where they know channels."""
    names = [f"x{place}" for place in range(len(inputs))]
    ports = tuple(
        InputPort(name=name, tensor=name, type=kind)
        for name, kind in zip(names, inputs, strict=True)
    )
    made, read = [], names
    for place, node in enumerate(nodes):
        made.append(Node(node.name, node.op, read, f"y{place}"))
        read = [f"y{place}"]
    try:
        return Graph(ports, tuple(made), (OutputPort(name="y", tensor=read[0]),))
    except HwsimError:
        return None
