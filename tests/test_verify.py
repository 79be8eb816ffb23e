"""The design in Verilator equals the emulator, and each planted fault is found where it is."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import rtl_designs

from hwsim.errors import HwsimError
from hwsim.fixed import Format, Overflow, Rounding
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.ops import Add, Cast, Conv2D, Dense, Flatten, MaxPool, TensorType, Window
from rtl import folding
from rtl.build import Request, build
from rtl.depths import proven_depths, with_depths
from rtl.folding import Plan, bottleneck, plan_for_cycles
from rtl.verify import verify

S8 = Format.int(8)


def network(rounding: Rounding = Rounding.RND_CONV, flip: int = 0) -> Graph:
    """Convolution, skip branch, pool and dense, with many ties; `flip` changes one weight bit."""
    rng = np.random.default_rng(4)
    conv = rng.integers(-8, 8, (3, 3, 2, 2))
    dense = rng.integers(-8, 8, (8, 3))
    dense[5, 1] ^= flip
    cast = {"out": S8, "rounding": rounding, "overflow": Overflow.SAT}
    w4 = Format(True, 2, 2)
    nodes = (
        Node(
            "conv",
            Conv2D(
                weights=conv,
                bias=np.array([3, -5]),
                weight_format=w4,
                window=Window((3, 3), (1, 1), (1, 1, 1, 1)),
            ),
            ("x",),
            "sum",
        ),
        Node("narrow", Cast(**cast), ("sum",), "map"),
        Node("skip", Add(), ("map", "x"), "both"),
        Node("half", Cast(**cast), ("both",), "cut"),
        Node("pool", MaxPool(window=Window((2, 2), (2, 2))), ("cut",), "small"),
        Node("flat", Flatten(), ("small",), "row"),
        Node("dense", Dense(weights=dense, bias=np.zeros(3, int), weight_format=w4), ("row",), "y"),
    )
    port = InputPort(name="x", tensor="x", type=TensorType((4, 4, 2), S8))
    return Graph((port,), nodes, (OutputPort(name="y", tensor="y"),))


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("verify") / "build"
    build(network(), folder, Request(rtl_only=True, max_dsp=4))
    return folder


@pytest.mark.needs("verilator")
def test_all_codes_agree_continuous_stalled_and_after_a_reset(built):
    outcome = verify(built, samples=40, seed=7)
    assert outcome.ok and outcome.different == 0
    assert [run.name for run in outcome.runs] == ["continuous", "stalled", "reset"]
    assert outcome.compared == 3 * 40 * 3


def swapped(built, tmp_path, graph: Graph):
    """The build folder of the network, with the netlist of another graph in it."""
    other = tmp_path / "other"
    build(graph, other, Request(rtl_only=True, max_dsp=4))
    build(network(), tmp_path / "good", Request(rtl_only=True, max_dsp=4))
    wrong, good = (json.loads((f / "manifest.json").read_text()) for f in (other, built))
    (other / "model.hwsim").write_bytes((built / "model.hwsim").read_bytes())
    (other / "manifest.json").write_text(json.dumps(wrong | {"hashes": good["hashes"]}))
    return other


@pytest.mark.needs("verilator")
def test_one_flipped_weight_bit_is_found_at_its_layer(built, tmp_path):
    outcome = verify(swapped(built, tmp_path, network(flip=1)), samples=20)
    assert not outcome.ok and outcome.mismatch is not None
    assert outcome.mismatch.node == "node 'dense'" and outcome.mismatch.element == (1,)
    assert outcome.mismatch.expected != outcome.mismatch.got
    assert "$enddefinitions" in Path(outcome.mismatch.waveform).read_text()


@pytest.mark.needs("verilator")
def test_a_rounding_off_by_one_tie_is_found_at_its_cast(built, tmp_path):
    outcome = verify(swapped(built, tmp_path, network(rounding=Rounding.RND)), samples=20)
    assert not outcome.ok and outcome.mismatch is not None
    assert outcome.mismatch.node == "node 'narrow'"


def test_a_folder_that_no_build_wrote_is_refused(tmp_path):
    with pytest.raises(HwsimError, match=r"must be one that `hwsim build` wrote"):
        verify(tmp_path)


def random_map(n: int):
    return np.random.default_rng(9).integers(-128, 128, (n, 4, 4, 2))


def skip_only() -> Graph:
    """A convolution beside its own input: the smallest graph that needs a FIFO."""
    graph = network()
    return dataclasses.replace(
        graph,
        nodes=graph.nodes[:3],
        outputs=(OutputPort(name="y", tensor="both"),),
    )


def run_with_depth(graph: Graph, plan: Plan, depth: int) -> None:
    plan = dataclasses.replace(plan, fifos={("skip", 1): depth})
    rtl_designs.simulate(graph, plan, {"x": random_map(2)}, limit=6000)


def test_the_proven_depth_never_deadlocks_and_too_shallow_a_fifo_does():
    graph = skip_only()
    plan = plan_for_cycles(graph, 1 << 30)
    depth = proven_depths(graph, plan)["skip", 1]
    assert depth == 4 * 2 + 2 * 2  # a row and two pixels, two codes each
    run_with_depth(graph, plan, depth)
    # The fork's beat in hand and the registers before the join hold a few beats more.
    with pytest.raises(AssertionError, match="no end after 6000 cycles"):
        run_with_depth(graph, plan, depth - 4)


def test_codes_agree_at_random_stalls_with_planned_depths(seed):
    graph = network()
    plan = with_depths(graph, plan_for_cycles(graph, 60))
    got, _ = rtl_designs.simulate(graph, plan, {"x": random_map(4)}, seed=seed, stall=0.4)
    from hwsim.emulate import planned

    want = planned(graph).run({"x": random_map(4)})["y"].astype(int)
    assert (got["y"] == want).all()


def test_steady_state_is_the_bottleneck():
    graph = network()
    for budget in (3, 8):
        plan = with_depths(graph, folding.plan_for_multipliers(graph, budget))
        _, cycles = rtl_designs.simulate(graph, plan, {"x": random_map(6)})
        beats = len(cycles["y"]) // 6
        steady = (cycles["y"][-1] - cycles["y"][beats * 2 - 1]) / 4
        assert steady <= 1.05 * bottleneck(graph, plan).cycles
