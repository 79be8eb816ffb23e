"""What is done to numbers before a model takes them: `(x * scale - mean) / std`, in float32."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwsim.errors import HwsimError

Numbers = tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """A factor as (numerator, denominator), and means and deviations: one, or one a channel.

    `scale` None means 1/255 for images and 1 for arrays. `resize` scales an image to cover the
    model's size and keeps the middle; without it an image must have that size.
    """

    scale: tuple[float, float] | None = None
    mean: Numbers = ()
    std: Numbers = ()
    resize: bool = False

    @classmethod
    def parse(
        cls, scale: str | None, mean: str | None, std: str | None, *, resize: bool
    ) -> Preparation:
        """From texts such as `1/255` and `0.485,0.456,0.406`."""
        factor = None if scale is None else _factor(scale)
        found = cls(
            scale=factor, mean=_numbers("mean", mean), std=_numbers("std", std), resize=resize
        )
        if 0.0 in found.std:
            raise HwsimError(f"std must not be 0, as in {std!r}")
        return found

    def apply(self, array: Any, default: tuple[float, float], channels: int) -> Any:
        """Of `(..., channels)`; the same array where there is nothing to do.

        Done step by step as training pipelines do, in float32, so that the last bit is the same.
        """
        scale = self.scale or default
        if scale == (1.0, 1.0) and not self.mean and not self.std:
            return array
        real = np.asarray(array).astype(np.float32)
        for factor, step in ((scale[0], np.multiply), (scale[1], np.divide)):
            real = real if factor == 1.0 else step(real, np.float32(factor))
        for what, values, change in (
            ("mean", self.mean, np.subtract),
            ("std", self.std, np.divide),
        ):
            if len(values) not in (0, 1, channels):
                raise HwsimError(
                    f"{what} must be one number or one for each of the {channels} channels, not "
                    f"{len(values)}"
                )
            real = change(real, np.array(values, np.float32)) if values else real
        return real

    def says(self, default: tuple[float, float]) -> str:
        """One line for people: `x * 1/255, minus mean 0.5, divided by std 0.5`."""
        top, bottom = self.scale or default
        factor = f"{top:g}" if bottom == 1 else f"{top:g}/{bottom:g}"
        parts = ["as they are" if (top, bottom) == (1.0, 1.0) else f"times {factor}"]
        parts += [f"minus mean {_listed(self.mean)}"] if self.mean else []
        parts += [f"divided by std {_listed(self.std)}"] if self.std else []
        return ", ".join(parts)


def _listed(values: Numbers) -> str:
    return ", ".join(f"{v:g}" for v in values)


def _factor(text: str) -> tuple[float, float]:
    top, _, bottom = text.partition("/")
    try:
        found = float(top), float(bottom or 1)
    except ValueError:
        found = math.nan, math.nan
    if not all(math.isfinite(n) and n > 0 for n in found):
        raise HwsimError(f"scale must be a number above 0 such as 1/255, not {text!r}")
    return found


def _numbers(what: str, text: str | None) -> Numbers:
    if text is None:
        return ()
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = (math.nan,)
    if not all(math.isfinite(n) for n in found):
        raise HwsimError(f"{what} must be numbers between commas such as 0.5,0.4,0.3, not {text!r}")
    return found
