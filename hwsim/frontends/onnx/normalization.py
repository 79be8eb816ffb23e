"""Normalizations of layers, instances and groups: exact means and variances, one reciprocal root.

With n codes in a row and d = n * code - (their sum), the result is d * sqrt(n) over the square root
of (sum of d**2) + eps * n**3 / scale**2, times a factor and plus an offset a channel. ONNX Runtime
computes all of it in float32; here only the root, its product with d and the result are rounded,
finer than that.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.frontends.onnx.importer import Importer
from hwsim.frontends.onnx.model import OnnxNode
from hwsim.frontends.shared.arrangement import Arrangement
from hwsim.frontends.shared.settling import level_of
from hwsim.frontends.shared.values import NO_PADDING, Codes, Level, Real, Scaled
from hwsim.ops import (
    BatchNorm,
    Mul,
    Quant,
    Reduce,
    Reduction,
    Relu,
    Requantize,
    Reshape,
    Rsqrt,
    Scheme,
    Sub,
    TensorType,
)

PRECISE = 25  # bits of the smallest root, where they fit
LEAST_PRECISE = 14
WIDEST = 63  # bits of a row's squares, which are below 2**63
SHORT = 27  # bits of the largest distance of wide codes, as many as a float32 has and more
MOST = 61  # bits of a product with a root
FRACTION = 24  # bits of a normalized code

ALIKE = (
    "{runtime}'s float32 loses digits here where the numbers of a row are nearly alike: results "
    "of such rows differ by up to {error:.2g}, and so do the codes that this brings over a tie"
)
LOST = {"InstanceNormalization": 2.0**-20, "LayerNormalization": 2.0**-22}
"""Measured, of the largest number over the smallest deviation (the first: `epsilon` alone)."""

GROUPS = (
    "{runtime} subtracts two float32 means here, of squares and of the numbers, so that more "
    "codes differ in groups whose numbers are nearly alike and far from 0 (measured: one in 50, by "
    "one step, where they spread over a step at 150 steps from 0)"
)


def layer_norm(run: Importer, node: OnnxNode) -> None:
    """LayerNormalization along the last axis."""
    real = run.real(node, 0)
    rank = len(real.layout.shape) + 1
    axis = node.integer("axis", -1)
    axis = axis + rank if axis < 0 else axis
    if axis != rank - 1 or rank < 2:
        raise HwsimError(
            f"{node}: it must normalize along the last axis alone, not from axis {axis} of {rank} "
            "axes on"
        )
    if any(node.outputs[1:]):
        raise HwsimError(f"{node}: its mean and deviation must not be used as outputs")
    codes = _codes(run, node, real, Arrangement.plain(real.layout.shape))
    places = (len(codes.layout.physical) - 1,)
    length = real.layout.shape[-1]
    factor = run.constant(node, 1).array if node.input(1) else np.ones(length)
    offset = run.constant(node, 2).array if node.input(2) else np.zeros(length)
    run.values[node.output] = normalized(run, node, real, codes, places, (factor, offset))


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
    level = level_of(run, node, real)
    kind = run.types[codes.edge]
    # Groups lie apart only as long as they are normalized.
    grouped = len(kind.shape) > len(codes.layout.shape)
    physical = (*kind.shape[:-2], codes.layout.shape[0]) if grouped else kind.shape
    channels = physical[-1]
    factor, offset = (np.asarray(array, np.float64).ravel() for array in constants)
    if any(array.size not in (1, channels) for array in (factor, offset)):
        raise HwsimError(f"{node}: its factors and offsets must be one, or one for each channel")
    if not (np.isfinite(factor).all() and np.isfinite(offset).all()):
        raise HwsimError(f"{node}: its factors and offsets must be finite")
    epsilon = node.real("epsilon", 1e-5)
    if not (math.isfinite(epsilon) and epsilon > 0):
        raise HwsimError(f"{node}: 'epsilon' must be a finite number above 0, not {epsilon}")
    n = math.prod(kind.shape[place] for place in places)
    name, distance = node.name, _distances(run, node, level, codes, places, n)
    distance, dropped = _shortened(run, name, distance, n)
    widest = (n * run.types[distance].magnitude ** 2).bit_length()
    if widest > WIDEST:
        raise HwsimError(
            f"{node}: the squares of its input must fit {WIDEST} bits, not {widest}; put "
            f"{run.a_quantizer} before it, or one of fewer bits"
        )
    product = Mul(quant=Quant((1.0,)))
    squares = run.emit(f"{name}.squares", product, [distance, distance], f"{name}.squares")
    add = Reduce(reduction=Reduction.SUM, axes=places)
    total = run.emit(f"{name}.spread", add, [squares], f"{name}.spread")
    # Squares are not below 0, which the bounds of a product do not know.
    total = run.emit(f"{name}.positive", Relu(), [total], f"{name}.positive")
    under = epsilon * float(n) ** 3 / (float(np.float32(level.scale)) * 2.0**dropped) ** 2
    bits = _bits(node, run.types[distance].magnitude, run.types[total].hi, under)
    root = run.emit(
        f"{name}.root", Rsqrt(offset=under, bits=bits, quant=Quant((1.0,))), [total], f"{name}.root"
    )
    wide = run.emit(f"{name}.product", product, [distance, root], f"{name}.product")
    unit = math.sqrt(n) * 2.0**-FRACTION
    rounding = Requantize(
        scheme=Scheme.SHIFT,
        multiplier=(2.0 ** (FRACTION - bits),),
        out=Format.int(FRACTION + 2),
        quant=Quant((unit,)),
    )
    edge = run.emit(f"{name}.normal", rounding, [wide], f"{name}.normal")
    layout = codes.layout
    if layout.physical != physical:
        edge = run.emit(f"{name}.whole", Reshape(shape=physical), [edge], f"{name}.whole")
        layout = replace(layout, physical=physical)
    held = Codes(edge, rounding.out, layout)
    error = _lost(node, kind, level, n) * float(np.abs(factor).max())
    run.note(name, alike, error=error)
    return Real(Scaled(name, Level(held, unit, 0), factor, offset), layout)


def _lost(node: OnnxNode, kind: TensorType, level: Level, n: int) -> float:
    """By how much the runtime's normalized numbers may differ in rows that are nearly alike."""
    largest = max(abs(code - level.zero_point) for code in (kind.lo, kind.hi)) * level.scale
    under = node.real("epsilon", 1e-5)
    if node.op == "InstanceNormalization":
        return LOST[node.op] * largest / math.sqrt(under)
    least: float = level.scale**2 * max(n - 1, 1) / n**2  # where one number differs, by a step
    return LOST["LayerNormalization"] * largest / math.sqrt(under + least)


