"""The quantizers of exported programs, `quantized_decomposed`: what both runtimes share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hwsim.fixed import Format
from hwsim.frontends.shared import fine_units
from hwsim.frontends.shared.quantizer import Quantizer
from hwsim.frontends.shared.tensors import TensorBuilder
from hwsim.frontends.shared.values import FloatArray, Mean, Pair, Scaled
from hwsim.ops import Op, Quant, Requantize, Scheme
from hwsim.ops.base import IntArray

F32 = np.float32
MOST = 2.0**24  # steps, beyond every code


@dataclass(frozen=True, slots=True)
class Decomposed(Quantizer):
    """quantize_per_tensor: `saturate(rint(x * f32(1 / scale)) + zero_point)`, to nearest even.

    Whatever is computed before it is so in float32.
    """

    format: Format
    scale: float
    zero_point: int

    @property
    def quant(self) -> Quant:
        """Scale and zero point."""
        return Quant((self.scale,), self.zero_point)

    @property
    def in_turn(self) -> bool:
        """Whether the runtime adds float32 numbers one after the other."""
        return False

    @property
    def inverse(self) -> Any:
        """What reals are multiplied by."""
        return F32(1) / F32(self.scale)

    def port(self, node: object) -> dict[str, Any]:
        """Reals times a reciprocal."""
        return {"reciprocal": True}

    def codes(self, reals: FloatArray) -> IntArray:
        """By trying, in float32."""
        with np.errstate(over="ignore", invalid="ignore"):
            steps = np.rint(reals.astype(F32) * self.inverse)
        whole = np.clip(np.nan_to_num(steps, nan=0.0), -MOST, MOST).astype(np.int64)
        found: IntArray = np.clip(whole + self.zero_point, self.format.min, self.format.max)
        return found

    def sum(
        self, run: TensorBuilder, edge: str, scale: FloatArray, zero: int
    ) -> tuple[str, list[Op]]:
        """The exact sum in float32, times the reciprocal."""
        return edge, [self.requantize(scale * self.inverse, zero)]

    def requantize(self, factor: Any, zero: int = 0) -> Requantize:
        """`rint(f32(f32(sum - zero) * factor)) + zero_point`, one factor or one a channel."""
        values = np.atleast_1d(factor).astype(F32)
        alike = bool((values == values[:1]).all())
        return Requantize(
            scheme=Scheme.F32_RNE_OUT,
            multiplier=tuple(float(f) for f in (values[:1] if alike else values)),
            out=self.format,
            zero_point=self.zero_point,
            input_zero_point=zero,
            quant=self.quant,
        )

    def mean(self, run: TensorBuilder, edge: str, source: Mean) -> list[Op]:
        """A float32 sum divided by its size, with functions that nothing else takes."""
        return [self.requantize(F32(source.input.scale) / F32(source.window.size) * self.inverse)]

    def pair(self, run: TensorBuilder, source: Pair, out: str) -> tuple[str, list[Op]]:
        """The sum or difference in a fine unit, rounded."""
        return fine_units.added(run, source, self, out)

    def scaled(self, run: TensorBuilder, source: Scaled, out: str) -> tuple[str, list[Op]]:
        """The product and offset in a fine unit, rounded."""
        return fine_units.scaled(run, source, self)
