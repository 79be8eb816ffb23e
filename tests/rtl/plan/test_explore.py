"""What can be had on a target: every plan that is named can be built as it says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from support import rtl_designs
from support.cli_calls import refused, run
from support.dense_networks import network
from support.seeds import seeded

import hwsim
from hwsim.errors import HwsimError
from hwsim.reporting.tradeoff import draw
from rtl.build import Request, choose_plan
from rtl.layers.table import HARDWARE
from rtl.plan.cost import bottleneck, multiplier_cost
from rtl.plan.explore import explore

MODEL = Path(__file__).parents[3] / "examples" / "models" / "digits_cnn_int8.onnx"


@pytest.fixture(scope="module")
def graph() -> hwsim.Graph:
    return hwsim.load(MODEL)


@pytest.mark.parametrize("target", ["ecp5-25k", "ecp5-85k", "xc7"])
def test_a_plan_can_be_had_by_the_rate_that_is_named(graph, target):
    found = explore(graph, target)
    assert 8 <= len(found.options) <= 14
    for option in found.options:
        request = Request(target=target, fps=float(option.rate), rtl_only=True)
        plan = choose_plan(graph, request)
        assert bottleneck(graph, plan).cycles == option.cycles
        assert multiplier_cost(graph, plan) == option.multipliers
        assert option.fps == 50e6 / option.cycles


def test_plans_go_from_the_smallest_to_the_fastest_and_past_the_target(graph):
    found = explore(graph, "ecp5-25k")
    rates = [option.fps for option in found.options]
    assert rates == sorted(rates) and len(set(rates)) == len(rates)
    assert found.options[0].fits and not found.options[-1].fits
    for option in found.options:
        assert ("dsp" in option.over) == (option.multipliers > 28)
    (default,) = [option for option in found.options if option.default]
    chosen = choose_plan(graph, Request(target="ecp5-25k"))
    assert default.cycles == bottleneck(graph, chosen).cycles


def test_the_fastest_that_fits_is_among_them_and_the_next_faster_plan_does_not_fit(graph):
    best = explore(graph, "ecp5-25k").fastest
    assert best is not None
    choose_plan(graph, Request(target="ecp5-25k", fps=float(best.rate)))
    with pytest.raises(HwsimError, match="at most the 28 multipliers"):
        choose_plan(graph, Request(target="ecp5-25k", fps=best.fps * 1.001))


def test_the_cycles_that_are_promised_are_those_of_the_design():
    """Beats of the last samples, once the pipeline is full and nothing stalls."""
    small, samples = network(12, 8, 6), 5
    kind = small.inputs[0].type
    codes = np.random.default_rng(seeded(1)).integers(kind.lo, kind.hi + 1, (samples, *kind.shape))
    seen = explore(small, "ecp5-25k").options
    assert len(seen) > 4
    for option in seen[:: len(seen) // 4]:
        plan = choose_plan(small, Request(fps=float(option.rate), rtl_only=True))
        _, cycles = rtl_designs.simulate(small, plan, {"x": codes})
        ends = cycles["y"][len(cycles["y"]) // samples - 1 :: len(cycles["y"]) // samples]
        assert ends[-1] - ends[-2] == option.cycles


def test_a_family_has_no_limits(graph):
    found = explore(graph, "xcup")
    assert all(option.fits is None and option.block_rams is None for option in found.options)
    assert found.fastest is None


def test_operators_without_hardware_are_all_named(graph, monkeypatch):
    kinds = {type(node.op) for node in graph.nodes if node.op.kind in ("maxpool", "conv2d")}
    monkeypatch.setattr(
        "rtl.layers.table.HARDWARE", {k: v for k, v in HARDWARE.items() if k not in kinds}
    )
    with pytest.raises(HwsimError, match="must have hardware") as caught:
        explore(graph)
    lacking = [n.name for n in graph.nodes if type(n.op) in kinds]
    assert len(lacking) > 1 and all(repr(name) in str(caught.value) for name in lacking)


def test_the_picture_has_a_dot_for_each_plan(graph):
    facts = explore(graph, "ecp5-25k").to_dict()
    root = ElementTree.fromstring(draw(facts, alone=True))
    dots = [e for e in root.iter() if e.tag.endswith("circle")]
    assert len(dots) == len(facts["options"])
    over = [e for e in dots if e.get("class") == "over"]
    assert len(over) == sum(o["fits"] is False for o in facts["options"])
    places = [(float(e.get("cx")), float(e.get("cy"))) for e in dots]
    assert places == sorted(places, key=lambda p: p[0])  # faster is further right
    assert all(0 < x < 640 and 0 < y < 380 for x, y in places)


def test_a_picture_of_names_with_markup_is_whole(graph):
    facts = explore(graph).to_dict()
    facts["options"][0]["bottleneck"] = '<script>&"'
    root = ElementTree.fromstring(draw(facts, alone=True))
    assert '<script>&"' in "".join(root.itertext())


def test_a_notebook_shows_picture_and_table(graph):
    plans = hwsim.plan(graph, target="ecp5-85k")
    html = plans._repr_html_()
    assert "<svg" in html and html.count("<tr") == len(plans.options) + 1
    assert "frames/s on" in repr(plans) and len(repr(plans)) < 3000


def test_the_command_names_what_to_type_next(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    picture = tmp_path / "plans.svg"
    status, out, _ = run(capsys, "plan", MODEL, "--target", "ecp5-25k", "--picture", picture)
    assert status == 0
    assert max(len(line) for line in out.splitlines() if "next:" not in line) <= 80
    match = re.search(r"next: hwsim build (\S+) .*--fps (\S+)$", out, flags=re.MULTILINE)
    assert match is not None and match[1] == str(MODEL) and float(match[2]) > 1000
    assert picture.read_text(encoding="utf-8").startswith("<svg")


def test_json_holds_all_of_it(capsys):
    _, out, _ = run(capsys, "plan", MODEL, "--json")
    facts = json.loads(out)
    assert facts["target"] == "ecp5-25k" and facts["fastest"] in facts["options"]
    assert {"fps", "cycles", "multipliers", "memory_bits", "bottleneck"} <= set(facts["options"][0])


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--target", "ecp5-12k"], "target must be one of"),
        (["--clock", "fast"], "clock must be a frequency"),
        (["--picture", "plans.png"], "the picture must be an .svg file"),
        (["--picture", "no/such/plans.svg"], "must exist and be writable"),
    ],
)
def test_bad_calls_are_a_sentence(arguments, text, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert text in refused(capsys, "plan", MODEL, *arguments)
    assert not list(tmp_path.iterdir())
