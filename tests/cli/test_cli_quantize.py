"""`hwsim quantize`: a float file in, a small integer one out, or one sentence and nothing."""

from __future__ import annotations

import json
from pathlib import Path

import digits
import numpy as np
import onnxruntime
import pytest
from support.cli_calls import refused, run

import hwsim

FLOAT = Path(digits.__file__).parent / "models" / "digits_cnn_int8.float.onnx"


@pytest.fixture(scope="module")
def data():
    return digits.load()


@pytest.fixture
def place(tmp_path, data):
    np.savez(tmp_path / "train.npz", x=data.train_images, y=data.train_labels)
    np.savez(tmp_path / "test.npz", x=data.test_images, y=data.test_labels)
    np.save(tmp_path / "x.npy", data.train_images)
    return tmp_path


def test_the_accuracies_are_those_of_onnx_runtime_and_of_the_emulator(place, data, capsys):
    out = place / "m.onnx"
    call = ("quantize", FLOAT, "--data", place / "train.npz", "--test", place / "test.npz")
    status, said, _ = run(capsys, *call, "--bits", "w4a8", "-o", out, "--json")
    facts = json.loads(said)
    session = onnxruntime.InferenceSession(str(FLOAT), providers=["CPUExecutionProvider"])
    (reals,) = session.run(None, {"image": data.test_images})
    codes = hwsim.emulate(hwsim.load(out), data.test_images)
    want = {
        kind: int((scores.argmax(1) == data.test_labels).sum())
        for kind, scores in (("float", reals), ("integer", codes))
    }
    assert status == 0 and want["integer"] > 300
    assert {kind: facts["accuracy"][kind]["right"] for kind in want} == want
    assert facts["accuracy"]["samples"] == 360
    made = hwsim.quantize(FLOAT, data.train_images, bits="w4a8")
    assert made.graph.hash() == hwsim.load(out).hash()
    assert json.loads(json.dumps(made.rows)) == facts["layers"]
    floats = hwsim.quantize(FLOAT, data.train_images, samples=None).sqnr
    assert floats is not None and made.sqnr == facts["output_sqnr"] < floats


def test_the_table_says_what_to_type_next_and_that_works(place, capsys):
    out = place / "m.hwsim"
    status, said, _ = run(capsys, "quantize", FLOAT, "--data", place / "x.npy", "-o", out)
    assert status == 0 and "accuracy" not in said
    assert f"next: hwsim plan {out}" in said and "SQNR against the float model's" in said
    status, said, _ = run(capsys, "plan", out)
    assert status == 0


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (("--bits", "8"), "bits must be like w4a8"),
        (("--layer", "conv"), "--layer must be NAME=wNaN, not 'conv'"),
        (("--layer", "none*=w4"), "not 'none*', which fits none"),
        (("--samples", "0"), "--samples must be at least 1, not 0"),
        (("--labels", "train.npz"), "labels must"),
        (("--test", "missing.npy"), "missing.npy"),
        (("--target-accuracy", "1.2"), "must be above 0 and at most 1, as 0.915 or 91.5%, not 1.2"),
        (("--target-bits", "0"), "the target bits must be at least 1, not 0"),
        (("--target-cycles", "0"), "the target cycles must be at least 1, not 0"),
        (("--target-cycles", "9"), "must be a .hwsim file for --target-cycles"),
        (("--target-cycles", "9", "--target", "ecp6"), "not 'ecp6'"),
        (
            ("--target-accuracy", "90%", "--accumulator", "sat9"),
            "an accumulator must not be given with a target accuracy, whose networks are tried",
        ),
        (("--target-accuracy", "0.9"), "must come with samples and their labels, not without"),
    ],
)
def test_a_bad_call_is_one_sentence_and_writes_nothing(more, sentence, place, capsys, monkeypatch):
    monkeypatch.chdir(place)
    np.savez("train.npz", x=np.zeros((3, 1, 8, 8), np.float32), y=np.zeros((3, 7, 2)))
    out = place / "m.onnx"
    assert sentence in refused(capsys, "quantize", FLOAT, "--data", "train.npz", *more, "-o", out)
    assert not out.exists()


