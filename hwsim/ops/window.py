"""Sliding windows over (height, width, channels): shapes, padding and their views."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

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
        height = (x.shape[0] + top + bottom - self.kernel[0]) // self.stride[0] + 1
        width = (x.shape[1] + left + right - self.kernel[1]) // self.stride[1] + 1
        require(
            x.shape[0] + top + bottom >= self.kernel[0]
            and x.shape[1] + left + right >= self.kernel[1],
            f"a window's kernel must fit into its padded input {x.shape[:2]}, not {self.kernel}",
        )
        return height, width

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
        rows = (padded.shape[1] - kh) // sh + 1
        columns = (padded.shape[2] - kw) // sw + 1
        for dy in range(kh):
            for dx in range(kw):
                yield padded[
                    :, dy : dy + (rows - 1) * sh + 1 : sh, dx : dx + (columns - 1) * sw + 1 : sw, :
                ]
