"""Which function lowers which layer of an IR."""

from __future__ import annotations

import numpy as np

from hwsim.frontends.openvino import constants, layers
from hwsim.frontends.openvino.lowering import Rule

RULES: dict[str, Rule] = {
    "Add": constants.arithmetic("Add", np.add),
    "Clamp": layers.clamp,
    "Const": constants.const,
    "Convert": constants.convert,
    "Convolution": layers.convolution,
    "Divide": constants.arithmetic("Div", np.divide),
    "FakeQuantize": layers.fake_quantize,
    "GroupConvolution": layers.group_convolution,
    "MatMul": layers.matmul,
    "Multiply": constants.arithmetic("Mul", np.multiply),
    "Parameter": constants.parameter,
    "ReLU": layers.function("Relu"),
    "ReduceMax": layers.reduced("ReduceMax"),
    "ReduceMean": layers.reduced("ReduceMean"),
    "ReduceSum": layers.reduced("ReduceSum"),
    "Result": constants.result,
    "Subtract": constants.arithmetic("Sub", np.subtract),
}
