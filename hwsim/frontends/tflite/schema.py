"""The parts of TensorFlow Lite's schema (version 3) that are read: slots, codes and options.

Source: tensorflow/lite/schema/schema.fbs.
"""

from __future__ import annotations

from collections.abc import Mapping

IDENTIFIER = b"TFL3"
VERSION = 3

DTYPES = {0: "float32", 1: "float16", 2: "int32", 3: "uint8", 4: "int64", 5: "string", 6: "bool",
          7: "int16", 9: "int8", 10: "float64", 13: "resource", 15: "uint32", 16: "uint16",
          17: "int4"}  # fmt: skip
"""Types of tensors."""

ITEM_BYTES = {"float32": 4, "float16": 2, "int32": 4, "uint8": 1, "int64": 8, "bool": 1, "int16": 2,
              "int8": 1, "float64": 8, "uint32": 4, "uint16": 2}  # fmt: skip

PADDINGS = ("SAME", "VALID")
ACTIVATIONS = ("NONE", "RELU", "RELU_N1_TO_1", "RELU6", "TANH", "SIGN_BIT")

_NAMES = """
ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE
EMBEDDING_LOOKUP FLOOR FULLY_CONNECTED HASHTABLE_LOOKUP L2_NORMALIZATION L2_POOL_2D
LOCAL_RESPONSE_NORMALIZATION LOGISTIC LSH_PROJECTION LSTM MAX_POOL_2D MUL RELU RELU_N1_TO_1 RELU6
RESHAPE RESIZE_BILINEAR RNN SOFTMAX SPACE_TO_DEPTH SVDF TANH CONCAT_EMBEDDINGS SKIP_GRAM CALL
CUSTOM EMBEDDING_LOOKUP_SPARSE PAD UNIDIRECTIONAL_SEQUENCE_RNN GATHER BATCH_TO_SPACE_ND
SPACE_TO_BATCH_ND TRANSPOSE MEAN SUB DIV SQUEEZE UNIDIRECTIONAL_SEQUENCE_LSTM STRIDED_SLICE
BIDIRECTIONAL_SEQUENCE_RNN EXP TOPK_V2 SPLIT LOG_SOFTMAX DELEGATE BIDIRECTIONAL_SEQUENCE_LSTM CAST
PRELU MAXIMUM ARG_MAX MINIMUM LESS NEG PADV2 GREATER GREATER_EQUAL LESS_EQUAL SELECT SLICE SIN
TRANSPOSE_CONV SPARSE_TO_DENSE TILE EXPAND_DIMS EQUAL NOT_EQUAL LOG SUM SQRT RSQRT SHAPE POW
ARG_MIN FAKE_QUANT REDUCE_PROD REDUCE_MAX PACK LOGICAL_OR ONE_HOT LOGICAL_AND LOGICAL_NOT UNPACK
REDUCE_MIN FLOOR_DIV REDUCE_ANY SQUARE ZEROS_LIKE FILL FLOOR_MOD RANGE RESIZE_NEAREST_NEIGHBOR
LEAKY_RELU SQUARED_DIFFERENCE MIRROR_PAD ABS SPLIT_V UNIQUE CEIL REVERSE_V2 ADD_N GATHER_ND COS
WHERE RANK ELU REVERSE_SEQUENCE MATRIX_DIAG QUANTIZE MATRIX_SET_DIAG ROUND HARD_SWISH IF WHILE
NON_MAX_SUPPRESSION_V4 NON_MAX_SUPPRESSION_V5 SCATTER_ND SELECT_V2 DENSIFY SEGMENT_SUM
BATCH_MATMUL PLACEHOLDER_FOR_GREATER_OP_CODES CUMSUM CALL_ONCE BROADCAST_TO RFFT2D CONV_3D IMAG
REAL COMPLEX_ABS HASHTABLE HASHTABLE_FIND HASHTABLE_IMPORT HASHTABLE_SIZE REDUCE_ALL
CONV_3D_TRANSPOSE VAR_HANDLE READ_VARIABLE ASSIGN_VARIABLE BROADCAST_ARGS RANDOM_STANDARD_NORMAL
BUCKETIZE RANDOM_UNIFORM MULTINOMIAL GELU DYNAMIC_UPDATE_SLICE RELU_0_TO_1 UNSORTED_SEGMENT_PROD
UNSORTED_SEGMENT_MAX UNSORTED_SEGMENT_SUM ATAN2 UNSORTED_SEGMENT_MIN SIGN BITCAST BITWISE_XOR
RIGHT_SHIFT
"""
CODES = tuple(_NAMES.split())
"""Names of the builtin operators by code."""

OLD_CODES = 127  # from here on `builtin_code` holds the code, below it the older field may too

Options = Mapping[str, tuple[int, str, object]]
"""Fields of an operator's options: slot, kind and default; kind `ints` is a vector."""

