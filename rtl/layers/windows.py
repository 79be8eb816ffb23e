"""What layers with windows share."""

from __future__ import annotations

from hwsim.ops import TensorType, Window
from rtl.layers.memory import Memory
from rtl.parts.window import ring_pixels

POINT = Window((1, 1))


def moves(window: Window) -> bool:
    """Whether a window is more than the pixel itself."""
    return window != POINT


def ring_memory(window: Window, x: TensorType, lanes: int) -> Memory:
    """The rows that a serial window holds."""
    height, width, channels = x.shape
    words = ring_pixels(window, (height, width, channels)) * (channels // lanes)
    return Memory(words, lanes * x.format.width, written=True)
