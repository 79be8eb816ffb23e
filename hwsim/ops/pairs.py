"""Operators on pairs of codes, whose tensors broadcast as in NumPy."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import ClassVar

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Array, Format, Namespace
from hwsim.ops.base import (
    MOVING_CARRIERS,
    Carrier,
    Constants,
    Op,
    Quant,
    Range,
    Shape,
    TensorType,
    Work,
    require,
)


class Pairwise(Op):
    """The shared base of functions of two codes, one from each of two tensors.

    Shapes (without the batch) broadcast as in NumPy: from the last axis on, an axis that is 1 long
    or missing is repeated.
    """

    arity: ClassVar[int] = 2

    @abstractmethod
    def pair(self, xp: Namespace, a: Array, b: Array, k: Constants) -> Array:
        """The output's codes, of arrays that broadcast against each other."""

    def shape(self, inputs: Sequence[TensorType]) -> Shape:
        """The output's shape; HwsimError where the inputs' do not broadcast."""
        a, b = (t.shape for t in inputs)
        try:
            return tuple(int(size) for size in np.broadcast_shapes(a, b))
        except ValueError:
            raise HwsimError(
                f"the inputs of {self.kind} must have shapes that broadcast, not {a} and {b}"
            ) from None

    def run(self, xp: Namespace, xs: Sequence[Array], k: Constants) -> Array:
        """Both with as many axes, then code by code."""
        rank = max(x.ndim for x in xs)
        a, b = (x if x.ndim == rank else _with_rank(xp, x, rank) for x in xs)
        return self.pair(xp, a, b, k)


def _with_rank(xp: Namespace, x: Array, rank: int) -> Array:
    """With axes of 1 behind the batch's."""
    return xp.reshape(x, (x.shape[0], *(1,) * (rank - x.ndim), *x.shape[1:]))


class Aligned(Pairwise):
    """The shared base of what two tensors' codes can be read for at one binary point.

    Formats are powers of two, or both tensors have one scale. Of two with one scale, binary points
    say how many of its steps a code is worth: front ends bring layers' sums to one fine unit so,
    and saved graphs hold such sums.
    """

    def aligned(self, inputs: Sequence[TensorType]) -> tuple[Range, Range]:
        """Bounds of both tensors' codes at the finer binary point."""
        a, b = ((t.lo << left, t.hi << left) for t, left in zip(inputs, lefts(inputs), strict=True))
        return a, b

    def bound(self, inputs: Sequence[TensorType]) -> int:
        """The sum of both magnitudes at the finer binary point."""
        return sum(max(abs(lo), abs(hi)) for lo, hi in self.aligned(inputs))

    def prepare(self, inputs: Sequence[TensorType], carrier: Carrier) -> Constants:
        """Left shifts, as factors, that align the binary points."""
        return {"factors": [1 << left for left in lefts(inputs)]}

    def run(self, xp: Namespace, xs: Sequence[Array], k: Constants) -> Array:
        """Aligned, then code by code."""
        aligned = [x if f == 1 else x * f for x, f in zip(xs, k["factors"], strict=True)]
        return Pairwise.run(self, xp, aligned, k)


def lefts(inputs: Sequence[TensorType]) -> list[int]:
    """By how many bits the codes of each tensor must go left to the finest binary point."""
    frac = max(t.format.frac_bits for t in inputs)
    return [frac - t.format.frac_bits if t.magnitude else 0 for t in inputs]  # 0 stays 0


class Summing(Aligned):
    """The shared base of exact sums."""

    sign: ClassVar[int]  # of the second tensor

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        """Full precision: the finer binary point and one more bit where it is needed."""
        a, b = inputs
        alike = self.sign < 0 and a.format.frac_bits == b.format.frac_bits
        require(
            a.quant == b.quant and (a.zero_point == 0 or alike),
            f"the inputs of an exact {self.kind} must have one scale and zero point 0; rescale "
            "them first",
        )
        quant = a.quant if a.quant is None else replace(a.quant, zero_point=0)
        frac = max(a.format.frac_bits, b.format.frac_bits)
        (a_lo, a_hi), other = self.aligned(inputs)
        b_lo, b_hi = sorted(self.sign * end for end in other)
        lo, hi = a_lo + b_lo, a_hi + b_hi
        return TensorType(self.shape(inputs), Format.holding(lo, hi, frac), quant, (lo, hi))

    def pair(self, xp: Namespace, a: Array, b: Array, k: Constants) -> Array:
        """Sum or difference."""
        return a + b if self.sign > 0 else a - b


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Add(Summing):
    """The exact sum of two tensors with power-of-two formats (or one common scale)."""

    kind: ClassVar[str] = "add"
    sign: ClassVar[int] = 1


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Sub(Summing):
    """The exact difference of two tensors, the first less the second, as far as an Add goes.

    Zero points that are alike go, at one binary point.
    """

    kind: ClassVar[str] = "sub"
    sign: ClassVar[int] = -1


