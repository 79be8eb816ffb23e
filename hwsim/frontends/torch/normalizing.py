"""Normalizations: of a batch, a factor and an offset a channel; of a layer's last axis."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hwsim.errors import HwsimError
from hwsim.frontends.shared.arrangement import Arrangement
from hwsim.frontends.shared.fused import fma
from hwsim.frontends.shared.normalizing import Normalization, normalized
from hwsim.frontends.shared.settling import level_of
from hwsim.frontends.shared.trying import TABLE_BITS
from hwsim.frontends.shared.values import FloatArray, Joined, PerChannel, Real, Scaled
from hwsim.frontends.torch.importer import Executor, ProgramImporter
from hwsim.frontends.torch.moving import joined
from hwsim.frontends.torch.program import ProgramNode
from hwsim.ops.base import Shape

F32, F64 = np.float32, np.float64


def batch_norm(run: ProgramImporter, node: ProgramNode) -> None:
    """batch_norm at inference, along the axis behind the batch."""
    if node.flag("training"):
        raise HwsimError(f"{node}: it must not be training: export the module in eval()")
    real = run.real(node, "input" if "input" in node.args else "self")
    channels = real.layout.shape[0] if real.layout.shape else 0
    mean, variance = (_constants(run, node, f"running_{of}", channels) for of in ("mean", "var"))
    weight, bias = (
        _constants(run, node, of, channels, default)
        for of, default in (("weight", 1.0), ("bias", 0.0))
    )
    epsilon = node.real("eps", 1e-5)
    lines = _delegated if run.executor is Executor.EXECUTORCH else _eager
    with np.errstate(all="ignore"):
        factor, offset = lines(weight, bias, mean, variance, epsilon)
    if not (np.isfinite(factor).all() and np.isfinite(offset).all()):
        raise HwsimError(f"{node}: its factors and offsets must be finite")
    run.values[node.output] = _lined(run, node, real, factor, offset)


def _constants(
    run: ProgramImporter, node: ProgramNode, name: str, size: int, default: float | None = None
) -> FloatArray:
    if default is not None and not run.has(node, name):
        return np.full(size, default, F32)
    held = run.constant(node, name).array
    if held.shape != (size,):
        raise HwsimError(f"{node}: its {name!r} must be {size} values, one a channel")
    return held.astype(F32)


def _eager(
    weight: FloatArray, bias: FloatArray, mean: FloatArray, variance: FloatArray, epsilon: float
) -> tuple[FloatArray, FloatArray]:
    """Factor and offset in float32, as PyTorch has them."""
    factor = (F32(1) / np.sqrt(variance + F32(epsilon))) * weight
    return factor, fma(-mean, factor, bias)


def _delegated(
    weight: FloatArray, bias: FloatArray, mean: FloatArray, variance: FloatArray, epsilon: float
) -> tuple[FloatArray, FloatArray]:
    """In float64, then rounded: as the delegate makes a depthwise convolution of them."""
    root = np.sqrt(variance.astype(F64) + F64(F32(epsilon)))
    offset = -mean.astype(F64) * weight.astype(F64) / root + bias.astype(F64)
    return (weight.astype(F64) / root).astype(F32), offset.astype(F32)


def _lined(
    run: ProgramImporter, node: ProgramNode, real: Real, factor: FloatArray, offset: FloatArray
) -> Real:
    """`x * factor + offset`; of joined channels, each part with its own."""
    source, shape = real.source, real.layout.shape
    if isinstance(source, Joined) and not real.steps and _as_joined(source, shape):
        ends = np.cumsum([part.layout.shape[0] for part in source.parts])[:-1]
        each = zip(source.parts, np.split(factor, ends), np.split(offset, ends), strict=True)
        return joined(node, [_lined(run, node, *part) for part in each], 0)
    level = level_of(run, node, real)
    codes = replace(level.codes, layout=real.layout)
    if len(shape) == 1:
        codes = run.flat(codes)
        factor, offset = factor[codes.layout.order], offset[codes.layout.order]
    else:
        codes = run.arranged(codes, Arrangement.map(shape), node)
    level = replace(level, codes=codes)

    def function(x: FloatArray) -> FloatArray:
        return fma(x, factor, offset)

    if codes.format.width <= TABLE_BITS:
        return Real(PerChannel(node.name, level, function), codes.layout)
    lines = Scaled(node.name, level, factor.astype(F64), offset.astype(F64), function=function)
    return Real(lines, codes.layout)


def _as_joined(source: Joined, shape: Shape) -> bool:
    """Whether a tensor's channels are those of the parts, one part after the other."""
    parts = [part.layout.shape for part in source.parts]
    whole = sum(part[0] for part in parts) == shape[0]
    return not source.axis and whole and all(part[1:] == shape[1:] for part in parts)


NEAR = (
    "the runtime normalizes in float32, which loses digits where the numbers of a row are nearly "
    "alike: results there differ by up to {error:.2g}, others in their last bits, and so do the "
    "codes that this brings over a rounding threshold"
)
LOST = 2.0**-22  # of the largest number over the smallest deviation
SQUARES = (
    "the runtime takes the square of a row's mean from the mean of its squares, in float32: the "
    "nearer the numbers of a row lie together beside their size, the more results differ, and with "
    "them codes; of others those that their last bits bring over a rounding threshold"
)


def layer_norm(run: ProgramImporter, node: ProgramNode) -> None:
    """layer_norm along the last axis."""
    real = run.real(node, "input")
    shape, given = real.layout.shape, node.integers("normalized_shape")
    if not shape or given != shape[-1:]:
        raise HwsimError(
            f"{node}: it must normalize the last axis alone, of {shape[-1:]} elements, not {given}"
        )
    length = shape[-1]
    factor = _constants(run, node, "weight", length, 1.0)
    offset = _constants(run, node, "bias", length, 0.0)
    level = level_of(run, node, real)
    codes = run.arranged(replace(level.codes, layout=real.layout), Arrangement.plain(shape), node)
    epsilon, kind = node.real("eps", 1e-5), run.types[codes.edge]
    at = Normalization(node.name, str(node), epsilon, factor, offset)
    places = (len(codes.layout.physical) - 1,)
    run.values[node.output] = normalized(run, at, level, codes, places)
    if run.executor is Executor.EXECUTORCH:
        run.warn(node.name, SQUARES)
        return
    largest = max(abs(code - level.zero_point) for code in (kind.lo, kind.hi)) * level.scale
    least = epsilon + level.scale**2 * max(length - 1, 1) / length**2  # one number, by a step
    error = LOST * largest / least**0.5 * float(np.abs(factor).max())
    run.warn(node.name, NEAR.format(error=error))
