"""Linear quantization as ONNX Runtime 1.32 computes it on x86-64: scales, zero points, rounding.

docs/frontends.md gives each formula and how it was tested against the runtime.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.frontends.onnx import ort_math
from hwsim.frontends.onnx.file import OnnxNode
from hwsim.frontends.onnx.importer import Importer
from hwsim.frontends.onnx.types import WIDTHS, format_of
from hwsim.frontends.shared.builder import Builder
from hwsim.frontends.shared.rounding import Quantizer, weighed
from hwsim.frontends.shared.values import (
    Constant,
    FloatArray,
    Level,
    Mean,
    Pair,
    Scaled,
    Weighing,
)
from hwsim.ops import (
    Add,
    BatchNorm,
    Flatten,
    Op,
    Quant,
    Requantize,
    Reshape,
    ScaledAdd,
    Scheme,
    Table,
)
from hwsim.ops.base import IntArray

F32 = np.float32
FINE_BITS = 26  # of the factors that bring sums to one unit: finer than a float32
SUM_BITS = 60  # of a sum in such units
FINEST = 60
LEAST_SCALE = 2.0**-60  # nearer to float32's ends the runtime's products overflow or vanish
MOST_RATIO = 2.0**21  # beyond, ONNX Runtime's sums and averages of codes overflow int32
MOST_STEPS = 2.0**40  # that such a sum may reach before it saturates
LEAST_ERROR = 2.0**-14  # in steps of the result, of all factors that are rounded to a fine unit

Units = npt.NDArray[np.float64]
Term = tuple[str, Units, int]


@dataclass(frozen=True, slots=True)
class Linear(Quantizer):
    """QuantizeLinear: `saturate(rint(x / scale) + zero_point)` in float32, to nearest even."""

    format: Format
    scale: float
    zero_point: int

    @property
    def quant(self) -> Quant:
        """Scale and zero point."""
        return Quant((self.scale,), self.zero_point)

    def codes(self, reals: FloatArray) -> IntArray:
        """By trying: the runtime's own float32 arithmetic."""
        low, high = self.format.min, self.format.max
        codes: IntArray = ort_math.quantize_linear(reals, self.scale, self.zero_point, low, high)
        return codes

    def port(self, node: object) -> dict[str, Any]:
        """The default of an InputPort is QuantizeLinear's."""
        return {}

    def sum(self, run: Builder, edge: str, scale: FloatArray, zero: int) -> tuple[str, list[Op]]:
        """`rint(f32(sum) * d) + zero_point` with d = f32(f32(x scale * w scale) / y scale)."""
        return edge, [self._requantize(scale / F32(self.scale), zero)]

    def mean(self, run: Builder, edge: str, source: Mean) -> list[Op]:
        """Global: as a sum. Otherwise the zero point is added before rounding."""
        if not source.in_reals:
            _near(source.name, source.input.scale, self.scale)
        counts = np.array([source.window.size]) if source.counts is None else source.counts
        shape = run.types[edge].shape
        uneven = len(set(counts.ravel().tolist())) > 1
        each = np.repeat(counts.ravel(), shape[-1]) if uneven else counts.ravel()[:1]
        factor = F32(source.input.scale) / (F32(self.scale) * each.astype(np.float32))
        op = self._requantize(factor, 0)
        if not (source.whole or source.in_reals):
            op = replace(op, scheme=Scheme.F32_RNE_IN)
        return [Flatten(), op, Reshape(shape=shape)] if uneven else [op]

    def _requantize(self, factor: FloatArray, zero: int) -> Requantize:
        return Requantize(
            scheme=Scheme.F32_RNE_OUT,
            multiplier=tuple(float(f) for f in factor),
            out=self.format,
            zero_point=self.zero_point,
            input_zero_point=zero,
            quant=self.quant,
        )

    def pair(self, run: Builder, source: Pair, out: str) -> tuple[str, list[Op]]:
        """`rint(fma(a, ra, fma(b, rb, offset)))`, where offset gathers the zero points."""
        a, b = source.a, source.b
        if isinstance(a, Weighing) or isinstance(b, Weighing) or source.wide:
            return self._sum_of_sums(run, source, out)
        if source.in_reals:
            op = ScaledAdd(
                ratios=(float(F32(a.scale)), float(F32(b.scale))),
                offset=0.0,
                out=self.format,
                shifts=(-a.zero_point, -b.zero_point, -self.zero_point),
                quant=self.quant,
                divisor=float(F32(self.scale)),
            )
            return run.emit(source.name, op, [a.codes.edge, b.codes.edge], out), []
        shift = source.shift
        _near(source.name, max(a.scale, b.scale), self.scale)
        ra, rb = (F32(level.scale) / F32(self.scale) for level in (a, b))
        za, zb = F32(a.zero_point + shift), F32(b.zero_point + shift)
        zero = F32(self.zero_point + shift)
        op = ScaledAdd(
            ratios=(float(ra), float(rb)),
            offset=float(zero - ort_math.fma(ra, za, rb * zb)),
            out=self.format,
            shifts=(shift, shift, shift),
            quant=self.quant,
        )
        edge = run.emit(source.name, op, [a.codes.edge, b.codes.edge], out)
        return edge, []

    def _sum_of_sums(self, run: Builder, source: Pair, out: str) -> tuple[str, list[Op]]:
        """Both in fine units, added, rounded."""
        terms = [_term(run, part) for part in (source.a, source.b)]
        bits = self._bits(run, source.name, terms, 0.0)
        edges = [
            self._in_fine_units(run, source.name, term, 0.0, own, max(bits))
            for term, own in zip(terms, bits, strict=True)
        ]
        return run.emit(source.name, Add(), edges, f"{out}.sum"), [self._from_fine_units(max(bits))]

    def scaled(self, run: Builder, source: Scaled, out: str) -> tuple[str, list[Op]]:
        """The product and offset in a fine unit, rounded; or QLinearMul's product of codes."""
        if source.unit is not None and isinstance(source.term, Level):
            return self._product(run, source, source.term, F32(source.unit))
        edge, unit, zero = _term(run, source.term)
        term = edge, unit * source.factor, zero
        (bits,) = self._bits(run, source.name, [term], source.offset)
        fine = self._in_fine_units(run, source.name, term, source.offset, bits, bits)
        return fine, [self._from_fine_units(bits)]

    def _product(
        self, run: Builder, source: Scaled, level: Level, unit: Any
    ) -> tuple[str, list[Op]]:
        """`rint(f32(f32(f32(product) * d) + zero_point))`, d = f32(f32(x scale * unit) / y scale).

        int8 codes that the runtime holds as uint8 are so meanwhile: a float32 is coarser there.
        """
        edge, channels = level.codes.edge, run.types[level.codes.edge].channels
        factors = np.broadcast_to(source.factor, channels).astype(np.int64)
        scale = F32(level.scale) * unit
        op = BatchNorm(
            scale=factors,
            bias=-level.zero_point * factors,
            scale_format=Format.int(17),
            quant=Quant((float(scale),)),
        )
        product = run.emit(f"{source.name}.product", op, [edge], f"{edge}.product")
        rounding = self._requantize(np.array([scale / F32(self.scale)]), 0)
        rounding = replace(rounding, scheme=Scheme.F32_RNE_IN)
        if not source.shift:
            return product, [rounding]
        held = Format.uint(self.format.width)
        zero = self.zero_point + source.shift
        rounding = replace(rounding, out=held, zero_point=zero, quant=Quant((self.scale,), zero))
        back = np.arange(held.min, held.max + 1) - source.shift
        return product, [rounding, Table(values=back, out=self.format, quant=self.quant)]

    def _bits(self, run: Builder, name: str, terms: list[Term], offset: Units | float) -> list[int]:
        """Fraction bits of a step of the result for each term: its largest factor has FINE_BITS.

        Fewer where the sum would not fit, as long as all errors stay below those of a float32.
        """
        tops = [float(np.abs(unit).max()) / self.scale for _, unit, _ in terms]
        sizes = [run.types[edge].magnitude + abs(zero) for edge, _, zero in terms]
        reach = sum(top * size for top, size in zip(tops, sizes, strict=True))
        reach += float(np.abs(offset).max()) / self.scale
        if not 0 < reach < MOST_STEPS:
            if reach == 0:
                return [0] * len(terms)
            raise HwsimError(f"{name}: its factors and offsets must be nearer to its scales")
        most = min(SUM_BITS - math.ceil(math.log2(reach)), FINEST)
        bits = [min(FINE_BITS - math.ceil(math.log2(top)), most) if top else 0 for top in tops]
        error = sum(size * 2.0 ** -(own + 1) for size, own in zip(sizes, bits, strict=True))
        if error > max(LEAST_ERROR, reach * 2.0**-24):
            raise HwsimError(f"{name}: its factors and offsets must be nearer to its scales")
        return bits

    def _in_fine_units(
        self, run: Builder, name: str, term: Term, offset: Units | float, own: int, bits: int
    ) -> str:
        """Whole numbers of `2**-own` steps of the result, as codes with `own - bits` fraction bits.

        An Add brings them to `2**-bits` steps.
        """
        edge, unit, zero = term
        factors = np.rint(unit / self.scale * 2.0**own)
        shift = np.rint(offset / self.scale * 2.0**own)
        channels, fraction = run.types[edge].channels, run.types[edge].format.frac_bits
        fraction = own - bits - fraction
        op = BatchNorm(
            scale=np.broadcast_to(factors, channels).astype(np.int64),
            bias=np.broadcast_to(shift - zero * factors, channels).astype(np.int64),
            bias_frac=own - bits,
            scale_format=Format(True, 32 - fraction, fraction),
            quant=Quant((self.scale * 2.0**-bits,)),
        )
        return run.emit(f"{name}.scaled", op, [edge], f"{edge}.scaled")

    def _from_fine_units(self, bits: int) -> Op:
        """The one rounding."""
        return Requantize(
            scheme=Scheme.SHIFT,
            multiplier=(2.0**-bits,),
            out=self.format,
            zero_point=self.zero_point,
            quant=self.quant,
        )


