"""What exact sums mean where the runtime adds them in float32, and how far off it may be."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.shared import fine_units
from hwsim.frontends.shared.exact_sums import averaged, multiplied, totalled, weighed
from hwsim.frontends.shared.quantizer import Quantizer
from hwsim.frontends.shared.step_functions import Reals, WholeSums
from hwsim.frontends.shared.tensors import TensorBuilder
from hwsim.frontends.shared.values import (
    NO_PADDING,
    Arithmetic,
    FloatArray,
    Level,
    Mean,
    Pair,
    Product,
    Real,
    Source,
    Total,
    Weighing,
)
from hwsim.ops import Carrier, Mul, Op, Quant
from hwsim.ops.base import IntArray

F32, F64 = np.float32, np.float64
EXACT = 1 << 24  # whole numbers up to it are exact in float32
ROUGH_BITS = 24
MOVING = ("flatten", "reshape", "transpose", "select", "pad", "relu")
UNIT = 2.0**-24  # of a float32's rounding
LAST_BITS = (
    "QONNX's executor adds in float32, with scales that are no powers of two or past 2**24 steps, "
    "so that its reals may differ in their last bits (by about 1e-7 of the largest)"
)


def powers_of_two(values: FloatArray) -> bool:
    """Whether all of them are."""
    return bool((np.frexp(values)[0] == 0.5).all())


def exact(run: TensorBuilder, source: Weighing) -> bool:
    """Whether float32 holds every sum of a layer, in whatever order it is added up."""
    op, x = source.op, run.types[source.input.codes.edge]
    steps = np.array(op.weight_scale or (2.0**-op.weight_format.frac_bits,))
    if not powers_of_two(steps) or not powers_of_two(source.input.factors):
        return False
    finer = op.bias_frac - x.format.frac_bits - op.weight_format.frac_bits if op.bias.any() else 0
    most = _reach(run, source) * 2.0 ** max(finer, 0) + np.abs(op.bias)
    return _held(run, float(most.max()))


def _held(run: TensorBuilder, magnitude: float) -> bool:
    """Whether whole numbers up to that are sums that nothing rounds."""
    return run.exact_sums or magnitude <= EXACT


def rough(run: TensorBuilder, source: Weighing) -> bool:
    """Whether a layer's input is one of the graph that nothing quantizes, of which a warning tells.

    Its codes alone pass float32.
    """
    makers = {edge: node for node in run.nodes for edge in node.outputs}
    edge = source.input.codes.edge
    wide = run.types[edge].format.width > ROUGH_BITS
    while edge in makers and makers[edge].op.kind in MOVING:
        edge = makers[edge].inputs[0]
    return wide and edge in {port.tensor for port in run.inputs.values()}


def _reach(run: TensorBuilder, source: Weighing) -> IntArray:
    """The largest magnitude of a layer's sum of products, an output channel each."""
    x = run.types[source.input.codes.edge]
    top = max(abs(x.lo - source.op.zero_point), abs(x.hi - source.op.zero_point))
    reach: IntArray = np.abs(source.op.matrix()).sum(axis=0) * top
    return reach


def sums_of(run: TensorBuilder, source: Source, by: Quantizer, out: str) -> tuple[str, WholeSums]:
    """The edge of a tensor's exact whole numbers, and what they mean."""
    match source:
        case Weighing():
            edge, scale = weighed(run, source)
            worth = scale.astype(F64)
            error = _layer_error(run, source)
            return edge, WholeSums(run.types[edge], lambda k: k * worth, error, worth.size, worth)
        case Mean():
            return _mean_sums(run, source)
        case Level():
            return _level_sums(run, source)
        case Pair():
            return _pair_sums(run, source, by, out)
        case Product():
            return _product_sums(run, source)
    raise HwsimError("it must be quantized at once")


def _layer_error(run: TensorBuilder, source: Weighing) -> Reals:
    """How far the runtime's sum of a channel may lie from the exact one, practically for certain.

    Each product and each sum is rounded by half a unit of the largest that there can be; roundings
    add up as a random walk (Higham and Mary, A new approach to probabilistic rounding error
    analysis, 2019).
    """
    if exact(run, source):
        return np.zeros(1)
    terms = np.count_nonzero(source.op.matrix(), axis=0)
    reach = _reach(run, source) * source.scale.astype(F64)
    return np.asarray((2 + np.sqrt(terms)) * UNIT * reach)


