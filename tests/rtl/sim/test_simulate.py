"""The simulator's driver: right codes under any stall, and each broken rule caught by its check."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from support.seeds import seeded
from support.stream_designs import Fault, write_dot, write_faulty

from hwsim.errors import HwsimError
from rtl.sim.simulate import Deadlock, Result, Rule, Simulation, Stall

pytestmark = pytest.mark.needs("verilator")

SEED = seeded(20261124)
HARD = Stall(idle=0.3, backpressure=0.5, seed=7)


@pytest.fixture(scope="module")
def weights() -> list[int]:
    return np.random.default_rng(SEED).integers(-128, 128, 16).tolist()


@pytest.fixture(scope="module")
def dot(tmp_path_factory: pytest.TempPathFactory, weights: list[int]) -> Simulation:
    # A blank in the path, which make could not handle.
    folder = tmp_path_factory.mktemp("dot folder")
    return Simulation(write_dot(folder, weights))


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Simulation:
    return Simulation(write_faulty(tmp_path_factory.mktemp("faulty")))


def dot_input(samples: int) -> np.ndarray:
    return np.random.default_rng(SEED + 1).integers(-128, 128, (samples, 16))


def expected_dot(x: np.ndarray, weights: list[int]) -> list[int]:
    return [sum(a * b for a, b in zip(row, weights, strict=True)) for row in x.tolist()]


def faulty_input(samples: int, faults: dict[int, Fault] | None = None) -> dict[str, np.ndarray]:
    codes = np.zeros((samples, 1), np.int64)
    for sample, fault in (faults or {}).items():
        codes[sample] = fault
    x = np.random.default_rng(SEED + 2).integers(0, 32, (samples, 2, 2, 3))
    return {"x": x, "fault": codes}


def rules(result: Result) -> set[Rule]:
    return {violation.rule for violation in result.violations}


@pytest.mark.parametrize(
    "stall",
    [
        Stall(),
        Stall(idle=0.25, backpressure=0.25, seed=1),
        Stall(idle=0.6, seed=2),
        Stall(backpressure=0.6, seed=3),
        Stall(idle=0.05, backpressure=0.1, burst=32, seed=4),
    ],
    ids=str,
)
@pytest.mark.parametrize("reset_after", [None, 150])
def test_codes_do_not_depend_on_stalls_or_a_reset(
    dot: Simulation, weights: list[int], stall: Stall, reset_after: int | None
) -> None:
    x = dot_input(80)
    result = dot.run(x, stall=stall, reset_after=reset_after)
    assert result.output[:, 0].tolist() == expected_dot(x, weights)
    assert result.violations == ()
    assert (result.reset_cycle is not None) == (reset_after is not None)
    result.check()


def test_cycle_stamps_are_those_of_the_design(dot: Simulation) -> None:
    result = dot.run(dot_input(50))
    start = int(result.input_cycles["x"][0, 0])
    # One beat a cycle goes in, and each fourth one comes out a cycle later.
    assert result.input_cycles["x"].ravel().tolist() == list(range(start, start + 200))
    assert result.output_cycles["y"].ravel().tolist() == list(range(start + 4, start + 204, 4))
    assert result.cycles_per_inference == 4
    assert result.latency == 4
    assert result.cycles == start + 201


def test_a_single_sample_has_no_steady_state(dot: Simulation, weights: list[int]) -> None:
    x = dot_input(1)
    result = dot.run(x)
    assert result.output[:, 0].tolist() == expected_dot(x, weights)
    assert result.cycles_per_inference is None


def test_stalls_slow_the_streams_by_the_asked_rate(dot: Simulation) -> None:
    fast, slow = dot.run(dot_input(500)), dot.run(dot_input(500), stall=Stall(idle=0.5, seed=9))
    ratio = slow.cycles / fast.cycles
    assert 1.8 < ratio < 2.2


def test_a_seed_gives_the_same_cycles_again_and_another_gives_others(dot: Simulation) -> None:
    stalls = [Stall(idle=0.3, backpressure=0.3, seed=seed) for seed in (5, 5, 6)]
    with ThreadPoolExecutor(3) as pool:
        one, again, other = pool.map(lambda stall: dot.run(dot_input(40), stall=stall), stalls)
    assert (one.output_cycles["y"] == again.output_cycles["y"]).all()
    assert (one.output_cycles["y"] != other.output_cycles["y"]).any()


@pytest.mark.parametrize("stall", [Stall(), HARD], ids=str)
def test_several_inputs_and_outputs_are_streamed(faulty: Simulation, stall: Stall) -> None:
    codes = faulty_input(30)
    result = faulty.run(codes, stall=stall, reset_after=50)
    assert result.codes["y"].tolist() == (3 * codes["x"] + 1).tolist()
    assert result.codes["echo"].tolist() == codes["fault"].tolist()
    assert result.violations == ()


@pytest.mark.parametrize(
    ("fault", "rule"),
    [
        (Fault.DROP_VALID, Rule.VALID_DROPPED),
        (Fault.CHANGE_DATA, Rule.DATA_CHANGED),
        (Fault.NO_LAST, Rule.LAST_MISPLACED),
        (Fault.EARLY_LAST, Rule.LAST_MISPLACED),
        (Fault.BAD_EXTENSION, Rule.BAD_EXTENSION),
    ],
)
def test_a_broken_rule_is_caught_by_its_own_check(
    faulty: Simulation, fault: Fault, rule: Rule
) -> None:
    codes = faulty_input(20, dict.fromkeys(range(8, 20), fault))
    result = faulty.run(codes, stall=HARD)
    assert rules(result) == {rule}
    first = min(result.violations, key=lambda violation: violation.cycle)
    assert first.port == "y"
    begin, end = result.output_cycles["y"][7, -1], result.output_cycles["y"][-1, -1]
    assert begin < first.cycle <= end
    with pytest.raises(HwsimError, match=rule.value):
        result.check()


def test_a_surplus_beat_is_caught_after_the_end(faulty: Simulation) -> None:
    codes = faulty_input(20, {19: Fault.SURPLUS})
    result = faulty.run(codes, stall=HARD)
    assert rules(result) == {Rule.SURPLUS}
    assert result.codes["y"].tolist() == (3 * codes["x"] + 1).tolist()
    assert result.violations[0].beat == 80


def test_a_surplus_beat_in_mid_stream_shifts_the_rest(faulty: Simulation) -> None:
    codes = faulty_input(20, {5: Fault.SURPLUS})
    result = faulty.run(codes)
    assert {Rule.SURPLUS, Rule.LAST_MISPLACED} == rules(result)


def test_a_lost_beat_is_caught_by_tlast_and_by_the_watchdog(faulty: Simulation) -> None:
    codes = faulty_input(20, {5: Fault.LOSE_BEAT})
    stall = Stall(backpressure=0.9, seed=SEED)
    with pytest.raises(Deadlock, match=r"output beats 79 of 80 \(y\), 20 of 20 \(echo\)") as caught:
        faulty.run(codes, stall=stall, watchdog=500)
    assert rules(caught.value.result) == {Rule.LAST_MISPLACED}
    # Without backpressure the fault does nothing: it is the stalls that find it.
    assert faulty.run(codes).violations == ()


def test_a_deadlock_ends_with_its_cycle_and_counts(faulty: Simulation) -> None:
    codes = faulty_input(20, {5: Fault.DEADLOCK})
    with pytest.raises(Deadlock) as caught:
        faulty.run(codes, watchdog=300)
    error = caught.value
    last = int(max(error.result.output_cycles["y"][-1, -1], error.result.input_cycles["x"][-1, -1]))
    assert last < error.cycle < last + 320
    assert "input beats 22 of 80 (x), 6 of 20 (fault), output beats 22 of 80 (y)" in str(error)
    assert f"in cycle {error.cycle} nothing had moved for 300 cycles" in str(error)
    assert error.exit_status == 1
    assert error.result.codes["y"].tolist() == (3 * codes["x"][:5] + 1).tolist()


def test_state_that_a_reset_leaves_behind_is_caught(faulty: Simulation) -> None:
    # Wrong from the second sample on, or from the first one on after a reset.
    codes = faulty_input(20, {0: Fault.KEEP_STATE})
    assert faulty.run(codes).codes["y"].tolist() == (3 * codes["x"] + 1).tolist()
    result = faulty.run(codes, reset_after=40)
    assert Rule.RESTART_DIFFERS in rules(result)
    assert result.codes["y"][0].tolist() != (3 * codes["x"][0] + 1).tolist()


def test_a_register_without_an_initial_value_is_caught_by_other_seeds(faulty: Simulation) -> None:
    codes = faulty_input(20, {3: Fault.UNSET})
    right = (3 * codes["x"] + 1).tolist()
    seen: set[bool] = set()
    for n in range(1, 17):
        seen.add(faulty.run(codes, stall=Stall(seed=n)).codes["y"].tolist() == right)
        if len(seen) == 2:
            break
    assert seen == {True, False}


def test_a_wrong_code_is_left_to_the_comparison(faulty: Simulation) -> None:
    codes = faulty_input(20, {3: Fault.WRONG_CODE})
    result = faulty.run(codes)
    assert np.argwhere(result.codes["y"] != 3 * codes["x"] + 1).tolist() == [[3, 1, 1, 1]]
    assert result.violations == ()


def test_a_waveform_holds_the_asked_cycles_only(
    dot: Simulation, tmp_path: Path, weights: list[int]
) -> None:
    x, path = dot_input(60), tmp_path / "window.vcd"
    stall = Stall(idle=0.3, backpressure=0.3, seed=5)
    cycles = dot.run(x, stall=stall, reset_after=100).output_cycles["y"]
    first, last = int(cycles[30, 0]) - 3, int(cycles[30, 0]) + 3
    dot.waveform(x, path, first=first, last=last, stall=stall, reset_after=100)
    values = dict(vcd_samples(path, ["cycle", "m0_tvalid", "m0_tready", "m0_tdata", "position"]))
    assert sorted(values) == list(range(first, last + 1))
    _, valid, ready, data, _ = values[int(cycles[30, 0])]
    assert (valid, ready) == (1, 1)
    assert data == expected_dot(x, weights)[30] & 0xFFFFFF


def vcd_samples(path: Path, names: list[str]) -> Iterator[tuple[int, list[int]]]:
    """Each cycle's values of the named signals, the first of which counts the cycles."""
    codes: dict[str, str] = {}
    values: dict[str, int] = {}
    text = path.read_text().splitlines()
    for line in text:
        if line.strip().startswith("$var"):
            words = line.split()
            codes.setdefault(words[4], words[3])
        elif line and line[0] in "01b" and not line.startswith("$"):
            value, code = line[1:].split() if line[0] == "b" else (line[0], line[1:])
            values[code] = int(value, 2)
        elif line.startswith("#") and values:
            yield values[codes[names[0]]], [values[codes[name]] for name in names]
    yield values[codes[names[0]]], [values[codes[name]] for name in names]


