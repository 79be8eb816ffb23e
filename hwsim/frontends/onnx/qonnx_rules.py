"""The rules of QONNX's quantizers: `round(clamp(x / scale + zero_point))`, or the sign.

Source: QONNX 1.0 `custom_op/general/intquant.py` and `bipolar_quant.py`. Where scales are powers
of two, all of it is shifts, exact in any rounding mode.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError
from hwsim.fixed import Format, Overflow, Rounding
from hwsim.frontends.onnx.ort import softmax
from hwsim.frontends.onnx.ort.wording import SHARES
from hwsim.frontends.shared import fine_units
from hwsim.frontends.shared.float_sums import powers_of_two
from hwsim.frontends.shared.node_by_node import Stepped
from hwsim.frontends.shared.tensors import TensorBuilder
from hwsim.frontends.shared.values import (
    FloatArray,
    Level,
    Mean,
    Pair,
    Pool,
    Product,
    Real,
    Scaled,
    Softmax,
    Unary,
    Weighing,
)
from hwsim.ops import Add, Cast, Mul, Op, Quant, Relu, Requantize, Scheme
from hwsim.ops.base import IntArray

FLOAT_NOTE = (
    "its scale is not a power of two, and QONNX computes in float32, so that a code may differ by "
    "one step where the exact value meets a rounding threshold"
)
FINE = (
    "QONNX's executor computes {what} in float32, so that about one code in {share} may differ by "
    "one step; the exact result is rounded to nearest even here"
)
# Modes by the name of the ap_fixed rounding that does the same; CEIL and UP have none.
MODES = {
    "ROUND": Rounding.RND_CONV,
    "HALF_EVEN": Rounding.RND_CONV,
    "FLOOR": Rounding.TRN,
    "DOWN": Rounding.TRN_ZERO,
    "HALF_UP": Rounding.RND_INF,
    "HALF_DOWN": Rounding.RND_ZERO,
    "CEIL": None,
    "UP": None,
}


def round_reals(x: FloatArray, mode: str) -> FloatArray:
    """The rounding of QONNX's executor, by its name."""
    magnitude = np.abs(x)
    match mode:
        case "ROUND" | "HALF_EVEN":
            return np.rint(x)
        case "FLOOR":
            return np.floor(x)
        case "CEIL":
            return np.ceil(x)
        case "DOWN":
            return np.trunc(x)
        case "UP":
            return np.sign(x) * np.ceil(magnitude)
        case "HALF_UP":
            return np.sign(x) * np.floor(magnitude + np.float32(0.5))
        case _:
            return np.sign(x) * np.ceil(magnitude - np.float32(0.5))


def power_of_two(value: float) -> int | None:
    """k where `value` is 2**k."""
    fraction, exponent = math.frexp(value)
    return exponent - 1 if fraction == 0.5 else None


def no_factors(source: Scaled) -> HwsimError:
    """Why a tensor times a factor a channel is not rounded by a Quant node."""
    return HwsimError(f"{source.name}: it must come before a QuantizeLinear, not before Quant")


