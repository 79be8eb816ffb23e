"""Fine-tuning: what gradients pass, which scores are trained, step-wise accumulators, settings."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from support.digits_trained import FEW, IMAGES, LABELS, quantized
from support.seeds import seeded

import hwsim
from hwsim.compress.training.gradients import GradientsStop
from hwsim.compress.training.heads import scores_port
from hwsim.compress.training.loop import Training, finetune
from hwsim.errors import HwsimError
from hwsim.fixed import Format, Overflow, Rounding
from hwsim.float_steps import RowStep
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.ops import (
    EXACT,
    ArgMax,
    Cast,
    Conv1D,
    Dense,
    Flatten,
    Mul,
    Reduce,
    Reduction,
    Stepwise,
    Sub,
    Table,
    TensorType,
    Weighted,
    Window,
)

pytestmark = pytest.mark.needs("torch", "array_api_compat")


def port(edge: str, *shape: int, fmt: Format) -> InputPort:
    return InputPort(name=edge, tensor=edge, type=TensorType(shape, fmt))


def dense(inputs: int, outputs: int, salt: int) -> Dense:
    weights = np.random.default_rng(seeded(salt)).integers(-7, 8, (inputs, outputs))
    return Dense(weights=weights, bias=np.zeros(outputs, int), weight_format=Format(True, 4, 2))


def test_layers_that_no_gradient_reaches_are_named_with_what_stops_it():
    conv = Conv1D(
        weights=dense(2, 3, 1).weights[None],
        bias=np.zeros(3, int),
        weight_format=Format(True, 4, 2),
        window=Window((1,)),
    )
    table = Table(values=np.arange(4) * 3, out=Format(False, 4, 0))
    nodes = (
        Node("first", conv, ("x",), "sums"),
        Node("largest", ArgMax(), ("sums",), "picked"),
        Node("looked", table, ("picked",), "looked"),
    )
    x = port("x", 4, 2, fmt=Format(False, 4, 4))
    graph = Graph((x,), nodes, (OutputPort(name="y", tensor="looked"),))
    batch = np.random.default_rng(seeded(2)).random((8, 4, 2)).astype(np.float32)
    labels = np.arange(8) % 4
    with pytest.raises(HwsimError, match=r"nodes 'largest' \(argmax\) stop them"):
        finetune(graph, batch, labels, Training(epochs=1))

    more = (*nodes, Node("row", Flatten(), ("looked",), "row"))
    last = Node("last", dense(4, 3, 3), ("row",), "y")
    graph = Graph((x,), (*more, last), (OutputPort(name="y", tensor="y"),))
    with pytest.warns(GradientsStop, match=r"'first' keep their weights, because .*'largest'"):
        tuned = finetune(graph, batch, labels % 3, Training(epochs=20, rate=0.1))
    assert np.array_equal(tuned.node("first").op.weights, conv.weights)
    assert not np.array_equal(tuned.node("last").op.weights, last.op.weights)


def test_scores_are_taken_ahead_of_an_argmax_and_of_a_softmax_behind_the_port():
    graph = quantized("w4a4")
    (end,) = graph.outputs
    soft = dataclasses.replace(end, steps=(RowStep(op="softmax", axes=(0,)),))
    assert scores_port(dataclasses.replace(graph, outputs=(soft,)), soft) == end
    picked = OutputPort(name="class", tensor="class", element="int64")
    nodes = (*graph.nodes, Node("largest", ArgMax(), (end.tensor,), "class"))
    picking = dataclasses.replace(graph, nodes=nodes, outputs=(picked,))
    assert scores_port(picking, picked) == OutputPort(name="class", tensor=end.tensor)
    how = Training(epochs=1, seed=3, batch=32, rate=1e-2, check=True)

    def weights(one: Graph) -> bytes:
        return b"".join(n.op.weights.tobytes() for n in one.nodes if isinstance(n.op, Weighted))

    found = {
        weights(finetune(g, IMAGES[:FEW], LABELS[:FEW], how))
        for g in (graph, picking, dataclasses.replace(graph, outputs=(soft,)))
    }
    assert len(found) == 1 and found != {weights(graph)}


def test_scores_are_taken_ahead_of_a_softmax_of_codes():
    fmt, out = Format(True, 6, 0), Format(False, 10, 0)
    sums = (
        Node("top", Reduce(reduction=Reduction.MAX, axes=(0,)), ("x",), "most"),
        Node("less", Sub(), ("x", "most"), "less"),
        Node("exp", Table(values=2 ** (np.arange(128) // 16), out=out), ("less",), "terms"),
        Node("sum", Reduce(reduction=Reduction.SUM, axes=(0,)), ("terms",), "sum"),
    )
    size = 1 << 10
    inverse = Table(values=4000 // np.arange(1, size + 1), out=Format(False, 12, 0))
    ends = (
        Node("inv", inverse, ("sum",), "inv"),
        Node("mul", Mul(), ("terms", "inv"), "y"),
    )
    graph = Graph((port("x", 4, fmt=fmt),), (*sums, *ends), (OutputPort(name="y", tensor="y"),))
    assert scores_port(graph, graph.outputs[0]).tensor == "x"


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([0, 10], "labels must be class numbers from 0 to 9, as output 'logits' has, not 10"),
        ([-1, 3], "labels must be class numbers from 0 to 9, as output 'logits' has, not -1"),
        ([], "there must be at least one sample, not none"),
    ],
)
def test_labels_that_are_no_classes_of_the_model_are_told(labels, said):
    with pytest.raises(HwsimError, match=said):
        finetune(quantized("w4a4"), IMAGES[: len(labels)], np.array(labels, np.int64))


def narrow(bits: int | None, overflow: Overflow, salt: int = 5) -> Graph:
    """A perceptron for digits, whose sums live in so many bits, or in any number."""
    fmt = Format(False, 4, 4)
    acc = EXACT
    layers = []
    for k, (inputs, outputs) in enumerate(((64, 24), (24, 10))):
        if bits is not None:
            acc = Stepwise(format=Format(True, bits, 6), overflow=overflow)
        one = dataclasses.replace(dense(inputs, outputs, salt + k), accumulator=acc)
        layers.append(dataclasses.replace(one, weight_format=Format(True, 5, 4)))
    cast = Cast(out=Format(False, 4, 2), rounding=Rounding.RND, overflow=Overflow.SAT)
    nodes = (
        Node("one", layers[0], ("x",), "sums"),
        Node("act", cast, ("sums",), "codes"),
        Node("two", layers[1], ("codes",), "y"),
    )
    return Graph((port("x", 64, fmt=fmt),), nodes, (OutputPort(name="y", tensor="y"),))


def with_accumulators(graph: Graph, like: Graph) -> Graph:
    """The weights of one graph in the accumulators of another."""
    for node in graph.nodes:
        if isinstance(node.op, Weighted):
            op = dataclasses.replace(node.op, accumulator=like.node(node.name).op.accumulator)
            graph = graph.with_op(node.name, op)
    return graph


def narrowed(integer_bits: int, overflow: Overflow) -> tuple[Graph, Graph]:
    """A perceptron trained with wide sums, in narrow accumulators, and after training in them."""
    rows = IMAGES.reshape(-1, 64)[:1200]
    how = Training(epochs=4, rate=1e-2, batch=64, seed=1)
    wide = finetune(narrow(None, overflow), rows, LABELS[:1200], how)
    before = with_accumulators(wide, narrow(integer_bits, overflow))
    again = dataclasses.replace(how, rate=3e-3, epochs=3, check=True)
    return before, finetune(before, rows, LABELS[:1200], again)


def right(graph: Graph) -> float:
    return hwsim.accuracy(graph, IMAGES.reshape(-1, 64)[1200:], LABELS[1200:]).top1


def test_training_in_an_accumulator_that_saturates_has_its_codes_and_gives_accuracy_back():
    before, after = narrowed(2, Overflow.SAT)
    assert after.node("one").op.accumulator == before.node("one").op.accumulator
    assert right(narrowed(4, Overflow.SAT)[0]) > right(before) + 0.03  # it is narrow
    assert right(after) > right(before) + 0.03


def test_training_in_an_accumulator_that_wraps_has_its_codes():
    before, after = narrowed(3, Overflow.WRAP)
    assert (after.node("one").op.weights != before.node("one").op.weights).any()
    assert right(before) < right(narrowed(8, Overflow.WRAP)[0]) - 0.03  # sums do wrap


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"epochs": 0}, "epochs must be at least 1, not 0"),
        ({"rate": 0.0}, "rate must be more than 0, not 0"),
        ({"rate": float("nan")}, "rate must be more than 0, not nan"),
        ({"distil": 1.5}, "distil must be from 0 to 1, not 1.5"),
        ({"patience": 0}, "patience must be at least 1, not 0"),
    ],
)
def test_settings_that_are_none_are_told(setting, said):
    with pytest.raises(HwsimError, match=said):
        Training(**setting)