def test_a_build_that_fails_is_told_by_its_first_error(tmp_path: Path, weights: list[int]) -> None:
    write_dot(tmp_path, weights)
    path = tmp_path / "dot.v"
    path.write_text(path.read_text().replace("endmodule", "nonsense\nendmodule"))
    with pytest.raises(HwsimError, match=r"%Error: .*syntax error") as caught:
        Simulation(tmp_path).build()
    assert caught.value.exit_status == 1
    assert "\n" not in str(caught.value)


def test_a_missing_compiler_is_named(
    tmp_path: Path, weights: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_dot(tmp_path, [*weights[:-1], 99])
    found = {name: Path(folder, name) for folder in os.get_exec_path()[::-1] for name in PROGRAMS
             if Path(folder, name).exists()}  # fmt: skip
    (tmp_path / "bin").mkdir()
    for name, path in found.items():
        if name != "g++":
            (tmp_path / "bin" / name).symlink_to(path)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    simulation = Simulation(tmp_path)
    source = tmp_path / "dot.v"
    source.write_text(source.read_text() + "// never compiled before\n")
    with pytest.raises(HwsimError, match=r"g\+\+ must be on PATH"):
        simulation.build()


PROGRAMS = ("perl", "make", "g++", "sh", "python3")


@pytest.mark.parametrize(
    ("codes", "text"),
    [
        (np.zeros((2, 16)), "must be an array of integers, not float64"),
        (np.zeros((2, 15), int), r"must have the shape \(samples, 16\), not \(2, 15\)"),
        (np.zeros((0, 16), int), "must have the shape"),
        (np.full((2, 16), 128), "must be -128 to 127, not 128"),
        ({"y": np.zeros((2, 16), int)}, "codes must be those of x, not y"),
    ],
)
def test_unusable_codes_are_refused(dot: Simulation, codes: object, text: str) -> None:
    with pytest.raises(HwsimError, match=text):
        dot.run(codes)


@pytest.mark.parametrize("beats", [0, 8, -1])
def test_a_reset_outside_the_stream_is_refused(dot: Simulation, beats: int) -> None:
    with pytest.raises(HwsimError, match=f"reset_after must be 1 to 7 beats.*, not {beats}"):
        dot.run(np.zeros((2, 16), int), reset_after=beats)


@pytest.mark.parametrize(
    "settings", [{"idle": 1.0}, {"backpressure": -0.1}, {"burst": 3}, {"seed": 1 << 32}]
)
def test_unusable_stalls_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(HwsimError, match="must be"):
        Stall(**settings)


def test_a_folder_without_a_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HwsimError, match="must be one that `hwsim build` wrote"):
        Simulation(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("schema", 2, "schema must be 1, not 2"),
        ("top", None, "top must be a JSON string, not None"),
        ("sources", ["gone.v"], "sources must be a list of files there, not 'gone.v'"),
        ("inputs", [], "inputs must be a list of at least one port"),
        ("cycles", 5, "cycles.interval must be a JSON integer, not None"),
        ("cycles", {"interval": 3, "latency": 0}, "cycles.latency must be at least 1, not 0"),
        ("outputs", [{"name": "y"}], r"outputs\[0\]\.shape must be a JSON list, not None"),
    ],
)
def test_a_bad_manifest_is_refused_by_entry(
    tmp_path: Path, weights: list[int], key: str, value: object, text: str
) -> None:
    path = write_dot(tmp_path, weights) / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(HwsimError, match=text):
        Simulation(tmp_path)
