"""Whether there is a GPU that CuPy can use, and what is missing if not."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from hwsim.errors import HwsimError
from hwsim.fixed import Namespace

INSTALL = 'pip install "hwsim[gpu]"'
NEW_FUNCTIONS = ("astype", "concat", "isdtype", "permute_dims")
"""Of the array API, which earlier versions of CuPy lack."""


def available() -> bool:
    """Whether Graphs can be run on a GPU here."""
    return missing() is None


def missing() -> str | None:
    """What a GPU run lacks here, in one sentence, or None."""
    if find_spec("cupy") is None:
        return f"a GPU run needs CuPy, which is not installed ({INSTALL})"
    try:
        cupy = import_module("cupy")
        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:  # a broken installation fails in many ways
        return f"a GPU run needs an NVIDIA GPU with a driver for CUDA 13 ({_first_line(error)})"
    if not count:
        return "a GPU run needs an NVIDIA GPU, and CuPy finds none"
    if not all(hasattr(cupy, name) for name in NEW_FUNCTIONS):
        return f"a GPU run needs CuPy 14 or later, not {cupy.__version__}"
    return None


def namespace() -> Namespace:
    """CuPy, once its float32 products are seen to be exact; HwsimError says what is missing."""
    lack = missing()
    if lack is not None:
        raise HwsimError(lack)
    cupy = import_module("cupy")
    if not _exact(cupy):
        raise HwsimError(
            "products of float32 on the GPU must be exact, but are rounded; unset CUPY_TF32, "
            "NVIDIA_TF32_OVERRIDE and CUBLAS_EMULATE_SINGLE_PRECISION"
        )
    return cupy


@cache
def _exact(xp: Any) -> bool:
    return products_are_exact(xp)


def products_are_exact(xp: Namespace) -> bool:
    """Whether `matmul` keeps all 24 bits of a float32, as reduced tensor-core formats do not."""
    a = xp.full((128, 128), 4097.0, dtype=xp.float32)
    b = xp.astype(xp.eye(128), xp.float32) * 4095.0
    return bool(xp.all(xp.matmul(a, b) == 4097.0 * 4095.0))


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0]
