"""Which networks' layers are found again in the float model: readers, tables, biases of ports."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)
from support.attributed import (
    CNN,
    IMAGES,
    MODELS,
    attributed,
    layer,
)
from support.float_graphs import parsed
from support.seeds import seeded

import hwsim
from hwsim.compress.float_model import WEIGHTED, FloatModel
from hwsim.frontends.shared.builder import RuntimeDifference
from hwsim.graph import Graph


def test_a_bad_table_is_blamed():
    graph = hwsim.load(MODELS / "digits_cnn_asym.onnx")
    op = graph.node("leaky1_QuantizeLinear").op
    bad = replace(op, values=np.maximum(op.values - 30, op.out.min))
    found = attributed(
        graph.with_op("leaky1_QuantizeLinear", bad), MODELS / "digits_cnn_asym.float.onnx"
    )
    worst = found.worst
    assert (worst.edge, worst.blamed) == ("leaky1_QuantizeLinear_Output", "table")


@pytest.mark.parametrize("bits", ["w4a6", "w2a1"])
def test_no_table_is_blamed_for_quantizers_without_some_codes_nor_for_the_bias_in_thresholds(bits):
    path = MODELS / "digits_dw_skip.float.onnx"
    scheme = "symmetric" if bits == "w4a6" else "power-of-two"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeDifference)  # of float32's roundings in QONNX
        graph = hwsim.quantize(path, IMAGES[:128], bits=bits, scheme=scheme).graph
    assert "thresholds" in {node.op.kind for node in graph.nodes}
    found = attributed(graph, path)
    assert {"pointwise", "add", "conv_relu"} < {one.tensor for one in found.layers}
    for one in found.layers:
        assert one.parts["table"].rms == one.parts["arithmetic"].rms == 0, one.edge
        assert not one.notes


@pytest.mark.needs("torch")
@pytest.mark.parametrize("name", ["perceptron", "inverted", "gated", "decoder"])
def test_all_layers_of_a_network_are_found_and_fine_ones_are_near_to_float(name):
    from support.float_networks import exported, network

    model = exported(network(name, seeded(5)), dynamo=False, batch=None)
    coarse, fine = (
        hwsim.attribute(hwsim.quantize(model, IMAGES[:48], bits=bits).graph, model, IMAGES[:16])
        for bits in ("w3a8", "w10a10")
    )
    layers = [n for n in FloatModel.of(model, Path("m")).nodes if n.op_type in WEIGHTED]
    assert len(fine.weights) == len(layers) > 2
    for one in (*coarse.layers, *fine.layers):
        assert not one.notes and one.parts["undivided"].rms == 0
    for one in fine.layers:
        assert one.sqnr_db is None or one.sqnr_db > 35, one.edge
        assert one.parts["arithmetic"].rms == 0, one.edge
    adds = [one for one in coarse.layers if one.parts["weights"].rms]
    assert len(adds) == len(layers) and adds[0].blamed == "weights"


@pytest.mark.needs("torch")
def test_a_bias_that_the_outputs_port_adds_belongs_to_the_sums():
    from support.float_networks import exported, network

    model = exported(network("perceptron", seeded(5)), dynamo=False, batch=None)
    with pytest.warns(RuntimeDifference):
        graph = hwsim.load(hwsim.quantize(model, IMAGES[:48], bits="w12a12").proto)
    assert graph.outputs[0].steps and not graph.node("/9/Gemm").op.bias.any()
    found = hwsim.attribute(graph, model, IMAGES[:16])
    last = layer(found, "/9/Gemm")
    assert last.sqnr_db > 60 and last.parts["bias"].rms < 1e-6
    assert found.decisions.lost == 0 and last.share_of_output is not None
    bare = Graph(graph.inputs, graph.nodes, (replace(graph.outputs[0], steps=()),))
    without = hwsim.attribute(bare, model, IMAGES[:16])
    assert (without.worst.edge, without.worst.blamed) == ("/9/Gemm", "bias")
    for one in found.layers:  # thresholds hold the others' biases
        assert one.sqnr_db is None or one.sqnr_db > 60
        assert not one.notes and one.parts["table"].rms == 0


class Calibration(CalibrationDataReader):
    """Batches of the digits."""

    def __init__(self) -> None:
        self.rest = iter([{"image": IMAGES[at : at + 64]} for at in range(0, 256, 64)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.rest, None)


def test_a_file_of_integer_layers_has_the_parts_of_the_same_one_as_qdq(tmp_path):
    found = []
    for form in (QuantFormat.QDQ, QuantFormat.QOperator):
        out = tmp_path / "q.onnx"
        kinds = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
        quantize_static(
            str(CNN), str(out), Calibration(), quant_format=form, per_channel=True, **kinds
        )
        found.append(attributed(out))
    qdq, layers = found
    assert [one.tensor for one in qdq.layers] == [one.tensor for one in layers.layers]
    assert {"relu1", "relu2", "relu3", "logits"} < {one.tensor for one in qdq.layers}
    for one, other in zip(qdq.layers, layers.layers, strict=True):
        assert one.parts == other.parts and one.sqnr_db == other.sqnr_db
        assert not one.notes and not other.notes
    assert qdq.decisions.float_right == layers.decisions.float_right > 390


TWO_INPUTS = """net (float[N,8] x, float[N,4] z) => (float[N,3] y) {
    a = MatMul(x, k) r = Relu(a) b = MatMul(z, l) s = Relu(b)
    c = Concat<axis: int = 1>(r, s) y = MatMul(c, m)}"""
PARTED = """net (float[N,8] x) => (float[N,4] y) {
    a = MatMul(x, k) one, two, three = Split<axis: int = 1>(a, parts)
    g = Sigmoid(one) p = Mul(g, two) s = Add(p, three) y = MatMul(s, m)}"""


@pytest.mark.parametrize("text", [TWO_INPUTS, PARTED], ids=["two inputs", "parts of a sum"])
def test_what_a_layer_does_not_read_is_the_float_models_until_its_own_turn(text):
    rng = np.random.default_rng(seeded(12))
    both = text is TWO_INPUTS
    shapes = {"k": (8, 12), "m": (16, 3), "l": (4, 4)} if both else {"k": (8, 12), "m": (4, 4)}
    held = {name: rng.normal(0, 0.4, shape).astype(np.float32) for name, shape in shapes.items()}
    model = parsed(text, held if both else {**held, "parts": np.array([4, 4, 4])})
    sizes = {"x": 8, "z": 4} if both else {"x": 8}
    x = {name: rng.normal(0, 1, (40, size)).astype(np.float32) for name, size in sizes.items()}
    made = hwsim.quantize(model, x if both else x["x"], bits="w4a4")
    found = hwsim.attribute(made.graph, model, x if both else x["x"])
    assert found.layers[-1].tensor == "y"
    assert sum(one.share_of_output or 0 for one in found.layers) == pytest.approx(1)
