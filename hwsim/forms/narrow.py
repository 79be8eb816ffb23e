"""The narrowest `(x * m + r) >> s` through given thresholds.

Code `j` must be reached at its threshold `t` and not at `t - 1`: the line `y = x * m + r` (over
`2**s`) must pass on or above every point `(t, j)` and below every point `(t - 1, j)`. The slopes
of all lines that separate the two sets form one open interval, which the two convex hulls give
exactly; the narrowest `m` is the first `s` at which `m / 2**s` falls into it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from hwsim.fixed import Rounding
from hwsim.forms.requantizers import Affine, Output
from hwsim.forms.thresholds import StepFunction

Point = tuple[int, int]
LONGEST = 48  # no multiplier of interest needs a longer shift


@dataclass(frozen=True, slots=True)
class Corridor:
    """The lines of one channel: hulls to pass between, and the open interval of their slopes.

    `least` and `most` are fractions (numerator, denominator above 0).
    """

    under: list[Point]
    over: list[Point]
    least: Point
    most: Point

    def offset(self, m: int, shift: int) -> int:
        """An r that fits, with as many zero bits at its end as there can be."""
        lowest = max((j << shift) - t * m for t, j in self.under)
        highest = min((j << shift) - t * m for t, j in self.over) - 1
        if lowest > highest:
            raise AssertionError("a slope inside the interval must have an offset")
        zeros = max(lowest.bit_length(), highest.bit_length())
        while (highest >> zeros) << zeros < lowest:
            zeros -= 1
        return (highest >> zeros) << zeros


@dataclass(frozen=True, slots=True)
class Lines:
    """The lines of one channel: one corridor, or one on each side of a split, all of one slope."""

    parts: list[Corridor]

    def slope(self, shift: int) -> int | None:
        """The smallest m of 0 or more with `m / 2**shift` inside every interval."""
        m = max(max((p.least[0] << shift) // p.least[1] + 1 for p in self.parts), 0)
        return m if all(m * p.most[1] < p.most[0] << shift for p in self.parts) else None

    def shift(self) -> int | None:
        """The shortest shift that has a slope."""
        return next((s for s in range(LONGEST) if self.slope(s) is not None), None)


def corridor(
    thresholds: Iterable[int], *, lo: int, hi: int, low: int, loose: Collection[int] = ()
) -> Corridor | None:
    """The lines through the thresholds of codes above `low` on `lo..hi`; None if there is none.

    Those at the places `loose`, which lie inside `lo + 2..hi - 1`, may be missed by one.
    """
    points = [(min(max(t, lo), hi + 1), low + 1 + k) for k, t in enumerate(thresholds)]
    far = [int(k in loose) for k in range(len(points))]
    under = _hull([(t + d, j) for (t, j), d in zip(points, far, strict=True) if t <= hi], 1)
    over = _hull([(t - 1 - d, j) for (t, j), d in zip(points, far, strict=True) if t > lo], -1)
    if not under:
        under = [(lo, low)]  # the output never rises: any line at or below its only code will do
    if not over:
        over = [(hi, low + len(points) + 1)]  # it is saturated from the start
    least, most = (-1, 1), (1 << 60, 1)
    for t, j in under:
        for u, k in over:
            rise, run = j - k, t - u  # the line needs rise < run * slope
            if run > 0 and rise * least[1] > least[0] * run:
                least = (rise, run)
            elif run < 0 and -rise * most[1] < most[0] * -run:
                most = (-rise, -run)
            elif run == 0 and rise >= 0:
                return None
    return Corridor(under, over, least, most) if least[0] * most[1] < most[0] * least[1] else None


def lines_of(
    column: list[int],
    *,
    lo: int,
    hi: int,
    low: int,
    split: int | None = None,
    loose: Collection[int] = (),
) -> Lines | None:
    """The lines of one channel whose thresholds are `column`; those at `loose` as in a corridor."""
    sides = [(lo, hi)] if split is None else [(lo, min(hi, split - 1)), (max(lo, split), hi)]
    parts = [corridor(column, lo=a, hi=max(a, b), low=low, loose=loose) for a, b in sides]
    whole = [part for part in parts if part is not None]
    return Lines(whole) if len(whole) == len(parts) else None


def _hull(points: list[Point], side: int) -> list[Point]:
    """The upper (side 1) or lower (-1) convex hull of points given from left to right."""
    hull: list[Point] = []
    for x, y in points:
        if hull and hull[-1][0] == x:
            if side * (y - hull[-1][1]) <= 0:
                continue
            hull.pop()
        while len(hull) > 1:
            (ax, ay), (bx, by) = hull[-2:]
            if side * ((bx - ax) * (y - ay) - (by - ay) * (x - ax)) < 0:
                break
            hull.pop()
        hull.append((x, y))
    return hull


def narrowest(
    steps: StepFunction, out: Output, *, shared: bool, split: int | None = None
) -> Affine | None:
    """The multiply-add-shift with the thresholds of `steps` and the shortest shifts.

    With `shared`, all channels shift by the same distance, so that it is wiring. With a `split`,
    inputs below it have an `r` of their own. None where a channel has no such form. The zero point
    is part of `r`: `out` is used for its range only.
    """
    lines = []
    for c, column in enumerate(steps.at.T.tolist()):
        line = lines_of(
            column, lo=int(steps.lo[c]), hi=int(steps.hi[c]), low=steps.low, split=split
        )
        if line is None:
            return None
        lines.append(line)
    return along(lines, out, shared=shared, split=split)


def along(
    lines: Sequence[Lines], out: Output, *, shared: bool, split: int | None = None
) -> Affine | None:
    """The multiply-add-shift along lines of each channel, with the shortest shifts."""
    shifts = [shift for line in lines if (shift := line.shift()) is not None]
    if len(shifts) < len(lines):
        return None
    if shared:
        shifts = [max(shifts)] * len(lines)
    slopes = [line.slope(s) or 0 for line, s in zip(lines, shifts, strict=True)]
    offsets = [
        [part.offset(m, s) for part in line.parts]
        for line, m, s in zip(lines, slopes, shifts, strict=True)
    ]
    return Affine(
        m=tuple(slopes),
        r=tuple(r[-1] for r in offsets),
        shift=tuple(shifts),
        rounding=Rounding.TRN,
        out=Output(format=out.format, window=out.window),
        split=split,
        r_below=None if split is None else tuple(r[0] for r in offsets),
    )
