"""Convolutions and dense layers: weights, scales, bias."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.frontends.shared import moves
from hwsim.frontends.shared.arrangement import Arrangement
from hwsim.frontends.shared.maps import turned_round
from hwsim.frontends.shared.settling import level_of
from hwsim.frontends.shared.values import Codes, Constant, FloatArray, Level, Real, Weighing
from hwsim.frontends.torch.importer import Executor, ProgramImporter
from hwsim.frontends.torch.program import ProgramNode
from hwsim.frontends.torch.windows import dilated, framed, map_level, paddings, per_axis
from hwsim.ops import CONVOLUTIONS, Conv, Dense, Window
from hwsim.ops.base import IntArray

F32 = np.float32
USED_AGAIN = (
    "an earlier layer of another scale has the same bias: where both are in one delegate "
    "ExecuTorch adds the codes of that one, as here, which is not what the bias means"
)
WIDE = "its sums may pass 32 bits, where the runtime's wrap; here they are exact"
MOST_BIAS = 2.0**31
FLOAT_BITS = 24
"""Bits of the largest of float weights."""
MOST_FRACTION = 60
MOST_SUM, MOST_FLOAT_SUM = 40, 56
"""Bits of sums with a float bias, of quantized weights and of float ones."""


def weights_of(run: ProgramImporter, node: ProgramNode, argument: str, rank: int) -> Constant:
    """Weights that came through a quantizer, with zero point 0 and so many axes."""
    value = run.constant(node, argument)
    if value.codes is None:
        value = _whole(node, value)
    if value.array.ndim != rank or not value.array.size:
        raise HwsimError(f"{node}: its weights must have {rank} axes, not {value.array.shape}")
    if value.shifted and run.executor is Executor.EXECUTORCH:
        raise HwsimError(f"{node}: its weights must have zero point 0")
    return value


def _whole(node: ProgramNode, value: Constant) -> Constant:
    """Float weights as whole numbers of a power of two, finer than a float32 of the largest."""
    reals = value.array.astype(np.float64)
    if value.array.dtype != F32 or not reals.size or not np.isfinite(reals).all():
        raise HwsimError(f"{node}: its weights must be finite float32 or int8 codes")
    fraction = FLOAT_BITS - int(np.frexp(np.abs(reals).max())[1])
    if abs(fraction) > MOST_FRACTION:
        raise HwsimError(f"{node}: its weights must be nearer to 1, not {np.abs(reals).max():.3g}")
    codes = np.rint(reals * 2.0**fraction).astype(np.int64)
    unit = np.full((1,) * reals.ndim, 2.0**-fraction, F32)
    return Constant(value.array, codes, Format.int(FLOAT_BITS + 1), unit)


def scales_along(node: ProgramNode, weights: Constant, axis: int) -> FloatArray:
    """One scale, or one for each output channel."""
    scale = weights.scale
    assert scale is not None
    if scale.size == 1:
        return scale.reshape(1)
    outputs = weights.array.shape[axis]
    if scale.shape[axis] != outputs or scale.size != outputs:
        raise HwsimError(
            f"{node}: weight scales must be one, or one for each of the {outputs} output channels, "
            f"not of shape {scale.shape}"
        )
    return scale.reshape(outputs)


def layer(
    run: ProgramImporter,
    node: ProgramNode,
    level: Level,
    codes: IntArray,
    weights: Constant,
    scale: FloatArray,
    window: tuple[Window, int] | None = None,
) -> Weighing:
    """The sums of a layer; `codes` have output channels last."""
    assert weights.format is not None
    worth = F32(level.scale) * scale
    common: dict[str, Any] = {
        "weights": codes,
        "bias": np.zeros(codes.shape[-1], np.int64),
        "weight_format": weights.format,
        "zero_point": level.zero_point,
        "weight_scale": tuple(float(v) for v in scale),
    }
    op: Dense | Conv = (
        Dense(**common)
        if window is None
        else CONVOLUTIONS[len(window[0].kernel)](window=window[0], groups=window[1], **common)
    )
    whole = run.executor is Executor.EXECUTORCH and not is_float(weights)
    source = Weighing(node.name, node.output, level, op, worth, exact=whole, integer_bias=whole)
    source = _biased(run, node, source)
    if whole and op.bound([run.types[level.codes.edge]]) >= 1 << 31:
        run.warn(node.name, WIDE)
    return source


def is_float(weights: Constant) -> bool:
    """Whether no quantizer made them."""
    return weights.format is not None and weights.format.width > FLOAT_BITS


def _biased(run: ProgramImporter, node: ProgramNode, source: Weighing) -> Weighing:
    """The layer with its bias: in whole numbers of the sums, or with more bits after the point."""
    if not run.has(node, "bias"):
        return source
    bias, outputs = run.constant(node, "bias"), source.op.outputs
    if bias.array.shape != (outputs,) or not np.isfinite(bias.array).all():
        raise HwsimError(f"{node}: its bias must be {outputs} finite values, one a channel")
    if source.exact:
        if bias.array.dtype.kind == "i":
            codes = bias.array.astype(np.int64)
        else:
            codes = _first_codes(run, node, whole_bias(bias.array, source.scale))
        if np.abs(codes).max() >= MOST_BIAS:
            raise HwsimError(f"{node}: its bias must fit 32 bits in steps of its sums")
        return replace(source, op=replace(source.op, bias=codes))
    exact = bias.array.astype(np.float64) / source.scale.astype(np.float64)
    extra = _spare_bits(run, node, source, exact)
    fraction = run.types[source.input.codes.edge].format.frac_bits + extra
    codes = np.rint(exact * 2.0**extra).astype(np.int64)
    return replace(source, op=replace(source.op, bias=codes, bias_frac=fraction))


def _first_codes(run: ProgramImporter, node: ProgramNode, codes: IntArray) -> IntArray:
    """The codes of a bias, which a delegate keeps as its first layer has them.

    ExecuTorch 1.5.1 writes a tensor into a delegate once: a layer that is used again, behind a
    tensor of another scale, adds the codes of its first use.
    """
    first = run.bias_codes.setdefault(run.named(node, "bias"), codes)
    if not np.array_equal(first, codes):
        run.warn(node.name, USED_AGAIN)
    return first


def whole_bias(bias: npt.NDArray[Any], scale: FloatArray) -> IntArray:
    """`rint(f32(bias * f32(1 / (x scale * w scale))))`."""
    inverse = (F32(1) / scale).astype(F32)
    whole = np.rint((bias.astype(F32) * inverse).astype(F32))
    return np.clip(whole, -MOST_BIAS, MOST_BIAS).astype(np.int64)


def _spare_bits(
    run: ProgramImporter, node: ProgramNode, source: Weighing, bias: npt.NDArray[np.float64]
) -> int:
    """Bits after the point of a float bias: as many as their sums have room for, up to 20."""
    most = source.op.bound([run.types[source.input.codes.edge]]) + float(np.abs(bias).max())
    room = MOST_SUM if source.op.weight_format.width <= FLOAT_BITS else MOST_FLOAT_SUM
    if most >= 2.0**room:
        raise HwsimError(f"{node}: its bias must be near enough to its sums to be added")
    return min(room - int(most).bit_length(), 20)


def conv(run: ProgramImporter, node: ProgramNode) -> None:
    """conv1d and conv2d."""
    if node.flag("transposed"):
        conv_transpose(run, node)
        return
    rank = _rank(run, node)
    weights = weights_of(run, node, "weight", rank + 2)
    real = run.real(node, "input")
    level, shape = map_level(run, node, real, rank)
    codes = weights.codes
    assert codes is not None
    groups = node.integer("groups", 1)
    if groups < 1 or shape[0] != codes.shape[1] * groups or codes.shape[0] % groups:
        raise HwsimError(
            f"{node}: weights of shape {codes.shape} in {groups} groups must fit an input of "
            f"{shape[0]} channels"
        )
    taps = dilated(node, codes.transpose(*range(2, rank + 2), 1, 0), rank)
    kernel = taps.shape[:rank]
    level, window = framed(run, node, level, kernel, paddings(node, kernel))
    source = layer(
        run, node, level, taps, weights, scales_along(node, weights, 0), (window, groups)
    )
    *places, outputs = source.op.infer([run.types[level.codes.edge]]).shape
    run.values[node.output] = Real(source, Arrangement.map((outputs, *places)))


def conv_transpose(run: ProgramImporter, node: ProgramNode) -> None:
    """conv_transpose1d and 2d: a convolution over a stretched map, its kernel turned round."""
    rank = _rank(run, node)
    weights = weights_of(run, node, "weight", rank + 2)
    level, shape = map_level(run, node, run.real(node, "input"), rank)
    codes, groups = weights.codes, node.integer("groups", 1)
    assert codes is not None
    if groups < 1 or codes.shape[0] != shape[0] or shape[0] % groups:
        raise HwsimError(
            f"{node}: weights of shape {codes.shape} in {groups} groups must fit an input of "
            f"{shape[0]} channels"
        )
    if _along_inputs(weights):
        weights = _by_input(run, node, weights)
        codes = weights.codes
        assert codes is not None
    scale = scales_along(node, weights, 1)
    scale = np.tile(scale, groups) if scale.size > 1 else scale
    taps = dilated(node, turned_round(codes, groups), rank)
    level, window = _stretched(run, node, level, taps.shape[:rank])
    source = layer(run, node, level, taps, weights, scale, (window, groups))
    *places, outputs = source.op.infer([run.types[level.codes.edge]]).shape
    run.values[node.output] = Real(source, Arrangement.map((outputs, *places)))


def _along_inputs(weights: Constant) -> bool:
    """Whether the scales of (in, out / groups, ...) go with the inputs."""
    scale = weights.scale
    return scale is not None and scale.shape[0] == scale.size > 1


def _by_input(run: ProgramImporter, node: ProgramNode, weights: Constant) -> Constant:
    """Weights whose scales go with their inputs, as floats."""
    if run.executor is Executor.EXECUTORCH:
        raise HwsimError(
            f"{node}: its weights must have scales of its outputs, not of its inputs, which "
            "ExecuTorch does not lower (quantize them with is_per_channel=False); like='torch' "
            "reads the program as PyTorch itself runs it"
        )
    return _whole(node, Constant(weights.array))


def _stretched(
    run: ProgramImporter, node: ProgramNode, level: Level, kernel: tuple[int, ...]
) -> tuple[Level, Window]:
    """A map with real zeros between its elements and around it."""
    rank = len(kernel)
    strides, pads = per_axis(node, "stride", rank, 1), per_axis(node, "padding", rank, 0, 0)
    more = per_axis(node, "output_padding", rank, 0, 0)
    ends = [(k - 1 - p, k - 1 - p + m) for k, p, m in zip(kernel, pads, more, strict=True)]
    if min(min(each) for each in ends) < 0:
        raise HwsimError(f"{node}: its padding must be less than its kernel")
    amounts = [(0, 0, 0), *((b, a, s - 1) for (b, a), s in zip(ends, strides, strict=True))]
    name = f"{node.name}.stretched"
    codes = moves.padded(run, level.codes, amounts, level.zero_point, name, name)
    assert isinstance(codes, Codes)
    return replace(level, codes=codes), Window(kernel)


def _rank(run: ProgramImporter, node: ProgramNode) -> int:
    """Axes of places: 1 or 2."""
    rank = run.constant(node, "weight").array.ndim - 2
    if rank not in (1, 2):
        raise HwsimError(f"{node}: its weights must have three axes or four, not {rank + 2}")
    return rank


def linear(run: ProgramImporter, node: ProgramNode) -> None:
    """linear: weights (out, in) over the last axis."""
    weights = weights_of(run, node, "weight", 2)
    _dense(run, node, run.real(node, "input"), weights, 0)


def addmm(run: ProgramImporter, node: ProgramNode) -> None:
    """addmm: weights (in, out), the bias first."""
    if node.real("beta", 1.0) != 1.0 or node.real("alpha", 1.0) != 1.0:
        raise HwsimError(f"{node}: its alpha and beta must be 1")
    moved = ProgramNode(node.op, node.name, {**node.args, "bias": node.args["self"]}, node.outputs)
    _dense(run, moved, run.real(node, "mat1"), weights_of(run, node, "mat2", 2), 1)


def _dense(
    run: ProgramImporter, node: ProgramNode, real: Real, weights: Constant, outputs: int
) -> None:
    codes = weights.codes
    assert codes is not None
    scale = scales_along(node, weights, outputs)
    codes = codes.T if outputs == 0 else codes
    shape = real.layout.shape
    if not shape or shape[-1] != codes.shape[0]:
        raise HwsimError(
            f"{node}: weights for {codes.shape[0]} inputs must fit an input of shape (batch, "
            f"{', '.join(map(str, shape))})"
        )
    level = level_of(run, node, real)
    held = replace(level.codes, layout=real.layout)
    if len(shape) == 1:
        held = run.flat(held)
        codes = codes[held.layout.order]
    else:
        held = run.arranged(held, Arrangement.plain(shape), node)
    source = layer(
        run, node, replace(level, codes=held), np.ascontiguousarray(codes), weights, scale
    )
    run.values[node.output] = Real(source, Arrangement.plain((*shape[:-1], codes.shape[1])))
