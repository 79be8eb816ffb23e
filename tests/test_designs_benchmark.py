"""Digits compressed in each way: in Verilator the emulator's codes, in the planned cycles."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

from hwsim.data.sets import load
from hwsim.ops import Stepwise, Weighted
from rtl.build import Request, choose_plan
from rtl.plan.cost import bottleneck, multiplier_cost

MODEL = Path(__file__).parents[1] / "examples/models/digits_cnn_int8.float.onnx"
NAMES = (
    *("w8a8", "w4a8", "w4a4", "ternary", "pot4", "apot4", "codebook3"),
    *("75 %", "75 % in 2:8", "75 % in 4x8", "half", "half, same DSP", "wrap 14", "saturate 14"),
)
RATE = {"clock_mhz": 50.0, "fps": 50e6 / 2400, "rtl_only": True}


@pytest.fixture
def designs(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    return importlib.import_module("compressed_designs")


def graph_of(designs, name):
    return designs.CASES[name](MODEL, load("digits").train.reals()[:256])


@pytest.mark.needs("onnxruntime")
def test_each_way_saves_what_it_is_for(designs):
    assert tuple(designs.CASES) == NAMES
    graphs = {name: graph_of(designs, name) for name in NAMES if name != "w4a8"}
    ask = Request(target=designs.TARGET, **RATE)
    plans = {name: choose_plan(graph, ask) for name, graph in graphs.items()}
    needed = {name: multiplier_cost(graphs[name], plans[name]) for name in plans}
    assert needed["ternary"] == needed["pot4"] == needed["apot4"] == 0
    assert needed["75 % in 4x8"] < 0.3 * needed["w4a4"]
    assert needed["half"] < 0.3 * needed["w8a8"]
    assert bottleneck(graphs["half"], plans["half"]).cycles <= 2400
    for name in ("wrap 14", "saturate 14"):
        layers = [node.op for node in graphs[name].nodes if isinstance(node.op, Weighted)]
        assert all(isinstance(op.accumulator, Stepwise) for op in layers)
    zeros = [np.mean(n.op.weights == 0) for n in graphs["75 %"].nodes if isinstance(n.op, Weighted)]
    assert min(zeros) >= 0.75


@pytest.mark.slow
@pytest.mark.needs("onnxruntime", "torch", "verilator", "yosys")
@pytest.mark.parametrize("name", NAMES)
def test_a_compressed_design_gives_the_emulators_codes_in_the_planned_cycles(
    designs, name, tmp_path
):
    graph, images = graph_of(designs, name), load("digits").test.reals()[:20]
    ask = Request(target=designs.TARGET, **RATE)
    row = dict(
        zip(designs.HEAD, designs.measured(name, graph, images, ask, tmp_path / "b"), strict=True)
    )
    assert (row["codes"], row["different"]) == ("600", "0")
    assert row["cycles"] == row["plan"]
    assert row["DSP"] == row["plan DSP"]
    assert abs(int(row["EBR"]) - int(row["plan EBR"])) <= 3
