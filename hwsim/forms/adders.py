"""A scaled add as integers: proved on every pair of codes, so any form that agrees may be used."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from hwsim.fixed import Rounding, shift_round
from hwsim.forms.requantizers import Output, round_to_f32
from hwsim.ops.base import IntArray, TensorType
from hwsim.ops.scaled_add import ScaledAdd

LONGEST = 26  # bits behind the binary point that narrow sums are tried with
FEW = 12  # codes of each input that refuse most weights before all are asked
MOST_MOVES = 12  # of the entries of tables that are fitted
FAR = 1 << 60  # beyond all sums of entries
NEAR = (-1, 0, 1, 2)  # around the floor of the exact multiplier


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightedSum:
    """`round((a * ma + b * mb + r) * 2**-shift)`."""

    ma: int
    mb: int
    r: int
    shift: int
    rounding: Rounding
    out: Output

    def run(self, a: IntArray, b: IntArray) -> IntArray:
        """The codes of pairs."""
        y = shift_round(np, a * self.ma + b * self.mb + self.r, self.shift, self.rounding)
        return self.out.run(np.asarray(y))


@dataclass(frozen=True, slots=True, kw_only=True)
class TabledSum:
    """The shared base of sums of what tables hold for each code.

    Entries are in the order of the codes, the lowest first: `a_low` and `b_low`.
    """

    table_a: tuple[int, ...]
    table_b: tuple[int, ...]
    a_low: int
    b_low: int
    out: Output

    def total(self, a: IntArray, b: IntArray) -> IntArray:
        """The sums of the entries of pairs."""
        return np.asarray(
            np.array(self.table_a)[a - self.a_low] + np.array(self.table_b)[b - self.b_low]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSum(TabledSum):
    """`rint(float32((table_a[a] + table_b[b]) * 2**-shift))`: one float32 addition, literally."""

    shift: int

    def run(self, a: IntArray, b: IntArray) -> IntArray:
        """The codes of pairs."""
        total = self.total(a, b)
        whole = shift_round(np, round_to_f32(np.abs(total)), self.shift, Rounding.RND_CONV)
        return self.out.run(np.asarray(np.sign(total) * whole))


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedSum(TabledSum):
    """`round((table_a[a] + table_b[b]) * 2**-shift)`, with entries that were chosen to be right."""

    shift: int
    rounding: Rounding

    def run(self, a: IntArray, b: IntArray) -> IntArray:
        """The codes of pairs."""
        rounded = shift_round(np, self.total(a, b), self.shift, self.rounding)
        return self.out.run(np.asarray(rounded))


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchedSum(TabledSum):
    """`low` and one more for each threshold that `table_a[a] + table_b[b]` reaches.

    `thresholds` never fall.
    """

    thresholds: tuple[int, ...]
    low: int

    def run(self, a: IntArray, b: IntArray) -> IntArray:
        """The codes of pairs."""
        reached = np.searchsorted(np.array(self.thresholds), self.total(a, b), side="right")
        return np.asarray(reached + self.low)


SumForm = WeightedSum | TableSum | FittedSum | SearchedSum


def choose_add(op: ScaledAdd, a: TensorType, b: TensorType) -> SumForm | None:
    """The cheapest integer form that gives the codes of `op` for all pairs of codes of `a` and `b`.

    Only codes in the proven ranges of `a` and `b` count. None where no form here agrees.
    """
    rows, columns = np.arange(a.lo, a.hi + 1), np.arange(b.lo, b.hi + 1)
    whole = op.pairs([a, b])
    table = whole[a.lo - a.format.min :, b.lo - b.format.min :][: len(rows), : len(columns)]
    out = Output(format=op.out, zero_point=-op.shifts[2])
    divisor = 1.0 if op.divisor is None else op.divisor
    ratios = (op.ratios[0] / divisor, op.ratios[1] / divisor)
    narrow = narrowest_add(table, a.lo, b.lo, ratios, out)
    if narrow is not None:
        return narrow
    exact = table_sum(op, a, b) if math.frexp(divisor)[0] == 0.5 else None
    grid = np.meshgrid(rows, columns, indexing="ij")
    if exact is not None and (exact.run(*grid) == table).all():
        return exact
    return fitted_sum(table, a.lo, b.lo, ratios, out) or searched_sum(op, a, b, table)


def narrowest_add(
    table: IntArray, a_low: int, b_low: int, ratios: tuple[float, float], out: Output
) -> WeightedSum | None:
    """The weighted sum with the shortest shift that agrees with `table[a - a_low, b - b_low]`.

    `ratios` are about the real weights of a and b. Ties to even are tried where a floor fails.
    """
    a, b = np.indices(table.shape).reshape(2, -1) + np.array([[a_low], [b_low]])
    codes = table.reshape(-1)
    strides = [-(-n // FEW) for n in table.shape]
    some = np.arange(codes.size).reshape(table.shape)[:: strides[0], :: strides[1]].reshape(-1)
    for shift in range(1, LONGEST + 1):
        for ma, mb in _weights(ratios, shift):
            for rounding in (Rounding.TRN, Rounding.RND_CONV):
                y = a[some] * ma + b[some] * mb
                least, most = _offsets(y, codes[some], shift, rounding, out)
                if least.max() > most.min():
                    continue
                least, most = _offsets(a * ma + b * mb, codes, shift, rounding, out)
                low, high = int(least.max()), int(most.min())
                if low <= high:
                    r, end = min(max(low, 0), high), _after(rounding, out)
                    return WeightedSum(ma=ma, mb=mb, r=r, shift=shift, rounding=rounding, out=end)
                some = np.append(some, [least.argmax(), most.argmin()])  # refuse others too
    return None


def _weights(ratios: tuple[float, float], shift: int) -> Iterator[tuple[int, int]]:
    """Pairs of multipliers around the exact ones."""
    a, b = (math.floor(ratio * 2**shift) for ratio in ratios)
    signs = [1 if ratio > 0 else -1 for ratio in ratios]
    tried = ((a + da, b + db) for da in NEAR for db in NEAR)
    return ((ma, mb) for ma, mb in tried if ma * signs[0] >= 0 and mb * signs[1] >= 0)


def _offsets(
    y: IntArray, table: IntArray, shift: int, rounding: Rounding, out: Output
) -> tuple[IntArray, IntArray]:
    """The least and the greatest offset with which each rounded sum is its code in the table."""
    if rounding is Rounding.TRN:
        least, most = table << shift, ((table + 1) << shift) - 1
    else:
        code = table - out.zero_point
        odd = code & 1  # an odd code gives its two ties away
        half = 1 << (shift - 1)
        least, most = (code << shift) - half + odd, (code << shift) + half - odd
    ends = np.iinfo(np.int64)  # codes at the ends of the output bound on one side only
    return (
        np.where(table > out.low, least - y, ends.min),
        np.where(table < out.high, most - y, ends.max),
    )


def fitted_sum(
    table: IntArray, a_low: int, b_low: int, ratios: tuple[float, float], out: Output
) -> FittedSum | None:
    """Tables whose sums agree with `table[a - a_low, b - b_low]`, with the shortest shift.

    Each pair of codes bounds a sum of two entries. From about `ratios * codes` on, the entries of
    one table and then those of the other move between the bounds that the rest leaves them.
    """
    first, second = (
        np.arange(low, low + size) * ratio
        for low, size, ratio in zip((a_low, b_low), table.shape, ratios, strict=True)
    )
    inside = (table > out.low) & (table < out.high)  # where no sum is cut
    if inside.any():
        first += (table - first[:, None] - second)[inside].mean()
    for shift in range(1, LONGEST + 1):
        for rounding in (Rounding.TRN, Rounding.RND_CONV):
            half = 0.5 if rounding is Rounding.TRN else -out.zero_point
            u, v = (np.rint(x * 2.0**shift).astype(np.int64) for x in (first + half, second))
            least, most = _offsets(np.zeros_like(table), table, shift, rounding, out)
            found = _between(u, v, least, most)
            if found is not None:
                table_a, table_b = (tuple(map(int, entries)) for entries in found)
                return FittedSum(
                    table_a=table_a,
                    table_b=table_b,
                    a_low=a_low,
                    b_low=b_low,
                    shift=shift,
                    rounding=rounding,
                    out=_after(rounding, out),
                )
    return None


def _between(
    u: IntArray, v: IntArray, least: IntArray, most: IntArray
) -> tuple[IntArray, IntArray] | None:
    """Whole entries near `u` and `v` with all sums from `least` to `most`; None where none come.

    `least` and `most` are for each pair; int64's ends stand for no bound.
    """
    low, high = np.maximum(least, -FAR), np.minimum(most, FAR)
    for _ in range(MOST_MOVES):
        u = _moved(u, (low - v).max(axis=1), (high - v).min(axis=1))
        v = _moved(v, (low - u[:, None]).max(axis=0), (high - u[:, None]).min(axis=0))
        total = u[:, None] + v
        if ((low <= total) & (total <= high)).all():
            return u, v
    return None


def _moved(entries: IntArray, least: IntArray, most: IntArray) -> IntArray:
    """Into the bounds, or between them where they cross."""
    return np.where(least <= most, np.clip(entries, least, most), (least + most) >> 1)


def _after(rounding: Rounding, out: Output) -> Output:
    """The output behind a rounding: a floor takes its zero point with the offset."""
    return Output(format=out.format, window=out.window) if rounding is Rounding.TRN else out


def table_sum(op: ScaledAdd, a: TensorType, b: TensorType) -> TableSum | None:
    """Both addends for each code as exact integers over one power of two; None past 62 bits."""
    divisor = 1.0 if op.divisor is None else op.divisor  # a power of two
    whole = _whole(*([x / divisor for x in addends] for addends in _addends(op, a, b)))
    if whole is None:
        return None
    table_a, table_b, shift = whole
    return TableSum(
        table_a=table_a,
        table_b=table_b,
        a_low=a.lo,
        b_low=b.lo,
        shift=shift,
        out=Output(format=op.out, zero_point=-op.shifts[2]),
    )


def _addends(op: ScaledAdd, a: TensorType, b: TensorType) -> tuple[list[float], list[float]]:
    """What each code of `a` and of `b` adds, rounded as the operator rounds it before its sum."""
    (ra, rb), (sa, sb, _) = op.ratios, op.shifts
    first = [(code + sa) * ra for code in range(a.lo, a.hi + 1)]
    second = [float(np.float32((code + sb) * rb + op.offset)) for code in range(b.lo, b.hi + 1)]
    if op.divisor is not None:
        first = [float(np.float32(x)) for x in first]
    return first, second


def _whole(
    first: Sequence[float], second: Sequence[float]
) -> tuple[tuple[int, ...], tuple[int, ...], int] | None:
    """Both addends as whole numbers of `2**-shift`, and the shift; None past 62 bits."""
    shift = max(2, *(x.as_integer_ratio()[1].bit_length() - 1 for x in (*first, *second)))
    most = max(abs(x) for x in first) + max(abs(x) for x in second)
    if most * 2.0**shift >= 2.0**62:
        return None
    table_a, table_b = (tuple(int(x * 2.0**shift) for x in xs) for xs in (first, second))
    return table_a, table_b, shift


def searched_sum(
    op: ScaledAdd, a: TensorType, b: TensorType, table: IntArray
) -> SearchedSum | None:
    """Exact addends in as few bits as tell all codes of `table` apart, and where each code begins.

    The float32 sum rises with the exact one, and all that follows rises with it. None past 62 bits.
    """
    whole = _whole(*_addends(op, a, b))
    if whole is None:
        return None
    addends = [np.array(entries) for entries in whole[:2]]
    most = max(int(np.abs(entries).max()) for entries in addends).bit_length()
    for dropped in reversed(range(most)):
        table_a, table_b = (entries >> dropped for entries in addends)
        thresholds = _beginnings(table_a[:, None] + table_b, table)
        if thresholds is not None:
            return SearchedSum(
                table_a=tuple(map(int, table_a)),
                table_b=tuple(map(int, table_b)),
                a_low=a.lo,
                b_low=b.lo,
                thresholds=thresholds,
                low=int(table.min()),
                out=Output(format=op.out),
            )
    return None


def _beginnings(total: IntArray, table: IntArray) -> tuple[int, ...] | None:
    """The least sum of each code but the lowest; None where a sum is in two codes' ranges.

    A code that no sum has begins where the next one does.
    """
    order = np.argsort(total, axis=None, kind="stable")
    sums, codes = total.ravel()[order], table.ravel()[order]
    steps = np.flatnonzero(np.diff(codes))
    if (np.diff(codes) < 0).any() or (sums[steps] == sums[steps + 1]).any():
        return None
    places = np.searchsorted(codes, np.arange(codes[0] + 1, codes[-1] + 1))
    return tuple(map(int, sums[places]))
