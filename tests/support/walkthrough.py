"""Run the code of a page or a notebook as a reader would: every block, in order, as it stands.

`python walkthrough.py FILE` runs Markdown's `python` and `sh` blocks, or a notebook's code cells,
in the current folder; the status is not 0 where one of them fails.
"""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```(python|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TITLED = re.compile(r'^```\w+ title="([^"]+)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)


def blocks(path: Path) -> list[tuple[str, str]]:
    """Language and text of each block that is run."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        return [("python", "".join(c["source"])) for c in cells if c["cell_type"] == "code"]
    return FENCE.findall(text)


def files(path: Path) -> dict[str, str]:
    """What stands in the blocks that have a title, a file's name, by that name."""
    return dict(TITLED.findall(path.read_text(encoding="utf-8")))


def run(path: Path, folder: Path, *, timeout: float = 600) -> str:
    """What a whole page or notebook printed; AssertionError where a block of it fails."""
    with tempfile.TemporaryDirectory() as place:
        command = Path(place) / "hwsim"
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m hwsim "$@"\n')
        command.chmod(0o755)
        done = subprocess.run(
            [sys.executable, "-P", __file__, str(path)],
            cwd=folder,
            env=os.environ
            | {"PATH": f"{place}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
        )
    if done.returncode:
        raise AssertionError(f"{path.name} must run, but:\n{done.stdout}")
    return done.stdout


def execute(language: str, text: str, where: str, names: dict[str, Any], *, show: bool) -> None:
    """One block; with `show` a last expression is printed, as a notebook does."""
    if language == "sh":
        subprocess.run(["bash", "-euo", "pipefail", "-c", text], check=True)
        return
    tree = ast.parse(text, where)
    last = tree.body.pop() if show and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, where, "exec"), names)
    if isinstance(last, ast.Expr):
        shown = eval(compile(ast.Expression(last.value), where, "eval"), names)
        if shown is not None:
            print(shown._repr_html_() if hasattr(shown, "_repr_html_") else repr(shown))


def main(path: Path) -> None:
    """All blocks of a file, in one namespace."""
    names: dict[str, Any] = {"__name__": "__main__"}
    for number, (language, text) in enumerate(blocks(path), start=1):
        execute(language, text, f"{path.name}, block {number}", names, show=path.suffix == ".ipynb")
        sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
