"""The report page: what it says of a build folder, and that it needs nothing but itself."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from support.build_folders import write_folder
from support.seeds import seeded

from hwsim.build_folder import PlanRow, plain
from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.ops import Dense, Relu, TensorType
from hwsim.reporting import write_report
from hwsim.reporting.layers import bytes_text, memory_bits
from rtl.build import describe
from rtl.plan import search
from rtl.plan.cost import bottleneck
from rtl.sim.verify import Outcome, Run

RESOURCES = {"lut": 12345, "dsp": 20, "bram": 1056, "ff": 23456, "io": 24}
RUN = Run("continuous", 1, 2048, 40960, 0, (), 12345, 6789.5, 9_876_543)


def network() -> Graph:
    """Two dense layers of 2,048 and 40,960 weights."""
    rng = np.random.default_rng(seeded(1))

    def dense(inputs: int, outputs: int) -> Dense:
        weights = rng.integers(-8, 8, (inputs, outputs))
        return Dense(weights=weights, bias=np.zeros(outputs, np.int64), weight_format=Format.int(4))

    return Graph(
        (InputPort(name="x", tensor="x", type=TensorType((1024,), Format.int(8))),),
        (
            Node("first", dense(1024, 2), ("x",), "a"),
            Node("relu", Relu(), ("a",), "b"),
            Node("<wide> & 'long'", dense(2, 20480), ("b",), "y"),
        ),
        (OutputPort(name="y", tensor="y"),),
    )


@pytest.fixture
def folder(tmp_path) -> Path:
    """What a build writes, as far as the report reads it."""
    graph = network()
    plan = search.plan_for_multipliers(graph, 4)
    bound = bottleneck(graph, plan)
    hashes = plain(write_folder(tmp_path, graph, plan=plan.hash()).hashes)
    build = {
        "name": "my <digits>",
        "target": "ecp5-25k",
        "part": "LFE5U-25F",
        "clock_mhz": 50.0,
        "bottleneck": asdict(bound),
        "plan": describe(graph, plan),
        "verilog": "hwsim_top.v",
        "bitstream": "hwsim_top.bit",
        **RESOURCES,
        "available": {"lut": 24288, "dsp": 28, "bram": 2056, "ff": 24288, "io": 197},
        "fmax_mhz": 61.25,
        "seed": 1,
    }
    write(tmp_path, "build", build)
    write(tmp_path, "verify", Outcome((RUN,)).to_dict() | {"hashes": hashes})
    return tmp_path


def write(folder: Path, name: str, content: dict) -> None:
    (folder / f"{name}.json").write_text(json.dumps(content))


def change(folder: Path, name: str, **values: object) -> None:
    content = json.loads((folder / f"{name}.json").read_text())
    write(folder, name, content | values)


def labels(**other: object) -> dict:
    """What `verify --labels` leaves in verify.json."""
    shown = [
        {"index": 5, "label": 1, "emulator": 1, "rtl": 1, "image": [[[0.0], [1.0]]] * 2},
        {"index": 1234, "label": 2, "emulator": 0, "rtl": 2, "image": None},
    ]
    return {
        "output": "y",
        "samples": 1797,
        "classes": 3,
        "names": ["cat", "dog", "<owl>"],
        "emulator": {"top1": 0.75, "top5": 1.0},
        "rtl": {"top1": 0.7405, "top5": None},
        "shown": shown,
    } | other


class Text(HTMLParser):
    """The words of a page, and a check that its tags are balanced."""

    VOID = frozenset({"meta", "link", "br", "img", "hr", "input"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "title"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def words(folder: Path) -> str:
    return Text(write_report(folder).read_text(encoding="utf-8")).text


def test_the_title_is_the_models_name(folder):
    assert words(folder).startswith("my <digits> A network of 3 integer operators")
    assert "<title>my &lt;digits&gt; · hwsim</title>" in (folder / "report.html").read_text()


def test_numbers_of_four_digits_and_more_are_separated(folder):
    change(folder, "verify", labels=labels())
    found = words(folder).partition("Made with")[0]  # behind it stand versions and hashes
    assert "12,345 of 24,288" in found and "40,960" in found and "1,797" in found
    for size in (
        "dense 1024 → 2",
        "dense 2 → 20480",
        "1024 s8",
        "20480",
    ):  # shapes stay as they are
        assert size in found
        found = found.replace(size, "")
    assert not re.findall(r"(?<![\d,.-])\d{4,}", found)


def test_the_word_rung_is_explained_before_it_is_used(folder):
    found = words(folder)
    assert "is a rung of a ladder: the network computed once more" in found
    assert found.index("rung") == found.index("rung of a ladder")


def test_every_layer_has_its_cost_and_the_slowest_is_marked(folder):
    page = write_report(folder).read_text(encoding="utf-8")
    build = json.loads((folder / "build.json").read_text())
    assert page.count('class="share slowest"') == 1
    slowest = page.index('class="share slowest"')
    assert "&lt;wide&gt; &amp; &#x27;long&#x27;" in page[page.rindex("<tr", 0, slowest) : slowest]
    for row in build["plan"]:
        assert f"{row['cycles']:,}<i" in page
        assert bytes_text(row["memory_bits"]) in page
    assert build["plan"][2]["memory_bits"] >= 40_960 * 4  # the weights alone


def test_what_synthesis_counted_stands_by_layer_and_none_of_it_is_lost(folder):
    assert "Registers (FF) DSP" not in words(folder)
    counts = {
        "first": {"lut": 1234, "ff": 0, "dsp": 3, "bram": 2},
        "": {"lut": 10, "ff": 2000, "dsp": 0, "bram": 0},
        "gone": {"lut": 5, "ff": 345, "dsp": 0, "bram": 0},
    }
    change(folder, "build", layers=counts)
    found = words(folder)
    assert "Fold Logic (LUT) Registers (FF) DSP BRAM Operator" in found
    assert "1,234 3 2 dense 1024 → 2" in found
    assert "ports, FIFOs and the rest 15 2,345" in found


def test_how_each_layer_is_built_is_told(folder):
    path = folder / "build.json"
    build = json.loads(path.read_text())
    chosen = {"implementation": "serial", "bits": 2, "constants": "block RAM"}
    build["plan"][0] |= chosen
    build["plan"][1] |= {"implementation": "pipelined"}
    path.write_text(json.dumps(build))
    found = words(folder)
    assert "serial, 2 bits a cycle, constants in block RAM" in found and "pipelined" in found
    for key in chosen:
        del build["plan"][0][key]
    path.write_text(json.dumps(build))
    assert "serial" not in words(folder) and "pipelined" in words(folder)


def test_the_memory_of_a_layer_is_the_plans_own_where_it_has_one():
    known = {"weight_bits": 80, "bits": 8}

    def row(**given: object) -> PlanRow:
        same = {"node": "n", "operator": "dense", "shape": (1,), "format": "s8.0"}
        return PlanRow(**same, cycles=1, macs=1, **given)

    assert memory_bits(row(memory_bits=7, lanes=1), known) == 7
    assert memory_bits(row(lanes=2, fifos={"0": 3, "1": 5}), known) == 80 + 8 * 2 * 8
    assert [bytes_text(n) for n in (0, 80, 81919, 81920)] == ["", "10 B", "10,240 B", "10.0 KiB"]


def test_ones_own_labelled_samples_are_shown(folder):
    change(folder, "verify", labels=labels())
    found = words(folder)
    assert "75.00 % right, 100.00 % among its first five" in found
    assert "74.05 % right" in found and "74.05 % right," not in found
    assert "1,797 labelled samples of 3 classes (output y)" in found
    assert "label dog sample 5 emulator dog ✓ RTL dog ✓" in found
    assert "label <owl> sample 1,234 emulator cat ✗ RTL <owl> ✓" in found
    page = (folder / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 1 and "labelled dog" in page


def test_without_labels_nothing_is_said_of_accuracy(folder):
    found = words(folder)
    assert "Accuracy" not in found and "inferences a second, 6,790 cycles each 7,364" in found
    assert "by the plan" not in found.lower().partition("from the model")[0]
    (folder / "verify.json").unlink()
    found = words(folder)
    assert "Accuracy" not in found and "Run hwsim verify to compare it" in found
    assert "cycles each by the plan" in found


@pytest.mark.parametrize("estimate", [True, False], ids=["an estimate", "only Verilog"])
def test_builds_that_stopped_earlier_have_their_page(folder, estimate):
    build = json.loads((folder / "build.json").read_text())
    left_out = {"fmax_mhz", "part", *([] if estimate else [*RESOURCES, "available"])}
    build = {key: value for key, value in build.items() if key not in left_out}
    build |= {"bitstream": None, "target": "xc7"} | ({"available": {}} if estimate else {})
    write(folder, "build", build)
    found = words(folder)
    assert ("Counted by synthesis alone" in found) == estimate
    assert "Place and route not run" in found and "built for xc7 at 50 MHz" in found
    change(folder, "build", clock_mhz=None)  # a folder of an older version
    assert "built for xc7." in words(folder)


def test_the_page_opens_from_disk_and_asks_for_nothing_else(folder):
    change(folder, "verify", labels=labels())
    page = write_report(folder).read_text(encoding="utf-8")
    assert "default-src 'none'" in page and "prefers-color-scheme" in page
    assert not re.findall(r"https?:|@import|<script|<link|url\((?!#)", page)


def test_what_is_wide_shows_that_it_scrolls(folder):
    page = write_report(folder).read_text(encoding="utf-8")
    table = page.index("<table>")
    assert "scrolls sideways" in page[page.rindex('<div class="wide">', 0, table) : table]
    assert "scrolls sideways" not in page[page.index("Picture of the graph") - 200 :]


@pytest.mark.parametrize(
    "spoiled",
    [{"samples": "many"}, {"shown": [{}]}, {"emulator": 3}, {"shown": 1}, {"rtl": {"top1": "x"}}],
)
def test_a_spoiled_file_is_refused_in_a_sentence(folder, spoiled):
    change(folder, "verify", labels=labels(**spoiled))
    with pytest.raises(HwsimError, match=r"verify.json must be as `hwsim verify` wrote it"):
        write_report(folder)
    assert not (folder / "report.html").exists()


def test_a_spoiled_build_file_is_refused_in_a_sentence(folder):
    change(folder, "build", plan=[{"node": "first"}])
    with pytest.raises(HwsimError, match=r"build.json must be as `hwsim build` wrote it"):
        write_report(folder)