@pytest.mark.parametrize("command", ["quantize", "prune"])
def test_an_accuracy_is_not_counted_on_other_samples_than_those_to_test_with(
    command, place, data, capsys
):
    out = place / "m.hwsim"
    model = FLOAT if command == "quantize" else FLOAT.with_name("digits_cnn_int8.onnx")
    call = (command, model, "--data", place / "train.npz", "--target-accuracy", "90%", "-o", out)
    told = refused(capsys, *call, "--test", place / "x.npy")
    assert told == (
        f"{place / 'x.npy'}: samples that a target accuracy is tested with must have labels, "
        "not none"
    )
    np.savez(place / "odd.npz", x=data.test_images, y=np.zeros((360, 7, 2)))
    told = refused(capsys, *call, "--test", place / "odd.npz")
    assert told.startswith(f"{place / 'odd.npz'}: labels must be") and not out.exists()
    pair = {"target_accuracy": 0.9, "test": (data.test_images, None)}
    call = {"quantize": hwsim.quantize, "prune": lambda m, x, **k: hwsim.prune(m, x=x, **k)}
    with pytest.raises(hwsim.HwsimError, match="tested with must have labels, not none"):
        call[command](model, data.train_images, labels=data.train_labels, **pair)


def test_another_suffix_and_a_missing_folder_are_told(place, capsys):
    call = ("quantize", FLOAT, "--data", place / "x.npy", "-o")
    assert "must be a file of .onnx or .hwsim" in refused(capsys, *call, place / "m.tflite")
    assert "--out must be a file in a folder" in refused(capsys, *call, place / "no" / "m.onnx")
    assert sorted(p.name for p in place.iterdir()) == ["test.npz", "train.npz", "x.npy"]


def test_histograms_are_shown_with_what_codes_hold(place, capsys):
    out = place / "m.onnx"
    call = ("quantize", FLOAT, "--data", place / "x.npy", "-o", out)
    status, said, _ = run(capsys, *call, "--histograms")
    assert status == 0 and "histograms of the calibration data" in said
    assert "input image: 0 to 1 on the calibration data" in said
    status, said, _ = run(capsys, *call, "--json")
    facts = json.loads(said)
    assert facts["histograms"][0]["name"] == "image"
    assert all(sum(one["histogram"]["counts"]) == one["numbers"] for one in facts["histograms"])


def test_a_data_set_by_name_is_what_its_arrays_are(place, capsys):
    files = ("--data", place / "train.npz", "--test", place / "test.npz")
    named = ("--data", "set:digits/train", "--test", "set:digits/test")
    facts = []
    for data, out in ((files, place / "a.onnx"), (named, place / "b.onnx")):
        status, said, _ = run(capsys, "quantize", FLOAT, *data, "-o", out, "--json")
        assert status == 0
        facts.append(json.loads(said))
    assert facts[0]["accuracy"] == facts[1]["accuracy"]
    assert facts[0]["layers"] == facts[1]["layers"]
    assert facts[1]["prepared"] == "digits: 1,437 samples, values times 1/16"


def test_a_folder_of_images_calibrates_as_its_pixels_do(place, data, capsys):
    from PIL import Image

    pixels = np.rint(data.train_images[:40, 0] * 255).astype(np.uint8)
    (place / "images").mkdir()
    for number, one in enumerate(pixels):
        Image.fromarray(one).save(place / "images" / f"{number:03}.png")
    np.save(place / "x.npy", pixels[:, None].astype(np.float32) / np.float32(255))
    made = []
    for given in ("images", "x.npy"):
        out = place / "m.onnx"
        status, said, _ = run(
            capsys, "quantize", FLOAT, "--data", place / given, "-o", out, "--json"
        )
        made.append((status, json.loads(said)["histograms"], hwsim.load(out).hash()))
    assert made[0] == made[1] and made[0][0] == 0


