"""Bits by layer, the first and the last, one bit: what a quantized model holds, in QONNX too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from sklearn.datasets import load_digits
from support.qonnx_nets import executed
from support.seeds import seeded

import hwsim
from hwsim.compress.float_model import FloatModel
from hwsim.compress.quantize.linear import LinearScheme, of_weights
from hwsim.compress.quantize.places import places
from hwsim.errors import HwsimError

FLOAT = Path(__file__).resolve().parents[2] / "examples" / "models" / "digits_dw_skip.float.onnx"
IMAGES = (load_digits().images / 16).astype(np.float32)[:, None]


def rows(**options: object) -> dict[str, dict[str, object]]:
    made = hwsim.quantize(FLOAT, IMAGES[:64], **options)
    assert made.proto is not None
    return {str(row["name"]): row for row in made.rows}


def test_bits_by_layer_are_of_its_weights_and_of_what_it_gives():
    found = rows(bits="w4a8", layers={"*": "a7", "p*": "w5a6", "image": "a5", "add": "a4"})
    weights = {name: row["weight_bits"] for name, row in found.items() if "weight_bits" in row}
    given = {name: row["bits"] for name, row in found.items() if "bits" in row}
    assert weights == {"stem": 4, "depthwise": 4, "pointwise": 5, "conv": 4, "logits": 4}
    assert given == {
        "image": 5, "stem": 7, "depthwise": 7, "pointwise": 6, "add": 4, "conv": 7, "average": 7,
    }  # fmt: skip


def test_the_ends_are_the_first_and_last_layers_and_what_they_read():
    found = rows(bits="w3a4", ends="w8a8")
    weights = {name: row["weight_bits"] for name, row in found.items() if "weight_bits" in row}
    given = {name: row["bits"] for name, row in found.items() if "bits" in row}
    assert [name for name, bits in weights.items() if bits == 8] == ["stem", "logits"]
    assert [name for name, bits in given.items() if bits == 8] == ["image", "average"]
    assert {*weights.values(), *given.values()} == {3, 4, 8}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"layers": {"fc": "w8"}}, "a layer must be one of image, stem, .*, not 'fc', which fits"),
        ({"layers": {"stem": "8"}}, "bits of a layer must be like w4a8, w4 or a8, .* not '8'"),
        ({"layers": {"stem": ""}}, "bits of a layer must be like w4a8, w4 or a8, .* not ''"),
        ({"ends": "w0"}, "bits of a layer must be like .* from 1 to 16 each, not 'w0'"),
        ({"bits": "w17a8"}, "bits must be like w4a8, from 1 to 16 each, not 'w17a8'"),
        ({"scheme": "log"}, "scheme must be one of power-of-two.*, not 'log'"),
        ({"method": "best"}, "calibration must be one of .*, not 'best'"),
    ],
)
def test_options_that_are_none_are_told(options, sentence):
    with pytest.raises(HwsimError, match=sentence):
        rows(**options)


@pytest.mark.parametrize("bits", ["w1a1", "w1a4", "w12a8", "w5a14"])
def test_the_fewest_and_the_most_bits_have_the_codes_of_qonnx(bits):
    made = hwsim.quantize(FLOAT, IMAGES[:64], bits=bits)
    found = hwsim.emulate(made.graph, IMAGES[:8])
    assert found.tolist() == executed(made.proto, IMAGES[:8]).tolist()
    assert np.unique(found).size > 8


def test_one_bit_of_weights_is_a_sign_with_the_scale_of_the_least_squared_error(rng):
    weights = rng.normal(0, 0.3, (4, 50)).astype(np.float32)
    by = of_weights("w", weights, 1, 0, LinearScheme())
    for row, scale in zip(weights.astype(np.float64), by.scale.tolist(), strict=True):
        errors = {
            2.0**e: float(((np.where(row >= 0, 1, -1) * 2.0**e - row) ** 2).sum())
            for e in range(-8, 4)
        }
        assert scale == min(errors, key=errors.__getitem__)


def test_one_scale_a_layer_is_one():
    made = hwsim.quantize(FLOAT, IMAGES[:64], bits="w4a8", per_channel=False)
    weights = [row for row in made.rows if "weight_bits" in row]
    assert all(len(set(row["weight_scales"])) == 1 for row in weights)
    assert (
        hwsim.emulate(made.graph, IMAGES[:8]).tolist() == executed(made.proto, IMAGES[:8]).tolist()
    )


def line(*ops: str, domain: str = "") -> onnx.ModelProto:
    """A dense layer, then operators in a row."""
    rng = np.random.default_rng(seeded(3))
    weights = numpy_helper.from_array(rng.normal(size=(4, 3)).astype(np.float32), "w")
    nodes = [helper.make_node("MatMul", ["x", "w"], ["t0"], "dense")]
    for n, op in enumerate(ops):
        nodes.append(helper.make_node(op, [f"t{n}"], [f"t{n + 1}"], f"n{n}", domain=domain))
    ports = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", size])
        for name, size in (("x", 4), (f"t{len(ops)}", 3))
    ]
    graph = helper.make_graph(nodes, "line", ports[:1], ports[1:], [weights])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_operators_without_a_rule_are_all_named():
    model = FloatModel.of(line("Hardmax", "Relu", "Det", "Cos"), Path("net.onnx"))
    with pytest.raises(HwsimError) as told:
        places(model)
    assert str(told.value).startswith("net.onnx must have only operators that there is a rule to")
    assert str(told.value).endswith("not Hardmax 'n0', Det 'n2'")


def test_a_model_of_one_fixed_batch_has_the_formats_of_one_of_any():
    free, fixed = onnx.load(str(FLOAT)), onnx.load(str(FLOAT))
    for port in (*fixed.graph.input, *fixed.graph.output):
        port.type.tensor_type.shape.dim[0].dim_value = 1
    del fixed.graph.value_info[:]
    a, b = (hwsim.quantize(model, IMAGES[:130], bits="w4a6") for model in (free, fixed))
    assert a.rows == b.rows and a.graph.hash() == b.graph.hash()


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (IMAGES[:4, 0], r"input 'image' must have the shape \(batch, 1, 8, 8\), not \(4, 8, 8\)"),
        (IMAGES[:0], "calibration data must have at least one sample, not none"),
        (np.full((2, 1, 8, 8), np.nan), "tensor 'image' must be finite on the calibration data"),
        ({"x": IMAGES}, r"inputs must be named \['image'\], not \['x'\]"),
    ],
)
def test_data_that_does_not_fit_is_told(data, sentence):
    with pytest.raises(HwsimError, match=sentence):
        hwsim.quantize(FLOAT, data)


@pytest.mark.parametrize("model", [Path("m.tflite"), 5])
def test_what_is_no_float_onnx_model_is_told(model):
    with pytest.raises(HwsimError, match=r"must be (a float|an) ONNX file"):
        hwsim.quantize(model, IMAGES)


def test_a_constant_of_more_than_a_number_a_channel_becomes_codes():
    """Learned places are added as codes; their Quant node is in the file."""
    rng = np.random.default_rng(seeded(6))
    tensors = {"w": (8, 6), "places": (1, 8, 6)}
    held = [
        numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name)
        for name, shape in tensors.items()
    ]
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["t"], "embed"),
        helper.make_node("Add", ["t", "places"], ["u"], "add"),
        helper.make_node("Relu", ["u"], ["v"], "relu"),
        helper.make_node("MatMul", ["v", "w2"], ["y"], "head"),
    ]
    held.append(numpy_helper.from_array(rng.normal(size=(6, 3)).astype(np.float32), "w2"))
    ports = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", 8, size])
        for name, size in (("x", 8), ("y", 3))
    ]
    graph = helper.make_graph(nodes, "places", ports[:1], ports[1:], held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    made = hwsim.quantize(model, IMAGES[:64, 0], bits="w5a8")
    assert "places.quant" in {node.name for node in made.proto.graph.node}
    found = hwsim.emulate(made.graph, IMAGES[:8, 0])
    assert found.tolist() == executed(made.proto, IMAGES[:8, 0]).tolist()


def test_a_model_in_training_mode_is_told_by_its_nodes():
    held = [numpy_helper.from_array(np.ones(3, np.float32), name) for name in "abcd"]
    held.append(numpy_helper.from_array(np.array(True), "on"))
    held.append(numpy_helper.from_array(np.float32(0.5), "ratio"))
    nodes = [
        helper.make_node(
            "BatchNormalization", ["x", *"abcd"], ["t", "m", "v"], "norm", training_mode=1
        ),
        helper.make_node("Dropout", ["t", "ratio", "on"], ["u"], "drop"),
        helper.make_node("Dropout", ["u", "ratio"], ["y"], "kept"),
    ]
    ports = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", 3]) for name in "xy"]
    graph = helper.make_graph(nodes, "trains", ports[:1], ports[1:], held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with pytest.raises(HwsimError) as told:
        FloatModel.of(model, Path("net.onnx"))
    assert str(told.value).endswith(
        "not in training mode, as BatchNormalization 'norm', Dropout 'drop'"
    )


def of_nodes(nodes: list[onnx.NodeProto], shape: tuple[int, ...], **held: np.ndarray) -> object:
    constants = [numpy_helper.from_array(a.astype(np.float32), n) for n, a in held.items()]
    ports = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", *sizes])
        for name, sizes in (("x", (1, 8, 8)), ("y", shape))
    ]
    graph = helper.make_graph(nodes, "net", ports[:1], ports[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_gemms_own_factors_go_into_its_constants():
    rng = np.random.default_rng(seeded(7))
    held = {"w": rng.normal(size=(64, 5)), "b": rng.normal(size=5)}
    nodes = [
        helper.make_node("Flatten", ["x"], ["f"]),
        helper.make_node("Gemm", ["f", "w", "b"], ["y"], "gemm", alpha=0.3, beta=2.0),
    ]
    made = hwsim.quantize(of_nodes(nodes, (5,), **held), IMAGES[:64])
    plain = [nodes[0], helper.make_node("Gemm", ["f", "w", "b"], ["y"], "gemm")]
    held = {"w": held["w"].astype(np.float32) * np.float32(0.3), "b": held["b"] * 2}
    want = hwsim.quantize(of_nodes(plain, (5,), **held), IMAGES[:64])
    assert made.graph.hash() == want.graph.hash()


def test_a_transposed_convolution_in_groups_has_one_scale():
    rng = np.random.default_rng(seeded(8))
    held = {"w": rng.normal(size=(4, 1, 3, 3)), "v": rng.normal(size=(4, 3, 2, 2))}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["t"], "conv"),
        helper.make_node("Relu", ["t"], ["u"]),
        helper.make_node("ConvTranspose", ["u", "v", "b"], ["y"], "up", group=2, strides=[2, 2]),
    ]
    model = of_nodes(nodes, (6, 12, 12), **held, b=rng.normal(size=6))
    made = hwsim.quantize(model, IMAGES[:64])
    found = hwsim.emulate(made.graph, IMAGES[:6])
    assert found.tolist() == executed(made.proto, IMAGES[:6]).tolist()