_WINDOW = {"padding": (0, "i8", 0), "stride_w": (1, "i32", 0), "stride_h": (2, "i32", 0)}
_ACTIVATION: Options = {"activation": (0, "i8", 0)}
_SUM: Options = {**_ACTIVATION, "powers_of_two": (1, "bool", True)}
_AXIS: Options = {"axis": (0, "i32", 0)}
_POOL: Options = {
    **_WINDOW,
    "filter_w": (3, "i32", 0),
    "filter_h": (4, "i32", 0),
    "activation": (5, "i8", 0),
}
_INDEX: Options = {"output_type": (0, "i8", 0)}
_RESIZE: Options = {"align_corners": (2, "bool", False), "half_pixel": (3, "bool", False)}
_REDUCE: Options = {"keep_dims": (0, "bool", False)}
_ALPHA: Options = {"alpha": (0, "f32", 0.0)}

OPTIONS: Mapping[str, Options] = {
    "ADD": _SUM,
    "ARG_MAX": _INDEX,
    "ARG_MIN": _INDEX,
    "AVERAGE_POOL_2D": _POOL,
    "BATCH_MATMUL": {"adj_x": (0, "bool", False), "adj_y": (1, "bool", False)},
    "CALL_ONCE": {"subgraph": (0, "i32", 0)},
    "CONCATENATION": {**_AXIS, "activation": (1, "i8", 0)},
    "CONV_2D": {
        **_WINDOW,
        "activation": (3, "i8", 0),
        "dilation_w": (4, "i32", 1),
        "dilation_h": (5, "i32", 1),
        "bias_type": (6, "i8", 0),
    },
    "DEPTHWISE_CONV_2D": {
        **_WINDOW,
        "multiplier": (3, "i32", 0),
        "activation": (4, "i8", 0),
        "dilation_w": (5, "i32", 1),
        "dilation_h": (6, "i32", 1),
    },
    "DIV": _ACTIVATION,
    "DEPTH_TO_SPACE": {"block": (0, "i32", 0)},
    "FULLY_CONNECTED": {
        "activation": (0, "i8", 0),
        "weights_format": (1, "i8", 0),
        "keep_dims": (2, "bool", False),
        "bias_type": (4, "i8", 0),
    },
    "GATHER": {**_AXIS, "batch_dims": (1, "i32", 0)},
    "GELU": {"approximate": (0, "bool", False)},
    "L2_NORMALIZATION": _ACTIVATION,
    "LEAKY_RELU": _ALPHA,
    "MAX_POOL_2D": _POOL,
    "MEAN": _REDUCE,
    "MIRROR_PAD": {"mode": (0, "i8", 0)},
    "MUL": _ACTIVATION,
    "PACK": {"count": (0, "i32", 0), "axis": (1, "i32", 0)},
    "REDUCE_MAX": _REDUCE,
    "REDUCE_MIN": _REDUCE,
    "REDUCE_PROD": _REDUCE,
    "RESHAPE": {"shape": (0, "ints", ())},
    "RESIZE_BILINEAR": _RESIZE,
    "RESIZE_NEAREST_NEIGHBOR": {
        "align_corners": (0, "bool", False),
        "half_pixel": (1, "bool", False),
    },
    "SHAPE": {"dtype": (0, "i8", 0)},
    "SOFTMAX": {"beta": (0, "f32", 0.0)},
    "SPACE_TO_DEPTH": {"block": (0, "i32", 0)},
    "SPLIT": {"count": (0, "i32", 0)},
    "SPLIT_V": {"count": (0, "i32", 0)},
    "SQUEEZE": {"axes": (0, "ints", ())},
    "STRIDED_SLICE": {
        "begin_mask": (0, "i32", 0),
        "end_mask": (1, "i32", 0),
        "ellipsis_mask": (2, "i32", 0),
        "new_axis_mask": (3, "i32", 0),
        "shrink_mask": (4, "i32", 0),
        "offset": (5, "bool", False),
    },
    "SUB": _SUM,
    "SUM": _REDUCE,
    "SVDF": {"rank": (0, "i32", 0), "activation": (1, "i8", 0)},
    "TRANSPOSE_CONV": {**_WINDOW, "activation": (3, "i8", 0), "bias_type": (4, "i8", 0)},
    "UNIDIRECTIONAL_SEQUENCE_LSTM": {
        "activation": (0, "i8", 0),
        "cell_clip": (1, "f32", 0.0),
        "projection_clip": (2, "f32", 0.0),
        "time_major": (3, "bool", False),
    },
    "UNPACK": {"count": (0, "i32", 0), "axis": (1, "i32", 0)},
    "VAR_HANDLE": {"container": (0, "text", ""), "name": (1, "text", "")},
}
"""Options by the operator's name; of those that are not there nothing is read."""
