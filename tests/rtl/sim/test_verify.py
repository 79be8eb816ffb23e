"""The design in Verilator equals the emulator, and each planted fault is found where it is."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from support import rtl_designs
from support.seeds import seeded

from hwsim.build_folder import Cycles, Manifest
from hwsim.cli import main
from hwsim.emulator.run import planned
from hwsim.errors import HwsimError
from hwsim.fixed import Format, Overflow, Rounding
from hwsim.graph import Graph, InputPort, Node, OutputPort
from hwsim.ops import Add, Cast, Conv2D, Dense, Flatten, MaxPool, TensorType, Window
from rtl.build import Request, build
from rtl.plan import search
from rtl.plan.cost import bottleneck
from rtl.plan.depths import proven_depths, with_depths
from rtl.plan.plan import Plan
from rtl.plan.search import plan_for_cycles
from rtl.sim import vcd
from rtl.sim.simulate import Deadlock, Result, Simulation, default_watchdog
from rtl.sim.verify import default_samples, random_codes, verify

S8 = Format.int(8)


def network(rounding: Rounding = Rounding.RND_CONV, flip: int = 0) -> Graph:
    """Convolution, skip branch, pool and dense, with many ties; `flip` changes one weight bit."""
    rng = np.random.default_rng(seeded(4))
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


@pytest.mark.needs("verilator")
def test_a_good_run_leaves_a_waveform_where_it_is_asked_for(built, capsys):
    """The codes on every edge of the first sample, as the emulator has them, are in it."""
    assert not (built / "verify.vcd").exists()
    with pytest.raises(SystemExit) as ended:
        main(["verify", str(built), "--samples", "3", "--seed", "7", "--waves", "--json"])
    facts = json.loads(capsys.readouterr().out)
    assert ended.value.code == 0 and facts["waveform"] == str(built / "verify.vcd")
    codes = random_codes(network(), 3, 7)
    edges = planned(network()).run({"x": codes["x"][:1]}, keep=True)
    seen = vcd.handshakes(built / "verify.vcd")
    for name in ("x", "map", "y"):
        kind, beats = network().types()[name], seen[name]
        lanes, mask = beats.bits // kind.format.width, (1 << kind.format.width) - 1
        words = [
            w >> (lane * kind.format.width) & mask for w in beats.words for lane in range(lanes)
        ]
        assert words == [int(code) & mask for code in edges[name].ravel()]
    assert main_report(built, capsys).count('href="verify.vcd"') == 1


def main_report(folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The text of the report that the command line writes."""
    with pytest.raises(SystemExit) as ended:
        main(["report", str(folder)])
    assert ended.value.code == 0
    return Path(capsys.readouterr().out.strip()).read_text(encoding="utf-8")


@pytest.mark.needs("verilator")
def test_the_watchdog_waits_as_long_as_the_plan_says(built, monkeypatch):
    """A number of cycles that is the same for all designs, here a small one, strikes too soon."""
    from rtl.sim import simulate

    codes, simulation = random_codes(network(), 3, 1), Simulation(built)
    monkeypatch.setattr(simulate, "SHORTEST", 1)
    gap = longest_silence(simulation.run(codes))
    assert gap > 40
    with pytest.raises(Deadlock):
        simulation.run(codes, watchdog=gap - 2)
    latency = simulation.manifest.latency
    assert latency is not None and gap < latency
    assert verify(built, samples=3).ok


def longest_silence(result: Result) -> int:
    """Cycles between one handshake and the next, of all ports."""
    stamps = [s.ravel() for s in (*result.input_cycles.values(), *result.output_cycles.values())]
    return int(np.diff(np.sort(np.concatenate(stamps))).max())


