"""How a layer's sums are folded onto multipliers, and which of its words of weights are used.

A layer is seen as a sequence of *vectors* (the inputs of one sum). `groups` is how many different
vectors one output position has (1 but for grouped convolutions). Folding says how much of that work
one cycle does: `group_lanes` vectors side by side, `pe` outputs of each, `simd` terms of each sum.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError
from hwsim.ops.base import IntArray

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """How one sum-of-products layer is folded onto multipliers."""

    groups: int
    terms: int
    outputs: int  # of one group
    group_lanes: int = 1
    pe: int = 1
    simd: int = 1

    def __post_init__(self) -> None:
        for lanes, whole, what in (
            (self.group_lanes, self.groups, "group_lanes"),
            (self.pe, self.outputs, "pe"),
            (self.simd, self.terms, "simd"),
        ):
            if lanes < 1 or whole % lanes:
                raise HwsimError(f"{what} must divide {whole}, not be {lanes}")
        if self.group_lanes > 1 and self.pe != self.outputs:
            raise HwsimError(
                f"pe must be all {self.outputs} outputs of a group where group_lanes is above 1, "
                f"not {self.pe}"
            )

    @property
    def multipliers(self) -> int:
        """Products of one cycle."""
        return self.group_lanes * self.pe * self.simd

    @property
    def group_folds(self) -> int:
        """Turns over the groups."""
        return self.groups // self.group_lanes

    @property
    def output_folds(self) -> int:
        """Times that a vector is used, for `pe` outputs each time."""
        return self.outputs // self.pe

    @property
    def term_folds(self) -> int:
        """Cycles for one sum."""
        return self.terms // self.simd

    @property
    def cycles(self) -> int:
        """Cycles for one output position."""
        return self.group_folds * self.output_folds * self.term_folds

    def words(self, weights: IntArray) -> IntArray:
        """(groups, terms, outputs) in the order of use: (cycle, group lane, pe, simd)."""
        split = weights.reshape(
            self.group_folds,
            self.group_lanes,
            self.term_folds,
            self.simd,
            self.output_folds,
            self.pe,
        )
        ordered = split.transpose(0, 4, 2, 1, 5, 3)
        return ordered.reshape(self.cycles, self.group_lanes, self.pe, self.simd)

    def used(self, weights: IntArray, *, start: bool) -> BoolArray:
        """(output fold, term fold) of one group: whether a word has a weight that is not 0.

        `weights` are (terms, outputs). A sum without one has its first word; with `start` all do.
        """
        split = weights.reshape(self.term_folds, self.simd, self.output_folds, self.pe) != 0
        used: BoolArray = split.any(axis=(1, 3)).T
        used[:, 0] |= start | ~used.any(axis=1)
        return used

    def biases(self, bias: IntArray) -> IntArray:
        """Biases in the order of use: (group fold x output fold, group lane, pe)."""
        split = bias.reshape(self.group_folds, self.group_lanes, self.output_folds, self.pe)
        ordered = split.transpose(0, 2, 1, 3)
        return ordered.reshape(-1, self.group_lanes, self.pe)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Schedule:
    """The words of a fold that are used, in the fold's own order; every sum has one at least.

    `kept` are their places among all `fold.cycles` words, `beats` which beat of its vector each
    meets, `ends` whether it is the last of its sum (0 or 1).
    """

    kept: IntArray
    beats: IntArray
    ends: IntArray

    @classmethod
    def of(cls, used: BoolArray) -> Schedule:
        """Of (sums, beats): whether the word of a sum that meets a beat is used."""
        sums, beats = used.nonzero()
        ends = np.append(sums[1:] != sums[:-1], True)
        return cls(kept=used.ravel().nonzero()[0], beats=beats, ends=ends.astype(np.int64))
