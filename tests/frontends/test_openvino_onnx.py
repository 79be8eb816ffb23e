"""QDQ files like OpenVINO: the numbers of its CPU plugin, from the generator of such files."""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import helper as h
from onnx import numpy_helper as nh

pytest.importorskip("openvino")

from support import openvino_models as ov
from support.onnx_run import session_of
from support.openvino_run import run_openvino
from support.qdq_graphs import feeds, network

import hwsim
from hwsim.errors import HwsimError

Parts = tuple[list[onnx.NodeProto], list[onnx.TensorProto]]
NUMBERS = (2, 3, 6, 9, 10, 12, 16, 20)  # dense layers, convolutions, a residual, concatenations


@pytest.mark.parametrize("number", NUMBERS)
def test_a_file_gives_the_very_floats(number: int) -> None:
    from openvino import Core

    model = network(number)
    (x,) = feeds(model, number).values()
    (want,) = ov.run(Core().read_model(model.SerializeToString()), x)
    got = np.asarray(hwsim.emulate(hwsim.load(model, like="openvino"), x), np.float32)
    assert np.array_equal(got, want)


def test_a_file_without_quantizers_is_a_sentence() -> None:
    model = network(2)
    kept = [n for n in model.graph.node if "uantizeLinear" not in n.op_type]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    with pytest.raises(HwsimError, match="must be quantized"):
        hwsim.load(model, like="openvino")


def _pair(parts: Parts, source: str, name: str, scale: float, zero: np.integer) -> str:
    """A QuantizeLinear and its DequantizeLinear."""
    nodes, held = parts
    held += [nh.from_array(np.float32(scale), f"{name}.s"), nh.from_array(zero, f"{name}.z")]
    nodes.append(h.make_node("QuantizeLinear", [source, f"{name}.s", f"{name}.z"], [f"{name}.q"]))
    nodes.append(h.make_node("DequantizeLinear", [f"{name}.q", f"{name}.s", f"{name}.z"], [name]))
    return name


def _file(parts: Parts, shape: tuple[int, ...]) -> onnx.ModelProto:
    ports = [h.make_tensor_value_info(name, 1, None) for name in ("x", "y")]
    ports[0] = h.make_tensor_value_info("x", 1, ["batch", *shape])
    graph = h.make_graph(parts[0], "g", ports[:1], ports[1:], parts[1])
    return h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8)


def _joined(zero: np.integer, rng: np.random.Generator, *, pooled: bool = False) -> Parts:
    """A convolution of an input that is joined with itself."""
    parts: Parts = ([], [])
    first = _pair(parts, "x", "a", 0.03, zero)
    parts[0].append(h.make_node("Concat", [first, first], ["joined"], axis=1))
    last = _pair(parts, "joined", "b", 0.03, zero)
    if pooled:
        parts[0].append(h.make_node("MaxPool", [last], ["m"], kernel_shape=[2, 2]))
        last = _pair(parts, "m", "p", 0.03, zero)
    codes = rng.integers(-127, 128, (6, 8, 3, 3)).astype(np.int8)
    parts[1].append(nh.from_array(codes, "w"))
    parts[1].append(nh.from_array(np.full(6, 0.002, np.float32), "w.s"))
    parts[0].append(h.make_node("DequantizeLinear", ["w", "w.s"], ["weights"], axis=0))
    parts[0].append(h.make_node("Conv", [last, "weights"], ["c"]))
    _pair(parts, "c", "y", 0.05, zero)
    return parts


def _mean(zero: np.integer, shape: tuple[int, ...]) -> Parts:
    parts: Parts = ([], [])
    source = _pair(parts, "x", "a", 0.015, zero)
    parts[0].append(h.make_node("GlobalAveragePool", [source], ["m"]))
    _pair(parts, "m", "y", 0.02, zero)
    return parts


def _right(model: onnx.ModelProto, x: npt.NDArray[np.float32]) -> tuple[list[str], float, float]:
    """What is said of OpenVINO's results; how far they and hwsim's are from ONNX Runtime's."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        graph = hwsim.load(model, like="openvino")
    said = [str(one.message) for one in caught if "was seen to give" in str(one.message)]
    (true,) = session_of(model, optimize=False)[0].run(None, {"x": x})
    (theirs,) = run_openvino(model, {"x": x}).values()
    ours = np.asarray(hwsim.emulate(graph, x))
    return said, float(np.abs(theirs - true).max()), float(np.abs(ours - true).max())


@pytest.mark.parametrize("zero", [np.int8(0), np.int8(5), np.uint8(0), np.uint8(120)])
@pytest.mark.parametrize("pooled", [False, True])
def test_wrong_sums_of_openvino_behind_a_concatenation_are_announced(zero, pooled, rng) -> None:
    x = rng.normal(0, 1, (20, 4, 6, 6)).astype(np.float32)
    said, theirs, ours = _right(_file(_joined(zero, rng, pooled=pooled), (4, 6, 6)), x)
    assert ours < 0.051
    assert bool(said) == (zero.dtype == np.int8 and not pooled) == (theirs > 0.2)


@pytest.mark.parametrize("zero", [np.int8(0), np.int8(-100), np.uint8(0), np.uint8(18)])
@pytest.mark.parametrize("shape", [(6, 8), (6, 4, 4)])
def test_wrong_means_of_openvino_along_one_axis_are_announced(zero, shape, rng) -> None:
    x = rng.normal(0.5, 0.5, (20, *shape)).astype(np.float32)
    said, theirs, ours = _right(_file(_mean(zero, shape), shape), x)
    assert ours < 0.021
    assert bool(said) == (bool(zero) and len(shape) == 2) == (theirs > 0.1)
