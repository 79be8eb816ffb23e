"""No dead code, as far as a look at the source can tell."""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("hwsim", "rtl", "gpu")
READERS = (*PACKAGES, "examples", "benchmarks", "docs", "scripts")
"""Where a use of a name counts: a test's is none."""

CALLED = {
    "with_op",  # a Graph's user
    "healthy",  # the doctor's
    "_root",  # typer
    "_init_file_optimizers",  # hls4ml
    "emit_memory",  # Amaranth
    "exec_module",  # of an importer, by Python
    "get_config",  # of a QKeras quantizer, by hls4ml
}
"""What is called from outside: by users, and by the libraries that it is handed to."""

SOON = {
    "needs_parallel",  # tests plan by it
}
"""What will be called, or go."""


def sources(*folders: str) -> dict[Path, str]:
    """The text of each file of code or documentation."""
    return {
        path: path.read_text(encoding="utf-8")
        for folder in folders
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in (".py", ".md", ".ipynb") or path.parent.name == "scripts"
        if path.is_file() and "__pycache__" not in path.parts
    }


def definitions(text: str) -> Iterator[str]:
    """Functions, classes and constants at the head of a module, and methods."""
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        if isinstance(node, ast.ClassDef):
            yield from (inner.name for inner in node.body if isinstance(inner, ast.FunctionDef))
        elif isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id


def unused(texts: dict[Path, str]) -> Iterator[str]:
    """Names that nothing but their definition mentions."""
    words: Counter[str] = Counter()
    for text in texts.values():
        words.update(re.findall(r"\w+", text))
    for path, text in texts.items():
        if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in PACKAGES:
            yield from (
                f"{path.relative_to(ROOT)}: {name}"
                for name in definitions(text)
                if words[name] == 1 and not name.startswith("__")
            )


def test_every_name_that_is_defined_is_used():
    found = [name for name in unused(sources(*READERS)) if name.split()[1] not in CALLED | SOON]
    assert not found, "\n".join(found)


def test_no_script_hides_a_module_of_the_standard_library():
    """Their folders are on the path of the simulator's Python, which would not start."""
    places = [ROOT / name for name in ("benchmarks", "tests", "examples", "scripts")]
    names = {path.stem: path for place in places for path in place.glob("*.py")}
    assert {"common"} <= names.keys()
    assert [path for name, path in names.items() if name in sys.stdlib_module_names] == []


def test_what_nothing_uses_is_found():
    texts = {
        ROOT / "rtl" / "a.py": "X = 1\nY: int = X\ndef f(): ...\nclass C:\n    def m(self): ...",
        ROOT / "docs" / "a.md": "`C` is used.",
    }
    assert list(unused(texts)) == [f"rtl/a.py: {name}" for name in ("Y", "f", "m")]
