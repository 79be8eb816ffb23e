"""The example of `examples/mlperf_tiny`, on small models of the suite's kinds."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support import tflite_run
from support.tflite_maker import Maker

import hwsim

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "mlperf_tiny" / "mlperf_tiny.py"


def ran(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, SCRIPT, *arguments]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=180)


def classifier(path: Path, rng: np.random.Generator) -> Path:
    """Twelve scores of a small map, and their softmax."""
    m = Maker(rng, powers=False, odd=True)
    x, w = m.x(6, 5, 1), m.weights((4, 3, 3, 1), 0, 4)
    seen, scores, shares = m.y(3, 3, 4), m.y(12, top=9), m.fixed(2.0**-8, -128, 12)
    stride = {"padding": 0, "stride_w": 2, "stride_h": 2}
    m.node("CONV_2D", [x, w, m.bias(x, w, 4)], seen, activation="RELU", **stride)
    flat = m.y(36, like=seen)
    m.node("RESHAPE", [seen, m.ints([1, 36])], flat)
    w = m.weights((12, 36), 0, 1)
    m.node("FULLY_CONNECTED", [flat, w, m.bias(flat, w, 12)], scores, activation="NONE")
    path.write_bytes(m.lite.build(m.inputs, m.node("SOFTMAX", [scores], shares, beta=1.0)))
    return path


def autoencoder(path: Path, rng: np.random.Generator) -> Path:
    """Sixteen numbers through three and back."""
    m = Maker(rng, powers=True, odd=False)
    x, w = m.x(16), m.weights((3, 16), 0, 1)
    few, back = m.y(3), m.y(16, top=4)
    m.node("FULLY_CONNECTED", [x, w, m.bias(x, w, 3)], few, activation="RELU")
    w = m.weights((16, 3), 0, 1)
    m.node("FULLY_CONNECTED", [few, w, m.bias(few, w, 16)], back, activation="NONE")
    path.write_bytes(m.lite.build(m.inputs, [back]))
    return path


@pytest.mark.needs("ai_edge_litert", "tflite_micro")
def test_a_report_says_whose_integers_how_good_and_what_hardware(tmp_path, rng):
    first = classifier(tmp_path / "kws_ref_model.tflite", rng)
    second = autoencoder(tmp_path / "other.tflite", rng)
    x = rng.integers(-128, 128, (40, 6, 5, 1)).astype(np.int8)
    y = hwsim.emulate(first, x).argmax(1)
    y[:10] = (y[:10] + 1) % 12
    np.savez(tmp_path / "kws.npz", x=x, y=y)
    codes = rng.integers(-128, 128, (30, 16)).astype(np.int8)
    np.savez(tmp_path / "other.npz", x=codes, y=np.arange(30) % 2)
    given = ["--data", f"kws_ref_model={tmp_path / 'kws.npz'}"]
    given += ["--data", f"other={tmp_path / 'other.npz'}"]
    done = ran(first, second, *given, "--samples", 20, "--json", tmp_path / "found.json")
    assert done.returncode == 0, done.stderr
    one, two = json.loads((tmp_path / "found.json").read_text())
    assert one["sha256"] == hashlib.sha256(first.read_bytes()).hexdigest()
    assert (one["known"], two["known"]) == (False, None)
    for each, outputs in ((one, 240), (two, 320)):
        found = [(c["like"], c["outputs"], c["different"]) for c in each["compared"]]
        assert found == [(like, outputs, 0) for like in tflite_run.SETS]
        assert each["hardware"]["cycles"] > 0
    assert one["quality"] == "accuracy 0.7500 of 40 samples"
    assert two["quality"].startswith("AUC 0.") and two["quality"].endswith(" of 30 samples")
    assert "not the file that is known" in done.stdout and "(not known)" in done.stdout
    assert "0 of 240 outputs different" in done.stdout


def test_what_cannot_be_is_a_sentence(tmp_path, rng):
    path = autoencoder(tmp_path / "m.tflite", rng)
    np.savez(tmp_path / "half.npz", x=np.zeros((3, 16), np.int8))
    for arguments, sentence in (
        (["--data", "m=codes.npy"], "--data must be MODEL=FILE.npz, not 'm=codes.npy'"),
        (["--data", "n=x.npz"], "--data must name one of the models, not n"),
        (["--samples", 0], "--samples must be at least 1, not 0"),
        (["--target", "best"], "target must be one of ecp5-25k, ecp5-85k, xc7, xcup, not 'best'"),
        (["--json", "none/m.json"], "the folder of --json none/m.json must be there"),
        (
            ["--samples", 2, "--data", f"m={tmp_path / 'half.npz'}"],
            f"{tmp_path / 'half.npz'} must hold arrays x and y, not x",
        ),
    ):
        done = ran(path, *arguments)
        assert done.returncode == 2
        assert sentence in done.stderr.splitlines()
        assert "Traceback" not in done.stderr
