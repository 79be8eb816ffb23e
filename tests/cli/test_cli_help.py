"""Help, completion and warnings: what the command line says besides its results."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from support.cli_calls import refused, run, tiny

import hwsim
from hwsim.cli import console

ROOT = Path(hwsim.__file__).resolve().parent.parent
COMMANDS = (
    "inspect", "emulate", "accuracy", "prune", "encode", "finetune", "distil", "plan", "build",
    "verify", "report", "doctor",
)  # fmt: skip


def python(*arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A new Python in `folder`, with this checkout on its path."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_80_columns_with_examples_and_no_type_beside_a_flag(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    status, out, _ = run(capsys, command, "--help")
    assert status == 0 and "<bool>" not in out and f"hwsim {command}" in out.split("Examples")[1]
    assert max(map(len, out.splitlines())) <= 80


def test_a_call_without_a_command_is_answered_by_help_and_no_empty_error(capsys):
    status, out, err = run(capsys)
    assert status == 2 and "Usage: hwsim" in out and err == "" and "<bool>" not in out


def test_the_shell_completes_commands_and_options(tmp_path):
    def completed(words: str) -> list[str]:
        done = python(
            "-m",
            "hwsim",
            folder=tmp_path,
            _HWSIM_COMPLETE="complete_bash",
            COMP_WORDS=words,
            COMP_CWORD=str(len(words.split()) - 1),
        )
        return done.stdout.split()

    assert completed("hwsim em") == ["emulate"]
    assert "--target" in completed("hwsim build --t")


@pytest.mark.parametrize("name", ["rtl", "gpu"])
def test_a_folder_with_an_rtl_of_its_own_is_named_in_a_sentence(name, tmp_path):
    tiny().save(tmp_path / "m.hwsim")
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("raise SystemExit('was run')")
    code = f"import hwsim.extras; hwsim.extras.hardware('{name}.anything')"
    done = python("-c", code, folder=tmp_path, PYTHONPATH=f"{tmp_path}:{ROOT}")
    assert f"must be hwsim's own, not '{tmp_path / name}'" in done.stderr
    assert "was run" not in done.stderr
    if name == "rtl":
        call = ("-m", "hwsim", "build", "m.hwsim", "-o", "out", "--rtl-only")
        done = python(*call, folder=tmp_path)
        assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
        assert done.stderr.startswith(
            f"error: the package rtl must be hwsim's own, not '{tmp_path}"
        )
        code = (
            "import hwsim.doctor.checks as d; make = [p for p in d.PROBES if p.name == 'make']; "
            "print(d.carry_out(*make).detail)"
        )
        done = python("-c", code, folder=tmp_path, PYTHONPATH=f"{tmp_path}:{ROOT}")
        assert done.stdout.startswith("the package rtl must be hwsim's own"), done.stderr


def test_a_folder_of_verilog_named_rtl_changes_nothing_or_is_named(tmp_path):
    tiny().save(tmp_path / "m.hwsim")
    (tmp_path / "rtl").mkdir()  # no package, so only an editable installation could take it for one
    done = python("-m", "hwsim", "verify", "nothing", folder=tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "`hwsim build` wrote" in done.stderr or "hwsim's own" in done.stderr


def test_warnings_are_lines_without_paths_and_go_into_the_json(capsys):
    with console.warnings_shown():
        for _ in range(2):
            warnings.warn("codes differ", UserWarning, stacklevel=1)
        console.print_json({"a": 1})
        console.print_json({"error": "b"})
    out, err = capsys.readouterr()
    assert err == "warning: codes differ\n"
    assert out.count('"codes differ"') == 2
    console.print_json({"a": 1})
    assert json.loads(capsys.readouterr().out) == {"a": 1, "warnings": []}


def test_short_options_are_the_long_ones(tmp_path, capsys):
    tiny().save(tmp_path / "m.hwsim")
    np.save(tmp_path / "x.npy", np.ones((2, 4), np.float32))
    model, x = tmp_path / "m.hwsim", tmp_path / "x.npy"
    assert run(capsys, "emulate", model, "-i", x, "-o", tmp_path / "a.npy")[0] == 0
    assert run(capsys, "emulate", model, "--input", x, "--output", tmp_path / "b.npy")[0] == 0
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()
    assert "--output" in refused(capsys, "emulate", model, "-i", x)


@pytest.mark.parametrize(
    ("library", "call", "what"),
    [
        ("amaranth", "hwsim.build('m.hwsim', 'out')", '"hwsim[rtl]"'),
        (
            "PIL",
            "hwsim.data.Images((p,), hwsim.load('m.hwsim').inputs[0], P())[:]",
            '"hwsim[images]"',
        ),
        (
            "onnxruntime",
            "hwsim.accuracy('m.hwsim', [[1, 2, 3, 4]], [0], reference='m.onnx')",
            "onnxruntime",
        ),
    ],
)
def test_a_notebook_without_an_extra_is_told_what_to_install(library, call, what, tmp_path):
    tiny().save(tmp_path / "m.hwsim")
    code = (
        f"import sys; sys.modules[{library!r}] = None\nimport pathlib, hwsim, hwsim.data\n"
        "P, p = hwsim.data.Preparation, pathlib.Path('a.png')\nx = [[1, 2, 3, 4]]\n"
        f"try: {call}\nexcept hwsim.HwsimError as e: print(e)"
    )
    done = python("-c", code, folder=tmp_path)
    assert f"must be installed (pip install {what}), not missing" in done.stdout
    assert library in done.stdout and done.stderr == "" and not (tmp_path / "out").exists()
