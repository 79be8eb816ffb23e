"""Layers with weights: linear, convolutions of one and two axes, transposed ones."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.frontends.shared.arrangement import Arrangement
from hwsim.frontends.shared.builder import MAX_ELEMENTS
from hwsim.frontends.shared.values import Codes
from hwsim.frontends.torch_modules.eager import sums
from hwsim.frontends.torch_modules.eager.asked import asked_kernel, mixes_weights
from hwsim.frontends.torch_modules.eager.engines import (
    F32,
    Float32Array,
    LayerKernel,
    LayerScales,
    kernel_of,
    near,
    rounded,
)
from hwsim.frontends.torch_modules.eager.importer import FORMATS, QuantizedCodes, TorchImporter
from hwsim.frontends.torch_modules.trace import Call
from hwsim.ops import CONVOLUTIONS, Concat, Conv, Dense, Pad, Split, Window
from hwsim.ops.base import IntArray

WIDE = "its sums may pass 32 bits, where those of {kernel} wrap; here they are exact"
PAIRS = (
    "fbgemm adds the products of this depthwise layer in pairs of 16 bits, which may saturate "
    "where input codes are above {most} (quantizers with reduce_range are calibrated to end at "
    "127); here sums are exact"
)
MIXED = (
    "oneDNN takes the weights of a transposed convolution in a wrong order in this PyTorch where "
    "the numbers of its input and output channels differ; fbgemm and qnnpack take the right one"
)
INT16 = (1 << 15) - 1
MOST_WEIGHTS = 1 << 26


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """Weights as PyTorch unpacks them: codes without their zero points, scales, the bias."""

    codes: IntArray
    scales: Float32Array
    whole: bool  # whether all zero points are 0
    bias: Float32Array | None


def unpacked(call: Call, held: Any, operator: str) -> Packed:
    """The weights in a packed object, whose output channels lie along the quantizer's axis."""
    weight, bias = getattr(torch.ops.quantized, operator)(held)
    if weight.dtype != torch.qint8:
        raise HwsimError(f"{call}: its weights must be qint8, not {weight.dtype}")
    codes = weight.int_repr().numpy().astype(np.int64)
    if weight.qscheme() == torch.per_tensor_affine:
        scales, zeros = np.array(weight.q_scale()), np.array(weight.q_zero_point())
    elif weight.qscheme() == torch.per_channel_affine:
        scales = weight.q_per_channel_scales().numpy()
        zeros = weight.q_per_channel_zero_points().numpy()
        shape = [1] * codes.ndim
        shape[weight.q_per_channel_axis()] = -1
        zeros = zeros.reshape(shape)
    else:
        raise HwsimError(
            f"{call}: its weights must have whole zero points, not be {weight.qscheme()}"
        )
    if not (np.isfinite(scales).all() and (scales > 0).all()):
        raise HwsimError(f"{call}: the scales of its weights must be finite numbers above 0")
    bias = None if bias is None else bias.detach().numpy().astype(F32)
    if bias is not None and not np.isfinite(bias).all():
        raise HwsimError(f"{call}: its bias must be finite")
    zeros = zeros.astype(np.int64)
    return Packed(codes - zeros, scales.astype(F32), not zeros.any(), bias)


def linear(run: TorchImporter, call: Call) -> None:
    """A linear layer over the last axis, with or without a ReLU."""
    given = run.quantized(call, "X")
    packed = unpacked(call, call["W_prepack"], "linear_unpack")
    weights, shape = packed.codes.T, given.layout.shape
    if shape[-1] != weights.shape[0]:
        raise HwsimError(
            f"{call}: its input's last axis must be {weights.shape[0]}, not {shape[-1]}"
        )
    if len(shape) == 1:  # in whatever order the codes of a flattened map lie
        codes = run.flat(given.codes)
        weights = weights[codes.layout.order]
    else:
        codes = run.arranged(given.codes, Arrangement.plain(shape), call)
    op = Dense(
        weights=weights,
        bias=np.zeros(weights.shape[1], np.int64),
        weight_format=_format(weights),
        zero_point=given.zero_point,
    )
    layout = Arrangement.plain((*shape[:-1], weights.shape[1]))
    _finish(run, call, given, packed, op, codes, layout, groups=1, grown=False)


def _format(weights: IntArray) -> Format:
    """int8, or what weights less their zero points need."""
    low, high = int(weights.min()), int(weights.max())
    return Format.int(8) if low >= -128 and high <= 127 else Format.holding(low, high)


def conv1d(run: TorchImporter, call: Call) -> None:
    """A convolution along one axis, with or without a ReLU."""
    _convolution(run, call, 1)


def conv2d(run: TorchImporter, call: Call) -> None:
    """A convolution along two axes, with or without a ReLU."""
    _convolution(run, call, 2)