class Choosing(Aligned):
    """The shared base of the larger or the smaller of two codes."""

    larger: ClassVar[bool]

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        """The format of both, or where they differ one that holds all codes at the finer point."""
        a, b = inputs
        points = a.format.frac_bits, b.format.frac_bits
        require(
            a.quant == b.quant and (a.zero_point == 0 or points[0] == points[1]),
            f"the inputs of a {self.kind} must have one scale and zero point; rescale them first",
        )
        choose = max if self.larger else min
        lo, hi = (choose(ends) for ends in zip(*self.aligned(inputs), strict=True))
        fmt = a.format if a.format == b.format else Format.holding(lo, hi, max(points))
        return TensorType(self.shape(inputs), fmt, a.quant, (lo, hi))

    def bound(self, inputs: Sequence[TensorType]) -> int:
        """The larger magnitude at the finer binary point."""
        return max(max(abs(lo), abs(hi)) for lo, hi in self.aligned(inputs))

    def carriers(self, inputs: Sequence[TensorType]) -> tuple[Carrier, ...]:
        """Codes are only compared."""
        return MOVING_CARRIERS

    def pair(self, xp: Namespace, a: Array, b: Array, k: Constants) -> Array:
        """One function of the namespace."""
        return xp.maximum(a, b) if self.larger else xp.minimum(a, b)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Maximum(Choosing):
    """The larger of two codes, whose tensors have one scale and zero point, or powers of two."""

    kind: ClassVar[str] = "maximum"
    larger: ClassVar[bool] = True


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Minimum(Choosing):
    """The smaller of two codes, whose tensors have one scale and zero point, or powers of two."""

    kind: ClassVar[str] = "minimum"
    larger: ClassVar[bool] = False


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Mul(Pairwise):
    """The exact product of the codes of two tensors, each less its zero point.

    Formats are powers of two, or `quant` says what the codes of the result mean.
    """

    kind: ClassVar[str] = "mul"
    zero_points: tuple[int, int] = (0, 0)
    quant: Quant | None = None

    def __post_init__(self) -> None:
        zeros = self.zero_points
        require(
            len(zeros) == 2 and all(isinstance(zero, Integral) for zero in zeros),
            f"a product's zero points must be two codes, not {zeros}",
        )

    def centred(self, inputs: Sequence[TensorType]) -> list[Range]:
        """Bounds of both factors."""
        pairs = zip(inputs, self.zero_points, strict=True)
        return [(x.lo - zero, x.hi - zero) for x, zero in pairs]

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        """Full precision: fraction bits add up."""
        require(
            self.quant is not None or all(x.quant is None for x in inputs),
            "a product's inputs must have power-of-two formats, or its codes a meaning (quant)",
        )
        a, b = self.centred(inputs)
        ends = [p * q for p in a for q in b]
        lo, hi = min(ends), max(ends)
        fmt = Format.holding(lo, hi, sum(x.format.frac_bits for x in inputs))
        return TensorType(self.shape(inputs), fmt, self.quant, (lo, hi))

    def bound(self, inputs: Sequence[TensorType]) -> int:
        """Codes, factors or their product."""
        a, b = (max(abs(lo), abs(hi)) for lo, hi in self.centred(inputs))
        return max(a, b, a * b, *(x.magnitude for x in inputs))

    def pair(self, xp: Namespace, a: Array, b: Array, k: Constants) -> Array:
        """A product; zero points of 0 cost nothing."""
        a, b = (x - zero if zero else x for x, zero in zip((a, b), self.zero_points, strict=True))
        return a * b

    def work(self, inputs: Sequence[TensorType]) -> Work:
        """One multiplication a code."""
        size = self.infer(inputs).size
        return Work(macs=size, activations=size)
