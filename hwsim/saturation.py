"""How much of an input lies outside what a model takes, said once a call."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from hwsim import notices
from hwsim.fixed import Array, Namespace, Overflow
from hwsim.graph import InputPort

SHARE = 0.05
"""More of an input's elements than this beyond its ends are said to saturate."""

WRAPPED = 0.001
"""The same where a port wraps, which turns a large value into any other."""

HAPPENS = {Overflow.WRAP: "wrap around", Overflow.SAT_ZERO: "become 0"}
PIXELS = 255.0


class InputSaturation(UserWarning):
    """Much of an input lies outside the range of its quantizer."""


class Clip(NamedTuple):
    """Of one piece of one input: elements in all and outside, and the least and the largest."""

    port: str
    elements: int
    outside: int
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Reach:
    """The reals that a port takes, by half a step more at both ends, and what all channels take."""

    low: Any
    high: Any
    least: float
    most: float

    @classmethod
    def of(cls, port: InputPort) -> Reach:
        """Of a port."""
        low, high = taken(port)
        half = np.array(port.type.scales()) / 2
        low, high = low - half, high + half
        return cls(low, high, float(low.max()), float(high.min()))


def taken(port: InputPort) -> tuple[Any, Any]:
    """The least and the largest real that a port has a code for, by channel where scales are."""
    kind, fmt = port.type, port.type.format
    least = -fmt.max if port.overflow is Overflow.SAT_SYM and fmt.signed else fmt.min
    scale = np.array(kind.scales())
    return (least - kind.zero_point) * scale, (fmt.max - kind.zero_point) * scale


def clip(
    xp: Namespace, port: InputPort, reach: Reach, reals: Array, ends: tuple[float, float]
) -> Clip:
    """Count the elements more than half a step outside; `reals` is channels last.

    The array is looked at only where its ends are outside. A port of one bit asks only on which
    side a value is: nothing is outside of it.
    """
    if port.type.format.width == 1:
        return Clip(port.name, reals.size, 0, *ends)
    outside = 0
    if ends[0] < reach.least or ends[1] > reach.most:
        wide = xp.astype(reals, xp.float64, copy=False)
        beyond = (wide < xp.asarray(reach.low)) | (wide > xp.asarray(reach.high))
        outside = int(xp.count_nonzero(beyond))
    return Clip(port.name, reals.size, outside, *ends)


def warn(ports: Sequence[InputPort], clips: Iterable[Clip]) -> None:
    """Warn of each input of which too much was outside, over all pieces together."""
    found = list(clips)
    for port in ports:
        mine = [c for c in found if c.port == port.name]
        elements, outside = sum(c.elements for c in mine), sum(c.outside for c in mine)
        limit = WRAPPED if port.overflow is Overflow.WRAP else SHARE
        if outside > limit * elements:
            low, high = min(c.low for c in mine), max(c.high for c in mine)
            text = sentence(port, outside / elements, low, high)
            notices.warn(text, InputSaturation)


def sentence(port: InputPort, share: float, low: float, high: float) -> str:
    """What is said of an input that reaches from `low` to `high`."""
    least, most = taken(port)
    happens = HAPPENS.get(port.overflow, "saturate")
    text = (
        f"input {port.name!r}: {100 * share:.1f} % of the values {happens}: the model takes "
        f"{least.min():.6g} to {most.max():.6g}, and they reach from {low:.6g} to {high:.6g}"
    )
    if low >= 0 and 2 * most.max() < high <= PIXELS:
        text += (
            "; pixels of 0 to 255 must be scaled as in training, often divided by 255 "
            "(--scale 1/255 on the command line)"
        )
    return text
