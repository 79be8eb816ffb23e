"""Every kind of operator beside its own input, joined again: the proven depth never deadlocks.

One branch is the operator, the other its own input; both are flattened, brought to 8 bits and
joined by a Concat. Depths are exactly the proven ones, without slack. The mutants leave one
operator's row out of `rtl.plan.depths.needs`: some design must then hang.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from support import cases, rtl_designs
from support.seeds import seeded

from hwsim.emulator.run import planned
from hwsim.fixed import Format, Overflow, Rounding
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.ops import (
    Add,
    AvgPool,
    Concat,
    Conv1D,
    Conv2D,
    Dense,
    Flatten,
    MaxPool,
    Mul,
    Op,
    Pad,
    Quant,
    Relu,
    Requantize,
    Reshape,
    Scheme,
    Select,
    Split,
    Transpose,
    Window,
)
from rtl.design import Design
from rtl.layers.table import implementation
from rtl.plan import depths
from rtl.plan.plan import Plan
from rtl.plan.search import plan_for_cycles

SLOW, FAST = 1 << 40, 1
LIMIT = 6000  # cycles: several times what the slowest of these designs takes
ENOUGH, LARGEST = 24, 520  # codes of input and output together


def size(case: cases.Case) -> int:
    return case.types[0].size + sum(made.size for made in case.op.output_types(case.types))


ONE_TO_ONE = [c for c in cases.BUILT if len(c.types) == len(c.op.output_types(c.types)) == 1]
UNARY = [c for c in ONE_TO_ONE if size(c) <= LARGEST]


BY_KIND: dict[str, cases.Case] = {}
for found in sorted(UNARY, key=lambda case: size(case) < ENOUGH):  # the first that is large enough
    BY_KIND.setdefault(found.op.kind, found)
EVERY = [c for c in UNARY if c.op.kind in ("conv2d", "dense", "maxpool", "avgpool", "argmax")]
EVERY += [c for c in UNARY if c.op.kind == "transpose"]


CONCAT = Concat()
SAME = Window((3, 3), (1, 1), (1, 1, 1, 1))


def dense() -> Dense:
    return Dense(**cases.weights("join-dense", "s4", 16, 16))


def convolution() -> Conv2D:
    return Conv2D(**cases.weights("join-conv", "s4", 3, 3, 2, 2), window=SAME)


def along_a_line() -> Conv1D:
    """Its first sum waits for 16 codes, more than registers on the other branch can hold."""
    window = Window((31,), (1,), (15, 15))
    return Conv1D(**cases.weights("join-line", "s4", 31, 1, 1), window=window)


# As many codes out as in, so that both can be added: what a Concat hides shows there.
LIKE_ITS_INPUT = {
    case.op.kind: case
    for case in (
        cases.Case(
            "dense", Dense(**cases.weights("join-dense", "s4", 16, 16)), (cases.tensor(16),)
        ),
        cases.Case("conv1d", along_a_line(), (cases.tensor((40, 1)),)),
        cases.Case("conv2d", convolution(), (cases.tensor((6, 7, 2)),)),
        cases.Case("maxpool", MaxPool(window=SAME), (cases.tensor((6, 7, 2)),)),
        cases.Case("avgpool", AvgPool(window=SAME), (cases.tensor((6, 7, 2)),)),
        cases.Case("transpose", Transpose(axes=(1, 0)), (cases.tensor((5, 6)),)),
        cases.Case("select", Select(axis=0, indices=tuple(range(39, -1, -1))), (cases.tensor(40),)),
    )
}


def to_bytes(name: str, edge: str) -> list[Node]:
    """A tensor as a vector of its codes' low 8 bits."""
    low = Requantize(
        scheme=Scheme.SHIFT,
        multiplier=(1.0,),
        out=Format.int(8),
        overflow=Overflow.WRAP,
        rounding=Rounding.TRN,
    )
    return [
        Node(f"{name}_flat", Flatten(), (edge,), f"{name}_flat"),
        Node(name, low, (f"{name}_flat",), name),
    ]


def beside_its_input(case: cases.Case, *, swapped: bool = False, join: Op = CONCAT) -> Graph:
    """The operator and its own input, one after the other or code by code."""
    order = ("made", "given") if not swapped else ("given", "made")
    nodes = [
        Node("op", case.op, ("x",), "m"),
        *to_bytes("made", "m"),
        *to_bytes("given", "x"),
        Node("join", join, order, "y"),
    ]
    port = InputPort(name="x", tensor="x", type=case.types[0])
    return Graph((port,), tuple(nodes), (OutputPort(name="y", tensor="y"),))


