"""ADD, SUB, MUL, MAXIMUM and MINIMUM of two tensors, one of which may be constant."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Format, Rounding
from hwsim.frontends.tflite import gemmlowp
from hwsim.frontends.tflite.importer import LiteImporter
from hwsim.frontends.tflite.kernels import F32, KernelSet
from hwsim.frontends.tflite.lanes import Build, VectorLanes
from hwsim.frontends.tflite.model import LiteNode
from hwsim.frontends.tflite.rounding import activation, requantized
from hwsim.frontends.tflite.scaled import double
from hwsim.ops import (
    Add,
    Literal,
    Maximum,
    Minimum,
    Mul,
    Quant,
    Requantize,
    Scheme,
    Sub,
    Table,
)
from hwsim.ops.base import IntArray
from hwsim.ops.fixed_point import high_product

LANES = 16  # codes that the optimized kernels' vector code adds at a time
SHIFT = 20  # bits that codes are shifted left before they are brought to one scale


def operand(run: LiteImporter, node: LiteNode, place: int) -> str:
    """The edge of an operand; a constant becomes one."""
    tensor = run.tensor(node, place)
    index = node.inputs[place]
    if tensor.data is None or index in run.edges:
        return run.edge(node, place)
    quant, fmt = run.meaning(tensor), run.format(tensor)
    shape = tensor.shape[1:] if len(tensor.shape) == len(run.made(node).shape) else tensor.shape
    values = np.asarray(tensor.data).astype(np.int64).reshape(shape)
    literal = Literal(values=values, out=fmt, quant=Quant((float(quant.scale),), quant.zero_point))
    name = run.label(tensor)
    run.edges[index] = run.emit(name, literal, [], name)
    return run.edges[index]


def add(run: LiteImporter, node: LiteNode) -> None:
    """ADD and SUB."""
    edges = [operand(run, node, place) for place in (0, 1)]
    meanings = [run.meaning(run.tensor(node, place)) for place in (0, 1)]
    made = run.made(node)
    out, name = run.meaning(made), run.label(made)
    scales = [float(m.scale) for m in meanings]
    if run.like is KernelSet.XNNPACK and _delegated(scales, float(out.scale)):
        _in_one_shift(run, node, edges)
        return
    after = activation(run, node, made)
    factor = np.array([2 * max(scales) / (2.0**SHIFT * float(out.scale))])
    rounding = requantized(run, made, Scheme.GEMMLOWP_DOUBLE, factor)

    def added(scaled: Callable[[IntArray, float], IntArray]) -> Build:
        return lambda title, held: run.chain(
            title, _sum(run, node, title, held, scaled=scaled), [rounding], title
        )

    if run.like is not KernelSet.BUILTIN or node.op == "SUB":
        run.give(node, after, added(double)(name, edges))
        return
    shapes = [run.types[edge].shape for edge in edges]
    if shapes[0] != shapes[1]:
        raise HwsimError(
            f"{node}: of the optimized kernels' sums those of tensors of one shape are read, not "
            f"of {shapes[0]} and {shapes[1]}"
        )
    split = VectorLanes(LANES, added(_one_rounding), added(double))
    run.give(node, after, split.over(run, name, edges))


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
        kind = run.types[edge]
        codes = np.arange(kind.format.min, kind.format.max + 1) - meant.zero_point
        values = scaled(codes << SHIFT, float(meant.scale) / twice)
        parts.append(_term(run, f"{name}.{place}", edge, values))
    both = Add() if node.op == "ADD" else Sub()
    return run.emit(f"{name}.sum", both, parts, f"{name}.sum")


def _term(run: LiteImporter, name: str, edge: str, values: IntArray) -> str:
    """A tensor brought to the common scale: a table of its codes."""
    out = Format.holding(int(values.min()), int(values.max()))
    return run.emit(name, Table(values=values, out=out), [edge], name)


def _delegated(scales: list[float], out: float) -> bool:
    """Whether XNNPACK takes a sum."""
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


def mul(run: LiteImporter, node: LiteNode) -> None:
    """MUL."""
    edges = [operand(run, node, place) for place in (0, 1)]
    meanings = [run.meaning(run.tensor(node, place)) for place in (0, 1)]
    made = run.made(node)
    out, name = run.meaning(made), run.label(made)
    zeros = meanings[0].zero_point, meanings[1].zero_point
    steps = float(meanings[0].scale) * float(meanings[1].scale)
    both = Mul(zero_points=zeros, quant=Quant((steps,)))
    product = run.emit(f"{name}.product", both, edges, f"{name}.product")
    single = float(F32(F32(meanings[0].scale) * F32(meanings[1].scale)) / F32(out.scale))
    exact = float(meanings[0].scale) * float(meanings[1].scale) / float(out.scale)
    scheme, factor = {
        KernelSet.TFLM: (Scheme.GEMMLOWP_DOUBLE, exact),
        KernelSet.XNNPACK: (Scheme.F32_RNE_OUT, single),
    }.get(run.like, (Scheme.GEMMLOWP_DOUBLE, single))
    rounding = requantized(run, made, scheme, np.array([factor]))
    run.give(node, [rounding, *activation(run, node, made)], product)


def extreme(run: LiteImporter, node: LiteNode) -> None:
    """MAXIMUM and MINIMUM: of the codes as they are, whatever they mean."""
    edges = [operand(run, node, place) for place in (0, 1)]
    run.give(node, [Maximum() if node.op == "MAXIMUM" else Minimum()], *edges)