def test_classes_without_a_calibration_sample_are_told(place, data, capsys):
    few = data.train_labels < 8
    np.savez(place / "few.npz", x=data.train_images[few], y=data.train_labels[few])
    call = ("quantize", FLOAT, "--data", place / "few.npz", "-o", place / "m.onnx")
    status, _, said = run(capsys, *call)
    assert status == 0
    assert "the samples to calibrate with have none of classes 8, 9, which the model" in said
    status, _, said = run(capsys, "quantize", FLOAT, "--data", "set:digits/train", *call[4:])
    assert status == 0 and "have none" not in said


def test_other_scales_and_corrections_are_options_and_bytes_are_qdq(place, data, capsys):
    call = ("quantize", FLOAT, "--data", place / "x.npy", "--method", "minmax", "--json")
    more = (
        "--scheme",
        "affine",
        "--per-tensor",
        "--equalize",
        "--correct-bias",
        "--rounding",
        "feedback",
    )
    status, said, _ = run(capsys, *call, *more, "-o", place / "m.onnx")
    facts = json.loads(said)
    assert status == 0 and (facts["form"], facts["scheme"]) == ("QDQ", "affine")
    scales = [row["weight_scales"] for row in facts["layers"] if "weight_scales" in row]
    assert all(low == high for low, high in scales)
    made = hwsim.quantize(
        FLOAT,
        data.train_images,
        scheme="affine",
        method="minmax",
        per_channel=False,
        equalize=True,
        correct_bias=True,
        rounding="feedback",
    )
    assert made.graph.hash() == hwsim.load(place / "m.onnx").hash()
    plain = hwsim.quantize(FLOAT, data.train_images, scheme="affine", method="minmax")
    assert made.graph.hash() != plain.graph.hash()


def test_bits_within_a_bound_are_chosen_and_shown(place, capsys):
    call = ("quantize", FLOAT, "--data", place / "train.npz", "--test", place / "test.npz")
    call = (*call, "--samples", "256", "--target-bits", "21000", "-o", place / "m.onnx")
    status, said, _ = run(capsys, *call)
    assert status == 0 and "trade-off found" in said and "networks tried, judged on" in said
    status, said, _ = run(capsys, *call, "--json")
    facts = json.loads(said)
    found = {row["name"]: row["weight_bits"] for row in facts["layers"] if "weight_bits" in row}
    chosen = {row["name"]: row["chosen"] for row in facts["choice"]["rows"]}
    assert found == chosen and len(set(found.values())) > 1
    sizes = {row["name"]: row["weights"] for row in facts["layers"] if "weights" in row}
    bits = sum(sizes[name] * n for name, n in found.items())
    assert bits == facts["choice"]["best"]["bits"] <= 21000


def test_channels_are_chosen_for_cycles_and_the_plan_has_them(place, capsys):
    out = place / "m.hwsim"
    call = ("quantize", FLOAT, "--data", place / "train.npz", "--samples", "64", "-o", out)
    status, said, _ = run(capsys, *call, "--target-cycles", "4000")
    assert status == 0 and "channels" in said and "cycles" in said
    status, said, _ = run(capsys, "plan", out, "--json")
    assert status == 0 and json.loads(said)["fastest"]["cycles"] <= 4000


def test_an_accuracy_out_of_reach_is_told_with_the_highest_and_writes_nothing(place, capsys):
    out = place / "m.onnx"
    call = ("quantize", FLOAT, "--data", place / "x.npy", "--test", place / "test.npz", "-o", out)
    status, said, told = run(capsys, *call, "--samples", "64", "--target-accuracy", "99.99%")
    assert (status, said) == (1, "") and not out.exists()
    assert "keeps an accuracy of 99.99 %: the highest is " in told and "at w8a8" in told
