"""Compare a built design in Verilator with the emulator, and find where a difference begins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.build_folder import WAVES, Manifest
from hwsim.errors import HwsimError
from hwsim.graph import Graph
from rtl.layers.table import STATE
from rtl.sim.difference import Codes, Mismatch, at_output, emulated, first_difference
from rtl.sim.simulate import Deadlock, Result, Simulation, Stall

Log = Callable[[str], None]
MOST_SHOWN = 1 << 16  # cycles of it; a cycle takes one to two kilobytes
SAMPLES = 256  # random ones, unless they take too long
LAST_SEED = (1 << 32) - 2  # the run with a reset takes the next one
MOST_CYCLES = 1 << 25  # of one run on random samples: about a minute


@dataclass(frozen=True, slots=True)
class Run:
    """One pass of all samples through the design."""

    name: str
    seed: int
    samples: int
    compared: int
    different: int
    violations: tuple[str, ...]
    latency: int | None
    cycles_per_inference: float | None
    cycles: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What `verify` found; `ok` only where all codes agree and all rules of the ports are kept.

    `outputs` are the codes that left the design in the first run, by output name; None where some
    did not come.
    """

    runs: tuple[Run, ...]
    mismatch: Mismatch | None = None
    failure: str | None = None
    waveform: str | None = None
    outputs: Codes | None = field(default=None, repr=False, compare=False)

    @property
    def compared(self) -> int:
        """Codes compared over all runs."""
        return sum(run.compared for run in self.runs)

    @property
    def different(self) -> int:
        """Codes that differ, or never came."""
        return sum(run.different for run in self.runs)

    @property
    def ok(self) -> bool:
        """Whether all is equal and clean."""
        return bool(self.runs) and not self.different and not any(r.violations for r in self.runs)

    @property
    def cycles_per_inference(self) -> float | None:
        """Steady state of the continuous run."""
        return self.runs[0].cycles_per_inference if self.runs else None

    @property
    def latency(self) -> int | None:
        """Cycles from the first input beat to the end of the first sample, continuous."""
        return self.runs[0].latency if self.runs else None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "ok": self.ok,
            "compared": self.compared,
            "different": self.different,
            "cycles_per_inference": self.cycles_per_inference,
            "latency": self.latency,
            "runs": [asdict(run) for run in self.runs],
            "mismatch": asdict(self.mismatch) if self.mismatch else None,
            "failure": self.failure,
            "waveform": self.waveform,
        }


def random_codes(graph: Graph, samples: int, seed: int) -> dict[str, Any]:
    """Random codes over the proven range of every input, by input name, channels last."""
    rng = np.random.default_rng(seed)
    return {
        p.name: rng.integers(p.type.lo, p.type.hi, (samples, *p.type.shape), endpoint=True)
        for p in graph.inputs
    }


