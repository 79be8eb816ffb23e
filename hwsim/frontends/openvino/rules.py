"""Which function lowers which layer of an IR."""

from __future__ import annotations

import numpy as np

from hwsim.frontends.openvino import constants, layers, moving, norms
from hwsim.frontends.openvino.interpolate import interpolate
from hwsim.frontends.openvino.lowering import Rule
from hwsim.frontends.openvino.shape_math import quotient, with_shapes

FUNCTIONS = {
    "Abs": "Abs", "Acos": "Acos", "Asin": "Asin", "Atan": "Atan", "Ceiling": "Ceil", "Cos": "Cos",
    "Cosh": "Cosh", "Erf": "Erf", "Exp": "Exp", "Floor": "Floor", "HSwish": "HardSwish",
    "Log": "Log", "Mish": "Mish", "Negative": "Neg", "ReLU": "Relu", "Sigmoid": "Sigmoid",
    "Sign": "Sign", "Sin": "Sin", "Sinh": "Sinh", "SoftPlus": "Softplus", "SoftSign": "Softsign",
    "Sqrt": "Sqrt", "Tan": "Tan", "Tanh": "Tanh",
}  # fmt: skip
"""Functions of one value without attributes, and their names in ONNX."""

_LAYERS: dict[str, Rule] = {
    **{name: layers.function(op) for name, op in FUNCTIONS.items()},
    **{
        name: layers.reduced(name) for name in ("ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum")
    },
    **dict.fromkeys(("Reshape", "Squeeze", "Unsqueeze"), moving.reshaped),
    "Add": constants.arithmetic("Add", np.add),
    "AvgPool": layers.avg_pool,
    "BatchNormInference": norms.batch_norm,
    "Broadcast": moving.broadcast,
    "Clamp": layers.clamp,
    "Concat": moving.concat,
    "Const": constants.const,
    "Convert": constants.convert,
    "ConvertLike": layers.identity,
    "Convolution": layers.convolution,
    "ConvolutionBackpropData": layers.deconvolution,
    "DepthToSpace": moving.blocks("DepthToSpace"),
    "Divide": constants.arithmetic("Div", quotient),
    "Elu": layers.function("Elu", layers.elu),
    "FakeQuantize": layers.fake_quantize,
    "Gather": moving.gather,
    "Gelu": layers.function("Gelu", layers.gelu),
    "GroupConvolution": layers.group_convolution,
    "HSigmoid": layers.h_sigmoid,
    "HardSigmoid": layers.hard_sigmoid,
    "Interpolate": interpolate,
    "LogSoftmax": layers.function("LogSoftmax", layers.softmax),
    "MVN": norms.mvn,
    "MatMul": layers.matmul,
    "MaxPool": layers.max_pool,
    "Maximum": layers.pairwise("Max"),
    "Minimum": layers.pairwise("Min"),
    "Multiply": constants.arithmetic("Mul", np.multiply),
    "PReLU": layers.prelu,
    "Pad": moving.pad,
    "Parameter": constants.parameter,
    "Power": layers.pairwise("Pow"),
    "Range": moving.counted,
    "Result": constants.result,
    "ShapeOf": moving.shape_of,
    "Slice": moving.slice_rule,
    "SoftMax": layers.function("Softmax", layers.softmax),
    "SpaceToDepth": moving.blocks("SpaceToDepth"),
    "Split": moving.split,
    "StridedSlice": moving.strided_slice,
    "Subtract": constants.arithmetic("Sub", np.subtract),
    "Swish": layers.swish,
    "Transpose": moving.transposed,
    "VariadicSplit": moving.split,
}

RULES = with_shapes(_LAYERS)
