"""Fine-tuning: where it begins, what it is trained on, how it stops, and that it can go on."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file
from sklearn.datasets import load_digits
from support.seeds import seeded

import hwsim
from hwsim.compress.float_model import FloatModel
from hwsim.compress.quantize.linear import Widths, quantize
from hwsim.compress.training.gradients import GradientsStop
from hwsim.compress.training.heads import scores_port
from hwsim.compress.training.loop import Training, finetune
from hwsim.compress.training.loss import Lesson
from hwsim.compress.training.network import TrainableGraph
from hwsim.compress.training.start import float_weights
from hwsim.compress.training.teachers import any_teacher
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
MODELS = Path(__file__).resolve().parents[2] / "examples" / "models"
IMAGES = (load_digits().images / 16).astype(np.float32)[:, None]
LABELS = load_digits().target.astype(np.int64)
FEW = 320


def float_model(name: str = "digits_cnn_int8") -> FloatModel:
    return FloatModel.read(MODELS / f"{name}.float.onnx")


def quantized(bits: str, name: str = "digits_cnn_int8") -> Graph:
    return hwsim.load(quantize(float_model(name), [{"image": IMAGES[:512]}], Widths.parse(bits)))


def codes_of(op: Weighted, reals: np.ndarray) -> np.ndarray:
    """Reals rounded to nearest in the operator's format, without its lowest code."""
    unit = np.array(op.weight_scale or (2.0**-op.weight_format.frac_bits,))
    most = op.weight_format.max
    return np.clip(np.round(reals / unit), -most, most).astype(np.int64)


# Where it begins


@pytest.mark.parametrize("bits", ["w4a4", "w2a3", "w8a8"])
@pytest.mark.parametrize("name", ["digits_cnn_int8", "digits_dw_skip"])
def test_the_float_weights_found_for_a_graph_round_to_its_codes(bits, name):
    graph = quantized(bits, name)
    reals = float_weights(graph, float_model(name))
    layers = [node for node in graph.nodes if isinstance(node.op, Weighted)]
    assert {node.name for node in layers} == set(reals)
    for node in layers:
        assert np.array_equal(codes_of(node.op, reals[node.name]["weights"]), node.op.weights)
        assert (reals[node.name]["weights"] != node.op.weights).any()
        assert "bias" in reals[node.name]
    assert TrainableGraph(graph, reals).frozen().hash() == TrainableGraph(graph).frozen().hash()


@pytest.mark.parametrize("name", ["digits_cnn_int8", "digits_cnn_asym"])
def test_float_weights_are_found_where_a_model_has_no_scale_of_its_weights(name):
    graph = hwsim.load(MODELS / f"{name}.onnx")
    for node in graph.nodes:
        if isinstance(node.op, Weighted):
            op = dataclasses.replace(node.op, weight_scale=None)
            graph = graph.with_op(node.name, op)
    reals = float_weights(graph, float_model(name))
    frozen = TrainableGraph(graph, reals).frozen()
    layers = [node for node in graph.nodes if isinstance(node.op, Weighted)]
    assert len(layers) == len(reals) == 4
    for node in layers:
        apart = np.abs(frozen.node(node.name).op.weights - node.op.weights)
        assert apart.max() <= 1 and (apart == 0).mean() > 0.9


def test_layers_are_found_by_their_weights_where_names_differ():
    graph = quantized("w4a4")
    renamed = dataclasses.replace(
        graph,
        nodes=tuple(dataclasses.replace(n, name=f"n{k}") for k, n in enumerate(graph.nodes)),
    )
    found, wanted = (float_weights(g, float_model()) for g in (renamed, graph))
    assert [v["weights"].tolist() for v in found.values()] == [
        v["weights"].tolist() for v in wanted.values()
    ]


def test_a_float_model_whose_weights_are_others_is_refused_by_the_node(rng):
    graph = quantized("w4a4")
    with pytest.raises(HwsimError, match=r"must have a layer with the 128 weights|'conv1'"):
        float_weights(graph, float_model("digits_dw_skip"))
    node = graph.node("conv2")
    rows = rng.permutation(node.op.weights.reshape(-1)).reshape(node.op.weights.shape)
    other = graph.with_op("conv2", dataclasses.replace(node.op, weights=rows))
    with pytest.raises(HwsimError, match=r"weights of node 'conv2' must be those of the float mod"):
        float_weights(other, float_model())


