"""Dense and convolution layers: weights, scales, bias."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.frontends.onnx import float_chain
from hwsim.frontends.onnx.constants import mapped
from hwsim.frontends.onnx.folded_weights import folded_weights
from hwsim.frontends.onnx.importer import UNQUANTIZED_WIDE, Importer
from hwsim.frontends.onnx.model import OnnxNode
from hwsim.frontends.onnx.ort.kernels import WHOLE_SUMS
from hwsim.frontends.onnx.window import dilated, map_level, window_in_frame
from hwsim.frontends.shared import moves
from hwsim.frontends.shared.arrangement import Arrangement
from hwsim.frontends.shared.exact_levels import narrowed
from hwsim.frontends.shared.settling import level_of
from hwsim.frontends.shared.values import (
    NO_PADDING,
    Codes,
    Constant,
    FloatArray,
    Level,
    Real,
    Weighing,
)
from hwsim.ops import CONVOLUTIONS, Conv, Dense, Window
from hwsim.ops.base import IntArray

F32 = np.float32


FLOAT_BITS = 24
"""Bits of the largest weight of a channel that nothing has quantized, as many as float32 has."""
MOST_SUM_BITS = 61
"""Fewer bits where sums of wide codes would pass these."""
ROOMY_SUM_BITS = 58
"""The same of what is summed, so that there is room for a bias."""


def weights_of(run: Importer, node: OnnxNode, position: int, axis: int) -> Constant:
    """A constant that came through a quantizer, or a QONNX model's whose quantizer was folded.

    Plain floats of another model are taken in a fine unit for each channel. `axis` is that of the
    output channels.
    """
    value = run.constant(node, position)
    if value.codes is None and run.choices is None:
        value = folded_weights(value, axis)
    if value.codes is None and run.computes_reals and value.array.ndim > axis:
        terms = value.array.size // max(value.array.shape[axis], 1)
        room = MOST_SUM_BITS - _width(run, node, 1 - position) - terms.bit_length()
        return _of_floats(node, value.array, axis, min(FLOAT_BITS, room))
    if value.codes is None or value.scale is None:
        raise HwsimError(
            f"{node}: its weights {node.input(position)!r} must be quantized (DequantizeLinear or "
            "Quant of a constant), not plain floats"
        )
    return value


def _width(run: Importer, node: OnnxNode, position: int) -> int:
    """Bits of the codes that float weights meet, as many as there may be where that is open."""
    value = run.values.get(node.input(position))
    if isinstance(value, Real) and isinstance(value.source, Level) and not value.steps:
        return value.source.codes.format.width
    return UNQUANTIZED_WIDE.width


def _of_floats(node: OnnxNode, array: npt.NDArray[Any], axis: int, bits: int) -> Constant:
    """Powers of two of which each channel's largest weight has so many bits."""
    if array.dtype.kind != "f" or not np.isfinite(array).all() or not array.size:
        raise HwsimError(f"{node}: its weights must be finite floats")
    others = tuple(place for place in range(array.ndim) if place != axis)
    tops = np.abs(array.astype(np.float64)).max(axis=others, keepdims=True)
    units = 2.0 ** (np.frexp(np.where(tops > 0, tops, 1.0))[1] - bits)
    codes = np.rint(array / units).astype(np.int64)
    fmt = Format.holding(int(codes.min()), int(codes.max()))
    return Constant(array, codes, fmt, units.astype(F32))


def scales_along(node: OnnxNode, weights: Constant, axis: int) -> FloatArray:
    """One scale, or one for each index of `axis`."""
    assert weights.scale is not None
    scale = weights.scale
    if scale.size == 1:
        return scale.reshape(1)
    outputs = weights.array.shape[axis]
    shape = [1] * weights.array.ndim
    shape[axis] = outputs
    if scale.ndim != weights.array.ndim or list(scale.shape) != shape:
        raise HwsimError(
            f"{node}: weight scales must be one, or one for each of the {outputs} output channels, "
            f"not of shape {scale.shape}"
        )
    return scale.reshape(outputs)


