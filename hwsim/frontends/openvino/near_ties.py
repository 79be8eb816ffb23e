"""Where float32 decides: how many of a layer's thresholds lie on a tie that its roundings reach."""

from __future__ import annotations

import numpy as np

from hwsim.frontends.openvino.importer import OvImporter
from hwsim.frontends.openvino.lines import KernelLine
from hwsim.frontends.shared.tensors import TensorBuilder
from hwsim.frontends.shared.values import FloatArray, Weighing

REACH = 2.0**-23
"""Of the terms of a place: what a product and two sums of them, each rounded, may be off by."""


def note(
    run: TensorBuilder,
    source: Weighing,
    edge: str,
    line: KernelLine,
    scale: FloatArray,
    bias: FloatArray | None,
) -> None:
    """Count of a layer of an ONNX file at how many thresholds its roundings decide.

    In an IR the plugin's order of roundings is known and followed.
    """
    if not isinstance(run, OvImporter) or not run.of_onnx:
        return
    kind = run.types[edge]
    added = np.zeros(1) if bias is None else bias.astype(np.float64)
    found, count = near_ties(
        scale.astype(np.float64) * line.factor,
        added * line.factor,
        line.offset.astype(np.float64) - line.lowest,
        ends=(kind.lo, kind.hi),
        levels=line.levels,
    )
    run.near[source.name] = found, count


def near_ties(
    slope: np.ndarray, bias: np.ndarray, offset: np.ndarray, *, ends: tuple[int, int], levels: int
) -> tuple[int, int]:
    """How many thresholds roundings decide, and how many there are that a sum can reach.

    The place of a sum S is `S * slope + bias + offset`, each one number or one a channel.
    """
    rows = np.broadcast_arrays(
        *(np.atleast_1d(x).astype(np.float64) for x in (slope, bias, offset))
    )
    slopes, biases, offsets = (row.reshape(-1, 1) for row in rows)
    ties = np.arange(levels - 1) + 0.5
    with np.errstate(all="ignore"):
        sums = (ties - biases - offsets) / slopes
    reached = np.isfinite(sums) & (sums >= ends[0]) & (sums <= ends[1])
    nearest = np.rint(np.where(reached, sums, 0))
    gap = np.abs(nearest * slopes + biases + offsets - ties)
    error = REACH * (np.abs(nearest * slopes) + np.abs(biases) + np.abs(offsets))
    return int((reached & (gap <= error)).sum()), int(reached.sum())
