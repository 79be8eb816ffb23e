"""A quantizer between a convolution and a sum, which the plugin's kernel only clips.

The convolution takes in the sum, its quantizer and the next one. Its own quantizer then gives reals
in steps of the other tensor's codes, cut at its ends and not rounded; the codes are added to them,
and the next quantizer rounds. Here that is one exact sum in a fine unit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hwsim.fixed import Format
from hwsim.frontends.openvino.lines import KernelLine, factor_and_offset, fused
from hwsim.frontends.shared.exact_sums import weighed
from hwsim.frontends.shared.quantizer import Quantizer
from hwsim.frontends.shared.step_functions import FloatRule, Reals, WholeSums, step_function
from hwsim.frontends.shared.tensors import TensorBuilder
from hwsim.frontends.shared.values import FloatArray, Level, Weighing
from hwsim.ops import Add, BatchNorm, Op, Quant, Relu, Table
from hwsim.ops.base import IntArray

F32 = np.float32
FACTOR_BITS = 30
"""Bits of the largest factor that brings a layer's sums to the fine unit."""
DRAWN = 1 << 19
NEAR = (
    "OpenVINO adds a layer's sum and a tensor in float32 here, the sum of both is exact: of "
    "{drawn:,} that were drawn {found:,} are rounded otherwise, by one step"
)


@dataclass(frozen=True, slots=True, eq=False)
class QuantizedScale:
    """What codes of a tensor mean to the plugin: real = (code + lowest - shift) * scale.

    `lowest` is -128 where it holds int8.
    """

    scale: np.float32
    shift: np.float32
    lowest: int

    def same(self, other: QuantizedScale) -> bool:
        """Whether both mean the same."""
        return (self.scale, self.shift, self.lowest) == (other.scale, other.shift, other.lowest)


@dataclass(frozen=True, slots=True, eq=False)
class ClippingEnds:
    """A convolution's quantizer that only clips."""

    low: FloatArray
    high: FloatArray
    levels: int
    meaning: QuantizedScale


@dataclass(frozen=True, slots=True, eq=False)
class ClippedSum:
    """The sum of a convolution, its quantizer that only clips, and what is added.

    `rectified` says that a ReLU follows, which cuts at 0 whatever the next quantizer's place of 0.
    """

    layer: Weighing
    bias: FloatArray | None
    ends: ClippingEnds
    other: QuantizedScale
    addend: Level
    rectified: bool = False

    def cut(self, values: FloatArray) -> FloatArray:
        """Sums behind the ReLU."""
        return np.maximum(values, F32(0)) if self.rectified else values

    @property
    def unit(self) -> np.float32:
        """What a step of the sum is worth."""
        return self.other.scale


@dataclass(frozen=True, slots=True, eq=False)
class ClippingLine:
    """A factor and an offset, then two ends, one of each or one a channel."""

    factor: FloatArray
    offset: FloatArray
    low: FloatArray
    high: FloatArray

    def of(self, values: FloatArray) -> FloatArray:
        """In the kernel's float32."""
        if self.factor.size == self.offset.size == 1:
            made = fused(values, self.factor, self.offset)
        else:
            made = values * self.factor + self.offset
        return np.asarray(np.clip(made, self.low, self.high), F32)


def clipping(found: ClippedSum, scale: FloatArray) -> ClippingLine:
    """The convolution's quantizer without its rounding, in codes of the other tensor.

    `scale` is that of the layer's sums, which a bias keeps apart.
    """
    own, other, levels = found.ends.meaning, found.other, found.ends.levels
    ratio = own.scale / other.scale
    shift = own.shift + other.shift * other.scale / own.scale
    least, most = ((F32(end) - shift) * ratio for end in (own.lowest, own.lowest + levels - 1))
    low, high = found.ends.low, found.ends.high
    if found.bias is None:
        low, high = low / scale, high / scale
    factor, offset = factor_and_offset(low, high, levels)
    step = (most - least) / F32(levels - 1)
    ends = [np.rint(end * factor + offset) * step + least for end in (low, high)]
    factor, offset = factor * step, offset * step + least
    if offset.size > 1 and (offset == offset[0]).all():
        offset = offset[:1]
    if offset.size == 1 and abs(float(offset[0])) < float(ends[1].max() - ends[0].min()) * 1e-5:
        offset = np.zeros(1, F32)
    return ClippingLine(factor, offset, ends[0], ends[1])


