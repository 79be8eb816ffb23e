"""The family of docs/adding-a-target.md, as it stands there: iCE40 UltraPlus, by its netlist."""

from __future__ import annotations

import dataclasses
import importlib
import json
import math
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.cli_calls import refused, run
from support.installed import install
from support.walkthrough import ROOT, blocks, files

from hwsim.build_folder import BuildFacts, Manifest
from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.ops import Dense, Relu, Requantize, Scheme, TensorType
from rtl import targets
from rtl.build import Request, build
from rtl.flow import tools, yosys
from rtl.sim.difference import emulated
from rtl.sim.simulate import Simulation
from rtl.sim.verify import random_codes

PAGE = ROOT / "docs" / "adding-a-target.md"
NAME = "ice40-up5k"


@pytest.fixture
def package(tmp_path, monkeypatch) -> Iterator[Path]:
    """The page's file where Python finds it, not registered yet; forgotten afterwards."""
    folder = tmp_path / "site"
    folder.mkdir()
    for name, text in files(PAGE).items():
        (folder / name).write_text(text)
    monkeypatch.syspath_prepend(folder)
    known = dict(targets.TARGETS)
    yield folder
    for name in set(targets.TARGETS) - set(known):
        del targets.TARGETS[name]
    for name in ("hwsim_ice40", "hwsim_bg256"):
        sys.modules.pop(name, None)


@pytest.fixture
def family(package) -> Any:
    """The page's family, registered as its program does."""
    ((_, code),) = blocks(PAGE)
    exec(compile(code, PAGE.name, "exec"), {})
    return targets.find_target(NAME).family


@pytest.fixture
def installed(package) -> None:
    """The page's file, installed with the entry points of its pyproject.toml."""
    install(package)


def network(seed: int) -> Graph:
    """A folded dense layer, its requantizer and a ReLU: a multiplier, memories, carries."""
    rng = np.random.default_rng(seed)
    dense = Dense(
        weights=rng.integers(-128, 128, (8, 4)),
        bias=rng.integers(-500, 500, 4),
        weight_format=Format.int(8),
    )
    scheme = Requantize(
        scheme=Scheme.SINGLE,
        multiplier=tuple((0.001 + 0.003 * rng.random(4)).tolist()),
        out=Format.int(8),
    )
    nodes = (
        Node("dense", dense, ("x",), "sum"),
        Node("requantize", scheme, ("sum",), "z"),
        Node("relu", Relu(), ("z",), "y"),
    )
    port = InputPort(name="x", tensor="x", type=TensorType((8,), Format.int(8)))
    return Graph((port,), nodes, (OutputPort(name="y", tensor="y"),))


