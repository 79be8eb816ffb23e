"""One over the square root of each code."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from hwsim.fixed import Array, Format, Namespace
from hwsim.ops.base import MOST_BITS, Carrier, Constants, Op, Quant, TensorType, require


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Rsqrt(Op):
    """`2**bits / sqrt(code + offset)`, to the nearest whole number, ties to even.

    Codes must be 0 or more and `offset` above 0. Each step of the definition is rounded to float64
    (the sum, its root, the quotient), so that every backend gives the same code.
    """

    kind: ClassVar[str] = "rsqrt"
    offset: float
    bits: int
    quant: Quant | None = None

    def __post_init__(self) -> None:
        require(
            math.isfinite(self.offset) and self.offset > 0,
            f"the offset under a square root must be a finite number above 0, not {self.offset}",
        )
        require(
            0 <= self.bits <= MOST_BITS,
            f"a reciprocal root's bits must be from 0 to {MOST_BITS}, not {self.bits}",
        )

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        """The shape stays; the codes fall as the input's rise."""
        (x,) = inputs
        require(x.lo >= 0, f"the codes under a square root must be 0 or more, not from {x.lo} on")
        lo, hi = self.code(x.hi), self.code(x.lo)
        require(hi < 1 << 53, f"a reciprocal root must have at most 53 bits, not {hi.bit_length()}")
        return TensorType(x.shape, Format.holding(lo, hi), self.quant, (lo, hi))

    def code(self, code: int) -> int:
        """The result for one code."""
        return round(2.0**self.bits / math.sqrt(float(code) + self.offset))

    def bound(self, inputs: Sequence[TensorType]) -> int:
        """Codes on either side."""
        return max(inputs[0].magnitude, self.code(inputs[0].lo))

    def carriers(self, inputs: Sequence[TensorType]) -> tuple[Carrier, ...]:
        """Float64, which its definition is in, or codes that become such."""
        return (Carrier.FLOAT64, Carrier.INT64)

    def run(self, xp: Namespace, xs: Sequence[Array], k: Constants) -> Array:
        """A root and a quotient."""
        wide = xp.astype(xs[0], xp.float64)
        found = xp.round(2.0**self.bits / xp.sqrt(wide + self.offset))
        return xp.astype(found, xs[0].dtype)
