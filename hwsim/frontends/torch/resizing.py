"""upsample_linear1d and upsample_bilinear2d."""

from __future__ import annotations

from typing import Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.shared.resizing import Resized, Shares, Taps, interpolated_map
from hwsim.frontends.shared.values import FloatArray, Level, Weighing
from hwsim.frontends.torch.importer import ProgramImporter
from hwsim.frontends.torch.program import ProgramNode
from hwsim.frontends.torch.windows import map_level
from hwsim.ops import CONVOLUTIONS, Conv, Dense, Window

F32, HALF = np.float32, np.float32(0.5)


def upsample_linear(run: ProgramImporter, node: ProgramNode) -> None:
    """Sums of the two nearest elements on each axis of places, to a size that the program says."""
    argument = "self" if "self" in node.args else "input"
    rank = 1 if "1d" in node.op else 2
    level, shape = map_level(run, node, run.real(node, argument), rank)
    wanted = run.shape(node, node.output)
    if len(wanted) != rank + 1 or wanted[0] != shape[0]:
        raise HwsimError(f"{node}: its result must have the axes of its input, not {wanted}")
    aligned = node.flag("align_corners")
    for factor, size, new in zip(_factors(node, rank), shape[1:], wanted[1:], strict=True):
        if factor is not None and factor * size != new and not aligned:
            raise HwsimError(
                f"{node}: its scale_factors must make {size} elements {new}, not {factor} times as "
                "many; give the size, or recompute_scale_factor=True"
            )
    taps = [
        Taps.of(_places(size, new, aligned=aligned), size)
        for size, new in zip(shape[1:], wanted[1:], strict=True)
    ]

    def summed(level: Level, weights: Shares, window: tuple[Window, int] | None) -> Weighing:
        return _layer(node, level, weights, window)

    at = Resized(node.name, node.output, str(node))
    run.values[node.output] = interpolated_map(run, at, level, taps, summed)


def _factors(node: ProgramNode, rank: int) -> tuple[float | None, ...]:
    given = node.args.get("scale_factors")
    if given is None:
        return (None,) * rank
    if not isinstance(given, tuple) or len(given) != rank:
        raise HwsimError(f"{node}: its scale_factors must be {rank} numbers, not {given!r}")
    return tuple(float(each) for each in given)


def _places(size: int, new: int, *, aligned: bool) -> FloatArray:
    """The place of each new element among the old ones, in float32."""
    x = np.arange(new).astype(F32)
    if aligned:
        return x * (F32(size - 1) / F32(new - 1)) if new > 1 else np.zeros(1, F32)
    found: FloatArray = np.maximum((x + HALF) * (F32(size) / F32(new)) - HALF, F32(0))
    return found


def _layer(
    node: ProgramNode, level: Level, weights: Shares, window: tuple[Window, int] | None
) -> Weighing:
    codes, fmt, unit = weights
    common: dict[str, Any] = {
        "weights": codes,
        "bias": np.zeros(codes.shape[-1], np.int64),
        "weight_format": fmt,
        "zero_point": level.zero_point,
    }
    op: Dense | Conv = (
        Dense(**common)
        if window is None
        else CONVOLUTIONS[len(window[0].kernel)](window=window[0], groups=window[1], **common)
    )
    scale = F32(level.scale) * unit
    return Weighing(node.name, node.output, level, op, scale, exact=False, integer_bias=False)
