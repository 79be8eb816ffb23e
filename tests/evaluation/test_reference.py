"""The float model beside a Graph: fed with the same samples, as it takes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import hwsim
from hwsim.evaluation.measure import measure
from hwsim.evaluation.reference import onnx_reference
from hwsim.fixed import Format
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.ops import Relu, TensorType
from hwsim.ops.base import Quant

pytest.importorskip("onnxruntime")
WEIGHTS = np.array([[1, -2, 0.5], [0.25, 1, -1]], np.float32)


def save(
    path: Path, batch: int | str = "N", kind: int = TensorProto.FLOAT, outputs: int = 1
) -> Path:
    """A MatMul by WEIGHTS; the input's name is `pixels`."""
    names = [f"out{k}" for k in range(outputs)]
    nodes = [
        helper.make_node("Cast", ["pixels"], ["real"], to=TensorProto.FLOAT),
        *(helper.make_node("MatMul", ["real", "w"], [name]) for name in names),
    ]
    graph = helper.make_graph(
        nodes,
        "float",
        [helper.make_tensor_value_info("pixels", kind, [batch, 2])],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, [batch, 3]) for n in names],
        [numpy_helper.from_array(WEIGHTS, "w")],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path
    )
    return path


def network(*names: str, element: str | None = None) -> Graph:
    """A ReLU for each input; scale 0.5, zero point 3."""
    kind = TensorType((2,), Format(False, 8, 0), Quant((0.5,), 3))
    ports = tuple(InputPort(name=n, tensor=n, type=kind, element=element) for n in names)
    nodes = tuple(Node(f"r{n}", Relu(), (n,), f"y{n}") for n in names)
    return Graph(ports, nodes, (OutputPort(name="y", tensor=f"y{names[0]}"),))


X = np.array([[1, 2], [3, 4], [0.5, 0], [7, 1], [2, 2]], np.float32)


@pytest.mark.parametrize("batch", ["N", 1, 2, 5, 8])
def test_a_batch_of_any_fixed_size_gives_the_same(tmp_path, batch):
    run = onnx_reference(save(tmp_path / "f.onnx", batch), network("x"), "y")
    assert np.array_equal(run({"x": X}), X @ WEIGHTS)


def test_codes_of_an_integer_input_become_the_reals_that_they_stand_for(tmp_path):
    codes = np.array([[3, 5], [13, 255]], np.uint8)
    real = save(tmp_path / "f.onnx")
    run = onnx_reference(real, network("x", element="uint8"), "y")
    assert np.array_equal(run({"x": codes}), (codes.astype(np.float32) - 3) / 2 @ WEIGHTS)
    assert np.array_equal(run({"x": X}), X @ WEIGHTS)
    plain = onnx_reference(real, network("x"), "y")  # an input of reals: uint8 pixels are reals
    assert np.array_equal(plain({"x": codes}), codes.astype(np.float32) @ WEIGHTS)
    whole = onnx_reference(save(tmp_path / "i.onnx", kind=TensorProto.UINT8), network("x"), "y")
    assert np.array_equal(whole({"x": codes}), codes.astype(np.float32) @ WEIGHTS)


def test_ports_that_do_not_match_are_refused(tmp_path):
    path = save(tmp_path / "f.onnx", outputs=2)
    with pytest.raises(hwsim.HwsimError, match="must have 2 inputs as the model, not 1"):
        onnx_reference(path, network("a", "b"), "y")
    with pytest.raises(hwsim.HwsimError, match="one output, or one named 'y', not out0, out1"):
        onnx_reference(path, network("x"), "y")
    run = onnx_reference(path, network("x"), "out1")
    assert np.array_equal(run({"x": X}), X @ WEIGHTS)
    with pytest.raises(hwsim.HwsimError, match="must run on the same samples"):
        run({"x": np.zeros((2, 7), np.float32)})


def test_a_function_may_be_the_reference_and_nothing_else():
    graph, labels = network("x"), np.array([0, 1, 0, 0, 0])
    found = hwsim.accuracy(graph, X, labels, reference=lambda x: -x)
    assert found.reference is not None
    assert found.reference.right == int(((-X).argmax(1) == labels).sum()) != found.right
    assert "; reference 40.00 %)" in repr(found)
    with pytest.raises(hwsim.HwsimError, match="the path of an ONNX file or a function, not int"):
        hwsim.accuracy(graph, X, labels, reference=3)


def test_names_that_are_too_few_and_texts_without_names_are_refused_at_once():
    graph = network("x")
    with pytest.raises(hwsim.HwsimError, match="a name for each of the 2 classes, not 1"):
        measure(graph, {"x": X}, np.zeros(5), names=("a",))
    with pytest.raises(hwsim.HwsimError, match="classes in their order"):
        hwsim.accuracy(graph, X, ["a", "b", "a", "a", "a"])
    found = hwsim.accuracy(graph, X, ["b", "b", "a", "a", "a"], names=["a", "b"])
    assert found.names == ("a", "b") and [c.samples for c in found.by_class] == [3, 2]
