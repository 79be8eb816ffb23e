"""An ONNX model as plain values: its nodes, constants and ports."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy.typing as npt

from hwsim.errors import HwsimError

Attribute = int | float | str | list[int] | list[float] | npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class OnnxNode:
    """One operator: `op` is its type, `domain` is empty for ONNX's own operators."""

    name: str
    op: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute]

    def __str__(self) -> str:
        return f"{self.op} {self.name!r}"

    @property
    def output(self) -> str:
        """The first output."""
        return self.outputs[0]

    def input(self, position: int) -> str:
        """The name of an input; empty where an optional one is left out."""
        return self.inputs[position] if position < len(self.inputs) else ""

    def integer(self, name: str, default: int) -> int:
        """An integer attribute."""
        value = self.attributes.get(name, default)
        if not isinstance(value, int):
            raise HwsimError(f"{self}: attribute {name!r} must be an integer, not {value!r}")
        return value

    def real(self, name: str, default: float) -> float:
        """A float attribute, finite."""
        value = self.attributes.get(name, default)
        if not isinstance(value, float | int) or not math.isfinite(value):
            raise HwsimError(f"{self}: attribute {name!r} must be a finite number, not {value!r}")
        return float(value)

    def text(self, name: str, default: str) -> str:
        """A string attribute."""
        value = self.attributes.get(name, default)
        if not isinstance(value, str):
            raise HwsimError(f"{self}: attribute {name!r} must be a string, not {value!r}")
        return value

    def integers(self, name: str, default: Iterable[int] = ()) -> tuple[int, ...]:
        """An attribute that is a list of integers."""
        value = self.attributes.get(name)
        if value is None:
            return tuple(default)
        if not isinstance(value, list) or not all(isinstance(v, int) for v in value):
            raise HwsimError(f"{self}: attribute {name!r} must be integers, not {value!r}")
        return tuple(int(v) for v in value)


CHANNEL_BITS = "hwsim.channel_bits"
"""The key of a model's metadata that has bits of weights by output channel, by layer."""


@dataclass(frozen=True, slots=True)
class OnnxPort:
    """A graph input or output: NumPy dtype name and shape, None for a free dimension."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class OnnxModel:
    """A model's main graph: nodes in order of computation, constants by name."""

    path: Path
    opset: int
    nodes: tuple[OnnxNode, ...]
    constants: Mapping[str, npt.NDArray[Any]]
    inputs: tuple[OnnxPort, ...]
    outputs: tuple[OnnxPort, ...]
    datatypes: Mapping[str, str] = field(default_factory=dict)
    """By tensor, what QONNX's annotations say of its values, as `BIPOLAR` or `UINT8`."""
    producer: str = ""
    channel_bits: str | None = None
    """What hwsim has noted of its layers in the model's metadata."""

    @property
    def batch(self) -> int | None:
        """The only batch that its inputs take, if they say one."""
        sizes = {port.shape[0] if port.shape else None for port in self.inputs}
        return sizes.pop() if len(sizes) == 1 else None
