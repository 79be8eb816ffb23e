"""Casts, activations, tables, factors by channel and functions of two tensors."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Format, Overflow, Rounding
from hwsim.graph import Node
from hwsim.hls4ml_project.draft import Draft, require
from hwsim.hls4ml_project.precision import Assigned, assignment, common, decimals, units
from hwsim.hls4ml_project.reduce import spread
from hwsim.ops import BatchNorm, Mul, Relu, Requantize, Thresholds

MERGED = {"add": "add", "sub": "subtract", "mul": "multiply", "maximum": "maximum"}
MERGED |= {"minimum": "minimum"}
"""What hls4ml's Merge calls the functions of two tensors."""

MOST_ENTRIES = 1 << 16
"""Of a table in a project."""


def write_cast(draft: Draft, node: Node) -> None:
    """A cast by itself; a requantizer that is no assignment becomes a table."""
    what, source = f"node {node.name!r}", node.inputs[0]
    kinds = draft.kind(source), draft.kind(node.output)
    try:
        into = assignment(node.op, *kinds, what)
    except HwsimError:
        if not isinstance(node.op, Requantize) or len(node.op.multiplier) > 1:
            raise
        _table(draft, node)
        return
    draft.cast(node.output, into, source)


def write_relu(draft: Draft, node: Node) -> None:
    """A ReLU; one with a maximum takes the smaller of two after it by a table."""
    op, kind = node.op, draft.kind(node.inputs[0])
    assert isinstance(op, Relu)
    if op.maximum is not None and op.maximum < kind.hi:
        _table(draft, node)
        return
    require(op.zero_point == kind.zero_point, "a ReLU must cut where its codes stand for 0")
    edge, result = draft.result(node)
    draft.add("Activation", edge, result, draft.source(node), activation="relu", n_in=kind.size)


def write_table(draft: Draft, node: Node) -> None:
    """A table of all codes of the input's type."""
    _table(draft, node)


