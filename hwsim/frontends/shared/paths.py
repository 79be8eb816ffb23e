"""Functions of a real that may turn: the codes that they go through, and where each begins.

A quantizer behind a function of a wide sum (x * sigmoid(x) of a convolution's) gives few codes, in
few turns. Between two turns the function steps one way, so that bisection over the float32 finds
where it does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError
from hwsim.frontends.shared.values import FloatArray
from hwsim.ops.base import IntArray

EVENLY, NEAR_ZERO, BY_SIZE = 1 << 14, 1 << 13, 1 << 12
"""Reals tried between the ends: at even distances, of them near 0, and of every magnitude."""
NEAR = 16.0  # where functions of neural networks turn
FINER, ROUNDS = 33, 8  # places between two neighbours of a turn, again and again
CHECKED, MOST_MISSED = 1 << 16, 2.0**-10
MOST_STEPS = 1 << 16

Function = Callable[[FloatArray], FloatArray]
Keys = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Path:
    """`codes` from left to right; `starts` are the least reals of each but the first."""

    codes: IntArray
    starts: FloatArray

    def at(self, x: FloatArray) -> IntArray:
        """The codes of reals."""
        found: IntArray = self.codes[np.searchsorted(self.starts, x, side="right")]
        return found

    @property
    def one_way(self) -> int:
        """The step from code to code where all are alike and of one, 0 elsewhere."""
        steps = set(np.diff(self.codes).tolist())
        return steps.pop() if steps in ({1}, {-1}) else 0


def path(
    function: Function, codes: Callable[[FloatArray], IntArray], ends: tuple[float, float]
) -> Path:
    """The path of `codes(function(x))` for float32 from end to end.

    HwsimError where it is longer than MOST_STEPS, or turns too often for the reals that are tried.
    """

    def reals(x: FloatArray) -> FloatArray:
        with np.errstate(all="ignore"):
            y = function(x)
        return np.where(np.isnan(y), np.float32(-np.inf), y)

    def coded(x: FloatArray) -> IntArray:
        return codes(reals(x))

    x = _tried(*(np.float32(end) for end in ends))
    x = np.union1d(x, _turns(x, reals, codes))
    met = coded(x)
    steps = np.abs(np.diff(met))
    if steps.sum() > MOST_STEPS:
        raise HwsimError(f"its codes must change at most {MOST_STEPS} times, not {steps.sum()}")
    before = np.repeat(np.arange(len(steps)), steps)
    turned = np.sign(met[before + 1] - met[before])
    first = np.cumsum(steps) - steps
    wanted = met[before] + turned * (np.arange(len(before)) - first[before] + 1)
    low, high = keys(x)[before], keys(x)[before + 1]
    while (high - low > 1).any():
        middle = low + (high - low) // 2
        over = turned * (coded(from_keys(middle)) - wanted) >= 0
        high, low = np.where(over, middle, high), np.where(over, low, middle)
    found = Path(np.concatenate([met[:1], wanted]), np.maximum.accumulate(from_keys(high)))
    _check(found, coded, x)
    return found


def keys(x: FloatArray) -> Keys:
    """Whole numbers in the order of float32, one after the other."""
    bits = np.ascontiguousarray(x, np.float32).view(np.int32).astype(np.int64)
    return np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)


def from_keys(found: Keys) -> FloatArray:
    """The float32 of such numbers."""
    size = np.abs(found).astype(np.uint32).view(np.float32)
    return np.where(found < 0, -size, size)


def _tried(low: np.float32, high: np.float32) -> FloatArray:
    """Reals of all kinds between two, and these."""
    near = np.clip(np.linspace(-NEAR, NEAR, NEAR_ZERO), low, high)
    ends = keys(np.array([low, high]))
    sizes = from_keys(np.linspace(ends[0], ends[1], BY_SIZE).astype(np.int64))
    even = np.linspace(np.float64(low), np.float64(high), EVENLY)
    every = np.concatenate([near, sizes, even]).astype(np.float32)
    out: FloatArray = np.unique(np.clip(every, low, high))
    return out


def _turns(x: FloatArray, reals: Function, codes: Callable[[FloatArray], IntArray]) -> FloatArray:
    """Where the function is largest or smallest, near each real of which that is so among three.

    Those whose neighbours show that no other code can be met are left out.
    """
    y = reals(x)
    inner = y[1:-1]
    up, down = inner >= np.maximum(y[:-2], y[2:]), inner <= np.minimum(y[:-2], y[2:])
    with np.errstate(invalid="ignore"):
        apart = np.nan_to_num(np.maximum(np.abs(inner - y[:-2]), np.abs(inner - y[2:])))
    beyond = np.where(up, inner + 2 * apart, inner - 2 * apart)
    places = np.flatnonzero((up | down) & (codes(beyond) != codes(inner))) + 1
    if not places.size:
        return x[:0]
    low, high = x[places - 1].astype(np.float64), x[places + 1].astype(np.float64)
    sign = np.where(up[places - 1], 1, -1)[:, None]
    share = np.linspace(0, 1, FINER)
    best = x[places]
    for _ in range(ROUNDS):
        grid = (low[:, None] + (high - low)[:, None] * share).astype(np.float32)
        most = np.clip(np.argmax(sign * reals(grid), axis=1), 1, FINER - 2)
        rows = np.arange(len(grid))
        best = grid[rows, most]
        low, high = grid[rows, most - 1].astype(np.float64), grid[rows, most + 1].astype(np.float64)
    return np.clip(best, x[0], x[-1])


def _check(found: Path, coded: Callable[[FloatArray], IntArray], x: FloatArray) -> None:
    """Reals between those that were tried."""
    share = (np.arange(CHECKED) * 0.6180339887498949) % 1  # spread evenly, in no order
    reals = (float(x[0]) + share * (float(x[-1]) - float(x[0]))).astype(np.float32)
    missed = np.mean(found.at(reals) != coded(reals))
    if missed > MOST_MISSED:
        raise HwsimError(
            f"it must turn less often between {float(x[0]):.4g} and {float(x[-1]):.4g}"
        )
