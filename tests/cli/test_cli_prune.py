"""What hwsim prune refuses in a sentence: options that would do nothing, files of another kind."""

from __future__ import annotations

from pathlib import Path

import digits
import onnx
import pytest
from support.cli_calls import refused, run

import hwsim
from hwsim.errors import HwsimError

MODEL = Path(digits.__file__).parent.resolve() / "models" / "digits_cnn_int8.onnx"
FLOAT = MODEL.with_name("digits_cnn_int8.float.onnx")


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
