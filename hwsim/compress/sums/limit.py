"""Weights with which no sum of any input leaves its bounds: the nearest ones, real and whole.

That bounds of the weights' absolute sum prove so is the idea of Colbert et al. 2023 (A2Q, arXiv
2308.13504), that positive and negative weights have bounds of their own that of A2Q+ (2024, arXiv
2401.10432). Here the bounds are those of each channel with its bias, and weights are pulled inside
by Euclidean projection (Duchi et al. 2008) after every step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hwsim.compress.sums.width import SumWidth
from hwsim.errors import HwsimError
from hwsim.fixed import Array, Namespace
from hwsim.ops import TensorType, Weighted

Change = Callable[[Namespace, Array, Array], Array]


@dataclass(frozen=True, slots=True, kw_only=True)
class SumLimit:
    """Bounds of a layer's sums, and how far its inputs lie from zero, in units of the sum.

    An input less its zero point, times a weight of 1, is from `-below` to `above`.
    """

    least: int
    most: int
    below: int
    above: int

    @classmethod
    def of(cls, name: str, op: Weighted, x: TensorType, width: SumWidth) -> SumLimit:
        """Of the layer `name` for inputs of type `x`; HwsimError where no product of 1 fits."""
        reach, finer = op.reach(x), op.aligned(x)[2] - x.format.frac_bits
        step = 1 << (finer - op.weight_format.frac_bits)
        above, below = (reach.hi - op.zero_point) * step, (op.zero_point - reach.lo) * step
        (least, most), furthest = width.ends, max(above, below)
        if furthest > most:
            raise HwsimError(
                f"the accumulator of node {name!r} must have at least {furthest.bit_length() + 1} "
                f"bits, which its inputs of up to {furthest:,} steps need, not {width.bits}"
            )
        return cls(least=least, most=most, below=max(below, 0), above=max(above, 0))

    def pulled(self, xp: Namespace, steps: Array, bias: Array) -> Array:
        """The nearest real weights that keep the bounds.

        `steps` (terms, outputs) are float64 numbers of code steps, `bias` (outputs,) whole numbers
        between the bounds.
        """
        return self._each(xp, steps, bias, _pulled)

    def rounded(self, xp: Namespace, steps: Array, bias: Array) -> Array:
        """The nearest whole weights, but for those that must be rounded down to keep the bounds."""
        return self._each(xp, self.pulled(xp, steps, bias), bias, _rounded)

    def _each(self, xp: Namespace, steps: Array, bias: Array, change: Change) -> Array:
        """Change positive and negative weights; together where inputs have both signs."""
        room, reach = (self.most - bias, bias - self.least), max(self.above, self.below)
        if reach == 0:
            return steps if change is _pulled else xp.round(steps)
        if self.above and self.below:
            allowed = xp.floor(xp.minimum(*room) / reach)
            return xp.sign(steps) * change(xp, xp.abs(steps), allowed)
        up, down = room if self.above else room[::-1]
        zero = xp.zeros_like(steps)
        positive = change(xp, xp.maximum(steps, zero), xp.floor(up / reach))
        return positive - change(xp, xp.maximum(-steps, zero), xp.floor(down / reach))


def _pulled(xp: Namespace, sizes: Array, most: Array) -> Array:
    """The nearest numbers from 0 up whose sum is at most `most`, column by column."""
    falling = -xp.sort(-sizes, axis=0)
    over = xp.cumulative_sum(falling, axis=0) - most
    counts = xp.cumulative_sum(xp.ones_like(sizes), axis=0)
    less = xp.max(over / counts, axis=0)
    zero = xp.zeros_like(sizes)
    return xp.maximum(sizes - xp.maximum(less, xp.zeros_like(less)), zero)


def _rounded(xp: Namespace, sizes: Array, most: Array) -> Array:
    """Whole numbers of that sum at most; of those rounded up the furthest go down first."""
    near = xp.round(sizes)
    excess = xp.sum(near, axis=0) - most
    order = xp.argsort(sizes - near, axis=0, stable=True)
    rank = xp.argsort(order, axis=0, stable=True)
    return near - xp.astype(rank < excess, near.dtype)
