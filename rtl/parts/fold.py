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

    def biases(self, bias: IntArray) -> IntArray:
        """Biases in the order of use: (group fold x output fold, group lane, pe)."""
        split = bias.reshape(self.group_folds, self.group_lanes, self.output_folds, self.pe)
        ordered = split.transpose(0, 2, 1, 3)
        return ordered.reshape(-1, self.group_lanes, self.pe)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Schedule:
    """The words of a fold that are used, one a cycle, sum after sum; every sum has one at least.

    `sums` says to which output fold a word belongs, `beats` (words, lanes) which beat of its vector
    each lane meets, `ends` whether the word is the last of its sum (0 or 1).
    """

    sums: IntArray
    beats: IntArray
    ends: IntArray

    @classmethod
    def of(cls, used: BoolArray) -> Schedule:
        """Of (output fold, term fold, lane): what is used, in order.

        A lane with less than the others meets words of 0 at the end.
        """
        counts = words_of(used)
        order = np.argsort(~used, axis=1, kind="stable")
        ends = np.zeros(counts.sum(), np.int64)
        ends[np.cumsum(counts) - 1] = 1
        return cls(
            sums=np.repeat(np.arange(len(counts)), counts),
            beats=np.concatenate([each[:n] for each, n in zip(order, counts, strict=True)]),
            ends=ends,
        )

    @property
    def lanes(self) -> int:
        """Lanes that have beats of their own; 1 where all meet the same."""
        return int(self.beats.shape[1])

    def words(self, fold: Fold, weights: IntArray) -> IntArray:
        """(word, pe, simd) of weights (1, terms, outputs), or of what is stored for them."""
        every = fold.words(weights).reshape(fold.output_folds, fold.term_folds, fold.pe, fold.simd)
        found: IntArray = every[self.sums[:, None], self.beats, np.arange(fold.pe)]
        return found


def words_of(used: BoolArray) -> IntArray:
    """Words that each output fold takes: as many as the lane that uses most."""
    counts: IntArray = used.sum(axis=1).max(axis=1)
    return counts
