"""Max and average pooling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from hwsim.fixed import Array, Format, Namespace
from hwsim.ops.accumulate import EXACT, Accumulator
from hwsim.ops.base import Op, Quant, TensorType
from hwsim.ops.window import Window


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxPool(Op):
    """The largest code in each window; positions outside the map never win."""

    kind: ClassVar[str] = "maxpool"
    window: Window

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        """Shape (h, w, c) becomes (oh, ow, c); codes keep their type."""
        (x,) = inputs
        return x.with_shape((*self.window.output(x), x.channels))

    def bound(self, inputs: Sequence[TensorType]) -> int:
        """No code grows; padding is filled with the format's smallest code."""
        return max(inputs[0].magnitude, abs(inputs[0].format.min))

    def prepare(self, inputs: Sequence[TensorType], carrier: object) -> dict[str, int]:
        """The code that fills the padding."""
        return {"lowest": inputs[0].format.min}

    def run(self, xp: Namespace, xs: Sequence[Array], k: object) -> Array:
        """Elementwise maximum over the window's views."""
        views = self.window.views(self.window.pad(xp, xs[0], k["lowest"]))  # type: ignore[index]
        out = next(views)
        for view in views:
            out = xp.maximum(out, view)
        return out


@dataclass(frozen=True, slots=True, kw_only=True)
class AvgPool(Op):
    """The exact sum of `x - zero_point` over each window, whose unit is 1/n of the input's.

    Positions outside the map hold `zero_point` and count, so that n is always the window's size.
    """

    kind: ClassVar[str] = "avgpool"
    window: Window
    zero_point: int = 0
    accumulator: Accumulator = EXACT

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        """Shape (h, w, c) becomes (oh, ow, c); the format grows by log2 of the window's size."""
        (x,) = inputs
        n = self.window.size
        lo, hi = n * (x.lo - self.zero_point), n * (x.hi - self.zero_point)
        if any(self.window.padding):
            lo, hi = min(lo, 0), max(hi, 0)
        frac = x.format.frac_bits
        if x.quant is None and n & (n - 1) == 0:
            frac, quant = frac + n.bit_length() - 1, None
        else:
            quant = Quant(tuple(scale / n for scale in x.scales()))
        shape = (*self.window.output(x), x.channels)
        return TensorType(shape, Format.holding(lo, hi, frac), quant, (lo, hi))

    def bound(self, inputs: Sequence[TensorType]) -> int:
        """Sum of magnitudes, and the zero points apart."""
        return self.window.size * (inputs[0].magnitude + abs(self.zero_point))

    def run(self, xp: Namespace, xs: Sequence[Array], k: object) -> Array:
        """Elementwise sum over the window's views."""
        views = self.window.views(self.window.pad(xp, xs[0], self.zero_point))
        out = next(views)
        for view in views:
            out = out + view
        return out - self.window.size * self.zero_point if self.zero_point else out
