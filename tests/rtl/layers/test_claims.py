"""What each implementation claims of itself is so, for every case of the catalogue.

Cycles are counted in Amaranth's simulator with inputs that come a whole pixel a beat and outputs
that never wait; multipliers in what Yosys makes of many cases at once; memories in their netlist.
"""

from __future__ import annotations

import dataclasses
import random
import re

import numpy as np
import pytest
from support import cases, rtl_designs
from support.seeds import seeded
from support.together import fed_fast, three_options, together

from hwsim.fixed import Format, Overflow, Rounding
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.ops import Cast, Concat, Conv2D, Requantize, Scheme, Split, Window
from rtl.design import Design
from rtl.flow import rtlil, verilog, yosys
from rtl.flow.instances import by_node
from rtl.layers.base import Option
from rtl.layers.folds import layer_fold
from rtl.layers.table import implementation
from rtl.layers.walk import Walk
from rtl.plan.bursts import SHARE, bursts
from rtl.plan.cost import bottleneck
from rtl.plan.depths import with_depths
from rtl.plan.memories import memories
from rtl.plan.plan import Plan
from rtl.plan.search import menu, plan_for_cycles
from rtl.targets import ecp5

S8 = Format.int(8)
SAMPLES = 6  # the last two are far enough from the first for a steady pace
EVEN = ("cast", "relu", "table")  # a beat a cycle, whatever they compute


def interval(case: cases.Case, option: Option) -> int:
    """Cycles between the ends of the last two samples, of the slowest output."""
    graph = case.graph()
    codes = case.inputs(SAMPLES, seed=1)
    _, cycles = rtl_designs.simulate(graph, fed_fast(graph, option), codes)
    ends = [np.array(each).reshape(SAMPLES, -1)[:, -1] for each in cycles.values()]
    return max(int(each[-1] - each[-2]) for each in ends)


def check_cycles(case: cases.Case, option: Option) -> None:
    graph = case.graph()
    plan = fed_fast(graph, option)
    (node,) = graph.nodes
    assert implementation(graph, node, option.plan).cycles(option.plan) == option.cycles
    assert interval(case, option) == bottleneck(graph, plan).cycles


def every_third_of_its_kind() -> list[cases.Case]:
    """One case of every operator at least; of those that are a beat a cycle, one."""
    by_kind: dict[str, list[cases.Case]] = {}
    for case in cases.BUILT:
        by_kind.setdefault(case.op.kind, []).append(case)
    return [
        case
        for kind, each in by_kind.items()
        for case in each[:: len(each) if kind in EVEN else RARE.get(kind, 3)]
    ]


RARE = {"dense": 6, "requantize": 12}  # of which there are many
QUICK = every_third_of_its_kind()


@pytest.mark.parametrize("case", QUICK, ids=lambda case: case.id)
def test_a_case_takes_the_cycles_that_it_claims(case):
    options = three_options(case)
    for name in options if case.op.kind == "conv2d" else ("middle",):
        check_cycles(case, options[name])


@pytest.mark.slow
@pytest.mark.parametrize("case", cases.BUILT, ids=lambda case: case.id)
def test_every_option_of_every_case_takes_the_cycles_that_it_claims(case):
    for option in menu(case.graph()).nodes["op"]:
        check_cycles(case, option)


def test_a_cycle_more_is_seen():
    """The check's mutant."""
    case = next(c for c in cases.BUILT if c.id == "conv2d-plain")
    option = three_options(case)["middle"]
    with pytest.raises(AssertionError):
        check_cycles(case, dataclasses.replace(option, cycles=option.cycles + 1))
    assert interval(case, option) != option.cycles + 1


def by_steps(walk: Walk, work: int, ahead: int, maps: int = 12) -> int:
    """A map's cycles, window after window: taken once it is there and the reader's place free."""
    row = [walk.step] * (walk.windows - 1)
    gaps = [*row, walk.wrap] * (walk.rows - 1) + [*row, walk.home]
    taken = begun = 0
    ends = []
    for _ in range(maps):
        for gap in gaps:
            taken = max(taken + gap, begun + work - ahead)
            begun = max(taken, begun + work)
        ends.append(begun)
    return ends[-1] - ends[-2]


