"""The build folder: kept where a clock is missed, its pins said aloud, nothing left of a stop."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from support.seeds import seeded

from hwsim.cli import main
from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.ops import Dense, Relu, TensorType
from hwsim.reporting.folder import write_report
from hwsim.verification import record
from rtl import build as build_module
from rtl.build import PinsNotChosen, Request, build
from rtl.design import Design
from rtl.flow import cells, shell, synth, verilog, yosys
from rtl.flow.instances import Part, PartNames, by_node, path_in_words
from rtl.plan.search import plan_for_cycles
from rtl.sim.verify import Outcome, Run
from rtl.targets import TARGETS, ecp5

PLACES = pytest.mark.needs("yosys", "nextpnr-ecp5", "ecppack")


def two_layers() -> Graph:
    """A dense layer of one multiplier, named as exporters do, and a narrow one behind."""
    weights = np.random.default_rng(seeded(5)).integers(-128, 128, (16, 8))
    wide = Dense(weights=weights, bias=np.arange(8), weight_format=Format.int(8))
    port = InputPort(name="x", tensor="x", type=TensorType((16,), Format.int(8)))
    nodes = (Node("layer.1/MatMul", wide, ("x",), "sum"), Node("relu", Relu(), ("sum",), "y"))
    return Graph((port,), nodes, (OutputPort(name="y", tensor="y"),))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model file, and `missed`: a build that asked for 900 MHz, with its status and words."""
    folder = tmp_path_factory.mktemp("build")
    two_layers().save(folder / "net.hwsim")
    return folder


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


