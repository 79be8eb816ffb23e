"""QDQ files as TensorRT wants them: which are read, what is said, and whose integers they are."""

from __future__ import annotations

import warnings

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from support import onnx_models as om
from support.onnx_builder import Array
from support.tensorrt_nets import classifier, images, residual
from support.tensorrt_run import run_tensorrt
from support.tvm_run import run_tvm

import hwsim
from hwsim.frontends.shared.builder import RuntimeDifference

NETS = {"residual": residual, "classifier": classifier}


def loaded(model: onnx.ModelProto, like: str = "tensorrt") -> tuple[hwsim.Graph, list[str]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        graph = hwsim.load(model, like=like)
    return graph, [str(w.message) for w in caught if w.category is RuntimeDifference]


def emulated(model: onnx.ModelProto, feeds: dict[str, Array]) -> Array:
    graph, _ = loaded(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return hwsim.emulate(graph, feeds)


def changed(model: onnx.ModelProto, name: str, array: Array) -> onnx.ModelProto:
    """The model with another constant in the place of the first whose name ends so."""
    held = onnx.ModelProto()
    held.CopyFrom(model)
    place = next(c for c in held.graph.initializer if c.name.endswith(name))
    place.CopyFrom(numpy_helper.from_array(array, place.name))
    return held


@pytest.mark.parametrize("weights", ["codes", "floats"])
@pytest.mark.parametrize("net", NETS)
def test_networks_of_its_kind_are_read_and_what_is_not_promised_is_said(net, weights) -> None:
    model, feeds = NETS[net](1, weights=weights), images(1, 50)
    _, said = loaded(model)
    assert np.array_equal(emulated(model, feeds), emulated(NETS[net](1), feeds))
    assert any("NVIDIA's documentation promises no results to the bit" in text for text in said)
    assert any("TensorRT promises no order of its float32 steps" in text for text in said)


@pytest.mark.parametrize(
    ("name", "array", "match"),
    [
        ("_zero", np.int8(3), "its zero point must be 0, not 3; quantize_static does so with Act"),
        ("_zero", np.uint8(0), "they must be int8, not uint8; quantize_static does so with QInt8"),
        ("_scale", np.float16(0.05), "its scale must be float32, not float16"),
    ],
)
def test_quantizers_that_it_does_not_take_are_a_sentence(name, array, match) -> None:
    with pytest.raises(hwsim.HwsimError, match=rf"Linear '.*{match}"):
        loaded(changed(classifier(1), name, array))


def test_whole_biases_unsigned_codes_and_operators_on_codes_are_a_sentence() -> None:
    whole = changed(classifier(1), "_zero", np.int8(0))
    for node in whole.graph.node:
        if node.op_type == "Conv":
            node.input[2] = "whole_bias"
    codes = numpy_helper.from_array(np.zeros(8, np.int32), "whole")
    whole.graph.initializer.extend([codes, numpy_helper.from_array(np.float32(0.01), "step")])
    node = onnx.helper.make_node("DequantizeLinear", ["whole", "step"], ["whole_bias"], name="b")
    whole.graph.node.insert(0, node)
    with pytest.raises(hwsim.HwsimError, match=r"'b': .*not int32; a bias stays float there"):
        loaded(whole)
    with pytest.raises(hwsim.HwsimError, match=r"signed codes: they must be int8, not uint8"):
        loaded(om.conv(dtype="uint8"))
    with pytest.raises(hwsim.HwsimError, match=r"that TensorRT has, but has QLinearConv \("):
        loaded(om.qlinear_conv())


@pytest.mark.slow
@pytest.mark.needs("tvm")
@pytest.mark.parametrize("powers", [False, True])
@pytest.mark.parametrize("net", NETS)
def test_the_integers_are_those_of_another_float32_runtime_on_the_same_file(
    net: str, powers: bool, seed: int
) -> None:
    """Of TVM: some code in 200,000 may differ by a step, and a float tail in its last bits."""
    count, different, total = 0, 0, 0
    for number in range(4):
        model, feeds = NETS[net](seed + number, powers=powers), images(seed, 400)
        got = emulated(model, feeds)
        want = next(iter(run_tvm(model, feeds).values()))
        top = float(np.abs(want).max())
        differ = np.abs(got - want) > 1e-5 * top
        count += int(differ.any(axis=1).sum())
        different, total = different + int(differ.sum()), total + want.size
    print(f"{different} of {total} values, {count} of 1600 samples")
    assert count <= 16


@pytest.mark.needs("gpu", "tensorrt")
@pytest.mark.parametrize("net", NETS)
def test_the_integers_are_tensorrts(net: str, seed: int) -> None:
    """On a machine with a GPU and TensorRT: as of another runtime, and no code by more than two."""
    model, feeds = NETS[net](seed, powers=False), images(seed, 1000)
    got, want = emulated(model, feeds), next(iter(run_tensorrt(model, feeds).values()))
    differ = np.abs(got - want) > 1e-4 * np.abs(want).max()
    print(f"{int(differ.sum())} of {want.size} values")
    assert differ.any(axis=1).mean() <= 0.01
