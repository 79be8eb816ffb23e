"""What layers with windows share."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import lru_cache

from hwsim.ops import AvgPool, Conv1D, Conv2D, MaxPool, Op, TensorType, Window
from rtl.layers.memory import Memory
from rtl.parts.window import ring_pixels

POINT = Window((1, 1))


def on_maps(
    op: Op, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]
) -> tuple[Op, tuple[TensorType, ...], tuple[TensorType, ...]]:
    """An operator and its types, windows of one axis as those of a map of one row.

    The stream is the same: hardware knows windows of two axes only.
    """
    if not isinstance(op, Conv1D | MaxPool | AvgPool) or len(op.window.kernel) == 2:
        return op, inputs, outputs
    ins, outs = (
        tuple(kind.with_shape((1, *kind.shape)) for kind in kinds) for kinds in (inputs, outputs)
    )
    return _on_rows(op), ins, outs


@lru_cache(maxsize=256)
def _on_rows(op: Conv1D | MaxPool | AvgPool) -> Op:
    if not isinstance(op, Conv1D):
        return replace(op, window=op.window.two_axes)
    held = {item.name: getattr(op, item.name) for item in fields(op)}
    return Conv2D(**{**held, "weights": op.weights[None], "window": op.window.two_axes})


def moves(window: Window) -> bool:
    """Whether a window is more than the pixel itself."""
    return window != POINT


def ring_memory(window: Window, x: TensorType, lanes: int) -> Memory:
    """The rows that a serial window holds."""
    height, width, channels = x.shape
    words = ring_pixels(window, (height, width, channels)) * (channels // lanes)
    return Memory(words, lanes * x.format.width, written=True)
