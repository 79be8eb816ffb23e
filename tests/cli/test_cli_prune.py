"""What hwsim prune refuses in a sentence: options that would do nothing, files of another kind."""

from __future__ import annotations

import re
from pathlib import Path

import digits
import numpy as np
import onnx
import pytest
from support.cli_calls import refused, run

import hwsim
from hwsim.errors import HwsimError

MODEL = Path(digits.__file__).parent.resolve() / "models" / "digits_cnn_int8.onnx"
FLOAT = MODEL.with_name("digits_cnn_int8.float.onnx")
X = digits.load().train_images[:64]


@pytest.mark.parametrize(("model", "out"), [(MODEL, "m.hwsim"), (FLOAT, "m.onnx")])
def test_a_file_is_left_alone_that_no_training_keeps_its_state_in(model, out, tmp_path, capsys):
    file = tmp_path / "precious.txt"
    file.write_text("mine")
    said = refused(capsys, "prune", model, "--checkpoint", file, "-o", tmp_path / out)
    assert "a checkpoint (--checkpoint) must come with epochs a round (--epochs-a-round)" in said
    with pytest.raises(HwsimError, match=r"a checkpoint .* must come with epochs a round"):
        hwsim.prune(MODEL, checkpoint=file)
    assert file.read_text() == "mine" and [*tmp_path.iterdir()] == [file]


@pytest.mark.parametrize("suffix", [".onnx", ".ONNX", ".Onnx"])
def test_an_onnx_name_holds_a_float_onnx_model_however_it_is_spelt(suffix, tmp_path, capsys):
    out = tmp_path / f"s{suffix}"
    said = refused(capsys, "prune", MODEL, "-o", out)
    assert "a rule to quantize for" in said and not out.exists()
    assert run(capsys, "prune", FLOAT, "-o", out)[0] == 0
    onnx.checker.check_model(onnx.load_model_from_string(out.read_bytes()))


OPTIONS = {
    "a start": (MODEL, {"start": FLOAT}, r"a start (--from) must come with epochs a round"),
    "a teacher": (MODEL, {"teacher": FLOAT}, r"a teacher (--teacher) must come with epochs a rou"),
    "a start of channels": (
        MODEL,
        {"start": FLOAT, "pattern": "channels", "epochs_a_round": 1},
        "a start (--from) must come with a pattern of single weights, not with channels",
    ),
    "a float's start": (FLOAT, {"start": FLOAT}, "a start (--from) must come with epochs a round"),
    "a float's teacher": (FLOAT, {"teacher": "none"}, "a teacher (--teacher) must come with epo"),
    "a float's runtime": (FLOAT, {"like": "tflite"}, "--like must come with a quantized model"),
    "a float's output": (FLOAT, {"output": "y"}, "--output must come with a target where a float"),
    "a float's samples": (FLOAT, {"data": "none.npz"}, "--data must come with a target where a fl"),
    "a float's labels": (FLOAT, {"labels": "none"}, "--labels must come with a target where a flo"),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_that_would_do_nothing_is_told(name, tmp_path, capsys):
    model, given, said = OPTIONS[name]
    out = tmp_path / ("m.onnx" if model == FLOAT else "m.hwsim")
    spelt = {"start": "--from"}
    options = [(spelt.get(key, f"--{key.replace('_', '-')}"), one) for key, one in given.items()]
    assert said in refused(capsys, "prune", model, *sum(options, ()), "-o", out)
    assert not out.exists()
    if model == MODEL:
        with pytest.raises(HwsimError, match=re.escape(said)):
            hwsim.prune(model, **given)


def test_samples_to_test_with_come_with_an_accuracy_in_python_too():
    said = "samples to test with must come with a target accuracy, not without"
    for call in (hwsim.prune, hwsim.quantize):
        with pytest.raises(HwsimError, match=said):
            call(*((MODEL,) if call is hwsim.prune else (FLOAT, X)), test=(X, None))


def test_what_a_target_costs_is_read_without_one_too(tmp_path, capsys):
    np.save(tmp_path / "x.npy", X)
    asked = ("quantize", FLOAT, "--data", tmp_path / "x.npy", "-o", tmp_path / "m.onnx")
    said = refused(capsys, *asked, "--cost", "hours")
    assert said == "the cost must be one of operations, bits, not 'hours'"
    assert "'few'" in refused(capsys, *asked, "--least", "few")
    assert not (tmp_path / "m.onnx").exists()


def test_a_recipes_prune_tells_before_it_runs_what_would_do_nothing(tmp_path, capsys):
    file = tmp_path / "r.toml"
    head = f'model = "{FLOAT}"\nout = "made"\n[data]\ntrain = "set:digits/train"\n'
    prune, quantize = '[[step]]\ndo = "prune"\n{}\n', '[[step]]\ndo = "quantize"\n'
    for steps in ((prune, quantize), (quantize, prune)):
        for key in ("from", "teacher"):
            text = "".join(steps).format(f'{key} = "{FLOAT}"')
            file.write_text(head + text)
            assert f"(--{key}) must come with epochs a round" in refused(capsys, "compress", file)
    file.write_text(head + quantize + '[[step]]\ndo = "finetune"\npatience = 2\n')
    told = "step 2 (finetune): a patience (--patience) must come with the best epoch (--best)"
    assert told in refused(capsys, "compress", file)
    assert not (tmp_path / "made").exists()


@pytest.mark.needs("torch", "array_api_compat")
def test_a_patience_waits_for_the_best_epoch(tmp_path, capsys):
    told = "a patience (--patience) must come with the best epoch (--best), which it waits for"
    asked = ("finetune", MODEL, "--data", "set:digits/train", "-o", tmp_path / "m.hwsim")
    assert told in refused(capsys, *asked, "--patience", 2)
    with pytest.raises(HwsimError, match=re.escape(told)):
        hwsim.finetune(MODEL, X, np.arange(len(X)) % 10, patience=2)
