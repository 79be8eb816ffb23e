"""Windows of TensorFlow Lite: padding by name, strides, dilation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.tflite.model import LiteNode
from hwsim.frontends.tflite.schema import PADDINGS
from hwsim.ops import Window
from hwsim.ops.base import IntArray

MOST_WEIGHTS = 1 << 26


def window(node: LiteNode, kernel: Sequence[int], shape: tuple[int, ...]) -> Window:
    """The window of an operator over a map of that shape (without the batch)."""
    if len(shape) != 3:
        raise HwsimError(f"{node}: its input must have four axes, not shape {(1, *shape)}")
    stride = int(node.options["stride_h"]), int(node.options["stride_w"])
    number = int(node.options["padding"])
    if min(*stride, *kernel) < 1 or not 0 <= number < len(PADDINGS):
        raise HwsimError(
            f"{node}: its window must have a kernel, strides and a padding that there are, not "
            f"{tuple(kernel)}, {stride} and {number}"
        )
    before, after = [0, 0], [0, 0]
    if PADDINGS[number] == "SAME":
        for axis in (0, 1):
            size, step = shape[axis], stride[axis]
            total = max((-(-size // step) - 1) * step + kernel[axis] - size, 0)
            before[axis], after[axis] = total // 2, total - total // 2
    return Window(tuple(kernel), stride, (*before, *after))


def stretched(node: LiteNode, weights: IntArray) -> IntArray:
    """A kernel (height, width, in, out) with zeros between its elements for its dilation."""
    steps = int(node.options.get("dilation_h", 1)), int(node.options.get("dilation_w", 1))
    if min(steps) < 1:
        raise HwsimError(f"{node}: its dilation must be 1 or more, not {steps}")
    if steps == (1, 1):
        return weights
    size = [(length - 1) * step + 1 for length, step in zip(weights.shape, steps, strict=False)]
    if size[0] * size[1] * weights.shape[2] * weights.shape[3] > MOST_WEIGHTS:
        raise HwsimError(f"{node}: its dilation must be smaller than {steps}")
    wide = np.zeros((*size, *weights.shape[2:]), weights.dtype)
    wide[:: steps[0], :: steps[1]] = weights
    return wide
