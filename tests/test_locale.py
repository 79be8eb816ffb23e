"""Nothing depends on the locale: every text file names its encoding, and any name can be shown."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hwsim.fixed import Format
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.ops import Relu, TensorType

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("hwsim", "rtl", "gpu", "examples", "scripts", "benchmarks")
OTHER_OPEN = ("os", "zipfile", "tarfile", "gzip", "Image", "archive", "image")


def unnamed(text: str) -> Iterator[int]:
    """Lines of calls that read or write text in whatever encoding the locale has."""
    for call in ast.walk(ast.parse(text)):
        if not isinstance(call, ast.Call):
            continue
        keys = {k.arg: k.value for k in call.keywords}
        if "encoding" not in keys and _takes_text(call, keys):
            yield call.lineno


def _takes_text(call: ast.Call, keys: dict[str | None, ast.expr]) -> bool:
    match call.func:
        case ast.Attribute(attr="read_text" | "write_text"):
            return True
        case ast.Attribute(value=ast.Name(id=owner), attr="open") if owner in OTHER_OPEN:
            return False
        case ast.Name(id="open") | ast.Attribute(attr="fdopen"):
            modes = call.args[1:2]
        case ast.Attribute(attr="open"):
            modes = call.args[:1]
        case ast.Attribute(attr="run" | "Popen" | "check_output"):
            return "text" in keys or "universal_newlines" in keys
        case _:
            return False
    mode = keys.get("mode", modes[0] if modes else ast.Constant("r"))
    return isinstance(mode, ast.Constant) and "b" not in str(mode.value)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("p.read_text()", [1]),
        ("p.write_text(x)", [1]),
        ("open(p)\nopen(p, 'rb')\np.open()\np.open('wb')\nos.open(p, 0)", [1, 3]),
        ("os.fdopen(h, 'w')\nos.fdopen(h, 'wb')", [1]),
        ("subprocess.run(c, text=True)\nsubprocess.run(c)", [1]),
        ("p.read_text(encoding='utf-8')\nopen(p, mode='w', encoding='ascii')", []),
    ],
)
def test_the_check_finds_each_way_to_leave_it_out(text: str, lines: list[int]) -> None:
    assert sorted(unnamed(text)) == lines


def test_every_text_file_names_its_encoding() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        for line in unnamed(path.read_text(encoding="utf-8"))
    ]
    assert found == []


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose names no Latin-1 and no ASCII can write, in a folder of such a name."""
    folder = tmp_path_factory.mktemp("locale") / "Größe-入力"
    folder.mkdir()
    port = InputPort(name="入力", tensor="入力", type=TensorType((4,), Format.int(8)))
    nodes = (Node("λ→μ", Relu(), ("入力",), "出力"),)
    Graph((port,), nodes, (OutputPort(name="出力", tensor="出力"),)).save(folder / "µ.hwsim")
    return folder / "µ.hwsim"


ENCODINGS = {
    "ascii": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "latin-1": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "latin-1"},
}


@pytest.mark.parametrize("name", ENCODINGS)
def test_a_terminal_that_cannot_write_a_name_gets_its_escapes(name: str, model: Path) -> None:
    out = model.parent / f"build-{name}"
    commands: list[list[str | Path]] = [["inspect", model]]
    commands += [["build", model, "--out", out, "--rtl-only"], ["report", out]]
    commands += [["inspect", model.with_name("無.hwsim")], ["verify", model]]
    said = b""
    for command, status in zip(commands, [0, 0, 0, 2, 2], strict=True):
        done = subprocess.run(
            [sys.executable, "-m", "hwsim", *map(str, command)],
            env={**os.environ, **ENCODINGS[name], "PYTHONPATH": str(ROOT)},
            cwd=ROOT, capture_output=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == status, done.stderr.decode("latin-1")
        assert b"Traceback" not in done.stderr
        assert status == 0 or done.stderr.startswith(b"error: ")
        said += done.stdout
    assert b"\\u03bb->\\u03bc" in said and b"\\u5165" in said
    manifest = (out / "manifest.json").read_text(encoding="utf-8")
    assert '"s_axis"' in manifest and "入力" in (out / "README.md").read_text(encoding="utf-8")
