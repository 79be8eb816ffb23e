"""Where TVM 0.27 looks for the elements of a Resize: by the lengths alone, whatever its scales say.

Source: TVM's `topi/image/resize.py`, checked by experiment (docs/frontends.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.onnx.ort.resizing import NEAREST, ResizedAxis
from hwsim.frontends.shared.values import FloatArray
from hwsim.ops.base import IntArray

F32 = np.float32
HALF = F32(0.5)
NEAR = F32(1e-5)  # of a whole number, which `floor` and `ceil` take for it
PLACES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_half_pixel_for_nn")


@dataclass(frozen=True, slots=True)
class TvmAxis(ResizedAxis):
    """An axis of `size` elements that becomes one of `wanted`, whatever `scale` is."""

    def places(self) -> FloatArray:
        """The place in the axis, a real, of each new element."""
        x = np.arange(self.wanted).astype(F32)
        if self.channels and self.wanted != self.size:
            raise HwsimError("TVM resizes no channels: their scale must be 1")
        if self.channels:
            return x
        step = F32(self.size) / F32(self.wanted)
        found: FloatArray
        match self.mode:
            case "asymmetric":
                found = step * x
            case "tf_half_pixel_for_nn":
                found = (x + HALF) * step
            case "align_corners" if self.wanted > 1:
                found = F32(self.size - 1) / F32(self.wanted - 1) * x
            case "pytorch_half_pixel" if self.wanted == 1:
                found = np.zeros(1, F32)
            case "half_pixel" | "pytorch_half_pixel":
                found = (x + HALF) * step - HALF
            case _:
                raise HwsimError(
                    f"TVM's 'coordinate_transformation_mode' must be {', '.join(PLACES)} (and of "
                    f"align_corners more than one element), not {self.mode!r}"
                )
        return found

    def nearest(self, rule: str) -> IntArray:
        """The index of the element that each new one is."""
        places = self.places()
        match rule:
            case "round_prefer_floor":
                found = np.ceil(places - HALF)
            case "round_prefer_ceil":
                found = np.floor(places + HALF)
            case "floor":
                found = np.floor(places + NEAR)
            case "ceil":
                found = np.ceil(places - NEAR)
            case _:
                raise HwsimError(
                    f"TVM reads a Resize from opset 11 on: its 'nearest_mode' must be "
                    f"{', '.join(NEAREST)}, not {rule!r}"
                )
        inside: IntArray = np.clip(found.astype(np.int64), 0, self.size - 1)
        return inside
