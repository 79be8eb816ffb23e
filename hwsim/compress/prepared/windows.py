"""Averages of windows that reach beyond a map: of whole windows, times a factor a place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Along:
    """Windows along one axis: numbers before, behind and padded, and what each window counts."""

    before: int
    behind: int
    counts: tuple[int, ...]


def whole_windows(
    attributes: Mapping[str, Any], sizes: Sequence[int]
) -> tuple[list[int], npt.NDArray[np.float64]] | None:
    """Padding and factors of an AveragePool of maps of these sizes; None where it is plain.

    ONNX divides by the numbers in a window: those of the map, and with `count_include_pad` those
    of the padding, but never what `ceil_mode` adds.
    """
    kernel = attributes["kernel_shape"]
    count, none = len(kernel), [0] * len(kernel)
    if any(step != 1 for step in attributes.get("dilations", ())):
        return None
    strides = attributes.get("strides", [1] * count)
    pads = list(attributes.get("pads", (*none, *none)))
    same = attributes.get("auto_pad", b"NOTSET").decode()
    if same in ("SAME_UPPER", "SAME_LOWER"):
        for place, (size, length, step) in enumerate(zip(sizes, kernel, strides, strict=True)):
            total = max((-(-size // step) - 1) * step + length - size, 0)
            less, more = total // 2, total - total // 2
            ends = (less, more) if same == "SAME_UPPER" else (more, less)
            pads[place], pads[place + count] = ends
    up, padded = bool(attributes.get("ceil_mode")), bool(attributes.get("count_include_pad"))
    axes = zip(sizes, kernel, strides, pads[:count], pads[count:], strict=True)
    found = [_along(*axis, up=up, padded=padded) for axis in axes]
    factors = np.ones(())
    for length, axis in zip(kernel, found, strict=True):
        factors = np.multiply.outer(factors, length / np.array(axis.counts, np.float64))
    if (factors == 1).all():
        return None
    return [*(axis.before for axis in found), *(axis.behind for axis in found)], factors


def _along(
    size: int, kernel: int, stride: int, before: int, behind: int, *, up: bool, padded: bool
) -> Along:
    room = size + before + behind - kernel
    windows = (-(-room // stride) if up else room // stride) + 1
    if up and (windows - 1) * stride >= size + before:  # a window must begin in the map
        windows -= 1
    first, last = (-before, size + behind) if padded else (0, size)
    starts = [place * stride - before for place in range(windows)]
    counts = (min(start + kernel, last) - max(start, first) for start in starts)
    return Along(before, max(starts[-1] + kernel - size, behind), tuple(counts))
