"""Names that exporters give become identifiers, each its own, and the manifest says whose."""

from __future__ import annotations

import random
import re

import numpy as np
import pytest
from support import rtl_designs
from support.seeds import seeded

from hwsim.build_folder import Manifest
from hwsim.emulator.run import planned
from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.ops import Add, Relu, TensorType
from rtl.build import Request, build
from rtl.design import Design
from rtl.flow import verilog
from rtl.names import edge_identifiers, identifier, identifiers, is_top_name, top_name
from rtl.plan.search import plan_for_cycles

CLASHES = [
    ("x:0", "x_0"),
    ("a.b", "a_b"),
    ("\u5165\u529b", "\u51fa\u529b"),
    ("reg", "reg_"),
    ("a_2", "a "),
    ("wire", "\u00e9wire"),
    ("", "n"),
    ("A", "a"),
    ("clk", "rst"),
    ("s_axis", "s_axis_tdata"),
    ("input", "1input"),
]


def adder(a: str, b: str) -> Graph:
    """Two inputs, two outputs and three nodes, all named by `a` and `b`."""
    kind = TensorType((4,), Format.int(8))
    return Graph(
        tuple(InputPort(name=name, tensor=name, type=kind) for name in (a, b)),
        (
            Node(a, Add(), (a, b), f"{a}/{b}"),
            Node(b, Relu(), (f"{a}/{b}",), f"{a}.{b}"),
            Node(f"{a}_2", Relu(), (b,), f"{b}/{a}"),
        ),
        (OutputPort(name=a, tensor=f"{a}.{b}"), OutputPort(name=b, tensor=f"{b}/{a}")),
    )


@pytest.mark.parametrize(("a", "b"), CLASHES)
def test_ports_and_nodes_of_any_names_are_built_each_with_its_own_prefix(a: str, b: str) -> None:
    graph = adder(a, b)
    plan = plan_for_cycles(graph, 8)
    x = np.random.default_rng(seeded(1)).integers(-128, 128, (2, 3, 4))
    design = Design(graph, plan)
    got, _ = rtl_designs.simulate(graph, plan, {a: x[0], b: x[1]}, design=design)
    want = planned(graph).run({a: x[0], b: x[1]})
    assert (got[a] == want[f"{a}.{b}"]).all() and (got[b] == want[f"{b}/{a}"]).all()
    taken = [p.prefix for p in (*design.inputs, *design.outputs)]
    assert len(set(taken)) == 4 and all(re.fullmatch(r"[sm]_axis_\w+", p, re.ASCII) for p in taken)


@pytest.mark.needs("pyosys")
@pytest.mark.parametrize(("a", "b"), [CLASHES[0], CLASHES[2], CLASHES[3]])
def test_the_manifest_maps_each_name_to_its_prefix_and_edges_keep_theirs(a, b, tmp_path) -> None:
    graph = adder(a, b)
    build(graph, tmp_path / "build", Request(rtl_only=True))
    manifest = Manifest.read(tmp_path / "build")
    assert [p.name for p in manifest.inputs] == [p.name for p in manifest.outputs] == [a, b]
    text = manifest.sources[0].read_text()
    assert all(f" {p.prefix}_tdata;" in text for p in (*manifest.inputs, *manifest.outputs))
    readable = (tmp_path / "build" / "readable" / "hwsim_top.v").read_text()
    for clean in edge_identifiers(graph).values():
        assert len(re.findall(rf"wire .*\bedge_{clean}_valid;", readable)) == 1


def test_identifiers_are_unique_clean_and_the_same_every_time(seed: int) -> None:
    random_ = random.Random(seed)
    for _ in range(300):
        size = random_.randrange(1, 9)
        names = {
            "".join(random_.choices("a_:2.\u5165", k=random_.randrange(5))) for _ in range(size)
        }
        names = sorted(names)
        found = identifiers(names)
        assert list(found) == names and len(set(found.values())) == len(names)
        assert all(re.fullmatch(r"[A-Za-z0-9]+(_[A-Za-z0-9]+)*", x) for x in found.values())
        assert found == identifiers(names)
        assert all(found[name] == name for name in names if identifier(name) == name)


def test_a_name_of_any_length_stays_within_what_tools_take() -> None:
    found = identifiers(["x" * 5000, "x" * 5001])
    assert [len(x) for x in found.values()] == [100, 102]


@pytest.mark.parametrize(
    "word", ["reg", "logic", "module", "always_comb", "a b", "1a", "", "\u00e9"]
)
def test_a_top_module_has_a_name_that_verilog_takes(word: str) -> None:
    assert not is_top_name(word) and is_top_name(top_name(word))
    with pytest.raises(HwsimError, match="the top module's name must be a Verilog identifier"):
        verilog.convert(None, name=word)
