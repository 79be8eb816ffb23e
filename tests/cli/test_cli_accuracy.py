"""`hwsim accuracy` and `hwsim.accuracy`: one figure from files and from arrays, or one sentence."""

from __future__ import annotations

import json
import sys
import tracemalloc
from pathlib import Path

import digits
import numpy as np
import pytest
from support.cli_calls import refused, run
from support.seeds import seeded

import hwsim
from hwsim.fixed import Format
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.ops import ArgMax, Dense, Relu, TensorType

MODELS = Path(digits.__file__).parent / "models"
MODEL, FLOAT = MODELS / "digits_cnn_int8.onnx", MODELS / "digits_cnn_int8.float.onnx"


@pytest.fixture(scope="module")
def data():
    return digits.load()


@pytest.fixture
def place(tmp_path, data):
    np.save(tmp_path / "x.npy", data.test_images)
    np.save(tmp_path / "y.npy", data.test_labels)
    return tmp_path


def dense(*tails, outputs: tuple[str, ...] = ("y",)) -> Graph:
    """3 inputs, codes 0 to 15, to 4 scores; then other operators, each an edge of its own."""
    weights = np.array([[1, -1, 0, 2], [0, 2, 1, -1], [-1, 0, 3, 1]])
    ops = [Dense(weights=weights, bias=np.zeros(4, int), weight_format=Format.int(4)), *tails]
    edges = ["x", *outputs[: len(ops)]]
    nodes = tuple(Node(f"n{k}", op, (edges[k],), edges[k + 1]) for k, op in enumerate(ops))
    port = InputPort(name="x", tensor="x", type=TensorType((3,), Format(False, 4, 0)))
    shown = tuple(OutputPort(name=edge, tensor=edge) for edge in edges[1:])
    return Graph((port,), nodes, shown)


def only_last(graph: Graph) -> Graph:
    import dataclasses

    return dataclasses.replace(graph, outputs=graph.outputs[-1:])


def test_the_figure_is_that_of_emulated_outputs(place, data, capsys):
    outputs = hwsim.emulate(hwsim.load(MODEL), data.test_images)
    right = int((outputs.argmax(1) == data.test_labels).sum())
    assert 300 < right < 360
    call = ("accuracy", MODEL, "-i", place / "x.npy", "--labels", place / "y.npy")
    status, out, _ = run(capsys, *call, "--json")
    facts = json.loads(out)
    assert status == 0 and facts["right"] == right and facts["top1"] == right / 360
    assert facts["output"] == "logits" and facts["warnings"] == [] and facts["prepared"] is None
    assert sum(map(sum, facts["confusion"])) == 360
    found = hwsim.accuracy(str(MODEL), data.test_images, data.test_labels)
    assert found.to_dict() == {k: v for k, v in facts.items() if k in found.to_dict()}
    status, out, _ = run(capsys, *call)
    assert status == 0 and f"{100 * right / 360:.2f} %" in out
    assert max(map(len, out.splitlines())) <= 80


@pytest.fixture(autouse=True)
def terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


def test_the_reference_is_counted_on_the_same_samples(place, data, capsys):
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(str(FLOAT), providers=["CPUExecutionProvider"])
    (reals,) = session.run(None, {session.get_inputs()[0].name: data.test_images})
    right = int((reals.argmax(1) == data.test_labels).sum())
    call = ("accuracy", MODEL, "-i", place / "x.npy", "--labels", place / "y.npy")
    status, out, _ = run(capsys, *call, "--reference", FLOAT, "--json")
    assert status == 0 and json.loads(out)["reference"]["right"] == right
    called = hwsim.accuracy(
        MODEL,
        data.test_images,
        data.test_labels,
        reference=lambda x: session.run(None, {session.get_inputs()[0].name: x})[0],
    )
    assert called.reference is not None and called.reference.right == right
    assert "must be a model that ONNX Runtime loads" in refused(
        capsys, *call, "--reference", place / "x.npy"
    )
    assert "none.onnx" in refused(capsys, *call, "--reference", place / "none.onnx")


