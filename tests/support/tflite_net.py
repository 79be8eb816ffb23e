"""A random TensorFlow Lite model that grows, step by step."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from support.tflite_models import Lite

F32 = np.float32
Shape = tuple[int, ...]
MOST = 3000  # codes of a tensor
ACTIVATIONS = ("NONE", "NONE", "RELU", "RELU6", "RELU_N1_TO_1")
NOT_MICRO = {"RELU_N1_TO_1"}
NOT_MICRO_INT16 = {
    "GATHER", "MIRROR_PAD", "REDUCE_MAX", "REDUCE_MIN", "RESIZE_BILINEAR",
    "SPACE_TO_BATCH_ND", "TILE",
}  # fmt: skip
NOT_INT16 = {"DEPTH_TO_SPACE", "HARD_SWISH", "RELU_N1_TO_1", "SPACE_TO_DEPTH"}


@dataclass(slots=True)
class Net:
    """A model that grows, and which of its tensors the next step may take."""

    rng: np.random.Generator
    wide: bool = False
    lite: Lite = field(default_factory=Lite)
    inputs: list[int] = field(default_factory=list)
    pool: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)  # outputs that no step may take
    read: set[int] = field(default_factory=set)
    drawn: list[str] = field(default_factory=list)
    powers: float = 0.5  # share of scales that are powers of two
    unlike: float = 0.0  # share of those far from what they should be

    @property
    def dtype(self) -> str:
        return "int16" if self.wide else "int8"

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def number(self, low: int, high: int) -> int:
        """From low to high, both included."""
        return int(self.rng.integers(low, high + 1))

    def choice(self, things: Sequence[Any]) -> Any:
        return things[int(self.rng.integers(len(things)))]

    def step(self, top: float) -> float:
        """A scale whose codes reach about `top`."""
        step = top / (32768 if self.wide else 128) * self.rng.uniform(0.6, 1.7)
        if self.chance(self.unlike):  # beyond what XNNPACK takes of unlike scales
            step *= 2.0 ** self.number(-9, 9)
        if self.chance(self.powers):
            step = 2.0 ** round(math.log2(step))
        return float(F32(step))

    def zero(self) -> int:
        if self.wide or self.chance(0.2):
            return 0
        return int(self.choice((-128, 127))) if self.chance(0.2) else self.number(-70, 70)

    def shape(self, index: int) -> Shape:
        """Without the batch."""
        return self.lite.tensors[index].shape[1:]

    def meaning(self, index: int) -> tuple[float, int]:
        tensor = self.lite.tensors[index]
        return tensor.scales[0], tensor.zero_points[0]

    def top(self, index: int) -> float:
        """The largest number, about."""
        return self.meaning(index)[0] * (32768 if self.wide else 128)

    def y(self, shape: Shape, top: float, *, like: int | None = None) -> int:
        """A computed tensor of a meaning of its own, or of another's."""
        meant = (self.step(top), self.zero()) if like is None else self.meaning(like)
        return self.fixed(shape, *meant)

    def fixed(self, shape: Shape, scale: float, zero: int) -> int:
        name = f"t{len(self.lite.tensors)}"
        return self.lite.codes(name, (1, *shape), scale, zero, self.dtype)

    def ints(self, values: Any) -> int:
        name = f"t{len(self.lite.tensors)}"
        return self.lite.constant(name, np.array(values, np.int32))

    def constant(self, shape: Shape, scale: float, zero: int) -> int:
        """Codes of an activation that do not change."""
        low, high = (-32768, 32767) if self.wide else (-128, 127)
        codes = self.rng.integers(low, high + 1, shape).astype(self.dtype)
        return self.lite.constant(f"t{len(self.lite.tensors)}", codes, scale, zero=zero)

    def pick(self, fits: Callable[[Shape], bool] = lambda _: True) -> int | None:
        """A tensor with such a shape, sooner one that was made late; None where there is none."""
        found = [index for index in self.pool if fits(self.shape(index))]
        if not found:
            return None
        last = found[-1] if self.chance(0.6) else self.choice(found)
        self.read.add(last)
        return int(last)

    def node(self, op: str, inputs: Sequence[int], *outputs: int, **options: Any) -> bool:
        """Add an operator; False of one that no kernel set has for these codes, and most often
        of one that TensorFlow Lite Micro has not."""
        if self.wide and op in NOT_INT16:
            return False
        if op in NOT_MICRO and self.chance(0.8):
            return False
        if self.wide and op in NOT_MICRO_INT16 and self.chance(0.8):
            return False
        self.lite.node(op, list(inputs), list(outputs), **options)
        self.drawn.append(op)
        self.pool.extend(outputs)
        return True


Step = Callable[[Net], bool]
"""Whether it made something."""


def is_map(shape: Shape) -> bool:
    return len(shape) == 3
