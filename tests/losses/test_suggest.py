"""hls4ml's traps are found by name, and the precisions that are suggested remove what is lost."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from support.cli_calls import refused, run, tiny
from support.hls4ml_models import Model
from support.seeds import seeded

import hwsim
from hwsim.errors import HwsimError
from hwsim.fixed import Format, Overflow
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.losses.suggest import merged
from hwsim.ops import Balanced, Reduce, Reduction, TensorType

pytestmark = [
    pytest.mark.needs("hls4ml"),
    pytest.mark.filterwarnings("ignore::hwsim.InputSaturation"),
]
WEIGHTS = dict.fromkeys(("weight", "bias"), "fixed<10,3>")
DEFAULT = dict.fromkeys(("accum", "result"), "fixed<16,6>")


def classifier(head: str = "softmax") -> Model:
    """Two dense layers, a ReLU and a softmax, most of it in hls4ml's default."""
    model = Model(5, (16,), given="fixed<16,6>")
    hidden = model.dense("x", 24, {**WEIGHTS, "accum": "fixed<24,10>", "result": "fixed<24,10>"})
    relu = model.activation(hidden, "relu", {"result": "fixed<16,6>"})
    scores = model.dense(relu, 5, WEIGHTS | DEFAULT)
    if head == "softmax":
        model.add(
            "Softmax",
            [scores],
            (5,),
            {"result": "fixed<16,6>"},
            {},
            axis=-1,
            n_in=5,
            activation="softmax",
        )
    return model


def inputs(seed: int = 0, samples: int = 600):
    return np.random.default_rng(seed).normal(0, 8, (samples, 16))


def test_a_softmax_that_wraps_and_a_relu_left_at_the_default_are_found(tmp_path):
    found = hwsim.hazards(classifier().build(tmp_path, backend="hwsim"), inputs())
    said = "\n".join(found.named)
    assert "softmax 'softmax4' wraps" in said and "its input needs" in said
    assert "ReLU 'activation2' is left at fixed<16,6>" in said
    rows = {row.name: row for row in found.rows}
    assert rows["activation2"].count.wrapped > 0
    assert rows["softmax4/index"].count.wrapped > 0 and rows["softmax4/index"].what == "index"
    effect = rows["softmax4/index"].effect  # by a difference that stops at the end instead
    assert effect is not None and effect.changed > 0
    calm = hwsim.hazards(classifier().build(tmp_path, backend="hwsim"), inputs() / 64)
    assert not any("softmax" in sentence for sentence in calm.named)


def test_weights_that_decimal_text_changes_are_found(tmp_path):
    model = Model(7, (8,), given="fixed<8,4>")
    model.dense("x", 12, {"weight": "fixed<4,3>", "bias": "fixed<16,6>", "accum": "fixed<20,9>"})
    built = model.build(tmp_path, backend="hwsim")
    weights = model.layers[-1]["weight_data"]
    # one decimal digit, then the floor of halves
    text = [float(f"{value:.1f}") for value in weights.ravel()]
    wrong = int((np.floor(weights.ravel() * 2) != np.floor(np.array(text) * 2)).sum())
    (said,) = hwsim.hazards(built, np.zeros((1, 8))).named
    assert wrong > 0 and f"{wrong} of 96 numbers of weight (fixed<4,3" in said
    assert hwsim.hazards(hwsim.load(built), np.zeros((1, 8))).named == ()


def right(graph: Graph, x, want) -> float:
    """How often the largest score is that of the wide reference."""
    scores = hwsim.emulate(graph, x).reshape(len(x), -1)
    return float((scores.argmax(axis=1) == want).mean())


@pytest.mark.parametrize("options", [{}, {"margin": 2}, {"margin": "intervals"}])
def test_the_suggestion_applied_and_converted_again_loses_nothing(options, tmp_path):
    model, x = classifier("scores"), inputs()
    first = hwsim.load(model.build(tmp_path, backend="hwsim"))
    made = hwsim.suggest(first, x, **options)
    assert made.left == []
    model.config = merged({"LayerName": model.config}, made)["LayerName"]
    again = hwsim.load(model.build(tmp_path, backend="hwsim"))
    assert [row.what for row in hwsim.hazards(again, x).rows] == ["input"]
    assert (hwsim.emulate(again, x) == hwsim.emulate(made.graph, x)).all()
    # the reference: the same constants in float64, from the codes that the input port gives
    edges = hwsim.trace(first, x)
    dense = [node.op for node in first.nodes if node.op.kind == "dense"]
    found = edges["x"] * 2.0**-10
    for place, op in enumerate(dense):
        weights, bias = op.weights * 2.0**-7, op.bias * 2.0**-7
        found = np.maximum(found, 0) @ weights + bias if place else found @ weights + bias
    want = found.argmax(axis=1)
    assert right(again, x, want) == 1.0 > right(first, x, want)