def test_a_walk_takes_the_cycles_of_its_steps(seed):
    rng = random.Random(seed)
    for _ in range(2000):
        rows, windows, step = (rng.randint(1, top) for top in (6, 6, 3))
        wrap, home, work = (rng.randint(1, top) for top in (12, 40, 20))
        walk = Walk(rows=rows, windows=windows, step=step, wrap=wrap, home=home)
        ahead = rng.randint(0, work - 1)
        assert walk.cycles(work, ahead) == by_steps(walk, work, ahead), (walk, work, ahead)


def check_multipliers(chosen, folder) -> int:
    graph, plan = together(chosen)
    design = Design(graph, plan)
    (folder / "top.v").write_text(verilog.convert(design, name="top"), encoding="utf-8")
    yosys.synthesize(folder, ["top.v"], "top", ecp5.FAMILY, "netlist.json")
    built = by_node(folder / "netlist.json", "top", ecp5.FAMILY, design.names.parts())
    wrong, total = {}, 0
    for node, (case, _) in zip(graph.nodes, chosen, strict=True):
        own = plan.nodes[node.name]
        claim = implementation(graph, node, own).multipliers(own)
        total += claim
        found = built.get(node.name, {"dsp": 0})["dsp"]
        if found != claim:
            wrong[case.id] = (claim, found)
    assert wrong == {}, "(claimed, built) by case"
    return total


MULTIPLYING = [c for c in cases.BUILT if c.op.kind not in (*EVEN, "argmax", "transpose")]


@pytest.mark.needs("yosys")
def test_some_cases_take_the_multipliers_that_they_claim(tmp_path):
    chosen = [(case, three_options(case)["middle"]) for case in MULTIPLYING[::16]]
    assert check_multipliers(chosen, tmp_path) > 10


@pytest.mark.slow
@pytest.mark.needs("yosys")
@pytest.mark.parametrize("name", ["smallest", "middle", "fastest"])
def test_all_cases_take_the_multipliers_that_they_claim(name, tmp_path):
    check_multipliers([(case, three_options(case)[name]) for case in cases.BUILT], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["smallest", "middle", "fastest"])
def test_all_cases_have_the_memories_that_they_claim(name):
    graph, plan = together([(case, three_options(case)[name]) for case in cases.BUILT])
    text = rtlil.convert(Design(graph, plan), name="top")
    pairs = re.findall(r"^\s*memory width (\d+) size (\d+)", text, flags=re.MULTILINE)
    claimed = [m for each in memories(graph, plan).values() for m in each]
    assert len(claimed) > 50
    assert sorted((m.words, m.width) for m in claimed) == sorted((int(n), int(w)) for w, n in pairs)


def chain() -> tuple[Graph, Plan]:
    """Two equal convolutions behind parallel windows, the second fed by the first."""
    nodes, edge = [], "x"
    window = Window((3, 3), (1, 1), (1, 1, 1, 1))
    for k in range(2):
        op = Conv2D(**cases.weights(f"chain-{k}", "s2", 3, 3, 2, 2), window=window)
        low = Cast(out=Format.int(6), rounding=Rounding.TRN, overflow=Overflow.WRAP)
        nodes += [Node(f"c{k}", op, (edge,), f"s{k}"), Node(f"r{k}", low, (f"s{k}",), f"e{k}")]
        edge = f"e{k}"
    port = InputPort(name="x", tensor="x", type=cases.tensor((6, 6, 2), "s6"))
    graph = Graph((port,), tuple(nodes), (OutputPort(name="y", tensor=edge),))
    plan = plan_for_cycles(graph, 1 << 30)
    folds = {
        node.name: dataclasses.replace(
            plan.nodes[node.name], fold=layer_fold(node.op, simd=3), parallel_window=True
        )
        for node in (nodes[0], nodes[2])
    }
    return graph, dataclasses.replace(plan, nodes={**plan.nodes, **folds}, inputs={"x": 2})


