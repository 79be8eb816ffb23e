"""From exact whole numbers through float32 arithmetic to a quantizer's codes, as thresholds.

A runtime that computes node by node in float32 gives each whole number of an edge one code, channel
by channel. Where that function steps one way it is its thresholds, found by bisection with the
runtime's own arithmetic; so the codes are the runtime's wherever it has the sum itself exactly. For
sums that it may have rounded, the thresholds that lie so near are counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hwsim.fixed import Format
from hwsim.frontends.shared.values import Arithmetic, FloatArray, Unary
from hwsim.ops import Op, Quant, Table, TensorType, Thresholds
from hwsim.ops.base import IntArray
from hwsim.ops.elementwise import MOST_ENTRIES
from hwsim.ops.thresholds import MOST_THRESHOLDS

Reals = npt.NDArray[np.float64]
Function = Unary | Arithmetic

MOST_TRIED = 1 << 24
"""Codes that are tried one by one where a function is not known to step one way."""


@dataclass(frozen=True, slots=True, eq=False)
class WholeSums:
    """Whole numbers of an edge, and the float32 that the model's runtime has for each.

    `reals` takes codes (..., 1 or channels) and gives what they mean in float64; `error` is how far
    the runtime's own may lie from that, one number or one a channel, and 0 where they are exact.
    """

    kind: TensorType
    reals: Callable[[IntArray], Reals]
    error: Reals
    rows: int  # 1, or the number of channels where their reals differ
    scale: Reals | None = None  # what a code is worth, with `first`, where it is just that
    first: tuple[Function, ...] = ()  # what the runtime computes of them in any case
    of_pair: Callable[[IntArray, IntArray], IntArray] | None = None  # from two tensors' codes


@dataclass(frozen=True, slots=True, eq=False)
class FloatRule:
    """What becomes of reals: functions one after the other, then a quantizer's codes.

    Codes are `spacing` apart; `rows` is 1, or the number of channels where codes differ by channel.
    """

    functions: tuple[Function, ...]
    codes: Callable[[FloatArray], IntArray]
    spacing: int | IntArray = 1
    rows: int = 1

    def of(self, reals: Reals) -> IntArray:
        """The codes of reals (..., 1 or channels), each function rounded to float32."""
        with np.errstate(over="ignore", under="ignore"):
            x = reals.astype(np.float32)
            for function in self.functions:
                x = function.function(x)
        return self.codes(x)

    @property
    def steady(self) -> bool:
        """Whether every function is one that surely never turns, in its last bits too."""
        return all(isinstance(f, Arithmetic) or f.clamp for f in self.functions)

    @property
    def all_rows(self) -> int:
        """The number of rows that functions and codes need."""
        sizes = [f.values.size for f in self.functions if isinstance(f, Arithmetic)]
        return max([self.rows, *sizes])


@dataclass(frozen=True, slots=True, eq=False)
class FoundThresholds:
    """The thresholds of a step function: `first[r] + step[r] * n` where a code reaches n of them.

    `at[r]` are in order, `hi + 1` where there is none. `doubtful` of `count` lie so near to a sum
    that the runtime, which may have rounded it, may give another code.
    """

    at: IntArray
    first: IntArray
    step: IntArray
    count: int
    doubtful: int

    def codes(self, k: IntArray) -> IntArray:
        """What it gives for codes of the edge, (..., 1)."""
        counts = [np.searchsorted(row, k[..., 0], side="right") for row in self.at]
        return self.first + self.step * np.stack(counts, axis=-1)

    def ops(self, out: Format, quant: Quant | None) -> list[Op]:
        """The operator, with one row where all are alike."""
        at, first, step = self.at, self.first, self.step
        if len(at) > 1 and all((part == part[:1]).all() for part in (at, first, step)):
            at, first, step = at[:1], first[:1], step[:1]
        return [Thresholds(values=at, base=first, step=step, out=out, quant=quant)]

    def equal(self, codes: Callable[[IntArray], IntArray], kind: TensorType) -> bool:
        """Whether another function of the codes has the very same thresholds.

        It takes codes with the rows innermost, and never turns.
        """
        at = self.at.T
        places = np.arange(1, len(at) + 1)[:, None]
        below, above = np.clip(at - 1, kind.lo, kind.hi), np.clip(at, kind.lo, kind.hi)
        wanted = self.first + self.step * places
        here, before = codes(above), codes(below)
        turned = np.where(self.step < 0, -1, 1)
        reached = (at > kind.hi) | (turned * (here - wanted) >= 0)
        missed = turned * (before - wanted) < 0
        ends = codes(np.full((1, len(self.at)), kind.lo))
        return bool(reached.all() and missed.all() and (ends == self.first).all())


@dataclass(frozen=True, slots=True, eq=False)
class FoundTable:
    """A function that turns: its codes for all that an edge can have, from `first` on.

    `doubtful` of `count` are codes that the runtime may give otherwise.
    """

    held: IntArray
    first: int
    count: int
    doubtful: int

    def codes(self, k: IntArray) -> IntArray:
        """What it gives for codes of the edge."""
        return self.held[k - self.first]

    def ops(self, out: Format, quant: Quant | None) -> list[Op]:
        """The operator."""
        return [Table(values=self.held, out=out, quant=quant, first=self.first)]

    def equal(self, codes: Callable[[IntArray], IntArray], kind: TensorType) -> bool:
        """Whether another function of the codes is the same."""
        met = np.arange(kind.lo, kind.hi + 1)
        return bool((codes(met[:, None])[:, 0] == self.held).all())


def step_function(sums: WholeSums, rule: FloatRule) -> FoundThresholds | FoundTable | None:
    """The thresholds of a rule on an edge's codes, or a table of one that turns.

    None where there would be too many, and for a rule that turns and is no table.
    """
    rows = max(sums.rows, rule.all_rows)
    kind = sums.kind

    def codes(k: IntArray) -> IntArray:
        return np.broadcast_to(rule.of(sums.reals(k)), k.shape)

    if not rule.steady:
        span = kind.hi - kind.lo + 1
        if span * rows > MOST_TRIED:
            return None
        tried = codes(np.broadcast_to(np.arange(kind.lo, kind.hi + 1)[:, None], (span, rows)))
        if not _one_way(tried):
            return _entries(sums, rule, tried)
    ends = (np.full((1, rows), end, np.int64) for end in (kind.lo, kind.hi))
    first, last = (codes(end)[0] for end in ends)
    counts = np.abs(last - first) // rule.spacing
    most = max(int(counts.max()), 1)
    if most * rows > MOST_THRESHOLDS:
        return None
    step = rule.spacing * np.where(last < first, -1, 1)
    places = np.arange(1, most + 1)[:, None]

    def reached(found: IntArray) -> npt.NDArray[np.bool_]:
        whole: npt.NDArray[np.bool_] = (found - first) // step >= places
        return whole

    low = np.full((most, rows), kind.lo, np.int64)
    high = np.full((most, rows), kind.hi, np.int64)
    while (high - low > 1).any():
        middle = low + (high - low) // 2
        over = reached(codes(middle))
        high, low = np.where(over, middle, high), np.where(over, low, middle)
    there = places <= counts
    doubtful = 0
    if sums.error.any():
        above = reached(rule.of(sums.reals(high) - sums.error))
        below = reached(rule.of(sums.reals(high - 1) + sums.error))
        doubtful = int((there & (~above | below)).sum())
    at = np.where(there, high, kind.hi + 1).T
    return FoundThresholds(np.ascontiguousarray(at), first, step, int(counts.sum()), doubtful)


def _one_way(codes: IntArray) -> bool:
    """Whether each column never falls or never rises."""
    moves = np.diff(codes, axis=0)
    return bool(((moves >= 0).all(axis=0) | (moves <= 0).all(axis=0)).all())


def _entries(sums: WholeSums, rule: FloatRule, codes: IntArray) -> FoundTable | None:
    """One row of codes as a table; None where there are several, or too many."""
    if len(codes) > MOST_ENTRIES or (codes != codes[:, :1]).any():
        return None
    doubtful = 0
    if sums.error.any():
        met = sums.reals(np.arange(sums.kind.lo, sums.kind.hi + 1)[:, None])
        ends = rule.of(met - sums.error), rule.of(met + sums.error)
        doubtful = int((ends[0] != ends[1]).any(axis=1).sum())
    return FoundTable(codes[:, 0], sums.kind.lo, len(codes), doubtful)
