"""One QDQ file like several runtimes: what is said, what is refused, whose integers they are."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
from support import onnx_models as om
from support.onnx_nets import Net
from support.qonnx_nets import Net as QonnxNet

import hwsim
from hwsim.frontends.shared.builder import RuntimeDifference

pytestmark = pytest.mark.needs("onnxruntime")


def loaded(model: onnx.ModelProto, like: str | None) -> tuple[hwsim.Graph, list[str]]:
    """The Graph and what was said of it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        graph = hwsim.load(model, like=like)
    return graph, [str(w.message) for w in caught if w.category is RuntimeDifference]


def with_float_bias() -> onnx.ModelProto:
    """A layer whose float bias lies between the whole numbers of its sums."""
    n = Net("uint8", seed=3)
    x, w = n.start(3, 6, 6), n.kernel((4, 3, 3, 3), 0)
    b = n.constant("bias", np.linspace(-0.3, 0.4, 4).astype(np.float32))
    return n.model((n.round(n.do("Conv", x, w, b), 0.05), 4, "float32"))


def test_onnx_runtime_is_meant_where_nothing_is_named() -> None:
    model = om.conv(then="Relu")
    assert loaded(model, None)[0].hash() == loaded(model, "onnxruntime")[0].hash()


def test_a_runtime_that_is_not_known_is_a_sentence(tmp_path: Path) -> None:
    onnx.save(om.add(), tmp_path / "m.onnx")
    for model in (om.add(), tmp_path / "m.onnx"):
        with pytest.raises(hwsim.HwsimError, match=r"one of onnxruntime, tvm.*, not 'tflm'"):
            hwsim.load(model, like="tflm")


@pytest.mark.parametrize("make", [om.qlinear_conv, om.qlinear_add, om.qgemm, om.qlinear_matmul])
def test_operators_on_codes_are_refused_in_the_name_of_the_runtime_that_has_them(make) -> None:
    model = make()
    assert loaded(model, None)[0].nodes
    with pytest.raises(hwsim.HwsimError, match=r"that TVM has, but has Q\w+ \('.*'onnxruntime'"):
        hwsim.load(model, like="tvm")


def test_quant_nodes_are_like_their_own_executor_alone() -> None:
    net = QonnxNet(1)
    model = net.model(net.do("Relu", [net.start(4)]), 4)
    assert hwsim.load(model).nodes
    with pytest.raises(hwsim.HwsimError, match="must be left out, not 'tvm'"):
        hwsim.load(model, like="tvm")


def test_a_float_bias_is_made_whole_by_the_runtime_that_does_so() -> None:
    """ONNX Runtime rounds it to the sums' scale; in float32 it keeps its fraction."""
    theirs, said = loaded(with_float_bias(), None)
    assert not said
    ours, said = loaded(with_float_bias(), "tvm")
    assert [text for text in said if "TVM adds in float32, so that about one code in" in text]
    (whole,), (fine,) = (
        [node.op for node in graph.nodes if hasattr(node.op, "weights")] for graph in (theirs, ours)
    )
    assert whole.bias_frac == 0 < fine.bias_frac
    assert np.array_equal(whole.bias, np.rint(fine.bias / 2.0**fine.bias_frac))