@pytest.mark.parametrize("options", [{}, {"margin": 1}, {"margin": "intervals"}])
def test_the_input_of_a_softmax_that_wraps_gets_the_integer_bits(options, tmp_path):
    model, x = classifier(), inputs()
    first = hwsim.load(model.build(tmp_path, backend="hwsim"))
    made = hwsim.suggest(first, x, overflow_only=True, **options)
    assert made.left == []
    model.config = merged({"LayerName": model.config}, made)["LayerName"]
    found = hwsim.hazards(model.build(tmp_path, backend="hwsim"), x)
    assert not any(row.count.overflows for row in found.rows)
    assert not any("softmax" in sentence for sentence in found.named)


def test_a_precision_for_all_of_a_layer_stays_that_of_the_rest(tmp_path):
    model = Model(1, (3,), given="fixed<8,4>")
    name = model.dense("x", 2, {})
    model.config[name]["Precision"] = "fixed<6,1>"
    x = np.random.default_rng(seeded(2)).normal(0, 3, (50, 3)).astype(np.float32)
    made = hwsim.suggest(hwsim.load(model.build(tmp_path, backend="hwsim")), x)
    config = merged({"LayerName": model.config}, made)["LayerName"]
    assert config[name]["Precision"].pop("default") == "fixed<6,1>"
    assert set(config[name]["Precision"]) == {"accum", "result"}
    before = model.build(tmp_path, backend="hwsim").graph[name].weights["weight"]
    model.config = merged({"LayerName": model.config}, made)["LayerName"]
    after = model.build(tmp_path, backend="hwsim").graph[name].weights["weight"]
    assert str(before.type.precision) == str(after.type.precision) == "fixed<6,1,TRN,WRAP,0>"


def test_it_is_printed_as_yaml(tmp_path, capsys):
    yaml = pytest.importorskip("yaml")
    graph, x = hwsim.load(classifier("scores").build(tmp_path, backend="hwsim")), inputs()
    graph.save(tmp_path / "m.hwsim")
    np.save(tmp_path / "x.npy", x)
    call = ("hazards", tmp_path / "m.hwsim", "-i", tmp_path / "x.npy", "--suggest")
    status, out, _ = run(capsys, *call, "--margin", "1")
    assert status == 0 and yaml.safe_load(out) == hwsim.suggest(graph, x, margin=1).config
    status, out, _ = run(capsys, *call, "--json", "--overflow-only")
    plain = hwsim.suggest(graph, x, overflow_only=True)
    assert status == 0 and json.loads(out)["suggestion"] == plain.config
    said = refused(capsys, *call, "--margin", "wide")
    assert said == "margin must be a number of bits from 0 on or 'intervals', not 'wide'"


def test_other_sources_have_no_precisions_to_suggest():
    with pytest.raises(HwsimError, match="must be for a model that came from hls4ml"):
        hwsim.suggest(tiny(), np.zeros((1, 4)))


def test_a_tree_of_sums_counts_what_leaves_its_range():
    fmt = Format(True, 3, 1)
    acc = Balanced(format=fmt, overflow=Overflow.SAT)
    op = Reduce(reduction=Reduction.SUM, axes=(0,), accumulator=acc)
    port = InputPort(name="x", tensor="x", type=TensorType((3,), Format(True, 3, 2)))
    graph = Graph((port,), (Node("s", op, ("x",), "y"),), (OutputPort(name="y", tensor="y"),))
    # (a + b) + c in steps of 1/2 up to 3.5: kept, rounded, over at once, over at the end
    x = np.array([[1.0, 2.0, 0.5], [0.25, 1.0, 0.0], [3.0, 1.0, -1.0], [3.0, 0.5, 0.5]])
    (row,) = hwsim.hazards(graph, x).rows
    assert (row.count.codes, row.count.saturated, row.count.rounded) == (4, 2, 1)
    wraps = replace(
        graph, nodes=(Node("s", replace(op, accumulator=Balanced(format=fmt)), ("x",), "y"),)
    )
    (row,) = hwsim.hazards(wraps, x).rows
    assert (row.count.wrapped, row.count.rounded) == (1, 1)  # 3 + 1 - 1 comes back
