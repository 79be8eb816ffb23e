"""How often a classifier is right, and in how many integers two runs of it differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Integers compared with `==`, and how many of them differ."""

    compared: int
    different: int

    def __add__(self, other: Comparison) -> Comparison:
        return Comparison(self.compared + other.compared, self.different + other.different)


def predictions(outputs: Any) -> Labels:
    """The class of each sample: the index of its largest value, the first of equals.

    `outputs` is `(batch, classes)`, reals or codes of one scale, or `(batch,)` or `(batch, 1)` of
    class numbers that the model picked itself. Raises HwsimError for any other shape.
    """
    array = np.asarray(outputs)
    if array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 1):
        return np.asarray(array.reshape(-1), np.int64)
    if array.ndim != 2 or array.shape[1] == 0:
        raise HwsimError(
            f"a classifier's outputs must have shape (batch, classes), not {array.shape}"
        )
    return np.asarray(np.argmax(array, axis=1), np.int64)


def accuracy(outputs: Any, labels: Any) -> float:
    """The share of samples whose prediction is their label, 0 to 1."""
    predicted, wanted = predictions(outputs), np.asarray(labels).reshape(-1)
    if len(predicted) != len(wanted) or not len(wanted):
        raise HwsimError(
            f"there must be one label for each of the {len(predicted)} samples (at least one), "
            f"not {len(wanted)}"
        )
    return float(np.mean(predicted == wanted))


def compare(expected: Any, got: Any) -> Comparison:
    """Compare two arrays of integers of one shape element by element."""
    a, b = np.asarray(expected), np.asarray(got)
    if a.dtype.kind not in "iu" or b.dtype.kind not in "iu":
        raise HwsimError(f"compared arrays must hold integers, not {a.dtype} and {b.dtype}")
    if a.shape != b.shape:
        raise HwsimError(f"compared arrays must have one shape, not {a.shape} and {b.shape}")
    return Comparison(int(a.size), int(np.count_nonzero(a != b)))