@dataclass(frozen=True, slots=True)
class IntQuant(Stepped):
    """One Quant node's rule: codes from `low` to `high`, zero point added before rounding."""

    bits: int
    signed: bool
    low: int
    high: int
    mode: str
    scale: float
    zero_point: int

    @property
    def fraction(self) -> int | None:
        """Fraction bits where scale and zero point are those of a fixed-point format."""
        power = power_of_two(self.scale)
        return -power if power is not None and self.zero_point == 0 else None

    @property
    def format(self) -> Format:  # type: ignore[override]
        """Of the codes."""
        fraction = self.fraction or 0
        return Format(self.signed, self.bits - fraction, fraction)

    @property
    def quant(self) -> Quant | None:
        """None where the format says it all."""
        return None if self.fraction is not None else Quant((self.scale,), self.zero_point)

    @property
    def overflow(self) -> Overflow:
        """Saturation to `low`, or to the symmetric range."""
        narrow = self.signed and self.low == self.format.min + 1
        return Overflow.SAT_SYM if narrow else Overflow.SAT

    def codes(self, reals: FloatArray) -> IntArray:
        """QONNX's own arithmetic: clamped, then rounded."""
        ratio = reals.astype(np.float32) / np.float32(self.scale) + np.float32(self.zero_point)
        clamped = np.clip(ratio, self.low, self.high)
        if np.isnan(clamped).any():
            raise HwsimError("it must be a number for all codes, not NaN as of 0 / 0 or log(-1)")
        return round_reals(clamped, self.mode).astype(np.int64)

    def port(self, node: object) -> dict[str, Any]:
        """Rounding and saturation of the input's port."""
        rounding = MODES[self.mode]
        if rounding is None:
            raise HwsimError(
                f"{node}: an input of the graph must be rounded by ROUND, FLOOR, DOWN, HALF_UP or "
                f"HALF_DOWN, not {self.mode}"
            )
        if self.high != self.format.max:
            raise HwsimError(f"{node}: an unsigned input of the graph must not be narrow")
        return {"rounding": rounding, "overflow": self.overflow, "zero_point_first": True}

    def limits(self) -> list[Op]:
        """What saturation by the format alone leaves to do."""
        if self.high == self.format.max:
            return []
        return [Relu(zero_point=self.format.min, maximum=self.high)]

    def usual(self, run: TensorBuilder, real: Real) -> bool:
        """Powers of two all through, and nothing but clamps; or a table of narrow codes."""
        source = real.source
        functions = [s for s in real.steps if not isinstance(s, Pool)]
        clamps = all(isinstance(f, Unary) and f.clamp for f in functions)
        match source:
            case Level():
                scalar = all(isinstance(f, Unary) for f in functions)
                return source.scales is None and scalar
            case Weighing():
                held = [source.input.factors, source.scale, np.array([self.scale], np.float32)]
                whole = self.zero_point == 0 and MODES[self.mode] is not None
                alike = len(set(source.scale.tolist())) == 1
                powers = all(map(powers_of_two, held)) and self._zero_code
                return clamps and powers and (alike or whole)
            case Mean():
                unit = source.input.factors / np.float32(source.window.size)
                powers = powers_of_two(source.input.factors) and powers_of_two(unit)
                whole = source.counts is None and self.mode != "UP"
                return clamps and powers and whole and self._powers
            case Pair():
                terms = [t for t in (source.a, source.b) if isinstance(t, Level)]
                powers = all(run.types[t.codes.edge].quant is None for t in terms)
                return clamps and len(terms) == 2 and powers and self._powers
            case Product():
                powers = powers_of_two(np.array([source.a.scale, source.b.scale], np.float32))
                return clamps and powers and self._powers and self._zero_code
        return True

    @property
    def _powers(self) -> bool:
        """Whether the scale is a power of two."""
        return power_of_two(self.scale) is not None

    @property
    def _zero_code(self) -> bool:
        """Whether the zero point is a code."""
        return self.format.min <= self.zero_point <= self.format.max

    def products(self, scale: npt.NDArray[np.float64]) -> list[Op] | None:
        """A float32 product, to nearest even."""
        if MODES[self.mode] is not Rounding.RND_CONV or not self._zero_code:
            return None
        return [self._product(scale.astype(np.float32), 0), *self.limits()]

    def shifts(self, level: Level) -> bool:
        """From one power of two to another."""
        power = power_of_two(level.scale / self.scale)
        return power is not None and level.codes.format.width > 1

    def sum(
        self, run: TensorBuilder, edge: str, scale: FloatArray, zero: int
    ) -> tuple[str, list[Op]]:
        """Shifts where all factors are powers of two; else a float32 product, to nearest even."""
        factors = tuple(float(s) for s in scale.astype(np.float64) / self.scale)
        powers = [power_of_two(f) for f in factors]
        if any(p is None for p in powers):
            if MODES[self.mode] is not Rounding.RND_CONV:
                raise HwsimError(
                    f"edge {edge!r} must be rounded by ROUND where scales are not powers of two, "
                    f"not by {self.mode}"
                )
            run.warn(edge, FLOAT_NOTE)
            return edge, [self._product(scale, zero), *self.limits()]
        right = tuple(-p for p in powers if p is not None)
        return self._shifted(run, edge, right, zero)

    def _product(self, scale: FloatArray, zero: int) -> Op:
        return Requantize(
            scheme=Scheme.F32_RNE_IN,
            multiplier=tuple(float(f) for f in scale / np.float32(self.scale)),
            out=self.format,
            zero_point=self.zero_point,
            input_zero_point=zero,
            quant=self.quant,
        )

    def _shifted(
        self, run: TensorBuilder, edge: str, right: tuple[int, ...], zero: int
    ) -> tuple[str, list[Op]]:
        """Shifts to the right (negative: to the left) of codes whose zero point is `zero`."""
        kind, rounding = run.types[edge], MODES[self.mode]
        rounds = max(right) > 0
        if rounds and power_of_two(self.scale) is None:
            run.warn(edge, FLOAT_NOTE)
        if rounds and self.mode == "UP" and kind.lo < zero and self.signed:
            return self._away(run, edge, right, zero)
        if not rounds:
            rounding = Rounding.TRN
        plain = kind.quant is None and self.quant is None and zero == 0
        if plain and rounding is not None and len(right) == 1:
            cast = Cast(out=self.format, rounding=rounding, overflow=self.overflow)
            return edge, [cast, *self.limits()]
        return edge, [self._requantize(right, zero, rounding), *self.limits()]

    def _requantize(self, right: tuple[int, ...], zero: int, rounding: Rounding | None) -> Op:
        """The zero point goes into the sum before it is shifted, as QONNX rounds it along.

        Up (CEIL, and UP of what is not negative) is a floor after adding all but one step.
        """
        if rounding is None or self.zero_point:
            if len(set(right)) > 1:
                raise HwsimError(
                    "scales that differ by channel must have zero point 0 and a rounding mode "
                    "other than CEIL and UP"
                )
            shift = max(right[0], 0)
            added = (self.zero_point << shift) + ((1 << shift) - 1 if rounding is None else 0)
            if right[0] < 0:
                return self._op(right, zero, rounding or Rounding.TRN, self.zero_point)
            return self._op(right, zero - added, rounding or Rounding.TRN, 0)
        return self._op(right, zero, rounding, 0)

    def _op(self, right: tuple[int, ...], zero: int, rounding: Rounding, added: int) -> Op:
        return Requantize(
            scheme=Scheme.SHIFT,
            multiplier=tuple(2.0**-r for r in right),
            out=self.format,
            zero_point=added,
            input_zero_point=zero,
            rounding=rounding,
            overflow=self.overflow,
            quant=self.quant,
        )

    def _away(
        self, run: TensorBuilder, edge: str, right: tuple[int, ...], zero: int
    ) -> tuple[str, list[Op]]:
        """Away from zero: what is positive rounded up, plus what is negative rounded down."""
        shift = right[0]
        if len(set(right)) > 1:
            raise HwsimError(
                "scales that differ by channel must be rounded by another mode than UP"
            )
        zero -= self.zero_point << shift
        fmt = Format(self.signed, self.bits)
        up = Requantize(
            scheme=Scheme.SHIFT,
            multiplier=(2.0**-shift,),
            out=Format.uint(max(self.bits - 1, 1)),
            input_zero_point=zero - ((1 << shift) - 1),
            rounding=Rounding.TRN,
        )
        down = replace(up, out=fmt, input_zero_point=zero, overflow=self.overflow)
        high = run.emit(f"{edge}.up", up, [edge], f"{edge}.up")
        low = run.emit(f"{edge}.down", down, [edge], f"{edge}.down")
        below = Relu(zero_point=fmt.min, maximum=0)
        low = run.emit(f"{edge}.below", below, [low], f"{edge}.below")
        both = run.emit(f"{edge}.away", Add(), [high, low], f"{edge}.away")
        return both, [self._op((0,), 0, Rounding.TRN, 0)]

    def mean(self, run: TensorBuilder, edge: str, source: Mean) -> list[Op]:
        """As a sum, whose unit is the input's divided by the size of the window."""
        kind = run.types[edge]
        if source.counts is not None:
            raise HwsimError(f"{source.name}: an average's windows must all have the same size")
        if kind.quant is None:
            unit = 2.0**-kind.format.frac_bits
        else:
            unit = source.input.scale / source.window.size
        edge_after, ops = self.sum(run, edge, np.array([unit], np.float32), 0)
        if edge_after != edge:
            raise HwsimError(f"{source.name}: an average must not be rounded by UP")
        return ops

    def scaled(self, run: TensorBuilder, source: Scaled, out: str) -> tuple[str, list[Op]]:
        """A normalization, exact and rounded once; other factors a channel are refused."""
        if source.function is not None or source.unit is not None:
            raise no_factors(source)
        self._expect_nearest(source.name)
        edge, ops = fine_units.scaled(run, source, self)
        run.warn(source.name, FINE.format(what="the normalization", share=self._share))
        return edge, [*ops, *self._ends()]

    def softmax(self, run: TensorBuilder, source: Softmax, out: str) -> tuple[str, list[Op]]:
        """Exact exponentials and their quotients, rounded once."""
        self._expect_nearest(source.name)
        edge, ops = softmax.rounded(run, source, self, out)
        run.warn(source.name, FINE.format(what="the softmax", share=self._share))
        return edge, [*ops, *self._ends()]

    def _expect_nearest(self, name: str) -> None:
        if MODES[self.mode] is not Rounding.RND_CONV:
            raise HwsimError(f"{name}: its quantizer must round by ROUND, not by {self.mode}")

    @property
    def _share(self) -> str:
        return SHARES[8 if self.bits <= 8 else 16]

    def _ends(self) -> list[Op]:
        """What saturation by the format alone leaves to do, at either end."""
        if (self.low, self.high) == (self.format.min, self.format.max):
            return []
        return [Relu(zero_point=self.low, maximum=self.high)]

    def pair(self, run: TensorBuilder, source: Pair, out: str) -> tuple[str, list[Op]]:
        """An exact sum, difference or product of two fixed-point tensors."""
        a, b = source.a, source.b
        if isinstance(a, Weighing) or isinstance(b, Weighing):
            raise HwsimError(f"{source.name}: a layer's sum must be quantized before it is added")
        kinds = [run.types[level.codes.edge] for level in (a, b)]
        if isinstance(source.op, Mul):
            if any(k.quant is not None for k in kinds):
                raise HwsimError(f"{source.name}: multiplied tensors must have power-of-two scales")
        elif any(k.quant is not None for k in kinds) and (
            (a.scale, a.zero_point) != (b.scale, b.zero_point) or a.zero_point
        ):
            raise HwsimError(
                f"{source.name}: added tensors must have power-of-two scales, or one scale, and "
                "zero point 0"
            )
        edge = run.emit(source.name, source.op, [a.codes.edge, b.codes.edge], source.name)
        unit = a.scale
        if kinds[0].quant is None:
            unit = 2.0 ** -run.types[edge].format.frac_bits
        return self.sum(run, edge, np.array([unit], np.float32), 0)
