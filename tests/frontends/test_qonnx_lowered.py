"""QONNX models as FINN's transformations leave them: the executor's values all the same."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from support.qonnx_nets import Net, differences, off_grid, on_grid

import hwsim
from hwsim.frontends.onnx import qonnx_lowered
from hwsim.frontends.shared.builder import RuntimeDifference
from hwsim.ops import AvgPool, Conv, Dense

pytest.importorskip("qonnx")


def transformed(model: onnx.ModelProto, *names: str) -> onnx.ModelProto:
    """Cleaned up, its constants folded, and through some of QONNX's transformations."""
    from qonnx.core.datatype import DataType
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.transformation.bipolar_to_xnor import ConvertBipolarMatMulToXnorPopcount
    from qonnx.transformation.fold_constants import FoldConstants
    from qonnx.transformation.infer_datatypes import InferDataTypes
    from qonnx.transformation.infer_shapes import InferShapes
    from qonnx.transformation.lower_convs_to_matmul import LowerConvsToMatMul
    from qonnx.transformation.qonnx_to_qcdq import QuantToQCDQ
    from qonnx.util.cleanup import cleanup_model

    known: dict[str, Any] = {
        "lower": LowerConvsToMatMul,
        "xnor": ConvertBipolarMatMulToXnorPopcount,
        "qcdq": QuantToQCDQ,
    }
    wrapped = cleanup_model(ModelWrapper(model))
    if "qcdq" not in names:
        wrapped = wrapped.transform(FoldConstants(exclude_op_types=[]))
    for name in [i.name for i in wrapped.graph.initializer]:
        if np.isin(wrapped.get_initializer(name), (-1, 1)).all():
            wrapped.set_tensor_datatype(name, DataType["BIPOLAR"])
    for name in names:
        wrapped = wrapped.transform(InferDataTypes()).transform(known[name]())
    return wrapped.transform(InferShapes()).transform(InferDataTypes()).model


def operators(model: onnx.ModelProto) -> set[str]:
    return {node.op_type for node in model.graph.node}


def thresholds(n: Net, x: str, channels: int, layout: str) -> str:
    """A sign, as FINN writes it."""
    rows = n.constant(n.rng.normal(0, 2, (channels, 1)))
    rule = {"out_dtype": "BIPOLAR", "out_scale": 2.0, "out_bias": -1.0, "data_layout": layout}
    return n.do("MultiThreshold", [x, rows], domain=n.domain, **rule)


def conv(n: Net, x: str, w: str, kernel: int, **rule: Any) -> str:
    """With all of the attributes that the transformation reads."""
    plain = {"pads": [0] * 4, "strides": [1, 1], "dilations": [1, 1], "group": 1}
    return n.do("Conv", [x, w], kernel_shape=[kernel] * 2, **plain | rule)


def signs(n: Net, *shape: int) -> str:
    return n.sign(n.constant(n.rng.normal(0, 1, shape)))


