"""The example of `examples/wake_word`: published models on a spoken clip, step by step."""

from __future__ import annotations

import json
import subprocess
import sys
import wave
from pathlib import Path

import pytest
from support.tflite_models import Lite

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "wake_word" / "wake_word.py"
pytestmark = pytest.mark.needs("pymicro_features", "pymicro_wakeword", "tflite_micro", "matplotlib")


def ran(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, SCRIPT, "--out", folder, *arguments]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120)


def test_okay_nabu_is_heard_in_the_clip_at_every_step_as_its_runtime_hears_it(tmp_path):
    done = ran(tmp_path, "okay_nabu", "hey_jarvis")
    assert done.returncode == 0, done.stderr
    nabu, jarvis = json.loads((tmp_path / "wake_word.json").read_text())
    assert (nabu["compared"], nabu["different"]) == (216, 0)
    assert (jarvis["compared"], jarvis["different"]) == (216, 0)
    assert 1.5 < nabu["heard_at"] < 2.5
    assert jarvis["heard_at"] is None
    assert (tmp_path / "okay_nabu.png").read_bytes().startswith(b"\x89PNG")


def test_a_name_that_no_model_has_is_told_with_those_known(tmp_path):
    done = ran(tmp_path, "hey_computer")
    assert done.returncode == 2
    known = "alexa, hey_jarvis, hey_mycroft, okay_nabu"
    must = f"model must be a .tflite file or one of {known}, not 'hey_computer'"
    assert done.stderr.splitlines() == [must]


def test_a_model_that_hears_something_else_is_a_sentence(tmp_path):
    path = tmp_path / "m.tflite"
    lite = Lite()
    x, y = lite.codes("x", (1, 4), 0.5, 0), lite.codes("y", (1, 4), 0.5, 0)
    lite.node("RELU", [x], [y])
    path.write_bytes(lite.build([x], [y]))
    done = ran(tmp_path / "out", path)
    assert done.returncode == 2
    said = (
        f"{path} must hear frames of 40 features, a few a step, and remember the steps before, not "
        "take (4,) and keep no state"
    )
    assert done.stderr.splitlines() == [said]


@pytest.mark.parametrize(
    ("rate", "frames", "told"), [(8000, 800, "16000 Hz"), (16000, 80, "3 frames")]
)
def test_a_clip_that_the_models_cannot_hear_is_a_sentence(tmp_path, rate, frames, told):
    path = tmp_path / "short.wav"
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(rate)
        sound.writeframes(bytes(2 * frames))
    done = ran(tmp_path / "out", "--wav", path)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr
