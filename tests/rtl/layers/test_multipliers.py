"""The multipliers that a plan claims are those that Yosys builds, folded and unrolled."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from amaranth import Module, Shape
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from support import cases
from support.seeds import seeded

from hwsim.fixed import Format, Rounding
from hwsim.forms.requantizers import Affine, Output
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.ops import Dense, TensorType
from rtl.design import Design
from rtl.flow import cells, verilog, yosys
from rtl.layers.cost import hard_multipliers, rescaler_multipliers
from rtl.parts.multiply import signed_digits, times
from rtl.plan.cost import multiplier_cost
from rtl.plan.depths import with_depths
from rtl.plan.search import plan_for_cycles
from rtl.targets import ecp5

SLOW, FAST = 1 << 40, 1


def built(component: wiring.Component, folder: Path) -> int:
    """MULT18X18D that Yosys makes of a component."""
    (folder / "top.v").write_text(verilog.convert(component, name="top"), encoding="utf-8")
    found = yosys.synthesize(folder, ["top.v"], "top", ecp5.FAMILY, "netlist.json")
    return cells.count(found, ecp5.FAMILY)[0]["dsp"]


def check(graph: Graph, cycles: int, folder: Path) -> None:
    plan = plan_for_cycles(graph, cycles)
    design = Design(graph, with_depths(graph, plan))
    assert built(design, folder) == multiplier_cost(graph, plan)


class Products(wiring.Component):
    """The product of two registered operands for each pair of shapes."""

    def __init__(self, pairs: list[tuple[Shape, Shape]]) -> None:
        self.pairs = pairs
        members = {}
        for k, (a, b) in enumerate(pairs):
            members |= {f"a{k}": In(a), f"b{k}": In(b), f"y{k}": Out(a.width + b.width + 2)}
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for k in range(len(self.pairs)):
            m.d.sync += getattr(self, f"y{k}").eq(getattr(self, f"a{k}") * getattr(self, f"b{k}"))
        return m


@pytest.mark.needs("yosys")
@pytest.mark.parametrize("signs", [(True, True), (False, False), (True, False)])
@pytest.mark.parametrize("widths", [(1, 2, 8, 17, 18), (19, 20, 36, 37, 38)])
def test_a_product_takes_as_many_blocks_as_it_claims(widths, signs, tmp_path):
    others = (1, 2, 9, 17, 18, 19, 20)
    pairs = [(Shape(a, signs[0]), Shape(b, signs[1])) for a, b in itertools.product(widths, others)]
    claimed = sum(hard_multipliers(a, b) for a, b in pairs)
    assert built(Products(pairs), tmp_path) == claimed > 0


class Multiple(wiring.Component):
    """Constant multiples of one operand."""

    def __init__(self, factors: list[int], shape: Shape) -> None:
        self.factors = factors
        super().__init__(
            {"x": In(shape), **{f"y{k}": Out(Shape(24, True)) for k in range(len(factors))}}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for k, factor in enumerate(self.factors):
            m.d.sync += getattr(self, f"y{k}").eq(times(self.x, factor))
        return m


@pytest.mark.parametrize("factor", [*range(-130, 131), 2**31 - 1, -(2**31), 0x5555, -0x2AAB])
def test_signed_digits_add_up_and_no_two_are_neighbours(factor):
    digits = signed_digits(factor)
    assert sum((1 if positive else -1) << place for place, positive in digits) == factor
    places = [place for place, _ in digits]
    assert all(high - low >= 2 for high, low in itertools.pairwise(places))


@pytest.mark.needs("yosys")
@pytest.mark.parametrize("signed", [True, False])
def test_constants_are_multiplied_without_a_block(signed, tmp_path):
    factors = [0, 1, -1, 3, -3, 31, -31, 85, -128, 127, 1000]
    assert built(Multiple(factors, Shape(8, signed)), tmp_path) == 0


def dense(x: str, weights: str, terms: int = 4, outputs: int = 4) -> Graph:
    fmt, rng = Format.parse(weights), np.random.default_rng(seeded(24))
    codes = rng.integers(fmt.min, fmt.max + 1, (terms, outputs))
    codes[0, 0], codes[-1, -1] = fmt.min, fmt.max
    op = Dense(weights=codes, bias=rng.integers(-99, 99, outputs), weight_format=fmt)
    kind = TensorType((terms,), Format.parse(x))
    port = InputPort(name="x", tensor="x", type=kind)
    return Graph((port,), (Node("d", op, ("x",), "y"),), (OutputPort(name="y", tensor="y"),))


@pytest.mark.needs("yosys")
@pytest.mark.parametrize(("x", "weights"), [("s8", "s8"), ("s20", "s8")])
@pytest.mark.parametrize("cycles", [SLOW, 4, FAST])
def test_a_dense_layer_takes_the_multipliers_that_it_claims(x, weights, cycles, tmp_path):
    check(dense(x, weights), cycles, tmp_path)


def test_an_unrolled_layer_claims_none_and_one_of_two_cycles_claims_half_of_its_products():
    graph = dense("s8", "s8")
    assert multiplier_cost(graph, plan_for_cycles(graph, FAST)) == 0
    assert multiplier_cost(graph, plan_for_cycles(graph, 2)) == 8


RESCALED = [c for c in cases.BUILT if c.op.kind in ("requantize", "batchnorm", "divide")]
FEW = [
    case
    for case in RESCALED
    if case.id in ("requantize-f32_rne_out-channels", "requantize-gemmlowp_double-zero--7")
    or case.op.kind == "batchnorm"
]


@pytest.mark.needs("yosys")
@pytest.mark.parametrize("cycles", [SLOW, FAST])
@pytest.mark.parametrize("case", FEW, ids=lambda case: case.id)
def test_a_rescaler_takes_the_multipliers_that_it_claims(case, cycles, tmp_path):
    check(case.graph(), cycles, tmp_path)


@pytest.mark.slow
@pytest.mark.needs("yosys")
@pytest.mark.parametrize("cycles", [SLOW, FAST])
@pytest.mark.parametrize("case", cases.BUILT, ids=lambda case: case.id)
def test_every_case_takes_the_multipliers_that_it_claims(case, cycles, tmp_path):
    check(case.graph(), cycles, tmp_path)


def test_different_powers_of_two_by_channel_are_still_multiplied():
    """Only one power of two for all channels is wiring."""
    out = Output(format=Format.int(8))
    same, other = (
        Affine(m=m, r=(0,), shift=(4,), rounding=Rounding.TRN, out=out) for m in ((4,), (4, 8))
    )
    assert rescaler_multipliers(same, (-100, 100), 1, 2) == 0
    assert rescaler_multipliers(other, (-100, 100), 1, 2) == 1
    assert rescaler_multipliers(other, (-100, 100), 2, 2) == 0  # each lane has its own constant
