"""Requantization as the step function that it is.

A monotone map from the codes `lo..hi` to a narrow format is fully described by its thresholds: for
each code `j` the least `x` that gives `j` or more. Two forms with the same thresholds give the same
integers on the whole range, so hardware may use the cheapest of them (`hwsim.forms.choose`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Overflow
from hwsim.ops.base import IntArray
from hwsim.ops.requantize import Requantize

Bound = int | IntArray  # one for all channels, or one a channel
Ends = tuple[IntArray, IntArray]
NEAR = 4  # how far from a tie of reals its threshold may be, for a start


class Rising(Protocol):
    """A requantizer in any form, whose codes never fall where its inputs rise."""

    def run(self, x: IntArray) -> IntArray:
        """The codes of `x`, whose last axis is the channels."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class StepFunction:
    """The thresholds of a monotone requantizer, channel by channel.

    `at[k, c]` is the least `x` in `lo[c]..hi[c]` whose code is `low + 1 + k` or more, and
    `hi[c] + 1` where there is none. Codes run over `low..high`.
    """

    lo: IntArray
    hi: IntArray
    low: int
    high: int
    at: IntArray

    def equal(self, form: Rising) -> bool:
        """Whether `form` has the very same thresholds."""
        codes = np.arange(self.low + 1, self.high + 1)[:, None]
        here, before = np.clip(self.at, self.lo, self.hi), np.clip(self.at - 1, self.lo, self.hi)
        rises = (self.at > self.hi) | (form.run(here) >= codes)
        falls = (self.at <= self.lo) | (form.run(before) < codes)
        return bool(rises.all() and falls.all())


def literal(op: Requantize, x: IntArray) -> IntArray:
    """The codes of `op` by its own definition; the last axis of `x` is the channels."""
    return _codes(op, int(np.abs(x).max(initial=0)))(x)


def _codes(op: Requantize, most: int) -> Callable[[IntArray], IntArray]:
    """`literal` of inputs whose magnitudes are at most `most`."""
    top = most + abs(op.input_zero_point)
    carrier = op.literal_carrier(top)
    k = op.constants(carrier, top)

    def codes(x: IntArray) -> IntArray:
        return np.asarray(op.run(np, [x.astype(carrier.value)], k)).astype(np.int64)

    return codes


def thresholds(
    op: Requantize, lo: Bound, hi: Bound, window: tuple[int, int] | None = None
) -> StepFunction:
    """All thresholds on `lo..hi` by bisection of the literal semantics, all at once.

    `window` cuts the codes, as a following clip does. `op` must saturate.
    """
    low, high = window or (op.out.min, op.out.max)
    if op.overflow is not Overflow.SAT:
        raise HwsimError(f"a requantizer with thresholds must saturate, not {op.overflow.value}")
    _, below, above = np.broadcast_arrays(np.array(op.multiplier), lo, hi)
    codes = np.arange(low + 1, high + 1)[:, None]
    ends = below.astype(np.int64), above.astype(np.int64) + 1
    codes_of = _codes(op, max(abs(int(np.min(below))), abs(int(np.max(above))) + 1))
    first, last = _bracketed(op, codes_of, codes, ends)
    while (first < last).any():
        middle = (first + last) >> 1  # of 62 bits each
        reached = codes_of(middle) >= codes
        last = np.where(reached, middle, last)
        first = np.where(reached, first, np.minimum(middle + 1, last))
    return StepFunction(below.astype(np.int64), above.astype(np.int64), low, high, first)


def _bracketed(
    op: Requantize, codes_of: Callable[[IntArray], IntArray], codes: IntArray, ends: Ends
) -> Ends:
    """Where each threshold is looked for: near its real number, unless it is not there."""
    tie = (codes - op.zero_point - 0.5) / np.array(op.multiplier) + op.input_zero_point
    guess = np.clip(np.rint(tie), ends[0].astype(np.float64), ends[1].astype(np.float64))
    low = np.maximum(guess.astype(np.int64) - NEAR, ends[0])
    high = np.minimum(low + 2 * NEAR, ends[1] - 1)
    first = np.where(codes_of(low) < codes, low + 1, ends[0])
    last = np.where(codes_of(high) >= codes, high, ends[1])
    return np.minimum(first, last), last