@dataclass(frozen=True, slots=True)
class ConvWalk:
    """How a convolution walks, a number for each axis."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    output_padding: tuple[int, ...]
    groups: int


def _steps(held: Any, rank: int) -> ConvWalk:
    """Those of a packed convolution, which has two axes even where there is one."""

    def numbers(values: Any) -> tuple[int, ...]:
        return tuple(int(v) for v in values)[-rank:]

    return ConvWalk(
        stride=numbers(held.stride()),
        padding=numbers(held.padding()),
        dilation=numbers(held.dilation()),
        output_padding=numbers(held.output_padding()),
        groups=int(held.groups()),
    )


def _convolution(run: TorchImporter, call: Call, rank: int) -> None:
    given, held = run.quantized(call, "qx"), call["packed_weight"]
    packed = unpacked(call, held, f"conv{rank}d_unpack")
    codes = _map(run, call, given, rank)
    how = _steps(held, rank)
    # (out, in / groups, kernel ...) becomes (kernel ..., in / groups, out)
    weights = _stretched(call, np.moveaxis(packed.codes, (0, 1), (-1, -2)), how.dilation)
    kernel = weights.shape[:rank]
    inside = [min(p, k - 1) for p, k in zip(how.padding, kernel, strict=True)]
    rest = tuple(p - q for p, q in zip(how.padding, inside, strict=True))
    if any(rest):
        codes = _framed(run, call, given, codes, Pad(before=(*rest, 0), after=(*rest, 0)))
    op = CONVOLUTIONS[rank](
        weights=weights,
        bias=np.zeros(weights.shape[-1], np.int64),
        weight_format=_format(weights),
        zero_point=given.zero_point,
        window=Window(kernel, how.stride, (*inside, *inside)),
        groups=how.groups,
    )
    if rank == 2 and _in_pairs(op, how):
        run.pairs[call.title] = _most_in_pairs(op)
    _convolved(run, call, given, packed, op, codes, grown=False)


def _in_pairs(op: Conv, how: ConvWalk) -> bool:
    """Whether fbgemm takes its kernel of depthwise layers, which adds pairs of products in int16.

    Found by experiment: an odd square kernel that keeps the map's size, strides of 1 or 2.
    """
    size, stride = op.window.kernel[0], op.window.stride
    return (
        op.weights.shape[-2] == 1
        and op.groups % 8 == 0
        and op.outputs in (op.groups, 2 * op.groups)
        and size in (3, 5, 7)
        and op.window.kernel == (size, size)
        and how.padding == (size // 2, size // 2)
        and set(how.dilation) == {1}
        and stride in ((1, 1), (2, 2))
    )


def _most_in_pairs(op: Conv) -> int:
    """The largest code with which no pair of products, two positions in a row, passes int16."""
    each = op.matrix()
    pairs = each[: len(each) // 2 * 2].reshape(-1, 2, op.outputs)
    up, down = (np.clip(side * pairs, 0, None).sum(axis=1).max() for side in (1, -1))
    return int(min(INT16 // max(up, 1), (INT16 + 1) // max(down, 1)))


def conv_transpose1d(run: TorchImporter, call: Call) -> None:
    """A transposed convolution along one axis."""
    _transposed(run, call, 1)


def conv_transpose2d(run: TorchImporter, call: Call) -> None:
    """A transposed convolution along two axes."""
    _transposed(run, call, 2)


def _transposed(run: TorchImporter, call: Call, rank: int) -> None:
    """A convolution over a stretched map, its kernel turned round."""
    given, held = run.quantized(call, "qx"), call["packed_weight"]
    packed = unpacked(call, held, f"conv_transpose{rank}d_unpack")
    codes, how = _map(run, call, given, rank), _steps(held, rank)
    # (in, out / groups, kernel ...) becomes (kernel ..., in / groups, out), group by group
    parts = np.split(packed.codes, how.groups, axis=0)
    turned = np.concatenate([np.moveaxis(part, (0, 1), (-2, -1)) for part in parts], axis=-1)
    turned = np.flip(turned, tuple(range(rank)))
    weights = _stretched(call, turned, how.dilation)
    kernel = weights.shape[:rank]
    before = [k - 1 - p for k, p in zip(kernel, how.padding, strict=True)]
    after = [b + o for b, o in zip(before, how.output_padding, strict=True)]
    if min(before) < 0:
        raise HwsimError(
            f"{call}: its padding must be less than its kernel {kernel}, not {how.padding}"
        )
    between = tuple(step - 1 for step in how.stride)
    pad = Pad(before=(*before, 0), after=(*after, 0), between=(*between, 0))
    codes = _framed(run, call, given, codes, pad)
    op = CONVOLUTIONS[rank](
        weights=weights,
        bias=np.zeros(weights.shape[-1], np.int64),
        weight_format=_format(weights),
        zero_point=given.zero_point,
        window=Window(kernel),
        groups=how.groups,
    )
    _convolved(run, call, given, packed, op, codes, grown=any(how.output_padding), turned=pad)


def _map(run: TorchImporter, call: Call, given: QuantizedCodes, rank: int) -> Codes:
    """A layer's input as a map, or a line, with its channels innermost."""
    shape = given.layout.shape
    if len(shape) != rank + 1:
        raise HwsimError(
            f"{call}: its input must have a batch, channels and {rank} axes, not shape "
            f"{(run.batch, *shape)}"
        )
    return run.arranged(given.codes, Arrangement.map(shape), call)


