"""Which kernel sets have a kernel for int16 activations, by operator."""

from __future__ import annotations

from collections.abc import Mapping

from hwsim.errors import HwsimError
from hwsim.frontends.tflite.kernels import KernelSet
from hwsim.frontends.tflite.model import LiteModel, LiteNode, LiteTensor

EVERY = tuple(KernelSet)
LITERT = tuple(one for one in KernelSet if one is not KernelSet.TFLM)
CELLS = ("SVDF", "UNIDIRECTIONAL_SEQUENCE_LSTM")
"""Whose states are of int16 in models of int8, and which say themselves what they take."""

UNEVEN = ("DEQUANTIZE", "EXPAND_DIMS", "QUANTIZE", "RESHAPE", "SOFTMAX", "SQUEEZE")
"""What makes or takes the zero point that a softmax from int8 to int16 has."""

_EVERY = """
ABS ADD ASSIGN_VARIABLE AVERAGE_POOL_2D BATCH_MATMUL BROADCAST_TO CALL_ONCE CONCATENATION CONV_2D
DEPTHWISE_CONV_2D DEQUANTIZE EXPAND_DIMS FULLY_CONNECTED LEAKY_RELU LOGISTIC MAXIMUM MAX_POOL_2D
MEAN MINIMUM MUL PACK PAD PADV2 PRELU QUANTIZE READ_VARIABLE RELU RELU6 RESHAPE
RESIZE_NEAREST_NEIGHBOR REVERSE_V2 RSQRT SLICE SOFTMAX SPLIT SPLIT_V SQUEEZE STRIDED_SLICE SUB SUM
TANH TRANSPOSE TRANSPOSE_CONV UNPACK VAR_HANDLE
"""
_LITERT = """
BATCH_TO_SPACE_ND EXP GATHER GATHER_ND GELU MIRROR_PAD REDUCE_MAX REDUCE_MIN RESIZE_BILINEAR
SPACE_TO_BATCH_ND SQRT TILE
"""

KERNELS: Mapping[str, tuple[KernelSet, ...]] = {
    **dict.fromkeys(_EVERY.split(), EVERY),
    **dict.fromkeys(_LITERT.split(), LITERT),
}


def check(model: LiteModel, like: KernelSet) -> None:
    """Raise HwsimError of int16 where the kernel set has no kernel, or of one with a zero point."""
    for node in model.main.nodes:
        wide = [tensor for tensor in _activations(model, node) if tensor.dtype == "int16"]
        if node.op in CELLS or not wide:
            continue
        have = KERNELS.get(node.op, ())
        if like not in have:
            others = ", ".join(one.value for one in have)
            raise HwsimError(
                f"{node}: it must not be of int16, for which {like.value} has no kernel; "
                + (f"{others} have one" if others else "no kernel set has one that is read")
            )
        for tensor in () if node.op in UNEVEN else wide:
            if tensor.quant is not None and any(tensor.quant.zero_points):
                raise HwsimError(
                    f"{node}: tensor {tensor.name!r} of int16 must have zero point 0, not "
                    f"{tensor.quant.zero_point}"
                )


def _activations(model: LiteModel, node: LiteNode) -> list[LiteTensor]:
    return [model.main.tensors[index] for index in (*node.inputs, *node.outputs) if index >= 0]
