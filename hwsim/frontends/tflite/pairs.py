"""ADD, SUB, MUL, MAXIMUM and MINIMUM of two tensors, one of which may be constant."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from hwsim.fixed import Format, Overflow, Rounding
from hwsim.frontends.tflite import gemmlowp, wide_pairs
from hwsim.frontends.tflite.importer import LiteImporter
from hwsim.frontends.tflite.kernels import F32, NARROW, KernelSet
from hwsim.frontends.tflite.lanes import Build, VectorLanes
from hwsim.frontends.tflite.model import LiteNode
from hwsim.frontends.tflite.rounding import activation, requantized
from hwsim.frontends.tflite.scaled import double
from hwsim.frontends.tflite.unary import rounded
from hwsim.ops import (
    Add,
    Literal,
    Maximum,
    Minimum,
    Mul,
    Op,
    Quant,
    Requantize,
    Reshape,
    Scheme,
    Select,
    Sub,
    Table,
)
from hwsim.ops.base import IntArray
from hwsim.ops.fixed_point import high_product

LANES, SCALAR_LANES = (
    16,
    8,
)  # codes that the optimized kernels' vector code adds at a time, to others and to one
SQUARE_SHIFT = 7  # the same of a difference that is squared
OPTIMIZED = (KernelSet.BUILTIN, KernelSet.XNNPACK)
"""Sets whose kernels, or what XNNPACK leaves to them, have vector code."""
SHIFT = 20  # bits that codes are shifted left before they are brought to one scale
WIDE_SHIFT = 15  # those of int16 codes


def operands(run: LiteImporter, node: LiteNode) -> list[str]:
    """The edges of both operands, whose shapes broadcast.

    A constant comes with the other operand, in its shape unless it is larger.
    """
    edges: list[str] = []
    for place in (0, 1):
        tensor, other = run.tensor(node, place), node.inputs[1 - place] if node.inputs[1:] else -1
        values = run.value(node.inputs[place])
        if node.inputs[place] in run.edges or values is None or other not in run.edges:
            edges.append(run.edge(node, place))
            continue
        driver = run.edges[other]
        shape, held = run.types[driver].shape, run.shape(tensor)
        spread = len(held) <= len(shape) and all(
            n in (1, m) for n, m in zip(held[::-1], shape[::-1], strict=False)
        )
        if not spread or values.dtype.kind not in "iu" or values.size != math.prod(held):
            edges.append(run.literal(tensor, values, driver))
            continue
        codes, name = values.astype(np.int64).reshape(held), run.label(tensor)
        literal = Literal(values=codes, out=run.format(tensor), quant=run.meant(tensor))
        edges.append(run.emit(name, literal, [driver], name))
    return edges


def add(run: LiteImporter, node: LiteNode) -> None:
    """ADD and SUB."""
    edges = operands(run, node)
    meanings = [run.meaning(run.tensor(node, place)) for place in (0, 1)]
    made = run.made(node)
    out, name = run.meaning(made), run.label(made)
    scales = [float(m.scale) for m in meanings]
    if run.like is KernelSet.XNNPACK and _delegated(run, node, scales, float(out.scale)):
        _in_one_shift(run, node, edges)
        return
    wide = run.format(made).width > NARROW
    if wide and run.like is not KernelSet.TFLM and wide_pairs.aligned(run, node):
        wide_pairs.add_powers(run, node, edges)
        return
    after = activation(run, node, made, delegated=False)
    shift = WIDE_SHIFT if wide else SHIFT
    factor = 2 * max(scales) / (2.0**shift * float(out.scale))
    rounding = requantized(run, made, Scheme.GEMMLOWP_DOUBLE, np.array([factor]))

    def tail(title: str, held: list[str]) -> str:
        total = _sum(run, node, title, held, scaled=double)
        return run.chain(title, total, [rounding], title)

    def vector(title: str, held: list[str]) -> str:
        total = _sum(run, node, title, held, scaled=_one_rounding)
        if _wraps(run, node, total, rounding):
            return _in_16_bits(run, title, total, rounding, saturates=False)
        return run.chain(title, total, [rounding], title)

    shapes = [run.types[edge].shape for edge in edges]
    alone = node.op == "SUB" or (wide and shapes[0] != shapes[1])
    if run.like not in OPTIMIZED or alone:
        run.give(node, after, tail(name, edges))
    else:
        run.give(node, after, _in_lanes(run, node, edges, vector, tail, scalar=SCALAR_LANES))


def _in_lanes(
    run: LiteImporter, node: LiteNode, edges: list[str], vector: Build, tail: Build, *, scalar: int
) -> str:
    """A result of which the vector code makes whole groups; `scalar` where one operand repeats."""
    name = run.label(run.made(node))
    shapes = [run.types[edge].shape for edge in edges]
    length, lanes = vector_run(*(run.axes(run.tensor(node, place)) for place in (0, 1)))
    lanes = lanes if lanes == LANES else scalar
    split = VectorLanes(lanes, vector, tail)
    if shapes[0] == shapes[1]:
        return split.over(run, name, edges)
    if length < lanes or length % lanes == 0:
        return (split.tail if length < lanes else split.vector)(name, edges)
    whole = np.broadcast_shapes(*shapes)
    rows = [_spread(run, edge, whole, length) for edge in edges]
    return split.along(run, name, rows, 1)


SHORT = Format.int(16)


def _wraps(run: LiteImporter, node: LiteNode, edge: str, rounding: Requantize) -> bool:
    """Whether the vector code of int8, which adds the zero point in 16 bits, may pass them."""
    made = run.made(node)
    zero = run.meaning(made).zero_point
    (kind,) = _bare(rounding).output_types([run.types[edge]])
    within = SHORT.min <= kind.lo + min(zero, 0) and kind.hi + max(zero, 0) <= SHORT.max
    return run.format(made).width <= NARROW and not within


def _bare(rounding: Requantize) -> Requantize:
    """What is rounded, before the zero point and the result's bounds."""
    return replace(rounding, out=Format.int(32), zero_point=0, quant=None)


