"""Where accuracy went: the layer that was damaged is named, who decides, and how it is told."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from support.attributed import (
    CNN,
    IMAGES,
    LABELS,
    SEEN,
    attributed,
    chain,
    layer,
    quantized,
)
from support.cli_calls import refused, run
from support.streams import STREAMS

import hwsim
from hwsim.compress.quantize.nonlinear import WeightSet, encoded
from hwsim.errors import HwsimError
from hwsim.graph import Graph, Node


def with_scale(proto: onnx.ModelProto, name: str, factor: float) -> onnx.ModelProto:
    made = onnx.ModelProto()
    made.CopyFrom(proto)
    for one in made.graph.initializer:
        if one.name == name:
            scaled = numpy_helper.to_array(one) * np.float32(factor)
            one.CopyFrom(numpy_helper.from_array(scaled, name))
            return made
    raise AssertionError(name)


@pytest.fixture(scope="module")
def fine() -> onnx.ModelProto:
    return quantized("w8a8")


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
