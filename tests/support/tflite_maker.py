"""What draws the tensors of a TensorFlow Lite model of one operator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from support.tflite_models import Lite

F32 = np.float32
Shape = tuple[int, ...]


@dataclass(slots=True)
class Maker:
    """A model that grows, and the setting of its scales."""

    rng: np.random.Generator
    powers: bool  # scales that are powers of two, hence ties
    odd: bool  # zero points anywhere
    wide: bool = False  # activations of int16, symmetric
    lite: Lite = field(default_factory=Lite)
    inputs: list[int] = field(default_factory=list)

    @property
    def dtype(self) -> str:
        """The type of activations."""
        return "int16" if self.wide else "int8"

    def scale(self, top: float, count: int = 255) -> float:
        """A step of which `count` cover about `top`."""
        if self.powers:
            return float(F32(2.0 ** round(np.log2(top / count))))
        return float(F32(top / count * self.rng.uniform(0.7, 1.4)))

    def step(self, top: float) -> float:
        """A step of activations."""
        return self.scale(top, 65535 if self.wide else 255)

    def zero(self) -> int:
        return int(self.rng.integers(-60, 60)) if self.odd and not self.wide else 0

    def x(self, *shape: int, top: float = 4.0, like: int | None = None) -> int:
        """An input, of a meaning of its own or of another tensor's."""
        made = self.y(*shape, top=top, like=like)
        self.inputs.append(made)
        return made

    def y(self, *shape: int, top: float = 7.0, like: int | None = None) -> int:
        """A computed tensor."""
        name = f"t{len(self.lite.tensors)}"
        if like is None:
            return self.lite.codes(name, (1, *shape), self.step(top), self.zero(), self.dtype)
        known = self.lite.tensors[like]
        meant = known.scales[0], known.zero_points[0]
        return self.lite.codes(name, (1, *shape), *meant, self.dtype)

    def whole(self, shape: Shape, top: float = 4.0, like: int | None = None) -> int:
        """An input of a whole shape, its first axis included."""
        made = self.made(shape, top=top, like=like)
        self.inputs.append(made)
        return made

    def made(self, shape: Shape, top: float = 7.0, like: int | None = None) -> int:
        """A computed tensor of a whole shape."""
        place = self.y(top=top, like=like)
        self.lite.tensors[place].shape = shape
        return place

    def codes(self, shape: Shape, top: float = 4.0, like: int | None = None) -> int:
        """A constant of a whole shape."""
        place = self.made(shape, top=top, like=like)
        self.lite.tensors[place].data = self.rng.integers(-128, 128, shape).astype(np.int8)
        return place

    def fixed(self, scale: float, zero: int, *shape: int) -> int:
        """A computed tensor of a given meaning."""
        return self.lite.codes(f"t{len(self.lite.tensors)}", (1, *shape), scale, zero, self.dtype)

    def ints(self, *values: Any) -> int:
        """A constant of int32."""
        array = np.array(values[0] if len(values) == 1 else values, np.int32)
        return self.lite.constant(f"t{len(self.lite.tensors)}", array)

    def weights(self, shape: tuple[int, ...], axis: int, scales: int, top: float = 1.0) -> int:
        codes = self.rng.integers(-127, 128, shape).astype(np.int8)
        steps = [self.scale(top) for _ in range(scales)]
        return self.lite.constant(f"t{len(self.lite.tensors)}", codes, *steps, axis=axis)

    def bias(self, x: int, w: int, count: int) -> int:
        top, kind = (1 << 20, np.int64) if self.wide else (3000, np.int32)
        codes = self.rng.integers(-top, top, count).astype(kind)
        given = self.lite.tensors[x].scales[0]
        steps = [float(F32(given * step)) for step in self.lite.tensors[w].scales]
        return self.lite.constant(f"t{len(self.lite.tensors)}", codes, *steps)

    def node(self, op: str, inputs: Sequence[int], *outputs: int, **options: Any) -> list[int]:
        self.lite.node(op, list(inputs), list(outputs), **options)
        return list(outputs)


Build = Callable[[Maker], list[int]]
ACTIVATIONS = ("NONE", "RELU", "RELU6", "RELU_N1_TO_1")