def test_sums_keep_their_scale_where_training_leaves_no_bias_of_a_finer_unit():
    graph = quantized("w4a4")
    op = graph.node("conv1").op
    finer = graph.with_op("conv1", dataclasses.replace(op, bias_frac=9, bias=op.bias * 4 + 1))
    network = TrainableGraph(finer)
    with_bias = network.frozen().types()["conv1"]
    network.learned["conv1"].bias.data[:] = 0
    without = network.frozen()
    assert not without.node("conv1").op.bias.any()
    assert without.types()["conv1"].scales() == with_bias.scales()
    assert with_bias.scales() != graph.types()["conv1"].scales()


# What gradients pass


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


# Step-wise accumulators


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


# Teachers, and the best epoch


def test_a_teachers_features_are_scored_and_refused_in_another_shape():
    graph, edge = quantized("w4a4"), "relu1.quantized.codes"
    rng = np.random.default_rng(seeded(7))
    scores = rng.random((FEW, 10)).astype(np.float32)
    tensors = rng.random((FEW, *graph.types()[edge].shape)).astype(np.float32)
    places = {x.tobytes(): k for k, x in enumerate(IMAGES[:FEW])}

    def teacher(features):
        def teach(batch):
            rows = [places[x.tobytes()] for x in batch]
            return Lesson(scores[rows], {name: a[rows] for name, a in features.items()})

        return teach

    how = Training(epochs=1, seed=4, batch=32, features=5.0)
    found = {
        finetune(graph, IMAGES[:FEW], None, how, teacher=teacher(features)).hash()
        for features in ({}, {edge: tensors}, {edge: tensors[::-1]})
    }
    assert len(found) == 3
    with pytest.raises(HwsimError, match=rf"tensor for edge '{edge}' must have shape"):
        finetune(graph, IMAGES[:FEW], None, how, teacher=teacher({edge: tensors[..., 1:]}))
    with pytest.raises(HwsimError, match="must be an edge of the model, not 'nowhere'"):
        finetune(graph, IMAGES[:FEW], None, how, teacher=teacher({"nowhere": tensors}))
    with pytest.raises(HwsimError, match="must tell 10 classes apart, as the model does, not 9"):
        finetune(graph, IMAGES[:FEW], None, how, teacher=lambda b: np.zeros((len(b), 9)))


@pytest.mark.needs("onnxruntime")
def test_an_onnx_teachers_tensors_come_channels_last_and_its_scores_ahead_of_a_softmax(tmp_path):
    model, graph = float_model(), quantized("w4a4")
    wanted = next(model.run([{"image": IMAGES[:5]}], ["relu1", "logits"]))
    proto = onnx.load(str(model.path))
    proto.graph.node.append(onnx.helper.make_node("Softmax", ["logits"], ["shares"], axis=1))
    proto.graph.output[0].name = "shares"
    onnx.save(proto, str(tmp_path / "soft.onnx"))
    for path in (model.path, tmp_path / "soft.onnx"):
        teach = any_teacher(path, graph, None, {"relu1.quantized.codes": "relu1"})
        lesson = teach(IMAGES[:5])
        (features,) = lesson.features.values()
        assert np.allclose(lesson.scores, wanted["logits"], atol=1e-4)
        assert np.allclose(features, np.moveaxis(wanted["relu1"], 1, -1), atol=1e-5)
        assert not np.allclose(features, wanted["relu1"], atol=1e-2)


def test_a_graph_as_a_teacher_gives_the_emulators_scores_and_reals():
    larger, graph = quantized("w8a8"), quantized("w2a3")
    edge = "relu1.quantized.codes"
    lesson = any_teacher(larger, graph, None, {edge: edge})(IMAGES[:7])
    assert np.array_equal(lesson.scores, hwsim.emulate(larger, IMAGES[:7]))
    codes = hwsim.trace(larger, IMAGES[:7])[edge]
    assert np.array_equal(lesson.features[edge], codes * larger.types()[edge].scales()[0])


