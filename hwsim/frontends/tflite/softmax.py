"""SOFTMAX along the last axis."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.tflite import gemmlowp, wide_softmax
from hwsim.frontends.tflite.fixed_point import divided
from hwsim.frontends.tflite.importer import LiteImporter
from hwsim.frontends.tflite.kernels import F32, KernelSet
from hwsim.frontends.tflite.model import LiteNode
from hwsim.ops import (
    Division,
    Exact,
    Float32,
    Quant,
    Reduce,
    Reduction,
    Relu,
    Share,
    Sub,
    Table,
)
from hwsim.ops.base import IntArray
from hwsim.ops.floats import BITS, patterns
from hwsim.ops.share import SUM_FRACTION

CODES = 256
IN_FLOATS = (KernelSet.BUILTIN, KernelSet.XNNPACK)
NEAR = 1e-3  # by how much the output's scale may miss what fixed-point kernels take it for
OUTPUTS = {("int8", "int8"): 8, ("uint8", "uint8"): 8, ("int8", "int16"): 16}
"""Bits of the unit of every softmax of 8 bits; its zero point is the least code."""


def softmax(run: LiteImporter, node: LiteNode) -> None:
    """Exponentials of the distance to the row's largest code, over their sum."""
    given, made = run.tensor(node, 0), run.made(node)
    if given.dtype == made.dtype == "int16":
        wide_softmax.softmax(run, node)
        return
    quant, result = run.meaning(given), run.meaning(made)
    bits = OUTPUTS.get((given.dtype, made.dtype), 0)
    if not bits:
        raise HwsimError(
            f"{node}: it must be of int8, or of uint8, not {given.dtype} and {made.dtype}"
        )
    step, zero = float(result.scale) * 2.0**bits, run.format(made).min
    near = step == 1 if run.like in IN_FLOATS else abs(step - 1) < NEAR
    if not near or result.zero_point != zero:
        raise HwsimError(
            f"{node}: its output must have scale 1/{1 << bits} and zero point {zero}, not "
            f"{result.scale} and {result.zero_point}"
        )
    beta, edge = F32(node.options["beta"]), run.edge(node)
    if not (math.isfinite(beta) and beta > 0):
        raise HwsimError(f"{node}: its beta must be a finite number above 0, not {beta}")
    name = run.label(made)
    below = distances(run, name, edge)
    if run.like in IN_FLOATS:
        values = patterns(_exponentials(quant.scale, beta))
        terms = run.emit(f"{name}.exp", entries(run, below, values), [below], f"{name}.exp")
        total = row_sum(run, name, terms, Float32(), int(values[0]))
        division = Division.FLOAT32
    else:
        values = gemmlowp.exponentials(float(quant.scale), float(beta))
        terms = run.emit(f"{name}.exp", entries(run, below, values), [below], f"{name}.exp")
        total = gemmlowp_sum(run, name, below, values)
        division = Division.NEWTON
    share = Share(
        out=run.format(made),
        division=division,
        bits=bits,
        zero_point=result.zero_point,
        quant=Quant((float(result.scale),), result.zero_point),
    )
    run.give(node, [share], terms, total)


def _exponentials(scale: np.float32, beta: np.float32) -> IntArray | Sequence[float]:
    """The table of the optimized kernel, for distances of 0 to 255."""
    step = F32(-F32(scale) * beta)
    return [math.exp(float(F32(step * F32(distance)))) for distance in range(CODES)]


def distances(run: LiteImporter, name: str, edge: str) -> str:
    """How far codes are below the largest of their row."""
    axes = (len(run.types[edge].shape) - 1,)
    top = run.emit(f"{name}.max", Reduce(reduction=Reduction.MAX, axes=axes), [edge], f"{name}.max")
    below = run.emit(f"{name}.below", Sub(), [top, edge], f"{name}.below")
    return run.emit(f"{name}.distance", Relu(), [below], f"{name}.distance")


def entries(run: LiteImporter, edge: str, values: IntArray) -> Table:
    """The entries for the distances that there can be."""
    kind = run.types[edge]
    return Table(values=values[: kind.hi + 1], out=BITS, first=0)


def gemmlowp_sum(run: LiteImporter, name: str, below: str, values: IntArray) -> str:
    """The sum of a row's exponentials without their lowest 12 bits, from their distances."""
    added = divided(values, SUM_FRACTION)
    parts = run.emit(f"{name}.terms", entries(run, below, added), [below], f"{name}.terms")
    return row_sum(run, name, parts, Exact(), int(added[0]))


def row_sum(
    run: LiteImporter,
    name: str,
    terms: str,
    accumulator: Exact | Float32,
    least: int,
) -> str:
    """The sum of a row, which is at least the term of its largest code, as its type then says."""
    axes = (len(run.types[terms].shape) - 1,)
    add = Reduce(reduction=Reduction.SUM, axes=axes, accumulator=accumulator)
    total = run.emit(f"{name}.sum", add, [terms], f"{name}.sum")
    return run.emit(f"{name}.total", Relu(zero_point=least), [total], f"{name}.total")
