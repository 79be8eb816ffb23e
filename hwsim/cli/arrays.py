"""Files by port, and `.npy` and `.npz` files written whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.storage import replacing


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
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    """A temporary sibling to write, which takes `path`'s place in the end."""
    if path.exists() and not path.is_file():
        kind = "folder" if path.is_dir() else "special file"
        raise HwsimError(f"the output {path} must be a file, not a {kind}")
    with replacing(path, f"the output {path}") as file:
        yield file


@contextmanager
def writing(path: Path, samples: int) -> Iterator[Writer]:
    """A writer of one array of `samples` samples to a `.npy` file, whole or not at all."""
    with _replacing(path) as file:
        yield Writer(file, samples)


@contextmanager
def writing_together(path: Path, names: Sequence[str], samples: int) -> Iterator[dict[str, Writer]]:
    """Writers of arrays by name, which become one `.npz` file, whole or not at all."""
    with _replacing(path) as file, ExitStack() as stack:
        parts = {name: stack.enter_context(tempfile.TemporaryFile()) for name in names}
        yield {name: Writer(part, samples) for name, part in parts.items()}
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for name, part in parts.items():
                part.seek(0)
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    shutil.copyfileobj(part, member)
