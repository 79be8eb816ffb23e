"""Requantizers of integer schemes by one or two products of float64, proved equal code by code.

gemmlowp's and ruy's roundings take a dozen passes over products of 62 bits. Products of float64 are
rounded too, but a requantizer to few bits is no more than its thresholds: where a float form has
those of the scheme's own steps on the whole proven range, its codes are the same everywhere. Each
step of a float form rises with its operand, as IEEE 754 rounds, so that nothing else can differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from hwsim.emulator.kernels import Allows, CarrierForm, Kernel, Kernels
from hwsim.errors import HwsimError
from hwsim.fixed import Array, Namespace
from hwsim.forms.thresholds import thresholds
from hwsim.ops import Carrier, Requantize, Scheme, TensorType
from hwsim.ops.base import Constants, IntArray

MOST_CODES = 1 << 12  # beyond which thresholds cost more than they spare
AWAY = 1 + 2.0**-40  # takes a tie away from zero, and passes nothing else of a few bits
TO_WHOLE = 1.5 * 2.0**52  # a float64 near it is a whole number: the nearest, ties to even


@dataclass(frozen=True, slots=True)
class InFloats:
    """A requantizer with the constants of a float form, as `StepFunction.equal` tries it."""

    op: Requantize
    constants: Constants

    def run(self, x: IntArray) -> IntArray:
        """The codes of `x`, whose last axis is the channels."""
        codes = in_floats(self.op, np, [x.astype(np.float64)], self.constants)
        return np.asarray(codes).astype(np.int64)


def in_floats(op: Requantize, xp: Namespace, xs: Sequence[Array], k: Constants) -> Array:
    """A product, its rounding, where there is a second factor both again; then as all schemes.

    In one array of float64: new memory costs more than arithmetic. Float32 holds all codes that do
    not saturate.
    """
    x = xs[0] - op.input_zero_point if op.input_zero_point else xs[0]
    y = x * k["factor"]
    if "offset" in k:
        y += k["offset"]
    y += TO_WHOLE
    y -= TO_WHOLE
    if "second" in k:
        y *= k["second"]
        y += TO_WHOLE
        y -= TO_WHOLE
    y = xp.astype(y, xp.float32)
    y = xp.clip(y, op.out.min - op.zero_point, op.out.max - op.zero_point)
    if op.zero_point:
        y += op.zero_point
    return y


def proved(op: Requantize, inputs: Sequence[TensorType]) -> CarrierForm | None:
    """The carriers of a float form that has the codes on the whole range, if there is one."""
    (x,) = inputs
    if form(op, x.lo, x.hi) is None:
        return None
    short = x.magnitude + abs(op.input_zero_point) < Carrier.FLOAT32.limit
    reads = Carrier.FLOAT32 if short else Carrier.FLOAT64
    return CarrierForm(reads, Carrier.FLOAT64, Carrier.FLOAT32)


def constants(op: Requantize, inputs: Sequence[TensorType], _: CarrierForm) -> Constants:
    """Those of the float form that is proved."""
    found = form(op, inputs[0].lo, inputs[0].hi)
    assert found is not None
    return found


KERNELS: Kernels = {
    Requantize: Kernel(run=in_floats, prepare=constants, proved=proved, allows=Allows(moves=True))
}
"""What a CPU computes otherwise than an operator's own text."""


@lru_cache(maxsize=1024)
def form(op: Requantize, lo: int, hi: int) -> Constants | None:
    """The constants of the first float form with the thresholds of `op` on lo..hi."""
    top = max(abs(lo - op.input_zero_point), abs(hi - op.input_zero_point))
    codes = op.out.max - op.out.min
    if codes >= MOST_CODES or top >= Carrier.FLOAT64.limit:
        return None
    tries = list(candidates(op))
    if not tries:
        return None
    steps = thresholds(op, lo, hi)
    return next((k for k in tries if steps.equal(InFloats(op, k))), None)


def candidates(op: Requantize) -> Iterator[dict[str, Any]]:
    """Constants to try, the fewest passes first."""
    if op.scheme not in PARTS:
        return
    try:
        m, right = op.reduced_point() if op.scheme is Scheme.REDUCED else _parts(op)
    except HwsimError:
        return  # the operator says so itself
    factor = np.ldexp(m.astype(np.float64), -right)
    last = np.ldexp((m & -m).astype(np.float64), -right - 1)  # half a step of the products
    match op.scheme:
        case Scheme.HALF_AWAY:
            yield {"factor": factor * AWAY}
        case Scheme.SINGLE | Scheme.REDUCED:
            yield {"factor": factor, "offset": last}
        case Scheme.RUY:
            first = np.where(right > 31, np.ldexp(1.0, 30 - right), 0.0)
            yield {"factor": factor, "offset": first + last}
        case _:
            down = np.maximum(right - 31, 0)
            first = np.ldexp(m.astype(np.float64), down - right)
            second = np.ldexp(AWAY, -down)
            yield {"factor": first, "second": second}
            yield {"factor": first, "offset": 2.0**-32, "second": second}


PARTS = (Scheme.GEMMLOWP_DOUBLE, Scheme.RUY, Scheme.HALF_AWAY, Scheme.SINGLE, Scheme.REDUCED)


def _parts(op: Requantize) -> tuple[IntArray, IntArray]:
    """Multipliers as m * 2**-right."""
    m, s = op.fixed_point()
    return m, 31 - s
