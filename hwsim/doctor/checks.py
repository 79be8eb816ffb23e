"""Say which engines and tools work here, by running each on something tiny.

Libraries run in processes of their own with a time limit: one that crashes, hangs or ends the
process is a finding, not the end of the examination.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwsim.doctor.trials import QUICK
from hwsim.errors import HwsimError
from hwsim.extras import hardware

if TYPE_CHECKING:
    from rtl.flow.tools import Tool

LIMIT = 120.0
"""Seconds that one check may take; the slowest compiles a simulation."""

ROOT = str(Path(__file__).parents[2])
TRIALS = Path(__file__).with_name("trials.py")

CORE = "core"
"""The group without which nothing works; the other groups are named after the extras."""


@dataclass(frozen=True, slots=True)
class Check:
    """What was found out about one engine or tool.

    `group` is `core` or the extra that needs it, `detail` what it did or why it failed, `install`
    what to do about it (empty where it works), `seconds` how long the check took.
    """

    name: str
    group: str
    version: str | None
    works: bool
    detail: str
    install: str
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain data for JSON."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Probe:
    """A check to make: `run` returns version and detail, or raises."""

    name: str
    group: str
    run: Callable[[Path], tuple[str | None, str]]
    install: str


def examine(
    groups: Iterable[str] | None = None, *, done: Callable[[Check], None] | None = None
) -> list[Check]:
    """Run the checks of the named groups (all when None) and return them in a fixed order.

    `done` is called with each finished check in that order, for progress.
    """
    chosen = None if groups is None else set(groups)
    if chosen is not None and not chosen <= GROUPS:
        unknown = ", ".join(sorted(chosen - GROUPS))
        raise HwsimError(f"a group must be one of {', '.join(sorted(GROUPS))}, not {unknown!r}")
    probes = [probe for probe in PROBES if chosen is None or probe.group in chosen]
    checks = []
    with ThreadPoolExecutor(max_workers=2) as pool:
        for check in pool.map(carry_out, probes):
            checks.append(check)
            if done is not None:
                done(check)
    return checks


def healthy(checks: Iterable[Check]) -> bool:
    """Tell whether everything in the core group works."""
    return all(check.works for check in checks if check.group == CORE)


def carry_out(probe: Probe) -> Check:
    """Make one check in a temporary folder of its own; what fails is the answer, never raised."""
    start = time.monotonic()
    version: str | None = None
    try:
        with tempfile.TemporaryDirectory(prefix="hwsim-doctor-") as folder:
            version, detail = probe.run(Path(folder))
        works = True
    except Missing as error:
        works, detail, version = False, str(error), error.version
    except HwsimError as error:
        works, detail = False, str(error)
    seconds = round(time.monotonic() - start, 2)
    install = "" if works else probe.install
    return Check(probe.name, probe.group, version, works, detail, install, seconds)


class Missing(Exception):
    """A library or device that is not there or does not do its work."""

    def __init__(self, reason: str, version: str | None = None) -> None:
        super().__init__(reason)
        self.version = version


def _ended(command: Sequence[str | Path], **how: Any) -> subprocess.CompletedProcess[str]:
    """A process that came to its end within the limit, with what it printed."""
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
        encoding="utf-8",
        errors="replace",
        **how,
    )


def _printed(program: Path) -> str:
    """What a program that was just compiled prints."""
    return _ended([program]).stdout


def library(
    distribution: str, trial: str, script: Path = TRIALS
) -> Callable[[Path], tuple[str | None, str]]:
    """Return a check that runs one trial of a script in a Python of its own."""

    def run(folder: Path) -> tuple[str | None, str]:
        try:
            version = metadata.version(distribution)
        except metadata.PackageNotFoundError:
            raise Missing("not installed") from None
        try:
            reply = _ended(
                [sys.executable, "-P", str(script), trial],
                cwd=folder,
                env=dict(os.environ, PYTHONPATH=os.pathsep.join([ROOT, *filter(None, sys.path)])),
                stdin=subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired:
            raise Missing(f"did not end within {LIMIT:g} s", version) from None
        if reply.returncode != 0:
            lines = (reply.stderr or reply.stdout).strip().splitlines()
            reason = lines[-1][:200] if lines else f"ended with status {reply.returncode}"
            raise Missing(reason, version)
        return version, reply.stdout.strip().splitlines()[-1]

    return run


def _program(arguments: list[str], expect: str) -> Callable[[Path], tuple[str | None, str]]:
    """Return a check that runs a program of the system and looks for `expect` in its output."""

    def run(folder: Path) -> tuple[str | None, str]:
        tools = hardware("rtl.flow.tools")

        tool = tools.program(arguments[0])
        output = tools.run(tool, *arguments[1:], cwd=folder, timeout=LIMIT)
        if expect not in output:
            raise Missing(f"printed {output[:80]!r}, not {expect!r}", tool.version)
        return tool.version, f"printed {expect!r}"

    return run


def _compiler(folder: Path) -> tuple[str | None, str]:
    tools = hardware("rtl.flow.tools")

    tool = tools.program("g++")
    source = '#include <coroutine>\n#include <cstdio>\nint main() { std::puts("42"); }\n'
    (folder / "tiny.cpp").write_text(source, encoding="utf-8")
    tools.run(tool, "-std=gnu++20", "-o", "tiny", "tiny.cpp", cwd=folder, timeout=LIMIT)
    if _printed(folder / "tiny") != "42\n":
        raise Missing("compiled a C++20 program that does not run", tool.version)
    return tool.version, "compiled a C++20 program and ran it"


def _verilator(folder: Path) -> tuple[str | None, str]:
    tools = hardware("rtl.flow.tools")

    env = tools.environment(simulate=True)
    env["MAKEFLAGS"] = QUICK
    tool = tools.verilator()
    design = 'module tiny; initial begin #5 $display("at %0d", $time); $finish; end endmodule\n'
    (folder / "tiny.v").write_text(design, encoding="utf-8")
    build = ["--binary", "--timing", "--timescale", "1ns/1ns", "-j", "1", "tiny.v"]
    tools.run(tool, *build, cwd=folder, timeout=LIMIT, env=env)
    output = _printed(folder / "obj_dir" / "Vtiny")
    if "at 5" not in output:
        raise Missing(f"simulated {output[:80]!r}, not 'at 5'", tool.version)
    return tool.version, f"compiled and ran a simulation ({_origin(tool)})"


def _yosys(folder: Path) -> tuple[str | None, str]:
    tools = hardware("rtl.flow.tools")

    tool = tools.yosys()
    (folder / "tiny.v").write_text(
        "module tiny(input signed [7:0] a, b, output signed [15:0] y);\n"
        "assign y = a * b;\nendmodule\n",
        encoding="utf-8",
    )
    script = "read_verilog tiny.v; synth_ecp5 -top tiny; tee -o stat.json stat -json"
    tools.run(tool, "-q", "-p", script, cwd=folder, timeout=LIMIT)
    cells = json.loads((folder / "stat.json").read_text(encoding="utf-8"))["design"][
        "num_cells_by_type"
    ]
    if cells.get("MULT18X18D") != 1:
        raise Missing(f"mapped a multiplier to {cells!r}", tool.version)
    return tool.version, f"mapped a multiplier to one MULT18X18D ({_origin(tool)})"


def _nextpnr(folder: Path) -> tuple[str | None, str]:
    tools = hardware("rtl.flow.tools")

    tool = tools.find(hardware("rtl.targets.ecp5").NEXTPNR)
    ports = {name: {"direction": way, "bits": [bit]} for name, way, bit in NETLIST_PORTS}
    cell = {
        "type": "LUT4",
        "parameters": {"INIT": "0101010101010101"},
        "port_directions": {"A": "input", "Z": "output"},
        "connections": {"A": [2], "Z": [3]},
    }
    top = {"attributes": {"top": "1"}, "ports": ports, "cells": {"lut": cell}, "netnames": {}}
    (folder / "tiny.json").write_text(
        json.dumps({"creator": "hwsim", "modules": {"tiny": top}}), encoding="utf-8"
    )
    arguments = ["--25k", "--json", "tiny.json", "--textcfg", "tiny.config", "--quiet"]
    options = ["--lpf-allow-unconstrained"]
    tools.run(tool, *arguments, *options, cwd=folder, timeout=LIMIT)
    if ".device LFE5U-25F" not in (folder / "tiny.config").read_text(encoding="utf-8"):
        raise Missing("placed a netlist but wrote no configuration", tool.version)
    return tool.version, f"placed and routed a netlist ({_origin(tool)})"


def _ecppack(folder: Path) -> tuple[str | None, str]:
    tools = hardware("rtl.flow.tools")

    tool = tools.find(hardware("rtl.targets.ecp5").ECPPACK)
    (folder / "tiny.config").write_text(".device LFE5U-25F\n", encoding="utf-8")
    tools.run(tool, "--input", "tiny.config", "--bit", "tiny.bit", cwd=folder, timeout=LIMIT)
    size = (folder / "tiny.bit").stat().st_size
    return tool.version, f"packed a bitstream of {size} bytes ({_origin(tool)})"


def _origin(tool: Tool) -> str:
    return "from PATH" if tool.origin.value == "path" else "from its package"


NETLIST_PORTS = (("a", "input", 2), ("y", "output", 3))


def _extra(name: str) -> str:
    return f'pip install "hwsim[{name}]"'


PROBES = (
    Probe("numpy", CORE, library("numpy", "numpy"), "pip install hwsim"),
    Probe("safetensors", CORE, library("safetensors", "safetensors"), "pip install hwsim"),
    Probe("onnx", CORE, library("onnx", "onnx"), "pip install hwsim"),
    Probe("amaranth", "rtl", library("amaranth", "amaranth"), _extra("rtl")),
    Probe("yosys", "rtl", _yosys, _extra("rtl")),
    Probe("nextpnr-ecp5", "rtl", _nextpnr, _extra("rtl")),
    Probe("ecppack", "rtl", _ecppack, _extra("rtl")),
    Probe("perl", "rtl", _program(["perl", "-e", "print 6 * 7"], "42"), "apt-get install perl"),
    Probe("make", "rtl", _program(["make", "--eval", "a:;@echo 42"], "42"), "apt-get install make"),
    Probe("g++", "rtl", _compiler, "apt-get install g++"),
    Probe("verilator", "rtl", _verilator, _extra("rtl")),
    Probe("cocotb", "rtl", library("cocotb", "cocotb"), _extra("rtl")),
    Probe("onnxruntime", "test", library("onnxruntime", "onnxruntime"), _extra("test")),
    Probe("scikit-learn", "test", library("scikit-learn", "sklearn"), _extra("test")),
    Probe("hls4ml", "hls", library("hls4ml", "hls4ml"), _extra("hls")),
    Probe("qonnx", "hls", library("qonnx", "qonnx"), _extra("hls")),
    Probe("torch", "train", library("torch", "torch"), _extra("train")),
    Probe("nvrtc", "gpu", library("nvidia-cuda-nvrtc", "nvrtc"), _extra("gpu")),
    Probe("cupy", "gpu", library("cupy-cuda13x", "cupy"), _extra("gpu")),
)

GROUPS = frozenset(probe.group for probe in PROBES)