def _near(name: str, scale: float, out: float) -> None:
    if scale >= out * MOST_RATIO:
        raise HwsimError(
            f"{name}: the scale of its result must be above {scale / MOST_RATIO:.3g}, not {out:.3g}"
        )


def _term(run: Builder, part: Level | Weighing) -> Term:
    """The edge of an addend, what a step of it is worth, and its zero point."""
    if isinstance(part, Weighing):
        edge, scale = weighed(run, part)
        return edge, scale.astype(np.float64), 0
    return part.codes.edge, np.array([part.scale]), part.zero_point


def quantizer(node: OnnxNode, scale: Constant, zero: Constant | None, signed8: str) -> Linear:
    """Per-tensor parameters of an activation, checked."""
    scales, zeros = parameters(node, scale, zero, signed8)
    if scales.size != 1 or zeros.size != 1:
        raise HwsimError(
            f"{node}: an activation must have one scale and zero point for all channels"
        )
    if not LEAST_SCALE <= float(scales.ravel()[0]) <= 1 / LEAST_SCALE:
        raise HwsimError(
            f"{node}: the scale of an activation must be from {LEAST_SCALE:.2g} to "
            f"{1 / LEAST_SCALE:.2g}, not {float(scales.ravel()[0]):.3g}"
        )
    dtype = str(zeros.dtype)
    fmt = format_of(node, dtype)
    if fmt.width > 16:
        raise HwsimError(f"{node}: an activation must have at most 16 bits, not {dtype}")
    return Linear(fmt, float(scales.ravel()[0]), int(zeros.ravel()[0]))


