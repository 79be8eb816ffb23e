"""The schema of a build folder: read as written, checked entry by entry, and in one place."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.build_folders import write_folder
from support.cases import tensor

from hwsim.build_folder import (
    BuildFacts,
    Cycles,
    Implemented,
    Manifest,
    PlanRow,
    SlowestNode,
    StreamPort,
    names,
    plain,
)
from hwsim.errors import HwsimError
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.ops import Relu

ROOT = Path(__file__).parents[2]
FACTS = BuildFacts(
    name="a net",
    target="ecp5-25k",
    clock_mhz=50.0,
    top="hwsim_top",
    multipliers=3,
    planned_dsp=3,
    analytic_cycles=17,
    fps=50e6 / 17,
    bottleneck=SlowestNode(name="a", cycles=17, why="its fold"),
    plan=(
        PlanRow(
            node="a",
            operator="dense",
            shape=(1, 2),
            format="s8.0",
            lanes=2,
            cycles=17,
            macs=6,
            memory_bits=0,
            pe=2,
            fifos={"0": 4},
        ),
    ),
    verilog="hwsim_top.v",
    bitstream="hwsim_top.bit",
    met=True,
    implementation=Implemented(
        part="LFE5U-25F",
        lut=1,
        ff=2,
        dsp=3,
        bram=4,
        other={"PFUMX": 5},
        layers={"a": {"lut": 1}},
        fmax_mhz=51.5,
        fmax_by_clock={"clk": 51.5},
        logs=("logs/yosys.log",),
    ),
    seconds=1.5,
)


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """A manifest that is written, of a ReLU."""
    graph = Graph(
        (InputPort(name="x", tensor="x", type=tensor((2, 3))),),
        (Node("relu", Relu(), ("x",), "y"),),
        (OutputPort(name="y", tensor="y"),),
    )
    written = replace(
        write_folder(tmp_path, graph),
        memories=(tmp_path / "hwsim_top-1.mem",),
        sources_readable=(tmp_path / "readable" / "hwsim_top.v",),
        cycles=Cycles(interval=6, latency=11),
    )
    written.write()
    return written


def content(folder: Path, name: str) -> dict[str, Any]:
    return json.loads((folder / name).read_text())


def rewrite(folder: Path, name: str, value: object) -> None:
    (folder / name).write_text(json.dumps(value))


def test_a_manifest_is_read_as_it_was_written(manifest):
    assert Manifest.read(manifest.folder) == manifest
    assert content(manifest.folder, "manifest.json")["sources_readable"] == ["readable/hwsim_top.v"]
    assert (manifest.interval, manifest.latency) == (6, 11)
    assert manifest.inputs[0].codes == 6 and manifest.inputs[0].limits == (-128, 127)


@pytest.mark.parametrize("facts", [FACTS, replace(FACTS, implementation=None)])
def test_facts_are_read_as_they_were_written(facts, tmp_path):
    facts.write(tmp_path)
    assert BuildFacts.read(tmp_path) == facts
    assert ("lut" in content(tmp_path, "build.json")) == (facts.implementation is not None)


def test_a_folder_that_says_less_is_still_read(manifest):
    less = content(manifest.folder, "manifest.json")
    for key in ("cycles", "model", "hashes", "sources_readable", "memories_readable"):
        less.pop(key, None)
    for key in ("element", "scale", "zero_point"):
        del less["inputs"][0][key]
    rewrite(manifest.folder, "manifest.json", less)
    read = Manifest.read(manifest.folder)
    assert read.cycles is None and read.interval is None and read.hashes is None
    assert read.inputs == manifest.inputs and read.readable is None
    with pytest.raises(HwsimError, match="model must name a file of the folder, not None"):
        _ = read.graph_file


def test_entries_that_a_reader_does_not_know_are_passed_over(manifest):
    def more(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: more(inner) for key, inner in value.items()} | {"later": [None]}
        return [more(inner) for inner in value] if isinstance(value, list) else value

    def known(value: dict[str, Any]) -> dict[str, Any]:
        """Without what stands under names that the user or a tool chose."""
        return value | {key: FACTS.to_dict()[key] for key in by_name if key in value}

    by_name = ("other", "layers", "fmax_by_clock", "available", "tools", "tool_seconds")
    rewrite(manifest.folder, "manifest.json", more(content(manifest.folder, "manifest.json")))
    assert Manifest.read(manifest.folder) == manifest
    facts = known(more(FACTS.to_dict()))
    facts["plan"][0]["fifos"] = {"0": 4}
    rewrite(manifest.folder, "build.json", facts)
    assert BuildFacts.read(manifest.folder) == FACTS


@pytest.mark.parametrize("schema", [2, 0, "1", None])
def test_another_schema_is_refused_by_its_version(manifest, schema):
    changed = content(manifest.folder, "manifest.json") | {"schema": schema, "top": 5}
    rewrite(manifest.folder, "manifest.json", changed)
    with pytest.raises(HwsimError) as caught:
        Manifest.read(manifest.folder)
    path = manifest.folder / "manifest.json"
    assert str(caught.value) == f"{path}: schema must be 1, not {schema!r}"


def paths(value: Any, place: str = "") -> list[str]:
    """The places of all entries, as an error names them."""
    if isinstance(value, dict):
        inner = [(f"{place}.{key}" if place else key, item) for key, item in value.items()]
    elif isinstance(value, list):
        inner = [(f"{place}[{n}]", item) for n, item in enumerate(value)]
    else:
        return []
    return [p for at, item in inner for p in (at, *paths(item, at))]


def spoil(value: Any, place: str, bad: object) -> Any:
    """The same with one entry put in place of another."""
    target, steps = value, place.replace("[", ".[").split(".")
    for step in steps[:-1]:
        target = target[int(step[1:-1])] if step.startswith("[") else target[step]
    last = steps[-1]
    target[int(last[1:-1]) if last.startswith("[") else last] = bad
    return value


def test_every_entry_of_the_wrong_kind_is_refused_with_its_file_and_place(manifest):
    whole = content(manifest.folder, "manifest.json")
    places = [p for p in paths(whole) if p != "schema"]
    assert len(places) > 30 and "inputs[0].shape[1]" in places
    for place in places:
        rewrite(manifest.folder, "manifest.json", spoil(json.loads(json.dumps(whole)), place, True))
        if place.endswith("signed"):
            Manifest.read(manifest.folder)
            continue
        with pytest.raises(HwsimError) as caught:
            Manifest.read(manifest.folder)
        # Of an object that is none, the first entry is missed.
        assert f"manifest.json: {place}" in str(caught.value), place


def test_every_entry_of_build_json_of_the_wrong_kind_is_refused(tmp_path):
    whole = FACTS.to_dict()
    for place in paths(json.loads(json.dumps(whole))):
        rewrite(tmp_path, "build.json", spoil(json.loads(json.dumps(whole)), place, [True]))
        with pytest.raises(HwsimError) as caught:
            BuildFacts.read(tmp_path)
        assert f"build.json must be as `hwsim build` wrote it: {place}" in str(caught.value), place


def test_all_that_is_wrong_is_said_at_once(manifest):
    changed = content(manifest.folder, "manifest.json") | {"top": 5, "clock": None, "outputs": [{}]}
    rewrite(manifest.folder, "manifest.json", changed)
    with pytest.raises(HwsimError) as caught:
        Manifest.read(manifest.folder)
    assert [part.split(" ")[0] for part in str(caught.value).split(": ", 1)[1].split("; ")] == [
        "top",
        "clock",
        *(f"outputs[0].{key}" for key in list(StreamPort.__dataclass_fields__)[:7]),
    ]


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("lanes", 4, "lanes must divide the 6 codes of a sample, not 4"),
        ("lane_bits", 12, "lane_bits must be whole bytes that hold 8 bits, not 12"),
        ("bits", 65, "bits must be 1 to 64, not 65"),
        ("shape", [2, 0], "shape must be a list of positive integers, not [2, 0]"),
    ],
)
def test_a_port_that_cannot_be_is_refused(manifest, key, value, text):
    changed = content(manifest.folder, "manifest.json")
    changed["outputs"][0][key] = value
    rewrite(manifest.folder, "manifest.json", changed)
    with pytest.raises(HwsimError) as caught:
        Manifest.read(manifest.folder)
    assert str(caught.value).endswith(f"manifest.json: outputs[0].{text}")


@pytest.mark.parametrize("name", ["../x.v", "/etc/passwd", "a/../../x.v", ""])
def test_a_path_that_leads_out_of_the_folder_is_refused(manifest, name):
    changed = content(manifest.folder, "manifest.json") | {"sources": [name]}
    rewrite(manifest.folder, "manifest.json", changed)
    with pytest.raises(HwsimError, match=r"sources\[0\] must name a file of the folder, not"):
        Manifest.read(manifest.folder)


def test_files_that_are_not_there_are_named_before_a_simulation(manifest):
    assert Manifest.read(manifest.folder).sources  # nothing is looked for yet
    with pytest.raises(
        HwsimError, match=r"sources must be a list of files there, not 'hwsim_top\.v"
    ):
        Manifest.read(manifest.folder).check_files()


@pytest.mark.parametrize("text", ["", "[1]", "{", "[" * 100_000, "\xff"])
def test_what_is_no_json_object_is_refused_in_a_sentence(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text, encoding="latin-1")
    with pytest.raises(HwsimError, match=r"manifest\.json must (be a readable JSON|hold a JSON)"):
        Manifest.read(tmp_path)


def test_names_of_the_folders_files_stand_in_one_module():
    known = {value for name, value in vars(names).items() if name.isupper()}
    assert len(known) == 10
    for package in ("hwsim", "rtl", "gpu"):
        for file in (ROOT / package).rglob("*.py"):
            if file == Path(names.__file__):
                continue
            texts = {
                node.value
                for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
                if isinstance(node, ast.Constant) and isinstance(node.value, str)
            }
            assert not texts & known, f"{file}: {sorted(texts & known)}"


def test_a_folder_is_read_without_amaranth_or_a_graph(manifest):
    code = (
        "import sys; from pathlib import Path; from hwsim.build_folder import Manifest;"
        "Manifest.read(Path(sys.argv[1])); print(*sys.modules)"
    )
    reply = subprocess.run(
        [sys.executable, "-c", code, str(manifest.folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {name.split(".")[0] for name in reply.stdout.split()}
    assert "hwsim" in loaded and not loaded & {"amaranth", "rtl", "onnx"}


def test_plain_values_are_those_of_json():
    assert plain(FACTS) | {} == json.loads(json.dumps(plain(FACTS)))
