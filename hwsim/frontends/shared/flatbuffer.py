"""FlatBuffers read as untrusted bytes: every offset is checked, and the work is bounded.

A table is found by an offset; its vtable says where each field lies, by slot (FlatBuffers,
"Internals"). One table may be named many times, so that a small file could ask for a great deal of
work: no more tables are read than a file of that size can hold.
"""

from __future__ import annotations

import stat
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError

MAX_FILE_BYTES = 1 << 31
SCALARS = {"bool": "<?", "i8": "<b", "u8": "<B", "i16": "<h", "u16": "<H", "i32": "<i",
           "u32": "<I", "i64": "<q", "u64": "<Q", "f32": "<f", "f64": "<d"}  # fmt: skip
DTYPES = {"i8": "<i1", "u8": "<u1", "i32": "<i4", "u32": "<u4", "i64": "<i8", "u64": "<u8",
          "f32": "<f4", "f64": "<f8"}  # fmt: skip
LEAST_TABLE = 8  # bytes of one: where its vtable is, and the offset that leads to it
MOST_TEXT = 1 << 16  # characters of a name


class MalformedError(ValueError):
    """Bytes that are no such FlatBuffer."""


def file_bytes(path: Path, kind: str) -> bytes:
    """A whole file of a kind (`a TensorFlow Lite model`); HwsimError where it cannot be had."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise HwsimError(f"{path} must be {kind}, not a folder or device")
        if status.st_size > MAX_FILE_BYTES:
            raise HwsimError(
                f"{path} must have at most {MAX_FILE_BYTES} bytes, not {status.st_size}"
            )
        return path.read_bytes()
    except OSError as error:
        what = kind.rpartition(" ")[2]
        raise HwsimError(f"{path} must be a {what} that can be read ({error.strerror})") from None


@dataclass(slots=True)
class Bytes:
    """A whole file, and how many more tables may be read of it."""

    data: bytes
    left: int = field(init=False)

    def __post_init__(self) -> None:
        self.left = len(self.data) // LEAST_TABLE

    def scalar(self, kind: str, at: int) -> Any:
        """One number."""
        shape = SCALARS[kind]
        self.check(at, struct.calcsize(shape))
        return struct.unpack_from(shape, self.data, at)[0]

    def check(self, at: int, size: int) -> None:
        """So many bytes lie there."""
        if at < 0 or size < 0 or at + size > len(self.data):
            raise MalformedError(f"{size} bytes at {at} of {len(self.data)}")

    def target(self, at: int) -> int:
        """Where the offset there leads."""
        return at + int(self.scalar("u32", at))

    def root(self, identifier: bytes) -> Record:
        """The table that the file holds, whose identifier stands behind the first offset."""
        self.check(0, 8)
        if self.data[4:8] != identifier:
            raise MalformedError(f"the identifier {self.data[4:8]!r}, not {identifier!r}")
        return Record.at(self, self.target(0))


@dataclass(frozen=True, slots=True)
class Record:
    """A table: fields by slot; a field that is left out has its default."""

    source: Bytes
    position: int
    vtable: int
    slots: int

    @classmethod
    def at(cls, source: Bytes, position: int) -> Record:
        """The table at a position."""
        source.left -= 1
        if source.left < 0:
            raise MalformedError("more tables than it has room for")
        vtable = position - int(source.scalar("i32", position))
        size = int(source.scalar("u16", vtable))
        source.check(vtable, size)
        return cls(source, position, vtable, max(size // 2 - 2, 0))

    def _field(self, slot: int) -> int | None:
        """Where a field lies; None where it is left out."""
        if slot >= self.slots:
            return None
        offset = int(self.source.scalar("u16", self.vtable + 4 + 2 * slot))
        return self.position + offset if offset else None

    def scalar(self, slot: int, kind: str, default: Any = 0) -> Any:
        """A number."""
        at = self._field(slot)
        return default if at is None else self.source.scalar(kind, at)

    def table(self, slot: int) -> Record | None:
        """A table; None where it is left out."""
        at = self._field(slot)
        return None if at is None else Record.at(self.source, self.source.target(at))

    def _vector(self, slot: int, size: int) -> tuple[int, int] | None:
        """Where a vector's elements lie, and how many of `size` bytes there are."""
        at = self._field(slot)
        if at is None:
            return None
        begin = self.source.target(at)
        count = int(self.source.scalar("u32", begin))
        self.source.check(begin + 4, count * size)
        return begin + 4, count

    def tables(self, slot: int) -> list[Record]:
        """A vector of tables."""
        found = self._vector(slot, 4)
        if found is None:
            return []
        begin, count = found
        places = range(begin, begin + 4 * count, 4)
        return [Record.at(self.source, self.source.target(at)) for at in places]

    def array(self, slot: int, kind: str) -> npt.NDArray[Any] | None:
        """A vector of numbers, a view of the file; None where it is left out."""
        dtype = np.dtype(DTYPES[kind])
        found = self._vector(slot, dtype.itemsize)
        if found is None:
            return None
        return np.frombuffer(self.source.data, dtype, found[1], found[0])

    def ints(self, slot: int, kind: str = "i32") -> tuple[int, ...]:
        """A vector of whole numbers; empty where it is left out."""
        found = self.array(slot, kind)
        return () if found is None else tuple(found.tolist())

    def text(self, slot: int) -> str:
        """A string; empty where it is left out."""
        found = self._vector(slot, 1)
        if found is None:
            return ""
        begin, count = found
        return self.source.data[begin : begin + min(count, MOST_TEXT)].decode("utf-8", "replace")