def test_without_onnx_runtime_the_reference_is_a_sentence(place, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    call = ("accuracy", MODEL, "-i", place / "x.npy", "--labels", place / "y.npy")
    assert "needs onnxruntime" in refused(capsys, *call, "--reference", FLOAT)


def test_without_pillow_a_folder_of_images_is_a_sentence(place, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    for n in range(10):
        (place / "set" / str(n)).mkdir(parents=True)
        (place / "set" / str(n) / "a.png").write_bytes(b"")
    text = refused(capsys, "accuracy", MODEL, "-i", place / "set")
    assert 'pip install "hwsim[images]"' in text


def test_images_npz_and_arrays_give_one_figure(place, data, capsys):
    pillow = pytest.importorskip("PIL.Image")
    pixels = np.rint(data.test_images[:120] * 255).astype(np.uint8)
    labels = data.test_labels[:120]
    order = np.argsort(labels, kind="stable")
    for n in range(120):
        folder = place / "set" / str(labels[n])
        folder.mkdir(parents=True, exist_ok=True)
        pillow.fromarray(pixels[n, 0]).save(folder / f"{n:03}.png")
    x = (pixels.astype(np.float32) / np.float32(255))[order]
    np.savez(place / "d.npz", images=x, labels=labels[order])
    np.savez(place / "raw.npz", x=pixels[order], y=labels[order])
    found = []
    for arguments in (
        ("-i", place / "set"),
        ("-i", place / "d.npz"),
        ("-i", f"{place / 'd.npz'}:images", "--labels", place / "d.npz"),
        ("-i", place / "raw.npz", "--scale", "1/255"),
    ):
        status, out, err = run(capsys, "accuracy", MODEL, *arguments, "--json")
        assert status == 0, err
        found.append({k: json.loads(out)[k] for k in ("right", "confusion", "samples")})
    assert found == [found[0]] * 4 and found[0]["samples"] == 120
    assert "data: pixels times 1/255" in run(capsys, "accuracy", MODEL, "-i", place / "set")[1]


def test_saturating_pixels_are_said(place, data, capsys):
    np.save(place / "x.npy", np.rint(data.test_images * 255).astype(np.uint8))
    call = ("accuracy", MODEL, "-i", place / "x.npy", "--labels", place / "y.npy", "--json")
    status, out, err = run(capsys, *call)
    (warning,) = json.loads(out)["warnings"]
    assert status == 0 and "values saturate: the model takes" in warning and "by 255" in warning
    assert err == f"warning: {warning}\n"
    status, out, _ = run(
        capsys, "emulate", MODEL, "-i", place / "x.npy", "-o", place / "z.npy", "--json"
    )
    assert json.loads(out)["warnings"] == [warning]
    assert json.loads(run(capsys, *call, "--scale", "1/255")[1])["warnings"] == []


def test_tables_of_features_have_their_label_last(tmp_path, capsys):
    graph = dense()
    graph.save(tmp_path / "m.hwsim")
    x = np.array([[1, 2, 3], [9, 0, 1], [0, 7, 2], [4, 4, 4]])
    best = hwsim.emulate(graph, x).argmax(1)
    rows = [",".join(map(str, [*row, label])) for row, label in zip(x, best, strict=True)]
    (tmp_path / "t.csv").write_text("a,b,c,label\n" + "\n".join(rows))
    call = ("accuracy", tmp_path / "m.hwsim", "-i", tmp_path / "t.csv")
    status, out, _ = run(capsys, *call, "--json")
    assert status == 0 and json.loads(out)["top1"] == 1.0 and json.loads(out)["top5"] is None
    names = ["w", "x", "y", "z"]
    texts = [",".join(map(str, [*row, names[b]])) for row, b in zip(x, best, strict=True)]
    (tmp_path / "t.csv").write_text("\n".join(texts))
    text = refused(capsys, *call)
    assert f"the data names {len(set(best))} and output 'y' has 4" in text
    (tmp_path / "names.txt").write_text("\n".join(names))
    status, out, _ = run(capsys, *call, "--classes", tmp_path / "names.txt", "--json")
    assert json.loads(out)["top1"] == 1.0 and json.loads(out)["names"] == names


def test_texts_as_labels_are_numbered_by_name_and_that_is_said(tmp_path, capsys):
    graph = dense()
    graph.save(tmp_path / "m.hwsim")
    x = np.random.default_rng(seeded(7)).integers(0, 16, (60, 3))
    best = hwsim.emulate(graph, x).argmax(1)
    best[:4] = range(4)  # each class is there
    right = f"{100 * np.mean(best == hwsim.emulate(graph, x).argmax(1)):.2f} %"
    np.save(tmp_path / "x.npy", x)
    call = ("accuracy", tmp_path / "m.hwsim", "-i", tmp_path / "x.npy", "--labels")
    for names, note in (
        (["apple", "fig", "kiwi", "plum"], "(0 apple, 1 fig, 2 kiwi, 3 plum)"),
        (["0", "1", "2", "3"], None),
    ):
        np.save(tmp_path / "y.npy", np.array(names)[best])
        status, out, _ = run(capsys, *call, tmp_path / "y.npy")
        assert status == 0 and right in out
        assert ("in the order of their names" in out) == bool(note) and (note or "") in out
    np.save(tmp_path / "y.npy", np.array(["pear", "fig", "kiwi", "apple"])[best])
    status, out, _ = run(capsys, *call, tmp_path / "y.npy")
    assert "(0 apple, 1 fig, 2 kiwi, 3 pear); --classes gives another" in " ".join(out.split())


def test_an_input_of_another_name_is_told_the_models(place, capsys):
    call = ("accuracy", MODEL, "-i", f"img={place / 'x.npy'}", "--labels", place / "y.npy")
    assert refused(capsys, *call) == "--input must name 'image', as the model does, not 'img'"


def test_functions_take_arrays_and_name_the_way_from_a_file():
    x = np.zeros((4, 3), int)
    with pytest.raises(hwsim.HwsimError, match=r"input 'x' must be an array, not 'x\.npy'; np\.lo"):
        hwsim.accuracy(dense(), "x.npy", [0] * 4)
    with pytest.raises(hwsim.HwsimError, match=r"labels must be an array, not 'y\.npy'; np\.load"):
        hwsim.accuracy(dense(), x, "y.npy")
    with pytest.raises(hwsim.HwsimError, match=r"labels must be an array, not None$"):
        hwsim.accuracy(dense(), x, None)
    for wrong, what in (
        ([[1], [2, 3]], "not a list"),
        (3.5, "with a batch axis, not a single number"),
        (np.int64(3), "with a batch axis, not a single number"),
    ):
        for call in ((wrong, [0] * 4), (x, wrong)):
            with pytest.raises(hwsim.HwsimError, match=f" must be an array.*{what}$"):
                hwsim.accuracy(dense(), *call)
    with pytest.raises(hwsim.HwsimError, match=r"4, not 3$"):
        hwsim.accuracy(dense(), x, [0, 1, 2])
    with pytest.raises(hwsim.HwsimError, match=r"1, not 3; a single sample needs a batch axis"):
        hwsim.accuracy(dense(), x[:1], [0, 1, 2])


def test_a_model_that_picks_the_class_itself_is_counted():
    whole, picks = dense(), only_last(dense(ArgMax(), outputs=("s", "y")))
    rng = np.random.default_rng(seeded(3))
    x, labels = rng.integers(0, 16, (50, 3)), rng.integers(0, 4, 50)
    a, b = hwsim.accuracy(whole, x, labels), hwsim.accuracy(picks, x, labels)
    assert dict(a.pairs) == dict(b.pairs) and a.classes == b.classes == 4
    with pytest.raises(hwsim.HwsimError, match=r"from 0 to 3 for the 4 classes .*; do they count"):
        hwsim.accuracy(picks, x, labels + 1)


def test_of_two_outputs_one_must_be_named(tmp_path, capsys):
    graph = dense(Relu(), outputs=("plain", "rectified"))
    graph.save(tmp_path / "m.hwsim")
    x, labels = np.arange(12).reshape(4, 3), np.array([0, 1, 2, 3])
    np.savez(tmp_path / "d.npz", x=x, y=labels)
    call = ("accuracy", tmp_path / "m.hwsim", "-i", tmp_path / "d.npz")
    text = refused(capsys, *call)
    assert "must name the one that classifies, plain or rectified (--output NAME" in text
    assert "one of plain, rectified, not 'third'" in refused(capsys, *call, "--output", "third")
    outputs = hwsim.emulate(graph, x)
    for name in ("plain", "rectified"):
        status, out, _ = run(capsys, *call, "--output", name, "--json")
        assert status == 0
        assert json.loads(out)["right"] == int((outputs[name].argmax(1) == labels).sum())


def test_bad_labels_are_one_sentence_that_names_the_files(place, data, capsys):
    x, y, bad = place / "x.npy", place / "y.npy", place / "bad.npy"

    def sentence(labels) -> str:
        np.save(bad, labels)
        text = refused(capsys, "accuracy", MODEL, "-i", x, "--labels", bad)
        assert str(bad) in text
        return text

    assert "labels must be as many as the samples, 360, not 359" in sentence(data.test_labels[:-1])
    assert "from 0 to 9 for the 10 classes" in sentence(data.test_labels + 1)
    assert "not (360, 1, 8, 8); an array of that shape looks like an input" in sentence(
        data.test_images
    )
    assert "one-hot rows" in sentence(data.test_images.reshape(360, -1))
    assert "whole class numbers" in sentence(data.test_labels / 2)
    assert "the data names 2 and output" in sentence(np.where(data.test_labels > 4, "a", "b"))
    assert "must hold numbers, not Python objects" in sentence(np.array([None] * 360))
    assert "looks like an input" in refused(capsys, "accuracy", MODEL, "-i", y, "--labels", x)
    assert "must have shape (batch, 1, 8, 8), not (360,)" in refused(
        capsys, "accuracy", MODEL, "-i", y, "--labels", y
    )
    assert "because" in refused(capsys, "accuracy", MODEL, "-i", x)
    np.save(bad, data.test_images[:0])
    np.save(y, data.test_labels[:0])
    assert "at least one sample" in refused(capsys, "accuracy", MODEL, "-i", bad, "--labels", y)


def test_outputs_that_are_no_classes_are_one_sentence():
    graph = dense()
    port = InputPort(name="x", tensor="x", type=TensorType((4, 4, 3), Format(False, 4, 0)))
    images = Graph((port,), (Node("r", Relu(), ("x",), "y"),), graph.outputs)
    with pytest.raises(hwsim.HwsimError, match=r"output 'y' must be scores .* not \(2, 4, 4, 3\)"):
        hwsim.accuracy(images, np.zeros((2, 4, 4, 3)), [0, 1])


def test_memory_is_bounded_by_pieces(data, monkeypatch):
    monkeypatch.setattr("hwsim.evaluation.measure.PIECE", 1 << 14)
    graph = hwsim.load(MODEL)
    images = np.broadcast_to(data.test_images[0], (40_000, 1, 8, 8))  # one image's memory
    hwsim.accuracy(graph, images[:100], np.zeros(100, int))
    tracemalloc.start()
    hwsim.accuracy(graph, images, np.zeros(40_000, np.uint8))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8_000_000  # the whole batch has 10 megabytes in float32


def test_a_folder_with_a_broken_image_or_other_classes_is_one_sentence(place, data, capsys):
    pillow = pytest.importorskip("PIL.Image")
    for n in range(10):
        (place / "set" / str(n)).mkdir(parents=True)
        pillow.fromarray(np.zeros((8, 8), np.uint8)).save(place / "set" / str(n) / "a.png")
    assert run(capsys, "accuracy", MODEL, "-i", place / "set")[0] == 0
    broken = place / "set" / "3" / "a.png"
    broken.write_bytes(broken.read_bytes()[:40])
    text = refused(capsys, "accuracy", MODEL, "-i", place / "set")
    assert f"{broken} must be a whole image" in text
    broken.unlink()
    broken.parent.rmdir()
    text = refused(capsys, "accuracy", MODEL, "-i", place / "set")
    assert "the data names 9 and output 'logits' has 10" in text
