"""PyTorch as one more array namespace, on the CPU or on another device that it knows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError
from hwsim.extras import library
from hwsim.fixed import Array, Namespace

EXTRA = '"hwsim[train]"'
WHAT = "training"
CPU = "cpu"


def torch() -> Any:
    """PyTorch; HwsimError says how to install it."""
    return library("torch", EXTRA, WHAT)


def namespace() -> Namespace:
    """PyTorch with the array API's names, so that `Op.run` computes on its tensors."""
    torch()
    return library("array_api_compat.torch", EXTRA, WHAT)


@contextmanager
def on(device: str) -> Iterator[None]:
    """New tensors are on a device, and float32 products there are float32's.

    TensorFloat-32 has 11 bits of significand, too few for the codes of sums.
    """
    if device == CPU:
        yield
        return
    before = torch().get_float32_matmul_precision()
    torch().set_float32_matmul_precision("highest")
    try:
        with torch().device(device):
            yield
    finally:
        torch().set_float32_matmul_precision(before)


def expect_device(device: str) -> None:
    """Raise HwsimError where PyTorch cannot hold float64 numbers on a device of this name."""
    try:
        torch().zeros(1, dtype=torch().float64, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        why = str(error).strip().splitlines() or [type(error).__name__]
        raise HwsimError(
            f"device must be one that PyTorch can use here, such as cpu or cuda, not {device!r}: "
            f"{why[0].rstrip('.')}"
        ) from None


def to_numpy(tensor: Array) -> npt.NDArray[Any]:
    """What a tensor of any device holds."""
    return np.asarray(tensor.detach().cpu().numpy())
