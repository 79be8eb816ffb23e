"""The error of a layer as a sum of parts: what each step of a chain of substitutions changes.

From the float model's tensor to the integer network's: its inputs, its weights, its biases, its
accumulators, its range, its rounding, and what is left, which is a table's or the arithmetic's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from hwsim.compress.attribution.counterparts import Reals

PARTS = (
    "input", "weights", "bias", "sums", "saturation", "rounding", "table", "arithmetic",
    "undivided",
)  # fmt: skip
"""The parts in the order in which they are put in the place of the float ones.

`undivided` is all that a layer adds, where it cannot be told apart.
"""

GRID_BITS = 48
"""Bits of the largest number on the grid of a comparison: sums of all parts stay below 2**53."""

NOISE = 2.0**-10
"""Steps by which float32 may miss a code, or a tie between two."""


@dataclass(frozen=True, slots=True, eq=False)
class CodeEnds:
    """The least and the largest real of a format, and its step, all as one element of a tensor."""

    low: Reals
    high: Reals
    step: Reals


@dataclass(frozen=True, slots=True, eq=False)
class SplitError:
    """The error of each element and its parts, which sum to it exactly; `beyond` were out of range.

    All stand on one grid of a power of two, 2**-48 of the largest number that was met.
    """

    total: Reals
    parts: Mapping[str, Reals]
    beyond: npt.NDArray[np.bool_]


def split(
    stages: Mapping[str, Reals], made: Reals, ends: CodeEnds, *, tables: bool, slack: float = 0.0
) -> SplitError:
    """The error of `made` against the first stage, by what each stage and the codes change.

    `stages` are the float tensor (`float`), then the layer in reals with one more thing of the
    integer network each, by the names of PARTS. What is left between the last one and `made`: a
    number out of range is brought to an end (or wraps); one in range becomes a code beside it, the
    nearest where the layer holds a table; what then is different is the table's, or without one
    the arithmetic's. `slack` is by how much (a real) the last stage may be off.
    """
    name, last = list(stages.items())[-1]
    if name != "float":  # what float32 lost on the way is nobody's rounding
        last = np.where(np.abs(made - last) <= NOISE * ends.step, made, last)
    beyond = (last < ends.low - ends.step / 2) | (last > ends.high + ends.step / 2)
    held = np.clip(last, ends.low, ends.high) if tables else made
    kept = np.where(beyond, held, last)
    reach = (0.5 if tables else 1.0) + NOISE
    near = np.abs(made - kept) <= reach * ends.step + slack
    places = np.rint((np.clip(kept, ends.low, ends.high) - ends.low) / ends.step)
    rounded = np.where(near, made, ends.low + places * ends.step)
    rest = "table" if tables else "arithmetic"
    return _summed(
        {**stages, name: last, "saturation": kept, "rounding": rounded, rest: made}, beyond
    )


def undivided(stages: Mapping[str, Reals], made: Reals) -> SplitError:
    """The error of `made` as what stages change, and the rest."""
    return _summed({**stages, "undivided": made}, np.zeros(made.shape, np.bool_))


def _summed(steps: Mapping[str, Reals], beyond: npt.NDArray[np.bool_]) -> SplitError:
    """What each step changes, on one grid, the float tensor being the first."""
    held = on_grid(steps)
    names = list(held)
    parts = {name: held[name] - held[old] for old, name in pairwise(names)}
    return SplitError(held[names[-1]] - held["float"], parts, beyond)


def on_grid(arrays: Mapping[str, Reals]) -> dict[str, Reals]:
    """Arrays on the finest grid on which all differences are exact in float64."""
    most = max(float(np.abs(array).max(initial=0.0)) for array in arrays.values())
    if not most:
        return dict(arrays)
    unit = math.ldexp(1.0, math.frexp(most)[1] - GRID_BITS)
    return {name: np.rint(array / unit) * unit for name, array in arrays.items()}
