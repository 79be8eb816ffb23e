"""Sums of products in an accumulator of a stated format: what its steps round and overflow."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from hwsim.fixed import Overflow, overflow, shift_round
from hwsim.losses.count import Count, Extent, Into
from hwsim.ops.accumulate import Steps
from hwsim.ops.base import IntArray


@dataclass(frozen=True, slots=True)
class Sums:
    """The steps of one operator, and its biases before they were assigned to the accumulator."""

    steps: Steps
    bias: IntArray
    bias_frac: int

    def part(self, channels: slice) -> Sums:
        """Of some channels."""
        if channels == slice(None):
            return self
        return Sums(self.steps.part(channels), self.bias[channels], self.bias_frac)

    @property
    def into(self) -> Into:
        """The accumulator as a format that is assigned to."""
        acc = self.steps.acc
        return Into(acc.format, acc.rounding, acc.overflow)

    @property
    def fine(self) -> int:
        """Fraction bits of a product, or of the accumulator where it has more."""
        return self.into.format.frac_bits + self.steps.drop

    @property
    def rounded_bias(self) -> IntArray:
        """The biases at the accumulator's binary point, before they are brought into range."""
        right = self.bias_frac - self.into.format.frac_bits
        return np.asarray(shift_round(np, self.bias, right, self.into.rounding))

    @property
    def bias_loss(self) -> Any:
        """What each bias lost when it was rounded, as a real."""
        unit = 2.0**-self.into.format.frac_bits
        return np.asarray(self.bias * 2.0**-self.bias_frac - self.rounded_bias * unit)

    @property
    def safe(self) -> bool:
        """Whether it is proved that nothing is rounded and nothing overflows."""
        proved = bool((self.steps.fits & self.steps.divisible).all())
        kept = bool((self.rounded_bias == self.steps.bias).all())
        return proved and kept and not self.bias_loss.any()

    def count(self, columns: IntArray) -> Count:
        """What happens to the sums of inputs (sums of one channel, terms).

        A sum counts as rounded where one of its products or its bias was. With an accumulator that
        wraps, a partial sum that leaves the range and comes back does no harm and is not counted.
        """
        size = len(columns) * len(self.bias)
        return Count(codes=size) if self.safe or not size else self._loop(columns, size)

    def _loop(self, columns: IntArray, size: int) -> Count:
        steps, into = self.steps, self.into
        wraps = into.overflow is Overflow.WRAP
        shape = (len(self.bias), len(columns))
        kept = np.broadcast_to(steps.bias[:, None], shape)
        running = np.broadcast_to(self.rounded_bias[:, None], shape)
        exact, hit = np.zeros(shape, np.int64), kept != running
        lost = np.broadcast_to((self.bias_loss != 0)[:, None], shape).copy()
        low, high, bits = np.zeros(shape[0], np.int64), np.zeros(shape[0], np.int64), 0
        least = most = 0  # of single products, which must fit by themselves
        for term in steps.order.tolist():
            product = steps.weights[term][:, None] * columns[:, term][None, :]
            bits |= int(np.bitwise_or.reduce(np.abs(product), axis=None))
            rounded = shift_round(np, product, steps.drop, into.rounding)
            lost |= (rounded << steps.drop) != product
            running, exact = running + rounded, exact + product
            if not wraps:
                held = overflow(np, rounded, into.format, into.overflow)
                hit |= held != rounded
                total = kept + held
                kept = overflow(np, total, into.format, into.overflow)
                hit |= kept != total
                low, high = np.minimum(low, exact.min(axis=1)), np.maximum(high, exact.max(axis=1))
                least, most = min(least, int(product.min())), max(most, int(product.max()))
        if wraps:  # what counts is where the sum ends
            hit = (running < into.least) | (running > into.format.max)
            low, high = exact.min(axis=1), exact.max(axis=1)
        return Count(
            codes=size,
            rounded=int(np.count_nonzero(lost)),
            loss=self._loss(exact, running),
            extent=self._extent(low, high, bits) | self._alone(least, most),
            **into.happened(int(np.count_nonzero(hit))),
        )

    def _loss(self, exact: IntArray, rounded: IntArray) -> float:
        """How far roundings alone took a sum from its exact value, at most."""
        off = exact - ((rounded - self.rounded_bias[:, None]) << self.steps.drop)
        apart = off * 2.0**-self.fine + self.bias_loss[:, None]
        return float(np.abs(apart).max())

    def _alone(self, least: int, most: int) -> Extent:
        """Of products by themselves."""
        unit = Fraction(2) ** -self.fine
        return Extent(least * unit, most * unit, None)

    def _extent(self, low: IntArray, high: IntArray, bits: int) -> Extent:
        """Of sums of products between two bounds a channel, whose codes together have `bits`."""
        unit, bias_unit = Fraction(2) ** -self.fine, Fraction(2) ** -self.bias_frac
        biases = [int(code) * bias_unit for code in self.bias]
        ends = [
            [int(end) * unit + bias for end, bias in zip(side, biases, strict=True)]
            for side in (low, high)
        ]
        grain = self.fine - ((bits & -bits).bit_length() - 1) if bits else None
        of_sums = Extent(min(ends[0]), max(ends[1]), grain)
        if not self.bias.any():
            return of_sums
        finer = [g for g in (grain, Extent.of(self.bias, self.bias_frac).grain) if g is not None]
        return Extent(of_sums.low, of_sums.high, max(finer))

    def proven(self) -> Extent:
        """Bounds of all sums that the accumulator must hold, from the ranges of the inputs."""
        steps = self.steps
        ends = np.sort([steps.weights * steps.lo, steps.weights * steps.hi], axis=0)
        low, high = (np.cumsum(end[steps.order], axis=0) for end in ends)
        wraps = self.into.overflow is Overflow.WRAP
        if wraps:
            low, high = low[-1], high[-1]
        else:
            low, high = np.minimum(low.min(axis=0), 0), np.maximum(high.max(axis=0), 0)
        bits = int(np.bitwise_or.reduce(np.abs(steps.weights), axis=None))
        alone = (0, 0) if wraps else (int(ends[0].min()), int(ends[1].max()))
        return self._extent(low, high, bits) | self._alone(*alone)