def _mean_sums(run: TensorBuilder, source: Mean) -> tuple[str, WholeSums]:
    """A sum over a window, then divided by its size."""
    if source.counts is not None:
        raise HwsimError(f"{source.name}: an average's windows must all have the same size")
    edge, size = averaged(run, source), source.window.size
    worth = source.input.factors.astype(F64)
    kind = run.types[edge]
    held = powers_of_two(source.input.factors) and _held(run, kind.magnitude)
    error = np.zeros(1) if held else (2 + np.sqrt(size)) * UNIT * kind.magnitude * worth
    by_size = Arithmetic(source.name, "div", np.array([size], F32))
    first, each = (by_size,), worth / size
    return edge, WholeSums(kind, lambda k: k * worth, error, worth.size, each, first)


def _level_sums(run: TensorBuilder, source: Level) -> tuple[str, WholeSums]:
    """Codes, dequantized."""
    if source.codes.padding != NO_PADDING:
        raise HwsimError("a Pad must be followed by a convolution")
    kind = run.types[source.codes.edge]
    factors, zero = source.factors, source.zero_point

    def reals(k: IntArray) -> Reals:
        return ((k - zero).astype(F32) * factors).astype(F64)

    return source.codes.edge, WholeSums(kind, reals, np.zeros(1), factors.size, None)


def _pair_sums(run: TensorBuilder, source: Pair, by: Quantizer, out: str) -> tuple[str, WholeSums]:
    """The sum, difference or product of two tensors of codes, in one unit."""
    a, b = source.a, source.b
    if isinstance(a, Weighing) or isinstance(b, Weighing):
        raise HwsimError(f"{source.name}: a layer's sum must be quantized before it is added")
    kinds = [run.types[level.codes.edge] for level in (a, b)]
    plain = all(kind.quant is None for kind in kinds)
    alike = a.scale == b.scale and a.zero_point == b.zero_point == 0
    edges = [a.codes.edge, b.codes.edge]
    op: Op = source.op
    of_pair: Callable[[IntArray, IntArray], IntArray] | None = None
    if isinstance(source.op, Mul):
        zeros, unit = (a.zero_point, b.zero_point), float(a.scale) * float(b.scale)
        op = op if plain else Mul(zero_points=zeros, quant=Quant((unit,)))
        edge = run.emit(source.name, op, edges, source.name)
    elif plain or alike:
        edge, unit = run.emit(source.name, op, edges, source.name), a.scale
    else:
        edge, unit, of_pair = fine_units.summed(run, source, by.scale, out)
    kind = run.types[edge]
    if plain:
        unit = 2.0**-kind.format.frac_bits
    worth = np.array([unit], F64)
    held = plain and _held(run, kind.magnitude)
    error = np.zeros(1) if held else 4 * UNIT * kind.magnitude * worth
    if of_pair is None:
        k = op.prepare(kinds, Carrier.INT64)

        def of_pair(one: IntArray, two: IntArray) -> IntArray:
            return np.asarray(op.run(np, [one, two], k))

    return edge, WholeSums(kind, lambda k: k * worth, error, 1, worth, of_pair=of_pair)


def _product_sums(run: TensorBuilder, source: Product) -> tuple[str, WholeSums]:
    """The sums of a product of two computed tensors."""
    edge = multiplied(run, source)
    kind, worth = run.types[edge], np.array([source.scale], F64)
    held = powers_of_two(np.array([source.a.scale, source.b.scale], F32))
    terms = run.types[source.a.codes.edge].channels
    error = (2 * (not held) + np.sqrt(terms)) * UNIT * kind.magnitude * worth
    if held and _held(run, kind.magnitude):
        error = np.zeros(1)
    return edge, WholeSums(kind, lambda k: k * worth, error, 1, worth)


def note_last_bits(run: TensorBuilder, real: Real) -> None:
    """Say it where the reals of a layer that nothing quantizes may have other last bits."""
    source = real.source
    if isinstance(source, Weighing) and not (exact(run, source) or rough(run, source)):
        run.warn(source.name, LAST_BITS)
    if isinstance(source, Total) and source.mean and not powers_of_two(totalled(run, source)[1]):
        run.warn(source.name, LAST_BITS)
