"""A codebook whose entries are learned: whole numbers of the weights' format, moved as reals."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hwsim.compress.training.namespace import to_numpy, torch
from hwsim.compress.training.through import rounded
from hwsim.fixed import Array, Format
from hwsim.ops import Codebook


class LearnedEntries:
    """The entries of a layer's codebook, in code steps that all of its channels share.

    Each weight is the nearest entry, of two as near the lower one. An entry's gradient is the sum
    of those of the weights that took it (Han et al. 2016, arXiv 1510.00149); the weights' own pass
    straight through, so that they change entries. `unit` is a step's real, one or one a channel:
    entries are moved in their middle one, so that a rate is as large for them as for weights.
    """

    def __init__(self, table: Codebook, fmt: Format, unit: npt.NDArray[np.float64]) -> None:
        self.first, self.format = table, fmt
        self.step = float(np.exp(np.log(unit).mean()))
        start = np.array(table.entries) * self.step
        self.reals = torch().tensor(start, dtype=torch().float32, requires_grad=True)

    def now(self, *, zero_stays: bool) -> Array:
        """Whole numbers in order, some of them alike perhaps; an entry of 0 may have to stay."""
        steps = (self.reals / self.step).clip(self.format.min, self.format.max)
        found = rounded(steps)
        if zero_stays:
            found = found * torch().tensor([float(one != 0) for one in self.first.entries])
        ordered: Array = torch().sort(found).values
        return ordered

    def of(self, steps: Array, *, zero_stays: bool) -> Array:
        """The nearest entry of weights in code steps; gradients go to both."""
        values = self.now(zero_stays=zero_stays).to(steps.dtype)
        ends = ((values[1:] + values[:-1]) / 2).detach()
        places = torch().bucketize(steps.detach().contiguous(), ends)
        inside = steps.clip(self.format.min, self.format.max)
        found: Array = values[places] + (inside - inside.detach())
        return found

    def frozen(self, *, zero_stays: bool) -> Codebook:
        """The table of now; entries that became alike are one, of two at least."""
        with torch().no_grad():
            held = to_numpy(self.now(zero_stays=zero_stays)).astype(int).tolist()
        kept = sorted(set(held))
        if len(kept) == 1:
            kept = sorted({kept[0], kept[0] + (1 if kept[0] < self.format.max else -1)})
        return Codebook(entries=tuple(kept))
