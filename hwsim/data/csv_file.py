"""CSV files: a row a sample, numbers as features, and a label that may be text."""

from __future__ import annotations

import csv
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.errors import HwsimError

DELIMITERS = ",;\t"
LABEL_HEADS = ("label", "labels", "class", "classes", "target", "targets", "y")


@dataclass(frozen=True, slots=True)
class CsvTable:
    """Features, `(rows, columns)` in float64, and the last column where it holds labels."""

    features: Any
    labels: Any


def read_table(path: Path, columns: int) -> CsvTable:
    """A CSV file of `columns` features a row, and perhaps a label after them.

    A first row without a number is a head. Raises HwsimError with the line that does not
    fit. Memory is bounded by a few times the file's size.
    """
    values, labels = array("d"), list[str]()
    width = 0
    for line, row in rows(path):
        if not width:
            width = len(row)
            if width not in (columns, columns + 1):
                raise HwsimError(
                    f"{path} must have {columns} numbers a row, and perhaps a label behind them, "
                    f"not {width} cells"
                )
            if not any(_is_number(cell) for cell in row[:columns]):
                continue  # the head
        if len(row) != width:
            raise HwsimError(f"{path}, line {line}, must have {width} cells, not {len(row)}")
        try:
            values.extend(float(cell) for cell in row[:columns])
        except ValueError:
            bad = next(cell for cell in row[:columns] if not _is_number(cell))
            raise HwsimError(f"{path}, line {line}, must hold numbers, not {bad!r}") from None
        if "" in map(str.strip, row[columns:]):
            raise HwsimError(f"{path}, line {line}, must end with a label, not with nothing")
        labels.extend(row[columns:])
    if not values:
        raise HwsimError(f"{path} must hold at least one row of numbers, not none")
    features = np.array(values, np.float64).reshape(-1, columns)
    return CsvTable(features, as_labels(labels) if labels else None)


def read_label_rows(path: Path) -> list[list[str]]:
    """The rows of a CSV file of labels, one cell (label) or two (file, label), without a head."""
    found = [row for _, row in rows(path)]
    if not found:
        raise HwsimError(f"{path} must hold a label a row, not nothing")
    if any(len(row) != len(found[0]) for row in found) or len(found[0]) > 2:
        raise HwsimError(f"{path} must hold a label a row, or a file and its label")
    first, others = found[0][-1], [row[-1] for row in found[1:]]
    headed = others and all(map(_is_number, others)) and not _is_number(first)
    return found[1:] if headed or first.strip().lower() in LABEL_HEADS else found


def as_labels(cells: Sequence[str]) -> Any:
    """Numbers where all cells are, texts otherwise."""
    texts = [cell.strip() for cell in cells]
    return np.array([float(t) for t in texts] if all(map(_is_number, texts)) else texts)


def rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of each row that is not empty; cells are between commas, semicolons or tabs."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            head = file.readline(1 << 16)
            file.seek(0)
            delimiter = max(DELIMITERS, key=head.count)
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            for row in reader:
                if any(cell.strip() for cell in row):
                    yield reader.line_num, row
    except OSError as error:
        raise HwsimError(f"{path} must be a CSV file that can be read ({error.strerror})") from None
    except (csv.Error, UnicodeError):
        raise HwsimError(f"{path} must be a CSV file of UTF-8 text, quotes closed") from None


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
