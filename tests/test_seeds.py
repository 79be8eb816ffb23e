"""`--seed` reaches every random test, and is said where one fails."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

from support import seeds

TESTS = Path(__file__).parent
GENERATORS = {"default_rng", "Random"}


def test_another_seed_gives_every_literal_another_number(monkeypatch):
    monkeypatch.delenv(seeds.VARIABLE, raising=False)
    assert [seeds.seeded(n) for n in (0, 1, 71124)] == [0, 1, 71124]
    found = []
    for base in (1, 2, -5, 2**40):
        monkeypatch.setenv(seeds.VARIABLE, str(base))
        found += [seeds.seeded(n) for n in range(1000)]
    assert len(set(found)) == 4000 and all(0 <= n < 2**32 for n in found)
    assert seeds.fixed(3).integers(1 << 60) == seeds.fixed(3).integers(1 << 60)


FAILS = """
import random
from support.seeds import seeded

def test_one(seed, rng):
    assert (seed, rng.integers(1 << 62), random.Random(seeded(7)).random()) == ()
"""


def test_the_seed_is_said_at_the_head_and_where_a_test_fails(tmp_path):
    (tmp_path / "test_one.py").write_text(FAILS)
    replies = [run(tmp_path, "--seed=123"), run(tmp_path, "--seed=4")]
    for reply, base in zip(replies, ("123", "4"), strict=True):
        assert f"random seed: {base} (--seed)" in reply
        assert f"--seed={base}" in reply[reply.index("- random seed -") :]
    values = [[line for line in reply.splitlines() if "assert (" in line][-1] for reply in replies]
    assert values[0] != values[1]


def run(folder: Path, option: str) -> str:
    """What pytest says of a folder of tests with this project's conftest."""
    settings = ("-c", str(TESTS.parent / "pyproject.toml"), "--rootdir", str(folder))
    reply = subprocess.run(
        [sys.executable, "-m", "pytest", *settings, "-p", "conftest", option, "-vv", str(folder)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert reply.returncode == 1, reply.stderr
    return reply.stdout


def literals(text: str) -> list[str]:
    """Generators, and constants named SEED, whose numbers `--seed` does not reach."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in GENERATORS:
            names = [
                n for n in ast.walk(node) if isinstance(n, ast.Name | ast.Attribute | ast.Call)
            ]
            if {ast.unparse(n) for n in names} <= {ast.unparse(n) for n in ast.walk(node.func)} | {
                ast.unparse(node)
            }:
                found.append(ast.unparse(node))
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            found += [ast.unparse(node) for t in node.targets if ast.unparse(t).endswith("SEED")]
    return found


def test_literal_seeds_are_found():
    text = "SEED = 5; np.random.default_rng(3); default_rng(); random.Random(1)\n"
    assert len(literals(text)) == 4
    good = "default_rng(seed + 1); default_rng(seeded(3)); random.Random(SEED); Random(f'{x}')"
    assert literals(good) == []


def test_every_random_test_follows_the_seed():
    found = [
        f"{path.relative_to(TESTS)}: {text}"
        for path in TESTS.rglob("*.py")
        if path not in (Path(seeds.__file__), Path(__file__))
        for text in literals(path.read_text(encoding="utf-8"))
    ]
    assert not found, "\n".join(found)