@PLACES
@pytest.mark.needs("verilator")
def test_a_missed_clock_keeps_the_folder_marks_it_and_names_the_path_by_layers(place, capsys):
    out = place / "missed"
    status, text, err = run(
        capsys, "build", place / "net.hwsim", "--out", out, "--clock", "900MHz", "--max-dsp", "1"
    )
    assert status == 1 and text == ""
    (sentence,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert "$" not in sentence and "should fit" in sentence and str(out) in sentence
    assert "slowest path: in node 'layer.1/MatMul'" in sentence or (
        "slowest path: from " in sentence and "node 'layer.1/MatMul'" in sentence
    )
    facts = json.loads((out / "build.json").read_text())
    assert (facts["met"], facts["fits"], facts["bitstream"]) == (False, True, None)
    assert facts["problem"] in sentence
    assert 0 < facts["suggested_clock_mhz"] < facts["fmax_mhz"] < 900 and facts["lut"] > 50
    assert facts["layers"]["layer.1/MatMul"]["dsp"] == facts["dsp"] == 1
    names = {str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()}
    assert {"hwsim_top.v", "manifest.json", "README.md", *facts["logs"]} <= names
    assert not [name for name in names if name.endswith(".bit")]
    assert "**Not met, no bitstream:** the design must run" in (out / "README.md").read_text()
    assert [p.name for p in place.iterdir() if p.name.startswith(".")] == []
    # The Verilog is right all the same, and the report says what is not.
    assert run(capsys, "verify", out, "--samples", 4)[0] == 0
    assert run(capsys, "report", out)[0] == 0
    page = (out / "report.html").read_text()
    assert "not met" in page and "should fit" in page and "logs/nextpnr-1.log" in page


@PLACES
def test_a_bitstream_on_pins_that_nobody_chose_is_said_aloud(place, capsys):
    out = place / "pins"
    status, text, err = run(
        capsys, "build", place / "net.hwsim", "--out", out, "--clock", "20MHz", "--max-dsp", "1"
    )
    assert status == 0 and "CHOSEN BY NOBODY" in text
    (warning,) = [line for line in err.splitlines() if line.startswith("warning: ")]
    assert "nobody chose the pins" in warning and "--pins" in warning
    facts = json.loads((out / "build.json").read_text())
    assert facts["pins"] == "not chosen" and facts["met"] is True
    assert facts["bitstream"] == "hwsim_top_pins_not_chosen.bit"
    assert [p.name for p in out.glob("*.bit")] == [facts["bitstream"]]
    assert (
        "**Warning:** nobody chose the pins of `hwsim_top_pins" in (out / "README.md").read_text()
    )
    assert "# WARNING: nobody chose these pins" in (out / "hwsim_top.lpf").read_text()
    # The same pins, given by the user, are chosen.
    pins = place / "board.lpf"
    pins.write_text((out / "hwsim_top.lpf").read_text())
    request = Request(clock_mhz=20.0, max_dsp=1, pins=pins)
    with warnings.catch_warnings():
        warnings.simplefilter("error", PinsNotChosen)
        facts = build(two_layers(), place / "chosen", request)
    assert facts["bitstream"] == "hwsim_top.bit" and facts["pins"] == "given"
    assert "Warning" not in (place / "chosen" / "README.md").read_text()


@pytest.mark.needs("yosys")
def test_a_design_that_is_too_large_keeps_its_folder_and_names_the_layers(place, monkeypatch):
    small = dataclasses.replace(
        TARGETS["ecp5-25k"], available={**TARGETS["ecp5-25k"].available, "ff": 60}
    )
    monkeypatch.setattr(synth, "find_target", lambda name: small)
    out = place / "large"
    with pytest.raises(HwsimError, match=r"not need \d+ ff of 60 \(\d+ too many\)") as caught:
        build(two_layers(), out, Request(max_dsp=1))
    assert caught.value.exit_status == 1 and "; most ff: 'layer.1/MatMul' " in str(caught.value)
    facts = json.loads((out / "build.json").read_text())
    assert (facts["met"], facts["fits"], facts["fmax_mhz"]) == (False, False, None)
    assert facts["ff"] > 60 and facts["logs"] == ["logs/yosys.log"]
    assert (out / "logs" / "yosys.log").is_file() and (out / "hwsim_top.v").is_file()


@pytest.mark.needs("yosys")
def test_a_tool_that_crashes_leaves_nothing(place, monkeypatch):
    def crash(*_: object, **__: object) -> None:
        raise HwsimError("nextpnr-ecp5 must end with status 0, not -11", exit_status=1)

    monkeypatch.setattr(synth.nextpnr, "run", crash)
    with pytest.raises(HwsimError, match="not -11"):
        build(two_layers(), place / "crashed", Request(max_dsp=1))
    assert [p.name for p in place.iterdir() if "crashed" in p.name] == []


@pytest.mark.needs("yosys")
def test_pins_are_read_and_checked_before_the_verilog_is_written(tmp_path, monkeypatch):
    def never(*_: object, **__: object) -> None:
        raise AssertionError("the Verilog was written")

    monkeypatch.setattr(build_module, "_write_verilog", never)
    monkeypatch.setattr(build_module, "choose_plan", never)
    pins = tmp_path / "board.lpf"
    with pytest.raises(HwsimError, match=r"the pins file '.*board.lpf' must be readable"):
        build(two_layers(), tmp_path / "out", Request(pins=pins))
    pins.write_text('LOCATE COMP "clk" SITE "G2";')
    plan = plan_for_cycles(two_layers(), 1 << 20)
    with pytest.raises(HwsimError, match="the pins file must locate every port, and lacks rst"):
        build(two_layers(), tmp_path / "out", Request(pins=pins), plan=plan)
    assert [p.name for p in tmp_path.iterdir()] == ["board.lpf"]


@pytest.mark.needs("yosys")
def test_parts_are_found_again_behind_the_byte_wide_shell(tmp_path):
    graph = two_layers()
    plan = plan_for_cycles(graph, 1 << 20)
    for name, text in verilog.convert_files(Design(graph, plan), name="top").items():
        (tmp_path / name).write_text(text)
    sources = [name for name in os.listdir(tmp_path) if name.endswith(".v")]
    ports = yosys.read_ports(tmp_path, sources, "top")
    shell_text = shell.wrap("top", ports, name="top_shell", clock="clk", reset="rst")
    (tmp_path / "top_shell.v").write_text(shell_text)
    all_cells = yosys.synthesize(
        tmp_path, [*sources, "top_shell.v"], "top_shell", ecp5.FAMILY, "netlist.json"
    )
    parts = PartNames(graph).parts()
    found = by_node(tmp_path / "netlist.json", "top_shell", ecp5.FAMILY, parts)
    total = cells.count(all_cells, ecp5.FAMILY)[0]
    assert found["layer.1/MatMul"]["dsp"] == total["dsp"] == 1
    assert {key: sum(counts[key] for counts in found.values()) for key in total} == total
    assert found["layer.1/MatMul"]["ff"] > total["ff"] // 4


def test_a_report_of_a_build_for_a_family_stands_beside_what_verify_found(tmp_path, monkeypatch):
    """Counts are an estimate there, and the clock is what was asked for."""
    used = synth.Utilization(
        target="xc7", part="Xilinx 7 series", estimate=True, lut=90, ff=80, dsp=1, bram=0, io=50,
        other={}, available={}, tools={"yosys": "0"}, seconds={"yosys": 1.0},
    )  # fmt: skip
    monkeypatch.setattr(synth, "synthesize", lambda *_, **__: used)
    facts = build(two_layers(), tmp_path / "out", Request(target="xc7", clock_mhz=80.0))
    assert (facts["clock_mhz"], facts["met"], facts["pins"], facts["fits"]) == (
        80,
        None,
        None,
        None,
    )
    run_ = Run("continuous", 1, 4, 32, 0, (), 40, 16.0, 80)
    record(tmp_path / "out", Outcome((run_,)).to_dict())
    page = write_report(tmp_path / "out").read_text()
    assert "80 MHz" in page and "equal" in page


def test_a_path_is_told_by_the_parts_on_it():
    parts = {"a": Part("node 'a'"), "a_b": Part("node 'a.b'"), "c": Part("node 'c'")}

    def words(*cells: str) -> str:
        return path_in_words(cells, parts)

    assert words("a__1__TRELLIS_FF_Q_3", "a__7__LUT4_Z", "net__3__LUT4") == "in node 'a'"
    assert words("a__1_", "a_b__2_", "c__3_") == "from node 'a' through node 'a.b' to node 'c'"
    assert words("design.a_b__1__FF", "x", "design.c__9_") == "from node 'a.b' to node 'c'"
    assert words("a__1_", "c__2_", "a__3_") == "in node 'a' through node 'c'"
    assert words("net__1_", "$abc$12", "other__4_") == ""


@pytest.mark.needs("yosys")
def test_every_part_of_a_design_names_its_nets_and_no_other_name_is_left(tmp_path):
    graph = two_layers()
    text = verilog.convert(Design(graph, plan_for_cycles(graph, 1 << 20)), name="top")
    found = {verilog.part_of(name) for name in re.findall(r"\b\w+__\d+_", text)} - {None}
    assert found <= PartNames(graph).parts().keys()
    assert {"node_layer_1_MatMul", "node_relu", "in_x", "out_y"} <= found
    assert "\\" not in text and "$auto" not in text


# A Yosys that works until it is to synthesize, and then hangs, as a large design makes it: with a
# folder of temporary files of its own, and a child.
HANGING = """
import os, pathlib, runpy, subprocess, sys, tempfile, time
place, real = pathlib.Path(sys.argv[1]), sys.argv[2]
if "synth_ecp5" in " ".join(sys.argv):
    tempfile.mkdtemp(prefix="yosys-abc-")
    child = subprocess.Popen(["sleep", "300"])
    (place / "draft").write_text(f"{os.getpid()} {child.pid}")
    (place / "draft").rename(place / "started")
    time.sleep(300)
sys.argv[1:] = sys.argv[3:]
runpy.run_path(real, run_name="__main__")
"""
PATCHED = """
import sys
from pathlib import Path
from rtl.flow import tools
place = Path(sys.argv[1])
real = Path(tools.__file__).with_name("pyosys_cli.py")
command = (sys.executable, "-P", str(place / "hanging.py"), str(place), str(real))
tools.yosys = lambda: tools.Tool("yosys", command, "0", tools.Origin.PACKAGE)
from hwsim.verification import record
from hwsim.cli import main
main(sys.argv[2:])
"""


@pytest.mark.needs("pyosys", "nextpnr-ecp5", "ecppack")
def test_an_interrupt_in_synthesis_leaves_no_file_and_no_process(tmp_path):
    two_layers().save(tmp_path / "net.hwsim")
    (tmp_path / "hanging.py").write_text(HANGING)
    (tmp_path / "tmp").mkdir()
    before = {p.name for p in tmp_path.iterdir()}
    process = subprocess.Popen(
        [sys.executable, "-c", PATCHED, tmp_path, "build", "net.hwsim", "--out", "out"],
        cwd=tmp_path,
        env=os.environ | {"TMPDIR": str(tmp_path / "tmp"), "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    started = tmp_path / "started"
    try:
        deadline = time.monotonic() + 60
        while not started.exists() and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.05)
        assert started.exists(), process.communicate()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert (process.returncode, out) == (130, "")
    assert [line for line in err.splitlines() if "error" in line] == ["error: interrupted"]
    assert "Traceback" not in err
    assert {p.name for p in tmp_path.iterdir()} == before | {"started"}
    assert list((tmp_path / "tmp").iterdir()) == []
    assert [_state(number) for number in started.read_text().split()] == ["", ""]


def _state(number: str) -> str:
    """A process's state; nothing for one that ended, waited for or not."""
    try:
        state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""
    return "" if state == "Z" else state