def at_proven_depths(graph: Graph, cycles: int) -> Plan:
    plan = plan_for_cycles(graph, cycles)
    return dataclasses.replace(plan, fifos=depths.proven_depths(graph, plan))


def outcome(graph: Graph, cycles: int, codes, seed: int) -> str:
    """Whether the design gives the emulator's integers, other ones, or none in time."""
    given = codes if isinstance(codes, dict) else {"x": codes}
    plan = at_proven_depths(graph, cycles)
    design = Design(graph, plan)
    try:
        got, _ = rtl_designs.simulate(
            graph, plan, given, seed=seed, stall=0.2, limit=LIMIT, design=design
        )
    except AssertionError as error:
        if "no end after" not in str(error):
            raise
        return "hangs"
    want = planned(graph).run(given)
    same = all((got[p.name] == want[p.tensor].astype(int)).all() for p in graph.outputs)
    return "equal" if same else "differs"


def check(case: cases.Case, *, swapped: bool, cycles: int, seed: int) -> None:
    codes = case.inputs(3, seed=3)["a"]
    graph = beside_its_input(case, swapped=swapped)
    assert outcome(graph, cycles, codes, seed) == "equal"


QUICK = [
    (kind, cycles)
    for kind, case in sorted(BY_KIND.items())
    for cycles in (SLOW, FAST)
    if cycles == SLOW or case.types[0].channels <= 16  # wide ones take minutes to elaborate
]


@pytest.mark.parametrize(("kind", "cycles"), QUICK)
def test_an_operator_beside_its_input_never_deadlocks(kind, cycles, seed):
    check(BY_KIND[kind], swapped=False, cycles=cycles, seed=seed)


@pytest.mark.parametrize("cycles", [SLOW, FAST])
@pytest.mark.parametrize("case", LIKE_ITS_INPUT.values(), ids=lambda case: case.id)
def test_an_operator_added_to_its_input_never_deadlocks(case, cycles, seed):
    graph = beside_its_input(case, join=Add())
    assert outcome(graph, cycles, case.inputs(3, seed=3)["a"], seed) == "equal"


@pytest.mark.slow
@pytest.mark.parametrize("cycles", [SLOW, FAST])
@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("case", [*EVERY, *BY_KIND.values()], ids=lambda case: case.id)
def test_every_window_and_sum_beside_its_input_never_deadlocks(case, swapped, cycles, seed):
    check(case, swapped=swapped, cycles=cycles, seed=seed)


