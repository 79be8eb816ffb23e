"""`.npz` files: untrusted archives of arrays, each mapped, none of them executed."""

from __future__ import annotations

import math
import re
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.data.npy import numbers, read_header
from hwsim.errors import HwsimError

INPUT_KEYS = ("x", "X", "x_test", "X_test", "input", "inputs", "images", "data")
LABEL_KEYS = ("y", "Y", "y_test", "Y_test", "labels", "label", "targets", "target")
LOCAL_HEADER = 30
"""Bytes of a member's header in the file, before its name and extra field."""

BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, struct.error)


def split_key(path: Path) -> tuple[Path, str | None]:
    """A file, and the array of it that `FILE.npz:KEY` names."""
    found = re.fullmatch(r"(.+\.npz):(.+)", str(path), flags=re.IGNORECASE | re.DOTALL)
    return (Path(found[1]), found[2]) if found else (path, None)


def is_npz(path: Path) -> bool:
    """Whether a path, with or without `:KEY`, names a `.npz` file."""
    return split_key(path)[0].suffix.lower() == ".npz"


def keys(path: Path) -> list[str]:
    """The names of the arrays in a `.npz` file."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise HwsimError(f"{path} must be a .npz file that can be read ({why})") from None
    except BROKEN:
        raise HwsimError(f"{path} must be a .npz file, but is no whole zip archive") from None
    return [name.removesuffix(".npy") for name in names if name.endswith(".npy")]


def open_member(
    path: Path, key: str | None, wanted: Sequence[str] = INPUT_KEYS, *, texts: bool = False
) -> Any:
    """The array `key` of a `.npz` file, or the one that its names make plain, mapped.

    `wanted` are the names looked for where no key is given. A compressed array goes through a
    temporary file without a name, so that memory stays bounded.
    """
    names = keys(path)
    chosen = choose(path, names, wanted) if key is None else key
    if chosen not in names:
        raise HwsimError(f"{path} must hold an array {chosen!r}, not only {', '.join(names)}")
    what = f"{path}:{chosen}"
    try:
        with zipfile.ZipFile(path) as archive:
            return _map(path, what, archive, archive.getinfo(f"{chosen}.npy"), texts=texts)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise HwsimError(f"{what} must be an array that can be read ({why})") from None
    except BROKEN:
        raise HwsimError(f"{what} must be a whole array, but the archive is damaged") from None


def choose(path: Path, names: Sequence[str], wanted: Sequence[str]) -> str:
    """The array meant: the only one, the only one with a usual name, or the only other one."""
    others = LABEL_KEYS if wanted is not LABEL_KEYS else INPUT_KEYS
    usual = [name for name in names if name in wanted]
    rest = [name for name in names if name not in others]
    for found in (names, usual, rest):
        if len(found) == 1:
            return found[0]
    if not names:
        raise HwsimError(f"{path} must hold an array, and holds none")
    raise HwsimError(
        f"{path} must be given with the array that is meant, such as {path}:{names[0]}, because it "
        f"holds {', '.join(names)}"
    )


def _map(
    path: Path, what: str, archive: zipfile.ZipFile, info: zipfile.ZipInfo, *, texts: bool
) -> Any:
    with archive.open(info) as stream:
        shape, column_major, dtype = read_header(what, stream)
        numbers(what, dtype, texts=texts)
        start, size = stream.tell(), math.prod(shape) * dtype.itemsize
        if info.file_size - start != size:
            raise HwsimError(
                f"{what} must hold all the numbers that its header announces ({size} bytes), not "
                f"{info.file_size - start} bytes"
            )
        order: Any = "F" if column_major else "C"
        if not size:
            return np.empty(shape, dtype, order)
        if info.compress_type == zipfile.ZIP_STORED:
            offset = _data_offset(path, info) + start
            return np.memmap(path, dtype, "r", offset, shape, order)
        return np.memmap(_unpacked(what, stream, size), dtype, "r", 0, shape, order)


def _data_offset(path: Path, info: zipfile.ZipInfo) -> int:
    """Where a member's bytes begin: its own header may have another extra field than the list."""
    with path.open("rb") as file:
        file.seek(info.header_offset)
        header = file.read(LOCAL_HEADER)
    name, extra = struct.unpack("<HH", header[26:30])
    return info.header_offset + LOCAL_HEADER + int(name) + int(extra)


def _unpacked(what: str, stream: Any, size: int) -> Any:
    """A temporary file of the decompressed bytes; it is gone when the array is."""
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if size > free:
        raise HwsimError(
            f"{what} must fit, unpacked, into the {free:,} bytes free for temporary files, not "
            f"have {size:,}"
        )
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the mapping outlives this function
    shutil.copyfileobj(stream, file)
    if file.tell() != size:
        raise EOFError
    file.flush()
    return file
