"""`make test-gpu` and `make bench-gpu` on a machine of a GPU's kind: few packages, no network.

CuPy's place is taken by NumPy behind arrays that no NumPy function takes (support/without_gpu), and
the packages that such a machine may lack cannot be found.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
LACKING = (
    "threadpoolctl onnxruntime array_api_strict array_api_compat torch xdist sklearn hls4ml "
    "amaranth PIL"
)
FILE = "gpu-Fake-GPU-0-no-device.json"
NO_GPU = "error: a GPU run needs an NVIDIA GPU, and CuPy finds none\n"

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make, which is missing")


def environment(**changes: str) -> dict[str, str]:
    """Only the packages of a bare machine, and a CuPy that is none."""
    paths = (ROOT / "tests" / "support" / "without_gpu", ROOT)
    own = {name: text for name, text in os.environ.items() if not name.startswith("MAKE")}
    plain = {
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "HIDDEN_MODULES": LACKING,
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # of packages that are hidden
    }
    return own | plain | changes


def make(
    target: str, folder: Path, *arguments: str, **changes: str
) -> subprocess.CompletedProcess[str]:
    """One command, as its user types it; nothing is installed, wherever that would be."""
    words = [f"--out {folder}", *arguments]
    reply = subprocess.run(
        ["make", target, f"PYTHON={sys.executable}", f"GPU_ARGS={' '.join(words)}"],
        cwd=ROOT,
        env=environment(**changes),
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert "installing" not in reply.stdout + reply.stderr
    return reply


def written(folder: Path) -> Any:
    """The one file of a folder."""
    assert [path.name for path in folder.iterdir()] == [FILE]
    return json.loads((folder / FILE).read_text(encoding="utf-8"))


def test_all_gpu_tests_run_with_few_packages_and_are_counted(tmp_path):
    reply = make("test-gpu", tmp_path)
    assert reply.returncode == 0, reply.stdout + reply.stderr
    found = written(tmp_path)
    assert found["device"] == "Fake GPU/0 (no device)"
    tests = found["tests"]
    assert tests["failed"] == 0 and tests["failing"] == [] and tests["passed"] > 450
    assert tests["made"]["versions"]["threadpoolctl"] is not None  # its metadata is not hidden
    assert tests["made"]["device"]["cupy"] == "0.0"
    for name, least in (
        ("test_a_gpu_gives_numpys_codes", 200),
        ("test_chains_on_a_gpu_give_numpys_codes", 200),
        ("test_example_models_on_a_gpu_give_numpys_codes_on_every_edge", 3),
        ("test_state_is_carried_to_numpys_codes", 7),
    ):
        counts = tests["compared"][name]
        assert counts["cases"] == counts["equal"] >= least and counts["different"] == []


def test_speed_is_measured_with_few_packages_beside_the_tests_part(tmp_path):
    (tmp_path / FILE).write_text(json.dumps({"tests": {"passed": 7}}), encoding="utf-8")
    reply = make("bench-gpu", tmp_path, "--codes 4096", "--seconds 0")
    assert reply.returncode == 0, reply.stdout + reply.stderr
    found = written(tmp_path)
    assert found["tests"] == {"passed": 7}
    speed = found["speed"]
    rows = [*speed["networks"], *speed["operators"]]
    assert speed["cases"] == speed["equal"] == len(rows) and speed["different"] == []
    names = {row["name"] for row in rows}
    assert {"digits_cnn_int8", "digits_cnn_asym", "digits_dw_skip", "resnet20"} <= names
    for row in rows:
        assert set(row["ms"]) == {"cpu", "cpu_one_thread", "gpu", "gpu_resident"}
        assert min(row["ms"].values()) > 0
        assert row["cpu_over_gpu"] == row["ms"]["cpu"] / row["ms"]["gpu"]
        assert row["cpu_over_gpu_resident"] == row["ms"]["cpu"] / row["ms"]["gpu_resident"]
    assert speed["made"]["versions"]["numpy"] and speed["made"]["device"]["name"]


def test_a_function_of_the_gpu_that_is_wrong_is_seen_by_both(tmp_path):
    """The mutant: every maximum is one too large."""
    reply = make("test-gpu", tmp_path, "-k maxpool", FAKE_GPU_FAULT="maximum")
    assert reply.returncode != 0
    tests = written(tmp_path)["tests"]
    counts = tests["compared"]["test_a_gpu_gives_numpys_codes"]
    assert counts["equal"] < counts["cases"] and "maxpool-plain" in counts["different"]
    assert tests["failed"] == len(tests["failing"]) > 0
    few = ("--codes 4096", "--seconds 0")
    reply = make("bench-gpu", tmp_path, *few, FAKE_GPU_FAULT="maximum")
    assert reply.returncode != 0
    speed = written(tmp_path)["speed"]
    assert "maxpool-plain, batch 8" in speed["different"]
    assert speed["equal"] == speed["cases"] - len(speed["different"]) > 0


@pytest.mark.parametrize("what", ["tests", "speed"])
def test_without_a_gpu_one_sentence_is_all_and_nothing_is_written(what, tmp_path):
    folder = tmp_path / "results"
    script = [sys.executable, "benchmarks/gpu.py", what, "--out", str(folder)]
    reply = subprocess.run(
        script, cwd=ROOT, env=environment(FAKE_GPUS="0"), capture_output=True, text=True
    )
    assert (reply.returncode, reply.stdout, reply.stderr) == (2, "", NO_GPU)
    command = {"tests": "test-gpu", "speed": "bench-gpu"}[what]
    reply = make(command, folder, FAKE_GPUS="0")
    assert reply.returncode == 2 and reply.stderr.startswith(NO_GPU)
    assert not folder.exists()


def test_no_environment_is_made_where_there_is_no_gpu(tmp_path):
    if list(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/dxg").exists():
        pytest.skip("there is a GPU, for which an environment would be made")
    reply = make("test-gpu", tmp_path, HIDDEN_MODULES=f"{LACKING} cupy")
    sentence = "error: a GPU run needs an NVIDIA GPU, and /dev has none\n"
    assert reply.returncode == 2 and reply.stderr.startswith(sentence)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_finds_no_tests_writes_nothing(tmp_path):
    reply = make("test-gpu", tmp_path, "-k no_such_test")
    assert reply.returncode != 0 and "nothing was written" in reply.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_json_is_replaced_whole(tmp_path):
    (tmp_path / FILE).write_text('{"tests": {"pas', encoding="utf-8")
    reply = make("test-gpu", tmp_path, "-k relu-plain")
    assert reply.returncode == 0, reply.stdout + reply.stderr
    assert written(tmp_path)["tests"]["failed"] == 0
