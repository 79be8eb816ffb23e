"""Sums past 2^24 steps: whole numbers in a quantized Graph, float32 in a QONNX file."""

from __future__ import annotations

import warnings
from fractions import Fraction
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from support.seeds import seeded

import hwsim
from hwsim.emulator.run import planned
from hwsim.errors import HwsimError
from hwsim.frontends.shared.builder import RuntimeDifference

MODELS = Path(__file__).resolve().parents[2] / "examples" / "models"
DIGITS = (load_digits().images / 16).astype(np.float32)[:, None]


def perceptron(seed: int, offset: float) -> onnx.ModelProto:
    """24 numbers to 12 with a Relu to 5, biases of about `offset`."""
    rng = np.random.default_rng(seed)
    values = {
        "w1": rng.normal(size=(24, 12)),
        "b1": rng.normal(offset, 1, size=12),
        "w2": rng.normal(size=(12, 5)) / 3,
        "b2": rng.normal(offset, 1, size=5),
    }
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "w2", "b2"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "two",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 24])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 5])],
        [numpy_helper.from_array(v.astype(np.float32), name) for name, v in values.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def exactly(proto: onnx.ModelProto, x: np.ndarray) -> list[list[Fraction]]:
    """What the QONNX model means, in fractions: nothing is rounded but by its quantizers."""
    held = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    reals = {name: exact(array) for name, array in held.items()} | {"x": exact(x)}
    for node in proto.graph.node:
        read = [reals[name] for name in node.input]
        if node.op_type == "Quant":
            value, scale, _, bits = read
            options = {a.name: a.i for a in node.attribute if a.type == onnx.AttributeProto.INT}
            top = 1 << int(bits.ravel()[0]) - options["signed"]
            low = -top + options["narrow"] if options["signed"] else 0
            codes = np.vectorize(round, otypes=[object])(value / scale)  # half to even
            found = np.clip(codes, low, top - 1) * scale
        elif node.op_type == "Gemm":
            found = read[0] @ read[1] + read[2]
        else:
            assert node.op_type == "Relu"
            found = np.maximum(read[0], Fraction(0))
        reals[node.output[0]] = found
    return reals["y"].tolist()


def exact(array: np.ndarray) -> np.ndarray:
    return np.vectorize(Fraction, otypes=[object])(array.astype(np.float64))


@pytest.mark.parametrize("offset", [0.0, 40.0, 3000.0])
@pytest.mark.parametrize("bits", ["w16a16", "w16a8", "w8a16"])
def test_sums_of_any_width_are_whole_numbers_in_the_graph(bits, offset):
    start = seeded(9)
    x = np.random.default_rng(start).uniform(-1, 1, (120, 24)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing of it is rounded
        made = hwsim.quantize(perceptron(start, offset), x, bits=bits)
    assert made.sqnr is not None and made.sqnr > 35
    assert made.sums == "exact" and "thresholds" not in {n.op.kind for n in made.graph.nodes}
    assert max(kind.magnitude for kind in made.graph.types().values()) > 1 << 24
    emulator, (port,) = planned(made.graph), made.graph.outputs
    kind = made.graph.types()[port.tensor]
    scale = kind.quant.scale if kind.quant else (2.0**-kind.format.frac_bits,)
    units = [Fraction(one) for one in np.broadcast_to(scale, 5)]
    codes = emulator.decode(emulator.run_chunked(emulator.encode(x)), as_codes=True)
    assert [
        [int(c) * unit for c, unit in zip(row, units, strict=True)] for row in codes
    ] == exactly(made.proto, x)


def test_a_qonnx_file_keeps_its_float32_and_says_so(tmp_path):
    path = MODELS / "digits_cnn_int8.float.onnx"
    with pytest.warns(RuntimeDifference, match=r"float32"):
        filed = hwsim.quantize(path, DIGITS[:256], bits="w16a8", out=tmp_path / "m.onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        own = hwsim.quantize(path, DIGITS[:256], bits="w16a8", out=tmp_path / "m.hwsim")
    assert (filed.sums, own.sums) == ("float32", "exact")
    assert own.proto.SerializeToString() == filed.proto.SerializeToString()
    with pytest.warns(RuntimeDifference):
        assert hwsim.load(tmp_path / "m.onnx").hash() == filed.graph.hash()
    assert hwsim.load(tmp_path / "m.hwsim").hash() == own.graph.hash() != filed.graph.hash()
    with pytest.warns(RuntimeDifference):  # the same file, which others read in float32
        own.save(tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == (tmp_path / "m.onnx").read_bytes()


def test_what_float32_cannot_say_is_written_as_a_graph_alone(tmp_path):
    path = MODELS / "digits_cnn_int8.float.onnx"
    own = hwsim.quantize(path, DIGITS[:256], bits="w16a16", out=tmp_path / "m.hwsim")
    assert own.sqnr is not None and own.sqnr > 75
    for write in (
        lambda: hwsim.quantize(path, DIGITS[:256], bits="w16a16", out=tmp_path / "m.onnx"),
        lambda: own.save(tmp_path / "m.onnx"),
    ):
        with pytest.raises(HwsimError, match=r"must have at most \d+ thresholds"):
            write()
        assert not (tmp_path / "m.onnx").exists()


@pytest.mark.parametrize("bits", ["w8a8", "w3a4"])
def test_where_float32_holds_all_sums_both_are_one_graph(bits):
    made = hwsim.quantize(MODELS / "digits_dw_skip.float.onnx", DIGITS[:256], bits=bits)
    assert made.sums == "exact" and made.graph.hash() == hwsim.load(made.proto).hash()
