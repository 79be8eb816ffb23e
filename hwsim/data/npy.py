"""The header of a `.npy` file or member: untrusted, and nothing in it is executed."""

from __future__ import annotations

from typing import Any

import numpy as np

from hwsim.errors import HwsimError

HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_header(what: str, file: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether columns come first, and dtype; the file then stands at the numbers."""
    try:
        version = np.lib.format.read_magic(file)
        if version not in HEADERS:
            raise ValueError
        shape, column_major, dtype = HEADERS[version](file)
    except (ValueError, TypeError, OverflowError, SyntaxError):
        raise HwsimError(f"{what} must be a .npy file, but has not the header of one") from None
    return tuple(int(n) for n in shape), bool(column_major), np.dtype(dtype)


def numbers(what: str, dtype: np.dtype[Any], *, texts: bool = False) -> None:
    """Raise HwsimError unless the dtype is one of real numbers; `texts` may be, where asked for."""
    if dtype.hasobject or dtype.kind not in ("biufU" if texts else "biuf"):
        raise HwsimError(f"{what} must hold numbers, not {_kind(dtype)}")


def _kind(dtype: np.dtype[Any]) -> str:
    if dtype.hasobject:
        return "Python objects"
    names = {"U": "text", "S": "text", "c": "complex numbers", "V": "records"}
    return names.get(dtype.kind, f"values of type {dtype}")
