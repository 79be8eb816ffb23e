"""Casts, activations, tables, factors by channel and functions of two tensors."""

from __future__ import annotations

from fractions import Fraction

from hwsim.errors import HwsimError
from hwsim.graph import Node
from hwsim.hls4ml_project.affine import affine_layer, at_channel
from hwsim.hls4ml_project.draft import Draft, require
from hwsim.hls4ml_project.lookup import write_table
from hwsim.hls4ml_project.precision import assignment, units
from hwsim.hls4ml_project.reduce import spread
from hwsim.hls4ml_project.steps import by_steps
from hwsim.ops import BatchNorm, Mul, Relu, Requantize

MERGED = {"add": "add", "sub": "subtract", "mul": "multiply", "maximum": "maximum"}
MERGED |= {"minimum": "minimum"}
"""What hls4ml's Merge calls the functions of two tensors."""


def write_cast(draft: Draft, node: Node) -> None:
    """A cast by itself; a requantizer that is no assignment becomes a table."""
    what, source = f"node {node.name!r}", node.inputs[0]
    kinds = draft.kind(source), draft.kind(node.output)
    try:
        into = assignment(node.op, *kinds, what)
    except HwsimError:
        if not isinstance(node.op, Requantize):
            raise
        _requantize(draft, node, node.op)
        return
    draft.cast(node.output, into, source)


def _requantize(draft: Draft, node: Node, op: Requantize) -> None:
    """One that is no assignment: a line and a cut, or a table."""
    try:
        by_steps(draft, node, op)
    except HwsimError as error:
        if len(op.multiplier) > 1:
            raise
        try:
            write_table(draft, node)
        except HwsimError as other:
            raise HwsimError(f"{error}; {other}") from None


def write_relu(draft: Draft, node: Node) -> None:
    """A ReLU; one with a maximum takes the smaller of two after it by a table."""
    op, kind = node.op, draft.kind(node.inputs[0])
    assert isinstance(op, Relu)
    if op.maximum is not None and op.maximum < kind.hi:
        write_table(draft, node)
        return
    require(op.zero_point == kind.zero_point, "a ReLU must cut where its codes stand for 0")
    edge, result = draft.result(node)
    draft.add("Activation", edge, result, draft.source(node), activation="relu", n_in=kind.size)


def write_batchnorm(draft: Draft, node: Node) -> None:
    """A factor and an offset a channel."""
    op = node.op
    assert isinstance(op, BatchNorm)
    edge, result = draft.result(node)
    affine_layer(draft, edge, result, node.inputs[0], *_affine(draft, node, op))


def _affine(draft: Draft, node: Node, op: BatchNorm) -> tuple[list[Fraction], list[Fraction]]:
    """Factors and offsets of reals, by channel."""
    x, out = draft.kind(node.inputs[0]), draft.kind(node.output)
    given, made = units(x), units(out)
    scale, bias, _ = op.aligned(x)
    channels = range(len(scale))
    ends = [(at_channel(given, c), at_channel(made, c)) for c in channels]
    factors = [Fraction(int(scale[c])) * Fraction(2) ** (g - m) for c, (g, m) in enumerate(ends)]
    moved = [int(bias[c]) + int(scale[c]) * x.zero_point - out.zero_point for c in channels]
    return factors, [b * Fraction(2) ** -m for b, (_, m) in zip(moved, ends, strict=True)]


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
