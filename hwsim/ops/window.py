"""Sliding windows over (length, channels) or (height, width, channels): shapes, padding, views."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Array, Namespace
from hwsim.ops.base import Shape, TensorType, require

EVERY = slice(None)
MOST_STEPS = 1 << 31  # longer than any axis
AXES = {1: "(length, channels)", 2: "(height, width, channels)"}


@dataclass(frozen=True, slots=True)
class Window:
    """Kernel, stride and padding of a sliding window of one axis or two.

    `stride` is 1 and `padding` 0 where they are left out. Padding lists what comes before on each
    axis, then what comes after: (top, left, bottom, right).
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        rank = len(self.kernel)
        require(rank in AXES, f"a window must have 1 axis or 2, not the kernel {self.kernel}")
        object.__setattr__(self, "stride", self.stride or (1,) * rank)
        object.__setattr__(self, "padding", self.padding or (0,) * (2 * rank))
        require(
            len(self.stride) == rank and len(self.padding) == 2 * rank,
            f"a window of kernel {self.kernel} must have {rank} strides and {2 * rank} paddings, "
            f"not {self.stride} and {self.padding}",
        )
        one = " by ".join("1" * rank)
        for what, sizes in (("kernel", self.kernel), ("stride", self.stride)):
            require(min(sizes) >= 1, f"a window's {what} must be at least {one}, not {sizes}")
            require(
                max(sizes) < MOST_STEPS,
                f"a window's {what} must be below {MOST_STEPS}, not {sizes}",
            )
        if min(self.padding) < 0 or any(
            max(ends) >= size for ends, size in zip(self.ends, self.kernel, strict=True)
        ):
            raise HwsimError(
                f"a window's padding must be from 0 to less than its kernel {self.kernel}, "
                f"not {self.padding}"
            )

    @property
    def schema(self) -> int:
        """The oldest schema of saved graphs that can say it."""
        return 1 if len(self.kernel) == 2 else 2

    @property
    def ends(self) -> tuple[tuple[int, int], ...]:
        """Padding before and after, for each axis."""
        rank = len(self.kernel)
        return tuple(zip(self.padding[:rank], self.padding[rank:], strict=True))

    @property
    def size(self) -> int:
        """Positions in one window."""
        return math.prod(self.kernel)

    @property
    def two_axes(self) -> Window:
        """The same window, one of one axis as a row."""
        if len(self.kernel) == 2:
            return self
        before, after = self.padding
        return Window((1, *self.kernel), (1, *self.stride), (0, before, 0, after))

    def output(self, x: TensorType) -> Shape:
        """The output map's axes, channels apart, for an input of type `x`."""
        require(
            len(x.shape) == len(self.kernel) + 1,
            f"a windowed operator's input must be {AXES[len(self.kernel)]}, not {x.shape}",
        )
        padded = tuple(size + sum(ends) for size, ends in zip(x.shape, self.ends, strict=False))
        require(
            all(size >= kernel for size, kernel in zip(padded, self.kernel, strict=True)),
            f"a window's kernel must fit into its padded input {x.shape[:-1]}, not {self.kernel}",
        )
        return self.positions(padded)

    def positions(self, padded: Shape) -> Shape:
        """The output map's axes for those of a padded input."""
        if len(self.kernel) == 2:  # asked at every run, so without a loop
            (height, width), (kh, kw), (sh, sw) = padded, self.kernel, self.stride
            return (height - kh) // sh + 1, (width - kw) // sw + 1
        return ((padded[0] - self.kernel[0]) // self.stride[0] + 1,)

    def pad(self, xp: Namespace, x: Array, code: int) -> Array:
        """`x` (batch, ..., channels) with a frame of `code`."""
        if not any(self.padding):
            return x
        rank, shape = len(self.kernel), list(x.shape)
        for axis in range(rank, 0, -1):  # the longest runs last
            before, after = self.padding[axis - 1], self.padding[axis - 1 + rank]
            if before or after:
                shape[axis] = 1
                line = xp.full(tuple(shape), code, dtype=x.dtype)
                x = xp.concat([line] * before + [x] + [line] * after, axis=axis)
                shape[axis] = x.shape[axis]
        return x

    def views(self, padded: Array) -> Iterator[Array]:
        """The codes that each position of the kernel meets, row by row: (batch, ..., channels)."""
        counts = self.positions(padded.shape[1:-1])
        axes = [
            [slice(first, first + (count - 1) * stride + 1, stride) for first in range(size)]
            for size, count, stride in zip(self.kernel, counts, self.stride, strict=True)
        ]
        for lines in product(*axes):
            yield padded[(EVERY, *lines, EVERY)]

    def gather(self, xp: Namespace, padded: Array) -> Array:
        """What each window meets, row by row: (windows, positions of the kernel * channels)."""
        channels = padded.shape[-1]
        if channels == 1:  # long runs are copied faster, and a product takes either order
            terms = xp.stack([view[..., 0] for view in self.views(padded)], axis=0)
            return xp.permute_dims(xp.reshape(terms, (self.size, -1)), (1, 0))
        if xp is not np:
            columns = xp.concat(list(self.views(padded)), axis=-1)
            return xp.reshape(columns, (-1, self.size * channels))
        padded = np.ascontiguousarray(padded)
        per_sample, *per_place, per_code = padded.strides
        *outer, run = self.kernel
        steps = [place * stride for place, stride in zip(per_place, self.stride, strict=True)]
        # A row of a window is one run of codes, and is copied as such.
        windows = np.lib.stride_tricks.as_strided(
            padded,
            (len(padded), *self.positions(padded.shape[1:-1]), *outer, run * channels),
            (per_sample, *steps, *per_place[:-1], per_code),
            writeable=False,
        )
        return windows.reshape(-1, self.size * channels)

    def lines(self, padded: Array, axis: int) -> Iterator[Array]:
        """What each line of the kernel across an axis of the batch (from 1 on) meets."""
        size, stride = self.kernel[axis - 1], self.stride[axis - 1]
        count = (padded.shape[axis] - size) // stride + 1
        every = (EVERY,) * axis
        for first in range(size):
            yield padded[(*every, slice(first, first + (count - 1) * stride + 1, stride), ...)]
