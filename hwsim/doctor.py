"""Say which engines and tools work here, by running each on something tiny.

Libraries run in processes of their own with a time limit: one that crashes, hangs or ends the
process is a finding, not the end of the examination.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwsim.errors import HwsimError

if TYPE_CHECKING:
    from rtl.tools import Tool

LIMIT = 120.0
"""Seconds that one check may take; the slowest compiles a simulation."""

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
        for check in pool.map(_carry_out, probes):
            checks.append(check)
            if done is not None:
                done(check)
    return checks


def healthy(checks: Iterable[Check]) -> bool:
    """Tell whether everything in the core group works."""
    return all(check.works for check in checks if check.group == CORE)


def _carry_out(probe: Probe) -> Check:
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


def _library(distribution: str, code: str) -> Callable[[Path], tuple[str | None, str]]:
    """Return a check that runs `code`, which prints what it did, in a Python of its own."""

    def run(folder: Path) -> tuple[str | None, str]:
        try:
            version = metadata.version(distribution)
        except metadata.PackageNotFoundError:
            raise Missing("not installed") from None
        try:
            reply = subprocess.run(
                [sys.executable, "-c", code],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=LIMIT,
                check=False,
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
        from rtl import tools

        tool = tools.program(arguments[0])
        output = tools.run(tool, *arguments[1:], cwd=folder, timeout=LIMIT)
        if expect not in output:
            raise Missing(f"printed {output[:80]!r}, not {expect!r}", tool.version)
        return tool.version, f"printed {expect!r}"

    return run


def _compiler(folder: Path) -> tuple[str | None, str]:
    from rtl import tools

    tool = tools.program("g++")
    source = '#include <coroutine>\n#include <cstdio>\nint main() { std::puts("42"); }\n'
    (folder / "tiny.cpp").write_text(source)
    tools.run(tool, "-std=gnu++20", "-o", "tiny", "tiny.cpp", cwd=folder, timeout=LIMIT)
    reply = subprocess.run(
        [folder / "tiny"], capture_output=True, text=True, timeout=LIMIT, check=False
    )
    if reply.stdout != "42\n":
        raise Missing("compiled a C++20 program that does not run", tool.version)
    return tool.version, "compiled a C++20 program and ran it"


def _verilator(folder: Path) -> tuple[str | None, str]:
    from rtl import tools

    env = tools.environment(simulate=True)
    # Optimizing Verilator's own library would take most of the time.
    env["MAKEFLAGS"] = "OPT_FAST=-O0 OPT_SLOW=-O0 OPT_GLOBAL=-O0"
    tool = tools.verilator()
    design = 'module tiny; initial begin #5 $display("at %0d", $time); $finish; end endmodule\n'
    (folder / "tiny.v").write_text(design)
    build = ["--binary", "--timing", "--timescale", "1ns/1ns", "-j", "1", "tiny.v"]
    tools.run(tool, *build, cwd=folder, timeout=LIMIT, env=env)
    reply = subprocess.run(
        [folder / "obj_dir" / "Vtiny"], capture_output=True, text=True, timeout=LIMIT, check=False
    )
    if "at 5" not in reply.stdout:
        raise Missing(f"simulated {reply.stdout[:80]!r}, not 'at 5'", tool.version)
    return tool.version, f"compiled and ran a simulation ({_origin(tool)})"


def _yosys(folder: Path) -> tuple[str | None, str]:
    from rtl import tools

    tool = tools.yosys()
    (folder / "tiny.v").write_text(
        "module tiny(input signed [7:0] a, b, output signed [15:0] y);\n"
        "assign y = a * b;\nendmodule\n"
    )
    script = "read_verilog tiny.v; synth_ecp5 -top tiny; tee -o stat.json stat -json"
    tools.run(tool, "-q", "-p", script, cwd=folder, timeout=LIMIT)
    cells = json.loads((folder / "stat.json").read_text())["design"]["num_cells_by_type"]
    if cells.get("MULT18X18D") != 1:
        raise Missing(f"mapped a multiplier to {cells!r}", tool.version)
    return tool.version, f"mapped a multiplier to one MULT18X18D ({_origin(tool)})"


def _nextpnr(folder: Path) -> tuple[str | None, str]:
    from rtl import tools

    tool = tools.nextpnr_ecp5()
    ports = {name: {"direction": way, "bits": [bit]} for name, way, bit in NETLIST_PORTS}
    cell = {
        "type": "LUT4",
        "parameters": {"INIT": "0101010101010101"},
        "port_directions": {"A": "input", "Z": "output"},
        "connections": {"A": [2], "Z": [3]},
    }
    top = {"attributes": {"top": "1"}, "ports": ports, "cells": {"lut": cell}, "netnames": {}}
    (folder / "tiny.json").write_text(json.dumps({"creator": "hwsim", "modules": {"tiny": top}}))
    arguments = ["--25k", "--json", "tiny.json", "--textcfg", "tiny.config", "--quiet"]
    options = ["--lpf-allow-unconstrained"]
    tools.run(tool, *arguments, *options, cwd=folder, timeout=LIMIT)
    if ".device LFE5U-25F" not in (folder / "tiny.config").read_text():
        raise Missing("placed a netlist but wrote no configuration", tool.version)
    return tool.version, f"placed and routed a netlist ({_origin(tool)})"


def _ecppack(folder: Path) -> tuple[str | None, str]:
    from rtl import tools

    tool = tools.ecppack()
    (folder / "tiny.config").write_text(".device LFE5U-25F\n")
    tools.run(tool, "--input", "tiny.config", "--bit", "tiny.bit", cwd=folder, timeout=LIMIT)
    size = (folder / "tiny.bit").stat().st_size
    return tool.version, f"packed a bitstream of {size} bytes ({_origin(tool)})"


def _origin(tool: Tool) -> str:
    return "from PATH" if tool.origin.value == "path" else "from its package"


NETLIST_PORTS = (("a", "input", 2), ("y", "output", 3))

_NUMPY = """
import numpy as np
a = np.arange(12, dtype=np.int64).reshape(3, 4)
assert (a @ a.T)[2, 2] == 366
print("multiplied two integer matrices")
"""
_SAFETENSORS = """
import numpy as np
from safetensors.numpy import load, save
assert load(save({"x": np.arange(3)}))["x"].tolist() == [0, 1, 2]
print("wrote and read a tensor")
"""
_ONNX_MODEL = """
import onnx
from onnx import TensorProto as T, helper as h
ports = [h.make_tensor_value_info(name, T.FLOAT, [2]) for name in "xy"]
graph = h.make_graph([h.make_node("Relu", ["x"], ["y"])], "tiny", ports[:1], ports[1:])
model = h.make_model(graph, opset_imports=[h.make_opsetid("", 21)], ir_version=10)
"""
_ONNX = (
    _ONNX_MODEL
    + """
