"""A constant code around a tensor, and between its codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import ClassVar

from hwsim.fixed import Array, Namespace
from hwsim.ops.base import Constants, Shape, TensorType, require
from hwsim.ops.shape import Moving


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Pad(Moving):
    """More indices on each axis, that hold `code`: some before, some after, some between any two.

    `before`, `after` and `between` have a number for each axis but the batch; none of them means 0.
    """

    kind: ClassVar[str] = "pad"
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()
    between: tuple[int, ...] = ()
    code: int = 0

    def __post_init__(self) -> None:
        numbers = (*self.before, *self.after, *self.between)
        require(
            all(isinstance(number, Integral) for number in (self.code, *numbers)),
            f"a pad's amounts and code must be whole numbers, not {self.before}, {self.after}, "
            f"{self.between} and {self.code!r}",
        )
        require(
            min(numbers, default=0) >= 0,
            f"a pad's amounts must be 0 or more, not {self.before}, {self.after} and "
            f"{self.between}",
        )

    def amounts(self, x: TensorType) -> list[tuple[int, int, int]]:
        """What comes before, after and between the indices of each axis of `x`."""
        none = (0,) * len(x.shape)
        given = [numbers or none for numbers in (self.before, self.after, self.between)]
        require(
            all(len(numbers) == len(x.shape) for numbers in given),
            f"a pad of {x.shape} must have {len(x.shape)} amounts each, not {self.before}, "
            f"{self.after} and {self.between}",
        )
        return list(zip(*given, strict=True))

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        """Longer axes; `code` may occur besides. More channels must have one scale for all."""
        (x,) = inputs
        require(
            x.format.min <= self.code <= x.format.max,
            f"a pad's code must be one of {x.format}, not {self.code}",
        )
        amounts = self.amounts(x)
        require(
            len(x.scales()) == 1 or not any(amounts[-1]),
            "a tensor with a scale for each channel must get no more channels by a pad",
        )
        lo, hi = min(x.lo, self.code), max(x.hi, self.code)
        same = not any(map(any, amounts))
        return x if same else x.with_shape(self.padded(x)).with_range(lo, hi)

    def padded(self, x: TensorType) -> Shape:
        """The shape of what comes out."""
        return tuple(
            before + size + (size - 1) * between + after
            for size, (before, after, between) in zip(x.shape, self.amounts(x), strict=True)
        )

    def bound(self, inputs: Sequence[TensorType]) -> int:
        """Nothing grows, but the code comes in."""
        return max(inputs[0].magnitude, abs(self.code))

    def run(self, xp: Namespace, xs: Sequence[Array], k: Constants) -> Array:
        """An array of the code, and one assignment."""
        x = xs[0]
        none = (0,) * (x.ndim - 1)
        before, after, between = (
            numbers or none for numbers in (self.before, self.after, self.between)
        )
        ends = [
            (b, b + (n - 1) * (g + 1) + 1, a, g + 1)
            for n, b, a, g in zip(x.shape[1:], before, after, between, strict=True)
        ]
        shape = (x.shape[0], *(end + rest for _, end, rest, _ in ends))
        out = xp.full(shape, self.code, dtype=x.dtype)
        out[(slice(None), *(slice(first, end, step) for first, end, _, step in ends))] = x
        return out
