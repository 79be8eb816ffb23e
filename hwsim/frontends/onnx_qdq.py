"""ONNX with QuantizeLinear/DequantizeLinear and QLinear operators, as ONNX Runtime computes it.

The semantics were found by experiment against ONNX Runtime 1.32 on x86-64 with all optimizations
on; docs/frontends.md gives each formula and how it was tested.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.frontends import float_math, layers
from hwsim.frontends.importer import Handler, Importer, Quantizer
from hwsim.frontends.layers import FLOAT_HANDLERS
from hwsim.frontends.onnx_file import OnnxModel, OnnxNode
from hwsim.frontends.shapes import SHAPE_HANDLERS
from hwsim.frontends.values import (
    Codes,
    Constant,
    FloatArray,
    Joined,
    Level,
    Mean,
    Pair,
    RawInput,
    Real,
)
from hwsim.graph import Graph
from hwsim.ops import Op, Quant, Requantize, ScaledAdd, Scheme, TensorType
from hwsim.ops.base import IntArray

F32 = np.float32
MICROSOFT = "com.microsoft"
WIDTHS = {"int8": 8, "uint8": 8, "int4": 4, "uint4": 4, "int16": 16, "uint16": 16, "int32": 32}


@dataclass(frozen=True, slots=True)
class Linear(Quantizer):
    """QuantizeLinear: `saturate(rint(x / scale) + zero_point)` in float32, to nearest even.

    `as_unsigned` says that ONNX Runtime holds these int8 codes as uint8, plus 128.
    """

    format: Format
    scale: float
    zero_point: int
    as_unsigned: bool = False

    @property
    def quant(self) -> Quant:
        """Scale and zero point."""
        return Quant((self.scale,), self.zero_point)

    def codes(self, reals: FloatArray) -> IntArray:
        """By trying: the runtime's own float32 arithmetic."""
        low, high = self.format.min, self.format.max
        codes: IntArray = float_math.quantize_linear(reals, self.scale, self.zero_point, low, high)
        return codes

    def port(self, node: OnnxNode) -> dict[str, Any]:
        """The default of an InputPort is QuantizeLinear's."""
        return {}

    def sum(self, run: Importer, edge: str, scale: FloatArray, zero: int) -> tuple[str, list[Op]]:
        """`rint(f32(sum) * d) + zero_point` with d = f32(f32(x scale * w scale) / y scale)."""
        return edge, [self._requantize(scale / F32(self.scale), zero)]

    def mean(self, run: Importer, edge: str, source: Mean) -> list[Op]:
        """Global: as a sum. Otherwise the zero point is added before rounding."""
        count = F32(source.window.size)
        factor = np.array([F32(source.input.scale) / (F32(self.scale) * count)], np.float32)
        if source.whole:
            return [self._requantize(factor, 0)]
        if np.frexp(source.input.scale)[0] != 0.5:
            run.warn(
                source.name,
                "ONNX Runtime averages in float32, so that exact ties may round the other way; the "
                "exact average is rounded to nearest even here",
            )
        return [replace(self._requantize(factor, 0), scheme=Scheme.F32_RNE_IN)]

    def _requantize(self, factor: FloatArray, zero: int) -> Requantize:
        return Requantize(
            scheme=Scheme.F32_RNE_OUT,
            multiplier=tuple(float(f) for f in factor),
            out=self.format,
            zero_point=self.zero_point,
            input_zero_point=zero,
            quant=self.quant,
        )

    def pair(self, run: Importer, source: Pair, out: str) -> tuple[str, list[Op]]:
        """`rint(fma(a, ra, fma(b, rb, offset)))`, where offset gathers the zero points."""
        a, b = source.a, source.b
        unsigned = (a.codes.as_unsigned, b.codes.as_unsigned, self.as_unsigned)
        shifts = tuple(128 if all(unsigned) else 0 for _ in unsigned)
        if any(unsigned) != all(unsigned):
            run.warn(source.name, FLOAT_NOTE)
        ra, rb = (F32(level.scale) / F32(self.scale) for level in (a, b))
        za, zb = F32(a.zero_point + shifts[0]), F32(b.zero_point + shifts[1])
        zero = F32(self.zero_point + shifts[2])
        op = ScaledAdd(
            ratios=(float(ra), float(rb)),
            offset=float(zero - float_math.fma(ra, za, rb * zb)),
            out=self.format,
            shifts=(shifts[0], shifts[1], shifts[2]),
            quant=self.quant,
        )
        edge = run.emit(source.name, op, [a.codes.edge, b.codes.edge], out)
        return edge, []


