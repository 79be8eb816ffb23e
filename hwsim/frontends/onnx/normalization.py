"""Normalizations of layers, instances and groups: exact means and variances, one reciprocal root.

With n codes in a row and d = n * code - (their sum), the result is d * sqrt(n) over the square root
of (sum of d**2) + eps * n**3 / scale**2, times a factor and plus an offset a channel. ONNX Runtime
computes all of it in float32; `shared/normalizing.py` finer than that.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError
from hwsim.frontends.onnx.importer import Importer
from hwsim.frontends.onnx.model import OnnxNode
from hwsim.frontends.shared import normalizing
from hwsim.frontends.shared.arrangement import Arrangement
from hwsim.frontends.shared.normalizing import Normalization
from hwsim.frontends.shared.settling import level_of
from hwsim.frontends.shared.values import NO_PADDING, Codes, Level, Real
from hwsim.ops import (
    Reshape,
    TensorType,
)

ALIKE = (
    "{runtime}'s float32 loses digits here where the numbers of a row are nearly alike: results "
    "of such rows differ by up to {error:.2g}, and so do the codes that this brings over a tie"
)
LOST = {"InstanceNormalization": 2.0**-20, "LayerNormalization": 2.0**-22}
"""Measured, of the largest number over the smallest deviation (the first: `epsilon` alone)."""

SHORTEST = 2.0**-24
"""What is added to a row's sum of squares of codes, so that its root is not 0."""

GROUPS = (
    "{runtime} subtracts two float32 means here, of squares and of the numbers, so that more "
    "codes differ in groups whose numbers are nearly alike and far from 0 (measured: one in 50, by "
    "one step, where they spread over a step at 150 steps from 0)"
)


def layer_norm(run: Importer, node: OnnxNode) -> None:
    """LayerNormalization along the last axis."""
    real, codes = _last(run, node)
    if any(node.outputs[1:]):
        raise HwsimError(f"{node}: its mean and deviation must not be used as outputs")
    places = (len(codes.layout.physical) - 1,)
    length = real.layout.shape[-1]
    factor = run.constant(node, 1).array if node.input(1) else np.ones(length)
    offset = run.constant(node, 2).array if node.input(2) else np.zeros(length)
    run.values[node.output] = normalized(run, node, real, codes, places, (factor, offset))


def rms_norm(run: Importer, node: OnnxNode) -> None:
    """RMSNormalization along the last axis: rows over the root of their mean square."""
    real, codes = _last(run, node)
    factor = run.constant(node, 1).array if node.input(1) else np.ones(1)
    level, epsilon = level_of(run, node, real), node.real("epsilon", 1e-5)
    at = Normalization(node.name, str(node), epsilon, factor, np.zeros(1), centred=False)
    places = (len(codes.layout.physical) - 1,)
    run.values[node.output] = normalizing.normalized(run, at, level, codes, places)


def lp_norm(run: Importer, node: OnnxNode) -> None:
    """LpNormalization of p = 2 along the last axis: rows over their length, of zeros zeros."""
    if node.integer("p", 2) != 2:
        raise HwsimError(f"{node}: 'p' must be 2, not {node.integer('p', 2)}")
    real, codes = _last(run, node)
    level, length = level_of(run, node, real), real.layout.shape[-1]
    epsilon = SHORTEST * float(np.float32(level.scale)) ** 2 / length
    factor = np.array([1 / math.sqrt(length)])
    at = Normalization(node.name, str(node), epsilon, factor, np.zeros(1), centred=False)
    places = (len(codes.layout.physical) - 1,)
    run.values[node.output] = normalizing.normalized(run, at, level, codes, places)


