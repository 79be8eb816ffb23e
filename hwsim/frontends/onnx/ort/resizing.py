"""Where ONNX Runtime 1.32 looks for the elements of a Resize, in its own float32 arithmetic.

Source: ONNX Runtime `upsamplebase.h` and `upsample.cc`, checked by experiment (docs/frontends.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError
from hwsim.frontends.shared.values import FloatArray
from hwsim.ops.base import IntArray

F32 = np.float32
PLACES = (
    "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric",
    "tf_half_pixel_for_nn",
)  # fmt: skip
"""Values of coordinate_transformation_mode that look within the axis."""
NEAREST = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
TIE = 1e-6
SIMPLE = "simple"  # of Upsample and Resize before opset 11


@dataclass(frozen=True, slots=True)
class ResizedAxis:
    """An axis of `size` elements that becomes one of `wanted`, `scale` times as long.

    `channels` says that it is the first behind the batch.
    """

    size: int
    wanted: int
    scale: float
    mode: str
    channels: bool = False

    def places(self) -> FloatArray:
        """The place in the axis, a real, of each new element."""
        x = np.arange(self.wanted).astype(F32)
        scale, half = F32(self.scale), F32(0.5)
        match self.mode:
            case "asymmetric":
                return _float(x / scale)
            case "tf_half_pixel_for_nn":
                return _float((x + half) / scale)
            case "align_corners":
                if self.wanted == 1:
                    return np.zeros(1, F32)
                return _float(x * F32(self.size - 1) / F32(self.wanted - 1))
            case "pytorch_half_pixel" if self.wanted == 1:
                return np.zeros(1, F32)
            case "half_pixel" | "pytorch_half_pixel":
                return _float((x + half) / scale - half)
            case "half_pixel_symmetric":
                adjustment = F32(self.wanted) / (scale * F32(self.size))
                offset = F32(self.size) / F32(2) * (F32(1) - adjustment)
                doubled = (x.astype(np.float64) + 0.5) / float(scale)
                return _float(float(offset) + doubled - 0.5)
        raise HwsimError(
            f"'coordinate_transformation_mode' must be {', '.join(PLACES)}, not {self.mode!r}"
        )

    def nearest(self, rule: str) -> IntArray:
        """The index of the element that each new one is."""
        places = self.places()
        match rule:
            case "round_prefer_floor":
                found = np.ceil(_on_ties(places) - 0.5)
            case "round_prefer_ceil":
                found = np.floor(_on_ties(places) + 0.5)
            case "floor":
                found = np.floor(places)
            case "ceil":
                found = np.ceil(places)
            case "simple":
                found = np.ceil(places) if self.scale < 1 else np.floor(places)
            case _:
                raise HwsimError(f"'nearest_mode' must be {', '.join(NEAREST)}, not {rule!r}")
        return np.clip(found.astype(np.int64), 0, self.size - 1)


def _on_ties(places: FloatArray) -> npt.NDArray[np.float64]:
    """Places that lie near halfway between two elements are just there."""
    ties = np.floor(places.astype(np.float64)) + 0.5
    return np.where(np.abs(places - ties) < TIE, ties, places.astype(np.float64))


def _float(values: npt.NDArray[Any]) -> FloatArray:
    return values.astype(F32)


def length(size: int, scale: float) -> int:
    """How long an axis becomes, rounded down in float32."""
    return math.floor(F32(size) * F32(scale))