FLOAT_NOTE = (
    "ONNX Runtime computes it in float32, not with its integer kernels, so that about one code in "
    "100,000 may differ by one step"
)


def quantizer(node: OnnxNode, scale: Constant, zero: Constant | None, signed8: str) -> Linear:
    """Per-tensor parameters of an activation, checked."""
    scales, zeros = parameters(node, scale, zero, signed8)
    if scales.size != 1 or zeros.size != 1:
        raise HwsimError(
            f"{node}: an activation must have one scale and zero point for all channels"
        )
    dtype = str(zeros.dtype)
    fmt = format_of(node, dtype)
    if fmt.width > 16:
        raise HwsimError(f"{node}: an activation must have at most 16 bits, not {dtype}")
    return Linear(fmt, float(scales.ravel()[0]), int(zeros.ravel()[0]))


def format_of(node: OnnxNode, dtype: str) -> Format:
    """The format of an integer type of ONNX."""
    if dtype not in WIDTHS:
        raise HwsimError(f"{node}: its codes must be integers of 4, 8, 16 or 32 bits, not {dtype}")
    width = WIDTHS[dtype]
    return Format.uint(width) if dtype.startswith("u") else Format.int(width)


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
            f"{node}: zero points must be {scales.size} integers like the codes, not {zeros.size} of "
            f"{zeros.dtype}"
        )
    return scales, zeros


def optional(run: Importer, node: OnnxNode, position: int) -> Constant | None:
    """A constant input that may be left out."""
    return run.constant(node, position) if node.input(position) else None


def quantize_linear(run: Importer, node: OnnxNode) -> None:
    """QuantizeLinear of an input, a computed tensor or a constant."""
    value = run.value(node, 0)
    scale, zero = run.constant(node, 1), optional(run, node, 2)
    if isinstance(value, Constant):
        run.values[node.output] = quantized_constant(node, value, scale, zero)
        return
    by = replace(quantizer(node, scale, zero, "uint8"), as_unsigned=held_unsigned(run, node, zero))
    if isinstance(value, RawInput):
        codes = run.input_codes(
            value, TensorType((), by.format, by.quant), by.port(node), node.output
        )
    else:
        codes = run.quantize(run.real(node, 0), by, node.name, node.output)
    run.values[node.output] = replace(codes, as_unsigned=by.as_unsigned)


def held_unsigned(run: Importer, node: OnnxNode, zero: Constant | None) -> bool:
    """Whether ONNX Runtime turns this int8 tensor into uint8 (on x86-64).

    It does so where a QuantizeLinear has one reader, a DequantizeLinear with one reader (its
    transformer QDQS8ToU8), and zero points are given.
    """
    if zero is None or zero.array.dtype != np.int8 or run.uses.get(node.output, 0) != 1:
        return False
    readers = [n for n in run.model.nodes if node.output in n.inputs]
    return bool(
        readers
        and readers[0].op == "DequantizeLinear"
        and readers[0].input(2)
        and run.uses.get(readers[0].output, 0) == 1
    )


