"""How a sum of products is accumulated: exactly, or cast at each step in a stated order."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError
from hwsim.fixed import (
    Array,
    Format,
    Namespace,
    Overflow,
    Rounding,
    is_float,
    overflow,
    round_float,
    shift_round,
)
from hwsim.ops.base import MOST_BITS, Carrier, Constants, IntArray, shift_left

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Exact:
    """An accumulator wide enough for every partial sum, so that the order cannot matter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stepwise:
    """An accumulator with a format: the bias, each product and each partial sum are cast to it.

    The bias comes first, then the terms in `order` (None: as they stand). Products are rounded and
    brought into range before they are added, partial sums brought into range. Source: hls4ml's
    `nnet_dense_latency.h` and `nnet_dense_resource.h`.
    """

    format: Format
    rounding: Rounding = Rounding.TRN
    overflow: Overflow = Overflow.WRAP
    order: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Balanced:
    """A tree of sums with a format: each term and each sum of two subtrees are cast to it.

    The left subtree has as many terms as the largest power of two below their number. Source:
    `reduce` of hls4ml's `nnet_common.h`.
    """

    format: Format
    rounding: Rounding = Rounding.TRN
    overflow: Overflow = Overflow.WRAP


@dataclass(frozen=True, slots=True)
class Float32:
    """Terms and sums are float32 numbers from 0 up, and codes their bit patterns.

    The terms are added one after the other, each sum rounded to nearest, ties to even.
    """


Accumulator = Exact | Stepwise
EXACT = Exact()


def sum_range(weights: IntArray, bias: IntArray, lo: int, hi: int) -> tuple[int, int]:
    """Bounds of `x @ weights + bias` over all x in lo..hi, as plain integers.

    `weights` is (terms, outputs) of at most 32 bits, `bias` (outputs,).
    """
    positive = np.maximum(weights, 0).sum(axis=0).tolist()
    negative = np.minimum(weights, 0).sum(axis=0).tolist()
    biases = bias.tolist()
    low = min(p * lo + n * hi + b for p, n, b in zip(positive, negative, biases, strict=True))
    high = max(p * hi + n * lo + b for p, n, b in zip(positive, negative, biases, strict=True))
    return low, high


def sum_bound(weights: IntArray, bias: IntArray, magnitude: int) -> int:
    """Largest magnitude of any partial sum in any order: max of sum |w| * magnitude + |bias|."""
    sums, biases = np.abs(weights).sum(axis=0).tolist(), np.abs(bias).tolist()
    return int(max(s * magnitude + b for s, b in zip(sums, biases, strict=True)))


