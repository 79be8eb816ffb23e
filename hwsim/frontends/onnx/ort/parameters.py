"""Scales and zero points of quantized tensors and constants, checked."""

from __future__ import annotations

from typing import Any

import numpy as np

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.frontends.onnx.importer import Importer
from hwsim.frontends.onnx.model import OnnxNode
from hwsim.frontends.onnx.ort.linear import Linear
from hwsim.frontends.onnx.types import WIDTHS, format_of
from hwsim.frontends.shared.values import Constant, FloatArray

NARROW = ("float16", "bfloat16")
LEAST_SCALE = 2.0**-60  # nearer to float32's ends the runtime's products overflow or vanish


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
    if scale.array.dtype.name in NARROW:
        raise HwsimError(
            f"{node}: its scale must be float32, not {scale.array.dtype}, in which the runtime "
            "rounds otherwise; the way: quantize the model while its floats are float32"
        )
    scales = np.asarray(scale.array, np.float32)
    if not scales.size or not np.isfinite(scales).all() or not (scales > 0).all():
        bad = scales.ravel()[~(np.isfinite(scales.ravel()) & (scales.ravel() > 0))][:1]
        found = float(bad[0]) if bad.size else "nothing"
        raise HwsimError(f"{node}: a scale must be a finite number above 0, not {found}")
    zeros = np.zeros(scales.shape, dtype) if zero is None else zero.array
    if zeros.dtype.name not in WIDTHS:
        raise HwsimError(f"{node}: codes and zero points must be whole numbers, not {zeros.dtype}")
    if zeros.size != scales.size:
        raise HwsimError(
            f"{node}: there must be a zero point for each scale, of which there are {scales.size}, "
            f"not {zeros.size}"
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
    if node.integer("block_size", 0):
        raise HwsimError(
            f"{node}: weights must have one scale, or one for each output channel, not one for "
            f"each block of {node.integer('block_size', 0)}"
        )
    if not fits:
        raise HwsimError(
            f"{node}: {scales.size} scales must be one for each index of axis {axis} of {shape}"
        )
    return tuple(scales.size if i == axis else 1 for i in range(len(shape)))


def dequantized(
    node: OnnxNode, value: Constant, scale: Constant, zero: Constant | None
) -> Constant:
    """Weights or bias: codes with the zero point taken off, and their scale."""
    fmt = format_of(node, value.array.dtype.name)
    if not value.array.size:
        raise HwsimError(f"{node}: its codes must hold something, not be of {value.array.shape}")
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
    shifted = bool(zeros.astype(np.int64).any())
    one = int(zeros.ravel()[0]) if zeros.size == 1 else 0
    return Constant(reals, codes, fmt, spread, shifted, one)
