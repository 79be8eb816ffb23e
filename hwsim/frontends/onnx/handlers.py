"""Which function reads which operator of float graphs between quantizers."""

from __future__ import annotations

from hwsim.frontends.onnx import constants, layers, pointwise, scaling, shapes, windows
from hwsim.frontends.onnx.importer import Handler

FLOAT_HANDLERS: dict[tuple[str, str], Handler] = {
    ("", "Abs"): pointwise.unary,
    ("", "Add"): pointwise.add,
    ("", "ArgMax"): pointwise.arg_max,
    ("", "AveragePool"): windows.average_pool,
    ("", "Clip"): pointwise.clip,
    ("", "Concat"): pointwise.concat,
    ("", "Conv"): layers.conv,
    ("", "Dropout"): pointwise.identity,
    ("", "Elu"): pointwise.unary,
    ("", "Gemm"): layers.gemm,
    ("", "GlobalAveragePool"): windows.global_average_pool,
    ("", "GlobalMaxPool"): windows.global_max_pool,
    ("", "HardSigmoid"): pointwise.unary,
    ("", "HardSwish"): pointwise.unary,
    ("", "Identity"): pointwise.identity,
    ("", "LeakyRelu"): pointwise.unary,
    ("", "MatMul"): layers.matmul,
    ("", "MaxPool"): windows.max_pool,
    ("", "Neg"): pointwise.unary,
    ("", "Pad"): windows.pad,
    ("", "ReduceMean"): windows.reduce_mean,
    ("", "Relu"): pointwise.unary,
    ("", "Sigmoid"): pointwise.unary,
    ("", "Tanh"): pointwise.unary,
    ("", "BatchNormalization"): scaling.batch_norm,
    ("", "Div"): scaling.arithmetic,
    ("", "Mul"): scaling.arithmetic,
    ("", "Sub"): scaling.arithmetic,
    ("", "Cast"): shapes.cast,
    ("", "Constant"): constants.constant,
    ("", "ConstantOfShape"): constants.constant_of_shape,
    ("", "Flatten"): shapes.flatten,
    ("", "Gather"): constants.fold,
    ("", "Reshape"): shapes.reshape,
    ("", "Shape"): shapes.shape_of,
    ("", "Slice"): constants.fold,
    ("", "Squeeze"): shapes.squeeze,
    ("", "Transpose"): shapes.transpose,
    ("", "Unsqueeze"): shapes.unsqueeze,
}
