"""The records of hardware: none lacks a part, plans name what they chose, all gaps are told."""

from __future__ import annotations

import inspect
import itertools
import typing

import pytest
from support import cases
from support.parts import LowBits

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.ops import OPERATORS, Requantize, ScaledAdd, Scheme, TensorType
from hwsim.state import State
from rtl import layers
from rtl.build import Request, build
from rtl.layers import pairs
from rtl.layers.base import Option, Pointwise
from rtl.layers.elementwise import Clipped
from rtl.layers.plans import FoldPlan, LanePlan, NodePlan, WirePlan
from rtl.layers.table import HARDWARE, WITHOUT, implementation, implementations
from rtl.plan.explore import explore
from rtl.plan.search import menu, plan_for_cycles, ranked

TOP = (1 << 62) - 1
EVERY = [(op, way) for op, record in HARDWARE.items() for way in record]


@pytest.mark.parametrize(("op", "way"), EVERY, ids=lambda v: v.__name__)
def test_no_implementation_lacks_a_part(op, way):
    assert not inspect.isabstract(way)
    assert way.plan_type in typing.get_args(NodePlan)
    assert [other.name for other in HARDWARE[op]].count(way.name) == 1


def test_every_operator_has_hardware_or_a_reason_why_not():
    assert HARDWARE.keys() | WITHOUT.keys() == set(OPERATORS.values())
    assert not HARDWARE.keys() & WITHOUT.keys()
    assert all(WITHOUT.values())


def test_an_implementation_that_lacks_a_part_cannot_be_made():
    class Half(Pointwise):
        name = "half"

    with pytest.raises(TypeError, match="lacks, lower, memories"):
        Half(None)  # type: ignore[arg-type]


def test_every_kind_of_plan_says_all_that_reports_and_searches_ask():
    for kind in typing.get_args(NodePlan):
        assert {"implementation", "products", "facts"} <= set(dir(kind))


@pytest.mark.parametrize("case", cases.BUILT, ids=lambda case: case.id)
def test_a_menu_goes_from_cheap_to_fast_and_names_who_builds_each_plan(case):
    graph = case.graph()
    (node,) = graph.nodes
    ways = {way.name: way for way in implementations(graph, node)}
    found = menu(graph).nodes[node.name]
    assert [o.cost for o in found] == sorted(o.cost for o in found)
    assert all(later.cycles < earlier.cycles for earlier, later in itertools.pairwise(found))
    for option in found:
        way = ways[option.plan.implementation]
        assert isinstance(option.plan, way.plan_type)
        assert option.cycles == way.cycles(option.plan)
        assert option.plan.facts()["implementation"] == way.name


class Slow(Clipped):
    """A second implementation: no lanes, half the speed."""

    name = "slow"

    def options(self):
        return [Option((0, 0), self.cycles(self.plan(1)), self.plan(1))]

    def cycles(self, plan):
        return 2 * self.task.codes


def relu() -> Graph:
    return next(case for case in cases.BUILT if case.id == "relu-plain").graph()


def test_a_second_implementation_is_an_entry_and_the_rate_chooses(monkeypatch):
    graph = relu()
    (node,) = graph.nodes
    monkeypatch.setitem(HARDWARE, type(node.op), (Clipped, Slow))
    chosen = {cycles: plan_for_cycles(graph, cycles).nodes[node.name] for cycles in (512, 511, 9)}
    assert [plan.implementation for plan in chosen.values()] == ["slow", "compare", "compare"]
    assert isinstance(implementation(graph, node, chosen[512]), Slow)
    assert [option.cycles for option in menu(graph).nodes[node.name]][:2] == [512, 256]
    assert ranked(implementations(graph, node)) == menu(graph).nodes[node.name]


@pytest.mark.parametrize(
    "plan",
    [
        LanePlan(implementation="nobody", lanes=1),
        WirePlan(implementation="compare"),
        FoldPlan(implementation="folded", fold=None),  # type: ignore[arg-type]
    ],
)
def test_a_plan_that_names_no_implementation_of_its_operator_is_refused(plan):
    graph = relu()
    with pytest.raises(HwsimError, match=r"node 'op': the plan of a relu must name 'compare' with"):
        implementation(graph, graph.nodes[0], plan)


def with_gaps() -> Graph:
    """Two operators without a record, an add without a form, and a state."""
    x = TensorType((4,), Format.int(8))
    add = ScaledAdd(ratios=(1.0, 0.75), offset=0.0, out=x.format, shifts=(0, 0, 0), divisor=3.0)
    nodes = (
        Node("cut", LowBits(3), ("x",), ("a", "b")),
        Node("sum", add, ("x", "s"), "y"),
        Node("cut2", LowBits(3), ("y",), ("c", "d")),
    )
    port = InputPort(name="x", tensor="x", type=x)
    state = State(name="held", tensor="s", type=x, next="y", initial=0)
    return Graph((port,), nodes, (OutputPort(name="y", tensor="y"),), (state,))


def test_everything_without_hardware_is_listed_before_anything_is_built(tmp_path, monkeypatch):
    monkeypatch.setattr(pairs, "choose_add", lambda *_: None)
    graph = with_gaps()
    found = layers.unsupported(graph)
    assert [(item.name, item.kind) for item in found] == [
        ("cut", "low_bits"), ("sum", "scaled_add"), ("cut2", "low_bits"), ("held", "state")
    ]  # fmt: skip
    sentence = (
        "every operator must have hardware, not lack it as 'cut', 'cut2' (low_bits): no hardware "
        "is known for this operator; the emulator runs it; 'sum' (scaled_add): no integer form "
        "agrees with it on all pairs of codes; an add with one rounding (QLinearAdd), or scales "
        "that are no ratios of round numbers, have one; 'held' (state): a model with state runs in "
        "the emulator only"
    )
    for call in (
        lambda: explore(graph),
        lambda: plan_for_cycles(graph, 5),
        lambda: build(graph, tmp_path / "out", Request(rtl_only=True)),
    ):
        with pytest.raises(HwsimError) as caught:
            call()
        assert str(caught.value) == sentence
    assert not list(tmp_path.iterdir())


def test_what_has_hardware_is_not_listed_and_all_else_is():
    assert all((layers.unsupported(case.graph()) == ()) == case.built for case in cases.CASES)


@pytest.mark.parametrize(
    ("scheme", "out", "fmt", "why"),
    [
        (
            Scheme.F32_RNE_OUT,
            24,
            "s30",
            "the output of f32_rne_out must have at most 20 bits in hardware, not 24",
        ),
        (
            Scheme.SINGLE,
            32,
            "s63",
            f"a sum requantized by single must fit 62 bits, not range from {-(1 << 62)} to {TOP}",
        ),
    ],
)
def test_a_requantizer_without_a_form_is_listed_with_the_reason(scheme, out, fmt, why):
    op = Requantize(scheme=scheme, multiplier=(1e-3,), out=Format.int(out))
    case = cases.Case("formless", op, (cases.tensor(4, fmt, 0),))
    (found,) = layers.unsupported(case.graph())
    assert (found.name, found.kind, found.why) == ("op", "requantize", why)