def _table(draft: Draft, node: Node) -> None:
    """What a node gives for every code of its input's type, as hls4ml's table of one variable."""
    source = node.inputs[0]
    kind, out, held = draft.kind(source), draft.reals(node.output), draft.types[source].format
    entries = 1 << held.width
    require(
        entries <= MOST_ENTRIES,
        f"a table must have at most {MOST_ENTRIES} entries, and codes of {held} ask for {entries}",
    )
    require(len(units(kind)) == 1, "a table must read codes of one scale")
    given = units(kind)[0]
    bits = np.arange(entries)  # the index is the bits of the code
    codes = np.where(held.signed & (bits >= entries // 2), bits - entries, bits)
    codes = codes >> held.frac_bits - given  # the type may have more fraction bits than the codes
    codes = np.clip(codes + kind.zero_point, kind.lo, kind.hi)
    made = draft.kind(node.output)
    shaped = kind.with_shape((1,))
    carrier = node.op.carriers([shaped])[-1]
    k = node.op.prepare([shaped], carrier)
    found = np.asarray(node.op.run(np, [codes.astype(carrier.value)[:, None]], k)).ravel()
    values = found.astype(np.int64) - made.zero_point
    table = decimals(values, out.frac_bits, f"node {node.name!r}'s table", format=out)
    draft.add(
        "UnaryLUT",
        node.output,
        Assigned(out),
        draft.source(node),
        precision={"table": table.type},
        activation="unary_lut",  # what the C++ of its configuration is called after
        n_in=kind.size,
        table_data=table.values,
    )


def write_batchnorm(draft: Draft, node: Node) -> None:
    """A factor and an offset a channel."""
    op = node.op
    assert isinstance(op, BatchNorm)
    edge, result = draft.result(node)
    _affine_layer(draft, edge, result, node.inputs[0], *_affine(draft, node, op))


def _affine_layer(
    draft: Draft,
    edge: str,
    result: Assigned,
    source: str,
    scale: list[Fraction],
    bias: list[Fraction],
) -> None:
    """A factor and an offset a channel; an assignment where they change nothing."""
    x, what = draft.kind(source), f"edge {edge!r}"
    draft.like(edge, source)
    if all(s == 1 for s in scale) and not any(bias):  # hls4ml would take it out, cast and all
        draft.cast(edge, result, source)
        return
    factors, offsets = (
        decimals(*common(values, what), f"{what}'s {name}")
        for values, name in ((scale, "factors"), (bias, "offsets"))
    )
    draft.add(
        "BatchNormalization",  # an ApplyAlpha would be moved behind sums, whatever its type
        edge,
        result,
        [draft.names[source]],
        precision={"scale": factors.type, "bias": offsets.type},
        n_in=x.size,
        n_out=x.size,
        n_filt=x.channels if len(x.shape) > 1 else -1,
        use_gamma=True,
        use_beta=True,
        scale_data=factors.values,
        bias_data=offsets.values,
    )


def _affine(draft: Draft, node: Node, op: BatchNorm) -> tuple[list[Fraction], list[Fraction]]:
    """Factors and offsets of reals, by channel."""
    x, out = draft.kind(node.inputs[0]), draft.kind(node.output)
    given, made = units(x), units(out)
    scale, bias, _ = op.aligned(x)
    channels = range(len(scale))
    ends = [(_at(given, c), _at(made, c)) for c in channels]
    factors = [Fraction(int(scale[c])) * Fraction(2) ** (g - m) for c, (g, m) in enumerate(ends)]
    moved = [int(bias[c]) + int(scale[c]) * x.zero_point - out.zero_point for c in channels]
    return factors, [b * Fraction(2) ** -m for b, (_, m) in zip(moved, ends, strict=True)]


def _at(values: list[int], channel: int) -> int:
    return values[channel % len(values)]


def write_pair(draft: Draft, node: Node) -> None:
    """A function of two tensors of one shape, at full precision before it is assigned."""
    op, kinds = node.op, [draft.kind(edge) for edge in node.inputs]
    shapes, shape = [kind.shape for kind in kinds], draft.kind(node.output).shape
    require(
        all(one == shape or (one == (1,) and len(shape) == 1) for one in shapes),
        f"two tensors that meet must have one shape, or one of them one code, not {shapes[0]} and "
        f"{shapes[1]}",
    )
    if isinstance(op, Mul):
        zeros = tuple(kind.zero_point for kind in kinds)
        require(op.zero_points == zeros, "a product must be of what its codes stand for")
    _check_units(draft, node, product=isinstance(op, Mul))
    names = [
        draft.names[edge] if one == shape else spread(draft, f"{node.output}/{place}", edge, shape)
        for place, (edge, one) in enumerate(zip(node.inputs, shapes, strict=True))
    ]
    edge, result = draft.result(node)
    draft.add("Merge", edge, result, names, op=MERGED[op.kind])


def _check_units(draft: Draft, node: Node, *, product: bool) -> None:
    """Raise HwsimError unless the result's codes stand for what hls4ml computes of reals."""
    kinds = [draft.kind(edge) for edge in (*node.inputs, node.output)]
    a, b, out = (units(kind)[0] for kind in kinds)
    single = all(len(k.scales()) == 1 for k in kinds)
    wanted = a + b if product else max(a, b)
    require(single and out == wanted, "two tensors that meet must have one scale each")


MOST_THRESHOLDS = 16
"""Of a channel: each is a comparison of its own."""

STEP = Assigned(Format(True, 1, 0), Rounding.TRN, Overflow.SAT)
"""What keeps the sign of a number: -1 below 0, else 0."""


def write_thresholds(draft: Draft, node: Node) -> None:
    """Thresholds as comparisons: the sign of each difference, and the sum of all."""
    op, source = node.op, node.inputs[0]
    assert isinstance(op, Thresholds)
    kind, out = draft.kind(source), draft.kind(node.output)
    rows, count = op.values.shape
    require(
        count <= MOST_THRESHOLDS,
        f"there must be at most {MOST_THRESHOLDS} thresholds a channel, not {count}",
    )
    given, made, channels = units(kind), units(out), range(kind.channels)
    values = np.clip(op.values, kind.lo, kind.hi + 1)
    edges = []
    for place in range(count):
        bias = [kind.zero_point - int(values[c % rows, place]) for c in channels]
        edges.append(f"{node.output}/step{place}")
        ones = [Fraction(1)] * kind.channels
        _affine_layer(draft, edges[-1], STEP, source, ones, _at_point(bias, given))
    total = edges[0]
    for place, edge in enumerate(edges[1:], start=2):
        total, before = f"{node.output}/sum{place}", total
        held = Assigned(Format.holding(-place, 0))
        draft.like(total, node.output)
        draft.add("Merge", total, held, [draft.names[before], draft.names[edge]], op="add")
    step, base = ([int(array[c % array.size]) for c in channels] for array in (op.step, op.base))
    offset = [b + s * count - out.zero_point for b, s in zip(base, step, strict=True)]
    edge, result = draft.result(node)
    _affine_layer(draft, edge, result, total, _at_point(step, made), _at_point(offset, made))


def _at_point(codes: list[int], points: list[int]) -> list[Fraction]:
    """Codes of each channel at its binary point."""
    return [code * Fraction(2) ** -_at(points, c) for c, code in enumerate(codes)]