def quantized_constant(
    node: OnnxNode, value: Constant, scale: Constant, zero: Constant | None
) -> Constant:
    """Float weights that the model quantizes itself."""
    scales, zeros = parameters(node, scale, zero, "uint8")
    shape = along(node, value.array.shape, scales)
    info = np.iinfo(zeros.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        whole = np.rint(value.array.astype(np.float32) / scales.reshape(shape))
    if np.isnan(whole).any():
        raise HwsimError(f"{node}: weights must be finite")
    zero_points = zeros.reshape(shape).astype(np.int64)
    codes = np.clip(np.clip(whole, -(2.0**40), 2.0**40) + zero_points, info.min, info.max)
    return Constant(codes.astype(zeros.dtype))


def along(node: OnnxNode, shape: tuple[int, ...], scales: FloatArray) -> tuple[int, ...]:
    """The shape in which scales broadcast against a tensor of `shape`."""
    if scales.size == 1:
        return (1,) * len(shape)
    axis = node.integer("axis", 1)
    axis = axis + len(shape) if axis < 0 else axis
    fits = 0 <= axis < len(shape) and scales.ndim == 1 and shape[axis] == scales.size
    if not fits or node.integer("block_size", 0):
        raise HwsimError(
            f"{node}: {scales.size} scales must be one for each index of axis {axis} of {shape}"
        )
    return tuple(scales.size if i == axis else 1 for i in range(len(shape)))


def dequantize_linear(run: Importer, node: OnnxNode) -> None:
    """DequantizeLinear of codes or of a constant."""
    value = run.value(node, 0)
    scale, zero = run.constant(node, 1), optional(run, node, 2)
    if isinstance(value, Constant):
        run.values[node.output] = dequantized(node, value, scale, zero)
        return
    run.values[node.output] = leveled(run, node, 0, scale, zero)


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
    return Constant(codes.astype(np.float32) * spread, codes, fmt, spread)


def leveled(
    run: Importer, node: OnnxNode, position: int, scale: Constant, zero: Constant | None
) -> Real:
    """A tensor of codes with the meaning that its reader gives it."""
    value = run.value(node, position)
    if isinstance(value, RawInput):
        port = next(p for p in run.model.inputs if p.name == value.name)
        by = quantizer(node, scale, zero, port.dtype)
        if format_of(node, port.dtype) != by.format:
            raise HwsimError(
                f"{node}: its zero point must be {port.dtype} like input {port.name!r}"
            )
        kind = TensorType((), by.format, by.quant)
        value = run.input_codes(value, kind, {}, value.name)
        run.values[node.input(position)] = value
    if not isinstance(value, Codes):
        raise HwsimError(
            f"{node}: input {position} ({node.input(position)!r}) must hold integer codes"
        )
    dtype = f"{'int' if value.format.signed else 'uint'}{value.format.width}"
    by = quantizer(node, scale, zero, dtype)
    if by.format != value.format:
        raise HwsimError(
            f"{node}: its zero point must be {value.format} like its codes, not {by.format}"
        )
    return Real(Level(value, by.scale, by.zero_point), value.layout)


# QLinear operators: dequantize, compute, quantize, all in one node.


def given(run: Importer, node: OnnxNode, first: int) -> Real:
    """The tensor, scale and zero point at inputs `first` and after."""
    return leveled(run, node, first, run.constant(node, first + 1), optional(run, node, first + 2))


def given_weights(run: Importer, node: OnnxNode, first: int, axis: int) -> Constant:
    """Constant codes, scales and zero points, along `axis` where there are several."""
    codes = run.constant(node, first)
    turned = replace(node, attributes={"axis": axis})
    return dequantized(turned, codes, run.constant(node, first + 1), optional(run, node, first + 2))


def rounded(run: Importer, node: OnnxNode, real: Real, scale: int) -> None:
    """The result by the scale and zero point at inputs `scale` and after."""
    first = real.source
    while isinstance(first, Joined):
        first = first.parts[0].source
    level = (
        first.a if isinstance(first, Pair) else first if isinstance(first, Level) else first.input
    )
    signed = level.codes.format.signed
    by = quantizer(
        node,
        run.constant(node, scale),
        optional(run, node, scale + 1),
        "int8" if signed else "uint8",
    )
    run.values[node.output] = run.quantize(real, by, f"{node.name}.requantize", node.output)


def bias_codes(run: Importer, node: OnnxNode, position: int) -> Constant | None:
    """An int32 bias, which has the accumulator's scale by definition."""
    bias = optional(run, node, position)
    if bias is None:
        return None
    if bias.array.dtype != np.int32:
        raise HwsimError(f"{node}: its bias must be int32, not {bias.array.dtype}")
    return Constant(bias.array.astype(np.float32), bias.array.astype(np.int64))


def qlinear_conv(run: Importer, node: OnnxNode) -> None:
    """QLinearConv."""
    weights = given_weights(run, node, 3, 0)
    real = layers.convolution(run, node, given(run, node, 0), weights, bias_codes(run, node, 8))
    rounded(run, node, real, 6)


def qlinear_matmul(run: Importer, node: OnnxNode) -> None:
    """QLinearMatMul with constant weights."""
    rounded(
        run,
        node,
        layers.dense(run, node, given(run, node, 0), given_weights(run, node, 3, 1), None),
        6,
    )


def qgemm(run: Importer, node: OnnxNode) -> None:
    """com.microsoft QGemm, to codes or to floats."""
    turned = node.integer("transB", 0) != 0
    weights = given_weights(run, node, 3, 0 if turned else 1)
    weights = layers.turned(weights) if turned else weights
    if node.real("alpha", 1.0) != 1.0 or node.integer("transA", 0):
        raise HwsimError(f"{node}: 'alpha' must be 1 and 'transA' 0")
    real = layers.dense(run, node, given(run, node, 0), weights, bias_codes(run, node, 6))
    if node.input(7):
        rounded(run, node, real, 7)
    else:
        run.values[node.output] = real


def qlinear_add(run: Importer, node: OnnxNode) -> None:
    """com.microsoft QLinearAdd of two tensors."""
    rounded(run, node, layers.added(run, node, given(run, node, 0), given(run, node, 3)), 6)


def qlinear_concat(run: Importer, node: OnnxNode) -> None:
    """com.microsoft QLinearConcat: each input through its own table."""
    reals = [given(run, node, i) for i in range(2, len(node.inputs), 3)]
    rounded(run, node, layers.concatenated(run, node, reals, node.integer("axis", 1)), 0)


def qlinear_pool(run: Importer, node: OnnxNode) -> None:
    """com.microsoft QLinearAveragePool and QLinearGlobalAveragePool."""
    if node.integer("channels_last", 0):
        raise HwsimError(f"{node}: 'channels_last' must be 0")
    whole = node.op == "QLinearGlobalAveragePool"
    rounded(run, node, layers.average(run, node, given(run, node, 0), whole=whole), 3)


def qlinear_unary(run: Importer, node: OnnxNode) -> None:
    """com.microsoft QLinearSigmoid and QLinearLeakyRelu."""
    rounded(run, node, given(run, node, 0).then(layers.function_of(node)), 3)


HANDLERS: dict[tuple[str, str], Handler] = {
    **FLOAT_HANDLERS,
    **SHAPE_HANDLERS,
    ("", "QuantizeLinear"): quantize_linear,
    ("", "DequantizeLinear"): dequantize_linear,
    (MICROSOFT, "QuantizeLinear"): quantize_linear,
    (MICROSOFT, "DequantizeLinear"): dequantize_linear,
    ("", "QLinearConv"): qlinear_conv,
    ("", "QLinearMatMul"): qlinear_matmul,
    (MICROSOFT, "QGemm"): qgemm,
    (MICROSOFT, "QLinearAdd"): qlinear_add,
    (MICROSOFT, "QLinearAveragePool"): qlinear_pool,
    (MICROSOFT, "QLinearConcat"): qlinear_concat,
    (MICROSOFT, "QLinearGlobalAveragePool"): qlinear_pool,
    (MICROSOFT, "QLinearLeakyRelu"): qlinear_unary,
    (MICROSOFT, "QLinearSigmoid"): qlinear_unary,
}


def read(model: OnnxModel) -> Graph:
    """The Graph of a model in QDQ or QLinear form."""
    return Importer(model).run(HANDLERS)
