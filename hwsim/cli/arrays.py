"""`.npy` files: untrusted input read piece by piece, output written whole or not at all."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from hwsim.errors import HwsimError

HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def assign(values: Sequence[str], ports: Sequence[str], what: str) -> dict[str, Path]:
    """Paths by port name from `PATH` (a single port) or `NAME=PATH` for each port."""
    found: dict[str, Path] = {}
    for value in values:
        name, equals, path = value.partition("=")
        if not (equals and name in ports):
            if len(ports) > 1:
                raise HwsimError(
                    f"{what} must be given as NAME=FILE for each of {', '.join(ports)}, "
                    f"not {value!r}"
                )
            name, path = ports[0], value
        if name in found:
            raise HwsimError(f"{what} must be given once for {name!r}, not twice")
        found[name] = Path(path)
    missing = [name for name in ports if name not in found]
    if missing:
        raise HwsimError(f"{what} must be given for {', '.join(missing)} too")
    return found


def open_array(path: Path) -> Any:
    """The numbers in a `.npy` file, mapped and not yet read; HwsimError says what is wrong with it.

    The array is never larger than the file. Nothing in the file is executed (no pickle).
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            kind = "folder" if stat.S_ISDIR(status.st_mode) else "special file"
            raise HwsimError(f"{path} must be a .npy file, not a {kind}")
        with path.open("rb") as file:
            dtype = _dtype(path, file)
        if dtype.hasobject or dtype.kind not in "biuf":
            raise HwsimError(f"{path} must hold numbers, not {_kind(dtype)}")
        return np.lib.format.open_memmap(path, mode="r")
    except OSError as error:
        raise HwsimError(f"{path} must be a .npy file that can be read ({_why(error)})") from None
    except (ValueError, TypeError, OverflowError):
        raise HwsimError(
            f"{path} must hold all the numbers that its header announces, but has "
            f"{path.stat().st_size} bytes"
        ) from None


def _dtype(path: Path, file: IO[bytes]) -> np.dtype[Any]:
    try:
        version = np.lib.format.read_magic(file)
        if version not in HEADERS:
            raise ValueError
        _, _, dtype = HEADERS[version](file)
    except (ValueError, TypeError, OverflowError, SyntaxError):
        raise HwsimError(f"{path} must be a .npy file, but has not the header of one") from None
    found: np.dtype[Any] = np.dtype(dtype)
    return found


def _kind(dtype: np.dtype[Any]) -> str:
    if dtype.hasobject:
        return "Python objects"
    names = {"U": "text", "S": "text", "c": "complex numbers", "V": "records"}
    return names.get(dtype.kind, f"values of type {dtype}")


def _why(error: OSError) -> str:
    return error.strerror or type(error).__name__


class Writer:
    """A `.npy` file in the making: `append` adds samples, all of one type and shape."""

    def __init__(self, file: IO[bytes], samples: int) -> None:
        self.shape: tuple[int, ...] = ()
        self.dtype = ""
        self._file, self._samples = file, samples

    def append(self, piece: Any) -> None:
        """Add a piece of the batch."""
        if not self.dtype:
            self.shape, self.dtype = (self._samples, *piece.shape[1:]), str(piece.dtype)
            head = {"descr": piece.dtype.str, "fortran_order": False, "shape": self.shape}
            np.lib.format.write_array_header_1_0(self._file, head)
        self._file.write(np.ascontiguousarray(piece).tobytes())


@contextmanager
def writing(path: Path, samples: int) -> Iterator[Writer]:
    """A writer of `samples` samples to a temporary sibling that takes `path`'s place in the end."""
    if path.exists() and not path.is_file():
        kind = "folder" if path.is_dir() else "special file"
        raise HwsimError(f"the output {path} must be a file, not a {kind}")
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise HwsimError(
            f"the folder of the output {path} must exist and be writable ({_why(error)})"
        ) from None
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield Writer(file, samples)
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise HwsimError(f"the output {path} must be writable ({_why(error)})") from None
    finally:
        temporary.unlink(missing_ok=True)
