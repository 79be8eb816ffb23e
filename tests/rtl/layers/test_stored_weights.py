"""Random networks whose weights are encoded: emulator, training and hardware agree to the bit."""

from __future__ import annotations

import numpy as np
import pytest
from support import rtl_designs
from support.cases import CASES
from support.mixed_networks import mixed
from support.random_networks import random_plan

from hwsim.compress.quantize.nonlinear import WeightSet, encoded
from hwsim.emulator.run import planned
from hwsim.errors import HwsimError
from hwsim.graph import Graph
from hwsim.ops import Weighted
from rtl.parts.stored_weights import ShiftedWeights
from rtl.plan.memories import memories
from rtl.plan.search import plan_for_cycles

SETS = ("ternary", "pot3", "apot4", "apot5", "codebook1", "codebook3")
SLOW = 1 << 40


def drawn(seed: int) -> Graph | None:
    """A random network with a set for each layer; None for one without layers."""
    graph, rng = mixed(seed), np.random.default_rng(seed)
    names = [node.name for node in graph.nodes if isinstance(node.op, Weighted)]
    try:
        chosen = {name: WeightSet.parse(SETS[rng.integers(len(SETS))]) for name in names}
        return encoded(graph, chosen) if names else None
    except HwsimError:
        return None  # an operator behind it takes no wider sums


def differences(graph: Graph, seed: int) -> int:
    rng = np.random.default_rng(seed)
    x = {p.tensor: rng.integers(p.type.lo, p.type.hi + 1, (3, *p.type.shape)) for p in graph.inputs}
    got, _ = rtl_designs.simulate(graph, random_plan(graph, rng), x, seed=seed, stall=0.25)
    want = planned(graph).run(x)
    return sum(int((got[p.name] != want[p.tensor].astype(int)).sum()) for p in graph.outputs)


def test_random_networks_of_encoded_weights_on_random_foldings(seed):
    graphs = {one: graph for one in range(seed, seed + 20) if (graph := drawn(one)) is not None}
    chosen = list(graphs.items())[:5]
    assert len(chosen) == 5
    assert {one: differences(graph, one) for one, graph in chosen} == dict.fromkeys(
        (one for one, _ in chosen), 0
    )


@pytest.mark.slow
@pytest.mark.parametrize("number", range(60))
def test_more_random_networks_of_encoded_weights_on_random_foldings(number, seed):
    graph = drawn(seed + number)
    assert graph is None or differences(graph, seed + number) == 0


def test_a_word_without_its_sign_is_seen(monkeypatch):
    """The check's mutant."""
    graph = next(case for case in CASES if case.id == "dense-powers").graph()
    x = {"a": np.arange(-9, 9).reshape(3, 6)}
    want = planned(graph).run(x)["y"].astype(int)
    plan = plan_for_cycles(graph, SLOW)
    found = []
    words = ShiftedWeights.words
    for mask in (15, 7):
        monkeypatch.setattr(ShiftedWeights, "words", lambda self, w, m=mask: words(self, w) & m)
        found.append(int((rtl_designs.simulate(graph, plan, x)[0]["y"] != want).sum()))
    assert found[0] == 0 < found[1]


@pytest.mark.parametrize(("name", "bits"), [("ternary", 2), ("powers", 4), ("sums", 5)])
def test_a_memory_of_weights_holds_the_short_words(name, bits):
    graph = next(case for case in CASES if case.id == f"dense-{name}").graph()
    plan = plan_for_cycles(graph, SLOW)
    held = [(m.words, m.width) for m in memories(graph, plan)["op"] if not m.written]
    assert (24, bits) in held
