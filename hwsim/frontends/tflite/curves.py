"""Functions of one int8 code that kernels compute in float32 or take by a table of it.

Sources: TensorFlow Lite `lut.h`, `reference/gelu.h`, `elementwise.cc`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from hwsim.frontends.tflite import gemmlowp
from hwsim.frontends.tflite.importer import LiteImporter
from hwsim.frontends.tflite.kernels import F32, KernelSet
from hwsim.frontends.tflite.model import LiteNode, LiteQuant
from hwsim.frontends.tflite.normalization import inverse_root
from hwsim.frontends.tflite.scaled import Float64Array, away, double
from hwsim.ops.base import IntArray
from hwsim.ops.fixed_point import divide_by_power, high_product

Reals = npt.NDArray[np.float32]
LIMIT = 2.0**30  # of a function in steps, far beyond all codes
ROOT_BITS = 20  # by which a reciprocal root is shifted left
CUBIC = F32(0.044715)
"""Of the polynomial in GELU's tangent."""

STOPS = (
    "{op}: {runtime} stops with an error at codes below the zero point {zero}, of which the input "
    "may have some; here they count as it"
)

LOOKED_UP: Mapping[str, Callable[[Float64Array], Float64Array]] = {
    "ELU": lambda x: np.where(x < 0, np.expm1(x), x),
    "EXP": np.exp,
    "LOG": np.log,
}
"""Functions that kernels have as tables of float32 numbers, by operator."""


def looked_up(
    run: LiteImporter, node: LiteNode, x: IntArray, before: LiteQuant, after: LiteQuant
) -> IntArray:
    """ELU and other functions of one number; what is not defined is the least code."""
    reals = (F32(before.scale) * x.astype(F32)).astype(np.float64)
    with np.errstate(all="ignore"):
        return _steps(LOOKED_UP[node.op](reals).astype(F32), after)


def gelu(
    run: LiteImporter, node: LiteNode, x: IntArray, before: LiteQuant, after: LiteQuant
) -> IntArray:
    """GELU, by the error function or by its approximation."""
    return _steps(gelu_of(node)(F32(before.scale) * x.astype(F32)), after)


def gelu_of(node: LiteNode, beside: int = 0) -> Callable[[Reals], Reals]:
    """The function of a GELU; with another error function or tangent, so many last bits off."""
    bend = _by_tangent if node.options["approximate"] else _by_error
    return lambda reals: F32(0.5) * reals * bend(reals, beside)


def _by_error(x: Reals, beside: int) -> Reals:
    ahead = (x * F32(-math.sqrt(0.5))).astype(np.float64)
    return _moved(np.array([math.erfc(value) for value in ahead.tolist()], F32), beside)


def _by_tangent(x: Reals, beside: int) -> Reals:
    inner = F32(math.sqrt(2 / math.pi)) * (x + CUBIC * x * x * x)
    return F32(1) + _moved(np.tanh(inner.astype(np.float64)).astype(F32), beside)


def _moved(reals: Reals, beside: int) -> Reals:
    """Floats so many last bits away."""
    for _ in range(abs(beside)):
        reals = np.nextafter(reals, F32(math.copysign(math.inf, beside)))
    return reals


def _steps(values: Reals, after: LiteQuant) -> IntArray:
    """Float32 numbers in steps of the result."""
    steps = np.nan_to_num(values * (F32(1) / F32(after.scale)), nan=-LIMIT)
    return away(np.clip(steps, -LIMIT, LIMIT)) + after.zero_point


def absolute(
    run: LiteImporter, node: LiteNode, x: IntArray, before: LiteQuant, after: LiteQuant
) -> IntArray:
    """ABS, brought to the scale of the result."""
    factor = float(F32(before.scale) / F32(after.scale))
    if run.like is KernelSet.TFLM:
        factor = float(before.scale) / float(after.scale)
    return double(np.abs(x), factor) + after.zero_point


def root(
    run: LiteImporter, node: LiteNode, x: IntArray, before: LiteQuant, after: LiteQuant
) -> IntArray:
    """SQRT: what it has behind the point is cut off."""
    warn_below(run, node, before)
    reals = np.sqrt(F32(before.scale) * np.maximum(x, 0).astype(F32))
    steps = np.trunc(reals / F32(after.scale))
    return np.asarray(np.minimum(steps, LIMIT), np.int64) + after.zero_point


def reciprocal_root(
    run: LiteImporter, node: LiteNode, x: IntArray, before: LiteQuant, after: LiteQuant
) -> IntArray:
    """RSQRT in fixed point; of 0 it is the largest code."""
    warn_below(run, node, before)
    multiplier, right = inverse_root(np.maximum(x, 1))
    one = _shifted(np.ones_like(x), multiplier, ROOT_BITS - right)
    if run.like is KernelSet.TFLM:
        unit = math.sqrt(float(before.scale)) * float(after.scale)
    else:
        unit = float(np.sqrt(F32(before.scale)) * F32(after.scale))
    factor, shift = gemmlowp.multiplier(1 / unit)
    steps = _shifted(one, np.asarray(factor), np.asarray(shift - ROOT_BITS))
    return np.where(x > 0, steps + after.zero_point, int(LIMIT))


def _shifted(values: IntArray, multiplier: IntArray, shift: IntArray) -> IntArray:
    """Times a multiplier of 31 bits and a power of two: gemmlowp's two roundings."""
    high = high_product(np, values << np.maximum(shift, 0), multiplier)
    return np.asarray(divide_by_power(np, high, np.maximum(-shift, 0)), np.int64)


def warn_below(run: LiteImporter, node: LiteNode, before: LiteQuant) -> None:
    """Announce that codes of negative numbers may come, at which the runtimes stop."""
    if run.types[run.edge(node)].lo < before.zero_point:
        runtime = "TensorFlow Lite Micro" if run.like is KernelSet.TFLM else "LiteRT"
        said = STOPS.format(op=node.op, runtime=runtime, zero=before.zero_point)
        run.warn(run.label(run.made(node)), said)
