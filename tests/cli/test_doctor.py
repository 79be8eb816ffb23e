"""The doctor finds what works by running it, and what does not, whatever way it fails."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hwsim.doctor import checks as doctor
from hwsim.doctor.checks import Check, Missing, Probe
from hwsim.errors import HwsimError


def probe(name: str) -> Probe:
    return next(probe for probe in doctor.PROBES if probe.name == name)


def examine(name: str) -> Check:
    return doctor.carry_out(probe(name))


def check(group: str, *, works: bool) -> Check:
    return Check(
        name="x", group=group, version=None, works=works, detail="", install="", seconds=0.0
    )


def test_the_core_works_here_and_is_plain_data() -> None:
    seen: list[Check] = []
    checks = doctor.examine([doctor.CORE], done=seen.append)
    assert [c.name for c in checks] == ["numpy", "safetensors", "onnx"]
    assert seen == checks
    assert doctor.healthy(checks)
    facts = json.loads(json.dumps([c.as_dict() for c in checks]))
    assert facts[0]["detail"] == "multiplied two integer matrices"
    assert set(facts[0]) == {"name", "group", "version", "works", "detail", "install", "seconds"}


@pytest.mark.needs("amaranth", "yosys", "nextpnr-ecp5", "ecppack", "verilator")
@pytest.mark.parametrize(
    ("name", "detail"),
    [
        ("amaranth", "simulated a counter"),
        ("yosys", "mapped a multiplier to one MULT18X18D"),
        ("nextpnr-ecp5", "placed and routed a netlist"),
        ("ecppack", "packed a bitstream of "),
        ("perl", "printed '42'"),
        ("make", "printed '42'"),
        ("g++", "compiled a C++20 program and ran it"),
    ],
)
def test_a_hardware_tool_works_here(name: str, detail: str) -> None:
    found = examine(name)
    assert found.works, found.detail
    assert found.detail.startswith(detail)
    assert found.version
    assert found.version[0].isdigit()


@pytest.mark.needs("cocotb", "verilator")
def test_cocotb_runs_its_test_in_verilator() -> None:
    found = examine("cocotb")
    assert found.works, found.detail
    assert found.detail == "tested an inverter in Verilator"


@pytest.mark.slow
@pytest.mark.needs("verilator")
def test_verilator_compiles_and_runs_a_simulation() -> None:
    found = examine("verilator")
    assert found.works, found.detail


@pytest.mark.needs("onnxruntime", "sklearn", "hls4ml", "qonnx")
@pytest.mark.parametrize("name", ["onnxruntime", "scikit-learn", "hls4ml", "qonnx"])
def test_a_framework_works_here(name: str) -> None:
    found = examine(name)
    assert found.works, found.detail


@pytest.mark.parametrize(
    ("code", "detail"),
    [
        ("raise ValueError('odd')", "ValueError: odd"),
        ("import os; os._exit(7)", "ended with status 7"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "ended with status -11"),
        ("import time; time.sleep(30)", "did not end within 0.5 s"),
    ],
)
def test_a_library_that_fails_is_a_finding_with_advice(
    code: str, detail: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "sleep" in code:
        monkeypatch.setattr(doctor, "LIMIT", 0.5)
    (tmp_path / "trial.py").write_text(code)
    run = doctor.library("pytest", "trial", tmp_path / "trial.py")
    broken = Probe("pytest", "test", run, "install it")
    found = doctor.carry_out(broken)
    assert (found.works, found.detail, found.install) == (False, detail, "install it")
    assert found.version is not None


def test_a_library_that_is_not_installed_has_no_version() -> None:
    found = doctor.carry_out(Probe("x", "test", doctor.library("hwsim-none-such", ""), "install x"))
    assert (found.version, found.works, found.detail) == (None, False, "not installed")


def test_a_missing_compiler_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = examine("g++")
    assert not found.works
    assert found.detail.startswith("g++ must be on PATH, not missing")
    assert found.install == "apt-get install g++"


def test_a_yosys_that_maps_wrongly_is_not_said_to_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rtl.flow import tools

    liar = 'echo \'{"design": {"num_cells_by_type": {"LUT4": 90}}}\' > stat.json'
    tool = tools.Tool("yosys", ("/bin/sh", "-c", liar), "9.9", tools.Origin.PATH)
    monkeypatch.setattr(tools, "yosys", lambda: tool)
    found = examine("yosys")
    assert not found.works
    assert found.detail == "mapped a multiplier to {'LUT4': 90}"


def test_only_the_core_decides_on_health() -> None:
    assert doctor.healthy([check("core", works=True), check("gpu", works=False)])
    assert not doctor.healthy([check("core", works=False), check("gpu", works=True)])


def test_an_unknown_group_is_refused() -> None:
    with pytest.raises(HwsimError, match=r"a group must be one of core, .*, not 'tpu'"):
        doctor.examine(["tpu"])


def test_a_missing_thing_carries_its_version() -> None:
    assert Missing("why", "1.2").version == "1.2"
