"""How a sum of products is accumulated: exactly, or cast at each step in a stated order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwsim.ops.base import IntArray


@dataclass(frozen=True, slots=True)
class Exact:
    """An accumulator wide enough for every partial sum, so that the order cannot matter."""


Accumulator = Exact
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
