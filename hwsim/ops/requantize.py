"""Requantization: from an accumulator's codes to a narrow format, by a named scheme."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import (
    Array,
    Format,
    Namespace,
    Overflow,
    Rounding,
    overflow,
    overflow_range,
    round_float,
    round_int,
    round_real,
    shift_round,
)
from hwsim.ops.base import (
    ALL_CARRIERS,
    FLOATS,
    Carrier,
    Constants,
    Op,
    Quant,
    TensorType,
    require,
)
from hwsim.ops.fixed_point import (
    LIMBS_BOUND,
    divide_by_power,
    high_product,
    limb_shifts,
    wide_product,
)


class Scheme(Enum):
    """How the product of a sum and a real multiplier becomes a whole number."""

    SHIFT = "shift"  # a power of two, one rounding (any mode)
    GEMMLOWP_DOUBLE = "gemmlowp_double"  # two roundings, as TensorFlow Lite Micro
    RUY = "ruy"  # two roundings as well, ties up in both, as TensorFlow Lite's optimized kernels
    HALF_AWAY = "half_away"  # 31-bit multiplier, one rounding, ties away from zero
    SINGLE = "single"  # 31-bit multiplier, one rounding, ties up
    REDUCED = "reduced"  # 15-bit multiplier for sums of up to 48 bits, one rounding, ties up
    F32_RNE_OUT = "f32_rne_out"  # float32 product, to nearest even, then the zero point
    F32_RNE_IN = "f32_rne_in"  # float32 product plus the zero point, then to nearest even
    F64_AWAY = "f64_away"  # float64 product, ties away from zero, then the zero point


FLOAT_SCHEMES = (Scheme.F32_RNE_OUT, Scheme.F32_RNE_IN)
TWO_ROUNDINGS = (Scheme.GEMMLOWP_DOUBLE, Scheme.RUY)
SCHEMAS = {Scheme.REDUCED: 2, Scheme.RUY: 3, Scheme.HALF_AWAY: 3, Scheme.F64_AWAY: 3}


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Requantize(Op):
    """`round((x - input_zero_point) * multiplier) + zero_point`, brought into `out`.

    `multiplier` has one entry, or one a channel; all are positive, and powers of two for SHIFT.
    Only SHIFT looks at `rounding`; the other schemes fix their own and saturate. Sources: gemmlowp
    `fixedpoint.h` (GEMMLOWP_DOUBLE), TensorFlow Lite `common.cc` under TFLITE_SINGLE_ROUNDING
    (SINGLE) and its 64-bit overload (REDUCED), ONNX Runtime `MlasRequantizeOutput` (F32_RNE_OUT),
    TensorFlow Lite `reference/integer_ops/fully_connected.h` of 16-bit activations (F64_AWAY).

    Sums may have up to 62 bits where the scheme says what becomes of them: gemmlowp's are of 32,
    REDUCED's of 48 and F64_AWAY's of 53 bits.
    """

    kind: ClassVar[str] = "requantize"
    scheme: Scheme
    multiplier: tuple[float, ...]
    out: Format
    zero_point: int = 0
    input_zero_point: int = 0
    rounding: Rounding = Rounding.RND_CONV
    overflow: Overflow = Overflow.SAT
    quant: Quant | None = field(default=None)

    def __post_init__(self) -> None:
        require(len(self.multiplier) > 0, "a requantize multiplier must have at least one entry")
        for value in self.multiplier:
            require(
                math.isfinite(value) and value > 0,
                f"a requantize multiplier must be a finite number above 0, not {value!r}",
            )
            if self.scheme is Scheme.SHIFT:
                require(
                    math.frexp(value)[0] == 0.5,
                    f"a multiplier of scheme shift must be a power of two, not {value!r}",
                )
        require(
            self.scheme is Scheme.SHIFT or self.overflow is Overflow.SAT,
            f"scheme {self.scheme.value} must saturate, not {self.overflow.value}",
        )
        require(
            self.scheme not in FLOAT_SCHEMES or self.out.width <= 24,
            f"the output of {self.scheme.value} must have at most 24 bits, not {self.out.width}",
        )
        require(
            self.out.width <= 62,
            f"a requantize output must have at most 62 bits, not {self.out.width}",
        )
        require(
            self.out.min <= self.zero_point <= self.out.max,
            f"a requantize zero_point must be a code of {self.out}, not {self.zero_point}",
        )

    @property
    def schema(self) -> int:
        """The oldest schema of saved graphs that can say it."""
        return SCHEMAS.get(self.scheme, 1)

    @property
    def shifts(self) -> tuple[int, ...]:
        """Right shifts of SHIFT (negative: left)."""
        return tuple(1 - math.frexp(value)[1] for value in self.multiplier)

    def fixed_point(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Multipliers as `m * 2**(s - 31)` with m in 2**30..2**31 - 1: arrays m, s (int64)."""
        parts = [math.frexp(value) for value in self.multiplier]
        if not all(-31 <= exponent <= 29 for _, exponent in parts):
            raise HwsimError(
                f"a multiplier of scheme {self.scheme.value} must be from 2**-32 to 2**29, not "
                f"{self.multiplier}"
            )
        m = [math.floor(fraction * 2**31 + 0.5) for fraction, _ in parts]
        s = [exponent + (code == 2**31) for code, (_, exponent) in zip(m, parts, strict=True)]
        return np.array([c // 2 if c == 2**31 else c for c in m]), np.array(s)

    def reduced_point(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Multipliers of REDUCED as `m * 2**-right`, m of up to 15 bits: arrays m, right."""
        m, s = self.fixed_point()
        require(
            int(s.max()) <= 7,
            f"a multiplier of scheme reduced must be below 2**7, not {max(self.multiplier)}",
        )
        return np.where(m < 0x7FFF0000, (m + (1 << 15)) >> 16, 0x7FFF), 15 - s

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        """The shape stays; the format is `out`."""
        (x,) = inputs
        require(
            x.format.min <= self.input_zero_point <= x.format.max,
            f"a requantize input_zero_point must be a code of {x.format}, not "
            f"{self.input_zero_point}",
        )
        require(
            len(self.multiplier) in (1, x.channels),
            f"a requantize multiplier must have 1 or {x.channels} entries, not "
            f"{len(self.multiplier)}",
        )
        return TensorType(x.shape, self.out, self.quant, self._range(x))

    def _range(self, x: TensorType) -> tuple[int, int]:
        lo, hi = x.lo - self.input_zero_point, x.hi - self.input_zero_point
        if self.scheme is Scheme.SHIFT:
            ranges = [
                (round_int(lo, s, self.rounding), round_int(hi, s, self.rounding))
                for s in set(self.shifts)
            ]
            low = min(r[0] for r in ranges) + self.zero_point
            high = max(r[1] for r in ranges) + self.zero_point
            return overflow_range(low, high, self.out, self.overflow)
        require(self.bound([x]) < Carrier.INT64.limit, "a requantizer's sums must fit 62 bits")
        carrier = self.literal_carrier(self._top(x))
        ends = np.array([[x.lo], [x.hi]]).astype(carrier.value)
        k = self.prepare([x], carrier)
        out = self.run(np, [np.repeat(ends, len(self.multiplier), axis=1)], k)
        return int(out.min()), int(out.max())

    def literal_carrier(self, top: int) -> Carrier:
        """What holds sums up to `top`, and is as fast as there is."""
        if self.scheme is Scheme.F64_AWAY:
            return Carrier.FLOAT64
        exact = self.scheme in FLOAT_SCHEMES and top < Carrier.FLOAT64.limit
        return Carrier.FLOAT64 if exact else Carrier.INT64

    def _top(self, x: TensorType) -> int:
        """The largest magnitude of a sum without its zero point."""
        return x.magnitude + abs(self.input_zero_point)

    def rises_to(self, inputs: Sequence[TensorType]) -> int | None:
        """All codes, since multipliers are positive; none where codes may wrap."""
        saturates = self.overflow in (Overflow.SAT, Overflow.SAT_SYM)
        return inputs[0].hi if saturates else None

    def carriers(self, inputs: Sequence[TensorType]) -> tuple[Carrier, ...]:
        """Floats for the float32 product where they hold the sum, int64 for the integer products.

        Any for shifts.
        """
        if self.scheme is Scheme.SHIFT:
            return ALL_CARRIERS
        if self.scheme is Scheme.F64_AWAY:
            return (Carrier.FLOAT64,)
        floats = self.literal_carrier(self._top(inputs[0])).is_float
        return FLOATS if floats else (Carrier.INT64,)

    def bound(self, inputs: Sequence[TensorType]) -> int:
        """Headroom for the half step, for a left shift and for the wrap."""
        top = self._top(inputs[0])
        match self.scheme:
            case Scheme.SHIFT:
                grown = max((top << max(-s, 0)) + (1 << min(max(s, 0), 61)) for s in self.shifts)
                return grown + abs(self.zero_point) + (1 << self.out.width)
            case Scheme.F32_RNE_OUT | Scheme.F32_RNE_IN:
                return top
            case Scheme.F64_AWAY:
                require(
                    top < Carrier.FLOAT64.limit,
                    f"a sum requantized by f64_away must fit 53 bits, not reach {top}",
                )
                return top
            case Scheme.GEMMLOWP_DOUBLE | Scheme.RUY:
                left = max(0, int(self.fixed_point()[1].max()))
                lo, hi = (end - self.input_zero_point for end in (inputs[0].lo, inputs[0].hi))
                if lo << left < -(1 << 31) or hi << left >= 1 << 31:
                    raise HwsimError(
                        f"a sum requantized by {self.scheme.value} must fit 32 bits after its left "
                        f"shift, not reach {top} * 2**{left}"
                    )
                return (top << left << 31) + (1 << 30)  # the product and its nudge
            case Scheme.HALF_AWAY:
                return self._single_product(top)
            case Scheme.SINGLE:
                return LIMBS_BOUND if self._in_limbs(top) else self._single_product(top)
            case Scheme.REDUCED:
                require(
                    top <= 1 << 47,
                    f"a sum requantized by reduced must fit 48 bits, not reach {top}",
                )
                m, right = self.reduced_point()
                return top * int(m.max()) + (1 << int(right.max()))

    def _single_product(self, top: int) -> int:
        """The largest product of SINGLE and its half step."""
        m, s = self.fixed_point()
        return max(
            top * int(code) + (1 << max(30 - int(e), 0)) for code, e in zip(m, s, strict=True)
        )

    def _in_limbs(self, top: int) -> bool:
        """Whether the products of SINGLE pass int64, but their sums do not pass 62 bits."""
        require(top <= 1 << 62, f"a sum requantized by single must fit 62 bits, not reach {top}")
        return self._single_product(top) >= Carrier.INT64.limit

    def prepare(self, inputs: Sequence[TensorType], carrier: Carrier) -> Constants:
        """Multipliers in the form that the scheme needs."""
        return self.constants(carrier, self._top(inputs[0]))

    def constants(self, carrier: Carrier, top: int) -> Constants:
        """What `run` needs for sums, their zero point taken away, of magnitudes up to `top`."""
        match self.scheme:
            case Scheme.SHIFT if len(set(self.shifts)) > 1:
                shifts = self.shifts
                return (
                    {"factor": np.array(self.multiplier, carrier.value)}
                    if carrier.is_float
                    else {"masks": {s: np.array([t == s for t in shifts]) for s in set(shifts)}}
                )
            case Scheme.F32_RNE_OUT | Scheme.F32_RNE_IN:
                return {"factor": np.array(self.multiplier, np.float32)}
            case Scheme.F64_AWAY:
                return {"factor": np.array(self.multiplier, np.float64)}
            case Scheme.GEMMLOWP_DOUBLE | Scheme.RUY:
                m, s = self.fixed_point()
                right = np.maximum(-s, 0)
                # The half step of a shift by 0 is 0.
                half = (1 << right) >> 1
                return {"m": m, "left": np.maximum(s, 0), "right": right, "half": half}
            case Scheme.SINGLE | Scheme.HALF_AWAY:
                m, s = self.fixed_point()
                if self.scheme is Scheme.SINGLE and self._in_limbs(top):
                    return {"m": m, **limb_shifts(31 - s)}
                return {"m": m, "half": 1 << (30 - s), "right": 31 - s}
            case Scheme.REDUCED:
                m, right = self.reduced_point()
                return {"m": m, "half": 1 << (right - 1), "right": right}
        return {}

    def run(self, xp: Namespace, xs: Sequence[Array], k: Constants) -> Array:
        """Codes of `out`."""
        x = xs[0] - self.input_zero_point if self.input_zero_point else xs[0]
        match self.scheme:
            case Scheme.SHIFT:
                rounded = self._shifted(xp, x, k)
                rounded = rounded + self.zero_point if self.zero_point else rounded
                return overflow(xp, rounded, self.out, self.overflow)
            case Scheme.F32_RNE_OUT:
                y = xp.round(xp.astype(x, xp.float32, copy=False) * k["factor"])
                # Before the conversion: a large sum's product may pass int64.
                y = xp.clip(y, self.out.min - self.zero_point, self.out.max - self.zero_point)
                y = xp.astype(y, x.dtype, copy=False)
                return y + self.zero_point if self.zero_point else y
            case Scheme.F32_RNE_IN:
                y = xp.astype(x, xp.float32, copy=False) * k["factor"] + self.zero_point
                y = xp.clip(xp.round(y), self.out.min, self.out.max)
                return xp.astype(y, x.dtype, copy=False)
            case Scheme.F64_AWAY:
                y = round_real(xp, x * k["factor"], Rounding.RND_INF)
            case Scheme.GEMMLOWP_DOUBLE:
                y = divide_by_power(xp, high_product(xp, x << k["left"], k["m"]), k["right"])
            case Scheme.RUY:
                y = (high_product(xp, x << k["left"], k["m"]) + k["half"]) >> k["right"]
            case Scheme.HALF_AWAY:
                product = x * k["m"]
                y = (product + k["half"] - xp.astype(product < 0, x.dtype)) >> k["right"]
            case Scheme.SINGLE if "high_half" in k:
                y = wide_product(xp, x, k)
            case Scheme.SINGLE | Scheme.REDUCED:
                y = (x * k["m"] + k["half"]) >> k["right"]
        y = xp.clip(y, self.out.min - self.zero_point, self.out.max - self.zero_point)
        return y + self.zero_point if self.zero_point else y

    def _shifted(self, xp: Namespace, x: Array, k: Constants) -> Array:
        if "factor" in k:
            return round_float(xp, x * k["factor"], self.rounding)
        if "masks" not in k:
            return shift_round(xp, x, self.shifts[0], self.rounding)
        out = x
        for shift, mask in k["masks"].items():
            out = xp.where(mask, shift_round(xp, x, shift, self.rounding), out)
        return out