def _framed(run: TorchImporter, call: Call, given: QuantizedCodes, codes: Codes, pad: Pad) -> Codes:
    """A map with real zeros around it and in between."""
    pad = Pad(before=pad.before, after=pad.after, between=pad.between, code=given.zero_point)
    sizes = [
        size + b + a + (size - 1) * i
        for size, (b, a, i) in zip(
            codes.layout.physical, pad.amounts(run.types[codes.edge]), strict=True
        )
    ]
    if math.prod(sizes) > MAX_ELEMENTS:
        raise HwsimError(f"{call}: its padded input must have at most {MAX_ELEMENTS} elements")
    edge = run.emit(f"{call.title}.frame", pad, [codes.edge], f"{call.title}.frame")
    *places, channels = sizes
    return Codes(edge, codes.format, Arrangement.map((channels, *places)))


def _stretched(call: Call, weights: IntArray, dilation: tuple[int, ...]) -> IntArray:
    """A kernel with zeros between its elements for its dilation."""
    if set(dilation) == {1}:
        return weights
    rank = len(dilation)
    sizes = [(k - 1) * d + 1 for k, d in zip(weights.shape[:rank], dilation, strict=True)]
    if math.prod((*sizes, *weights.shape[rank:])) > MOST_WEIGHTS:
        raise HwsimError(f"{call}: its dilation must be smaller than {dilation}")
    wide = np.zeros((*sizes, *weights.shape[rank:]), weights.dtype)
    wide[tuple(slice(None, None, d) for d in dilation)] = weights
    return wide


def _convolved(
    run: TorchImporter,
    call: Call,
    given: QuantizedCodes,
    packed: Packed,
    op: Conv,
    codes: Codes,
    *,
    grown: bool,
    turned: Pad | None = None,
) -> None:
    (*places, channels) = op.infer([run.types[codes.edge]]).shape
    layout = Arrangement.map((channels, *places))
    _finish(
        run, call, given, packed, op, codes, layout, groups=op.groups, grown=grown, turned=turned
    )


def _finish(
    run: TorchImporter,
    call: Call,
    given: QuantizedCodes,
    packed: Packed,
    op: Dense | Conv,
    codes: Codes,
    layout: Arrangement,
    *,
    groups: int,
    grown: bool,
    turned: Pad | None = None,
) -> None:
    """A layer's sums as codes of its output, as the kernel of its engine rounds them."""
    made = call.output
    quant = run.meant(call, made.q_scale(), made.q_zero_point())
    if made.dtype not in FORMATS or packed.scales.size not in (1, op.outputs):
        raise HwsimError(f"{call}: it must give quint8 or qint8, not {made.dtype}")
    dense = isinstance(op, Dense)
    bias = None if packed.bias is None else packed.bias
    layer = LayerScales(given.scale, packed.scales, quant.scale[0], quant.zero_point, bias, dense)
    kernel = kernel_of(run.engine, dense=dense, groups=groups, whole=packed.whole, grown=grown)
    square = packed.codes.shape[0] == packed.codes.shape[1] * groups
    if turned is not None and not square and mixes_weights():
        if kernel is LayerKernel.ONEDNN:
            raise HwsimError(f"{call}: {MIXED}")
    elif run.asks:
        plain = replace(op, zero_point=0, weights=packed.codes.T if dense else op.weights)
        kernel = asked_kernel(call, plain, packed.scales, packed.bias, kernel, turned)
    fmt = FORMATS[made.dtype]
    low = quant.zero_point if call.name.endswith("_relu") else fmt.min
    target = sums.CodeTarget(fmt, low, quant)
    kind: Any = run.types[codes.edge]
    if op.infer([kind]).magnitude >= 1 << 31:
        run.warn(call.title, WIDE.format(kernel=kernel.value))
    with np.errstate(over="ignore", under="ignore"):
        op, parts = sums.layer(op, kind, rounded(kernel, layer), near(kernel, layer), target)
    most = run.pairs.get(call.title, fmt.max)
    if kernel is LayerKernel.FBGEMM and most < kind.hi:
        run.warn(call.title, PAIRS.format(most=most))
    run.hold(call, _emitted(run, call, op, codes, parts), layout)


def _emitted(
    run: TorchImporter, call: Call, op: Dense | Conv, codes: Codes, parts: sums.Parts
) -> str:
    """The edge of a layer's codes; where they are made in parts, these are joined again."""
    name = call.title
    total = run.emit(f"{name}.sum", op, [codes.edge], f"{name}.sum")
    if len(parts) == 1:
        return run.chain(name, total, parts[0][1], name)
    last = len(run.types[total].shape) - 1
    split = Split(axis=last, sizes=tuple(size for size, _ in parts))
    names = [f"{name}.{place}" for place in range(len(parts))]
    edges = run.emit_all(f"{name}.parts", split, [total], [f"{each}.sum" for each in names])
    made = [
        run.chain(each, edge, ops, each)
        for each, edge, (_, ops) in zip(names, edges, parts, strict=True)
    ]
    return run.emit(name, Concat(axis=last), made, name)
