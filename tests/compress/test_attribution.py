"""Where accuracy went: the parts of each layer's error are what an oracle finds, and sum to it."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)
from sklearn.datasets import load_digits
from support.cli_calls import refused, run
from support.seeds import seeded
from support.streams import STREAMS

import hwsim
from hwsim.compress.attribution.chain import CodeEnds, split
from hwsim.compress.attribution.counterparts import counterparts
from hwsim.compress.attribution.float_graph import FloatGraph
from hwsim.compress.attribution.places import layer_places
from hwsim.compress.attribution.tally import LayerTally
from hwsim.compress.float_model import WEIGHTED, FloatModel
from hwsim.compress.quantize.linear import Widths, quantize
from hwsim.compress.quantize.nonlinear import WeightSet, encoded
from hwsim.errors import HwsimError
from hwsim.fixed import Format, Overflow, Rounding
from hwsim.frontends.shared.builder import RuntimeDifference
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.ops import Cast, Dense, Stepwise, TensorType

MODELS = Path(hwsim.__file__).resolve().parent.parent / "examples" / "models"
DIGITS = load_digits()
IMAGES = (DIGITS.images / 16).astype(np.float32)[:, None]
SEEN, LABELS = IMAGES[1000:1400], DIGITS.target[1000:1400]
CNN = MODELS / "digits_cnn_int8.float.onnx"


def quantized(bits: str, path: Path = CNN) -> onnx.ModelProto:
    batches = ({"image": IMAGES[at : at + 64]} for at in range(0, 512, 64))
    return quantize(FloatModel.read(path), batches, Widths.parse(bits))


@pytest.fixture(scope="module")
def fine() -> onnx.ModelProto:
    return quantized("w8a8")


def with_scale(proto: onnx.ModelProto, name: str, factor: float) -> onnx.ModelProto:
    made = onnx.ModelProto()
    made.CopyFrom(proto)
    for one in made.graph.initializer:
        if one.name == name:
            scaled = numpy_helper.to_array(one) * np.float32(factor)
            one.CopyFrom(numpy_helper.from_array(scaled, name))
            return made
    raise AssertionError(name)


def attributed(model, reference: Path = CNN, labels=LABELS):
    return hwsim.attribute(model, reference, SEEN, labels)


def layer(found, edge: str):
    return next(one for one in found.layers if one.edge == edge)


# A chain of two layers against plain NumPy


def chain(rng: np.random.Generator) -> tuple[Graph, onnx.ModelProto, dict[str, np.ndarray]]:
    """x, a dense layer `h` and its codes `r`, a dense layer `y`; floats near the integers."""
    codes = {"w1": rng.integers(-7, 8, (6, 5)), "b1": rng.integers(-40, 40, 5)}
    codes |= {"w2": rng.integers(-7, 8, (5, 4)), "b2": rng.integers(-40, 40, 4)}
    fracs = {"w1": 3, "b1": 7, "w2": 3, "b2": 5}
    floats = {
        name: (c * 2.0 ** -fracs[name] + rng.normal(0, 0.03, c.shape)).astype(np.float32)
        for name, c in codes.items()
    }
    four = Format(True, 1, 3)
    first, second = (
        Dense(weights=codes[f"w{n}"], bias=codes[f"b{n}"], weight_format=four, bias_frac=frac)
        for n, frac in ((1, 7), (2, 5))
    )
    narrow = Cast(out=Format(True, 3, 2), rounding=Rounding.RND_CONV, overflow=Overflow.SAT)
    nodes = (
        Node("h", first, ("x",), "h"),
        Node("r", narrow, ("h",), "h.quantized"),
        Node("y", second, ("h.quantized",), "y"),
    )
    port = InputPort(name="x", tensor="x", type=TensorType((6,), Format(True, 2, 4)))
    graph = Graph((port,), nodes, (OutputPort(name="y", tensor="y"),))
    f32 = onnx.TensorProto.FLOAT
    made = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Gemm", ["x", "w1", "b1"], ["h"]),
            onnx.helper.make_node("Gemm", ["h", "w2", "b2"], ["y"]),
        ],
        "chain",
        [onnx.helper.make_tensor_value_info("x", f32, ["n", 6])],
        [onnx.helper.make_tensor_value_info("y", f32, ["n", 4])],
        [numpy_helper.from_array(a, name) for name, a in floats.items()],
    )
    opset = [onnx.helper.make_opsetid("", 17)]
    proto = onnx.helper.make_model(made, opset_imports=opset, ir_version=8)
    reals = {f"{name}_int": c * 2.0 ** -fracs[name] for name, c in codes.items()}
    return graph, proto, {**{n: a.astype(np.float64) for n, a in floats.items()}, **reals}


def rms(array: np.ndarray) -> float:
    return float(np.sqrt((array * array).mean()))


def test_the_parts_of_a_layer_are_those_that_plain_numpy_finds(rng):
    graph, proto, v = chain(rng)
    x = rng.normal(0, 1.2, (300, 6)).astype(np.float32)
    found = hwsim.attribute(graph, proto, x)
    with pytest.warns(hwsim.InputSaturation):
        edges = hwsim.trace(graph, x)
    given, codes = edges["x"] / 16, edges["h.quantized"] / 4
    plain = x.astype(np.float64) @ v["w1"] + v["b1"]
    inherited = given @ v["w1"] + v["b1"]
    weights = given @ v["w1_int"] + v["b1"]
    bias = given @ v["w1_int"] + v["b1_int"]
    kept = np.clip(bias, -4, 3.75)
    beyond = (bias > 3.75 + 0.125) | (bias < -4 - 0.125)
    kept = np.where(beyond, kept, bias)
    assert beyond.any()
    wanted = {
        "input": inherited - plain,
        "weights": weights - inherited,
        "bias": bias - weights,
        "saturation": kept - bias,
        "rounding": codes - kept,
    }
    h = layer(found, "h.quantized")
    for name, part in h.parts.items():
        assert part.rms == pytest.approx(rms(wanted.get(name, np.zeros(1))), abs=1e-6), name
        if name in wanted:
            assert part.largest == pytest.approx(float(np.abs(wanted[name]).max()), abs=1e-5)
    noise = 10 * np.log10((plain**2).sum() / ((codes - plain) ** 2).sum())
    assert h.sqnr_db == pytest.approx(noise, abs=1e-4)
    assert h.saturated == np.count_nonzero(beyond)
    ends = edges["h.quantized"]
    assert (h.at_low, h.at_high) == (np.count_nonzero(ends == -16), np.count_nonzero(ends == 15))
    assert [one.edge for one in found.layers] == ["x", "h.quantized", "y"]
    assert sum(one.share_of_output for one in found.layers) == pytest.approx(1)


def test_a_stepwise_accumulator_is_a_part_of_its_own(rng):
    graph, proto, v = chain(rng)
    dense = graph.node("h").op
    steps = Stepwise(format=Format(True, 5, 3), rounding=Rounding.TRN, overflow=Overflow.WRAP)
    graph = graph.with_op("h", replace(dense, accumulator=steps))
    x = rng.normal(0, 0.7, (200, 6)).astype(np.float32)
    edges = hwsim.trace(graph, x)
    exact = edges["x"] / 16 @ v["w1_int"] + v["b1_int"]
    found = layer(hwsim.attribute(graph, proto, x), "h.quantized")
    lost = edges["h"] / 8 - exact
    assert rms(lost) > 0.05
    assert found.parts["sums"].rms == pytest.approx(rms(lost), abs=1e-6)
    assert found.blamed == "sums"


# Parts sum to the whole


@pytest.mark.parametrize("name", ["digits_cnn_int8", "digits_cnn_asym", "digits_dw_skip", "w3a4"])
def test_the_parts_sum_to_the_error_of_each_element_exactly(name):
    file = "digits_dw_skip" if name == "w3a4" else name
    floats = FloatGraph(FloatModel.read(MODELS / f"{file}.float.onnx"))
    source = quantized(name, floats.model.path) if name == "w3a4" else MODELS / f"{name}.onnx"
    graph = hwsim.load(source)
    x = SEEN[:24]
    codes = hwsim.trace(graph, x)
    names = [one for one in floats.tensors if one != "image"]
    tensors = {"image": x, **floats.model.runner(names)({"image": x})}
    found = counterparts(graph, floats, codes, tensors)
    places = layer_places(graph, floats, found, {graph.outputs[0].tensor})
    assert len(places) > 4
    for place in places:
        error = LayerTally(floats, place).split(codes, tensors)
        total = sum(error.parts.values())
        assert total.tolist() == error.total.tolist()
        ours, theirs = place.at.reals(codes), np.asarray(tensors[place.at.tensor], np.float64)
        assert np.abs(error.total - (ours - theirs)).max() <= np.abs(ours).max() * 2.0**-44
        some = [part.reshape(-1)[:50].tolist() for part in error.parts.values()]
        whole = error.total.reshape(-1)[:50].tolist()
        assert [sum(map(Fraction, row)) for row in zip(*some, strict=True)] == whole


def test_parts_that_are_not_on_one_grid_would_not_sum_exactly(rng):
    stages = {"float": rng.normal(size=9), "input": rng.normal(size=9) * 1e-9}
    made, ends = np.zeros(9), CodeEnds(np.full(9, -4.0), np.full(9, 3.0), np.ones(9))
    error = split(stages, made, ends, tables=False)
    assert sum(error.parts.values()).tolist() == error.total.tolist()
    loose = [stages["input"] - stages["float"], made - stages["input"]]
    assert sum(Fraction(p[0]) for p in loose) != Fraction(0.0) - Fraction(stages["float"][0])


@pytest.mark.parametrize(
    ("last", "made", "tables", "part"),
    [
        (9.0, 3.0, False, "saturation"),
        (9.0, 3.0, True, "saturation"),
        (3.875, -4.0, False, "saturation"),  # it wraps
        (1.25, 1.0, False, "rounding"),
        (1.875, 1.0, False, "rounding"),  # truncated
        (1.5, 1.0, True, "rounding"),
        (1.5, 2.0, True, "rounding"),
        (3.375, 3.0, True, "rounding"),
        (1.0, 3.0, True, "table"),
        (1.0, 3.0, False, "arithmetic"),
    ],
)
def test_one_number_is_put_down_to_one_part(last, made, tables, part):
    ends = CodeEnds(*(np.array([end]) for end in (-4.0, 3.0, 1.0)))
    error = split({"float": np.array([last])}, np.array([made]), ends, tables=tables)
    assert {n: p.tolist() for n, p in error.parts.items() if p.any()} == {part: [made - last]}


# A fault that was put in is named: layer and kind


def damaged(fine: onnx.ModelProto, kind: str) -> Graph | onnx.ModelProto:
    if kind == "saturation":
        return with_scale(fine, "relu2.scale", 1 / 8)
    if kind == "rounding":
        return with_scale(fine, "relu2.scale", 32)
    graph = hwsim.load(fine)
    op = graph.node("conv2").op
    if kind == "weights":
        return graph.with_op(
            "conv2", replace(op, weights=np.clip(op.weights // 40 * 40 + 20, -128, 127))
        )
    return graph.with_op("conv2", replace(op, bias=op.bias + int(np.abs(op.bias).max())))


@pytest.mark.parametrize("kind", ["saturation", "rounding", "weights", "bias"])
def test_the_layer_that_was_damaged_is_blamed_for_what_was_damaged(fine, kind):
    whole, found = attributed(fine), attributed(damaged(fine, kind))
    worst = found.worst
    assert (worst.edge, worst.blamed) == ("relu2.quantized.codes", kind)
    assert worst.parts[kind].share > 0.8
    before = layer(whole, worst.edge)
    assert worst.own_sqnr_db < before.own_sqnr_db - 10 and before.parts[kind].rms < worst.mean * 9
    for one in found.layers:
        if one.edge not in (worst.edge, "image", "relu1.quantized.codes"):
            assert one.parts["input"].share > 0.5
    assert (worst.saturated > 1000) == (kind == "saturation")


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


def test_weights_of_a_set_are_blamed_and_shown_between_the_sets_own_ends(fine):
    graph = encoded(hwsim.load(fine), {"conv2": WeightSet.parse("ternary")})
    found = attributed(graph)
    assert (found.worst.edge, found.worst.blamed) == ("relu2.quantized.codes", "weights")
    (shown,) = (one for one in found.weights if one.node == "conv2")
    op = graph.node("conv2").op
    values = op.weights * np.array(op.weight_scale)
    assert shown.ends == (values.min(), values.max()) and "2 bits stored" in shown.format
    assert shown.zeros == np.count_nonzero(op.weights == 0) > 100


def test_an_equalized_model_is_compared_with_the_equalized_float_one():
    graph = hwsim.quantize(CNN, IMAGES[:128], bits="w8a8", equalize=True).graph
    other, found = attributed(graph), hwsim.attribute(graph, CNN, SEEN, LABELS, equalize=True)
    assert all(one.sqnr_db is None or one.sqnr_db > 30 for one in found.layers)
    assert layer(other, "relu1.quantized.codes").sqnr_db < 20  # scaled channel by channel
    assert found.decisions.integer_right == other.decisions.integer_right
    assert found.layers[-1].sqnr_db == pytest.approx(other.layers[-1].sqnr_db, abs=0.05)


# Who decides


def test_the_layer_that_decides_a_lost_sample_is_the_one_that_onnx_runtime_finds(tmp_path):
    graph = hwsim.load(quantized("w2a3"))
    found = attributed(graph)
    steps = [("relu1", "relu1.quantized.codes"), ("relu2", "relu2.quantized.codes")]
    steps += [("relu3", "relu3.quantized.codes")]
    codes = hwsim.trace(graph, SEEN)
    plain = onnxruntime.InferenceSession(str(CNN)).run(["logits"], {"image": SEEN})[0]
    classes = [plain.argmax(axis=1)] * 2  # the images' own codes are exact
    for tensor, edge in steps:
        part = tmp_path / f"{tensor}.onnx"
        onnx.utils.extract_model(str(CNN), str(part), [tensor], ["logits"])
        reals = codes[edge] * 2.0 ** -graph.types()[edge].format.frac_bits
        feeds = {tensor: np.moveaxis(reals, -1, 1).astype(np.float32)}
        classes.append(onnxruntime.InferenceSession(str(part)).run(None, feeds)[0].argmax(axis=1))
    classes.append(hwsim.emulate(graph, SEEN).argmax(axis=1))
    edges = ["image", *(edge for _, edge in steps), "logits"]
    decided, first = dict.fromkeys(edges, 0), dict.fromkeys(edges, 0)
    lost = (classes[0] == LABELS) & (classes[-1] != LABELS)
    for sample in np.flatnonzero(lost):
        right = [bool(c[sample] == LABELS[sample]) for c in classes]
        decided[edges[max(k for k in range(5) if right[k])]] += 1
        first[edges[min(k for k in range(6) if not right[k]) - 1]] += 1
    told = found.decisions
    assert told.lost == lost.sum() > 20
    assert {one.edge: one.decided for one in told.layers} == decided
    assert {one.edge: one.first for one in told.layers} == first
    assert sum(decided.values()) == sum(n for o in told.layers for n in o.changes.values())
    assert (told.float_right, told.integer_right) == tuple(
        int((c == LABELS).sum()) for c in (classes[0], classes[-1])
    )
    assert len([name for name, count in decided.items() if count]) > 1


def test_without_labels_the_float_models_classes_are_the_right_ones(fine):
    found = attributed(damaged(fine, "saturation"), labels=None).decisions
    assert not found.labelled and found.float_right == len(SEEN) and found.gained == 0
    assert found.lost == len(SEEN) - found.integer_right > 0
    decided = {one.edge: one.decided for one in found.layers}
    assert sum(decided.values()) == found.lost
    assert decided["relu2.quantized.codes"] > 0.7 * found.lost


# What belongs together, and what does not


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


def test_what_has_no_counterpart_is_listed_and_not_compared(fine):
    graph = hwsim.load(fine)
    found = attributed(graph)
    compared = {one.edge: one.tensor for one in found.layers}
    assert "relu2.quantized.codes.codes" in found.edges and "pool2" in found.tensors  # pooled codes
    assert compared["relu2.quantized.codes"] == "relu2"
    renamed = Graph(
        graph.inputs,
        tuple(replace_edges(node, {"relu2.quantized.codes": "something"}) for node in graph.nodes),
        graph.outputs,
    )
    found = attributed(renamed)
    assert "something" in found.edges and "relu2" in found.tensors
    merged = layer(found, "relu3.quantized.codes")
    assert any("'conv2'" in note or "'conv3'" in note for note in merged.notes)


def replace_edges(node: Node, names: dict[str, str]) -> Node:
    inputs, outputs = ([names.get(e, e) for e in edges] for edges in (node.inputs, node.outputs))
    return Node(node.name, node.op, inputs, outputs)


def test_models_that_do_not_belong_together_are_refused(fine, rng):
    graph = hwsim.load(fine)
    other = {edge: f"{edge}.other" for edge in graph.types() if edge != "image"}
    ports = (replace(graph.outputs[0], name="y", tensor="logits.other"),)
    nodes = tuple(replace_edges(node, other) for node in graph.nodes)
    with pytest.raises(HwsimError, match="no tensor has the name of an edge"):
        attributed(Graph(graph.inputs, nodes, ports))
    small, proto, _ = chain(rng)
    longer = numpy_helper.from_array(np.zeros((7, 5), np.float32), "w1")
    next(t for t in proto.graph.initializer if t.name == "w1").CopyFrom(longer)
    proto.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 7
    with pytest.raises(HwsimError, match="the ModelProto must run on the samples"):
        hwsim.attribute(small, proto, np.zeros((2, 6), np.float32))
    with pytest.raises(HwsimError, match="labels must be class numbers from 0 to 9"):
        attributed(fine, labels=LABELS + 1)
    with pytest.raises(HwsimError, match="not in one with state"):
        hwsim.attribute(STREAMS[0].graph(), CNN, SEEN)


# The command


def test_the_command_gives_json_and_a_page(fine, tmp_path, capsys):
    onnx.save(fine, tmp_path / "q.onnx")
    np.savez(tmp_path / "d.npz", x=SEEN, y=LABELS)
    given = [tmp_path / "q.onnx", "--reference", CNN, "--data", tmp_path / "d.npz"]
    page = tmp_path / "where.html"
    status, out, _ = run(capsys, "attribute", *given, "--page", page, "--json")
    assert status == 0
    told, found = json.loads(out), attributed(fine)
    assert {k: told[k] for k in found.to_dict()} == json.loads(
        json.dumps({**found.to_dict(), "reference": str(CNN)})
    )
    text = page.read_text()
    assert text.count("<svg") == len(found.layers) + len(found.weights) == 5 + 4
    assert all(one.edge in text for one in found.layers)
    status, out, _ = run(capsys, "attribute", *given)
    assert status == 0 and "relu2.quantized.codes" in out and "without a counterpart" in out
    assert "must be" in refused(capsys, "attribute", *given, "--labels", tmp_path / "q.onnx")


def test_histograms_hold_every_number_and_the_ends_of_the_format(fine):
    found = attributed(fine)
    for one in (*found.layers, *found.weights):
        facts = one.to_dict()
        bins = facts["histogram"]
        assert sum(bins["counts"]) == facts.get("codes", facts.get("weights"))
        assert bins["low"] <= one.histogram.least and one.histogram.most <= bins["high"]
        assert len(bins["counts"]) <= 64
    conv = next(one for one in found.weights if one.node == "conv1")
    assert conv.weights == 72 and conv.ends[0] <= conv.histogram.least
