"""The sum of two quantized tensors in float32, as a runtime computes it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hwsim.fixed import Array, Format, Namespace
from hwsim.ops.base import (
    FLOATS,
    Carrier,
    Constants,
    IntArray,
    Quant,
    TensorType,
    int_array,
    require,
)
from hwsim.ops.pairs import Pairwise


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ScaledAdd(Pairwise):
    """The sum of two tensors with scales of their own, in float32 as ONNX Runtime computes it.

    `round(f32((a + sa) * ra + f32((b + sb) * rb + offset))) - so`, to nearest even, saturated:
    each product and sum is rounded once, as a fused multiply-add. `ratios` are ra and rb (float32
    values, rb below 0 for a difference), `offset` holds all zero points (a float32 value) and
    `shifts` are sa, sb and so, which
    are 128 where the runtime adds int8 codes as uint8. Source: ONNX Runtime
    `MlasQLinearAddKernelAvx2Helper`.

    With a `divisor` (a float32 value) each step is rounded, as where DequantizeLinear, Add and
    QuantizeLinear run one after the other:
    `round(f32(f32(f32((a + sa) * ra) + f32((b + sb) * rb)) / divisor)) - so`; `offset` must be 0.
    """

    kind: ClassVar[str] = "scaled_add"
    ratios: tuple[float, float]
    offset: float
    out: Format
    shifts: tuple[int, int, int] = (0, 0, 0)
    quant: Quant | None = None
    divisor: float | None = None

    def __post_init__(self) -> None:
        require(
            self.divisor is None or (self.divisor > 0 and self.offset == 0),
            f"a scaled add's divisor must be above 0 and come without an offset, not "
            f"{self.divisor} with {self.offset}",
        )
        for value in (*self.ratios, self.offset, self.divisor or 1.0):
            require(
                math.isfinite(value) and value == float(np.float32(value)),
                f"a scaled add's ratios, offset and divisor must be finite float32 values, not "
                f"{value!r}",
            )
        require(
            self.ratios[0] > 0 and self.ratios[1] != 0,
            f"a scaled add's first ratio must be above 0 and its second not 0, not {self.ratios}",
        )

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        """The format is `out`; inputs have at most 8 bits."""
        a, b = inputs
        require(
            max(a.format.width, b.format.width) <= 8,
            f"a scaled add's inputs must have at most 8 bits, not {a.format} and {b.format}",
        )
        require(
            self.adds_exactly(inputs),
            "a scaled add's ratios and offset must be near enough to add up exactly in float64, "
            f"not {self.ratios} and {self.offset}",
        )
        ends_b = (b.lo, b.hi) if self.ratios[1] > 0 else (b.hi, b.lo)
        ends = self.run(
            np,
            [np.array([a.lo, a.hi], np.float64), np.array(ends_b, np.float64)],
            self.prepare(inputs, Carrier.FLOAT64),
        )
        return TensorType(self.shape(inputs), self.out, self.quant, (int(ends[0]), int(ends[1])))

    def adds_exactly(self, inputs: Sequence[TensorType]) -> bool:
        """Whether float64 holds each product and sum that is rounded to float32."""
        grain = min(_grain(abs(value)) for value in (*self.ratios, self.offset) if value)
        factors = [t.magnitude + abs(s) for t, s in zip(inputs, self.shifts, strict=False)]
        reach = factors[0] * self.ratios[0] + factors[1] * abs(self.ratios[1]) + abs(self.offset)
        return reach < 2.0**53 * grain

    def carriers(self, inputs: Sequence[TensorType]) -> tuple[Carrier, ...]:
        """Products of an 8-bit code and a float32 are exact in float64."""
        return FLOATS[1:]

    def bound(self, inputs: Sequence[TensorType]) -> int:
        """Codes of 8 bits."""
        return 1 << 10

    def prepare(self, inputs: Sequence[TensorType], carrier: Carrier) -> Constants:
        """Plain numbers."""
        return {}

    def pair(self, xp: Namespace, a: Array, b: Array, k: Constants) -> Array:
        """Codes of `out`."""
        (ra, rb), (sa, sb, so) = self.ratios, self.shifts
        inner = xp.astype((b + sb) * rb + self.offset, xp.float32)
        if self.divisor is None:
            total = xp.astype((a + sa) * ra + xp.astype(inner, xp.float64), xp.float32)
        else:
            total = xp.astype((a + sa) * ra, xp.float32) + inner
            total = total / xp.asarray(self.divisor, dtype=xp.float32)
        y = xp.clip(xp.round(total), self.out.min + so, self.out.max + so)
        return xp.astype(y, xp.float64) - so

    def pairs(self, inputs: Sequence[TensorType]) -> IntArray:
        """The result for every pair: array (codes of a, codes of b), lowest codes first."""
        axes = [np.arange(t.format.min, t.format.max + 1).astype(np.float64) for t in inputs]
        a, b = np.meshgrid(*axes, indexing="ij")
        codes = self.run(np, [a, b], self.prepare(inputs, Carrier.FLOAT64))
        return int_array(codes.astype(np.int64), "sums")


def _grain(value: float) -> float:
    """The largest power of two that divides a float."""
    top, bottom = value.as_integer_ratio()
    return (top & -top) / bottom
