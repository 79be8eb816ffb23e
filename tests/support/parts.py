"""An operator that is not in the catalogue, with two outputs: what a user might add."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from hwsim.fixed import Array, Format, Namespace
from hwsim.ops import Op, TensorType
from hwsim.ops.base import Constants


@dataclass(frozen=True, slots=True, repr=False)
class LowBits(Op):
    """What of each code lies above its `bits` lowest bits, and those bits."""

    kind: ClassVar[str] = "low_bits"
    bits: int

    def infer(self, inputs: Sequence[TensorType]) -> tuple[TensorType, TensorType]:
        """The shape stays; the two need all bits between them."""
        (x,) = inputs
        high = x.lo >> self.bits, x.hi >> self.bits
        low = Format.uint(self.bits)
        return TensorType(x.shape, Format.holding(*high), None, high), TensorType(x.shape, low)

    def bound(self, inputs: Sequence[TensorType]) -> int:
        """Nothing grows."""
        return max(inputs[0].magnitude, 1 << self.bits)

    def run(self, xp: Namespace, xs: Sequence[Array], k: Constants) -> tuple[Array, Array]:
        """A floor division, and what it leaves."""
        high = xs[0] // (1 << self.bits)
        return high, xs[0] - high * (1 << self.bits)