def test_slow_layers_behind_a_split_keep_the_pace_of_one():
    """While one half is worked on, the other half's layer must have something to do."""
    to8 = Requantize(scheme=Scheme.SINGLE, multiplier=(0.3,), out=Format.int(8))
    nodes = [Node("split", Split(axis=0, sizes=(32, 32)), ("x",), ("a", "b"))]
    nodes += [Node(f"to8_{edge}", to8, (edge,), f"y_{edge}") for edge in "ab"]
    port = InputPort(name="x", tensor="x", type=cases.tensor(64))
    ends = tuple(OutputPort(name=f"y_{edge}", tensor=f"y_{edge}") for edge in "ab")
    graph = Graph((port,), tuple(nodes), ends)
    plan = plan_for_cycles(graph, 300)
    assert {plan.nodes[f"to8_{edge}"].implementation for edge in "ab"} == {"serial"}
    codes = np.random.default_rng(seeded(4)).integers(-128, 128, (SAMPLES, 64))

    def pace(fifos) -> int:
        chosen = dataclasses.replace(plan, fifos=fifos)
        _, cycles = rtl_designs.simulate(graph, chosen, {"x": codes}, design=Design(graph, chosen))
        ends = [np.array(each).reshape(SAMPLES, -1)[:, -1] for each in cycles.values()]
        return max(int(each[-1] - each[-2]) for each in ends)

    wanted, claim = bursts(graph, plan), bottleneck(graph, plan).cycles
    assert wanted == {("to8_a", 0): 17, ("to8_b", 0): 17}
    assert pace(wanted) == claim < 300
    assert pace({}) > 1.5 * claim


@pytest.mark.parametrize(
    ("axis", "cycles", "without"), [(0, 300, 1.5), (0, 32, 1.5), (1, 300, 1.1)]
)
def test_slow_layers_ahead_of_a_concat_keep_the_pace_of_one(axis, cycles, without):
    """While one block is taken, the other's layer must go on; at full speed in wider beats."""
    nodes = [
        Node(f"to8_{k}", Requantize(scheme=Scheme.SINGLE, multiplier=(m,), out=S8), ("x",), k)
        for k, m in (("a", 0.3), ("b", 0.4))
    ]
    nodes.append(Node("concat", Concat(axis=axis), ("a", "b"), "y"))
    port = InputPort(name="x", tensor="x", type=cases.tensor((8, 4)))
    graph = Graph((port,), tuple(nodes), (OutputPort(name="y", tensor="y"),))
    plan = with_depths(graph, plan_for_cycles(graph, cycles))
    codes = np.random.default_rng(seeded(6)).integers(-128, 128, (SAMPLES, 8, 4))

    def pace(chosen: Plan) -> int:
        _, when = rtl_designs.simulate(graph, chosen, {"x": codes})
        ends = np.array(when["y"]).reshape(SAMPLES, -1)[:, -1]
        return int(ends[-1] - ends[-2])

    claim, held = bottleneck(graph, plan).cycles, bursts(graph, plan)
    assert set(held) == {("concat", 0), ("concat", 1)}
    assert pace(plan) == claim <= cycles
    fifos = {key: depth for key, depth in plan.fifos.items() if key not in held}
    assert pace(dataclasses.replace(plan, fifos=fifos)) > without * claim


def test_a_layer_that_takes_pixels_in_bursts_keeps_its_pace_behind_a_fifo_alone():
    graph, plan = chain()
    claim = bottleneck(graph, plan).cycles
    codes = np.random.default_rng(seeded(3)).integers(-32, 32, (SAMPLES, 6, 6, 2))

    def pace(fifos) -> int:
        chosen = dataclasses.replace(plan, fifos=fifos)
        _, cycles = rtl_designs.simulate(graph, chosen, {"x": codes}, design=Design(graph, chosen))
        ends = np.array(cycles["y"]).reshape(SAMPLES, -1)[:, -1]
        return int(ends[-1] - ends[-2])

    wanted = bursts(graph, plan)
    assert list(wanted) == [("c1", 0)]
    with_fifo, without = pace(wanted), pace({})
    print(f"claimed {claim}, with a FIFO {with_fifo}, without {without}")
    assert claim <= with_fifo <= claim + claim // SHARE
    assert without > claim + claim // SHARE