def parameters(
    node: OnnxNode, scale: Constant, zero: Constant | None, dtype: str
) -> tuple[FloatArray, Any]:
    """Scales (float32) and zero points (in the type of the codes)."""
    scales = np.asarray(scale.array, np.float32)
    if not scales.size or not np.isfinite(scales).all() or not (scales > 0).all():
        bad = scales.ravel()[~(np.isfinite(scales.ravel()) & (scales.ravel() > 0))][:1]
        found = float(bad[0]) if bad.size else "nothing"
        raise HwsimError(f"{node}: a scale must be a finite number above 0, not {found}")
    zeros = np.zeros(scales.shape, dtype) if zero is None else zero.array
    if zeros.dtype.name not in WIDTHS or zeros.size != scales.size:
        raise HwsimError(
            f"{node}: zero points must be {scales.size} integers like the codes, not {zeros.size} "
            f"of {zeros.dtype}"
        )
    return scales, zeros


def optional(run: Importer, node: OnnxNode, position: int) -> Constant | None:
    """A constant input that may be left out."""
    return run.constant(node, position) if node.input(position) else None


def output_type(node: OnnxNode, zero: Constant | None) -> str:
    """The type of a QuantizeLinear's codes: its zero point's, or `output_dtype`, or uint8."""
    from onnx.helper import tensor_dtype_to_np_dtype

    given = node.integer("output_dtype", 0)
    try:
        named = str(tensor_dtype_to_np_dtype(given)) if given else None
    except KeyError:
        raise HwsimError(f"{node}: 'output_dtype' must be a type of ONNX, not {given}") from None
    if zero is None:
        return named or "uint8"
    if named not in (None, zero.array.dtype.name):
        raise HwsimError(
            f"{node}: 'output_dtype' must be {zero.array.dtype} like its zero point, not {named}"
        )
    return str(zero.array.dtype.name)


