"""Which function reads which operator of float graphs between quantizers."""

from __future__ import annotations

from hwsim.frontends.onnx import constants, elementwise, pool, scale, shape, split, weighted, window
from hwsim.frontends.onnx.importer import Handler

FLOAT_HANDLERS: dict[tuple[str, str], Handler] = {
    ("", "Abs"): elementwise.unary,
    ("", "Add"): elementwise.add,
    ("", "ArgMax"): elementwise.arg_max,
    ("", "AveragePool"): pool.average_pool,
    ("", "Clip"): elementwise.clip,
    ("", "Concat"): elementwise.concat,
    ("", "Conv"): weighted.conv,
    ("", "Dropout"): elementwise.identity,
    ("", "Elu"): elementwise.unary,
    ("", "Gemm"): weighted.gemm,
    ("", "GlobalAveragePool"): pool.global_average_pool,
    ("", "GlobalMaxPool"): pool.global_max_pool,
    ("", "HardSigmoid"): elementwise.unary,
    ("", "HardSwish"): elementwise.unary,
    ("", "Identity"): elementwise.identity,
    ("", "LeakyRelu"): elementwise.unary,
    ("", "MatMul"): weighted.matmul,
    ("", "MaxPool"): pool.max_pool,
    ("", "Neg"): elementwise.unary,
    ("", "Pad"): window.pad,
    ("", "ReduceMean"): pool.reduce_mean,
    ("", "Relu"): elementwise.unary,
    ("", "Sigmoid"): elementwise.unary,
    ("", "Tanh"): elementwise.unary,
    ("", "BatchNormalization"): scale.batch_norm,
    ("", "Div"): scale.arithmetic,
    ("", "Mul"): scale.arithmetic,
    ("", "Sub"): scale.arithmetic,
    ("", "Cast"): shape.cast,
    ("", "Constant"): constants.constant,
    ("", "ConstantOfShape"): constants.constant_of_shape,
    ("", "Flatten"): shape.flatten,
    ("", "Gather"): constants.fold,
    ("", "Reshape"): shape.reshape,
    ("", "Shape"): shape.shape_of,
    ("", "Slice"): constants.fold,
    ("", "Split"): split.split,
    ("", "Squeeze"): shape.squeeze,
    ("", "Transpose"): shape.transpose,
    ("", "Unsqueeze"): shape.unsqueeze,
}
