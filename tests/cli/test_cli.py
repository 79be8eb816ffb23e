"""The command line: results on stdout, one sentence on stderr, and an exit status for each."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.cli_calls import refused, run, tiny
from support.page_html import Balanced

import hwsim
from hwsim.emulator.run import emulate
from hwsim.errors import HwsimError

MODEL = "examples/models/digits_cnn_int8.onnx"


@pytest.fixture(autouse=True)
def terminal(monkeypatch):
    """A terminal of 80 columns, whatever the tests run in."""
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def place(tmp_path):
    tiny().save(tmp_path / "tiny.hwsim")
    np.save(tmp_path / "x.npy", np.array([[1.0, -2.0, 3.0, 4.0]], np.float32))
    return tmp_path


def test_emulate_writes_what_the_library_gives(place, capsys):
    model, x, y = place / "tiny.hwsim", place / "x.npy", place / "y.npy"
    assert run(capsys, "emulate", model, "--input", x, "--output", y)[0] == 0
    assert (np.load(y) == emulate(tiny(), np.load(x))).all()


def test_json_is_one_object_and_nothing_else(place, capsys):
    status, out, _ = run(capsys, "inspect", place / "tiny.hwsim", "--json")
    assert status == 0 and json.loads(out)["model"].endswith("tiny.hwsim")
    status, out, _ = run(capsys, "inspect", place / "none.onnx", "--json")
    assert status == 2 and set(json.loads(out)) == {"error"}


def test_inspect_counts_the_channels_that_may_overflow(capsys):
    model = "examples/hls4ml/digits.hwsim"
    status, out, _ = run(capsys, "inspect", model, "--json")
    found = [node["accumulator"] for node in json.loads(out)["nodes"] if node["accumulator"]]
    assert status == 0 and [acc["overflow"] for acc in found] == ["WRAP", "SAT", "SAT_SYM"]
    assert [acc["channels"]["stepped"] for acc in found] == [0, 12, 10]
    assert [acc["channels"]["overflow"] for acc in found] == [6, 12, 10]
    status, out, _ = run(capsys, "inspect", model)
    assert status == 0 and "s11.7 RND_CONV SAT_SYM" in out


def test_inspect_shows_every_node(capsys):
    status, out, _ = run(capsys, "inspect", MODEL)
    assert status == 0
    assert all(name in out for name in ("conv1", "conv2", "conv3", "logits"))


@pytest.mark.needs("pyosys")
def test_build_makes_a_folder_that_explains_itself(place, capsys):
    out = place / "build"
    status, text, _ = run(
        capsys, "build", place / "tiny.hwsim", "--out", out, "--rtl-only", "--json"
    )
    assert status == 0 and json.loads(text)["bitstream"] is None
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["clock"] == "clk" and manifest["reset"] == "rst"
    assert all((out / name).exists() for name in manifest["sources"] + manifest["memories"])
    assert (out / "hwsim_top.lpf").read_text().count("50 MHZ") == 1
    assert "s_axis" in (out / "README.md").read_text()
    status, path, _ = run(capsys, "report", out)
    assert status == 0
    page = Path(path.strip()).read_text()
    assert "http://" not in page.replace("http://www.w3.org", "") and "prefers-color-scheme" in page
    Balanced().feed(page)


def test_bad_arrays_are_refused_in_a_sentence_and_nothing_is_written(place, capsys):
    model, y = place / "tiny.hwsim", place / "y.npy"

    def sentence(x: Path) -> str:
        text = refused(capsys, "emulate", model, "--input", x, "--output", y)
        assert not y.exists()
        return text

    def saved(array) -> Path:
        np.save(place / "bad.npy", array, allow_pickle=True)
        return place / "bad.npy"

    assert "shape (batch, 4), not (1, 5)" in sentence(saved(np.zeros((1, 5), np.float32)))
    assert "NaN" in sentence(saved(np.full((1, 4), np.nan)))
    assert "numbers" in sentence(saved(np.array([["a"] * 4])))
    assert "object" in sentence(saved(np.array([[None] * 4])))
    (place / "bad.npy").write_bytes((place / "x.npy").read_bytes()[:90])
    assert "bad.npy" in sentence(place / "bad.npy")
    assert "none.npy" in sentence(place / "none.npy")
    assert str(place) in sentence(place)


def test_bad_models_are_refused_in_a_sentence(place, capsys):
    (place / "m.onnx").write_bytes(b"")
    assert "m.onnx" in refused(capsys, "inspect", place / "m.onnx")
    (place / "m.hwsim").write_bytes(pickle.dumps({"a": 1}))
    assert "m.hwsim" in refused(capsys, "inspect", place / "m.hwsim")
    assert "none.onnx" in refused(capsys, "inspect", place / "none.onnx")
    assert str(place) in refused(capsys, "inspect", place)


@pytest.mark.needs("pyosys")
def test_bad_calls_of_build_are_refused_and_leave_nothing(place, capsys):
    model, out = place / "tiny.hwsim", place / "build"

    def sentence(*arguments: object, to: Path = out) -> str:
        text = refused(capsys, "build", model, "--out", to, "--rtl-only", *arguments)
        assert sorted(p.name for p in place.iterdir()) == ["tiny.hwsim", "x.npy"]
        return text

    assert "target must be one of" in sentence("--target", "ecp5-26k")
    assert "not 'fast'" in sentence("--clock", "fast")
    assert "fps must be" in sentence("--fps", "-1")
    assert "fps must be at most" in sentence("--fps", "1e9")
    for wrong in ({"fps": "5"}, {"max_dsp": "5"}, {"max_dsp": 2.5}, {"clock": 50}, {"target": 3}):
        name = next(iter(wrong)).replace("_", "-")
        shown = repr(next(iter(wrong.values())))
        with pytest.raises(HwsimError, match=f"^{name} must be .*, not {shown}"):
            hwsim.build(model, out, rtl_only=True, **wrong)
    assert "must exist and be writable" in sentence(to=place / "a" / "b")
    assert "must be a folder, not the file" in sentence(to=place / "x.npy")
    assert "must be new, empty or of an earlier build" in sentence(to=place)
    assert "pins" in sentence("--pins", place / "x.npy")
    assert "pins must be of a target with bitstreams" in sentence("--target", "xc7", "--pins", "a")


def test_verify_of_a_folder_that_build_did_not_write_is_refused(place, capsys):
    assert "`hwsim build` wrote" in refused(capsys, "verify", place)
    model = place / "tiny.hwsim"
    for command in (["verify"], ["report"], ["verify", "--input", place / "x.npy"]):
        sentence = refused(capsys, *command, model)
        assert sentence == (
            f"a build must be a folder that `hwsim build` wrote, not the file {str(model)!r}"
        )


def test_a_call_without_an_option_is_a_bad_call(place, capsys):
    assert "--out" in refused(capsys, "build", place / "tiny.hwsim")


def test_help_imports_no_framework():
    code = (
        "import sys, hwsim.cli\n"
        "try: hwsim.cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "found = {'onnx', 'amaranth', 'cupy', 'torch'} & set(sys.modules)\n"
        "sys.exit(str(found) if found else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
