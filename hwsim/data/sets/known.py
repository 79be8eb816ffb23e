"""Files that are known by what is in them: unpacked within bounds, refused where they differ."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwsim.errors import HwsimError

LARGEST = 1 << 26
"""Bytes of a file, unpacked: more than any of the known ones has."""

PACKED: dict[bytes, Callable[[Path], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZ": bz2.open,
    b"\xfd7zXZ": lzma.open,
}
BROKEN = (EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile)


@dataclass(frozen=True, slots=True)
class KnownFile:
    """A file's name, the SHA-256 of its content (unpacked), and sub-folders that it may be in."""

    name: str
    sha256: str
    places: tuple[str, ...] = ()

    def read(self, folder: Path, source: str) -> bytes:
        """The content; HwsimError says from where the file is to be had (`source`)."""
        tried = [folder / place / self.name for place in ("", *self.places)]
        path = next((path for path in tried if path.is_file()), None)
        if path is None:
            raise HwsimError(f"{folder} must hold {self.name}, which is missing: {source}")
        content = unpacked(path)
        found = hashlib.sha256(content).hexdigest()
        if found != self.sha256:
            raise HwsimError(
                f"{path} must have content of SHA-256 {self.sha256}, not {found}: {source}"
            )
        return content


def unpacked(path: Path) -> bytes:
    """What is in a file, which may be compressed; HwsimError for a damaged or a huge one."""
    try:
        with path.open("rb") as file:
            head = file.read(6)
        opener = next((opener for magic, opener in PACKED.items() if head.startswith(magic)), None)
        with path.open("rb") if opener is None else opener(path) as file:
            content: bytes = file.read(LARGEST + 1)
    except BROKEN:
        raise HwsimError(f"{path} must be a whole compressed file, not a damaged one") from None
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise HwsimError(f"{path} must be a file that can be read ({why})") from None
    if len(content) > LARGEST:
        raise HwsimError(f"{path} must have at most {LARGEST:,} bytes unpacked, not more")
    return content
