"""PyTorch as one more array namespace."""

from __future__ import annotations

from typing import Any

from hwsim.extras import library
from hwsim.fixed import Namespace

EXTRA = '"hwsim[train]"'
WHAT = "training"


def torch() -> Any:
    """PyTorch; HwsimError says how to install it."""
    return library("torch", EXTRA, WHAT)


def namespace() -> Namespace:
    """PyTorch with the array API's names, so that `Op.run` computes on its tensors."""
    torch()
    return library("array_api_compat.torch", EXTRA, WHAT)