def test_the_best_epoch_is_kept_and_patience_ends_a_training():
    graph = quantized("w4a4")
    scores, seen = iter([0.5, 0.4, 0.7, 0.6, 0.6, 0.9]), []
    said = []

    def judge(one: Graph) -> float:
        seen.append(one.hash())
        return next(scores)

    how = Training(epochs=6, batch=160, patience=2)
    best = finetune(graph, IMAGES[:FEW], LABELS[:FEW], how, judge=judge, say=said.append)
    assert [epoch.best for epoch in said] == [False, True, False, False]
    assert best.hash() == seen[2]
    worse = iter([0.9, 0.1])
    how = Training(epochs=1, batch=160)
    kept = finetune(graph, IMAGES[:FEW], LABELS[:FEW], how, judge=lambda g: next(worse))
    assert kept.hash() == graph.hash()


# Killed and begun again


class KilledError(Exception):
    """What ends a training in a test."""


def killed_after(number: int):
    def say(epoch):
        if epoch.number == number:
            raise KilledError

    return say


def test_a_training_killed_between_epochs_goes_on_to_the_same_graph(tmp_path):
    graph, file = quantized("w4a4"), tmp_path / "state.safetensors"
    given = (graph, IMAGES[:FEW], LABELS[:FEW], Training(epochs=4, batch=64, seed=6))
    more = {"learn_steps": True}
    whole = finetune(*given, **more)
    for number in (1, 3):
        with pytest.raises(KilledError):
            finetune(*given, checkpoint=file, say=killed_after(number), **more)
    epochs = []
    again = finetune(*given, checkpoint=file, say=epochs.append, **more)
    assert [epoch.number for epoch in epochs] == [4]
    assert again.hash() == whole.hash()
    assert finetune(*given, checkpoint=file, **more).hash() == whole.hash()  # nothing left to do

    file.unlink()
    with pytest.raises(KilledError):
        finetune(*given, checkpoint=file, say=killed_after(2), **more)
    with safe_open(file, framework="numpy") as held:
        arrays = {name: held.get_tensor(name) for name in held.keys()}  # noqa: SIM118
        metadata = held.metadata()
    lost = {n: a * 0 if n.endswith("exp_avg") else a for n, a in arrays.items()}
    save_file(lost, file, metadata)
    assert finetune(*given, checkpoint=file, **more).hash() != whole.hash()  # moments count


def test_the_best_so_far_outlives_a_kill(tmp_path):
    graph, file = quantized("w4a4"), tmp_path / "state.safetensors"
    given = (graph, IMAGES[:FEW], LABELS[:FEW], Training(epochs=3, batch=64, seed=6))
    hashes = []
    finetune(*given, judge=lambda g: hashes.append(g.hash()) or len(hashes))
    score = dict(zip(hashes, (0.1, 0.9, 0.5, 0.4), strict=True))
    best = finetune(*given, judge=lambda g: score[g.hash()])
    with pytest.raises(KilledError):
        finetune(*given, judge=lambda g: score[g.hash()], checkpoint=file, say=killed_after(2))
    again = finetune(*given, judge=lambda g: score[g.hash()], checkpoint=file)
    assert best.hash() == again.hash() == hashes[1]


def test_a_checkpoint_of_another_training_or_none_is_refused(tmp_path):
    graph, file = quantized("w4a4"), tmp_path / "state.safetensors"
    data = (IMAGES[:FEW], LABELS[:FEW])
    finetune(graph, *data, Training(epochs=1), checkpoint=file)
    before = file.read_bytes()
    for other in (Training(epochs=1, seed=1), Training(epochs=2), Training(epochs=1, rate=1e-4)):
        with pytest.raises(HwsimError, match="must be a checkpoint of this training"):
            finetune(graph, *data, other, checkpoint=file)
    with pytest.raises(HwsimError, match="must be a checkpoint of this training"):
        finetune(graph, data[0], data[1][::-1].copy(), Training(epochs=1), checkpoint=file)
    assert file.read_bytes() == before
    for text in (b"", before[: len(before) // 2], b"x" * 100):
        file.write_bytes(text)
        with pytest.raises(HwsimError, match="must be a checkpoint of hwsim's training"):
            finetune(graph, *data, Training(epochs=1), checkpoint=file)
        assert file.read_bytes() == text


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
