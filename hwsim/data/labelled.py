"""Samples with their labels, from any of the kinds of files that are read."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.data.arrays import open_array
from hwsim.data.csv_file import as_labels, read_label_rows, read_table
from hwsim.data.images import Images, list_images, scales_pixels
from hwsim.data.npz import INPUT_KEYS, LABEL_KEYS, is_npz, keys, split_key
from hwsim.data.prepare import Preparation
from hwsim.data.sets.catalogue import DataSet, Examples
from hwsim.data.sets.named import PREFIX, named_part
from hwsim.errors import HwsimError
from hwsim.ports import InputPort, channel_place, user_shape

PLAIN = (1.0, 1.0)
LISTED = 10
"""Classes whose numbers are told, where they come from the order of names."""


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """Batches by input name, labels (class numbers, or texts), and the classes' names in order.

    `inferred` says that the names come from the data alone, so that they are only right where they
    are as many as the model's classes. `says` is what was done to the numbers, in words.
    """

    arrays: Mapping[str, Any]
    labels: Any
    names: tuple[str, ...] | None
    inferred: bool
    says: str


class Prepared:
    """An array whose slices are prepared as they are read."""

    def __init__(
        self,
        array: Any,
        prepare: Preparation,
        port: InputPort,
        default: tuple[float, float] = PLAIN,
    ) -> None:
        self._array, self._prepare, self._port, self._default = array, prepare, port, default
        self.shape = tuple(array.shape)

    def __len__(self) -> int:
        return len(self._array)

    def __getitem__(self, part: Any) -> Any:
        """A slice, or an array of places."""
        found = self._array[part]
        kind = self._port.type
        moved = self._port.axes is not None and found.ndim == len(kind.shape) + 1
        place = channel_place(kind, self._port) + 1 if moved else -1
        last = np.moveaxis(found, place, -1)
        channels = last.shape[-1] if last.ndim > 1 else 1
        return np.moveaxis(self._prepare.apply(last, self._default, channels), -1, place)


def read_labelled(
    ports: Sequence[InputPort],
    inputs: Mapping[str, Path],
    labels: Path | None,
    *,
    classes: Path | None = None,
    prepare: Preparation | None = None,
    required: bool = True,
) -> Labelled:
    """Samples by input name, and their labels.

    An input is a `.npy` or `.npz` file, a folder of images, a `.csv` file, or a part of a data set
    that is known by name, as `set:digits/test`. Labels are a file of those kinds; without one they
    are the data set's, in the `.npz`, the image folders' names, or the CSV's last column. `classes`
    is a text file with a class's name a line. Without `required` there may be no labels (then
    None). Raises HwsimError for files that do not fit together.
    """
    done = prepare or Preparation()
    arrays: dict[str, Any] = {}
    found: Any = None
    names: tuple[str, ...] | None = None
    says = ""
    for port in ports:
        path = inputs[port.name]
        arrays[port.name], own, own_names, said = _read_input(port, path, labels, done)
        found, names = (own, own_names) if own is not None else (found, names)
        says = says or said
    if labels is not None:
        found, names = _read_labels(labels, arrays), None
    if found is None and required:
        listed = ", ".join(map(str, inputs.values()))
        raise HwsimError(f"labels must be given (--labels FILE), because {listed} holds none")
    given = read_names(classes) if classes is not None else None
    if given is None and names is not None:
        names = _ordered(inputs[ports[0].name], names)
    if (
        given is None
        and names is None
        and found is not None
        and np.asarray(found).dtype.kind == "U"
    ):
        names = tuple(sorted(set(np.asarray(found).tolist())))
    inferred = given is None and names is not None
    known = all(str(path).startswith(PREFIX) for path in inputs.values())
    if names is not None and inferred and not known:
        says = "; ".join(filter(None, (says, _says_order(names))))
    return Labelled(arrays, found, given or names, inferred, says)


def _says_order(names: Sequence[str]) -> str:
    """In words that names became numbers by their order, where that is not plain."""
    if all(name == str(number) for number, name in enumerate(names)):
        return ""
    few = [f"{number} {name}" for number, name in enumerate(names[:LISTED])]
    more = [f"{len(names) - LISTED} more"] if len(names) > LISTED else []
    return f"classes in the order of their names ({', '.join(few + more)}); --classes gives another"


def _read_input(
    port: InputPort, path: Path, labels: Path | None, prepare: Preparation
) -> tuple[Any, Any, tuple[str, ...] | None, str]:
    """An input's samples, the labels found with them, their names, and what was done in words."""
    part = named_part(path)
    if part is not None:
        return _of_set(*part, port, prepare)
    if path.is_dir():
        listing = list_images(path)
        files = listing.files
        if listing.labels is None and labels is not None and labels.suffix.lower() == ".csv":
            files = _order(files, labels)
        images = Images(files, port, prepare)
        own = None if listing.labels is None else np.array(listing.labels)
        return images, own, listing.names, f"pixels {prepare.says(images.default)}"
    says = "" if prepare == Preparation() else f"values {prepare.says(PLAIN)}"
    if path.suffix.lower() == ".csv":
        table = read_table(path, port.type.size)
        if labels is not None and table.labels is not None:
            raise HwsimError(
                f"{path} must have {port.type.size} numbers a row where --labels is given, not a "
                "label behind them too"
            )
        return Prepared(table.features, prepare, port), table.labels, None, says
    array = open_array(path, (port.name, *INPUT_KEYS))
    if array.ndim == 0:
        raise HwsimError(f"{path} must hold a batch of samples, not a single number")
    own = None
    if is_npz(path) and labels is None:
        file, _ = split_key(path)
        if any(key in LABEL_KEYS for key in keys(file)):
            own = _open_labels(file)
    return Prepared(array, prepare, port), own, None, says


