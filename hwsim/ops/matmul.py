"""The product of two tensors of matrices, both of which are computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import ClassVar

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Array, Format, Namespace
from hwsim.ops.base import Constants, Op, Quant, Range, Shape, TensorType, Work, require


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class MatMul(Op):
    """The exact product of matrices (..., m, k) and (..., k, n), each less its zero point.

    The axes ahead of the matrices' broadcast as in NumPy. Formats are powers of two, or `quant`
    says what the codes of the result mean.
    """

    kind: ClassVar[str] = "matmul"
    arity: ClassVar[int] = 2
    zero_points: tuple[int, int] = (0, 0)
    quant: Quant | None = None

    def __post_init__(self) -> None:
        zeros = self.zero_points
        require(
            len(zeros) == 2 and all(isinstance(zero, Integral) for zero in zeros),
            f"a matrix product's zero points must be two codes, not {zeros}",
        )

    def shape(self, inputs: Sequence[TensorType]) -> Shape:
        """The output's shape; HwsimError where the inputs' do not fit."""
        a, b = (t.shape for t in inputs)
        require(
            min(len(a), len(b)) >= 2 and a[-1] == b[-2],
            f"a matrix product must be of shapes (..., m, k) and (..., k, n), not {a} and {b}",
        )
        try:
            outer = np.broadcast_shapes(a[:-2], b[:-2])
        except ValueError:
            raise HwsimError(
                "the axes ahead of a matrix product's matrices must broadcast, not be "
                f"{a[:-2]} and {b[:-2]}"
            ) from None
        return (*(int(size) for size in outer), a[-2], b[-1])

    def centred(self, inputs: Sequence[TensorType]) -> list[Range]:
        """Bounds of the codes of both, less their zero points."""
        pairs = zip(inputs, self.zero_points, strict=True)
        return [(x.lo - zero, x.hi - zero) for x, zero in pairs]

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        """Full precision: fraction bits add up, the format holds every sum of k products."""
        require(
            all(len(x.scales()) == 1 for x in inputs),
            "a matrix product's inputs must have one scale each",
        )
        require(
            self.quant is not None or all(x.quant is None for x in inputs),
            "a matrix product's inputs must have power-of-two formats, or its codes a meaning "
            "(quant)",
        )
        shape, terms = self.shape(inputs), inputs[0].shape[-1]
        a, b = self.centred(inputs)
        ends = [terms * p * q for p in a for q in b]
        lo, hi = min(ends), max(ends)
        fmt = Format.holding(lo, hi, sum(x.format.frac_bits for x in inputs))
        return TensorType(shape, fmt, self.quant, (lo, hi))

    def bound(self, inputs: Sequence[TensorType]) -> int:
        """Codes, factors, or the sum of the magnitudes of all products."""
        a, b = (max(abs(lo), abs(hi)) for lo, hi in self.centred(inputs))
        return max(a, b, inputs[0].shape[-1] * a * b, *(x.magnitude for x in inputs))

    def run(self, xp: Namespace, xs: Sequence[Array], k: Constants) -> Array:
        """One batched product; zero points of 0 cost nothing."""
        a, b = (x - zero if zero else x for x, zero in zip(xs, self.zero_points, strict=True))
        rank = max(a.ndim, b.ndim)
        a, b = (
            x
            if x.ndim == rank
            else xp.reshape(x, (x.shape[0], *(1,) * (rank - x.ndim), *x.shape[1:]))
            for x in (a, b)
        )
        return xp.matmul(a, b)

    def work(self, inputs: Sequence[TensorType]) -> Work:
        """One multiplication a term of each sum."""
        size = self.infer(inputs).size
        return Work(macs=size * inputs[0].shape[-1], activations=size)
