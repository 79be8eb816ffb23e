"""Resize and Upsample: the nearest elements again, or sums of the two nearest on each axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Rounding
from hwsim.frontends.onnx.importer import Importer
from hwsim.frontends.onnx.model import OnnxNode
from hwsim.frontends.onnx.ort.resizing import NEAREST, PLACES, SIMPLE, ResizedAxis, length
from hwsim.frontends.onnx.selecting import BATCH, moved, taken
from hwsim.frontends.onnx.weighted import layer
from hwsim.frontends.onnx.window import is_map, map_level
from hwsim.frontends.shared.arrangement import Arrangement
from hwsim.frontends.shared.exact_sums import weighed
from hwsim.frontends.shared.resizing import Resized, Shares, Taps, interpolated_map
from hwsim.frontends.shared.values import Codes, Level, Real, Weighing
from hwsim.ops import Requantize, Scheme, Window
from hwsim.ops.base import Shape

F32 = np.float32
MOST_SHARE_BITS = 12  # of what elements count for, on codes


@dataclass(frozen=True, slots=True)
class ResizedShape:
    """How long the axes behind the batch become, and by which factors."""

    shape: Shape
    scales: tuple[float, ...]


def resize(run: Importer, node: OnnxNode) -> None:
    """Resize of all opsets, and Upsample."""
    value = moved(run, node)
    shape = value.layout.shape
    target = _target(run, node, shape)
    old = node.op == "Upsample" or run.model.opset < 11
    places = "asymmetric" if old else node.text("coordinate_transformation_mode", "half_pixel")
    mode = node.text("mode", "nearest")
    _check(node, mode, places, target, shape)
    if target.shape == shape:  # the runtime copies the tensor, whatever the factors
        run.values[node.output] = value
        return
    kind = ResizedAxis if run.runtime is None else run.runtime.resized
    axes = [
        kind(size, new, scale, places, channels=place == 0)
        for place, (size, new, scale) in enumerate(
            zip(shape, target.shape, target.scales, strict=True)
        )
    ]
    if mode == "nearest":
        rule = SIMPLE if old else node.text("nearest_mode", NEAREST[0])
        taken(run, node, value, [axis.nearest(rule).tolist() for axis in axes])
        return
    if not is_map(shape) or axes[0].wanted != axes[0].size:
        raise HwsimError(
            f"{node}: in mode linear it must resize the places of a map or line, not its channels "
            f"or a tensor of rank {len(shape) + 1}"
        )
    if isinstance(value, Codes):
        run.values[node.output] = _between_codes(run, node, value, axes)
    else:
        level, _ = map_level(run, node, run.real(node, 0))
        run.values[node.output] = _between(run, node, level, axes)


def _target(run: Importer, node: OnnxNode, shape: Shape) -> ResizedShape:
    """From scales or sizes, for all axes or for those of the attribute."""
    rank = len(shape) + 1
    sizes = run.constant(node, 3).array.ravel() if node.input(3) else np.zeros(0)
    named = 2 if node.op == "Resize" and run.model.opset >= 11 else 1
    scales = run.constant(node, named).array.ravel() if node.input(named) else np.zeros(0)
    if "scales" in node.attributes:  # Upsample of opset 7
        given: Any = node.attributes["scales"]
        scales = np.asarray(given, F32)
    along = [axis % rank for axis in node.integers("axes", range(rank))]
    wanted = sizes if sizes.size else scales
    counted = np.array([n for axis, n in zip(along, wanted, strict=False) if (axis, n) != (0, -1)])
    if len(wanted) != len(along) or not np.isfinite(wanted).all() or (counted <= 0).any():
        raise HwsimError(
            f"{node}: its scales or sizes must be a number above 0 for each of {len(along)} axes, "
            f"not {wanted.tolist()}"
        )
    policy = node.text("keep_aspect_ratio_policy", "stretch")
    if policy != "stretch" and sizes.size:
        raise HwsimError(f"{node}: 'keep_aspect_ratio_policy' must be stretch, not {policy!r}")
    factors, lengths = [1.0] * rank, [-1, *shape]
    for axis, number in zip(along, wanted.tolist(), strict=True):
        if axis == 0:
            fits = number in (-1, 1, run.model.batch) if sizes.size else number == 1
            if not fits:
                raise HwsimError(f"{node}: {BATCH}, not resize it by {number:g}")
            if number == 1 and sizes.size and run.model.batch != 1:
                run.warn(
                    node.name,
                    "The runtime makes one row of any batch here (the first of its sizes is 1); "
                    "here the batch stays",
                )
            continue
        size = shape[axis - 1]
        lengths[axis] = int(number) if sizes.size else length(size, number)
        factors[axis] = float(F32(number) / F32(size)) if sizes.size else float(F32(number))
    return ResizedShape(tuple(lengths[1:]), tuple(factors[1:]))


def _check(node: OnnxNode, mode: str, places: str, target: ResizedShape, shape: Shape) -> None:
    """Refuse what the axes cannot say, or what the runtime computes of more elements."""
    if mode not in ("nearest", "linear"):
        raise HwsimError(f"{node}: 'mode' must be nearest or linear, not {mode!r}")
    if mode == "linear" and node.integer("antialias", 0):
        raise HwsimError(f"{node}: 'antialias' must be 0")
    if places not in PLACES:
        raise HwsimError(
            f"{node}: 'coordinate_transformation_mode' must be {', '.join(PLACES)}, not {places!r}"
        )
    rule = node.text("nearest_mode", NEAREST[0])
    if rule not in NEAREST:
        raise HwsimError(f"{node}: 'nearest_mode' must be {', '.join(NEAREST)}, not {rule!r}")
    if min(target.shape) < 1:
        raise HwsimError(f"{node}: its result must not be empty, not of shape {target.shape}")
    whole = all(
        F32(size) * F32(scale) == new
        for size, scale, new in zip(shape, target.scales, target.shape, strict=True)
    )
    if places == "half_pixel_symmetric" and not whole:
        raise HwsimError(
            f"{node}: with half_pixel_symmetric its scales must give whole lengths, not "
            f"{list(target.scales)} for {shape}"
        )


def _between(run: Importer, node: OnnxNode, level: Level, axes: Sequence[ResizedAxis]) -> Real:
    """Linear interpolation along the places of a map, as a sum that nothing has rounded yet."""

    def summed(level: Level, weights: Shares, window: tuple[Window, int] | None) -> Weighing:
        return layer(run, node, level, weights, None, window)

    at = Resized(node.name, node.output, str(node))
    return interpolated_map(run, at, level, _taps(axes), summed)


def _taps(axes: Sequence[ResizedAxis]) -> list[Taps]:
    return [Taps.of(axis.places(), axis.size) for axis in axes[1:]]


def _between_codes(
    run: Importer, node: OnnxNode, codes: Codes, axes: Sequence[ResizedAxis]
) -> Codes:
    """Of codes as they are, zero point and all, cut toward zero as the runtime does."""
    shares = np.concatenate([each.share for each in _taps(axes)]) * 2.0**MOST_SHARE_BITS
    if not np.array_equal(np.rint(shares), shares):
        raise HwsimError(
            f"{node}: in mode linear its input must be reals (behind a DequantizeLinear), not "
            "integer codes, unless its scales are powers of two"
        )
    held = run.arranged(codes, Arrangement.map(codes.layout.shape), node)
    real = _between(run, node, Level(held, 1.0, 0), axes)
    assert isinstance(real.source, Weighing)
    edge, _ = weighed(run, real.source)
    before, sums = run.types[codes.edge], run.types[edge]
    cut = Requantize(
        scheme=Scheme.SHIFT,
        multiplier=(2.0 ** (before.format.frac_bits - sums.format.frac_bits),),
        out=codes.format,
        rounding=Rounding.TRN_ZERO,
        quant=before.quant,
    )
    edge = run.emit(f"{node.name}.codes", cut, [edge], node.output)
    return Codes(edge, codes.format, real.layout)