def _of_set(
    data: DataSet, part: Examples, port: InputPort, prepare: Preparation
) -> tuple[Any, Any, tuple[str, ...], str]:
    """A part of a data set as an input's samples; one channel in whatever shape the model takes."""
    inputs, wanted = part.inputs, user_shape(port.type, port)
    if inputs.ndim == 2 or inputs.shape[1] == 1:
        whole = math.prod(inputs.shape[1:]) == math.prod(wanted)
        inputs = inputs.reshape(len(inputs), *wanted) if whole else inputs
    raw = port.element is not None or scales_pixels(port)
    default = PLAIN if raw else (1.0, part.unit)
    says = f"{data.name}: {len(part):,} samples, values {prepare.says(default)}"
    return Prepared(inputs, prepare, port, default), part.labels, data.classes, says


def _ordered(folder: Path, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Names of folders in the order of classes; numbers whose two orders differ are refused."""
    if names is None or not all(name.isdecimal() for name in names):
        return names
    for before, after in pairwise(sorted(names)):
        if int(before) > int(after):
            raise HwsimError(
                f"{folder} must have class folders in a plain order, not {before!r} before "
                f"{after!r} by name and behind it by value; --classes FILE gives the order (a name "
                "a line)"
            )
    return names


def _order(files: Sequence[Path], labels: Path) -> tuple[Path, ...]:
    """Files in the order of a CSV of (file, label); as they are for a CSV of labels alone."""
    listed = read_label_rows(labels)
    if len(listed[0]) == 1:
        return tuple(files)
    stems = Counter(file.stem for file in files)
    by_name = {file.stem: file for file in files if stems[file.stem] == 1}
    by_name |= {file.name: file for file in files}
    missing = [row[0] for row in listed if Path(row[0].strip()).name not in by_name]
    if missing:
        raise HwsimError(f"{labels} must name images of the folder, not {missing[0]!r}")
    return tuple(by_name[Path(row[0].strip()).name] for row in listed)


def _read_labels(path: Path, arrays: Mapping[str, Any]) -> Any:
    if path.suffix.lower() == ".csv":
        listed = read_label_rows(path)
        if len(listed[0]) == 2 and not any(isinstance(a, Images) for a in arrays.values()):
            raise HwsimError(f"{path} must hold one label a row, where samples are not images")
        return as_labels([row[-1] for row in listed])
    return _open_labels(path)


def _open_labels(path: Path) -> Any:
    """The labels in an array file; texts that are numbers count as those, as in a table."""
    found = open_array(path, LABEL_KEYS, texts=True)
    return as_labels(found.tolist()) if found.dtype.kind == "U" and found.ndim == 1 else found


def read_names(path: Path) -> tuple[str, ...]:
    """A text file's lines, each the name of a class; HwsimError for none or one twice."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise HwsimError(f"{path} must be a file that can be read ({error.strerror})") from None
    except UnicodeError:
        raise HwsimError(f"{path} must be UTF-8 text with the name of a class a line") from None
    names = tuple(line.strip() for line in text.splitlines() if line.strip())
    if not names or len(set(names)) < len(names):
        raise HwsimError(f"{path} must hold the name of a class a line, each once")
    return names
