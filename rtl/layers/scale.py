"""Batch norms and divisions by constants, as multiplications."""

from __future__ import annotations

from functools import cached_property

from hwsim.fixed import Rounding
from hwsim.forms.requantizers import Affine, Output
from hwsim.ops import BatchNorm, Divide, TensorType
from rtl.layers.rescale import ByLimbs, Pipelined, Rescaled, Serially


class Normalizing(Rescaled):
    """A batch norm: a multiplication and an addition with the constants of each channel."""

    @cached_property
    def form(self) -> Affine:
        """Exact."""
        return batchnorm_form(self.task.op, self.task.x)


class Normalized(Pipelined, Normalizing):
    """A code a lane and cycle."""


class NormalizedSerially(Serially, Normalizing):
    """Shift and add."""


class NormalizedByLimbs(ByLimbs, Normalizing):
    """A multiplier a lane, used several times for a code."""


class Dividing(Rescaled):
    """A division by constants, toward zero: a multiplication by their reciprocals."""

    @cached_property
    def form(self) -> Affine:
        """Exact on the proven range."""
        return divide_form(self.task.op, self.task.x)

    @property
    def period(self) -> int:
        """One divisor, or one for each position of the map."""
        return self.task.x.channels if len(self.form.m) == 1 else self.task.x.size


class Divided(Pipelined, Dividing):
    """A code a lane and cycle."""


class DividedSerially(Serially, Dividing):
    """Shift and add."""


class DividedByLimbs(ByLimbs, Dividing):
    """A multiplier a lane, used several times for a code."""


def batchnorm_form(op: BatchNorm, x: TensorType) -> Affine:
    """A multiplication and an addition with the constants of each channel."""
    scale, bias, _ = op.aligned(x)
    return Affine(
        m=tuple(scale.tolist()),
        r=tuple(bias.tolist()),
        shift=(0,),
        rounding=Rounding.TRN,
        out=Output(format=op.infer([x]).format),
    )


def divide_form(op: Divide, x: TensorType) -> Affine:
    """Multiplication by a reciprocal that is exact on the proven range, truncated toward zero.

    With `m` the reciprocal rounded up and `e = n * m - 2**s`, `x * m / 2**s` exceeds `x / n` by
    less than 1 / n, hence by too little to reach a whole number, as long as `|x| * e < 2**s`.
    """
    divisors = [int(n) for n in op.divisors.reshape(-1)]
    shift = 0
    while any((-(1 << shift) % n) * x.magnitude >= 1 << shift for n in divisors):
        shift += 1
    factors = [-(-(1 << shift) // n) for n in divisors for _ in range(x.channels)]
    return Affine(
        m=(factors[0],) if len(set(factors)) == 1 else tuple(factors),
        r=(0,),
        shift=(shift,),
        rounding=Rounding.TRN,
        out=Output(format=op.infer([x]).format),
        split=0,
        r_below=((1 << shift) - 1,),
    )