onnx.checker.check_model(onnx.load_from_string(model.SerializeToString()))
print("wrote, read and checked a model")
"""
)
_ONNXRUNTIME = (
    _ONNX_MODEL
    + """
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession(
    model.SerializeToString(), providers=["CPUExecutionProvider"]
)
assert session.run(None, {"x": np.float32([-1, 2])})[0].tolist() == [0, 2]
print("ran a model")
"""
)
_CUPY = """
import cupy
assert cupy.cuda.is_available(), "no CUDA device (a driver for CUDA 13 and an NVIDIA GPU)"
a = cupy.arange(12).reshape(3, 4)
assert int((a @ a.T)[2, 2]) == 366
print("multiplied on", cupy.cuda.runtime.getDeviceProperties(0)["name"].decode())
"""
_NVRTC = """
import cupy
from cupy_backends.cuda.libs import nvrtc
p = nvrtc.createProgram("__global__ void k(int *x) { *x = 1; }", "k.cu", (), ())
nvrtc.compileProgram(p, ("--gpu-architecture=sm_90",))
assert nvrtc.getCUBIN(p)
print("compiled a kernel for sm_90")
"""
_AMARANTH = """
from amaranth import Module, Signal
from amaranth.sim import Simulator
m, n = Module(), Signal(4)
m.d.sync += n.eq(n + 1)
async def bench(ctx):
    await ctx.tick().repeat(5)
    assert ctx.get(n) == 5