def tree_count(into: Into, terms: IntArray, frac_bits: int) -> Count:
    """What happens in a tree of sums (`Balanced`) of codes (sums, terms)."""
    drop = frac_bits - into.format.frac_bits
    rounded = shift_round(np, terms, drop, into.rounding)
    lost = np.zeros(len(terms), bool)
    if drop > 0:
        lost = ((rounded << drop) != terms).any(axis=1)
    tree = _Tree(into)
    tree.add(rounded)
    wraps = into.overflow is Overflow.WRAP
    free = rounded.sum(axis=1)
    hit = (free < into.least) | (free > into.format.max) if wraps else tree.hit
    ends = (int(free.min()), int(free.max())) if wraps else (tree.low, tree.high)
    loss = np.abs(terms.sum(axis=1) * 2.0**-frac_bits - free * 2.0**-into.format.frac_bits)
    held = Extent.between(ends[0], ends[1], into.format.frac_bits)
    return Count(
        codes=len(terms),
        rounded=int(np.count_nonzero(lost)),
        loss=float(loss.max()),
        extent=Extent(held.low, held.high, Extent.of(terms, frac_bits).grain),
        **into.happened(int(np.count_nonzero(hit))),
    )


class _Tree:
    """The sums of one tree: which of them leave the range, and how far they would go."""

    def __init__(self, into: Into) -> None:
        self.into, self.hit = into, np.zeros(0, bool)
        self.low = self.high = 0

    def add(self, terms: IntArray) -> tuple[IntArray, IntArray]:
        """Sums (rows,) of terms (rows, n), as they are kept and as they would be."""
        if not self.hit.size:
            self.hit = np.zeros(len(terms), bool)
        count = terms.shape[1]
        if count == 1:
            free = kept = terms[:, 0]
        else:
            left = 1 << (count - 1).bit_length() - 1
            (a, free_a), (b, free_b) = self.add(terms[:, :left]), self.add(terms[:, left:])
            kept, free = a + b, free_a + free_b
        held = overflow(np, kept, self.into.format, self.into.overflow)
        self.hit |= held != kept
        self.low, self.high = min(self.low, int(free.min())), max(self.high, int(free.max()))
        return held, free
