"""`hwsim finetune` and `hwsim distil`: from files to a better model, or one sentence."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import digits
import numpy as np
import onnx
import pytest
from support.cli_calls import refused, run

import hwsim
from hwsim.cli.training_options import TrainingOptions
from hwsim.compress.float_model import FloatModel
from hwsim.compress.quantize.linear import Widths, quantize
from hwsim.compress.training.fit import Wishes
from hwsim.compress.training.loop import Training
from hwsim.ops import EXACT, Weighted
from hwsim.verbs.training import TrainingKeywords

pytestmark = pytest.mark.needs("torch", "array_api_compat", "onnxruntime")
FLOAT = Path(digits.__file__).parent / "models" / "digits_cnn_int8.float.onnx"
TRAINED = 640


@pytest.fixture
def place(tmp_path):
    data = digits.load()
    np.savez(tmp_path / "train.npz", x=data.train_images[:TRAINED], y=data.train_labels[:TRAINED])
    np.savez(tmp_path / "test.npz", x=data.test_images, y=data.test_labels)
    batch = [{"image": data.train_images[:512]}]
    onnx.save(quantize(FloatModel.read(FLOAT), batch, Widths.parse("w2a3")), tmp_path / "m.onnx")
    return tmp_path


def test_the_functions_keywords_and_the_commands_options_are_what_a_training_takes():
    kinds = {}
    for one in (*fields(Wishes), *fields(Training)):
        kinds[one.name] = str(one.type)
    kinds["checkpoint"] = "str | Path | None"  # texts are paths too
    kinds["grids"] = "Any"  # which are of the graph
    del kinds["features"]  # `distil` has edges by that name
    said = {name: kind.__forward_arg__ for name, kind in TrainingKeywords.__annotations__.items()}
    assert said == kinds
    defaults = {one.name: one.default for one in (*fields(Wishes), *fields(Training))}
    for one in fields(TrainingOptions):
        if one.name not in ("test", "test_labels"):
            assert one.default == defaults[one.name], one.name


def call(place: Path, command: str, *more: object) -> list[object]:
    files = ["--data", place / "train.npz", "--test", place / "test.npz", "-o", place / "t.hwsim"]
    return [command, place / "m.onnx", *files, "--batch", 64, "--rate", 3e-3, *more]


def test_fine_tuning_from_files_gives_the_emulators_accuracy_of_a_better_model(place, capsys):
    more = ("--epochs", 3, "--from", FLOAT, "--learn-steps", "--check", "--json")
    status, out, err = run(capsys, *call(place, "finetune", *more))
    assert status == 0, err
    facts = json.loads(out)
    data = digits.load()
    for name, model in (("before", place / "m.onnx"), ("after", place / "t.hwsim")):
        wanted = hwsim.accuracy(model, data.test_images, data.test_labels)
        assert facts[name] == {"samples": 360, "right": wanted.right, "top1": wanted.top1}
    assert facts["after"]["right"] > facts["before"]["right"] + 7
    assert [one["epoch"] for one in facts["epochs"]] == [1, 2, 3]
    assert facts["hash"] == hwsim.load(place / "t.hwsim").hash()
    assert sorted(file.name for file in place.iterdir()) == [
        "m.onnx", "t.hwsim", "test.npz", "train.npz"
    ]  # fmt: skip


def test_distilling_needs_no_labels_and_the_verb_gives_the_same_model(place, capsys):
    data = digits.load()
    np.save(place / "x.npy", data.train_images[:TRAINED])
    more = ("--epochs", 3, "--teacher", FLOAT, "--feature", "relu1.quantized.codes=relu1")
    line = call(place, "distil", *more)
    line[3] = place / "x.npy"
    status, out, err = run(capsys, *line)
    assert status == 0, err
    assert "before" in out and "after" in out and "3 epochs, written" in out
    found = hwsim.distil(
        place / "m.onnx",
        data.train_images[:TRAINED],
        teacher=FLOAT,
        features={"relu1.quantized.codes": "relu1"},
        test=(data.test_images, data.test_labels),
        epochs=3,
        batch=64,
        rate=3e-3,
    )
    assert found.graph.hash() == hwsim.load(place / "t.hwsim").hash()
    assert found.after.right > found.before.right
    status, out, err = run(capsys, *call(place, "distil", "--teacher", place / "t.hwsim",
                                         "--epochs", 1, "--best", "--json"))  # fmt: skip
    assert status == 0, err


def test_the_command_and_the_function_give_a_teacher_the_same_share(place, capsys):
    status, _, err = run(capsys, *call(place, "distil", "--teacher", FLOAT, "--epochs", 1))
    assert status == 0, err
    rows = [np.load(place / f"{name}.npz") for name in ("train", "test")]
    (x, labels), test = [(each["x"], each["y"]) for each in rows]
    how = {"teacher": FLOAT, "test": test, "epochs": 1, "batch": 64, "rate": 3e-3}
    found, half = [
        hwsim.distil(place / "m.onnx", x, labels, **how, **more).graph.hash()
        for more in ({}, {"distil": 0.5})
    ]
    assert found == hwsim.load(place / "t.hwsim").hash() != half


def test_a_tenth_is_held_out_where_there_is_nothing_to_test_with(place):
    data = digits.load()
    found = hwsim.finetune(
        place / "m.onnx", data.train_images[:TRAINED], data.train_labels[:TRAINED],
        epochs=1, checkpoint=place / "c",
    )  # fmt: skip
    assert found.before.samples == found.after.samples == 64
    assert "held out" in found.tested and (place / "c").exists()


def test_what_cannot_be_trained_is_one_sentence_and_nothing_is_written(place, capsys):
    before = sorted(place.iterdir())
    np.save(place.parent / "y.npy", np.full(TRAINED, 11))
    other = FLOAT.with_name("digits_dw_skip.float.onnx")
    for more, said in (
        (("--epochs", 0), "epochs must be at least 1, not 0"),
        (("--from", other), "node 'conv1'"),
        (("--from", place / "none.onnx"), "none.onnx"),
        (("-o", place / "t.onnx"), "--out must be a .hwsim file, not"),
        (("-o", place / "none" / "t.hwsim"), "--out must be a file in a folder"),
        (("--labels", place.parent / "y.npy"), "labels must be class numbers from 0 to 9"),
        (("--checkpoint", FLOAT), "must be a checkpoint of hwsim's training"),
    ):
        assert said in refused(capsys, *call(place, "finetune", *more))
    for more, said in (
        (("--teacher", place / "none.onnx"), "none.onnx must be an ONNX file that can be read"),
        (("--teacher", FLOAT, "--feature", "a"), "--feature must be EDGE=TENSOR, not 'a'"),
        (("--teacher", FLOAT, "--feature", "a=b"), "a feature must be an edge of the model, not"),
        (("--teacher", FLOAT, "--feature", "conv1=b"), "must have a tensor 'b'"),
    ):
        assert said in refused(capsys, *call(place, "distil", *more))
    assert sorted(place.iterdir()) == before


def test_zeros_are_kept_where_asked_for(place, capsys):
    graph = hwsim.load(place / "m.onnx")
    zeros = {n.name: n.op.weights == 0 for n in graph.nodes if hasattr(n.op, "weights")}
    grown = {}
    begun = ("--epochs", 1, "--from", FLOAT)
    for more in ((), ("--keep-zeros",)):
        status, _, err = run(capsys, *call(place, "finetune", *begun, *more))
        assert status == 0, err
        tuned = hwsim.load(place / "t.hwsim")
        grown[more] = sum(int(tuned.node(k).op.weights[z].any()) for k, z in zeros.items())
        assert any((tuned.node(k).op.weights != graph.node(k).op.weights).any() for k in zeros)
    assert grown[()] and not grown["--keep-zeros",]


# Narrow accumulators


SUMS = "exact10,conv1=wrap13,logits=none"


def widths(path: Path) -> dict[str, tuple[int, str]]:
    """Bits of each layer's sums, and what its accumulator does."""
    graph, found = hwsim.load(path), {}
    for node in graph.nodes:
        if isinstance(node.op, Weighted):
            acc = node.op.accumulator
            kind = "exact" if acc == EXACT else acc.overflow.value
            found[node.name] = graph.types()[node.output].format.width, kind
    return found


