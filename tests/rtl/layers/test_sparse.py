"""Layers whose words of zeros are skipped: the emulator's integers, in the claimed cycles."""

from __future__ import annotations

import re
import zlib
from dataclasses import replace

import numpy as np
import pytest
from support import cases, rtl_designs
from support.mixed_networks import mixed
from support.random_networks import random_plan
from support.seeds import seeded
from support.together import fed_fast, together

from hwsim.compress.prune.masks import Blocks, NOfM, Unstructured
from hwsim.compress.prune.prune import Pruning, prune
from hwsim.emulator.run import planned
from hwsim.errors import HwsimError
from hwsim.fixed import Format, Overflow, Rounding
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.ops import Cast, Conv2D, Dense, Flatten, Requantize, Scheme, Stepwise, Weighted, Window
from rtl.design import Design
from rtl.flow import rtlil
from rtl.layers import sparse
from rtl.layers.base import Option
from rtl.layers.table import implementations
from rtl.parts.replay import PickBeats
from rtl.parts.stream import Slice
from rtl.plan.cost import bottleneck, node_cycles
from rtl.plan.depths import with_depths
from rtl.plan.memories import memories
from rtl.plan.plan import Plan
from rtl.plan.search import plan_for_cycles

SAMPLES = 5


def pruned(case: cases.Case) -> cases.Case | None:
    """A layer with three quarters of its weights 0; None where its encoding has no 0."""
    op = case.op
    assert isinstance(op, Weighted)
    rng = np.random.default_rng(zlib.crc32(case.id.encode()))
    kept = rng.random(op.weights.shape) < 0.25
    try:
        return replace(case, op=replace(op, weights=op.weights * kept))
    except HwsimError:
        return None


def options(case: cases.Case) -> list[Option]:
    graph = case.graph()
    ways = implementations(graph, graph.nodes[0])
    return [option for way in ways if way.name in sparse.SKIPPING for option in way.options()]


LAYERS = [case for case in cases.BUILT if isinstance(case.op, Weighted)]
FOUND = [(case, options(case)) for one in LAYERS if (case := pruned(one)) is not None]
SPARSE = [(case, found) for case, found in FOUND if found]


def check(case: cases.Case, option: Option, *, stall: float = 0.0) -> None:
    graph, codes = case.graph(), case.inputs(SAMPLES, seed=3)
    plan = fed_fast(graph, option)
    reset = 29 if stall else None
    got, when = rtl_designs.simulate(graph, plan, codes, seed=5, stall=stall, reset_at=reset)
    want = planned(graph).run({"a": codes["a"]})["y"].astype(int)
    assert (got["y"] == want).all()
    if not stall:
        ends = np.array(when["y"]).reshape(SAMPLES, -1)[:, -1]
        assert int(ends[-1] - ends[-2]) == bottleneck(graph, plan).cycles == option.cycles


