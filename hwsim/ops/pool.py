"""Max and average pooling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hwsim.fixed import Array, Format, Namespace
from hwsim.ops.accumulate import EXACT, Accumulator, Steps, Stepwise
from hwsim.ops.base import MOVING_CARRIERS, Carrier, Constants, Op, Quant, TensorType, require
from hwsim.ops.window import Window


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class MaxPool(Op):
    """The largest code in each window; positions outside the map never win."""

    kind: ClassVar[str] = "maxpool"
    window: Window

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        """Shape (..., c) becomes (the window's positions, c); codes keep their type."""
        (x,) = inputs
        return x.with_shape((*self.window.output(x), x.channels))

    def bound(self, inputs: Sequence[TensorType]) -> int:
        """No code grows; padding is filled with the format's smallest code."""
        return max(inputs[0].magnitude, abs(inputs[0].format.min))

    def carriers(self, inputs: Sequence[TensorType]) -> tuple[Carrier, ...]:
        """Codes are compared."""
        return MOVING_CARRIERS

    def prepare(self, inputs: Sequence[TensorType], carrier: Carrier) -> Constants:
        """The code that fills the padding."""
        return {"lowest": inputs[0].format.min}

    def run(self, xp: Namespace, xs: Sequence[Array], k: Constants) -> Array:
        """Elementwise maxima along one axis after the other."""
        out = self.window.pad(xp, xs[0], k["lowest"])
        for axis in range(1, out.ndim - 1):
            views = self.window.lines(out, axis)
            out = next(views)
            for view in views:
                out = xp.maximum(out, view)
        return out


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class AvgPool(Op):
    """The sum of `x - zero_point` over each window.

    With an exact accumulator the unit of the sum is 1/n of the input's, which makes it the mean;
    positions outside the map hold `zero_point` and count, so that n is the window's size. With a
    step-wise one each code and each partial sum is cast to its format, row by row, and the result
    is the plain sum, for a `Divide` to follow.
    """

    kind: ClassVar[str] = "avgpool"
    window: Window
    zero_point: int = 0
    accumulator: Accumulator = EXACT

    def __post_init__(self) -> None:
        acc = self.accumulator
        require(
            not isinstance(acc, Stepwise) or acc.order is None,
            "an average pool's accumulator must add row by row, in no order of its own",
        )

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        """Shape (..., c) becomes (positions, c); the format grows by log2 of the window's size."""
        (x,) = inputs
        shape = (*self.window.output(x), x.channels)
        if isinstance(self.accumulator, Stepwise):
            return TensorType(shape, self.accumulator.format, None, self.steps(x).range)
        require(
            x.format.min <= self.zero_point <= x.format.max,
            f"an average pool's zero_point must be a code of {x.format}, not {self.zero_point}",
        )
        n = self.window.size
        lo, hi = n * (x.lo - self.zero_point), n * (x.hi - self.zero_point)
        if any(self.window.padding):
            lo, hi = min(lo, 0), max(hi, 0)
        frac = x.format.frac_bits
        if x.quant is None and n & (n - 1) == 0:
            frac, quant = frac + n.bit_length() - 1, None
        else:
            quant = Quant(tuple(scale / n for scale in x.scales()))
        return TensorType(shape, Format.holding(lo, hi, frac), quant, (lo, hi))

    def bound(self, inputs: Sequence[TensorType]) -> int:
        """Sum of magnitudes, and the zero points apart."""
        if isinstance(self.accumulator, Stepwise):
            return self.steps(inputs[0]).bound(inputs[0].magnitude)
        return self.window.size * (inputs[0].magnitude + abs(self.zero_point))

    def run(self, xp: Namespace, xs: Sequence[Array], k: Constants) -> Array:
        """Elementwise sum over the window's views."""
        if "steps" in k:
            return self._run_steps(xp, xs[0], k)
        views = self.window.views(self.window.pad(xp, xs[0], self.zero_point))
        out = next(views)
        for view in views:
            out = out + view
        return out - self.window.size * self.zero_point if self.zero_point else out

    def prepare(self, inputs: Sequence[TensorType], carrier: Carrier) -> Constants:
        """The steps, if there are any."""
        if not isinstance(self.accumulator, Stepwise):
            return {}
        steps = self.steps(inputs[0])
        return {"steps": steps, **steps.prepare(carrier)}

    def steps(self, x: TensorType) -> Steps:
        """A window's sum as a sum of products with 1."""
        acc = self.accumulator
        require(
            isinstance(acc, Stepwise) and self.zero_point == 0 and x.quant is None,
            "a step-wise accumulator's input must have a power-of-two format and zero point 0",
        )
        assert isinstance(acc, Stepwise)
        ones = np.ones((self.window.size, 1), np.int64)
        drop = x.format.frac_bits - acc.format.frac_bits
        lo, hi = (min(x.lo, 0), max(x.hi, 0)) if any(self.window.padding) else (x.lo, x.hi)
        return Steps(acc, ones, np.zeros(1, np.int64), drop, lo, hi)

    def _run_steps(self, xp: Namespace, x: Array, k: Constants) -> Array:
        views = list(self.window.views(self.window.pad(xp, x, 0)))
        columns = xp.reshape(xp.stack(views, axis=-1), (-1, len(views)))
        return xp.reshape(k["steps"].run(xp, columns, k), views[0].shape)
