"""hls4ml's `backend="hwsim"`, found by hls4ml through the entry point `hls4ml.backends`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def register(
    register_backend: Callable[[str, Any], None], register_writer: Callable[[str, Any], None]
) -> None:
    """Add the backend and its writer to hls4ml's tables; hls4ml calls this when it is imported.

    Raises RuntimeError where the installed hls4ml is not one that this works with; hls4ml prints
    it as a warning and goes on without the backend.
    """
    # Imported here: hls4ml may be half imported when it asks for this module.
    try:
        from hwsim.hls4ml_backend import qkeras_module
        from hwsim.hls4ml_backend.backend import NAME, HwsimBackend, HwsimWriter

        register_writer(NAME, HwsimWriter)  # first: the backend asks for the writer of its name
        register_backend(NAME, HwsimBackend)
        qkeras_module.provide()
    except TypeError as error:  # hls4ml would hide it: it tries another way to call this function
        raise RuntimeError(f"hls4ml must be version 1.3, which this one is not: {error}") from error
