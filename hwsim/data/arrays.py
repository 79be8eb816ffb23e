"""`.npy` and `.npz` files as mapped arrays: untrusted, read in pieces."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.data.npy import numbers, read_header
from hwsim.data.npz import INPUT_KEYS, is_npz, open_member, split_key
from hwsim.errors import HwsimError


def open_array(path: Path, wanted: Sequence[str] = INPUT_KEYS, *, texts: bool = False) -> Any:
    """The numbers in a `.npy` or `.npz` file, mapped and not yet read.

    `FILE.npz:KEY` names one of several arrays, and `wanted` which names are looked for without.
    With `texts` an array of texts is taken too, as labels may be.
    HwsimError says what is wrong with the file. The array is never larger than the file (unpacked),
    and nothing in the file is executed (no pickle).
    """
    file, key = split_key(path)
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):
            kind = "folder" if stat.S_ISDIR(status.st_mode) else "special file"
            raise HwsimError(f"{file} must be a .npy or .npz file, not a {kind}")
        if is_npz(path):
            return open_member(file, key, wanted, texts=texts)
        with file.open("rb") as opened:
            numbers(str(file), read_header(str(file), opened)[2], texts=texts)
        return np.lib.format.open_memmap(file, mode="r")
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise HwsimError(f"{file} must be a .npy or .npz file that can be read ({why})") from None
    except (ValueError, TypeError, OverflowError):
        raise HwsimError(
            f"{file} must hold all the numbers that its header announces, but has "
            f"{file.stat().st_size} bytes"
        ) from None