def without_row(*kinds: str):
    """`needs` as if these operators gave a code for each that they take."""
    needs = depths.needs

    def mutant(graph: Graph, plan: Plan, node: Node, index: int, output: int):
        if node.op.kind not in kinds:
            return needs(graph, plan, node, index, output)
        x, out = graph.input_types(node)[index], graph.types()[node.output]
        chosen = plan.nodes[node.name]
        lanes = implementation(graph, node, chosen).input_lanes(chosen, index)
        used = -(-(np.arange(out.size) + 1) // lanes) * lanes
        return np.minimum(used, x.size)

    return mutant


def padded_on_either_side() -> Graph:
    """A tensor behind as many codes as it has, added to itself before as many."""
    pads = Pad(before=(40,)), Pad(after=(40,))
    nodes = [Node(f"pad_{edge}", op, ("x",), edge) for edge, op in zip("ab", pads, strict=True)]
    port = InputPort(name="x", tensor="x", type=cases.tensor(40))
    ports = (OutputPort(name="y", tensor="y"),)
    return Graph((port,), (*nodes, Node("join", Add(), ("a", "b"), "y")), ports)


JOINED = {
    **{kind: beside_its_input(case, join=Add()) for kind, case in LIKE_ITS_INPUT.items()},
    "argmax": beside_its_input(BY_KIND["argmax"], join=CONCAT),
    "concat": beside_its_input(BY_KIND["table"], join=CONCAT),
    "pad": padded_on_either_side(),
    "reduce": beside_its_input(BY_KIND["reduce"], join=CONCAT),
}


@pytest.mark.parametrize("kind", JOINED)
def test_without_an_operators_row_its_design_hangs(kind, monkeypatch, seed):
    graph = JOINED[kind]
    codes = cases.Case(kind, CONCAT, (graph.inputs[0].type,)).inputs(3, seed=3)["a"]
    assert outcome(graph, SLOW, codes, seed) == "equal"
    monkeypatch.setattr(depths, "needs", without_row(kind))
    assert outcome(graph, SLOW, codes, seed) == "hangs"


def test_every_row_has_its_mutant():
    """What needs more than a code for a code is told apart from what does not."""
    special = set()
    for case in [*BY_KIND.values(), *LIKE_ITS_INPUT.values()]:
        graph = beside_its_input(case)
        plan = plan_for_cycles(graph, SLOW)
        for node in graph.nodes:
            size = graph.types()[node.output].size
            for index, x in enumerate(graph.input_types(node)):
                plain = np.minimum(np.arange(size) + 1, x.size)
                if (depths.needs(graph, plan, node, index) != plain).any():
                    special.add(node.op.kind)
    assert special == set(JOINED)


def parted(split: Split, shape: tuple[int, ...], join: Op, *between: Op) -> Graph:
    """The two parts of a split, the first through operators, then joined, the last one first."""
    nodes = [Node("split", split, ("x",), ("t0", "rest"))]
    nodes += [Node(f"n{k}", op, (f"t{k}",), f"t{k + 1}") for k, op in enumerate(between)]
    nodes.append(Node("join", join, ("rest", f"t{len(between)}"), "y"))
    port = InputPort(name="x", tensor="x", type=cases.tensor(shape, "s6"))
    return Graph((port,), tuple(nodes), (OutputPort(name="y", tensor="y"),))


WEIGHTS = Conv2D(**cases.weights("parted", "s3", 3, 3, 2, 2), window=SAME)
PARTED = {
    "halves-added": parted(Split(axis=2, sizes=(2, 2)), (3, 4, 4), Add()),
    "halves-swapped": parted(Split(axis=2, sizes=(2, 2)), (3, 4, 4), CONCAT),
    "unequal-swapped": parted(Split(axis=2, sizes=(4, 2)), (3, 4, 6), CONCAT),
    "rows-added": parted(Split(axis=0, sizes=(2, 2)), (4, 3, 2), Add()),
    "columns-swapped": parted(Split(axis=1, sizes=(3, 3)), (2, 6, 2), CONCAT),
    "convolved": parted(Split(axis=2, sizes=(2, 2)), (5, 4, 4), Add(), WEIGHTS),
    "convolved-rows": parted(Split(axis=0, sizes=(4, 4)), (8, 3, 2), Add(), WEIGHTS),
}
by_parted = pytest.mark.parametrize("name", PARTED)


def parted_codes(name: str):
    kind = PARTED[name].inputs[0].type
    return np.random.default_rng(seeded(5)).integers(kind.lo, kind.hi + 1, (3, *kind.shape))


@by_parted
@pytest.mark.parametrize("cycles", [SLOW, FAST])
def test_parts_of_a_split_that_meet_again_never_deadlock(name, cycles, seed):
    assert outcome(PARTED[name], cycles, parted_codes(name), seed) == "equal"


@pytest.mark.parametrize("name", ["rows-added", "columns-swapped", "convolved"])
def test_without_the_proven_depths_parts_of_a_split_hang(name, monkeypatch, seed):
    assert outcome(PARTED[name], SLOW, parted_codes(name), seed) == "equal"
    proven = depths.proven_depths
    monkeypatch.setattr(
        depths, "proven_depths", lambda graph, plan: dict.fromkeys(proven(graph, plan), 1)
    )
    assert outcome(PARTED[name], SLOW, parted_codes(name), seed) == "hangs"


def test_the_first_rows_are_held_until_the_last_have_come():
    graph = PARTED["rows-added"]
    plan = plan_for_cycles(graph, SLOW)
    assert depths.proven_depths(graph, plan) == {("join", 1): 12, ("join", 0): 1}


def crossed(ports: dict[str, tuple[int, ...]], *nodes: Node) -> Graph:
    """Nodes whose joins are outputs `p`, `q`, ... of their own."""
    inputs = tuple(
        InputPort(name=name, tensor=name, type=cases.tensor(shape, "s6"))
        for name, shape in ports.items()
    )
    joins = [node.output for node in nodes if len(node.inputs) > 1]
    return Graph(inputs, nodes, tuple(OutputPort(name=edge, tensor=edge) for edge in joins))


RELUS = [Node(name, Relu(zero_point=k), ("x",), name) for k, name in enumerate("ab")]
CROSSED = {
    "two-inputs": crossed(
        {"a": (9,), "b": (9,)},
        Node("p", CONCAT, ("a", "b"), "p"),
        Node("q", CONCAT, ("b", "a"), "q"),
    ),
    "one-input": crossed(
        {"x": (3, 5)},
        *RELUS,
        Node("p", CONCAT, ("a", "b"), "p"),
        Node("q", CONCAT, ("b", "a"), "q"),
    ),
    "broadcast": crossed(
        {"a": (4,), "b": (3, 4)},
        Node("p", Add(), ("a", "b"), "p"),
        Node("turned", Reshape(shape=(4, 1)), ("a",), "turned"),
        Node("flat", Reshape(shape=(1, 12)), ("b",), "flat"),
        Node("q", Add(), ("turned", "flat"), "q"),
    ),
    "ring-of-three": crossed(
        {"a": (5,), "b": (5,), "c": (5,)},
        Node("p", CONCAT, ("a", "b"), "p"),
        Node("q", CONCAT, ("b", "c"), "q"),
        Node("r", CONCAT, ("c", "a"), "r"),
    ),
}


def crossed_codes(name: str) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seeded(6))
    return {
        p.name: rng.integers(p.type.lo, p.type.hi + 1, (3, *p.type.shape))
        for p in CROSSED[name].inputs
    }