def netlist(folder: Path, out: Path, family: Any, *, flip: bool = False) -> Path:
    """A build folder whose Verilog is the synthesized netlist; `flip` changes a bit of a table."""
    out.mkdir()
    manifest = Manifest.read(folder)
    for path in (*manifest.sources, *manifest.memories, manifest.graph_file):
        shutil.copy(path, out)
    sources = [path.name for path in manifest.sources]
    yosys.synthesize(out, sources, manifest.top, family, "netlist.json")
    if flip:
        content = json.loads((out / "netlist.json").read_text())
        cells = content["modules"][manifest.top]["cells"]
        luts = sorted(name for name, cell in cells.items() if cell["type"] == "SB_LUT4")
        for name in luts[:: max(len(luts) // 8, 1)]:
            table = cells[name]["parameters"]["LUT_INIT"]
            cells[name]["parameters"]["LUT_INIT"] = table[:-1] + "10"[int(table[-1])]
        (out / "netlist.json").write_text(json.dumps(content))
    script = (
        "read_json netlist.json; rename -hide; rename -enumerate; write_verilog -noattr netlist.v"
    )
    tools.run(tools.yosys(), "-q", "-p", script, cwd=out, timeout=100)
    share = Path(importlib.import_module("pyosys").__file__).parent / "share"
    shutil.copy(share / "ice40" / "cells_sim.v", out / "cells.v")
    names = ("netlist.v", "cells.v")
    dataclasses.replace(
        manifest,
        folder=out,
        sources=tuple(out / name for name in names),
        memories=(),
        sources_readable=(),
        memories_readable=(),
        model=out / manifest.graph_file.name,
    ).write()
    return out


@pytest.mark.needs("yosys")
def test_every_cell_of_a_network_is_counted(family, tmp_path, seed):
    facts = build(network(seed), tmp_path / "build", Request(target=NAME, max_dsp=8))
    assert facts["estimate"] and facts["bitstream"] is None and facts["part"] == "iCE40UP5K-SG48"
    used = BuildFacts.read(tmp_path / "build").implementation
    assert used is not None and used.other == {}
    assert used.lut > 50 and used.ff > 50 and 1 <= used.dsp <= 8 and used.bram <= 30


def different(folder: Path, seed: int) -> int:
    """Output codes of a design in Verilator that are not the emulator's, of 20 random samples."""
    codes = random_codes(network(seed), 20, seed)
    got, want = Simulation(folder).run(codes).codes, emulated(network(seed), codes)
    return sum(int((got[name] != want[name]).sum()) for name in want)


@pytest.mark.slow
@pytest.mark.needs("pyosys", "verilator")
def test_the_synthesized_netlist_gives_the_emulators_integers(family, tmp_path, seed):
    build(network(seed), tmp_path / "build", Request(target=NAME, max_dsp=8, rtl_only=True))
    assert different(netlist(tmp_path / "build", tmp_path / "good", family), seed) == 0
    assert different(netlist(tmp_path / "build", tmp_path / "bad", family, flip=True), seed) > 0


def test_an_installed_package_is_found_by_its_entry_point(installed, capsys, tmp_path):
    network(1).save(tmp_path / "net.hwsim")
    status, text, _ = run(capsys, "plan", tmp_path / "net.hwsim", "--target", NAME)
    assert status == 0 and f"plans for {NAME}" in text
    assert f"one of {', '.join(targets.TARGETS)}" in refused(
        capsys, "plan", tmp_path / "net.hwsim", "--target", "spartan6"
    )
    assert NAME in targets.TARGETS


def test_a_network_that_is_too_large_is_refused_before_synthesis(family, tmp_path):
    with pytest.raises(HwsimError, match="at most the 8 multipliers of ice40-up5k, not "):
        build(network(1), tmp_path / "build", Request(target=NAME, fps=2e7))
    assert not (tmp_path / "build").exists()


def test_pins_and_bitstreams_are_refused_for_a_family_without_them(family, tmp_path):
    (tmp_path / "pins").write_text('LOCATE COMP "clk" SITE "35";')
    with pytest.raises(HwsimError, match="pins must be of a target with bitstreams, not of ice40"):
        build(network(1), tmp_path / "b", Request(target=NAME, pins=tmp_path / "pins"))
    build(network(1), tmp_path / "b", Request(target=NAME, rtl_only=True))
    assert not [p for p in (tmp_path / "b").iterdir() if p.suffix in (".lpf", ".xdc")]


@pytest.mark.slow
@pytest.mark.needs("yosys", "nextpnr-ecp5")
@pytest.mark.filterwarnings("ignore::rtl.build.PinsNotChosen")
def test_a_device_in_another_package_is_placed_on_that_packages_pins(package, tmp_path):
    module = importlib.import_module("hwsim_bg256")
    targets.register(*module.TARGETS)
    (target,) = module.TARGETS
    facts = build(network(1), tmp_path / "build", Request(target=target.name))
    assert facts["part"] == "LFE5U-25F-6BG256"
    used = BuildFacts.read(tmp_path / "build").implementation
    assert used is not None and used.io == 24
    located = set(re.findall(r'SITE "(\w+)"', (tmp_path / "build" / "hwsim_top.lpf").read_text()))
    assert located <= {module.CABGA256.clock, *module.CABGA256.free} and len(located) == 24


def test_a_name_that_is_taken_is_refused(family):
    (mine,) = [t for t in targets.TARGETS.values() if t.family is family]
    targets.register(mine)  # the same again is nothing new
    with pytest.raises(HwsimError, match="a target's name must be new, not 'xc7' again"):
        targets.register(dataclasses.replace(mine, name="xc7"))


@pytest.mark.parametrize(
    ("named", "text"),
    [
        (
            "nowhere:TARGETS",
            " of hwsim.targets must name something that can be imported, not 'nowhere:TARGETS'",
        ),
        ("math:pi", f" must name a list of targets, not {math.pi}"),
    ],
)
def test_an_installed_package_without_targets_is_named_in_one_sentence(
    named, text, tmp_path, monkeypatch
):
    info = tmp_path / "half-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: half\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[hwsim.targets]\nhalf = {named}\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    with pytest.raises(HwsimError) as error:
        targets.find_target("no such device")
    assert str(error.value).startswith(f"the entry point 'half'{text}")
