"""A factor and an offset for each channel, and the division of an average pool that truncates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from hwsim.fixed import Array, Format, Namespace, is_float
from hwsim.ops.base import (
    LATER,
    Carrier,
    Constants,
    IntArray,
    Op,
    Quant,
    TensorType,
    Work,
    int_array,
    require,
    shift_left,
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class BatchNorm(Op):
    """`x * scale[c] + bias[c]` at full precision.

    `scale` holds codes of `scale_format`, `bias` codes with `bias_frac` fraction bits, one a
    channel. Formats are powers of two, or `quant` says what the codes of the result mean.
    """

    kind: ClassVar[str] = "batchnorm"
    scale: IntArray
    bias: IntArray
    scale_format: Format
    bias_frac: int = 0
    quant: Quant | None = field(default=None, metadata=LATER)

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", int_array(self.scale, "a batch norm's scale"))
        object.__setattr__(self, "bias", int_array(self.bias, "a batch norm's bias"))
        fmt = self.scale_format
        require(fmt.width <= 32, f"a scale format must have at most 32 bits, not {fmt.width}")
        require(
            self.scale.ndim == 1 and self.scale.size > 0 and self.bias.shape == self.scale.shape,
            "a batch norm's scale and bias must be vectors of one length, not of shapes "
            f"{self.scale.shape} and {self.bias.shape}",
        )
        lo, hi = int(self.scale.min()), int(self.scale.max())
        require(
            fmt.min <= lo and hi <= fmt.max,
            f"a batch norm's scale must hold codes of {fmt}, not {lo} to {hi}",
        )

    def aligned(self, x: TensorType) -> tuple[IntArray, IntArray, int]:
        """Factors, offsets and fraction bits of the result's codes."""
        product = x.format.frac_bits + self.scale_format.frac_bits
        frac = max(product, self.bias_frac) if self.bias.any() else product
        scale = shift_left(self.scale, frac - product, "a batch norm's scales")
        bias = shift_left(self.bias, max(frac - self.bias_frac, 0), "a batch norm's biases")
        return scale, bias, frac

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        """The shape stays; the format holds every product and its offset."""
        (x,) = inputs
        require(
            x.channels == self.scale.size,
            f"a batch norm's input must have {self.scale.size} channels, not {x.channels}",
        )
        require(
            x.quant is None or self.quant is not None,
            "a batch norm's input must have a power-of-two format, or its codes a meaning (quant)",
        )
        scale, bias, frac = self.aligned(x)
        ends = [
            s * end + b
            for s, b in zip(scale.tolist(), bias.tolist(), strict=True)
            for end in (x.lo, x.hi)
        ]
        lo, hi = min(ends), max(ends)
        return TensorType(x.shape, Format.holding(lo, hi, frac), self.quant, (lo, hi))

    def bound(self, inputs: Sequence[TensorType]) -> int:
        """The largest product and offset."""
        scale, bias, _ = self.aligned(inputs[0])
        return int(np.abs(scale).max()) * inputs[0].magnitude + int(np.abs(bias).max())

    def prepare(self, inputs: Sequence[TensorType], carrier: Carrier) -> Constants:
        """Factors and offsets in the carrier."""
        scale, bias, _ = self.aligned(inputs[0])
        return {"scale": scale.astype(carrier.value), "bias": bias.astype(carrier.value)}

    def run(self, xp: Namespace, xs: Sequence[Array], k: Constants) -> Array:
        """One product and one sum a code."""
        return xs[0] * k["scale"] + k["bias"]

    def work(self, inputs: Sequence[TensorType]) -> Work:
        """One multiplication a code."""
        size = inputs[0].size
        return Work(size, 2 * self.scale.size, size)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Divide(Op):
    """Codes divided by whole numbers, toward zero, at the same binary point.

    `divisors` has one entry, or one for each position (height, width) of the map. Source: the
    division of two `ap_fixed`, hls4ml's `nnet_pooling.h`.
    """

    kind: ClassVar[str] = "divide"
    divisors: IntArray

    def __post_init__(self) -> None:
        object.__setattr__(self, "divisors", int_array(self.divisors, "divisors"))
        require(
            self.divisors.size > 0 and int(self.divisors.min()) >= 1,
            "divisors must be whole numbers of 1 or more",
        )

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        """The type stays; the range shrinks."""
        (x,) = inputs
        require(
            self.divisors.size == 1 or self.divisors.shape == x.shape[:-1],
            f"divisors must be one, or one a position {x.shape[:-1]}, not {self.divisors.shape}",
        )
        least = int(self.divisors.min())
        lo, hi = (abs(end) // least * (1 if end > 0 else -1) for end in (x.lo, x.hi))
        return x.with_range(min(lo, 0), max(hi, 0))

    def carriers(self, inputs: Sequence[TensorType]) -> tuple[Carrier, ...]:
        """Float division is exact after truncation as long as both fit half the significand."""
        if inputs[0].magnitude < 1 << 26:
            return (Carrier.FLOAT64, Carrier.INT64)
        return (Carrier.INT64,)

    def bound(self, inputs: Sequence[TensorType]) -> int:
        """Nothing grows."""
        return max(inputs[0].magnitude, int(self.divisors.max()))

    def prepare(self, inputs: Sequence[TensorType], carrier: Carrier) -> Constants:
        """Divisors that broadcast over channels."""
        shaped = self.divisors.reshape(-1) if self.divisors.size == 1 else self.divisors[..., None]
        return {"divisors": shaped.astype(carrier.value)}

    def run(self, xp: Namespace, xs: Sequence[Array], k: Constants) -> Array:
        """Truncating division."""
        if is_float(xp, xs[0]):
            return xp.trunc(xs[0] / k["divisors"])
        whole = xp.abs(xs[0]) // k["divisors"]
        return xp.where(xs[0] < 0, -whole, whole)
