"""Thresholds as the multiply-add-shift that has them, or all but a few that lie one code beside.

Where float32 arithmetic made the thresholds, most lie on one line and some do not, because sums or
products were rounded. A code that such a threshold decides is moved by one before it is multiplied.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hwsim.fixed import Overflow
from hwsim.forms.narrow import Lines, along, lines_of
from hwsim.forms.requantizers import Affine, Output
from hwsim.forms.thresholds import StepFunction
from hwsim.ops.base import IntArray
from hwsim.ops.thresholds import Thresholds

LONGEST_RUN = 62  # bits of products that are tried
MOST_MOVED = 6  # codes of a channel that are moved up, and as many down
SLOPES = np.linspace(-2, 2, 81)  # inputs by which the last threshold moves against the first
DOUBTS = (0.5, 0.48, 0.4)  # of an input: from how far off a line on a threshold may be missed

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Nudged:
    """An `Affine` whose inputs are one more where they are in `up`, one less where in `down`.

    Both hold a row for each channel of the form, or one; rows have one length, filled up with what
    no input is.
    """

    form: Affine
    up: tuple[tuple[int, ...], ...]
    down: tuple[tuple[int, ...], ...]

    def run(self, x: IntArray) -> IntArray:
        """The codes of `x`, whose last axis is the channels."""
        up, down = (
            (x[..., None] == np.array(rows, np.int64)).any(axis=-1).astype(np.int64)
            for rows in (self.up, self.down)
        )
        return self.form.run(x + up - down)


def step_function(op: Thresholds, lo: int, hi: int) -> StepFunction | None:
    """What `op` gives for codes `lo..hi`, row by row; None where codes fall or rise by steps."""
    if (op.step != 1).any():
        return None
    rows, count = op.rows, op.values.shape[1]
    base = np.broadcast_to(op.base, (rows,))
    values = np.clip(np.broadcast_to(op.values, (rows, count)), lo, hi + 1)
    low, high = int(base.min()), int(base.max()) + count
    at = np.full((high - low, rows), hi + 1, np.int64)
    for row, (first, reached) in enumerate(zip(base - low, values, strict=True)):
        at[:first, row] = lo
        at[first : first + count, row] = reached
    first, last = int((at <= lo).all(axis=1).sum()), int((at <= hi).any(axis=1).sum())
    ends = np.full(rows, lo, np.int64), np.full(rows, hi, np.int64)
    return StepFunction(*ends, low + first, low + max(first, last), at[first:last])


def moved(op: Thresholds, lo: int, hi: int, *, operand_bits: Sequence[int]) -> Nudged | None:
    """The narrowest form that is proved equal to `op` for codes `lo..hi`; None where none is known.

    `operand_bits` are as for `hwsim.forms.choose`.
    """
    steps = step_function(op, lo, hi)
    if steps is None or not len(steps.at):
        return None
    found = [_line(column, lo, hi, steps.low) for column in steps.at.T.tolist()]
    lines = [line for line in found if line is not None]
    if len(lines) < len(found):
        return None
    out = Output(format=op.out, overflow=Overflow.SAT, window=(steps.low, steps.high))
    most = min(operand_bits[-1], LONGEST_RUN - max(abs(lo), abs(hi)).bit_length())
    ways = [along(lines, out, shared=shared) for shared in (True, False)]
    forms = [form for form in ways if form is not None and form.bits <= most]
    for form in sorted(forms, key=lambda form: sum(form.bits > bits for bits in operand_bits)):
        whole = _corrected(steps, form)
        if whole is not None and equal(steps, whole):
            return whole
    return None


def _line(column: list[int], lo: int, hi: int, low: int) -> Lines | None:
    """Lines through all thresholds, or past as few as can be."""
    for loose in _doubtful(column, lo, hi):
        line = lines_of(column, lo=lo, hi=hi, low=low, loose=loose)
        if line is not None:
            return line
    return None


def _doubtful(column: list[int], lo: int, hi: int) -> Iterator[frozenset[int]]:
    """Sets of thresholds that may be missed: none, then those off the line that most are on."""
    yield frozenset()
    at = np.array(column)
    (places,) = np.nonzero((at > lo + 1) & (at < hi))
    if len(places) < 2:
        return
    off = _off(places, at[places] - 0.5)
    for doubt in DOUBTS:
        (far,) = np.nonzero(off > doubt)
        if len(far) <= 2 * MOST_MOVED:
            yield frozenset(places[far].tolist())


def _off(places: IntArray, reals: Floats) -> Floats:
    """How far each threshold is from a line that has as many as can be within half an input."""
    slope, _ = np.polyfit(places, reals, 1)
    best, most = np.full(len(places), np.inf), 0
    for turn in SLOPES / (places[-1] - places[0]):
        rest = reals - (slope + turn) * places
        ordered = np.sort(rest)
        counts = np.searchsorted(ordered, ordered + 1, side="left") - np.arange(len(ordered))
        if counts.max() > most:
            most, first = int(counts.max()), int(counts.argmax())
            within = ordered[first : first + most]
            best = np.abs(rest - (within[0] + within[-1]) / 2)
    return best


def _corrected(steps: StepFunction, form: Affine) -> Nudged | None:
    """The form with the inputs moved that it gives another code; None where they are too many."""
    up, down = (_missed(steps, form, below=below) for below in (False, True))
    longest = max(len(row) for row in (*up, *down))
    if longest > MOST_MOVED:
        return None
    unmet = int(steps.hi.max()) + 1
    rows = [
        tuple((*row, *[unmet] * (max(map(len, each)) - len(row))) for row in each)
        for each in (up, down)
    ]
    return Nudged(form=form, up=rows[0], down=rows[1])


def _missed(steps: StepFunction, form: Affine, *, below: bool) -> list[list[int]]:
    """By channel, thresholds that the form does not reach, or inputs before that it lets reach."""
    x = np.clip(steps.at - below, steps.lo, steps.hi)
    wanted = _wanted(steps, x)
    wrong = (form.run(x) > wanted) if below else (form.run(x) < wanted)
    return [sorted(set(x[wrong[:, c], c].tolist())) for c in range(x.shape[1])]


def _wanted(steps: StepFunction, x: IntArray) -> IntArray:
    """The codes of `x` (n, channels)."""
    columns = [
        np.searchsorted(at, x[:, c], side="right")
        for c, at in enumerate(np.ascontiguousarray(steps.at.T))
    ]
    return np.stack(columns, axis=-1) + steps.low


def equal(steps: StepFunction, form: Nudged) -> bool:
    """Whether the form gives the codes of `steps` for every input.

    Both are asked on each side of all thresholds and around all inputs that are moved, and at the
    ends. Between two neighbours of these neither has a step: the form's `Affine` never falls.
    """
    spread = [
        np.broadcast_to(np.array(rows, np.int64).T, (len(rows[0]), steps.at.shape[1]))
        for rows in (form.up, form.down)
    ]
    moves = np.concatenate(spread)
    asked = [steps.at, steps.at - 1, moves - 1, moves, moves + 1, steps.lo[None], steps.hi[None]]
    x = np.clip(np.concatenate(asked), steps.lo, steps.hi)
    return bool((form.run(x) == _wanted(steps, x)).all())
