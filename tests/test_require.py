"""`--require` turns a skip that names a missing tool into a failure, and only such a skip."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import required_skip

# Other plugins only cost their time here; conftest.py finds what it shares with tests by the path.
BARE = os.environ | {
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    "PYTHONPATH": str(Path(__file__).parent),
}

EXAMPLE = """
import pytest

def test_that_runs(): pass

@pytest.mark.needs("no_such_tool")
def test_of_a_tool(): pass

def test_of_a_module(): pytest.importorskip("no_such_module")

@pytest.mark.skip(reason="needs gpu, which is missing")
def test_of_a_gpu(): pass
"""


@pytest.mark.parametrize(
    ("reason", "require", "forbidden"),
    [
        ("needs verilator, which is missing", "verilator", True),
        ("Skipped: could not import 'onnxruntime'", "gpu,onnxruntime", True),
        ("needs verilator, which is missing", "", False),
        ("needs verilator, which is missing", "yosys", False),
        ("needs verilator_x, which is missing", "verilator", False),
        ("needs g++, which is missing", "g++", True),
        ("needs nextpnr-ecp5, which is missing", "nextpnr-ecp5", True),
        ("any other reason", "all", True),
        ("needs gpu, which is missing", "all,-gpu", False),
        ("needs yosys, which is missing", "all,-gpu", True),
    ],
)
def test_a_skip_is_forbidden_where_its_reason_names_a_required_tool(
    reason: str, require: str, forbidden: bool
) -> None:
    assert required_skip(reason, require) is forbidden


@pytest.mark.parametrize(
    ("require", "passed", "failed", "skipped"),
    [
        ("", 1, 0, 3),
        ("no_such_tool", 1, 1, 2),
        ("all,-gpu", 1, 2, 1),
        ("all", 1, 3, 0),
    ],
)
def test_a_required_skip_fails_the_run(
    require: str, passed: int, failed: int, skipped: int, tmp_path: Path
) -> None:
    shutil.copy(Path(__file__).with_name("conftest.py"), tmp_path)
    (tmp_path / "test_example.py").write_text(EXAMPLE)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = needs(*names): tools\n")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--require={require}"]
    reply = subprocess.run(command, cwd=tmp_path, env=BARE, capture_output=True, text=True)
    counts = dict(reversed(pair) for pair in re.findall(r"(\d+) (\w+)", reply.stdout[-80:]))
    found = {name: int(count) for name, count in counts.items()}
    assert found.get("passed", 0) == passed, reply.stdout
    # A skip that is decided before the test runs is an error of its set-up.
    bad = sum(found.get(name, 0) for name in ("failed", "error", "errors"))
    assert (bad, found.get("skipped", 0)) == (failed, skipped), reply.stdout
    assert reply.returncode == (1 if failed else 0)


def test_a_module_that_skips_itself_for_a_required_tool_fails_the_run(tmp_path: Path) -> None:
    shutil.copy(Path(__file__).with_name("conftest.py"), tmp_path)
    (tmp_path / "test_example.py").write_text("import pytest\npytest.importorskip('no_such')\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = needs(*names): tools\n")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
    for require, status in (("", {0, 5}), ("no_such", {1, 2})):
        run = [*command, f"--require={require}"]
        reply = subprocess.run(run, cwd=tmp_path, env=BARE, capture_output=True, text=True)
        assert reply.returncode in status, reply.stdout
    assert "--require forbids this skip" in reply.stdout