def _last(run: Importer, node: OnnxNode) -> tuple[Real, Codes]:
    """What a node normalizes along the last axis."""
    real = run.real(node, 0)
    rank = len(real.layout.shape) + 1
    axis = node.integer("axis", -1)
    axis = axis + rank if axis < 0 else axis
    if axis != rank - 1 or rank < 2:
        raise HwsimError(
            f"{node}: it must normalize along the last axis alone, not from axis {axis} of {rank} "
            "axes on"
        )
    return real, _codes(run, node, real, Arrangement.plain(real.layout.shape))


def instance_norm(run: Importer, node: OnnxNode) -> None:
    """InstanceNormalization: each channel of a map or line by itself."""
    real = run.real(node, 0)
    shape = real.layout.shape
    if len(shape) < 2:
        raise HwsimError(f"{node}: its input must be a map or a line, not of shape {shape}")
    codes = _codes(run, node, real, Arrangement.map(shape))
    places = tuple(range(len(shape) - 1))
    constants = run.constant(node, 1).array, run.constant(node, 2).array
    run.values[node.output] = normalized(run, node, real, codes, places, constants)


def group_norm(run: Importer, node: OnnxNode) -> None:
    """GroupNormalization: the channels of a map or line in groups, each group by itself.

    Factors and offsets are one a channel, or before opset 21 one a group.
    """
    real = run.real(node, 0)
    shape, groups = real.layout.shape, node.integer("num_groups", 0)
    if len(shape) < 2 or groups < 1 or shape[0] % groups:
        raise HwsimError(
            f"{node}: its input must be a map or a line whose channels are a multiple of "
            f"'num_groups', not {groups} groups of {shape}"
        )
    codes = _codes(run, node, real, Arrangement.map(shape))
    apart = (*shape[1:], groups, shape[0] // groups)
    edge = run.chain(f"{node.name}.groups", codes.edge, [Reshape(shape=apart)], f"{node.name}.in")
    grouped = replace(codes, edge=edge, layout=replace(codes.layout, physical=apart))
    places = (*range(len(shape) - 1), len(shape))
    constants = [run.constant(node, i).array.ravel() for i in (1, 2)]
    each = [np.repeat(a, shape[0] // groups) if a.size == groups else a for a in constants]
    ready = normalized(run, node, real, grouped, places, (each[0], each[1]), GROUPS)
    run.values[node.output] = ready


def _codes(run: Importer, node: OnnxNode, real: Real, wanted: Arrangement) -> Codes:
    codes = replace(level_of(run, node, real).codes, layout=real.layout)
    if codes.padding != NO_PADDING:
        raise HwsimError(f"{node}: a Pad must be followed by a convolution")
    return run.arranged(codes, wanted, node)


def normalized(
    run: Importer,
    node: OnnxNode,
    real: Real,
    codes: Codes,
    places: tuple[int, ...],
    constants: tuple[npt.NDArray[np.generic], npt.NDArray[np.generic]],
    alike: str = ALIKE,
) -> Real:
    """The normalized tensor, still to be rounded; `places` are the edge's axes of one row."""
    level, epsilon = level_of(run, node, real), node.real("epsilon", 1e-5)
    at = Normalization(node.name, str(node), epsilon, *constants)
    made = normalizing.normalized(run, at, level, codes, places)
    kind = run.types[codes.edge]
    n = math.prod(kind.shape[place] for place in places)
    error = _lost(node, kind, level, n) * float(np.abs(constants[0].astype(np.float64)).max())
    run.note(node.name, alike, error=error)
    return made


def _lost(node: OnnxNode, kind: TensorType, level: Level, n: int) -> float:
    """By how much the runtime's normalized numbers may differ in rows that are nearly alike."""
    largest = max(abs(code - level.zero_point) for code in (kind.lo, kind.hi)) * level.scale
    under = node.real("epsilon", 1e-5)
    if node.op == "InstanceNormalization":
        return LOST[node.op] * largest / math.sqrt(under)
    least: float = level.scale**2 * max(n - 1, 1) / n**2  # where one number differs, by a step
    return LOST["LayerNormalization"] * largest / math.sqrt(under + least)
