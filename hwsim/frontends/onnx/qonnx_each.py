"""QONNX's Quant of a computed tensor with any scale and bit width for each channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.frontends.onnx.qonnx_rules import power_of_two, round_reals
from hwsim.frontends.onnx.qonnx_stepped import OnlySteps
from hwsim.frontends.shared.float_sums import exact
from hwsim.frontends.shared.tensors import TensorBuilder
from hwsim.frontends.shared.values import (
    FloatArray,
    Level,
    Mean,
    Pair,
    Pool,
    Real,
    Unary,
    Weighing,
)
from hwsim.ops import Quant
from hwsim.ops.base import IntArray

ALONE = "scales that differ by channel must be of a layer's sum, an average, a sum or codes"


@dataclass(frozen=True, slots=True, eq=False)
class EachChannel(OnlySteps):
    """The rule of each channel: `round(clamp(x / scales + zero)) - zero`, in steps of `gaps`.

    With `sign` it is 1 or -1. `one` is the real of a step of the codes that all channels share,
    NaN where there is none; then gaps are 1. Arrays have the channels as the codes lie.
    """

    wanted: ClassVar[str] = ALONE
    scales: FloatArray
    low: IntArray
    high: IntArray
    zero: int
    mode: str
    sign: bool
    gaps: IntArray
    one: float

    @property
    def spacing(self) -> IntArray:
        """Of the codes of each channel."""
        return self.gaps * (2 if self.sign else 1)

    @property
    def rows(self) -> int:
        """The channels."""
        return len(self.scales)

    @property
    def scale(self) -> float:  # type: ignore[override]
        """That all channels share, or NaN."""
        return self.one

    @property
    def format(self) -> Format:  # type: ignore[override]
        """The narrowest that holds the codes of all channels."""
        low, high = ((end - self.zero) * self.gaps for end in (self.low, self.high))
        power = None if np.isnan(self.one) else power_of_two(self.one)
        return Format.holding(int(low.min()), int(high.max()), -(power or 0))

    @property
    def quant(self) -> Quant | None:
        """None: the format says it, or the Level."""
        return None

    def codes(self, reals: FloatArray) -> IntArray:
        """QONNX's own arithmetic, in float32."""
        ratio = reals.astype(np.float32) / self.scales + np.float32(self.zero)
        if self.sign:
            found = np.where(ratio >= 0, 1.0, -1.0)
        else:
            found = round_reals(np.clip(ratio, self.low, self.high), self.mode) - self.zero
        out: IntArray = found.astype(np.int64) * self.gaps
        return out

    def port(self, node: object) -> dict[str, Any]:
        """Refused: a port rounds all channels alike."""
        raise HwsimError(f"{node}: an input of the graph must have one format for all channels")


def each_channel(
    scales: FloatArray, ends: tuple[IntArray, IntArray], zero: int, mode: str, *, sign: bool
) -> EachChannel:
    """The rules of all channels, in one unit where all scales are powers of two."""
    gaps, one = np.ones(len(scales), np.int64), float("nan")
    powers = [power_of_two(float(scale)) for scale in scales]
    known = [power for power in powers if power is not None]
    if len(known) == len(powers) and max(known) - min(known) <= MOST_APART:
        one = 2.0 ** min(known)
        gaps = np.array([1 << (power - min(known)) for power in known], np.int64)
    elif len(set(scales.tolist())) == 1:
        one = float(scales[0])
    return EachChannel(scales, *ends, zero, mode, sign, gaps, one)


MOST_APART = 12  # powers of two from the finest scale to the coarsest in one format


def by_formats(run: TensorBuilder, real: Real) -> bool:
    """Whether a cast with a format for each channel does it, if all scales are powers of two."""
    functions = [s for s in real.steps if not isinstance(s, Pool)]
    if not all(isinstance(f, Unary) and f.clamp for f in functions):
        return False
    source = real.source

    def fixed(level: object) -> bool:
        plain = isinstance(level, Level) and level.scales is None
        return plain and isinstance(level, Level) and run.types[level.codes.edge].quant is None

    match source:
        case Weighing():
            return fixed(source.input) and source.op.weight_scale is None and exact(run, source)
        case Level():
            return fixed(source)
        case Mean():
            size = source.window.size
            return fixed(source.input) and source.counts is None and size & (size - 1) == 0
        case Pair():
            return fixed(source.a) and fixed(source.b)
    return False
