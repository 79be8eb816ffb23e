"""What share of a sum each of its terms is: the last step of TensorFlow Lite's softmax kernels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import ClassVar

from hwsim.fixed import Array, Format, Namespace, Overflow, overflow
from hwsim.ops.base import Carrier, Constants, Quant, TensorType, require, since
from hwsim.ops.fixed_point import (
    divide_by_power,
    high_product,
    reciprocal_of_half,
    saturating_left,
)
from hwsim.ops.floats import BITS, FRACTION, LARGEST, POWERS, numbers_of
from hwsim.ops.pairs import Pairwise

SUM_FRACTION = 12  # bits that terms lose before they are added, as gemmlowp's softmax does it
MOST_SUM = (1 << 31) - 1
LEAST_FLOAT = 27 << FRACTION  # the pattern of 2**-100
MOST_SHARE = 2.0**40  # far above any code


class Division(Enum):
    """How a share is computed."""

    NEWTON = "newton"  # gemmlowp: a reciprocal of 31 bits by three Newton steps
    FLOAT32 = "float32"  # float32 bit patterns: the reciprocal, then the product, each rounded


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Share(Pairwise):
    """`2**bits * term / sum`, as a kernel rounds it, and a zero point; saturates at `out`.

    By NEWTON the terms have 31 fraction bits, and the sum is that of terms without their lowest 12.
    By FLOAT32 both are bit patterns of float32 numbers, and ties go away from zero. Sources:
    gemmlowp `fixedpoint.h` (one_over_one_plus_x_for_x_in_0_1), TensorFlow Lite `softmax.h`.
    """

    kind: ClassVar[str] = "share"
    out: Format
    division: Division
    zero_point: int = 0
    quant: Quant | None = None
    bits: int = field(default=8, metadata=since(3))

    def __post_init__(self) -> None:
        require(
            self.out.min <= self.zero_point <= self.out.max,
            f"a share's zero point must be a code of {self.out}, not {self.zero_point}",
        )
        require(1 <= self.bits <= 24, f"a share's bits must be 1 to 24, not {self.bits}")

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        """Codes from the zero point up."""
        terms, total = inputs
        most = MOST_SUM if self.division is Division.NEWTON else LARGEST
        require(
            terms.lo >= 0 and total.lo >= 1 and max(terms.hi, total.hi) <= most,
            f"a share must be of terms of 0 or more in sums of 1 or more, both up to {most}, not "
            f"of terms from {terms.lo} to {terms.hi} in sums from {total.lo} to {total.hi}",
        )
        left = SUM_FRACTION + 31 - self.bits - (32 - total.lo.bit_length())
        require(
            self.division is Division.FLOAT32 or left > 0,
            f"sums of a share of 2**{self.bits} must be at least {1 << max(self.bits - 11, 0)}, "
            f"not {total.lo}, for its product to be rounded",
        )
        require(
            self.division is Division.NEWTON or terms.format == total.format == BITS,
            f"terms and sums of a share in float32 must be bit patterns, in {BITS}",
        )
        require(
            self.division is Division.NEWTON or total.lo >= LEAST_FLOAT,
            "sums of a share in float32 must be at least 2**-100, whose reciprocal is finite",
        )
        return TensorType(self.shape(inputs), self.out, self.quant, (self.zero_point, self.out.max))

    def bound(self, inputs: Sequence[TensorType]) -> int:
        """Products of 31 bits and their half step."""
        return (1 << 62) - 1 if self.division is Division.NEWTON else LARGEST

    def carriers(self, inputs: Sequence[TensorType]) -> tuple[Carrier, ...]:
        """Products of 62 bits, or the bits of patterns."""
        return (Carrier.INT64,)

    def prepare(self, inputs: Sequence[TensorType], carrier: Carrier) -> Constants:
        """What bit patterns are worth."""
        return {"powers": POWERS} if self.division is Division.FLOAT32 else {}

    def pair(self, xp: Namespace, a: Array, b: Array, k: Constants) -> Array:
        """Shares of the whole."""
        if self.division is Division.FLOAT32:
            terms, sums = (
                xp.astype(numbers_of(xp, bits, k["powers"]), xp.float32) for bits in (a, b)
            )
            one = xp.ones_like(sums)
            shares = xp.astype(terms * (one / (sums * 2.0**-self.bits)), xp.float64)
            shares = xp.minimum(shares, xp.full_like(shares, MOST_SHARE))
            whole = xp.astype(xp.floor(shares + 0.5), xp.int64)
        else:
            inverse, headroom = reciprocal(xp, b)
            right = SUM_FRACTION + 31 - self.bits - headroom
            whole = divide_by_power(xp, high_product(xp, inverse, a), right)
        return overflow(xp, whole + self.zero_point, self.out, Overflow.SAT)


def reciprocal(xp: Namespace, total: Array) -> tuple[Array, Array]:
    """gemmlowp's 1 / total for totals of up to 31 bits: 31 fraction bits, and the bits above it."""
    headroom = xp.zeros_like(total)
    for step in (16, 8, 4, 2, 1):
        small = xp.astype(total < (1 << 32 - step), xp.int64)
        total = total << (small * step)
        headroom = headroom + small * step
    half = total >> 1  # (1 + x) / 2 of the normalized 1 + x
    return saturating_left(xp, reciprocal_of_half(xp, half), 1), headroom
