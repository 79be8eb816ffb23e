"""What an IR file holds, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from hwsim.errors import HwsimError

Source = tuple[str, int]
"""A layer by its id, and which of its outputs."""


@dataclass(frozen=True, slots=True)
class IrPort:
    """An output of a layer: its element type, its shape (None where a size is open), its names."""

    element: str
    shape: tuple[int | None, ...]
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class IrLayer:
    """One operation: `kind` is its type; `data` are its attributes as the file writes them."""

    id: str
    name: str
    kind: str
    data: Mapping[str, str]
    inputs: tuple[Source, ...]
    outputs: tuple[IrPort, ...]
    array: npt.NDArray[Any] | None = None  # of a Const

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r}"

    def text(self, name: str, default: str | None = None) -> str:
        """An attribute; HwsimError where one without a default is missing."""
        value = self.data.get(name, default)
        if value is None:
            raise HwsimError(f"{self}: attribute {name!r} must be there")
        return value

    def integers(self, name: str, default: str | None = None) -> tuple[int, ...]:
        """An attribute that is a list of whole numbers."""
        text = self.text(name, default)
        try:
            return tuple(int(part) for part in text.split(",") if part.strip())
        except ValueError:
            raise HwsimError(
                f"{self}: attribute {name!r} must be whole numbers, not {text[:40]!r}"
            ) from None

    def integer(self, name: str, default: str | None = None) -> int:
        """An attribute that is a whole number."""
        found = self.integers(name, default)
        if len(found) != 1:
            raise HwsimError(f"{self}: attribute {name!r} must be one whole number, not {found}")
        return found[0]

    def real(self, name: str, default: str | None = None) -> float:
        """An attribute that is a number."""
        text = self.text(name, default)
        try:
            return float(text)
        except ValueError:
            raise HwsimError(
                f"{self}: attribute {name!r} must be a number, not {text[:40]!r}"
            ) from None

    def flag(self, name: str, default: str = "false") -> bool:
        """An attribute that is true or false."""
        text = self.text(name, default).lower()
        if text not in ("true", "false", "1", "0"):
            raise HwsimError(f"{self}: attribute {name!r} must be true or false, not {text[:40]!r}")
        return text in ("true", "1")


@dataclass(frozen=True, slots=True, eq=False)
class IrModel:
    """Layers in order of computation."""

    path: Path
    layers: tuple[IrLayer, ...]
