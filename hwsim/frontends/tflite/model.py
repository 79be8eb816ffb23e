"""What a TensorFlow Lite model holds, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True, eq=False)
class LiteQuant:
    """`real = (code - zero_point) * scale`; several scales lie along `axis`."""

    scales: npt.NDArray[np.float32]
    zero_points: tuple[int, ...]
    axis: int

    @property
    def scale(self) -> np.float32:
        """The only scale, or the first one."""
        return np.float32(self.scales[0])

    @property
    def zero_point(self) -> int:
        """The only zero point, or the first one."""
        return self.zero_points[0]


@dataclass(frozen=True, slots=True, eq=False)
class LiteTensor:
    """A tensor with its whole shape, batch included; `data` of a constant.

    `open_axes` are those whose length the model leaves open; `variable` says that it holds state.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    open_axes: tuple[int, ...]
    data: npt.NDArray[Any] | None
    quant: LiteQuant | None
    variable: bool


@dataclass(frozen=True, slots=True, eq=False)
class LiteNode:
    """An operator: tensors by index (-1 where an optional one is left out), and its options.

    `name` is that of the first tensor that it makes.
    """

    op: str
    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    intermediates: tuple[int, ...]
    options: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.op} {self.name.partition(';')[0]!r}"


@dataclass(frozen=True, slots=True, eq=False)
class Subgraph:
    """Tensors, which of them are inputs and outputs, and operators in order."""

    tensors: tuple[LiteTensor, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    nodes: tuple[LiteNode, ...]


@dataclass(frozen=True, slots=True, eq=False)
class LiteModel:
    """A file's subgraphs; the first one is the model."""

    path: Path
    subgraphs: tuple[Subgraph, ...]

    @property
    def main(self) -> Subgraph:
        """The model itself; the others initialize variables or are branches."""
        return self.subgraphs[0]
