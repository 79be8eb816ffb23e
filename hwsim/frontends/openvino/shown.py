"""Reals that codes mean at the end of a model, as the plugin makes them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hwsim.frontends.openvino.residual import QuantizedScale
from hwsim.frontends.shared.values import (
    Arithmetic,
    FloatArray,
    Level,
    Moved,
    Padded,
    Pool,
    Real,
    Unary,
)

F32 = np.float32
FOLLOWED = "FakeQuantize"
"""The name of functions that are followed to the last bit."""


def moved_codes(meaning: QuantizedScale, scale: float, zero: int) -> Unary:
    """The reals of codes that moved since: a place of 0 is taken off, then comes the scale.

    They are told by those that they mean with `scale` and a whole `zero`.
    """
    step, lowest, shift = F32(scale), F32(meaning.lowest), F32(meaning.shift)

    def function(x: FloatArray) -> FloatArray:
        codes: FloatArray = np.rint(x / step) + F32(zero)
        return np.asarray((codes + lowest - shift) * meaning.scale)

    return Unary(FOLLOWED, function, rising=True)


def is_followed(real: Real) -> bool:
    """Whether all that is computed of codes is known to the last bit."""
    if any(isinstance(step, Padded) for step in real.steps):
        return False
    functions = [step for step in real.steps if isinstance(step, Unary | Arithmetic)]
    return all(isinstance(f, Unary) and (f.clamp or f.name == FOLLOWED) for f in functions)


def shown(real: Real, meaning: QuantizedScale, together: Unary | None) -> Real:
    """The same reals as the plugin makes them; what moves codes comes before functions of reals.

    `together` is of a quantizer that stays whole, as one does behind which a ReLU stands.
    """
    level = real.source
    assert isinstance(level, Level)
    moves = tuple(step for step in real.steps if isinstance(step, Pool | Moved | Padded))
    functions = tuple(step for step in real.steps if not isinstance(step, Pool | Moved | Padded))
    if any(step.name == FOLLOWED or not step.rising for step in functions):
        return real
    if any(_is_relu(step) for step in functions[:1]) and together is not None:
        return replace(real, steps=(*moves, together, *functions))
    if meaning.shift == level.zero_point + meaning.lowest:
        return real
    first = moved_codes(meaning, level.scale, level.zero_point)
    return replace(real, steps=(*moves, first, *functions))


def _is_relu(step: Unary | Arithmetic) -> bool:
    return isinstance(step, Unary) and step.low == 0 and step.high is None
