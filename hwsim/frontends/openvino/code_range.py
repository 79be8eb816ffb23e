"""A FakeQuantize's numbers: between which ends its codes lie, and what the plugin makes of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.frontends.openvino.lines import KernelLine, factor_and_offset, fused, whole_again
from hwsim.frontends.openvino.residual import QuantizedScale
from hwsim.frontends.openvino.shown import FOLLOWED, moved_codes
from hwsim.frontends.shared.quantizer import Quantizer
from hwsim.frontends.shared.values import FloatArray, Unary
from hwsim.ops import Quant
from hwsim.ops.base import IntArray

F32 = np.float32
Ends = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class CodeRange(Quantizer):
    """Codes from 0 on of `levels` levels between `low` and `high`, one of each or one a channel.

    `scales` are what codes mean, and `zero_point` the code of 0.
    """

    format: Format
    levels: int
    low: Ends
    high: Ends
    scales: Ends
    zero_point: int
    place: float  # of 0 among the codes that the plugin holds, as it computes it
    signed: bool = False  # whether the plugin takes int8
    kept: bool = False  # whether it stays as it is, since only the model's user reads it
    zeros: tuple[int, ...] = ()  # places of 0 that differ by channel, and are taken off codes

    @property
    def scale(self) -> float:  # type: ignore[override]
        """The scale of all channels; NaN where there are several."""
        return self.scales[0] if len(self.scales) == 1 else float("nan")

    @property
    def quant(self) -> Quant | None:
        """Scale and zero point; None of channels with scales of their own."""
        return Quant(self.scales, self.zero_point) if len(self.scales) == 1 else None

    @property
    def ends(self) -> tuple[FloatArray, FloatArray]:
        """The lowest and the highest real, of all channels or of each."""
        return np.array(self.low, F32), np.array(self.high, F32)

    @property
    def line(self) -> tuple[FloatArray, FloatArray]:
        """What a real is multiplied by, and what is added to the product."""
        return factor_and_offset(*self.ends, self.levels)

    @property
    def shift(self) -> np.float32:
        """What the plugin takes off places; nothing where it holds int8."""
        return F32(self.place)

    @property
    def lowest(self) -> int:
        """The lowest code that the plugin holds."""
        return 1 - self.levels // 2 - (self.levels % 2 == 0) if self.signed else 0

    @property
    def meaning(self) -> QuantizedScale:
        """What its codes mean to the plugin."""
        return QuantizedScale(F32(self.scale), self.shift, self.lowest)

    def kernel(self, low: FloatArray, high: FloatArray) -> KernelLine:
        """The same in a layer's kernel, from ends that may have taken in what comes before."""
        lowest = (
            0 if self.kept or not self.signed else 1 - self.levels // 2 - (self.levels % 2 == 0)
        )
        return KernelLine.between(low, high, self.levels, lowest=lowest, last=not self.kept)

    def codes(self, reals: FloatArray) -> IntArray:
        """Of float32 values, channels innermost."""
        return self.on_line(reals, *self.line)

    def on_line(self, values: FloatArray, factor: FloatArray, offset: FloatArray) -> IntArray:
        """A product and a sum, rounded at once, then the nearest whole number or the even one."""
        places = np.rint(fused(values, factor, offset))
        return self.without_zeros(np.clip(places, 0, self.levels - 1).astype(np.int64))

    def without_zeros(self, places: IntArray) -> IntArray:
        """Codes of places, of which 0 is one where the places of 0 differ by channel."""
        return places - np.array(self.zeros) if self.zeros else places

    def port(self, node: object) -> dict[str, Any]:
        """The same at an input's port."""
        if len(self.low) > 1:
            raise HwsimError(f"{node}: an input of the graph must have one range for all channels")
        factor, offset = self.line
        return {"line": (float(factor[0]), float(offset[0]))}

    def apart(self) -> Unary:
        """The reals of codes that moved since."""
        return moved_codes(self.meaning, self.scale, self.zero_point)

    def shown(self, least: FloatArray, most: FloatArray, *, in_layer: bool) -> Unary:
        """The reals of codes that only the model's user sees, from those that they mean.

        The plugin takes such a quantizer apart and puts it together again. A layer's kernel divides
        by a reciprocal where the lowest real is 0, and else rounds product and sum at once.
        """
        scale, zero = F32(self.scale), F32(self.zero_point)
        low, step = whole_again(F32(least.ravel()[0]), F32(most.ravel()[0]), self.levels)

        def function(x: FloatArray) -> FloatArray:
            codes: FloatArray = np.rint(x / scale) + zero
            if in_layer and not low:
                return np.asarray(codes * (F32(1) / (F32(1) / step)))
            return fused(codes, step, low)

        return Unary(FOLLOWED, function, rising=True)
