"""A small network of each reader as hardware: the same integers as in the emulator."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from support import rtl_designs
from support.merged import merged
from support.reader_networks import READERS, loaded

import hwsim
from hwsim.emulator.run import planned
from hwsim.graph import Graph
from rtl.build import Request, build
from rtl.plan.search import plan_for_cycles
from rtl.sim.verify import verify

EACH = [
    pytest.param(name, id=name, marks=pytest.mark.needs("amaranth", *needs))
    for name, (_, needs) in READERS.items()
]
CYCLES = 1500


@pytest.mark.parametrize("name", EACH)
def test_a_readers_network_is_its_integers_in_hardware(name, tmp_path, seed, rng):
    graph = loaded(name, tmp_path, seed % 2**31)
    graph.save(tmp_path / "m.hwsim")
    graph = hwsim.load(tmp_path / "m.hwsim")
    (port,) = graph.inputs
    x = rng.integers(port.type.lo, port.type.hi + 1, (2, *port.type.shape))
    got, _ = rtl_designs.simulate(graph, plan_for_cycles(graph, CYCLES), {port.name: x})
    want = planned(graph).run({port.tensor: x})
    for end in graph.outputs:
        assert len(np.unique(want[end.tensor])) > 1
        assert np.array_equal(got[end.name], want[end.tensor].astype(int))


@pytest.mark.slow
@pytest.mark.needs("verilator", "yosys")
@pytest.mark.parametrize("part", ["tflite", "onnx", "xml", "pt2", "pte", "fx", "brevitas"])
def test_a_readers_networks_are_their_integers_in_verilator(part, tmp_path, seed):
    """All of a reader as one design."""
    names = [name for name in READERS if name.split()[0] == part]
    lacking = [need for need in READERS[names[0]][1] if importlib.util.find_spec(need) is None]
    if lacking:
        pytest.skip(f"needs {lacking[0]}, which is missing")
    graphs: dict[str, Graph] = {}
    for number, name in enumerate(names):
        graphs[f"m{number}"] = loaded(name, tmp_path, seed % 2**31)
    build(merged(graphs), tmp_path / "out", Request(rtl_only=True))
    outcome = verify(tmp_path / "out", samples=100, seed=seed % 2**31)
    assert outcome.ok and outcome.different == 0 and outcome.compared > 0
