"""How far a network's outputs are from a float model's: what a choice is judged by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Reals = npt.NDArray[np.float64]
Outputs = Mapping[str, npt.NDArray[Any]]
SUM = 1e-3
"""How near to 1 the sums of probabilities are."""


@dataclass(frozen=True, slots=True)
class Yardstick:
    """The float model's outputs, batch by batch, and with what an output is compared.

    Scores of classes (batch, classes) count by the Kullback-Leibler divergence of the classes'
    probabilities, in nats a sample. Other outputs count by their squared error over the mean
    square of the float ones, a half of which is what the divergence is near to where it is small.
    """

    wanted: tuple[Outputs, ...]

    @classmethod
    def of(cls, outputs: Iterable[Outputs]) -> Yardstick:
        """From the float model's outputs."""
        return cls(tuple(outputs))

    def loss(self, found: Iterable[Outputs]) -> float:
        """The mean over the samples, summed over the outputs."""
        return float(sum(self.parts(found)) / max(1, self.samples))

    def agreement(self, found: Iterable[Outputs]) -> float | None:
        """The share of samples with the float model's class; None where no output has classes."""
        same = count = 0
        for wanted, given in zip(self.wanted, found, strict=True):
            for name, reals in wanted.items():
                if _of_classes(reals):
                    same += int((reals.argmax(axis=1) == np.asarray(given[name]).argmax(1)).sum())
                    count += len(reals)
        return same / count if count else None

    @property
    def samples(self) -> int:
        """In all batches."""
        return sum(len(next(iter(batch.values()))) for batch in self.wanted)

    def parts(self, found: Iterable[Outputs]) -> Iterator[float]:
        """The sums of each batch."""
        for wanted, given in zip(self.wanted, found, strict=True):
            for name, reals in wanted.items():
                yield _apart(np.asarray(reals, np.float64), np.asarray(given[name], np.float64))


def _of_classes(reals: npt.NDArray[Any]) -> bool:
    return reals.ndim == 2 and reals.shape[1] > 1


def _apart(wanted: Reals, given: Reals) -> float:
    if _of_classes(wanted):
        p, q = _log_shares(wanted), _log_shares(given)
        return float((np.exp(p) * (p - q)).sum())
    size = wanted.size or 1
    power = float((wanted**2).sum()) / size or 1.0
    return float(((wanted - given) ** 2).sum()) / power / size * len(wanted) / 2


def _log_shares(scores: Reals) -> Reals:
    """Logarithms of the classes' probabilities; what are probabilities already stays so."""
    if scores.min() >= 0 and np.abs(scores.sum(axis=1) - 1).max() < SUM:
        kept = np.maximum(scores, 2.0**-24)
        return np.asarray(np.log(kept / kept.sum(axis=1, keepdims=True)))
    shifted = scores - scores.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))