def summed(
    run: TensorBuilder,
    found: ClippedSum,
    line: KernelLine,
    by: Quantizer,
    name: str,
) -> tuple[str, list[Op]]:
    """Operators that give the codes of the sum, after the edge given back."""
    edge, scale = weighed(run, found.layer)
    own = clipping(found, scale)
    fine, bits = _fine(run, edge, scale, own, found.bias, name)
    addend = found.addend.codes.edge
    held, start = run.types[addend], found.other.lowest
    codes = np.arange(held.format.min, held.format.max + 1) + start
    shifted = codes.astype(np.int64) << bits
    fmt = Format.holding(int(shifted.min()), int(shifted.max()))
    unit = Quant((2.0**-bits,))
    table = Table(values=shifted, out=fmt, quant=unit)
    other = run.emit(f"{name}.addend", table, [addend], f"{name}.addend")
    total = run.emit(f"{name}.sum", Add(), [fine, other], f"{name}.sum")

    def reals(k: IntArray) -> Reals:
        return np.asarray(k * 2.0**-bits, np.float64)

    rows = max(line.factor.size, line.offset.size)
    sums = WholeSums(run.types[total], reals, np.zeros(1), rows)
    steps = step_function(
        sums, FloatRule((), lambda values: line.places(found.cut(values)), 1, rows)
    )
    assert steps is not None
    _note(run, found, own, line, name)
    return total, steps.ops(by.format, by.quant)


def _fine(
    run: TensorBuilder,
    edge: str,
    scale: FloatArray,
    line: ClippingLine,
    bias: FloatArray | None,
    name: str,
) -> tuple[str, int]:
    """The clipped sums in whole numbers of a power of two, and its exponent."""
    channels = run.types[edge].channels
    factor, offset, fraction = fine_line(run.types[edge].format.frac_bits, scale, line, bias)
    factor, offset = (np.broadcast_to(part, channels) for part in (factor, offset))
    bits = FACTOR_BITS - math.ceil(math.log2(float(np.abs(factor).max())))
    op = BatchNorm(
        scale=np.rint(factor * 2.0**bits).astype(np.int64),
        bias=np.rint(offset * 2.0**bits).astype(np.int64),
        scale_format=Format(True, 32 + fraction, -fraction),
        quant=Quant((2.0**-bits,)),
    )
    fine = run.emit(f"{name}.fine", op, [edge], f"{name}.fine")
    low, high = (np.rint(float(end.ravel()[0]) * 2.0**bits) for end in (line.low, line.high))
    kind = run.types[fine]
    ends = (int(np.clip(end, kind.format.min, kind.format.max)) for end in (low, high))
    low, high = ends
    clip = Relu(zero_point=low, maximum=None if high == kind.format.max else high)
    return run.emit(f"{name}.clip", clip, [fine], f"{name}.clip"), bits


def fine_line(
    fraction: int, scale: FloatArray, line: ClippingLine, bias: FloatArray | None
) -> tuple[Reals, Reals, int]:
    """What a layer's whole numbers are multiplied by, and what is added, exactly."""
    factor, offset = line.factor.astype(np.float64), line.offset.astype(np.float64)
    if bias is not None:
        offset = bias.astype(np.float64) * factor + offset
        factor = scale.astype(np.float64) * factor
    return factor, offset, fraction


def _note(
    run: TensorBuilder,
    found: ClippedSum,
    own: ClippingLine,
    line: KernelLine,
    name: str,
) -> None:
    """Draw sums and codes, and say how many are rounded otherwise in float32."""
    edge, scale = weighed(run, found.layer)
    kind, held = run.types[edge], run.types[found.addend.codes.edge]
    factor, offset, _ = fine_line(kind.format.frac_bits, scale, own, found.bias)
    rng = np.random.default_rng(0)  # the same warning each time
    rows = max(1, DRAWN // kind.channels)
    span = (own.high.max() - own.low.min()) / np.abs(factor)
    middle = ((own.high.max() + own.low.min()) / 2 - offset) / factor
    drawn = np.rint(middle + span * (rng.random((rows, kind.channels)) - 0.5)).astype(np.int64)
    drawn = np.clip(drawn, kind.lo, kind.hi)
    other = rng.integers(held.format.min, held.format.max + 1, drawn.shape) + found.other.lowest
    reals = drawn.astype(F32)
    if found.bias is not None:
        reals = reals * scale + found.bias
    added = own.of(reals) + other.astype(F32)
    exact = np.clip(drawn * factor + offset, own.low.max(), own.high.min()) + other

    def places(values: FloatArray) -> IntArray:
        return line.places(found.cut(values))

    differing = int((places(exact.astype(F32)) != places(added)).sum())
    if (added != exact).any():
        run.warn(name, NEAR.format(drawn=drawn.size, found=differing))