def _in_16_bits(
    run: LiteImporter, name: str, edge: str, rounding: Requantize, *, saturates: bool
) -> str:
    """A sum or product as the vector code brings it to int8, through 16 bits.

    What is rounded saturates there or wraps, and wraps once more with the zero point.
    """
    plain = _bare(rounding)
    moved = Requantize(
        scheme=Scheme.SHIFT,
        multiplier=(1.0,),
        out=SHORT,
        zero_point=rounding.zero_point,
        overflow=Overflow.WRAP,
    )
    last = Requantize(
        scheme=Scheme.SHIFT, multiplier=(1.0,), out=rounding.out, quant=rounding.quant
    )
    first = replace(plain, out=SHORT) if saturates else plain
    return run.chain(name, edge, [first, moved, last], name)


def vector_run(first: tuple[int, ...], second: tuple[int, ...]) -> tuple[int, int]:
    """How many codes the optimized kernels add in one go, and how many at a time; 0 for none.

    Axes that lie side by side and repeat, or do not, are one. Of what is not five such axes at most
    every code is added alone. Source: TensorFlow Lite `ProcessBroadcastShapes`.
    """
    rank = max(len(first), len(second))
    a, b = ((1,) * (rank - len(shape)) + shape for shape in (first, second))
    if a == b:
        return math.prod(a), LANES
    unlike = next(axis for axis in reversed(range(rank)) if a[axis] != b[axis])
    a, b = (a, b) if a[unlike] == 1 else (b, a)  # the one that repeats innermost comes first
    folds, left = [], rank
    for fits in (_alike, _repeats, _alike, lambda n, m: m == 1, _alike):
        size = 1
        while left and fits(a[left - 1], b[left - 1]):
            left -= 1
            size *= max(a[left], b[left])
        folds.append(size)
    if left:
        return 0, LANES
    return (folds[0], LANES) if folds[0] > 1 else (folds[1], SCALAR_LANES)


def _alike(n: int, m: int) -> bool:
    return n == m


def _repeats(n: int, m: int) -> bool:
    return n == 1


