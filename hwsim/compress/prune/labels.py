"""Numbers of channels on every place of a tensor, and which of them go together or stay."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.int64]
STAYS = 0
"""The label of what cannot go."""


class Channels:
    """A union-find of channel labels; label 0 stays, and what is joined with it."""

    def __init__(self) -> None:
        self._parent = np.zeros(1, np.int64)
        self._why: dict[int, str] = {}

    def fresh(self, count: int) -> Labels:
        """So many labels that are joined with none."""
        first = len(self._parent)
        made = np.arange(first, first + count)
        self._parent = np.concatenate([self._parent, made])
        return made

    def roots(self, labels: Labels) -> Labels:
        """The least label of those that each is joined with."""
        return self._parent[labels]

    def join(self, a: Labels, b: Labels, why: str) -> None:
        """Each of `a` goes with the one of `b` (one shape) in its place, or stays, for `why`."""
        count = len(self._parent)
        for pair in np.unique(self.roots(a) * count + self.roots(b)).tolist():
            one, other = divmod(pair, count)
            low, high = sorted((int(self._parent[one]), int(self._parent[other])))
            if low == high:
                continue
            members = np.flatnonzero(self._parent == high)
            self._parent[members] = low
            if low == STAYS:
                self._why |= dict.fromkeys(members.tolist(), why)

    def stay(self, labels: Labels, why: str) -> None:
        """None of them can go, for `why`."""
        self.join(labels, np.zeros_like(labels), why)

    def why(self, label: int) -> str:
        """Why a label that stays does."""
        return self._why[label]

    def axis(self, labels: Labels, why: str) -> int | None:
        """The axis along which labels differ; None where all are one.

        Where they differ along several, so that what goes would be no whole slice, they stay.
        """
        roots = self.roots(labels)
        found = [k for k in range(labels.ndim) if (roots != roots.take([0], axis=k)).any()]
        if len(found) > 1:
            self.stay(labels, why)
        return found[0] if len(found) == 1 else None


def along(labels: Labels, axis: int) -> Labels:
    """The labels along one axis, where all others agree."""
    row: Labels = np.moveaxis(labels, axis, -1).reshape(-1, labels.shape[axis])[0]
    return row