def layer(
    run: Importer,
    node: OnnxNode,
    level: Level,
    weights: tuple[IntArray, Format, FloatArray],
    bias: Constant | None,
    window: tuple[Window, int] | None = None,
    *,
    alpha: float = 1.0,
) -> Weighing:
    """Dense, or a convolution with `window` (and groups): weights with output channels last."""
    codes, fmt, weight_scale = weights
    level = _with_room(run, node, level, codes)
    if level.scales is not None:  # of a depthwise convolution: those of the data become its own
        repeated = np.repeat(level.scales, codes.shape[-1] // len(level.scales))
        level, weight_scale = replace(level, scale=1.0, scales=None), repeated * weight_scale
    scale = F32(alpha) * F32(level.scale) * weight_scale  # in the runtime's order
    weight_scale = _with_alpha(weight_scale, alpha, F32(level.scale), scale)
    own = weight_scale.size == 1 and float(weight_scale[0]) == 2.0**-fmt.frac_bits
    choice = run.choice(node.output)
    exact = choice.kernel in WHOLE_SUMS
    source = Weighing(
        node.name,
        node.output,
        level,
        _operator(codes, fmt, level.zero_point, None if own else weight_scale, window),
        scale,
        exact,
        exact or choice.bias_codes,
        None if choice.bias_scale is None else F32(choice.bias_scale) * weight_scale,
    )
    return source if bias is None else biased(run, node, source, bias)


def _with_room(run: Importer, node: OnnxNode, level: Level, codes: IntArray) -> Level:
    """Reals that nothing has rounded, in fewer bits where sums of them left none for a bias."""
    kind = run.types[level.codes.edge]
    terms = codes.reshape(-1, codes.shape[-1])
    largest = float(np.abs(terms).sum(axis=0, dtype=np.float64).max())
    if level.scales is not None or largest * kind.magnitude < 2.0**ROOMY_SUM_BITS:
        return level
    return narrowed(run, level, f"{node.name}.narrow")


def _with_alpha(weights: FloatArray, alpha: float, data: F32, scale: FloatArray) -> FloatArray:
    """Scales that, times that of the data, give `scale`, which another order of products made."""
    if alpha == 1.0:
        return weights
    plain = weights * F32(alpha)
    near = [plain, np.nextafter(plain, F32(0)), np.nextafter(plain, F32(np.inf))]
    return np.select([data * found == scale for found in near], near, plain)


def _operator(
    codes: IntArray,
    fmt: Format,
    zero_point: int,
    scale: FloatArray | None,
    window: tuple[Window, int] | None,
) -> Dense | Conv:
    common = {
        "weights": codes,
        "bias": np.zeros(codes.shape[-1], np.int64),
        "weight_format": fmt,
        "zero_point": zero_point,
        "weight_scale": None if scale is None else tuple(float(v) for v in scale),
    }
    if window is None:
        return Dense(**common)  # type: ignore[arg-type]
    kind = CONVOLUTIONS[len(window[0].kernel)]
    return kind(window=window[0], groups=window[1], **common)  # type: ignore[arg-type]


def biased(run: Importer, node: OnnxNode, source: Weighing, bias: Constant) -> Weighing:
    """The layer with a bias."""
    kind = run.types[source.input.codes.edge]
    fraction = kind.format.frac_bits + source.op.weight_format.frac_bits
    powers = kind.quant is None and source.op.weight_scale is None
    codes, extra = bias_of(run, node, bias, source, powers=powers)
    rough = not powers and not source.integer_bias and not _exactly(bias, codes, extra, source)
    op = replace(source.op, bias=codes, bias_frac=fraction + extra)
    return replace(source, op=op, rough_bias=rough)


def _exactly(bias: Constant, codes: IntArray, extra: int, source: Weighing) -> bool:
    """Whether bias codes mean the very reals of the model."""
    reals = codes * 2.0**-extra * source.scale.astype(np.float64)
    return np.array_equal(reals, np.broadcast_to(bias.array.ravel(), reals.shape))


def bias_of(
    run: Importer, node: OnnxNode, bias: Constant, source: Weighing, *, powers: bool
) -> tuple[IntArray, int]:
    """Bias codes, and how many fraction bits they have over the accumulator's own.

    Where the runtime adds whole numbers, int32 codes count as they are, whatever their scale, and
    it has rounded a float bias to the nearest code. Elsewhere the bias keeps fraction bits: between
    `powers` of two as many as it needs, else as many as leave the sums 30 bits.
    """
    values, scale, outputs = bias.array.astype(np.float32).ravel(), source.scale, source.op.outputs
    whole = scale if source.bias_scale is None else source.bias_scale
    if values.size not in (1, outputs):
        raise HwsimError(
            f"{node}: its bias must have {outputs} values, one a channel, not {values.size}"
        )
    if not np.isfinite(values).all():
        raise HwsimError(f"{node}: its bias must be finite")
    if bias.codes is not None and source.exact:
        if bias.shifted:
            raise HwsimError(f"{node}: the zero point of its bias must be 0")
        return np.broadcast_to(bias.codes.ravel(), outputs).astype(np.int64), 0
    whole_first = source.bias_scale is not None and not source.exact
    if whole_first:  # made int32 by that scale, and dequantized by it
        values = np.rint(values / whole) * whole
    exact = values.astype(np.float64) / scale.astype(np.float64)
    if not powers and (whole_first or not source.integer_bias):
        extra = min(float_chain.bits_after_point(exact), _spare_bits(run, source, exact))
        return np.broadcast_to(np.rint(exact * 2.0**extra), outputs).astype(np.int64), extra
    extra = float_chain.bits_after_point(exact) if powers else 0
    codes = (
        exact * 2.0**extra
        if powers and extra <= float_chain.MAX_BIAS_BITS
        else np.rint(values / whole)
    )
    if powers and extra > float_chain.MAX_BIAS_BITS:
        run.warn(node.name, "its bias is rounded to the accumulator's own fraction bits")
        extra = 0
    if np.abs(codes).max(initial=0) >= 2.0 ** (31 + extra):
        raise HwsimError(f"{node}: its bias must fit 32 bits in the accumulator's scale")
    return np.broadcast_to(codes, outputs).astype(np.int64), extra


def _spare_bits(run: Importer, source: Weighing, bias: npt.NDArray[np.float64]) -> int:
    """Fraction bits that sums can have: a requantizer takes 32 bits, and 16 are plenty."""
    most = source.op.bound([run.types[source.input.codes.edge]]) + float(np.abs(bias).max())
    if most >= 2.0**62:
        raise HwsimError(f"{source.name}: its bias must be near enough to its sums to be added")
    return min(max(0, 30 - int(most).bit_length()), 16)


def conv(run: Importer, node: OnnxNode) -> None:
    """Conv along one axis or two."""
    real = run.real(node, 0)
    weights = weights_of(run, node, 1, 0)
    bias = run.constant(node, 2) if node.input(2) else None
    run.values[node.output] = convolution(run, node, real, weights, bias)


def convolution(
    run: Importer, node: OnnxNode, real: Real, weights: Constant, bias: Constant | None
) -> Real:
    """The layer behind Conv and QLinearConv; weights are (out, in / groups, kernel axes)."""
    alone = node.integer("group", 1) in real.layout.shape[:1]  # each channel
    level, shape = map_level(run, node, real, several_scales=alone)
    codes = weights.codes
    rank = len(shape) - 1
    if codes is None or codes.ndim != rank + 2 or weights.format is None:
        raise HwsimError(f"{node}: its weights must be a constant of {rank + 2} axes")
    scale = scales_along(node, weights, 0)
    groups = node.integer("group", 1)
    if groups < 1 or shape[0] != codes.shape[1] * groups or codes.shape[0] % groups:
        raise HwsimError(
            f"{node}: weights of shape {codes.shape} in {groups} groups must fit an input of "
            f"{shape[0]} channels"
        )
    kernel = node.integers("kernel_shape", codes.shape[2:])
    if kernel != codes.shape[2:]:
        raise HwsimError(f"{node}: 'kernel_shape' must be {codes.shape[2:]}, not {kernel}")
    taps = dilated(node, codes.transpose(*range(2, rank + 2), 1, 0))
    window, frame = window_in_frame(node, shape, taps.shape[:rank], level.codes.padding)
    inner = replace(level.codes, padding=NO_PADDING)
    name, out = f"{node.name}.frame", f"{node.output}.frame"
    held_codes = moves.padded(run, inner, frame, level.zero_point, name, out)
    assert isinstance(held_codes, Codes)
    level = replace(level, codes=held_codes)
    held = taps, weights.format, scale
    source = layer(run, node, level, held, among_codes(run, bias), (window, groups))
    kind = source.op.infer([run.types[source.input.codes.edge]])
    *places, outputs = kind.shape
    return beside(run, node, Real(source, Arrangement.map((outputs, *places))), bias)


def among_codes(run: Importer, bias: Constant | None) -> Constant | None:
    """The bias that a layer's whole numbers have in any case."""
    return bias if run.choices is not None else None


def beside(run: Importer, node: OnnxNode, real: Real, bias: Constant | None) -> Real:
    """A layer's sum with the bias that its whole numbers do not have yet."""
    if bias is None or run.choices is not None:
        return real
    return float_chain.with_bias(run, node, real, bias)


def dense(
    run: Importer,
    node: OnnxNode,
    real: Real,
    weights: Constant,
    bias: Constant | None,
    alpha: float = 1.0,
) -> Real:
    """The layer behind Gemm, MatMul and their integer forms; weights are (in, out)."""
    level = level_of(run, node, real)
    if level.codes.padding != NO_PADDING:
        raise HwsimError(f"{node}: a Pad must be followed by a convolution")
    codes = weights.codes
    if codes is None or codes.ndim != 2 or weights.format is None:
        raise HwsimError(f"{node}: its weights must be a constant matrix")
    shape = real.layout.shape
    if not shape or shape[-1] != codes.shape[0]:
        raise HwsimError(
            f"{node}: weights of shape {codes.shape} must fit an input of shape (batch, "
            f"{', '.join(map(str, shape))})"
        )
    scale = scales_along(node, weights, 1)
    held = replace(level.codes, layout=real.layout)
    if len(shape) == 1:
        held = run.flat(held)
        codes = codes[held.layout.order]
    else:
        held = run.arranged(held, Arrangement.plain(shape), node)
    level = replace(level, codes=held)
    kept = codes, weights.format, scale
    source = layer(run, node, level, kept, among_codes(run, bias), alpha=alpha)
    out = Real(source, Arrangement.plain((*shape[:-1], codes.shape[1])))
    return beside(run, node, out, bias)


def gemm(run: Importer, node: OnnxNode) -> None:
    """Gemm with constant weights."""
    weights = weights_of(run, node, 1, 0 if node.integer("transB", 0) else 1)
    alpha, beta = positive_alpha(node), node.real("beta", 1.0)
    if node.integer("transA", 0):
        raise HwsimError(f"{node}: 'transA' must be 0")
    bias = run.constant(node, 2) if node.input(2) else None
    if bias is not None and beta != 1.0:
        bias = Constant(bias.array.astype(F32) * F32(beta))
    if node.integer("transB", 0):
        weights = turned(weights)
    run.values[node.output] = dense(run, node, run.real(node, 0), weights, bias, alpha)


def positive_alpha(node: OnnxNode) -> float:
    """The factor of a Gemm's product."""
    alpha = node.real("alpha", 1.0)
    if alpha <= 0:
        raise HwsimError(f"{node}: 'alpha' must be above 0, not {alpha}")
    return alpha


def turned(weights: Constant) -> Constant:
    """A matrix of weights, transposed."""
    return mapped(weights, lambda array: array.T)


def matmul(run: Importer, node: OnnxNode) -> None:
    """MatMul with constant weights on the right."""
    run.values[node.output] = dense(run, node, run.real(node, 0), weights_of(run, node, 1, 1), None)