@pytest.mark.parametrize("cycles", [SLOW, FAST])
@pytest.mark.parametrize("name", CROSSED)
def test_joins_of_two_outputs_that_want_their_branches_in_other_orders_never_deadlock(
    name, cycles, seed
):
    assert outcome(CROSSED[name], cycles, crossed_codes(name), seed) == "equal"


@pytest.mark.parametrize("name", CROSSED)
def test_with_each_join_proved_alone_they_hang(name, monkeypatch, seed):
    monkeypatch.setattr(depths, "entangled", lambda graph, joins: [])
    assert outcome(CROSSED[name], SLOW, crossed_codes(name), seed) == "hangs"


def test_joins_behind_one_fork_need_no_depths_beside_their_own():
    heads = [Node(f"{name}2", Relu(), (name,), f"{name}2") for name in "ab"]
    sums = [Node(f"{name}y", Add(), (name, f"{name}2"), f"{name}y") for name in "ab"]
    graph = crossed({"x": (3, 5)}, *RELUS, *heads, *sums)
    assert depths.entangled(graph, sums) == []


def gated(pools: Window) -> Graph:
    """Squeeze and excitation: a map times what a pool of it gives, which broadcasts."""
    narrow = Requantize(scheme=Scheme.SHIFT, multiplier=(0.0625,), out=Format.int(8))
    nodes = (
        Node("pool", AvgPool(window=pools), ("x",), "sums"),
        Node("gate", narrow, ("sums",), "gates"),
        Node("mul", Mul(quant=Quant((1.0,))), ("x", "gates"), "y"),
    )
    port = InputPort(name="x", tensor="x", type=cases.tensor((5, 4, 2), "s6"))
    return Graph((port,), nodes, (OutputPort(name="y", tensor="y"),))


GATED = {
    "by the whole map": gated(Window((5, 4))),
    "by columns": gated(Window((5, 1))),
    "by rows": gated(Window((1, 4))),
}


@pytest.mark.parametrize("name", GATED)
@pytest.mark.parametrize("cycles", [SLOW, FAST])
def test_a_map_gated_by_its_own_pool_never_deadlocks(name, cycles, seed):
    codes = np.random.default_rng(seed).integers(-32, 32, (3, 5, 4, 2))
    assert outcome(GATED[name], cycles, codes, seed) == "equal"


def test_a_gate_of_the_whole_map_hangs_unless_the_map_is_held(seed, monkeypatch):
    proven, graph = depths.proven_depths, GATED["by the whole map"]
    held = proven(graph, plan_for_cycles(graph, FAST))
    assert held["mul", 0] * 2 == 5 * 4 * 2  # all of it, two codes a beat
    monkeypatch.setattr(depths, "proven_depths", lambda *given: dict.fromkeys(proven(*given), 1))
    codes = np.random.default_rng(seed).integers(-32, 32, (3, 5, 4, 2))
    assert outcome(graph, FAST, codes, seed) == "hangs"
