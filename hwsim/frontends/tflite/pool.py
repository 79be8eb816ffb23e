"""MAX_POOL_2D and AVERAGE_POOL_2D."""

from __future__ import annotations

import math

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.tflite.importer import LiteImporter
from hwsim.frontends.tflite.model import LiteNode
from hwsim.frontends.tflite.rounding import activation, same_meaning
from hwsim.frontends.tflite.windows import window
from hwsim.ops import AvgPool, Flatten, MaxPool, Op, Quant, Requantize, Reshape, Scheme, Window
from hwsim.ops.base import IntArray

MOST_FACTORS = 1 << 22  # of one operator


def _window(run: LiteImporter, node: LiteNode) -> Window:
    kernel = int(node.options["filter_h"]), int(node.options["filter_w"])
    return window(node, kernel, run.shape(run.tensor(node, 0)))


def max_pool(run: LiteImporter, node: LiteNode) -> None:
    """The largest code; positions outside of the map never win."""
    same_meaning(run, node, run.tensor(node, 0))
    run.give(node, [MaxPool(window=_window(run, node)), *activation(run, node, run.made(node))],
             run.edge(node))  # fmt: skip


def average_pool(run: LiteImporter, node: LiteNode) -> None:
    """The mean of the codes inside the map, ties away from code 0."""
    same_meaning(run, node, run.tensor(node, 0))
    view, made = _window(run, node), run.made(node)
    kind = run.types[run.edge(node)]
    name = run.label(made)
    sums = run.emit(f"{name}.sum", AvgPool(window=view), [run.edge(node)], f"{name}.sum")
    shape = run.types[sums].shape
    rows, columns = _counts(view, kind.shape[:2])
    quant = run.meaning(made)
    several = len({*rows}) > 1 or len({*columns}) > 1
    if several and math.prod(shape) > MOST_FACTORS:
        raise HwsimError(
            f"{node}: of windows that reach past the map there must be at most {MOST_FACTORS} "
            f"means, not {math.prod(shape)}"
        )
    counts = np.multiply.outer(rows, columns).ravel() if several else rows[0] * columns[:1]
    each = np.repeat(counts, shape[-1]) if several else counts
    mean = Requantize(
        scheme=Scheme.HALF_AWAY,
        multiplier=tuple(_share(int(count)) for count in each),
        out=run.format(made),
        quant=Quant((float(quant.scale),), quant.zero_point),
    )
    ops: list[Op] = [Flatten(), mean, Reshape(shape=shape)] if several else [mean]
    run.give(node, [*ops, *activation(run, node, made)], sums)


def _share(count: int) -> float:
    """1 / count with 31 bits, no less: then ties are ties, and all else is far from one."""
    fraction, exponent = math.frexp(1 / count)
    return math.ldexp(math.ceil(fraction * 2**31), exponent - 31)


def _counts(view: Window, shape: tuple[int, ...]) -> tuple[IntArray, IntArray]:
    """How many rows, and how many columns, of each window lie inside of the map."""
    inside = []
    for axis in (0, 1):
        before, after = view.ends[axis]
        size, step, kernel = shape[axis], view.stride[axis], view.kernel[axis]
        starts = np.arange(0, size + before + after - kernel + 1, step) - before
        inside.append(np.minimum(starts + kernel, size) - np.maximum(starts, 0))
    return np.asarray(inside[0], np.int64), np.asarray(inside[1], np.int64)
