"""From exact sums to codes, as a kernel rounds them in float32: operators with the same codes.

What a kernel does to whole sums never falls, so it is its thresholds on the proven range, found by
bisection with its own arithmetic. A layer whose bias is no whole number of steps gets one in finer
steps, between the nearest thresholds of each channel, and a plain requantizer; where no such bias
has the very same thresholds, they stand there themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from hwsim.fixed import Format
from hwsim.ops import Conv, Dense, Op, Quant, Relu, Requantize, Scheme, TensorType, Thresholds
from hwsim.ops.base import Carrier, IntArray, int_array
from hwsim.ops.thresholds import MOST_THRESHOLDS

Float64Array = npt.NDArray[np.float64]
Rounded = Callable[[IntArray], IntArray]
"""Codes, not yet saturated, of whole sums without their bias: (..., channels)."""
COARSE, FINEST = 10, 32  # fraction bits that a bias may get
SCHEMES = (Scheme.F32_RNE_OUT, Scheme.F32_RNE_IN)


@dataclass(frozen=True, slots=True, eq=False)
class CodeTarget:
    """The codes that sums become: a format, the least code (a fused ReLU's), what codes mean."""

    format: Format
    low: int
    quant: Quant

    @property
    def clamp(self) -> list[Op]:
        """A ReLU, if there is one."""
        return [] if self.low == self.format.min else [Relu(zero_point=self.low)]


@dataclass(frozen=True, slots=True, eq=False)
class ChannelSteps:
    """Codes of whole numbers from `lo` to `hi`, one function a channel, that never fall.

    `at[c, j]` is the least number whose code is above `first[c] + j`; `hi + 1` where there is none.
    """

    lo: int
    hi: int
    first: IntArray
    last: IntArray
    at: IntArray

    @property
    def there(self) -> npt.NDArray[np.bool_]:
        """Which thresholds there are."""
        return np.arange(self.at.shape[1]) < (self.last - self.first)[:, None]

    def part(self, channels: slice) -> ChannelSteps:
        """Those of some channels."""
        held = (each[channels] for each in (self.first, self.last, self.at))
        return ChannelSteps(self.lo, self.hi, *held)

    def same(self, codes: Rounded) -> bool:
        """Whether another function that never falls is the same one."""
        low, high = (np.full((1, len(self.at)), end) for end in (self.lo, self.hi))
        if (codes(low) != self.first).any() or (codes(high) != self.last).any():
            return False
        above, below = np.clip(self.at, self.lo, self.hi), np.clip(self.at - 1, self.lo, self.hi)
        wanted = self.first[:, None] + 1 + np.arange(self.at.shape[1])
        fits = (wanted <= codes(above.T).T) & (wanted > codes(below.T).T)
        return bool((fits | ~self.there).all())

    def thresholds(self, target: CodeTarget) -> Thresholds:
        """The operator that is this function."""
        step = np.ones(len(self.at), np.int64)
        rows = self.at, self.first, step
        if all((part == part[:1]).all() for part in rows):
            rows = self.at[:1], self.first[:1], step[:1]
        values, base, step = rows
        return Thresholds(
            values=values, base=base, step=step, out=target.format, quant=target.quant
        )


def step_function(lo: int, hi: int, codes: Rounded) -> ChannelSteps:
    """The thresholds of `codes`, which takes (..., channels) whole numbers and never falls."""
    first, last = (codes(np.array([[end]]))[0] for end in (lo, hi))
    most = max(int((last - first).max()), 1)
    wanted = (first[:, None] + 1 + np.arange(most)).T
    low = np.full((most, len(first)), lo, np.int64)
    high = np.full((most, len(first)), hi, np.int64)
    while (high - low > 1).any():
        middle = low + (high - low) // 2
        over = codes(middle) >= wanted
        high, low = np.where(over, middle, high), np.where(over, low, middle)
    there = np.arange(most)[:, None] < last - first
    at = np.where(there, high, hi + 1).T
    return ChannelSteps(lo, hi, first, last, np.ascontiguousarray(at))


def saturated(codes: Rounded, target: CodeTarget) -> Rounded:
    """The same kept to the codes that there are."""
    return lambda sums: int_array(np.clip(codes(sums), target.low, target.format.max), "codes")


@dataclass(frozen=True, slots=True, eq=False)
class NearProduct:
    """What a kernel does, as near to one multiplication as it comes.

    `factor` is what a sum is worth in steps of the result, and `bias` what is added to it in steps
    of the sums: float32 numbers, one or one a channel.
    """

    factor: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]


