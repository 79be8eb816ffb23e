"""Modules with explicit quantizers, as convert_pt2e leaves them: any scale and zero point.

Each operator stands between `quantize_per_tensor` and `dequantize_per_tensor`. A `Maker` draws
scales that are powers of two (ties) or random, and zero points in the middle or anywhere.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.ao.quantization.fx._decomposed  # registers the operators

Q = torch.ops.quantized_decomposed
Tensor = torch.Tensor
Forward = Callable[..., Any]


@dataclass(frozen=True)
class Meaning:
    """The scale and zero point of a tensor of int8, or of uint8."""

    scale: float
    zero: int
    unsigned: bool = False

    def codes(self, x: Tensor) -> Tensor:
        return Q.quantize_per_tensor(x, self.scale, self.zero, *self._rest)

    def reals(self, codes: Tensor) -> Tensor:
        return Q.dequantize_per_tensor(codes, self.scale, self.zero, *self._rest)

    def __call__(self, x: Tensor) -> Tensor:
        return self.reals(self.codes(x))

    @property
    def _rest(self) -> tuple[int, int, torch.dtype]:
        return (0, 255, torch.uint8) if self.unsigned else (-128, 127, torch.int8)


class Written(torch.nn.Module):
    """A function of tensors, with constants as its buffers."""

    def __init__(self, function: Forward, buffers: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.function = function
        for name, value in buffers.items():
            self.register_buffer(name, value)

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(self, *inputs)


@dataclass
class Maker:
    """What draws scales, zero points and weights, and gathers a module's constants."""

    rng: np.random.Generator
    powers: bool = False
    odd: bool = True
    unsigned: bool = False
    buffers: dict[str, Tensor] = field(default_factory=dict)
    shapes: list[tuple[int, ...]] = field(default_factory=list)

    def scale(self, near: float = 0.05) -> float:
        """A power of two, or any float32, about that large."""
        if self.powers:
            return float(2.0 ** np.round(np.log2(near) + self.rng.uniform(-0.5, 0.5)))
        return float(np.float32(near * self.rng.uniform(0.6, 1.6)))

    def meaning(self, near: float = 0.05, zero: int | None = None) -> Meaning:
        middle = 128 if self.unsigned else 0
        drawn = int(self.rng.integers(-40, 40)) | 1 if self.odd else 0
        return Meaning(self.scale(near), middle + (drawn if zero is None else zero), self.unsigned)

    def input(self, *shape: int) -> None:
        """An input of a batch of one."""
        self.shapes.append((1, *shape))

    def weights(
        self, *shape: int, per_channel: bool = True, near: float = 0.02, axis: int = 0
    ) -> Callable[[Written], Tensor]:
        """int8 weights behind a dequantizer, one scale an output channel or one for all."""
        name = f"w{len(self.buffers)}"
        codes = self.rng.integers(-127, 128, shape)
        self.buffers[name] = torch.tensor(codes, dtype=torch.int8)
        if not per_channel:
            scale = self.scale(near)
            return lambda module: Q.dequantize_per_tensor(
                getattr(module, name), scale, 0, -127, 127, torch.int8
            )
        scales = [self.scale(near) for _ in range(shape[axis])]
        self.buffers[f"{name}s"] = torch.tensor(scales, dtype=torch.float32)
        self.buffers[f"{name}z"] = torch.zeros(shape[axis], dtype=torch.int64)
        return lambda module: Q.dequantize_per_channel(
            getattr(module, name),
            getattr(module, f"{name}s"),
            getattr(module, f"{name}z"),
            axis,
            -127,
            127,
            torch.int8,
        )

    def bias(self, size: int, spread: float) -> Callable[[Written], Tensor]:
        """A float bias."""
        name = f"b{len(self.buffers)}"
        values = self.rng.normal(0, spread, size)
        self.buffers[name] = torch.tensor(values, dtype=torch.float32)
        return lambda module: getattr(module, name)

    def constant(self, *shape: int, spread: float = 1.0) -> Callable[[Written], Tensor]:
        """Float constants."""
        return self._held(self.rng.normal(0, spread, shape))

    def positive(self, size: int) -> Callable[[Written], Tensor]:
        """Float constants above 0."""
        return self._held(self.rng.uniform(0.1, 1.5, size))

    def _held(self, values: Any) -> Callable[[Written], Tensor]:
        name = f"c{len(self.buffers)}"
        self.buffers[name] = torch.tensor(values, dtype=torch.float32)
        return lambda module: getattr(module, name)

    def exported(self, function: Forward, *, dynamic: bool = False) -> Any:
        """The program of a function of the module and its inputs."""
        examples = tuple(
            torch.zeros((2, *shape[1:]) if dynamic else shape) for shape in self.shapes
        )
        batch = torch.export.Dim("n", min=1, max=4096)
        shapes = (tuple({0: batch} for _ in examples),) if dynamic else None
        module = Written(function, self.buffers).eval()
        return torch.export.export(module, examples, dynamic_shapes=shapes)

    def feeds(self, samples: int, reach: float = 8.0) -> list[np.ndarray[Any, Any]]:
        """Inputs, some beyond the range of their quantizers."""
        return [
            self.rng.uniform(-reach, reach, (samples, *shape[1:])).astype(np.float32)
            for shape in self.shapes
        ]


Build = Callable[[Maker], Forward]


def saved(program: Any) -> bytes:
    """The bytes of a `.pt2`."""
    held = io.BytesIO()
    torch.export.save(program, held)
    return held.getvalue()
