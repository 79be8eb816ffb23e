"""Which function reads which operator."""

from __future__ import annotations

from hwsim.frontends.tflite import moving, pairs, pool, softmax, unary, weighted
from hwsim.frontends.tflite.importer import Handler

HANDLERS: dict[str, Handler] = {
    "ADD": pairs.add,
    "AVERAGE_POOL_2D": pool.average_pool,
    "CONCATENATION": moving.concatenation,
    "CONV_2D": weighted.conv,
    "DEPTHWISE_CONV_2D": weighted.depthwise,
    "DEPTH_TO_SPACE": moving.depth_to_space,
    "EXPAND_DIMS": moving.reshape,
    "FULLY_CONNECTED": weighted.fully_connected,
    "GATHER": moving.gather,
    "HARD_SWISH": unary.handler(unary.hard_swish),
    "LEAKY_RELU": unary.handler(unary.leaky_relu),
    "LOGISTIC": unary.handler(unary.logistic),
    "MAXIMUM": pairs.extreme,
    "MAX_POOL_2D": pool.max_pool,
    "MINIMUM": pairs.extreme,
    "MIRROR_PAD": moving.mirror_pad,
    "MUL": pairs.mul,
    "PACK": moving.pack,
    "PAD": moving.pad,
    "PADV2": moving.pad,
    "PRELU": unary.prelu,
    "QUANTIZE": unary.quantize,
    "RELU": unary.handler(unary.clamped("RELU")),
    "RELU6": unary.handler(unary.clamped("RELU6")),
    "RELU_N1_TO_1": unary.handler(unary.clamped("RELU_N1_TO_1")),
    "RESHAPE": moving.reshape,
    "SLICE": moving.slice_,
    "SOFTMAX": softmax.softmax,
    "SPACE_TO_DEPTH": moving.space_to_depth,
    "SPLIT": moving.split,
    "SPLIT_V": moving.split_v,
    "SQUEEZE": moving.reshape,
    "STRIDED_SLICE": moving.strided_slice,
    "SUB": pairs.add,
    "TANH": unary.handler(unary.tanh),
    "TRANSPOSE": moving.transpose,
    "UNPACK": moving.unpack,
}
"""By the operator's name in the schema."""
