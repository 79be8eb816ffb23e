"""Memories counted before anything is built are those of the design, to the bit."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from support import cases
from support import random_networks as networks

import hwsim
from hwsim.graph import Graph
from rtl.design import Design
from rtl.flow import cells, rtlil, verilog, yosys
from rtl.layers.memory import Memory
from rtl.plan.depths import with_depths
from rtl.plan.memories import memories
from rtl.plan.plan import Plan
from rtl.plan.search import least_multipliers, plan_for_cycles, plan_for_multipliers
from rtl.targets import ecp5

SLOW, FAST = 1 << 40, 1


def claimed(graph: Graph, plan: Plan) -> list[tuple[int, int]]:
    found = memories(graph, plan)
    return sorted((m.words, m.width) for each in found.values() for m in each)


def built(graph: Graph, plan: Plan) -> list[tuple[int, int]]:
    text = rtlil.convert(Design(graph, plan), name="top")
    pairs = re.findall(r"^\s*memory width (\d+) size (\d+)", text, flags=re.MULTILINE)
    return sorted((int(words), int(width)) for width, words in pairs)


WITHOUT = ("cast", "relu", "flatten", "reshape", "argmax")  # no memory in them
SOME = [case for case in cases.BUILT if case.op.kind not in WITHOUT][::6]


@pytest.mark.parametrize("cycles", [SLOW, 60, FAST])
@pytest.mark.parametrize("case", SOME, ids=lambda case: case.id)
def test_some_of_the_cases_have_the_memories_that_they_claim(case, cycles):
    test_every_case_has_the_memories_that_it_claims(case, cycles)


@pytest.mark.slow
@pytest.mark.parametrize("cycles", [SLOW, 60, FAST])
@pytest.mark.parametrize("case", cases.BUILT, ids=lambda case: case.id)
def test_every_case_has_the_memories_that_it_claims(case, cycles):
    graph = case.graph()
    plan = with_depths(graph, plan_for_cycles(graph, cycles))
    assert claimed(graph, plan) == built(graph, plan)


@pytest.mark.parametrize("number", range(6))
def test_random_networks_on_random_folds_have_the_memories_that_they_claim(number, seed):
    graph = networks.network(seed + number)
    plan = networks.random_plan(graph, np.random.default_rng(seed + number))
    plan = with_depths(graph, plan)
    assert claimed(graph, plan) == built(graph, plan)


def test_a_word_more_is_seen():
    """The check's mutant."""
    graph = next(c for c in cases.BUILT if c.id == "conv2d-same").graph()
    plan = with_depths(graph, plan_for_cycles(graph, SLOW))
    (words, width), *rest = claimed(graph, plan)
    assert [(words + 1, width), *rest] != built(graph, plan)


@pytest.mark.parametrize(
    ("words", "width", "written", "blocks"),
    [
        (256, 8, False, 0), (512, 8, False, 1), (64, 36, False, 1), (32, 72, False, 0),
        (512, 40, False, 2), (4096, 8, False, 2), (128, 8, True, 0), (256, 8, True, 1),
        (37, 24, True, 0), (100, 40, True, 2), (512, 72, True, 2), (20000, 8, True, 10),
    ],
)  # fmt: skip
def test_block_rams_are_estimated_as_yosys_was_seen_to_choose(words, width, written, blocks):
    """Counted from Yosys 0.70's synth_ecp5 for a memory with one read and at most one write."""
    assert Memory(words, width, written=written).blocks == blocks


@pytest.mark.needs("yosys")
@pytest.mark.parametrize("budget", [0, pytest.param(30, marks=pytest.mark.slow)])
def test_block_rams_of_a_network_are_near_those_of_yosys(budget, tmp_path):
    model = Path(__file__).parents[3] / "examples" / "models" / "digits_cnn_int8.onnx"
    graph = hwsim.load(model)
    plan = plan_for_multipliers(graph, least_multipliers(graph) + budget)
    plan = with_depths(graph, plan)
    files = verilog.convert_files(Design(graph, plan), name="top")
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    found = yosys.synthesize(tmp_path, ["top.v"], "top", ecp5.FAMILY, "netlist.json")
    real = cells.count(found, ecp5.FAMILY)[0]["bram"]
    claim = sum(m.blocks for each in memories(graph, plan).values() for m in each)
    print(f"block RAMs: {claim} estimated, {real} built")
    assert real > 0
    assert abs(claim - real) <= max(2, 0.2 * real)