def verify(
    folder: Path,
    codes: Codes | None = None,
    *,
    samples: int | None = None,
    seed: int = 1,
    waves: bool = False,
    log: Log | None = None,
) -> Outcome:
    """Run a built design on codes by input name, channels last, and compare all outputs with `==`.

    Three runs: without pauses, with random idle and backpressure, and with a reset in mid-stream
    under pauses. Without `codes`, `samples` random ones by `seed` are drawn, by default 256 or as
    many as take about a minute a run. Stops after the first run that differs, with the place where
    it begins and a waveform in the folder; with `waves` a run without a difference leaves one too,
    `verify.vcd`, of its first sample. Raises HwsimError for a folder that no build wrote, or
    a tool that is missing or fails.
    """
    say = log or (lambda _: None)
    simulation = Simulation(folder)
    graph = _model(simulation.manifest)
    if samples is None:
        samples = default_samples(simulation.manifest.interval)
    if not (isinstance(samples, Integral) and samples >= 1):
        raise HwsimError(f"samples must be at least 1, not {samples!r}")
    if not (isinstance(seed, Integral) and 0 <= seed <= LAST_SEED):
        raise HwsimError(f"seed must be a whole number from 0 to {LAST_SEED}, not {seed!r}")
    given = random_codes(graph, samples, seed) if codes is None else dict(codes)
    count = len(next(iter(given.values())))
    expected = emulated(graph, given)
    say("compiling the simulator")
    simulation.build()
    beats = sum(port.beats for port in simulation.manifest.inputs)
    plans: list[tuple[str, Stall, int | None]] = [
        ("continuous", Stall(seed=seed), None),
        ("stalled", Stall(idle=0.3, backpressure=0.3, burst=4, seed=seed), None),
    ]
    if count * beats > 1:
        middle = min(beats + beats // 2, count * beats - 1)
        plans.append(
            ("reset", Stall(idle=0.1, backpressure=0.3, burst=8, seed=seed + 1), max(middle, 1))
        )
    runs: list[Run] = []
    outputs: Codes | None = None
    for name, stall, reset_after in plans:
        say(f"{name} run, seed {stall.seed}, {count} samples")
        run, failure, result = _run(simulation, name, given, expected, stall, reset_after)
        runs.append(run)
        if len(runs) == 1 and all(len(got) == count for got in result.codes.values()):
            outputs = result.codes
        if run.different:
            found = first_difference(
                simulation, graph, given, result, name, stall, reset_after, folder
            )
            first = found.mismatch or at_output(graph, expected, result, name)
            if failure and found.waiting:
                failure += f"; what waits to be taken: {', '.join(found.waiting)}"
            return Outcome(
                tuple(runs), first, failure or (str(first) if first else None), outputs=outputs
            )
        if run.violations:
            return Outcome(tuple(runs), None, run.violations[0], outputs=outputs)
    if waves:
        say("recording a waveform of the first sample")
        path = _record(simulation, given, plans[0][1], folder)
        return Outcome(tuple(runs), waveform=str(path), outputs=outputs)
    return Outcome(tuple(runs), outputs=outputs)


def _record(simulation: Simulation, codes: Codes, stall: Stall, folder: Path) -> Path:
    """A VCD of the first sample, from reset to its last beat, of the readable netlist."""
    first = {name: array[:1] for name, array in codes.items()}
    last = min(simulation.run(first, stall=stall).cycles, MOST_SHOWN)
    return simulation.waveform(first, folder / WAVES, first=0, last=last, stall=stall)


def default_samples(interval: int | None) -> int:
    """Random samples for a design with so many cycles from one inference to the next."""
    return min(max(MOST_CYCLES // (interval or 1), 2), SAMPLES)


def _model(manifest: Manifest) -> Graph:
    graph = Graph.load(manifest.graph_file)
    wanted = None if manifest.hashes is None else manifest.hashes.graph
    if graph.hash() != wanted:
        raise HwsimError(
            f"{manifest.graph_file} must be the graph that was built ({wanted}), and is not"
        )
    if graph.state:
        raise HwsimError(f"{manifest.graph_file}: {STATE}")
    return graph


def _run(
    simulation: Simulation,
    name: str,
    codes: Codes,
    expected: Codes,
    stall: Stall,
    reset_after: int | None,
) -> tuple[Run, str | None, Result]:
    failure = None
    try:
        result = simulation.run(codes, stall=stall, reset_after=reset_after)
    except Deadlock as error:
        result, failure = error.result, str(error)
    different = sum(_count(expected[port], result.codes[port]) for port in expected)
    complete = all(len(got) for got in result.output_cycles.values())
    count = len(next(iter(codes.values())))
    run = Run(
        name=name,
        seed=stall.seed,
        samples=count,
        compared=sum(int(want.size) for want in expected.values()),
        different=different,
        violations=tuple(str(v) for v in result.violations),
        latency=result.latency if complete else None,
        cycles_per_inference=result.cycles_per_inference if complete else None,
        cycles=result.cycles,
    )
    return run, failure, result


def _count(want: Any, got: Any) -> int:
    """Codes that differ; those of samples that never came all count."""
    return int((want[: len(got)] != got).sum()) + int(want[len(got) :].size)
