"""How the sums of int16 activations and int8 weights are rounded, by the type of their bias.

A bias of int64 makes sums of 64 bits. Sources: TensorFlow Lite `conv.cc`, `depthwise_conv.cc`,
`fully_connected.cc`, `transpose_conv.cc`, and TensorFlow Lite Micro's.
"""

from __future__ import annotations

from hwsim.errors import HwsimError
from hwsim.frontends.tflite.kernels import KernelSet
from hwsim.frontends.tflite.model import LiteNode
from hwsim.frontends.tflite.schema import DTYPES
from hwsim.ops import Scheme

LONG_SUMS = (Scheme.REDUCED, Scheme.F64_AWAY)
"""Schemes of sums that do not wrap at 32 bits."""


def wide_sums(like: KernelSet, node: LiteNode, bias: str | None) -> tuple[Scheme, bool]:
    """The scheme, and whether channels that the vector code leaves over are rounded otherwise."""
    if bias is None and (node.op == "DEPTHWISE_CONV_2D" or not _may_lack_a_bias(like, node)):
        raise HwsimError(f"{node}: it must have a bias, without which {like.value} cannot run it")
    told = DTYPES.get(int(node.options.get("bias_type", 0)), "float32")
    short = _short(like, node, bias, told)
    if node.op == "FULLY_CONNECTED" and like is not KernelSet.TFLM:
        optimized = like in (KernelSet.BUILTIN, KernelSet.XNNPACK) and "int64" not in (bias, told)
        return (Scheme.RUY if optimized else Scheme.F64_AWAY), False
    if not short:
        return Scheme.REDUCED, False
    if like in (KernelSet.TFLM, KernelSet.REFERENCE):
        return Scheme.GEMMLOWP_DOUBLE, False
    return Scheme.RUY, True


def _may_lack_a_bias(like: KernelSet, node: LiteNode) -> bool:
    return like is KernelSet.TFLM or node.op != "CONV_2D"


def _short(like: KernelSet, node: LiteNode, bias: str | None, told: str) -> bool:
    """Whether sums are of 32 bits; HwsimError where the kernel would misread the bias."""
    if like is KernelSet.TFLM:
        short = node.op in ("CONV_2D", "FULLY_CONNECTED")
        short = short and (bias == "int32" or (bias is None and told == "int32"))
    else:
        short = told == "int32"
        if node.op == "FULLY_CONNECTED" and like is not KernelSet.REFERENCE:
            short = "int64" not in (bias, told)
    read = "int32" if short else "int64"
    if bias is not None and bias != read:
        raise HwsimError(
            f"{node}: its bias must be of {read}, as which {like.value}'s kernel reads it, not of "
            f"{bias}"
        )
    return short
