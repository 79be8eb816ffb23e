"""How often a classifier is right, by class too, and in how many integers two runs differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError

Labels = npt.NDArray[np.int64]

TOP = 5
CONFUSION_CLASSES = 100
"""Classes up to which a result holds the whole confusion matrix; beyond, its largest entries."""

CONFUSED = 20
MAX_CLASSES = 1 << 20


@dataclass(frozen=True, slots=True)
class Comparison:
    """Integers compared with `==`, and how many of them differ."""

    compared: int
    different: int

    def __add__(self, other: Comparison) -> Comparison:
        return Comparison(self.compared + other.compared, self.different + other.different)


@dataclass(frozen=True, slots=True)
class ClassScore:
    """One class: samples labelled with it, predictions of it, and samples that are both."""

    label: int
    name: str
    samples: int
    predicted: int
    right: int

    @property
    def recall(self) -> float | None:
        """The share of the class's samples that were recognized; None without samples."""
        return self.right / self.samples if self.samples else None

    @property
    def precision(self) -> float | None:
        """The share of the class's predictions that were right; None without predictions."""
        return self.right / self.predicted if self.predicted else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """A classifier's predictions against labels, as counts.

    `right` counts samples whose largest output (the first of equals) is their label, `right_of_5`
    those whose label is among the five largest (None for five classes or fewer, or where the model
    gives class numbers). `pairs` counts samples by (label, prediction). `reference` is another
    model's result on the same samples.
    """

    output: str
    classes: int
    samples: int
    right: int
    right_of_5: int | None
    pairs: Mapping[tuple[int, int], int]
    names: tuple[str, ...] | None = None
    reference: Accuracy | None = None

    def __repr__(self) -> str:
        """One line: how many are right."""
        five = "" if self.top5 is None else f", {100 * self.top5:.2f} % among the first five"
        beside = f"; reference {100 * self.reference.top1:.2f} %" if self.reference else ""
        return (
            f"Accuracy({self.right:,} of {self.samples:,} right: {100 * self.top1:.2f} %{five} of "
            f"{self.classes:,} classes{beside})"
        )

    @property
    def top1(self) -> float:
        """The share of samples that are right, 0 to 1."""
        return self.right / self.samples

    @property
    def top5(self) -> float | None:
        """The share of samples whose label is among the five largest outputs, 0 to 1."""
        return None if self.right_of_5 is None else self.right_of_5 / self.samples

    @property
    def by_class(self) -> tuple[ClassScore, ...]:
        """A score for each class, in order."""
        samples, predicted = Counter[int](), Counter[int]()
        for (label, prediction), count in self.pairs.items():
            samples[label] += count
            predicted[prediction] += count
        return tuple(
            ClassScore(c, self.name(c), samples[c], predicted[c], self.pairs.get((c, c), 0))
            for c in range(self.classes)
        )

    @property
    def confusion(self) -> Labels:
        """Counts by (label, prediction), `(classes, classes)`."""
        matrix = np.zeros((self.classes, self.classes), np.int64)
        for pair, count in self.pairs.items():
            matrix[pair] = count
        return matrix

    @property
    def confused(self) -> tuple[tuple[int, int, int], ...]:
        """(label, prediction, samples) of what was mistaken most often, most often first."""
        wrong = [(*pair, count) for pair, count in self.pairs.items() if pair[0] != pair[1]]
        return tuple(sorted(wrong, key=lambda w: (-w[2], w))[:CONFUSED])

    def name(self, label: int) -> str:
        """What a class is called: its number where it has no name."""
        return str(label) if self.names is None else self.names[label]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `confusion` is None beyond a hundred classes."""
        return {
            "output": self.output,
            "samples": self.samples,
            "classes": self.classes,
            "right": self.right,
            "top1": self.top1,
            "top5": self.top5,
            "names": None if self.names is None else list(self.names),
            "by_class": [
                {
                    "class": c.label,
                    "name": c.name,
                    "samples": c.samples,
                    "right": c.right,
                    "recall": c.recall,
                    "precision": c.precision,
                }
                for c in self.by_class
            ],
            "confusion": self.confusion.tolist() if self.classes <= CONFUSION_CLASSES else None,
            "confused": [list(one) for one in self.confused],
            "reference": None if self.reference is None else self.reference.to_dict(),
        }


def scores(outputs: Any, what: str = "a classifier's outputs") -> Any:
    """Outputs as `(batch, classes)`, or as `(batch,)` where each sample has one number.

    Axes of one are dropped. Raises HwsimError for NaN and for any other shape.
    """
    array = np.asarray(outputs)
    sizes = [n for n in array.shape[1:] if n != 1]
    if array.ndim == 0 or len(sizes) > 1 or 0 in sizes:
        raise HwsimError(
            f"{what} must be scores of shape (batch, classes) or class numbers of shape (batch,), "
            f"not {array.shape}; accuracy is the share of right classes"
        )
    if array.dtype.kind == "f" and bool(np.isnan(array).any()):
        raise HwsimError(f"{what} must be numbers, but hold NaN")
    return array.reshape(len(array), *sizes)


def predictions(outputs: Any, what: str = "a classifier's outputs") -> Labels:
    """The class of each sample: the index of its largest value, the first of equals.

    `outputs` is `(batch, classes)`, reals or codes of one scale, or `(batch,)` or `(batch, 1)` of
    class numbers that the model picked itself. Raises HwsimError for any other shape, and for one
    number a sample that is no class number.
    """
    array = scores(outputs, what)
    if array.ndim == 2:
        return np.asarray(np.argmax(array, axis=1), np.int64)
    whole = np.asarray(array).astype(np.int64)
    odd = np.flatnonzero((whole != array) | (whole < 0) | (whole >= MAX_CLASSES))
    if len(odd):
        raise HwsimError(
            f"{what} must be scores of shape (batch, classes) or class numbers, not one value a "
            f"sample such as {array[odd[0]]:.6g}; accuracy is the share of right classes"
        )
    return whole


def accuracy(outputs: Any, labels: Any) -> float:
    """The share of samples whose prediction is their label, 0 to 1."""
    predicted = predictions(outputs)
    return float(np.mean(predicted == class_numbers(labels, len(predicted))))


def class_numbers(labels: Any, samples: int, what: str = "labels") -> Labels:
    """One class number for each of `samples` samples, from whole numbers or rows of one 1.

    Shapes `(batch,)`, `(batch, 1)` or one-hot `(batch, classes)`. Raises HwsimError for another
    length, shape or type, for fractions and for negative numbers.
    """
    array = np.asarray(labels)
    if array.dtype.kind not in "biuf":
        raise HwsimError(f"{what} must be class numbers, not values of type {array.dtype}")
    sizes = [n for n in array.shape[1:] if n != 1]
    if array.ndim == 0 or len(sizes) > 1:
        raise HwsimError(
            f"{what} must be one class number a sample, of shape (batch,), not {array.shape}; an "
            "array of that shape looks like an input"
        )
    expect_count(len(array), samples)
    array = array.reshape(len(array), *sizes)
    if sizes:
        return _one_hot(array, what)
    finite = np.isfinite(array) & (np.abs(array.astype(np.float64)) < MAX_CLASSES)
    whole = np.where(finite, array, -1).astype(np.int64)
    odd = np.flatnonzero(~finite | (whole != array) | (whole < 0))
    if len(odd):
        raise HwsimError(
            f"{what} must be whole class numbers from 0 to {MAX_CLASSES - 1}, not {array[odd[0]]} "
            f"(sample {odd[0]})"
        )
    return whole


def expect_count(labels: int, samples: int) -> None:
    """Raise HwsimError unless there is a label for each sample, and one at least."""
    if not samples:
        raise HwsimError("there must be at least one sample, not none")
    if labels != samples:
        raise HwsimError(
            f"labels must be as many as the samples, {samples:,}, not {labels:,}"
            + ("; a single sample needs a batch axis: x[None]" if samples == 1 else "")
        )


def _one_hot(array: Any, what: str) -> Labels:
    if not bool(np.all(((array == 0) | (array == 1)).all(axis=1) & (array.sum(axis=1) == 1))):
        raise HwsimError(
            f"{what} must be one class number a sample, or one-hot rows with a single 1, not other "
            f"numbers of shape {array.shape}"
        )
    return np.asarray(np.argmax(array, axis=1), np.int64)


def named(labels: Sequence[str], names: Sequence[str], what: str = "labels") -> Labels:
    """Class numbers of texts: their place in `names`."""
    places = {name: place for place, name in enumerate(names)}
    unknown = sorted({text for text in labels if text not in places})
    if unknown:
        raise HwsimError(
            f"{what} must be among the classes {', '.join(names[:10])}, not {unknown[0]!r}"
        )
    return np.array([places[text] for text in labels], np.int64)


class Tally:
    """Counts over pieces of a batch; `add` takes outputs and class numbers."""

    def __init__(self, output: str, classes: int | None = None) -> None:
        """`classes` is known where the model itself picks the class."""
        self._output, self._what = output, f"output {output!r}"
        self._classes = classes
        self._samples = self._right = 0
        self._right_of_5: int | None = None
        self._pairs: Counter[tuple[int, int]] = Counter()

    def add(self, outputs: Any, labels: Labels) -> Labels:
        """Count a piece; gives its predictions."""
        values = scores(outputs, self._what)
        if values.ndim == 2:
            self._expect(labels, values.shape[1])
            if values.shape[1] > TOP:
                found = int(np.count_nonzero(ranks(values, labels) < TOP))
                self._right_of_5 = (self._right_of_5 or 0) + found
        elif self._classes is not None:
            self._expect(labels, self._classes)
        predicted = predictions(values, self._what)
        self._samples += len(labels)
        self._right += int(np.count_nonzero(predicted == labels))
        pairs = np.stack([labels, predicted], axis=1)
        found_pairs, counts = np.unique(pairs, axis=0, return_counts=True)
        for (label, prediction), count in zip(found_pairs.tolist(), counts.tolist(), strict=True):
            self._pairs[label, prediction] += count
        return predicted

    def _expect(self, labels: Labels, classes: int) -> None:
        self._classes = classes
        top = int(labels.max(initial=0))
        if top >= classes:
            one_based = "; do they count from 1?" if top == classes else ""
            raise HwsimError(
                f"labels must be from 0 to {classes - 1} for the {classes} classes of "
                f"{self._what}, not {top}{one_based}"
            )

    def result(
        self, names: tuple[str, ...] | None = None, reference: Accuracy | None = None
    ) -> Accuracy:
        """All pieces together. Raises HwsimError where `names` are too few."""
        most = max((max(pair) for pair in self._pairs), default=0) + 1
        classes = max(self._classes or 0, most)
        if names is not None and len(names) < classes:
            raise HwsimError(
                f"there must be a name for each of the {classes} classes, not {len(names)}"
            )
        return Accuracy(
            output=self._output,
            classes=classes,
            samples=self._samples,
            right=self._right,
            right_of_5=self._right_of_5,
            pairs=dict(self._pairs),
            names=names,
            reference=reference,
        )


def ranks(values: Any, labels: Labels) -> Labels:
    """How many classes come before each sample's label: larger ones, and equal ones of lower index.

    So rank 0 is the prediction, and ties are broken as ONNX's TopK and NumPy's argmax do.
    """
    own = np.take_along_axis(values, labels[:, None], axis=1)
    first = np.arange(values.shape[1]) < labels[:, None]
    before = (values > own) | ((values == own) & first)
    return np.asarray(before.sum(axis=1), np.int64)


def compare(expected: Any, got: Any) -> Comparison:
    """Compare two arrays of integers of one shape element by element."""
    a, b = np.asarray(expected), np.asarray(got)
    if a.dtype.kind not in "iu" or b.dtype.kind not in "iu":
        raise HwsimError(f"compared arrays must hold integers, not {a.dtype} and {b.dtype}")
    if a.shape != b.shape:
        raise HwsimError(f"compared arrays must have one shape, not {a.shape} and {b.shape}")
    return Comparison(int(a.size), int(np.count_nonzero(a != b)))