def convolutions(n: Net) -> onnx.ModelProto:
    """Padding, strides, dilation, a 1x1 kernel and channels by themselves."""
    x = n.start(3, 9, 8, bits=4, scale=1.0)

    def layer(x: str, inputs: int, outputs: int, kernel: int, **rule: Any) -> str:
        w = n.weights((outputs, inputs // rule.get("group", 1), kernel, kernel), 1.0, 3)
        return n.quant(n.do("Relu", [conv(n, x, w, kernel, **rule)]), 2.0, 4, signed=0)

    x = layer(x, 3, 4, 3, pads=[1, 0, 1, 2], strides=[2, 1])
    x = layer(x, 4, 4, 2, group=4, dilations=[1, 2])
    return n.model(layer(x, 4, 5, 1), 5, 4, 6)


def weights_of_ones(n: Net) -> None:
    """Larger weights than a Net draws, so that codes of step 1 are met."""
    n.weights = lambda shape, *_: n.quant(  # type: ignore[method-assign]
        n.constant(n.rng.normal(0, 1.5, shape)), 1.0, 3, narrow=1
    )


def test_convolutions_lowered_to_columns_are_convolutions_again(seed: int) -> None:
    n = Net(seed)
    weights_of_ones(n)
    model = transformed(convolutions(n), "lower")
    assert "Im2Col" in operators(model)
    assert "Conv" not in operators(model)
    graph = hwsim.load(model)
    assert sum(isinstance(node.op, Conv) for node in graph.nodes) >= 2
    assert differences(graph, model, 4 * off_grid(n.shape, seed)) == 0


def binary(n: Net) -> onnx.ModelProto:
    """A binary convolution and a binary dense layer behind signs."""
    x = n.start(3, 6, 6, bits=4, scale=1.0)
    x = conv(n, x, signs(n, 4, 3, 3, 3), 3)
    x = thresholds(n, x, 4, "NCHW")
    x = conv(n, x, signs(n, 6, 4, 2, 2), 2)
    x = n.do("Flatten", [thresholds(n, x, 6, "NCHW")], axis=1)
    return n.model(n.do("MatMul", [x, signs(n, 54, 10)]), 10)


def test_agreeing_bits_are_counted_as_the_executor_does(seed: int) -> None:
    n = Net(seed)
    model = transformed(binary(n), "lower", "xnor")
    assert {"XnorPopcountMatMul", "Im2Col"} <= operators(model)
    graph = hwsim.load(model)
    assert any(isinstance(node.op, Dense) for node in graph.nodes)
    assert differences(graph, model, 4 * off_grid(n.shape, seed)) == 0


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize(("signed", "obits"), [(0, 4), (1, 4), (0, 8), (1, 2)])
def test_the_upper_bits_of_a_windows_sum_are_the_executors(
    layout: str, signed: int, obits: int, seed: int
) -> None:
    n = Net(seed)
    last = layout == "NHWC"
    x = n.start(3, 7, 7, bits=4, scale=1.0, signed=signed)
    n.shapes[x] = (1, 3, 7, 7)
    x = n.do("Transpose", [x], perm=[0, 2, 3, 1]) if last else x
    n.shapes[x] = (1, 7, 7, 3) if last else (1, 3, 7, 7)
    rule = {"kernel": 3, "stride": 2, "ibits": 4, "obits": obits, "signed": signed}
    x = n.do("QuantAvgPool2d", [x], domain=n.domain, data_layout=layout, **rule)
    model = n.model(x, 3, 3, 3)
    graph = hwsim.load(model)
    assert any(isinstance(node.op, AvgPool) for node in graph.nodes)
    data = 8 * on_grid(n.shape, seed)
    assert differences(graph, model, np.abs(data) if not signed else data) == 0


def mixed(n: Net) -> onnx.ModelProto:
    """8 bits that QCDQ takes beside signs that it leaves."""
    x = n.start(6)
    w = n.quant(n.constant(n.rng.normal(0, 0.4, (6, 8))), 2.0**-6, 8, narrow=1)
    x = n.sign(n.norm(n.do("MatMul", [x, w]), 8))
    x = n.norm(n.do("MatMul", [x, signs(n, 8, 12)]), 12)
    x = n.quant(n.do("Relu", [x]), 0.037, 5, signed=0)
    x = n.do("MatMul", [x, n.sign(n.constant(n.rng.normal(0, 1, (12, 5))))])
    return n.model(n.quant(x, 2.0**-3, 8), 5)


def test_quant_nodes_and_quantize_linear_go_together(seed: int) -> None:
    n = Net(seed)
    model = transformed(mixed(n), "qcdq")
    assert {"QuantizeLinear", "Clip", "DequantizeLinear", "BipolarQuant"} <= operators(model)
    assert differences(hwsim.load(model), model, off_grid(n.shape, seed, batch=40)) == 0


@pytest.mark.parametrize("zero", [0, 3, -4])
def test_a_zero_point_is_added_to_what_quantize_linear_has_rounded(zero: int, seed: int) -> None:
    """Ties of an odd one are met: sums of steps of a quarter."""
    n = Net(seed)
    x = n.sign(n.start(5))
    x = n.do("MatMul", [x, n.quant(n.constant(n.rng.normal(0, 1, (5, 30))), 0.25, 4)])
    parameters = [n.constant(0.5), n.constant(zero, np.int8)]
    x = n.do("DequantizeLinear", [n.do("QuantizeLinear", [x, *parameters]), *parameters])
    model = n.model(x, 30)
    assert differences(hwsim.load(model), model, off_grid((5,), seed, batch=20)) == 0


def test_a_kernel_turned_round_would_be_caught(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    n = Net(seed)
    model = transformed(binary(n), "lower")
    x = 4 * off_grid(n.shape, seed)
    assert differences(hwsim.load(model), model, x) == 0
    right = qonnx_lowered.mapped

    def wrong(value: Any, move: Callable[[Any], Any]) -> Any:
        return right(value, lambda array: move(array).swapaxes(2, 3))

    monkeypatch.setattr(qonnx_lowered, "mapped", wrong)
    assert differences(hwsim.load(model), model, x) > 0


def columns_alone(n: Net) -> str:
    x = n.do("Transpose", [n.start(3, 4, 4)], perm=[0, 2, 3, 1])
    return n.do("Im2Col", [x], domain=n.domain, kernel_size=[2, 2], stride=[1, 1])


def half_weights(n: Net) -> str:
    w = n.constant(np.full((4, 2), 0.5))
    return n.do("XnorPopcountMatMul", [n.start(4), w], domain=n.domain)


def not_binary(n: Net) -> str:
    w = n.constant(np.ones((4, 2)))
    return n.do("XnorPopcountMatMul", [n.start(4), w], domain=n.domain)


def other_scale(n: Net) -> str:
    zero = n.constant(0, np.int8)
    x = n.do("QuantizeLinear", [n.do("Relu", [n.start(4)]), n.constant(0.5), zero])
    return n.do("DequantizeLinear", [x, n.constant(0.25), zero])


def fractions(n: Net) -> str:
    x = n.start(3, 4, 4)
    rule = {"kernel": 2, "stride": 2, "ibits": 4, "obits": 4, "signed": 1}
    return n.do("QuantAvgPool2d", [x], domain=n.domain, **rule)


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (columns_alone, "its result must be read by MatMul or XnorPopcountMatMul alone"),
        (half_weights, "its weights must be a matrix of 0 and 1"),
        (not_binary, "its input must hold 0 and 1 alone"),
        (other_scale, "must be those of the QuantizeLinear before it"),
        (fractions, r"its input must be whole numbers, not steps of 0\.03125"),
    ],
)
def test_forms_that_finn_does_not_make_are_refused(build: Callable[[Net], str], said: str) -> None:
    n = Net(0)
    with pytest.raises(hwsim.HwsimError, match=said):
        hwsim.load(n.model(build(n), 2))


def taken_out(n: Net) -> onnx.ModelProto:
    """Quant nodes of scale 1 between a Div and a Mul, before a layer and before a sum of two."""

    def quant(x: str, scale: float, bits: int = 4) -> str:
        x = n.quant(n.do("Div", [x, n.constant(scale)]), 1.0, bits)
        return n.do("Mul", [x, n.constant(scale)])

    def dense(x: str) -> str:
        return n.norm(n.do("MatMul", [x, n.weights((12, 12))]), 12)

    x = quant(dense(n.start(12)), 0.213)
    x = n.do("Relu", [n.do("Add", [quant(dense(x), 0.117), quant(x, 0.31, 3)])])
    return n.model(n.quant(dense(quant(x, 0.25)), 0.07, 6), 12)


def test_scales_that_a_tool_took_out_of_quantizers_go_back_into_codes(seed: int) -> None:
    """A layer then reads as few bits as before, not reals in units as fine as a float32's."""
    n = Net(seed)
    model = taken_out(n)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeDifference)
        graph = hwsim.load(model)
    assert differences(graph, model, off_grid((12,), seed, batch=30)) == 0
    layers = [node for node in graph.nodes if isinstance(node.op, Dense)]
    types = graph.types()
    assert [types[node.inputs[0]].format.width <= 8 for node in layers] == [True] * 3