def test_slow_designs_get_fewer_random_samples_and_more_patience(built):
    assert [default_samples(n) for n in (None, 100, 1 << 20, 1 << 40)] == [256, 256, 32, 2]
    manifest = Manifest.read(built)

    def of(latency: int) -> Manifest:
        return dataclasses.replace(manifest, cycles=Cycles(interval=1, latency=latency))

    assert default_watchdog(of(50_000_000)) == 200_000_000
    assert default_watchdog(dataclasses.replace(manifest, cycles=None)) == 1 << 18
    assert default_watchdog(of(1 << 40)) == (1 << 32) - 1


@pytest.mark.needs("verilator")
def test_a_fifo_too_shallow_is_a_deadlock_named_by_the_node_that_waits(tmp_path, capsys):
    graph = skip_only()
    plan = plan_for_cycles(graph, 1 << 30)
    shallow = proven_depths(graph, plan)["skip", 1] - 6
    plan = dataclasses.replace(plan, fifos={("skip", 1): shallow})
    build(graph, tmp_path / "build", Request(rtl_only=True), plan=plan)
    for json_too in ([], ["--json"]):
        with pytest.raises(SystemExit) as ended:
            main(["verify", str(tmp_path / "build"), "--samples", "2", *json_too])
        out, err = capsys.readouterr()
        assert ended.value.code == 1 and "Traceback" not in err
        (sentence,) = [line for line in err.splitlines() if line.startswith("error: ")]
        assert "the design must go on" in sentence and "output beats 0 of 64 (y)" in sentence
        assert "waits to be taken: input 'x' after " in sentence
        if json_too:
            facts = json.loads(out)
            assert not facts["ok"] and facts["failure"] in sentence and facts["different"] == 64


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
def test_a_difference_after_too_many_cycles_to_trace_is_named_by_its_output(
    built, tmp_path, monkeypatch
):
    from rtl.sim import difference

    monkeypatch.setattr(difference, "MOST_TRACED", 0)
    outcome = verify(swapped(built, tmp_path, network(flip=1)), samples=20)
    assert not outcome.ok and outcome.mismatch is not None
    assert outcome.mismatch.node == "output 'y'" and outcome.mismatch.element == (1,)
    assert outcome.mismatch.waveform is None and "first differs" in str(outcome.failure)


@pytest.mark.needs("verilator")
def test_a_rounding_off_by_one_tie_is_found_at_its_cast(built, tmp_path):
    outcome = verify(swapped(built, tmp_path, network(rounding=Rounding.RND)), samples=20)
    assert not outcome.ok and outcome.mismatch is not None
    assert outcome.mismatch.node == "node 'narrow'"


@pytest.mark.parametrize("seed", [-1, 2**32 - 1, 1.5, "1", None])
def test_a_seed_that_no_run_can_take_is_refused_before_anything_runs(built, seed):
    with pytest.raises(HwsimError, match=r"^seed must be a whole number from 0 to 4294967294, not"):
        verify(built, seed=seed)


@pytest.mark.parametrize("samples", [0, -2, 2.5, "4"])
def test_a_number_of_samples_that_is_none_is_refused(built, samples):
    with pytest.raises(HwsimError, match=f"^samples must be at least 1, not {samples!r}$"):
        verify(built, samples=samples)


def test_a_folder_that_no_build_wrote_is_refused(tmp_path):
    with pytest.raises(HwsimError, match=r"must be one that `hwsim build` wrote"):
        verify(tmp_path)


def random_map(n: int):
    return np.random.default_rng(seeded(9)).integers(-128, 128, (n, 4, 4, 2))


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
    from hwsim.emulator.run import planned

    want = planned(graph).run({"x": random_map(4)})["y"].astype(int)
    assert (got["y"] == want).all()


def test_steady_state_is_the_bottleneck():
    graph = network()
    for budget in (3, 8):
        plan = with_depths(graph, search.plan_for_multipliers(graph, budget))
        _, cycles = rtl_designs.simulate(graph, plan, {"x": random_map(6)})
        beats = len(cycles["y"]) // 6
        steady = (cycles["y"][-1] - cycles["y"][beats * 2 - 1]) / 4
        assert steady <= 1.05 * bottleneck(graph, plan).cycles
