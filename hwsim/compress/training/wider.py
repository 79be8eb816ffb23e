"""Operators that were made for the sums of some weights, and now meet the larger ones of others.

Readers fill rows of thresholds up with some just beyond the largest code that there can be, and
give tables entries for those codes alone. Trained and encoded weights make others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hwsim.ops import ChannelTable, ChosenThresholds, Op, Table, TensorType, Thresholds
from hwsim.ops.base import IntArray
from hwsim.ops.elementwise import MOST_ENTRIES


def widened(op: Op, before: Sequence[TensorType], now: Sequence[TensorType]) -> Op:
    """An operator made for inputs `before`, for those `now`: the same on codes that both have.

    Thresholds just beyond the codes before are just beyond those now, and the first and last entry
    of a table are those of all codes further out. An operator that fits is given back itself.
    """
    if not before:
        return op
    old, new = before[-1], now[-1]
    if isinstance(op, Thresholds | ChosenThresholds):
        filling = _filling(op, old)
        if new.hi <= old.hi or filling is None or filling > new.hi:
            return op
        values = np.where(op.values == filling, new.hi + 1, op.values)
        return replace(op, values=np.sort(values, axis=1))
    if isinstance(op, Table):
        first = op.start(old)
        if op.first is None and new.format == old.format:
            return op
        low, values = _held(op.values, first, new)
        return op if values is op.values else replace(op, values=values, first=low)
    if isinstance(op, ChannelTable):
        low, values = _held(op.values, op.first, new)
        return op if values is op.values else replace(op, values=values, first=low)
    return op


def _filling(op: Thresholds | ChosenThresholds, x: TensorType) -> int | None:
    """The threshold that only fills rows up, for codes `x`; None where all are meant.

    It is the highest, just beyond the codes that there were when it was made: `x` may be fewer,
    since weights went. Then it is known by standing twice in a row, or by what all of them would
    give, which is no code.
    """
    top = int(op.values.max())
    if top <= x.hi:
        return None
    twice = bool((op.values == top).sum(axis=1).max() > 1)
    all_reached = op.base + op.step * op.values.shape[1]
    no_code = bool(((all_reached < op.out.min) | (all_reached > op.out.max)).any())
    return top if top == x.hi + 1 or twice or no_code else None


def _held(values: IntArray, first: int, x: TensorType) -> tuple[int, IntArray]:
    """Entries (..., codes) for all codes of `x` too, and the code of the first; if not too many."""
    below = max(first - x.lo, 0)
    above = max(x.hi - (first + values.shape[-1] - 1), 0)
    if not 0 < below + above <= MOST_ENTRIES - values.shape[-1]:
        return first, values
    sides = [(0, 0)] * (values.ndim - 1) + [(below, above)]
    return first - below, np.pad(values, sides, mode="edge")
