"""Data frames in R's `.rda` files: numbers and factors, read as data; nothing is executed.

The format is XDR, version 2 (R Internals, chapter 1.8, "Serialization Formats"): only what data
frames are made of is read, and all else is refused by its number.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError

HEAD = b"RDX2\nX\n"
NULL, REFERENCE = 254, 255
SYMBOL, PAIRS, TEXT = 1, 2, 9
LOGICAL, WHOLE, REAL, TEXTS, VECTOR = 10, 13, 14, 16, 19
NUMBERS = {LOGICAL: ">i4", WHOLE: ">i4", REAL: ">f8"}
ATTRIBUTES, TAG = 1 << 9, 1 << 10
DEEPEST = 16


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """A column's numbers; of a factor they count from 1 in `levels`."""

    numbers: npt.NDArray[Any]
    levels: tuple[str, ...] | None


def read_frame(what: str, content: bytes, name: str) -> dict[str, Column]:
    """The columns of the data frame `name`, in order; HwsimError for anything else in there."""
    if not content.startswith(HEAD):
        raise HwsimError(f"{what} must be an .rda file in XDR of version 2, and is not")
    reader = _Reader(what, content, len(HEAD) + 12)  # three whole numbers: versions
    found = reader.item(0)
    frame, attributes = found.get(name, (None, {})) if isinstance(found, dict) else (None, {})
    names = attributes.get("names", ([], {}))[0]
    if not isinstance(frame, list) or len(frame) != len(names):
        raise HwsimError(f"{what} must hold a data frame {name}, and does not")
    columns = {}
    for column, (numbers, of_column) in zip(names, frame, strict=True):
        if not isinstance(numbers, np.ndarray):
            raise HwsimError(f"{what}, column {column!r}, must hold numbers or a factor")
        levels = of_column.get("levels")
        columns[column] = Column(numbers, None if levels is None else tuple(levels[0]))
    return columns


class _Reader:
    """Items one after the other: a value and its attributes, or a dict of such by tag."""

    def __init__(self, what: str, content: bytes, start: int) -> None:
        self.what, self.content, self.at = what, content, start
        self.symbols: list[str] = []

    def take(self, size: int) -> bytes:
        """The next bytes."""
        if size < 0 or self.at + size > len(self.content):
            raise HwsimError(f"{self.what} must be a whole .rda file, but ends in an item")
        self.at += size
        return self.content[self.at - size : self.at]

    def whole(self) -> int:
        """The next whole number."""
        return int(struct.unpack(">i", self.take(4))[0])

    def item(self, depth: int) -> Any:
        """The next item."""
        if depth > DEEPEST:
            raise HwsimError(f"{self.what} must not hold items more than {DEEPEST} deep")
        flags = self.whole()
        kind = flags & 255
        if kind == PAIRS:
            return self.pairs(flags, depth)
        if kind == NULL:
            return {}
        if kind == TEXT:
            return self.take(max(self.whole(), 0)).decode("utf-8", "replace")
        if kind == SYMBOL:
            self.symbols.append(str(self.item(depth + 1)))
            return self.symbols[-1]
        if kind == REFERENCE and 0 < flags >> 8 <= len(self.symbols):
            return self.symbols[(flags >> 8) - 1]
        value = self.vector(kind, depth)
        return value, self.item(depth + 1) if flags & ATTRIBUTES else {}

    def vector(self, kind: int, depth: int) -> Any:
        """A vector of numbers, of texts, or of items."""
        if kind not in (*NUMBERS, TEXTS, VECTOR):
            raise HwsimError(f"{self.what} must hold data frames alone, not an item of type {kind}")
        length = self.whole()
        if kind in NUMBERS:
            dtype = np.dtype(NUMBERS[kind])
            return np.frombuffer(self.take(length * dtype.itemsize), dtype)
        if not 0 <= length <= len(self.content) // 4:
            raise HwsimError(f"{self.what} must be a whole .rda file, but ends in a list")
        return [self.item(depth + 1) for _ in range(length)]

    def pairs(self, flags: int, depth: int) -> dict[str, Any]:
        """A list of pairs, from the flags of its first on; each has a tag."""
        found: dict[str, Any] = {}
        while flags & 255 == PAIRS:
            if flags & ATTRIBUTES or not flags & TAG:
                raise HwsimError(f"{self.what} must hold pairs with a name each, and no more")
            tag = self.item(depth + 1)
            found[str(tag)] = self.item(depth + 1)
            flags = self.whole()
        return found
