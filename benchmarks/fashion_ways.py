"""What a toolchain gives: a quantized model, its runtime's logits and hwsim's graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

import hwsim

Array = npt.NDArray[Any]
Module = torch.nn.Module


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """A quantized model in one runtime: `logits` are the runtime's, `graph` is hwsim's.

    Both take images as the model's file wants them, made from pixels by `fed`.
    """

    toolchain: str
    runtime: str
    graph: Callable[[], hwsim.Graph]
    logits: Callable[[Array], Array]
    fed: Callable[[Array], Array]


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolchain:
    """What must be installed, and the ways of one quantized model in a folder."""

    needs: tuple[str, ...]
    ways: Callable[[Module, Array, Path], Iterator[Way]]


def as_it_is(x: Array) -> Array:
    """Pixels (N, 1, 28, 28) as reals."""
    return x


def pieces(x: Array) -> list[Array]:
    """Samples in batches of 100."""
    return np.split(x, range(100, len(x), 100))