def quantized_constant(
    node: OnnxNode, value: Constant, scale: Constant, zero: Constant | None, dtype: str
) -> Constant:
    """Float weights that the model quantizes itself, to codes of type `dtype`."""
    fmt = format_of(node, dtype)
    scales, zeros = parameters(node, scale, zero, dtype)
    shape = along(node, value.array.shape, scales)
    with np.errstate(over="ignore", invalid="ignore"):
        whole = np.rint(value.array.astype(np.float32) / scales.reshape(shape))
    if np.isnan(whole).any():
        raise HwsimError(f"{node}: weights must be finite")
    zero_points = zeros.reshape(shape).astype(np.int64)
    codes = np.clip(np.clip(whole, -(2.0**40), 2.0**40) + zero_points, fmt.min, fmt.max)
    return Constant(codes.astype(zeros.dtype))


def along(node: OnnxNode, shape: tuple[int, ...], scales: FloatArray) -> tuple[int, ...]:
    """The shape in which scales broadcast against a tensor of `shape`."""
    if scales.size == 1:
        return (1,) * len(shape)
    axis = node.integer("axis", 1) if len(shape) > 1 else 0  # the runtime takes a vector as it is
    axis = axis + len(shape) if axis < 0 else axis
    fits = 0 <= axis < len(shape) and scales.ndim == 1 and shape[axis] == scales.size
    if not fits or node.integer("block_size", 0):
        raise HwsimError(
            f"{node}: {scales.size} scales must be one for each index of axis {axis} of {shape}"
        )
    return tuple(scales.size if i == axis else 1 for i in range(len(shape)))


def dequantized(
    node: OnnxNode, value: Constant, scale: Constant, zero: Constant | None
) -> Constant:
    """Weights or bias: codes with the zero point taken off, and their scale."""
    fmt = format_of(node, value.array.dtype.name)
    scales, zeros = parameters(node, scale, zero, value.array.dtype.name)
    shape = along(node, value.array.shape, scales)
    if zeros.dtype != value.array.dtype:
        raise HwsimError(
            f"{node}: its zero point must be {value.array.dtype} like its codes, not {zeros.dtype}"
        )
    codes = value.array.astype(np.int64) - zeros.reshape(shape).astype(np.int64)
    if zeros.astype(np.int64).any() and codes.size:
        fmt = Format.holding(int(codes.min()), int(codes.max()))
    spread = scales.reshape(shape)
    with np.errstate(over="ignore"):  # refused by whoever needs the reals
        reals = codes.astype(np.float32) * spread
    return Constant(reals, codes, fmt, spread, bool(zeros.astype(np.int64).any()))
