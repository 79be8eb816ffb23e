"""Data sets by name: which files, what is in them, how they are split, and where to get them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.data.sets.known import KnownFile
from hwsim.data.sets.plain import read_idx, read_json_pixels, read_series
from hwsim.data.sets.rdata import Column, read_frame
from hwsim.data.sets.sources import (
    AEON,
    EMBEDDED,
    FASHION_FILES,
    FASHION_FOLDER,
    FASHION_SOURCE,
    LETTER_FILES,
    MLBENCH,
    MLBENCH_FOLDER,
    MNIST_FILES,
    MOTION_FILES,
    NPM,
    SATELLITE_FILES,
)
from hwsim.errors import HwsimError
from hwsim.extras import library

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """Inputs as they are stored, `(samples, channels, …)` or `(samples, features)`, and labels.

    `unit` is what an input is divided by to be about 1 at most.
    """

    inputs: npt.NDArray[Any]
    labels: Labels
    unit: float

    def __len__(self) -> int:
        return len(self.inputs)

    def reals(self) -> npt.NDArray[np.float32]:
        """The inputs divided by the unit, in float32."""
        return np.asarray(self.inputs.astype(np.float32) / np.float32(self.unit))


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class DataSet:
    """Samples to train with and others to test with; `classes` are the labels' names in order."""

    name: str
    train: Examples
    test: Examples
    classes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SetSource:
    """Files of a data set, how their contents become one, and a sentence on where to get them.

    `folder` is where a package of the system puts them, if one does.
    """

    source: str
    folder: Path | None = None
    files: Mapping[str, KnownFile]
    read: Callable[[Mapping[str, bytes]], DataSet]


FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
           "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")  # fmt: skip
DIGITS = tuple("0123456789")
DIGITS_SHA256 = "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"
SPLIT_SEED = 7


def split(size: int, held_out: int) -> tuple[Labels, Labels]:
    """Places to train with and to test with; of a stream that NumPy promises never to change."""
    order = np.random.RandomState(SPLIT_SEED).permutation(size).astype(np.int64)
    return order[held_out:], order[:held_out]


def _divided(
    name: str,
    inputs: npt.NDArray[Any],
    labels: Labels,
    *,
    unit: float,
    classes: tuple[str, ...],
    parts: tuple[Labels, Labels],
) -> DataSet:
    train, test = (Examples(inputs[part], labels[part], unit) for part in parts)
    return DataSet(name=name, train=train, test=test, classes=classes)


def read_fashion(contents: Mapping[str, bytes]) -> DataSet:
    """60,000 and 10,000 greys of 28 by 28."""
    parts = []
    for part in ("train", "t10k"):
        images = read_idx(f"{part}-images", contents[f"{part}-images"])
        labels = read_idx(f"{part}-labels", contents[f"{part}-labels"])
        if images.ndim != 3 or labels.shape != images.shape[:1] or labels.max(initial=0) > 9:
            raise HwsimError(f"{part}-labels must hold a class for each of the {part}-images")
        parts.append(Examples(images[:, None], labels.astype(np.int64), 255))
    return DataSet(name="fashion-mnist", train=parts[0], test=parts[1], classes=FASHION)


