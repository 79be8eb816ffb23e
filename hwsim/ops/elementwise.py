"""Operators on each code by itself, or on pairs of codes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hwsim.fixed import Array, Format, Namespace
from hwsim.ops.base import (
    FLOATS,
    MOVING_CARRIERS,
    Carrier,
    Constants,
    IntArray,
    Op,
    Quant,
    TensorType,
    int_array,
    require,
)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Relu(Op):
    """Codes below `zero_point` become it; codes above `maximum`, if given, become that."""

    kind: ClassVar[str] = "relu"
    zero_point: int = 0
    maximum: int | None = None

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        """The type stays, its range is cut."""
        (x,) = inputs
        top = x.format.max if self.maximum is None else self.maximum
        require(
            x.format.min <= self.zero_point <= top <= x.format.max,
            f"a relu's bounds must be codes of {x.format} in order, not {self.zero_point} and "
            f"{top}",
        )
        lo, hi = (min(max(bound, self.zero_point), top) for bound in (x.lo, x.hi))
        return x.with_range(lo, hi)

    def bound(self, inputs: Sequence[TensorType]) -> int:
        """Nothing grows."""
        return max(inputs[0].magnitude, abs(self.zero_point))

    def rises_to(self, inputs: Sequence[TensorType]) -> int | None:
        """All codes."""
        return inputs[0].hi

    def carriers(self, inputs: Sequence[TensorType]) -> tuple[Carrier, ...]:
        """Codes are compared."""
        return MOVING_CARRIERS

    def keeps_scale(self) -> bool:
        """Where zero is the only number that codes become."""
        return self.zero_point == 0 and self.maximum is None

    def prepare(self, inputs: Sequence[TensorType], carrier: Carrier) -> Constants:
        """Both bounds in the carrier; without a maximum its largest number."""
        kind = np.dtype(carrier.value)
        largest = np.inf if carrier.is_float else np.iinfo(kind).max
        top = largest if self.maximum is None else min(self.maximum, largest)
        return {"zero": np.array(self.zero_point, kind), "top": np.array(top, kind)}

    def run(self, xp: Namespace, xs: Sequence[Array], k: Constants) -> Array:
        """Clip at both ends, which NumPy does three times as fast as a maximum with one number."""
        return xp.clip(xs[0], k["zero"], k["top"])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Table(Op):
    """Any unary function of a code: `values[x - lowest code of the input's format]`."""

    kind: ClassVar[str] = "table"
    values: IntArray
    out: Format
    quant: Quant | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", int_array(self.values, "table values"))
        require(
            self.values.ndim == 1 and self.values.size > 0,
            f"table values must be a vector, not of shape {self.values.shape}",
        )
        lo, hi = int(self.values.min()), int(self.values.max())
        require(
            self.out.min <= lo and hi <= self.out.max,
            f"table values must be codes of {self.out}, not {lo} to {hi}",
        )

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        """The shape stays; the range is that of the entries that can be met."""
        (x,) = inputs
        entries = 1 << x.format.width
        require(
            self.values.size == entries,
            f"a table for codes of {x.format} must have {entries} entries, not {self.values.size}",
        )
        met = self.values[x.lo - x.format.min : x.hi - x.format.min + 1]
        return TensorType(x.shape, self.out, self.quant, (int(met.min()), int(met.max())))

    def carriers(self, inputs: Sequence[TensorType]) -> tuple[Carrier, ...]:
        """Indices are integers."""
        return (Carrier.INT64,)

    def bound(self, inputs: Sequence[TensorType]) -> int:
        """Nothing grows past the entries."""
        return max(inputs[0].magnitude * 2, int(np.abs(self.values).max()))

    def prepare(self, inputs: Sequence[TensorType], carrier: Carrier) -> Constants:
        """The entries and the code of the first."""
        return {"values": self.values, "first": inputs[0].format.min}

    def run(self, xp: Namespace, xs: Sequence[Array], k: Constants) -> Array:
        """One gather."""
        flat = xp.reshape(xs[0] - k["first"], (-1,))
        return xp.reshape(xp.take(k["values"], flat, axis=0), xs[0].shape)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Add(Op):
    """The exact sum of two tensors of one shape with power-of-two formats (or one common scale)."""

    kind: ClassVar[str] = "add"
    arity: ClassVar[int] = 2

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        """Full precision: the finer binary point and one more bit where it is needed."""
        a, b = inputs
        require(
            a.shape == b.shape, f"an add's inputs must have one shape, not {a.shape} and {b.shape}"
        )
        require(
            a.quant == b.quant and a.zero_point == 0,
            "an exact add's inputs must have one scale and zero point 0; rescale them first",
        )
        frac = max(a.format.frac_bits, b.format.frac_bits)
        up_a, up_b = frac - a.format.frac_bits, frac - b.format.frac_bits
        lo, hi = (a.lo << up_a) + (b.lo << up_b), (a.hi << up_a) + (b.hi << up_b)
        return TensorType(a.shape, Format.holding(lo, hi, frac), a.quant, (lo, hi))

    def bound(self, inputs: Sequence[TensorType]) -> int:
        """The sum of both magnitudes at the finer binary point."""
        frac = max(t.format.frac_bits for t in inputs)
        return sum(t.magnitude << (frac - t.format.frac_bits) for t in inputs)

    def prepare(self, inputs: Sequence[TensorType], carrier: Carrier) -> Constants:
        """Left shifts, as factors, that align the binary points."""
        frac = max(t.format.frac_bits for t in inputs)
        return {"factors": [1 << (frac - t.format.frac_bits) for t in inputs]}

    def run(self, xp: Namespace, xs: Sequence[Array], k: Constants) -> Array:
        """Aligned sum."""
        a, b = (x if f == 1 else x * f for x, f in zip(xs, k["factors"], strict=True))
        return a + b


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ScaledAdd(Op):
    """The sum of two tensors with scales of their own, in float32 as ONNX Runtime computes it.

    `round(f32((a + sa) * ra + f32((b + sb) * rb + offset))) - so`, to nearest even, saturated:
    each product and sum is rounded once, as a fused multiply-add. `ratios` are ra and rb (float32
    values), `offset` holds all zero points (a float32 value) and `shifts` are sa, sb and so, which
    are 128 where the runtime adds int8 codes as uint8. Source: ONNX Runtime
    `MlasQLinearAddKernelAvx2Helper`.

    With a `divisor` (a float32 value) each step is rounded, as where DequantizeLinear, Add and
    QuantizeLinear run one after the other:
    `round(f32(f32(f32((a + sa) * ra) + f32((b + sb) * rb)) / divisor)) - so`; `offset` must be 0.
    """

    kind: ClassVar[str] = "scaled_add"
    arity: ClassVar[int] = 2
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
        require(min(self.ratios) > 0, f"a scaled add's ratios must be above 0, not {self.ratios}")

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        """The shape stays; the format is `out`; inputs have at most 8 bits."""
        a, b = inputs
        require(
            a.shape == b.shape, f"an add's inputs must have one shape, not {a.shape} and {b.shape}"
        )
        require(
            max(a.format.width, b.format.width) <= 8,
            f"a scaled add's inputs must have at most 8 bits, not {a.format} and {b.format}",
        )
        grain = min(_grain(value) for value in (*self.ratios, self.offset) if value)
        factors = [t.magnitude + abs(s) for t, s in zip(inputs, self.shifts, strict=False)]
        reach = factors[0] * self.ratios[0] + factors[1] * self.ratios[1] + abs(self.offset)
        require(
            reach < 2.0**53 * grain,
            "a scaled add's ratios and offset must be near enough to add up exactly in float64, "
            f"not {self.ratios} and {self.offset}",
        )
        ends = self.run(
            np,
            [np.array([t.lo, t.hi], np.float64) for t in (a, b)],
            self.prepare(inputs, Carrier.FLOAT64),
        )
        return TensorType(a.shape, self.out, self.quant, (int(ends[0]), int(ends[1])))

    def carriers(self, inputs: Sequence[TensorType]) -> tuple[Carrier, ...]:
        """Products of an 8-bit code and a float32 are exact in float64."""
        return FLOATS[1:]

    def bound(self, inputs: Sequence[TensorType]) -> int:
        """Codes of 8 bits."""
        return 1 << 10

    def prepare(self, inputs: Sequence[TensorType], carrier: Carrier) -> Constants:
        """Plain numbers."""
        return {}

    def run(self, xp: Namespace, xs: Sequence[Array], k: Constants) -> Array:
        """Codes of `out`."""
        (ra, rb), (sa, sb, so) = self.ratios, self.shifts
        inner = xp.astype((xs[1] + sb) * rb + self.offset, xp.float32)
        if self.divisor is None:
            total = xp.astype((xs[0] + sa) * ra + xp.astype(inner, xp.float64), xp.float32)
        else:
            total = xp.astype((xs[0] + sa) * ra, xp.float32) + inner
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
