"""Which function reads which operator."""

from __future__ import annotations

from hwsim.frontends.tflite import (
    batches,
    curves,
    gathering,
    log_softmax,
    moving,
    normalization,
    pairs,
    pool,
    products,
    quotients,
    recurrent,
    reduce,
    resize,
    softmax,
    state,
    svdf,
    unary,
    weighted,
    wide,
    wide_curves,
)
from hwsim.frontends.tflite.batches import each_map
from hwsim.frontends.tflite.importer import Handler
from hwsim.frontends.tflite.kernels import KernelSet, only
from hwsim.frontends.tflite.model import LiteNode

HANDLERS: dict[str, Handler] = {
    "ABS": unary.handler(curves.absolute),
    "ADD": pairs.add,
    "ARG_MAX": reduce.arg,
    "ARG_MIN": reduce.arg,
    "ASSIGN_VARIABLE": state.assign,
    "AVERAGE_POOL_2D": each_map(pool.average_pool),
    "BATCH_MATMUL": products.batch_matmul,
    "BATCH_TO_SPACE_ND": batches.batch_to_space,
    "BROADCAST_TO": moving.broadcast_to,
    "CALL_ONCE": state.call_once,
    "CONCATENATION": moving.concatenation,
    "CONV_2D": each_map(weighted.conv),
    "DEPTHWISE_CONV_2D": each_map(weighted.depthwise),
    "DEPTH_TO_SPACE": each_map(moving.depth_to_space),
    "DIV": quotients.div,
    "ELU": unary.handler(curves.looked_up),
    "EXP": unary.handler(curves.looked_up, wide_curves.interpolated),
    "EXPAND_DIMS": moving.reshape,
    "FULLY_CONNECTED": weighted.fully_connected,
    "GATHER": moving.gather,
    "GATHER_ND": gathering.gather_nd,
    "GELU": unary.handler(curves.gelu, wide_curves.interpolated),
    "HARD_SWISH": unary.handler(unary.hard_swish),
    "L2_NORMALIZATION": normalization.l2_normalization,
    "LEAKY_RELU": unary.handler(unary.leaky_relu, wide.leaky_relu),
    "LOG": unary.handler(curves.looked_up),
    "LOG_SOFTMAX": log_softmax.log_softmax,
    "LOGISTIC": unary.handler(unary.logistic, wide.logistic),
    "MAXIMUM": pairs.extreme,
    "MAX_POOL_2D": each_map(pool.max_pool),
    "MEAN": reduce.summed,
    "MINIMUM": pairs.extreme,
    "MIRROR_PAD": moving.mirror_pad,
    "MUL": pairs.mul,
    "PACK": moving.pack,
    "PAD": moving.pad,
    "PADV2": moving.pad,
    "PRELU": unary.prelu,
    "QUANTIZE": unary.quantize,
    "READ_VARIABLE": state.read,
    "REDUCE_MAX": reduce.reduced,
    "REDUCE_MIN": reduce.reduced,
    "RELU": unary.handler(unary.clamped("RELU"), wide.relu),
    "RELU6": unary.handler(unary.clamped("RELU6"), wide.relu),
    "RELU_0_TO_1": unary.handler(unary.clamped("RELU_0_TO_1")),
    "RELU_N1_TO_1": unary.handler(unary.clamped("RELU_N1_TO_1")),
    "RESHAPE": moving.reshape,
    "RESIZE_BILINEAR": each_map(resize.bilinear),
    "RESIZE_NEAREST_NEIGHBOR": each_map(resize.nearest),
    "REVERSE_V2": moving.reverse,
    "RSQRT": unary.handler(curves.reciprocal_root, wide_curves.reciprocal_root),
    "SLICE": moving.slice_,
    "SOFTMAX": softmax.softmax,
    "SPACE_TO_BATCH_ND": batches.space_to_batch,
    "SPACE_TO_DEPTH": each_map(moving.space_to_depth),
    "SPLIT": moving.split,
    "SPLIT_V": moving.split_v,
    "SQRT": unary.handler(curves.root),
    "SQUEEZE": moving.reshape,
    "SQUARED_DIFFERENCE": pairs.squared_difference,
    "STRIDED_SLICE": moving.strided_slice,
    "SUB": pairs.add,
    "SUM": reduce.summed,
    "SVDF": svdf.svdf,
    "TANH": unary.handler(unary.tanh, wide.tanh),
    "TILE": moving.tile,
    "TRANSPOSE": moving.transpose,
    "TRANSPOSE_CONV": each_map(weighted.transpose_conv, 2),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": recurrent.lstm,
    "UNPACK": moving.unpack,
    "VAR_HANDLE": state.handle,
}
"""By the operator's name in the schema."""

WITHOUT: dict[str, tuple[KernelSet, ...]] = {
    "ELU": (KernelSet.REFERENCE,),
    "EXP": (KernelSet.TFLM,),
    "GELU": (KernelSet.TFLM,),
    "LOG": (KernelSet.TFLM,),
    "RELU_0_TO_1": (KernelSet.TFLM,),
    "RELU_N1_TO_1": (KernelSet.TFLM,),
    "SQRT": (KernelSet.TFLM,),
    "TILE": (KernelSet.TFLM,),
}
"""Kernel sets that do not have an operator."""

MICRO_UINT8 = ("BROADCAST_TO", "QUANTIZE", "RESHAPE", "REVERSE_V2", "SQUEEZE")
"""What TensorFlow Lite Micro can do with uint8."""

NO_UINT8 = ("ABS", "BATCH_MATMUL", "ELU", "EXP", "LOG", "RSQRT", "SQRT", "SQUARED_DIFFERENCE")
"""What no kernel set can do with uint8."""


def check_kernel(like: KernelSet, node: LiteNode) -> None:
    """Raise HwsimError, with the kernel sets that have the operator, where this one has not."""
    lacking = WITHOUT.get(node.op, ())
    if like in lacking:
        raise only(node, [known for known in KernelSet if known not in lacking])