def test_a_network_is_trained_for_the_accumulators_that_are_named(place, capsys):
    more = ("--epochs", 1, "--from", FLOAT, "--accumulator", SUMS, "--check")
    status, _, err = run(capsys, *call(place, "finetune", *more))
    assert status == 0, err
    found = widths(place / "t.hwsim")
    assert found["conv1"] == (13, "WRAP")
    assert all(bits <= 10 and kind == "exact" for bits, kind in (found["conv2"], found["conv3"]))
    assert found["logits"] == widths(place / "m.onnx")["logits"]
    data = digits.load()
    same = hwsim.finetune(
        place / "m.onnx",
        data.train_images[:TRAINED],
        data.train_labels[:TRAINED],
        test=(data.test_images, data.test_labels),
        start=FLOAT,
        accumulator=SUMS,
        epochs=1,
        batch=64,
        rate=3e-3,
    )
    assert same.graph.hash() == hwsim.load(place / "t.hwsim").hash()


@pytest.mark.parametrize(
    ("sums", "said"),
    [
        ("saturate9", "an accumulator must be like exact16, wrap12 or sat12, of 2 to 48 bits"),
        ("wrap9,fc*=wrap8", "must be of a layer, conv1, conv2, conv3, logits, not of 'fc*', which"),
        ("wrap8", "the accumulator of node 'conv1' must have at least 9 bits, which its inputs of"),
    ],
)
def test_accumulators_that_the_model_cannot_have_are_told(place, capsys, sums, said):
    assert said in refused(capsys, *call(place, "finetune", "--accumulator", sums))
    assert not (place / "t.hwsim").exists()


def test_a_quantized_model_gets_narrow_accumulators_in_a_saved_graph_alone(place, capsys):
    line = ["quantize", FLOAT, "--data", place / "train.npz", "--accumulator", "sat11,conv1=none"]
    said = refused(capsys, *line, "-o", place / "q.onnx")
    assert "the output must be a .hwsim file for --accumulator" in said
    status, _, err = run(capsys, *line, "--bits", "w4a4", "-o", place / "q.hwsim")
    assert status == 0, err
    found = widths(place / "q.hwsim")
    assert {found[name] for name in ("conv2", "conv3", "logits")} == {(11, "SAT")}
    assert found["conv1"][1] == "exact"
    images = digits.load().train_images[:TRAINED]
    same = hwsim.quantize(FLOAT, images, bits="w4a4", accumulator="sat11,conv1=none")
    assert same.graph.hash() == hwsim.load(place / "q.hwsim").hash()
