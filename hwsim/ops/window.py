"""Sliding windows over (height, width, channels): shapes, padding and their views."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Array, Namespace
from hwsim.ops.base import TensorType, require

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Window:
    """Kernel, stride and padding (top, left, bottom, right) of a 2-D sliding window."""

    kernel: Pair
    stride: Pair = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)

    def __post_init__(self) -> None:
        require(
            min(self.kernel) >= 1, f"a window's kernel must be at least 1 by 1, not {self.kernel}"
        )
        require(
            min(self.stride) >= 1, f"a window's stride must be at least 1 by 1, not {self.stride}"
        )
        top, left, bottom, right = self.padding
        kh, kw = self.kernel
        if min(self.padding) < 0 or max(top, bottom) >= kh or max(left, right) >= kw:
            raise HwsimError(
                f"a window's padding must be from 0 to less than its kernel {self.kernel}, "
                f"not {self.padding}"
            )

    @property
    def size(self) -> int:
        """Positions in one window."""
        return self.kernel[0] * self.kernel[1]

    def output(self, x: TensorType) -> Pair:
        """Height and width of the output map for an input of type `x`."""
        require(
            len(x.shape) == 3,
            f"a windowed operator's input must be (height, width, channels), not {x.shape}",
        )
        top, left, bottom, right = self.padding
        require(
            x.shape[0] + top + bottom >= self.kernel[0]
            and x.shape[1] + left + right >= self.kernel[1],
            f"a window's kernel must fit into its padded input {x.shape[:2]}, not {self.kernel}",
        )
        return self.positions((x.shape[0] + top + bottom, x.shape[1] + left + right))

    def positions(self, padded: Pair) -> Pair:
        """Height and width of the output map for a padded height and width."""
        (kh, kw), (sh, sw) = self.kernel, self.stride
        return (padded[0] - kh) // sh + 1, (padded[1] - kw) // sw + 1

    def pad(self, xp: Namespace, x: Array, code: int) -> Array:
        """`x` (batch, height, width, channels) with a frame of `code`."""
        top, left, bottom, right = self.padding
        if not any(self.padding):
            return x
        batch, height, width, channels = x.shape
        rows = xp.full((batch, height, 1, channels), code, dtype=x.dtype)
        x = xp.concat([rows] * left + [x] + [rows] * right, axis=2)
        line = xp.full((batch, 1, width + left + right, channels), code, dtype=x.dtype)
        return xp.concat([line] * top + [x] + [line] * bottom, axis=1)

    def views(self, padded: Array) -> Iterator[Array]:
        """The codes that each position of the kernel meets, row by row: (batch, oh, ow, c)."""
        (kh, kw), (sh, sw) = self.kernel, self.stride
        rows, columns = self.positions(padded.shape[1:3])
        for dy in range(kh):
            for dx in range(kw):
                yield padded[
                    :, dy : dy + (rows - 1) * sh + 1 : sh, dx : dx + (columns - 1) * sw + 1 : sw, :
                ]

    def gather(self, xp: Namespace, padded: Array) -> Array:
        """What each window meets, row by row: (windows, positions of the kernel * channels)."""
        channels = padded.shape[3]
        if channels == 1:  # long runs are copied faster, and a product takes either order
            terms = xp.stack([view[..., 0] for view in self.views(padded)], axis=0)
            return xp.permute_dims(xp.reshape(terms, (self.size, -1)), (1, 0))
        if xp is not np:
            columns = xp.concat(list(self.views(padded)), axis=3)
            return xp.reshape(columns, (-1, self.size * channels))
        (kh, kw), (sh, sw) = self.kernel, self.stride
        padded = np.ascontiguousarray(padded)
        per_sample, per_row, per_pixel, per_code = padded.strides
        batch, (rows, columns) = len(padded), self.positions(padded.shape[1:3])
        # A row of a window is one run of kw * channels codes, and is copied as such.
        windows = np.lib.stride_tricks.as_strided(
            padded,
            (batch, rows, columns, kh, kw * channels),
            (per_sample, per_row * sh, per_pixel * sw, per_row, per_code),
            writeable=False,
        )
        return windows.reshape(batch * rows * columns, kh * kw * channels)

    def lines(self, padded: Array, axis: int) -> Iterator[Array]:
        """The rows (`axis` 1) or columns (2) that each line of the kernel meets."""
        size, stride = self.kernel[axis - 1], self.stride[axis - 1]
        count = (padded.shape[axis] - size) // stride + 1
        for first in range(size):
            line = slice(first, first + (count - 1) * stride + 1, stride)
            yield padded[:, line, :, :] if axis == 1 else padded[:, :, line, :]
