"""Which pixels of a row-major stream each sliding window needs, and which it is done with."""

from __future__ import annotations

import numpy as np

from hwsim.fixed import Format
from hwsim.ops.base import IntArray, TensorType
from hwsim.ops.window import Window

Shape = tuple[int, ...]  # (height, width, channels)
_BUBBLES = 32  # a stall between images is paid with memory where it is over 1/32 of the work


def window_need(window: Window, shape: Shape, *, parallel: bool = False) -> IntArray:
    """Pixels of the map that must have come before each output pixel, row by row, can come out.

    `parallel` asks it of `ParallelWindow`, which walks over the padding below the map and so waits
    for all of the map there. No output pixel overtakes another: the counts never fall.
    """
    needed = pixels_needed(window, shape)
    if parallel:
        below = np.arange(len(needed)) * window.stride[0] - window.padding[0] + window.kernel[0]
        needed[below > shape[0]] = shape[0] * shape[1]
    return np.maximum.accumulate(needed.reshape(-1))


def ring_pixels(window: Window, shape: Shape) -> int:
    """Pixels that `SerialWindow` holds: its kernel's rows, and what keeps reader and writer busy.

    While one row of windows is read, `stride` rows come in and one row is freed bit by bit, so that
    strides over 2 need more rows. Where a wait for the next image would cost more than 1/32 of the
    work, the ring holds the last windows and the next image's first window at once. Windows of
    stride 1 or 2 with the usual padding then never wait; tall windows without padding and uneven
    strides may, for some percent of an image.
    """
    height, width, _ = shape
    (kh, kw), (sh, _) = window.kernel, window.stride
    needed, freed = pixels_needed(window, shape), pixels_freed(window, shape)
    pixels = min(max(kh, kh + sh - 2) * width + 2 * kw + 2, 2 * height * width)
    both = height * width - int(freed[-1, -1]) + int(needed[0, 0])
    work = max(height * width, needed.size * window.size)
    return max(pixels, both) if (both - pixels) * _BUBBLES > work else pixels


def pixels_needed(window: Window, shape: Shape) -> IntArray:
    """Pixels up to the last that each window covers: (out rows, out columns)."""
    rows, columns = window_starts(window, shape)
    last_row = np.minimum(rows + window.kernel[0] - 1, shape[0] - 1)
    last_column = np.minimum(columns + window.kernel[1] - 1, shape[1] - 1)
    return np.asarray(last_row[:, None] * shape[1] + last_column + 1, dtype=np.int64)


def pixels_freed(window: Window, shape: Shape) -> IntArray:
    """Leading pixels that neither a window nor any after it covers: (out rows, out columns)."""
    rows, columns = window_starts(window, shape)
    freed = rows[:, None] * shape[1] + np.clip(columns, 0, shape[1])
    return np.asarray(np.where(rows[:, None] < 0, 0, freed), dtype=np.int64)


def window_starts(window: Window, shape: Shape) -> tuple[IntArray, IntArray]:
    """Row and column of each window's first position."""
    height, width = window.output(TensorType(shape, Format.int(1)))
    (top, left, _, _), (sh, sw) = window.padding, window.stride
    return np.arange(height) * sh - top, np.arange(width) * sw - left


def pixels_following(freed: IntArray, shape: Shape) -> IntArray:
    """Pixels freed once each window has been read."""
    return np.append(freed.reshape(-1)[1:], shape[0] * shape[1]).reshape(freed.shape)


def masks(starts: IntArray, size: int, length: int) -> list[int]:
    """For each window, which of its `size` positions from `starts` are on the map, as bits."""
    return [
        sum(1 << k for k in range(size) if 0 <= start + k < length) for start in starts.tolist()
    ]
