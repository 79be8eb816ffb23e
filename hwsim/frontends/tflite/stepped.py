"""Any function of whole numbers that never falls, as thresholds found with its own arithmetic."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hwsim.fixed import Format
from hwsim.ops import Op, Quant, Table, TensorType, Thresholds
from hwsim.ops.base import IntArray
from hwsim.ops.elementwise import MOST_ENTRIES

Function = Callable[[IntArray], IntArray]
MOST_STEPS = 4096  # codes of the result beyond which a table is better


def stepped(kind: TensorType, function: Function, out: Format, quant: Quant) -> Op:
    """The operator that gives `function` of the codes that a tensor can have.

    A table where those are few, thresholds where they are many; codes are kept to `out`.
    """

    def codes(values: IntArray) -> IntArray:
        return np.clip(function(values), out.min, out.max)

    if kind.hi - kind.lo < min(MOST_ENTRIES, 1 << 10):
        values = codes(np.arange(kind.lo, kind.hi + 1))
        return Table(values=values, out=out, quant=quant, first=kind.lo)
    first, last = (int(codes(np.array([end]))[0]) for end in (kind.lo, kind.hi))
    wanted = np.arange(first + 1, last + 1)
    low = np.full(wanted.size, kind.lo, np.int64)
    high = np.full(wanted.size, kind.hi, np.int64)
    while (high - low > 1).any():
        middle = low + (high - low) // 2
        over = codes(middle) >= wanted
        high, low = np.where(over, middle, high), np.where(over, low, middle)
    values = high[None] if wanted.size else np.array([[kind.hi + 1]])
    return Thresholds(
        values=values, base=np.array([first]), step=np.array([1]), out=out, quant=quant
    )