s = Simulator(m); s.add_clock(1e-6); s.add_testbench(bench); s.run()
print("simulated a counter")
"""
_COCOTB = """
import os, sys
from pathlib import Path
from rtl import tools
os.environ.update(tools.environment(simulate=True))
os.environ["MAKEFLAGS"] = "OPT_FAST=-O0 OPT_SLOW=-O0 OPT_GLOBAL=-O0"
sys.path.insert(0, os.getcwd())  # the runner hands sys.path on to the simulation
Path("tiny.v").write_text("module tiny(input a, output y); assign y = !a; endmodule")
Path("bench.py").write_text(
    "import cocotb\\nfrom cocotb.triggers import Timer\\n"
    "@cocotb.test()\\nasync def inverts(dut):\\n"
    "    for a in (0, 1):\\n        dut.a.value = a\\n        await Timer(1)\\n"
    "        assert dut.y.value == 1 - a\\n"
)
from cocotb_tools.runner import get_results, get_runner
runner = get_runner("verilator")
quiet = {"build_dir": "build", "log_file": "log"}
runner.build(sources=["tiny.v"], hdl_toplevel="tiny", timescale=("1ns", "1ns"), **quiet)
results = runner.test(hdl_toplevel="tiny", test_module="bench", **quiet)
assert get_results(results) == (1, 0), "its test of an inverter failed"
print("tested an inverter in Verilator")
"""
_QONNX = """
import numpy as np
from qonnx.custom_op.general.quant import quant
scale, zero, bits = np.float32(0.5), np.float32(0), np.float32(4)
y = quant(np.float32([0.3, 9.0]), scale, zero, bits, True, False, "ROUND")
assert y.tolist() == [0.5, 3.5]
print("quantized two numbers")
"""
_HLS4ML = """
import hls4ml
from hls4ml.backends.fpga.fpga_types import APTypeConverter
from hls4ml.backends import get_available_backends
from hls4ml.model.types import FixedPrecisionType
text = APTypeConverter().convert(FixedPrecisionType(16, 6)).definition_cpp()
assert text == "ap_fixed<16,6>", text
assert "vitis" in get_available_backends()
print("wrote ap_fixed<16,6> and has the Vitis backend")
"""
_TORCH = """
import torch
x = torch.ones(3, requires_grad=True)
(x * x).sum().backward()
assert x.grad.tolist() == [2, 2, 2]
print("computed a gradient")
"""
_SKLEARN = """
from sklearn.datasets import load_digits
assert load_digits().images.shape == (1797, 8, 8)
print("read the digits")
"""


def _extra(name: str) -> str:
    return f'pip install "hwsim[{name}]"'


PROBES = (
    Probe("numpy", CORE, _library("numpy", _NUMPY), "pip install hwsim"),
    Probe("safetensors", CORE, _library("safetensors", _SAFETENSORS), "pip install hwsim"),
    Probe("onnx", CORE, _library("onnx", _ONNX), "pip install hwsim"),
    Probe("amaranth", "rtl", _library("amaranth", _AMARANTH), _extra("rtl")),
    Probe("yosys", "rtl", _yosys, _extra("rtl")),
    Probe("nextpnr-ecp5", "rtl", _nextpnr, _extra("rtl")),
    Probe("ecppack", "rtl", _ecppack, _extra("rtl")),
    Probe("perl", "rtl", _program(["perl", "-e", "print 6 * 7"], "42"), "apt-get install perl"),
    Probe("make", "rtl", _program(["make", "--eval", "a:;@echo 42"], "42"), "apt-get install make"),
    Probe("g++", "rtl", _compiler, "apt-get install g++"),
    Probe("verilator", "rtl", _verilator, _extra("rtl")),
    Probe("cocotb", "rtl", _library("cocotb", _COCOTB), _extra("rtl")),
    Probe("onnxruntime", "test", _library("onnxruntime", _ONNXRUNTIME), _extra("test")),
    Probe("scikit-learn", "test", _library("scikit-learn", _SKLEARN), _extra("test")),
    Probe("hls4ml", "hls", _library("hls4ml", _HLS4ML), _extra("hls")),
    Probe("qonnx", "hls", _library("qonnx", _QONNX), _extra("hls")),
    Probe("torch", "train", _library("torch", _TORCH), _extra("train")),
    Probe("nvrtc", "gpu", _library("nvidia-cuda-nvrtc", _NVRTC), _extra("gpu")),
    Probe("cupy", "gpu", _library("cupy-cuda13x", _CUPY), _extra("gpu")),
)

GROUPS = frozenset(probe.group for probe in PROBES)