def repeated(bias: npt.NDArray[Any]) -> npt.NDArray[Any] | None:
    """The biases (outputs,) of 1, 2, 4, … rows, up to 512 numbers: (rows, outputs); None for 0."""
    if not bias.any():
        return None
    rows = 1 << max(0, (512 // len(bias)).bit_length() - 1)
    return np.tile(bias, (rows, 1))


def add_bias(xp: Namespace, sums: Array, biases: Array | None) -> Array:
    """`sums` (..., outputs) plus the same biases, `repeated`, for each.

    Several rows at a time, since short rows cost more than their numbers.
    """
    if biases is None:
        return sums
    *outer, outputs = sums.shape
    rows = math.gcd(math.prod(outer), biases.shape[0])
    together = xp.reshape(sums, (-1, rows * outputs))
    return xp.reshape(together + xp.reshape(biases[:rows, :], (-1,)), sums.shape)


class Steps:
    """What a step-wise accumulator does to given weights and inputs, channel by channel.

    `weights` (terms, outputs) and `bias` (outputs,; codes of the accumulator's format) meet inputs
    in lo..hi; a product has `drop` fraction bits more than the accumulator. Each output channel is
    `exact` (no product is rounded and no step overflows, or overflow wraps, which one wrap at the
    end repeats: any order will do), `rounded` (products are rounded, and no step overflows or it
    wraps: any order of the rounded products) or stepped.
    """

    def __init__(
        self, acc: Stepwise, weights: IntArray, bias: IntArray, drop: int, lo: int, hi: int
    ) -> None:
        order = np.arange(len(weights)) if acc.order is None else np.array(acc.order)
        if sorted(order.tolist()) != list(range(len(weights))):
            raise HwsimError(f"an accumulator's order must name each of {len(weights)} terms once")
        self.acc, self.order, self.bias, self.drop = acc, order, bias, max(drop, 0)
        self.weights = shift_left(weights, max(-drop, 0), "weights")
        self.lo, self.hi = lo, hi
        widest = max(abs(lo), abs(hi)) * int(np.abs(self.weights).max())
        total = widest * len(weights) + int(np.abs(bias).max())
        if total >= 1 << MOST_BITS or drop > MOST_BITS:
            raise HwsimError(
                f"the products of a step-wise accumulator must add up within {MOST_BITS} bits and "
                f"drop no more, not reach {total} and drop {drop}"
            )

    def part(self, channels: slice) -> Steps:
        """What it does to some of the channels."""
        weights, bias = self.weights[:, channels], self.bias[channels]
        return Steps(self.acc, weights, bias, self.drop, self.lo, self.hi)

    @property
    def least(self) -> int:
        """The smallest code that the accumulator can hold."""
        fmt, mode = self.acc.format, self.acc.overflow
        return -fmt.max if mode is Overflow.SAT_SYM and fmt.signed else fmt.min

    @cached_property
    def products(self) -> tuple[IntArray, IntArray]:
        """Bounds of every rounded product."""
        ends = np.sort([self.weights * self.lo, self.weights * self.hi], axis=0)
        low, high = (shift_round(np, e, self.drop, self.acc.rounding) for e in ends)
        return low, high

    @cached_property
    def products_fit(self) -> bool:
        """Whether no rounded product overflows."""
        low, high = self.products
        return bool(low.min() >= self.least and high.max() <= self.acc.format.max)

    @cached_property
    def prefixes(self) -> tuple[IntArray, IntArray]:
        """Bounds of every partial sum, in order: (terms, outputs)."""
        low, high = (self.bias + np.cumsum(ends[self.order], axis=0) for ends in self.products)
        return low, high

    @cached_property
    def fits(self) -> Flags:
        """Channels in which no step can overflow."""
        low, high = self.prefixes
        inside = (low.min(axis=0) >= self.least) & (high.max(axis=0) <= self.acc.format.max)
        low, high = self.products
        inside &= (low.min(axis=0) >= self.least) & (high.max(axis=0) <= self.acc.format.max)
        return np.asarray(inside)

    @cached_property
    def divisible(self) -> Flags:
        """Channels whose products are never rounded, whatever the input."""
        return np.asarray((self.weights & ((1 << self.drop) - 1) == 0).all(axis=0))

    @cached_property
    def any_order(self) -> Flags:
        """Channels whose result does not depend on the order."""
        return np.asarray(self.fits | (self.acc.overflow is Overflow.WRAP))

    @property
    def exact(self) -> Flags:
        """Channels whose sum is a plain sum of products."""
        return self.any_order & self.divisible

    @property
    def range(self) -> tuple[int, int]:
        """Proven bounds of the result."""
        if not self.fits.all():
            return self.least, self.acc.format.max
        low, high = self.prefixes
        return int(low[-1].min()), int(high[-1].max())

    def bound(self, magnitude: int) -> int:
        """The largest magnitude met by `run`."""
        exact, rest = self.exact, ~self.exact
        top = 0
        if exact.any():
            top = sum_bound(self.weights[:, exact] >> self.drop, self.bias[exact], magnitude)
        if rest.any():
            low, high = (p[:, rest] for p in self.products)
            product = int(np.abs(self.weights[:, rest]).max()) * magnitude + (1 << self.drop)
            rounded = np.maximum(np.abs(low), np.abs(high)).sum(axis=0) + np.abs(self.bias[rest])
            stepped = not self.any_order.all()
            step = int(rounded.max()) if not stepped else self.acc.format.max + product
            top = max(top, product, step, int(rounded[self.any_order[rest]].max(initial=0)))
        return top if self.fits.all() else top + (1 << self.acc.format.width)

    def prepare(self, carrier: Carrier) -> Constants:
        """Constants of the three kinds of channels, and the way back to their own order."""
        exact = np.flatnonzero(self.exact)
        rounded = np.flatnonzero(self.any_order & ~self.divisible)
        stepped = np.flatnonzero(~self.any_order)
        scale = 2.0**-self.drop if carrier.is_float else 1.0
        kind, every = carrier.value, np.concatenate([exact, rounded, stepped])
        constants: dict[str, Any] = {"drop": self.drop, "order": self.order.tolist()}
        constants["wraps"] = not bool(self.fits.all())
        constants["back"] = None if (np.diff(every) == 1).all() else np.argsort(every)
        for name, channels in (("exact", exact), ("rounded", rounded), ("stepped", stepped)):
            weights = self.weights[:, channels]
            if name == "exact":
                weights = (weights >> self.drop).astype(kind)
            else:
                weights = weights.astype(kind) if scale == 1.0 else (weights * scale).astype(kind)
            constants[f"{name}_w"] = weights if len(channels) else None
            bias = self.bias[channels].astype(kind)
            constants[f"{name}_b"] = repeated(bias) if name == "exact" else bias
        return constants

    def run(self, xp: Namespace, columns: Array, k: Constants) -> Array:
        """Accumulated codes (rows, outputs) of input codes (rows, terms)."""
        parts, wraps = [], k["wraps"]
        if k["exact_w"] is not None:
            acc = add_bias(xp, xp.matmul(columns, k["exact_w"]), k["exact_b"])
            parts.append(self._fit(xp, acc) if wraps else acc)
        if k["rounded_w"] is not None or k["stepped_w"] is not None:
            # Steps run over long rows of samples, one term after the other.
            terms = _contiguous(xp, xp.permute_dims(columns, (1, 0)))
        if k["rounded_w"] is not None:
            acc = k["rounded_b"][:, None]
            for term in k["order"]:
                acc = acc + self._product(xp, terms[term, :], k["rounded_w"][term, :])
            acc = self._fit(xp, acc) if wraps else acc
            parts.append(xp.permute_dims(acc, (1, 0)))
        if k["stepped_w"] is not None:
            acc = k["stepped_b"][:, None]
            for term in k["order"]:
                product = self._product(xp, terms[term, :], k["stepped_w"][term, :])
                if not self.products_fit:
                    product = self._fit(xp, product)
                acc = self._fit(xp, acc + product)
            parts.append(xp.permute_dims(acc, (1, 0)))
        out = parts[0] if len(parts) == 1 else xp.concat(parts, axis=1)
        return out if k["back"] is None else xp.take(out, k["back"], axis=1)

    def _product(self, xp: Namespace, codes: Array, weights: Array) -> Array:
        """One term's rounded products (outputs, rows); floats scale the weights beforehand."""
        product = weights[:, None] * codes[None, :]
        if not self.drop:
            return product
        if is_float(xp, product):
            return round_float(xp, product, self.acc.rounding)
        return shift_round(xp, product, self.drop, self.acc.rounding)

    def _fit(self, xp: Namespace, codes: Array) -> Array:
        return overflow(xp, codes, self.acc.format, self.acc.overflow)


def _contiguous(xp: Namespace, view: Array) -> Array:
    """The same elements, row by row in memory."""
    return xp.reshape(xp.reshape(view, (-1,)), view.shape)
