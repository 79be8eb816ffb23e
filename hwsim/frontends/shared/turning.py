"""Functions that turn, of exact whole numbers: thresholds that count, and a table of the count."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.frontends.shared.paths import Path, path
from hwsim.frontends.shared.step_functions import FloatRule, WholeSums
from hwsim.frontends.shared.values import Arithmetic, FloatArray
from hwsim.ops import ChannelTable, Op, Quant, Table, TensorType, Thresholds
from hwsim.ops.base import IntArray
from hwsim.ops.thresholds import MOST_THRESHOLDS


@dataclass(frozen=True, slots=True, eq=False)
class FoundPath:
    """`held[r, n]` where a whole number reaches n of the thresholds `at[r]`, `hi + 1` for none.

    There is one row of `held` where all channels go the same way, of whatever part.
    """

    at: IntArray
    held: IntArray
    one_way: int
    count: int
    doubtful: int = 0

    def codes(self, k: IntArray) -> IntArray:
        """What it gives for codes of the edge, (..., 1 or rows)."""
        rows = len(self.at)
        spread = np.broadcast_to(k, (*k.shape[:-1], max(rows, k.shape[-1])))
        found = [
            self.held[r % len(self.held)][
                np.searchsorted(self.at[r % rows], spread[..., r], side="right")
            ]
            for r in range(spread.shape[-1])
        ]
        return np.stack(found, axis=-1)

    def equal(self, codes: Callable[[IntArray], IntArray], kind: TensorType) -> bool:
        """Whether a function that never turns is the same; this one was sought because it may."""
        return False

    def ops(self, out: Format, quant: Quant | None) -> list[Op]:
        """The operators: thresholds alone, where codes only rise or only fall by one."""
        at = self.at if (self.at != self.at[:1]).any() else self.at[:1]
        if self.one_way:
            base, step = self.held[0, :1], np.array([self.one_way])
            return [Thresholds(values=at, base=base, step=step, out=out, quant=quant)]
        zero, one = np.array([0]), np.array([1])
        fmt = Format.holding(0, at.shape[1])
        count = Thresholds(values=at, base=zero, step=one, out=fmt)
        if len(self.held) == 1:
            return [count, Table(values=self.held[0], out=out, quant=quant, first=0)]
        return [count, ChannelTable(values=self.held, out=out, quant=quant, first=0)]


def by_path(sums: WholeSums, rule: FloatRule) -> FoundPath:
    """The codes of a rule on an edge's whole numbers, by the path of its function.

    HwsimError where it has too many thresholds, or turns too often.
    """
    rows = max(sums.rows, rule.all_rows)
    ends = sums.reals(np.array([[sums.kind.lo] * rows, [sums.kind.hi] * rows]))
    ends = np.broadcast_to(ends, (2, rows))
    functions = (*sums.first, *rule.functions)
    if all(f.values.size == 1 for f in functions if isinstance(f, Arithmetic)) and rule.rows == 1:
        one = _path(rule, (float(ends.min()), float(ends.max())))
        at, one = _thresholds(sums, one, rows)
        held = one.codes[None]
    else:
        paths = [_path(_of_row(rule, r), (ends[0, r], ends[1, r])) for r in range(rows)]
        found = [_thresholds(_row_of(sums, r), p, 1) for r, p in enumerate(paths)]
        most = max(part.shape[1] for part, _ in found)
        at = np.full((rows, most), sums.kind.hi + 1, np.int64)
        held = np.zeros((rows, most + 1), np.int64)
        for r, (part, one) in enumerate(found):
            at[r, : part.shape[1]] = part[0]
            held[r] = np.pad(one.codes, (0, most - part.shape[1]), mode="edge")
        one = Path(held[0], np.zeros(most, np.float32))
    if at.size > MOST_THRESHOLDS:
        raise HwsimError(
            f"what is computed before it must have at most {MOST_THRESHOLDS} thresholds in all "
            f"channels, not {at.size}: its quantizer must have fewer bits"
        )
    one_way = one.one_way if len(held) == 1 else 0
    doubtful = _doubtful(sums, at, rule) if sums.error.any() else 0
    return FoundPath(at, held, one_way, int((at <= sums.kind.hi).sum()), doubtful)


def _path(rule: FloatRule, ends: tuple[float, float]) -> Path:
    def function(x: FloatArray) -> FloatArray:
        for step in rule.functions:
            x = step.function(x)
        return x

    return path(function, rule.codes, ends)


def _of_row(rule: FloatRule, row: int) -> FloatRule:
    """What becomes of one channel."""
    functions = tuple(
        replace(f, values=f.values[row : row + 1])
        if isinstance(f, Arithmetic) and f.values.size > 1
        else f
        for f in rule.functions
    )
    if rule.rows == 1:
        return replace(rule, functions=functions)

    def codes(x: FloatArray) -> IntArray:
        return rule.codes(np.repeat(x[..., None], rule.rows, axis=-1))[..., row]

    return FloatRule(functions, codes)


def _row_of(sums: WholeSums, row: int) -> WholeSums:
    """Whole numbers of one channel."""
    if sums.rows == 1:
        return sums
    return replace(sums, reals=lambda k: sums.reals(np.repeat(k, sums.rows, axis=-1))[..., [row]])


def _thresholds(sums: WholeSums, one: Path, rows: int) -> tuple[IntArray, Path]:
    """The least whole number of each row that reaches each start, and the path that is met."""
    starts = one.starts[:, None]
    shape = (len(starts), rows)
    low = np.full(shape, sums.kind.lo - 1, np.int64)
    high = np.full(shape, sums.kind.hi + 1, np.int64)
    while (high - low > 1).any():
        middle = low + (high - low) // 2
        over = sums.reals(middle).astype(np.float32) >= starts
        high, low = np.where(over, middle, high), np.where(over, low, middle)
    met = (high <= sums.kind.hi).any(axis=1) & (high > sums.kind.lo).any(axis=1)
    if not met.any():
        place = int((high <= sums.kind.lo).all(axis=1).sum())
        only = one.codes[place : place + 1]
        return np.full((rows, 1), sums.kind.hi + 1), Path(np.repeat(only, 2), one.starts[:1])
    first, last = np.flatnonzero(met)[[0, -1]]
    kept = slice(first, last + 1)
    trimmed = Path(one.codes[first : last + 2], one.starts[kept])
    high = high[kept]
    if not trimmed.one_way:  # codes that are passed by at once need no place
        used = np.append((high[1:] != high[:-1]).any(axis=1), True)
        codes = np.append(trimmed.codes[:1], trimmed.codes[1:][used])
        trimmed, high = Path(codes, trimmed.starts[used]), high[used]
    return np.ascontiguousarray(high.T), trimmed


def _doubtful(sums: WholeSums, at: IntArray, rule: FloatRule) -> int:
    """How many thresholds lie so near to a sum that the runtime, which rounds, may differ."""
    rows = len(at)
    near = np.clip(at.T, sums.kind.lo + 1, sums.kind.hi)
    there = near == at.T
    found = np.zeros(near.shape, bool)
    for k in (near - 1, near):
        reals = np.broadcast_to(sums.reals(k), (len(near), rows))
        found |= rule.of(reals - sums.error) != rule.of(reals + sums.error)
    return int((found & there).sum())