def _spread(run: LiteImporter, edge: str, shape: tuple[int, ...], length: int) -> str:
    """A tensor as often as its axes of 1 repeat, in rows of so many codes."""
    held = run.types[edge].shape
    wide = (1,) * (len(shape) - len(held)) + held
    ops: list[Op] = [] if wide == held else [Reshape(shape=wide)]
    pairs = enumerate(zip(wide, shape, strict=True))
    ops += [Select(axis=axis, indices=(0,) * m) for axis, (n, m) in pairs if n != m]
    ops.append(Reshape(shape=(math.prod(shape) // length, length)))
    return run.chain(f"{edge}.rows", edge, ops, f"{edge}.rows")


def _one_rounding(values: IntArray, factor: float) -> IntArray:
    """The vector code's: shifted to the right before it is multiplied, and rounded once."""
    m, shift = gemmlowp.multiplier(factor)
    moved = values << shift if shift >= 0 else values >> -shift
    return np.asarray(high_product(np, moved, np.array(m)), np.int64)


def _sum(
    run: LiteImporter,
    node: LiteNode,
    name: str,
    edges: list[str],
    *,
    scaled: Callable[[IntArray, float], IntArray],
) -> str:
    """Both tensors brought to twice the larger scale, added."""
    meanings = [run.meaning(run.tensor(node, place)) for place in (0, 1)]
    twice = 2 * max(float(meant.scale) for meant in meanings)
    parts = []
    for place, (edge, meant) in enumerate(zip(edges, meanings, strict=True)):
        kind, factor = run.types[edge], float(meant.scale) / twice
        if kind.format.width > NARROW:
            ops = wide_pairs.scaled(factor, WIDE_SHIFT, once=scaled is _one_rounding)
            parts.append(run.chain(f"{name}.{place}", edge, ops, f"{name}.{place}"))
            continue
        codes = np.arange(kind.format.min, kind.format.max + 1) - meant.zero_point
        values = scaled(codes << SHIFT, factor)
        parts.append(_term(run, f"{name}.{place}", edge, values))
    both = Add() if node.op == "ADD" else Sub()
    return run.emit(f"{name}.sum", both, parts, f"{name}.sum")


def _term(run: LiteImporter, name: str, edge: str, values: IntArray) -> str:
    """A tensor brought to the common scale: a table of its codes."""
    out = Format.holding(int(values.min()), int(values.max()))
    return run.emit(name, Table(values=values, out=out), [edge], name)


def _delegated(run: LiteImporter, node: LiteNode, scales: list[float], out: float) -> bool:
    """Whether XNNPACK takes a sum."""
    if run.format(run.made(node)).width > NARROW:
        return False
    ratios = [float(F32(scale) / F32(out)) for scale in scales]
    return all(2.0**-10 <= ratio < 2.0**8 for ratio in ratios)


def _in_one_shift(run: LiteImporter, node: LiteNode, edges: list[str]) -> None:
    """XNNPACK: whole multiples of both, added, and one shift with ties up."""
    meanings = [run.meaning(run.tensor(node, place)) for place in (0, 1)]
    made = run.made(node)
    out, name = run.meaning(made), run.label(made)
    ratios = [F32(meant.scale) / F32(out.scale) for meant in meanings]
    shift = 20 - (int(np.frexp(max(ratios))[1]) - 1)
    parts = []
    for place, (edge, meant, ratio) in enumerate(zip(edges, meanings, ratios, strict=True)):
        kind = run.types[edge]
        factor = int(np.rint(float(ratio) * 2.0**shift))
        codes = np.arange(kind.format.min, kind.format.max + 1) - meant.zero_point
        parts.append(_term(run, f"{name}.{place}", edge, codes * factor))
    both = Add() if node.op == "ADD" else Sub()
    total = run.emit(f"{name}.sum", both, parts, f"{name}.sum")
    rounding = Requantize(
        scheme=Scheme.SHIFT,
        multiplier=(2.0**-shift,),
        out=run.format(made),
        zero_point=out.zero_point,
        rounding=Rounding.RND,
        quant=Quant((float(out.scale),), out.zero_point),
    )
    run.give(node, [rounding, *activation(run, node, made)], total)


def _square(run: LiteImporter, node: LiteNode) -> None:
    """XNNPACK's product of a tensor with itself: a table of float32 squares."""
    given, made = run.tensor(node, 0), run.made(node)
    before, after, out = run.meaning(given), run.meaning(made), run.format(made)
    kind = run.types[run.edge(node)]
    codes = np.arange(kind.format.min, kind.format.max + 1) - before.zero_point
    reals = F32(before.scale) * codes.astype(F32)
    values = np.clip(rounded(run, reals * reals, after), out.min, out.max)
    table = Table(values=values, out=out, quant=Quant((float(after.scale),), after.zero_point))
    run.give(node, [table, *activation(run, node, made)], run.edge(node))


def mul(run: LiteImporter, node: LiteNode) -> None:
    """MUL."""
    alike = len(set(node.inputs)) == 1 and node.inputs[0] in run.edges
    if run.like is KernelSet.XNNPACK and alike and run.format(run.made(node)).width <= NARROW:
        _square(run, node)
        return
    edges = operands(run, node)
    meanings = [run.meaning(run.tensor(node, place)) for place in (0, 1)]
    made = run.made(node)
    out, name = run.meaning(made), run.label(made)
    zeros = meanings[0].zero_point, meanings[1].zero_point
    steps = float(meanings[0].scale) * float(meanings[1].scale)
    both = Mul(zero_points=zeros, quant=Quant((steps,)))
    product = run.emit(f"{name}.product", both, edges, f"{name}.product")
    single = float(F32(F32(meanings[0].scale) * F32(meanings[1].scale)) / F32(out.scale))
    exact = float(meanings[0].scale) * float(meanings[1].scale) / float(out.scale)
    scheme, factor = Scheme.GEMMLOWP_DOUBLE, exact if run.like is KernelSet.TFLM else single
    if run.like is KernelSet.XNNPACK and run.format(made).width <= NARROW:
        scheme = Scheme.F32_RNE_OUT
    rounding = requantized(run, made, scheme, np.array([factor]))
    after = activation(run, node, made)
    if run.like is not KernelSet.BUILTIN or not _wraps(run, node, product, rounding):
        run.give(node, [rounding, *after], product)
        return

    def multiplied(title: str, held: list[str]) -> str:
        return run.emit(f"{title}.product", both, held, f"{title}.product")

    def vector(title: str, held: list[str]) -> str:
        return _in_16_bits(run, title, multiplied(title, held), rounding, saturates=True)

    def tail(title: str, held: list[str]) -> str:
        return run.chain(title, multiplied(title, held), [rounding], title)

    run.give(node, after, _in_lanes(run, node, edges, vector, tail, scalar=LANES))


def squared_difference(run: LiteImporter, node: LiteNode) -> None:
    """SQUARED_DIFFERENCE: both brought to one scale, with 7 bits more; the square of the rest."""
    edges = operands(run, node)
    meanings = [run.meaning(run.tensor(node, place)) for place in (0, 1)]
    made = run.made(node)
    name, out = run.label(made), run.meaning(made)
    twice = 2 * max(float(meant.scale) for meant in meanings)
    parts = []
    for place, (edge, meant) in enumerate(zip(edges, meanings, strict=True)):
        fmt = run.types[edge].format
        codes = (np.arange(fmt.min, fmt.max + 1) - meant.zero_point) << SQUARE_SHIFT
        values = double(codes, float(meant.scale) / twice)
        parts.append(_term(run, f"{name}.{place}", edge, values))
    less = run.emit(f"{name}.difference", Sub(), parts, f"{name}.difference")
    square = run.emit(f"{name}.square", Mul(), [less, less], f"{name}.square")
    factor = np.array([twice * twice / (2.0 ** (2 * SQUARE_SHIFT) * float(out.scale))])
    run.give(node, [requantized(run, made, Scheme.GEMMLOWP_DOUBLE, factor)], square)


def extreme(run: LiteImporter, node: LiteNode) -> None:
    """MAXIMUM and MINIMUM: of the codes as they are, whatever they mean."""
    edges = operands(run, node)
    run.give(node, [Maximum() if node.op == "MAXIMUM" else Minimum()], *edges)