def _distances(
    run: Importer, node: OnnxNode, level: Level, codes: Codes, places: tuple[int, ...], n: int
) -> str:
    """The edge of n times each code less the sum of its row."""
    kind, zero = run.types[codes.edge], level.zero_point
    if kind.quant is None:
        raise HwsimError(f"{node}: its input must come from a QuantizeLinear, not from Quant")
    mean = Reduce(reduction=Reduction.MEAN, axes=places, zero_point=zero)
    total = run.emit(f"{node.name}.total", mean, [codes.edge], f"{node.name}.total")
    times = BatchNorm(
        scale=np.full(kind.channels, n),
        bias=np.full(kind.channels, -n * zero),
        scale_format=Format.holding(0, n),
        quant=run.types[total].quant,
    )
    scaled = run.emit(f"{node.name}.times", times, [codes.edge], f"{node.name}.times")
    return run.emit(f"{node.name}.distance", Sub(), [scaled, total], f"{node.name}.distance")


def _shortened(run: Importer, name: str, distance: str, n: int) -> tuple[str, int]:
    """Distances whose n squares add up, and how many bits they lost: none of narrow codes."""
    room = min(SHORT, (WIDEST - 1 - (n - 1).bit_length()) // 2)
    extra = run.types[distance].magnitude.bit_length() - room
    if extra <= 0:
        return distance, 0
    rounding = Requantize(
        scheme=Scheme.SHIFT,
        multiplier=(2.0**-extra,),
        out=Format.int(room + 1),
        quant=Quant((1.0,)),
    )
    return run.emit(f"{name}.short", rounding, [distance], f"{name}.short"), extra


def _bits(node: OnnxNode, distance: int, spread: int, under: float) -> int:
    """Bits of a reciprocal root: PRECISE for the largest number under it, as far as they fit."""
    wanted = PRECISE + math.ceil(math.log2(spread + under) / 2)
    room = MOST - distance.bit_length() + math.floor(math.log2(under) / 2)
    if min(wanted, room) < wanted - PRECISE + LEAST_PRECISE:
        raise HwsimError(
            f"{node}: 'epsilon' must be larger beside the square of its input's scale, so that its "
            f"roots fit {MOST} bits"
        )
    return min(wanted, room)