@pytest.mark.parametrize(("case", "found"), SPARSE[::2], ids=lambda part: getattr(part, "id", ""))
def test_a_layer_with_zeros_gives_its_integers_in_the_cycles_that_it_claims(case, found):
    check(case, found[len(found) // 2])
    check(case, found[-1], stall=0.3)


@pytest.mark.slow
@pytest.mark.parametrize(("case", "found"), SPARSE, ids=lambda part: getattr(part, "id", ""))
def test_every_way_to_skip_zeros_gives_its_integers_in_the_cycles_that_it_claims(case, found):
    for option in found:
        check(case, option)
        check(case, option, stall=0.3)


@pytest.mark.parametrize("name", sparse.SKIPPING)
def test_layers_that_skip_zeros_have_the_memories_that_they_claim(name):
    chosen = [
        (case, named[-1])
        for case, found in SPARSE[::6]
        if (named := [option for option in found if option.plan.implementation == name])
    ]
    graph, plan = together(chosen)
    assert len(chosen) > 5
    assert_memories(graph, plan)


def assert_memories(graph: Graph, plan: Plan) -> None:
    text = rtlil.convert(Design(graph, plan), name="top")
    built = re.findall(r"^\s*memory width (\d+) size (\d+)", text, flags=re.MULTILINE)
    claimed = [m for each in memories(graph, plan).values() for m in each]
    assert sorted((m.width, m.words) for m in claimed) == sorted((int(w), int(n)) for w, n in built)


def test_zeros_are_skipped_in_layers_of_many_kinds():
    ways = {option.plan.implementation for _, found in SPARSE for option in found}
    assert ways == set(sparse.SKIPPING)
    kinds = {case.op.kind for case, _ in SPARSE}
    assert kinds == {"dense", "conv1d", "conv2d"}
    assert any(case.op.encoding is not None for case, _ in SPARSE)
    assert any(isinstance(case.op.accumulator, Stepwise) for case, _ in SPARSE)
    assert any(case.op.zero_point for case, _ in SPARSE)
    assert len(SPARSE) > 30


@pytest.mark.parametrize("overflow", [Overflow.SAT, Overflow.SAT_SYM, Overflow.SAT_ZERO])
def test_sums_that_begin_with_zeros_are_brought_into_range_as_ever(overflow):
    """Their biases lie at the ends of the accumulator and beyond."""
    data = cases.weights("sparse-step", "s4", 6, 4)
    data["weights"][:3] = 0
    data["bias"] = np.array([-200, 200, -128, 127])
    acc = Stepwise(format=Format.parse("s8"), overflow=overflow)
    case = cases.Case("ends", Dense(**data, accumulator=acc), (cases.tensor(6, "s4"),))
    for option in options(case)[::3]:
        check(case, option)


def test_beats_in_another_order_are_seen(monkeypatch):
    """The check's mutant."""
    case, found = next((case, found) for case, found in SPARSE if case.id == "dense-plain")

    def turned(beat, beats, order, **more):
        return PickBeats(beat, beats, order[::-1], **more)

    monkeypatch.setattr(sparse, "PickBeats", turned)
    with pytest.raises(AssertionError):
        check(case, found[0])


def small_cnn() -> Graph:
    """A convolution and a dense layer of 4-bit weights, without zeros."""
    to6 = Cast(out=Format.int(6), rounding=Rounding.RND, overflow=Overflow.SAT)
    conv = {"weight_format": Format.int(4), "window": Window((3, 3), (2, 2), (1, 1, 1, 1))}
    dense = {"weight_format": Format.int(4)}
    rng = np.random.default_rng(seeded(20261127))
    signs = {name: rng.choice([-1, 1], shape) for name, shape in SHAPES.items()}
    drawn = {name: rng.integers(1, 8, shape) * signs[name] for name, shape in SHAPES.items()}
    bias = {name: rng.integers(-99, 99, shape[-1]) for name, shape in SHAPES.items()}
    nodes = (
        Node("conv", Conv2D(weights=drawn["conv"], bias=bias["conv"], **conv), ("x",), "sums"),
        Node("to6", to6, ("sums",), "codes"),
        Node("flat", Flatten(), ("codes",), "vector"),
        Node("dense", Dense(weights=drawn["dense"], bias=bias["dense"], **dense), ("vector",), "y"),
    )
    port = InputPort(name="x", tensor="x", type=cases.tensor((6, 6, 4), "s6"))
    return Graph((port,), nodes, (OutputPort(name="y", tensor="y"),))


SHAPES = {"conv": (3, 3, 4, 8), "dense": (72, 8)}


def pace(graph: Graph, plan: Plan) -> tuple[int, int]:
    """Codes that differ from the emulator's, and cycles from one sample to the next."""
    codes = np.random.default_rng(seeded(20261128)).integers(-32, 32, (4, 6, 6, 4))
    got, when = rtl_designs.simulate(graph, plan, {"x": codes})
    want = planned(graph).run({"x": codes})["y"].astype(int)
    ends = np.array(when["y"]).reshape(4, -1)[:, -1]
    return int((got["y"] != want).sum()), int(ends[-1] - ends[-2])


def constant_bits(graph: Graph, plan: Plan) -> int:
    found = memories(graph, plan)
    return sum(m.bits for each in found.values() for m in each if not m.written)


@pytest.mark.parametrize(
    ("pattern", "lanes", "bits"),
    [
        pytest.param(Blocks(2, 4), {"pe": 2, "simd": 4}, 0.5, id="2x4"),
        pytest.param(NOfM(1, 4), {"pe": 1, "simd": 1}, 0.8, id="1:4", marks=pytest.mark.slow),
    ],
)
def test_blocks_that_are_zero_take_neither_cycles_nor_words(pattern, lanes, bits):
    """At the fold that the blocks were made for, beside the same network without zeros."""
    whole = small_cnn()
    graph = prune(whole, Pruning(amount=0.75, pattern=pattern)).graph
    plan = replace(plan_for_cycles(whole, 1 << 40), inputs={"x": 4})
    plan = plan.with_fold("conv", **lanes).with_fold("dense", **lanes)
    skips = {
        name: replace(chosen, implementation="sparse") if name in SHAPES else chosen
        for name, chosen in plan.nodes.items()
    }
    skipping = replace(plan, nodes=skips)
    assert pace(whole, plan) == (0, bottleneck(whole, plan).cycles)
    wrong, cycles = pace(graph, skipping)
    assert (wrong, cycles) == (0, bottleneck(graph, skipping).cycles)
    assert cycles < 0.34 * bottleneck(whole, plan).cycles
    assert skipping.multipliers == plan.multipliers
    assert constant_bits(graph, skipping) < bits * constant_bits(whole, plan)
    assert_memories(graph, with_depths(graph, skipping))


@pytest.mark.parametrize(
    ("pattern", "way", "cycles"),
    [(Blocks(2, 4), "sparse", 100), (Unstructured(), "sparse by lane", 400)],
    ids=str,
)
def test_a_plan_takes_fewer_multipliers_where_weights_are_zero(pattern, way, cycles):
    whole = small_cnn()
    graph = prune(whole, Pruning(amount=0.75, pattern=pattern)).graph
    before, after = (plan_for_cycles(one, cycles) for one in (whole, graph))
    assert after.nodes["conv"].implementation == way
    assert after.multipliers <= 0.5 * before.multipliers
    assert bottleneck(graph, after).cycles <= cycles
    assert pace(graph, after) == (0, bottleneck(graph, after).cycles)
    assert "words of weights are used" in bottleneck(graph, after).why


def uneven() -> tuple[Graph, Plan]:
    """Sums of 1 word, then of 27, ahead of a requantizer that takes 14 cycles for each."""
    rng = np.random.default_rng(seeded(20261129))
    weights = rng.integers(1, 8, (28, 8))
    weights[1:, :4], weights[0, 4:] = 0, 0
    dense = Dense(weights=weights, bias=rng.integers(-99, 99, 8), weight_format=Format.int(4))
    to8 = Requantize(scheme=Scheme.SINGLE, multiplier=(0.03,), out=Format.int(8))
    nodes = (Node("dense", dense, ("x",), "sums"), Node("to8", to8, ("sums",), "y"))
    port = InputPort(name="x", tensor="x", type=cases.tensor(28, "s6"))
    graph = Graph((port,), nodes, (OutputPort(name="y", tensor="y"),))
    return graph, plan_for_cycles(graph, 112)


def test_sums_that_end_unevenly_keep_the_pace_of_an_even_reader(monkeypatch):
    """With the check's mutant: without room for them the reader has too little to do at times."""
    graph, plan = uneven()
    slowest = {node.name: node_cycles(graph, node, plan.nodes[node.name]) for node in graph.nodes}
    assert slowest == {"dense": 112, "to8": 112}
    assert plan.nodes["dense"].implementation == "sparse"
    codes = np.random.default_rng(seeded(20261130)).integers(-32, 32, (8, 28))

    def found() -> int:
        got, when = rtl_designs.simulate(graph, plan, {"x": codes})
        assert (got["y"] == planned(graph).run({"x": codes})["y"].astype(int)).all()
        ends = np.array(when["y"]).reshape(8, -1)[:, -1]
        return int(ends[-1] - ends[-2])

    assert found() == bottleneck(graph, plan).cycles
    monkeypatch.setattr(sparse, "Fifo", lambda beat, depth: Slice(beat))
    assert found() > bottleneck(graph, plan).cycles


def drawn(seed: int) -> tuple[Graph, Plan] | None:
    """A random network with few weights left and a plan that skips zeros; None without any."""
    rng = np.random.default_rng(seed)
    try:
        graph = prune(mixed(seed), Pruning(amount=0.75)).graph
    except HwsimError:
        return None  # no layer, or an operator behind it takes no other sums
    plan, skips = random_plan(graph, rng), {}
    for node in graph.nodes:
        ways = implementations(graph, node) if isinstance(node.op, Weighted) else ()
        found = [o.plan for way in ways if way.name in sparse.SKIPPING for o in way.options()]
        if found:
            skips[node.name] = found[int(rng.integers(len(found)))]
    return (graph, replace(plan, nodes={**plan.nodes, **skips})) if skips else None


def differences(graph: Graph, plan: Plan, seed: int) -> int:
    rng = np.random.default_rng(seed)
    x = {p.tensor: rng.integers(p.type.lo, p.type.hi + 1, (3, *p.type.shape)) for p in graph.inputs}
    got, _ = rtl_designs.simulate(graph, plan, x, seed=seed, stall=0.25)
    want = planned(graph).run(x)
    return sum(int((got[p.name] != want[p.tensor].astype(int)).sum()) for p in graph.outputs)


def test_random_networks_that_skip_zeros_give_their_integers(seed):
    found = {one: net for one in range(seed, seed + 30) if (net := drawn(one)) is not None}
    chosen = list(found.items())[:5]
    assert len(chosen) == 5
    wrong = {one: differences(graph, plan, one) for one, (graph, plan) in chosen}
    assert wrong == dict.fromkeys(wrong, 0)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(60))
def test_more_random_networks_that_skip_zeros_give_their_integers(number, seed):
    net = drawn(seed + number)
    assert net is None or differences(*net, seed + number) == 0
