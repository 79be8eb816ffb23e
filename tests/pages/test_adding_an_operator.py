"""The operator of docs/adding-an-operator.md, added to a copy of the project as the page says."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.walkthrough import ROOT, files

PAGE = ROOT / "docs" / "adding-an-operator.md"
COPIED = ("hwsim", "rtl", "gpu", "tests", "examples", "pyproject.toml")
MOST_LINES = 4  # of files that are there


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A copy of the project with what the page adds."""
    place = tmp_path_factory.mktemp("project")
    for name in COPIED:
        part = ROOT / name
        if part.is_dir():
            shutil.copytree(part, place / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(part, place / name)
    for name, text in files(PAGE).items():
        path = place / name
        path.write_text(with_lines(path.read_text(), text) if path.exists() else text)
    return place


def with_lines(text: str, diff: str) -> str:
    """A file with the lines of a block that begin with `+`, each after the line above it there."""
    lines, at = text.splitlines(), -1
    for line in diff.splitlines():
        if line.startswith("+"):
            at += 1
            lines.insert(at, line[1:])
            continue
        found = [k for k in range(at + 1, len(lines)) if lines[k] == line[1:]]
        assert found, f"the page names a line that is not there: {line[1:]!r}"
        at = found[0]
    return "\n".join(lines) + "\n"


def run(project: Path, *arguments: str) -> str:
    """What Python prints there."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=project,
        env=os.environ | {"PYTHONPATH": str(project)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.needs("amaranth")
def test_the_operator_passes_the_tests_of_every_backend(project):
    named = [p for p in project.rglob("test_*.py") if p.stem in ("test_ops", "test_lowering")]
    assert len(named) == 2
    said = run(
        project, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "absolute", *map(str, named)
    )
    assert int(said.rsplit(" passed", 1)[0].split()[-1]) >= 2 * 7, said


@pytest.mark.needs("verilator")
def test_the_example_is_built_and_verified(project):
    said = run(project, "example.py")
    assert "[[[6 5 4 3]\n  [2 1 0 1]\n  [2 3 4 5]]]" in said
    assert "equal" in said


def test_two_new_files_and_few_lines_elsewhere_are_all():
    added = {name: text for name, text in files(PAGE).items() if name.startswith(("hwsim", "rtl"))}
    new = [name for name in added if not (ROOT / name).exists()]
    lines = [
        line
        for name, text in added.items()
        if name not in new
        for line in text.splitlines()
        if line.startswith("+")
    ]
    assert len(new) == 2 and len(lines) == MOST_LINES
