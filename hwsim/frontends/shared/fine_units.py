"""Terms of different scales, brought to one fixed-point unit, added exactly and rounded once."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.frontends.shared.exact_sums import weighed
from hwsim.frontends.shared.quantizer import Quantizer
from hwsim.frontends.shared.tensors import TensorBuilder
from hwsim.frontends.shared.values import Level, Pair, Scaled, Weighing
from hwsim.ops import BatchNorm, Carrier, Op, Quant, Requantize, Scheme
from hwsim.ops.base import IntArray

FINE_BITS = 26  # of the factors that bring sums to one unit: finer than a float32
SUM_BITS = 60  # of a sum in such units
FINEST = 60
MOST_STEPS = 2.0**40  # that such a sum may reach before it saturates
LEAST_ERROR = 2.0**-14  # in steps of the result, of all factors that are rounded to a fine unit

Units = npt.NDArray[np.float64]
Term = tuple[str, Units, int]
"""The edge of an addend, what a step of it is worth, and its zero point."""


def added(run: TensorBuilder, source: Pair, by: Quantizer, out: str) -> tuple[str, list[Op]]:
    """Operators that round a sum or difference, of layers' sums too, after the edge given back."""
    edge, bits, _ = _summed(run, source, by.scale, out)
    return edge, [_rounded(by, bits)]


def summed(
    run: TensorBuilder, source: Pair, scale: float, out: str
) -> tuple[str, float, Callable[[IntArray, IntArray], IntArray]]:
    """The edge of a sum or difference of codes, what a step of it is worth, and how it is made.

    It is as fine as for a result of that `scale`.
    """
    edge, bits, made = _summed(run, source, scale, out)
    unit = scale * 2.0**-bits  # of whole numbers, whatever their binary point
    nodes = {edge: node for node in run.nodes for edge in node.outputs}
    kinds = [run.types[held] for held in made]

    def of_pair(one: IntArray, two: IntArray) -> IntArray:
        terms = []
        for edge, codes in zip(made, (one, two), strict=True):
            op = nodes[edge].op
            assert isinstance(op, BatchNorm)  # with one factor for all channels
            scale, bias, _ = op.aligned(run.types[nodes[edge].inputs[0]])
            terms.append(codes * scale[0] + bias[0])
        return np.asarray(source.op.run(np, terms, source.op.prepare(kinds, Carrier.INT64)))

    return edge, unit * 2.0 ** -run.types[edge].format.frac_bits, of_pair


def _summed(run: TensorBuilder, source: Pair, scale: float, out: str) -> tuple[str, int, list[str]]:
    terms = [_term(run, part) for part in (source.a, source.b)]
    bits = _bits(run, scale, source.name, terms, 0.0)
    edges = [
        _in_fine_units(run, scale, source.name, term, 0.0, own, max(bits))
        for term, own in zip(terms, bits, strict=True)
    ]
    return run.emit(source.name, source.op, edges, f"{out}.sum"), max(bits), edges


def scaled(run: TensorBuilder, source: Scaled, by: Quantizer) -> tuple[str, list[Op]]:
    """Operators that round a tensor times a factor a channel, after the edge given back."""
    fine, bits = _line(run, source, by.scale)
    return fine, [_rounded(by, bits)]


def line(run: TensorBuilder, source: Scaled, scale: float) -> tuple[str, float]:
    """The edge of a tensor times a factor a channel, and what a step of it is worth."""
    edge, bits = _line(run, source, scale)
    return edge, scale * 2.0 ** -(bits + run.types[edge].format.frac_bits)


def in_unit(run: TensorBuilder, source: Scaled, unit: float, fmt: Format) -> str:
    """The edge of a tensor times a factor a channel, rounded to codes of `unit`."""
    edge, bits = _line(run, source, unit)
    op = Requantize(scheme=Scheme.SHIFT, multiplier=(2.0**-bits,), out=fmt, quant=Quant((unit,)))
    return run.emit(f"{edge}.rounded", op, [edge], f"{edge}.rounded")


def _line(run: TensorBuilder, source: Scaled, scale: float) -> tuple[str, int]:
    edge, unit, zero = _term(run, source.term)
    term = edge, unit * source.factor, zero
    (bits,) = _bits(run, scale, source.name, [term], source.offset)
    return _in_fine_units(run, scale, source.name, term, source.offset, bits, bits), bits


def _term(run: TensorBuilder, part: Level | Weighing) -> Term:
    """The edge of an addend, what a step of it is worth, and its zero point."""
    if isinstance(part, Weighing):
        edge, scale = weighed(run, part)
        return edge, scale.astype(np.float64), 0
    return part.codes.edge, np.array([part.scale]), part.zero_point


def _bits(
    run: TensorBuilder, scale: float, name: str, terms: list[Term], offset: Units | float
) -> list[int]:
    """Fraction bits of a step of the result for each term: its largest factor has FINE_BITS.

    Fewer where the sum would not fit, as long as all errors stay below those of a float32.
    """
    tops = [float(np.abs(unit).max()) / scale for _, unit, _ in terms]
    sizes = [run.types[edge].magnitude + abs(zero) for edge, _, zero in terms]
    reach = sum(top * size for top, size in zip(tops, sizes, strict=True))
    reach += float(np.abs(offset).max()) / scale
    if not 0 < reach < MOST_STEPS:
        if reach == 0:
            return [0] * len(terms)
        raise HwsimError(f"{name}: its factors and offsets must be nearer to its scales")
    most = min(SUM_BITS - math.ceil(math.log2(reach)), FINEST)
    bits = [min(FINE_BITS - math.ceil(math.log2(top)), most) if top else 0 for top in tops]
    error = sum(
        size * 2.0 ** -(own + 1)
        for (_, unit, _), size, own in zip(terms, sizes, bits, strict=True)
        if not _whole(unit / scale * 2.0**own)
    )
    if error > max(LEAST_ERROR, reach * 2.0**-24):
        raise HwsimError(f"{name}: its factors and offsets must be nearer to its scales")
    return bits


def _whole(factors: Units) -> bool:
    """Whether factors are not rounded at all."""
    return bool((factors == np.rint(factors)).all())


def _in_fine_units(
    run: TensorBuilder,
    scale: float,
    name: str,
    term: Term,
    offset: Units | float,
    own: int,
    bits: int,
) -> str:
    """Whole numbers of `2**-own` steps of the result, as codes with `own - bits` fraction bits.

    An Add brings them to `2**-bits` steps.
    """
    edge, unit, zero = term
    factors = np.rint(unit / scale * 2.0**own)
    shift = np.rint(offset / scale * 2.0**own)
    channels, fraction = run.types[edge].channels, run.types[edge].format.frac_bits
    fraction = own - bits - fraction
    op = BatchNorm(
        scale=np.broadcast_to(factors, channels).astype(np.int64),
        bias=np.broadcast_to(shift - zero * factors, channels).astype(np.int64),
        bias_frac=own - bits,
        scale_format=Format(True, 32 - fraction, fraction),
        quant=Quant((scale * 2.0**-bits,)),
    )
    return run.emit(f"{name}.scaled", op, [edge], f"{edge}.scaled")


def _rounded(by: Quantizer, bits: int) -> Op:
    """The one rounding."""
    return Requantize(
        scheme=Scheme.SHIFT,
        multiplier=(2.0**-bits,),
        out=by.format,
        zero_point=by.zero_point,
        quant=by.quant,
    )