Parts = list[tuple[int, list[Op]]]
"""So many channels one behind the other, and what makes codes of their sums."""


def layer(
    op: Dense | Conv, x: TensorType, codes: Rounded, near: NearProduct, target: CodeTarget
) -> tuple[Dense | Conv, Parts]:
    """A layer, whose bias is left out so far, and what makes of its sums the codes of a kernel."""
    op = replace(op, bias=np.zeros(op.outputs, np.int64), bias_frac=0)
    kind = op.infer([x])
    held = saturated(codes, target)
    wanted = step_function(
        kind.lo, kind.hi, lambda sums: np.broadcast_to(held(sums), (*sums.shape[:-1], op.outputs))
    )
    factor, bias = (
        np.broadcast_to(each, (op.outputs,)).astype(np.float64) for each in (near.factor, near.bias)
    )
    for scheme in SCHEMES:
        for fraction in _fractions(bias):
            finer = replace(
                op, bias=np.rint(bias * 2.0**fraction).astype(np.int64), bias_frac=fraction
            )
            ops = _requantized(finer, x, factor, target, scheme)
            if ops is not None and wanted.same(_of_sums(finer, x, ops)):
                return finer, [(op.outputs, ops)]
    most = MOST_THRESHOLDS // wanted.at.shape[1]
    firsts = range(0, op.outputs, most)
    parts = [wanted.part(slice(first, first + most)) for first in firsts]
    return op, [(len(part.at), [part.thresholds(target)]) for part in parts]


def _fractions(bias: Float64Array) -> Sequence[int]:
    """How many fraction bits a bias may get: none, some, and as many as it has itself."""
    if not bias.any():
        return (0,)
    exact = [b.as_integer_ratio()[1].bit_length() - 1 for b in bias.tolist()]
    most = max(exact)
    return sorted({0 if not most else min(COARSE, most), most} if most <= FINEST else {COARSE})


def _requantized(
    op: Dense | Conv, x: TensorType, factor: Float64Array, target: CodeTarget, scheme: Scheme
) -> list[Op] | None:
    """A requantizer of a layer's sums, whose bias may have fraction bits."""
    frac = op.bias_frac if op.bias.any() else 0
    values = tuple((factor * 2.0**-frac).tolist())
    first = Requantize(
        scheme=scheme,
        multiplier=values[:1] if len(set(values)) == 1 else values,
        out=target.format,
        zero_point=target.quant.zero_point,
        quant=target.quant,
    )
    kind = op.infer([x])
    if max(op.bound([x]), kind.magnitude) >= Carrier.FLOAT64.limit:
        return None
    return [first, *target.clamp]


def _of_sums(op: Dense | Conv, x: TensorType, ops: list[Op]) -> Rounded:
    """What operators behind a layer give for its sums without the bias."""
    kind = op.infer([x])
    frac = op.bias_frac if op.bias.any() else 0

    def codes(sums: IntArray) -> IntArray:
        held = ((sums << frac) + op.bias).astype(np.float64)
        given = kind
        for each in ops:
            held = each.run(np, [held], each.prepare([given], Carrier.FLOAT64))
            (given,) = each.output_types([given])
        return np.asarray(held).astype(np.int64)

    return codes
