"""A table of two codes as a sum of what each gives, where there is one with the same entries."""

from __future__ import annotations

import numpy as np

from hwsim.forms.adders import SumForm, fitted_sum, narrowest_add
from hwsim.forms.requantizers import Output
from hwsim.ops.base import IntArray, TensorType
from hwsim.ops.tables import PairTable

FEWEST = 16  # entries between both ends that weights are taken from
FARTHEST = 1.5  # an entry that is further than a rounding from a plane is of another function


def sum_form(op: PairTable, a: TensorType, b: TensorType) -> SumForm | None:
    """The cheapest sum that gives the entry of each pair of codes in the ranges of `a` and `b`.

    None where none is known: entries that are no rounded plane.
    """
    rows, columns = (slice(t.lo - t.format.min, t.hi - t.format.min + 1) for t in (a, b))
    table = op.values[rows, columns]
    low, high = int(table.min()), int(table.max())
    ratios = _slopes(table, low, high)
    if ratios is None:
        return None
    out = Output(format=op.out, window=(low, high))
    found: SumForm | None = narrowest_add(table, a.lo, b.lo, ratios, out)
    return found or fitted_sum(table, a.lo, b.lo, ratios, out)


def _slopes(table: IntArray, low: int, high: int) -> tuple[float, float] | None:
    """By how much entries rise along both axes, from those that are not cut to `low` or `high`."""
    inside = (table > low) & (table < high)
    if inside.sum() < FEWEST:
        return None
    places = np.argwhere(inside)
    known = np.column_stack([places, np.ones(len(places))])
    plane, _, rank, _ = np.linalg.lstsq(known, table[inside], rcond=None)
    if rank < 3 or np.abs(known @ plane - table[inside]).max() > FARTHEST:
        return None
    return float(plane[0]), float(plane[1])