def read_mnist(contents: Mapping[str, bytes]) -> DataSet:
    """10,000 greys of 28 by 28; a fifth is held out, of an order drawn once."""
    images = [read_json_pixels(f"{name}.json", contents[name], 28) for name in DIGITS]
    labels = np.repeat(np.arange(10, dtype=np.int64), [len(part) for part in images])
    inputs = np.concatenate(images)[:, None]
    parts = split(len(labels), len(labels) // 5)
    return _divided("mnist", inputs, labels, unit=255, classes=DIGITS, parts=parts)


def read_digits(contents: Mapping[str, bytes]) -> DataSet:
    """1,797 greys of 8 by 8, from 0 to 16; 360 are held out, as of the example models."""
    bunch = library("sklearn.datasets", '"hwsim[train]"', "the data set digits").load_digits()
    inputs = np.rint(bunch.images).astype(np.uint8)[:, None]
    labels = np.asarray(bunch.target, np.int64)
    found = hashlib.sha256(inputs.tobytes() + labels.astype(np.uint8).tobytes()).hexdigest()
    if found != DIGITS_SHA256:
        raise HwsimError(f"scikit-learn's digits must be of SHA-256 {DIGITS_SHA256}, not {found}")
    parts = split(len(labels), 360)
    return _divided("digits", inputs, labels, unit=16, classes=DIGITS, parts=parts)


def read_motions(contents: Mapping[str, bytes]) -> DataSet:
    """40 and 40 recordings of a watch: 6 channels, 100 steps."""
    parts, classes = [], tuple[str, ...]()
    for part in ("TRAIN", "TEST"):
        inputs, labels, listed = read_series(f"BasicMotions_{part}.ts", contents[part])
        classes = classes or tuple(listed)
        if listed != list(classes):
            raise HwsimError(f"BasicMotions_{part}.ts must list the classes {', '.join(classes)}")
        numbers = np.array([classes.index(label) for label in labels], np.int64)
        parts.append(Examples(inputs, numbers, 1))
    return DataSet(name="motions", train=parts[0], test=parts[1], classes=classes)


def read_letter(contents: Mapping[str, bytes]) -> DataSet:
    """20,000 rows of 16 numbers from 0 to 15; the last 4,000 are held out, as it is usual."""
    inputs, labels, classes = _table("LetterRecognition", contents["letter"])
    rows = np.arange(len(labels), dtype=np.int64)
    at = len(labels) * 4 // 5
    parts = rows[:at], rows[at:]
    return _divided("letter", inputs, labels, unit=15, classes=classes, parts=parts)


def read_satellite(contents: Mapping[str, bytes]) -> DataSet:
    """6,435 rows of 36 numbers from 0 to 255 (3 by 3 pixels, 4 bands); a fifth is held out."""
    inputs, labels, classes = _table("Satellite", contents["satellite"])
    parts = split(len(labels), len(labels) // 5)
    return _divided("satellite", inputs, labels, unit=255, classes=classes, parts=parts)


def _table(name: str, content: bytes) -> tuple[npt.NDArray[np.uint8], Labels, tuple[str, ...]]:
    """Columns of whole numbers as inputs, and the one factor as labels."""
    columns = read_frame(f"{name}.rda", content, name)
    factors = [column for column in columns.values() if column.levels is not None]
    numbers = [column.numbers for column in columns.values() if column.levels is None]
    if len(factors) != 1 or not numbers:
        raise HwsimError(f"{name}.rda must have columns of numbers, and one of classes")
    rows = np.stack(numbers, axis=1).astype(np.float64)
    if not ((rows == np.rint(rows)) & (rows >= 0) & (rows <= 255)).all():
        raise HwsimError(f"{name}.rda must hold whole numbers from 0 to 255, not others")
    return rows.astype(np.uint8), *_classes(name, factors[0])


def _classes(name: str, factor: Column) -> tuple[Labels, tuple[str, ...]]:
    levels = factor.levels or ()
    labels = factor.numbers.astype(np.int64) - 1
    if not ((labels >= 0) & (labels < len(levels))).all():
        raise HwsimError(f"{name}.rda must hold a class in every row")
    return labels, levels


SETS: dict[str, SetSource] = {
    "digits": SetSource(source=EMBEDDED, files={}, read=read_digits),
    "fashion-mnist": SetSource(
        source=FASHION_SOURCE, files=FASHION_FILES, read=read_fashion, folder=FASHION_FOLDER
    ),
    "letter": SetSource(
        source=MLBENCH, files=LETTER_FILES, read=read_letter, folder=MLBENCH_FOLDER
    ),
    "mnist": SetSource(source=NPM, files=MNIST_FILES, read=read_mnist),
    "motions": SetSource(source=AEON, files=MOTION_FILES, read=read_motions),
    "satellite": SetSource(
        source=MLBENCH, files=SATELLITE_FILES, read=read_satellite, folder=MLBENCH_FOLDER
    ),
}

REFUSED = {
    "seglearn": (
        "its recordings of a watch are one pickled object (watch_dataset.npy), which would have to "
        "be executed to be read; motions are recordings of a watch as text"
    )
}


def load(name: str, folder: Path | None = None) -> DataSet:
    """The data set of that name, from its files in a folder, or where a package puts them.

    Raises HwsimError for an unknown name, and for a file that is missing, damaged or another one
    than the known: with a sentence on where to get it.
    """
    if name in REFUSED:
        raise HwsimError(f"data set must be one that can be read as data, not {name}: "
                         f"{REFUSED[name]}")  # fmt: skip
    found = SETS.get(name)
    if found is None:
        raise HwsimError(f"data set must be one of {', '.join(SETS)}, not {name!r}")
    place = folder or found.folder
    if found.files and place is None:
        raise HwsimError(
            f"data set {name} must be given with the folder of its files: {found.source}"
        )
    contents = {key: file.read(place or Path(), found.source) for key, file in found.files.items()}
    return found.read(contents)
