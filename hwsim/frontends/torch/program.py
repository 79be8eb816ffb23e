"""What an exported program holds, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError

QUANTIZE_PT2E = "prepare_pt2e, calibrate, convert_pt2e, and torch.export.export once more"
FIXED_SCALES = (
    "a quantizer whose activations have fixed scales, as get_symmetric_quantization_config gives "
    "with is_dynamic=False, and some typical inputs"
)
Sizes = tuple["int | str", ...]


def printed(text: str) -> str:
    """A file's text as sentences hold it: of one line, without control characters."""
    return text if text.isprintable() else repr(text)[1:-1]


@dataclass(frozen=True, slots=True)
class TensorName:
    """A tensor among a node's arguments."""

    name: str


@dataclass(frozen=True, slots=True)
class SizeName:
    """A size among them that the program leaves open."""

    name: str


@dataclass(frozen=True, slots=True, eq=False)
class ProgramNode:
    """One call: arguments by the names of the operator's schema, those left out have defaults.

    `op` is as `aten.conv2d`, without its `overload`. `outputs` are names of tensors, or of sizes,
    and `scope` is the module that it lies in.
    """

    op: str
    name: str
    args: Mapping[str, Any]
    outputs: tuple[str, ...]
    overload: str = ""
    scope: str = ""

    def __str__(self) -> str:
        return f"{self.op} {self.name!r}"

    @property
    def output(self) -> str:
        """Its only output, or the first."""
        if not self.outputs:
            raise HwsimError(f"{self}: it must give a tensor")
        return self.outputs[0]

    def of(self, name: str, kind: type | tuple[type, ...], default: Any) -> Any:
        """An argument of a kind; HwsimError where it is of another."""
        value = self.args.get(name)
        if value is None:
            return default
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
            raise HwsimError(f"{self}: its argument {name!r} must not be {value!r}")
        return value

    def integer(self, name: str, default: int = 0) -> int:
        """A whole number."""
        return int(self.of(name, int, default))

    def flag(self, name: str, *, default: bool = False) -> bool:
        """A truth value."""
        return bool(self.of(name, (bool, int), default))

    def real(self, name: str, default: float = 0.0) -> float:
        """A number."""
        return float(self.of(name, (int, float), default))

    def integers(self, name: str, default: tuple[int, ...] = ()) -> tuple[int, ...]:
        """Whole numbers; one stands for a list of one."""
        value = self.args.get(name)
        if value is None:
            return default
        values = value if isinstance(value, tuple) else (value,)
        if not all(isinstance(v, int) and not isinstance(v, bool) for v in values):
            raise HwsimError(f"{self}: its argument {name!r} must be whole numbers, not {value!r}")
        return values


@dataclass(frozen=True, slots=True)
class TensorMeaning:
    """A tensor's element type and sizes; one that is left open is an expression.

    `strides` are there where the program says how the tensor lies in memory.
    """

    dtype: str
    sizes: Sizes
    strides: Sizes = ()

    @property
    def channels_last(self) -> bool:
        """Whether a map's channels lie side by side, as PyTorch tells it."""
        if len(self.strides) != 4 or not all(isinstance(n, int) for n in self.strides[1:]):
            return False
        least = 0
        for axis in (1, 3, 2):
            stride, size = int(self.strides[axis]), self.sizes[axis]
            if stride < least or isinstance(size, str):
                return False
            least = stride * max(size, 1)
        return int(self.strides[1]) not in (0, least)


@dataclass(frozen=True, slots=True, eq=False)
class ExportedGraph:
    """A graph in order; `place` is what sentences begin with.

    `paths` are the names that constants have in the module, by those in the graph.
    """

    place: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[ProgramNode, ...]
    constants: Mapping[str, npt.NDArray[np.generic]]
    meanings: Mapping[str, TensorMeaning]
    paths: Mapping[str, str] = field(default_factory=dict)

    def meaning(self, name: str) -> TensorMeaning:
        """Type and sizes of a tensor; HwsimError where the program does not say them."""
        if name not in self.meanings:
            raise HwsimError(f"tensor {name!r} must have a type and sizes")
        return self.meanings[name]
