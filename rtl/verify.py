"""Compare a built design in Verilator with the emulator, and find where a difference begins."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.emulate import planned
from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.graph import Graph
from rtl import vcd
from rtl.manifest import FILE
from rtl.names import edge_identifiers
from rtl.simulate import Deadlock, Result, Simulation, Stall

Codes = Mapping[str, Any]
Log = Callable[[str], None]
WINDOW = 64  # cycles before a difference that its waveform shows
WAVEFORM = "mismatch.vcd"
WAVES = "verify.vcd"
MOST_SHOWN = 1 << 16  # cycles of it; a cycle takes one to two kilobytes
SAMPLES = 256  # random ones, unless they take too long
MOST_CYCLES = 1 << 25  # of one run on random samples: about a minute
MOST_TRACED = 1 << 20  # cycles whose waveform is looked through for the first difference
NAMED = 4  # edges that a message about a design that hangs lists


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Where a difference begins: operator, element, cycle, and the waveform around it."""

    run: str
    sample: int
    node: str
    edge: str
    element: tuple[int, ...]
    cycle: int
    expected: int | None
    got: int | None
    waveform: str | None = None

    def __str__(self) -> str:
        where = f" (waveform: {self.waveform})" if self.waveform else ""
        return (
            f"in the {self.run} run, sample {self.sample}, {self.node} first differs at element "
            f"{self.element} in cycle {self.cycle}: expected {self.expected}, got {self.got}{where}"
        )


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
    graph = _model(folder)
    if samples is None:
        samples = default_samples(simulation.manifest.interval)
    if samples < 1:
        raise HwsimError(f"samples must be at least 1, not {samples}")
    given = random_codes(graph, samples, seed) if codes is None else dict(codes)
    count = len(next(iter(given.values())))
    expected = _expected(graph, given)
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
            found = _first_difference(
                simulation, graph, given, result, name, stall, reset_after, folder
            )
            first = found.mismatch or _at_output(graph, expected, result, name)
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


def _model(folder: Path) -> Graph:
    content = json.loads((folder / FILE).read_text(encoding="utf-8"))
    model = content.get("model")
    if not isinstance(model, str) or not (folder / model).is_file():
        raise HwsimError(f"{folder / FILE}: model must name a file of the folder, not {model!r}")
    graph = Graph.load(folder / model)
    wanted = content.get("hashes", {}).get("graph")
    if graph.hash() != wanted:
        raise HwsimError(
            f"{folder / model} must be the graph that was built ({wanted}), and is not"
        )
    return graph


def _expected(graph: Graph, codes: Codes) -> dict[str, Any]:
    emulator = planned(graph)
    out = emulator.run_chunked({p.tensor: codes[p.name] for p in graph.inputs})
    return {p.name: out[p.tensor].astype(np.int64) for p in graph.outputs}


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


@dataclass(frozen=True, slots=True)
class _Traced:
    """What a waveform shows: the first difference, and the nodes whose codes nobody takes."""

    mismatch: Mismatch | None
    waiting: tuple[str, ...] = ()


def _first_difference(
    simulation: Simulation,
    graph: Graph,
    codes: Codes,
    result: Result,
    name: str,
    stall: Stall,
    reset_after: int | None,
    folder: Path,
) -> _Traced:
    """Trace the first sample that differs: alone if it differs alone, else with all before it."""
    sample = _first_sample(graph, codes, result)
    alone = {name: x[sample : sample + 1] for name, x in codes.items()}
    first = _trace(simulation, graph, alone, name, stall, None, folder, offset=sample)
    if first.mismatch is not None or first.waiting:
        return first
    before = {name: x[: sample + 1] for name, x in codes.items()}
    beats = sum(port.beats for port in simulation.manifest.inputs)
    if reset_after is not None and reset_after >= (sample + 1) * beats:
        before = dict(codes)
    return _trace(simulation, graph, before, name, stall, reset_after, folder, offset=0)


def _at_output(graph: Graph, expected: Codes, result: Result, run: str) -> Mismatch | None:
    """The first code that an output gave wrong, where no waveform says where it comes from."""
    found = []
    for port in graph.outputs:
        want, got = expected[port.name], result.codes[port.name]
        wrong = np.argwhere(want[: len(got)] != got)
        if len(wrong):
            sample, *element = (int(k) for k in wrong[0])
            cycle = int(result.output_cycles[port.name][sample, -1])
            codes = int(want[tuple(wrong[0])]), int(got[tuple(wrong[0])])
            where = (f"output {port.name!r}", port.tensor, tuple(element), cycle)
            found.append(Mismatch(run, sample, *where, *codes))
    return min(found, key=lambda m: m.cycle, default=None)


def _first_sample(graph: Graph, codes: Codes, result: Result) -> int:
    expected = _expected(graph, codes)
    firsts = []
    for port, want in expected.items():
        got = result.codes[port]
        wrong = (want[: len(got)] != got).any(axis=tuple(range(1, want.ndim)))
        firsts.append(int(np.argmax(wrong)) if wrong.any() else len(got))
    return min(min(firsts), len(next(iter(codes.values()))) - 1)


def _trace(
    simulation: Simulation,
    graph: Graph,
    codes: Codes,
    name: str,
    stall: Stall,
    reset_after: int | None,
    folder: Path,
    *,
    offset: int,
) -> _Traced:
    """Compare every edge's beats with the emulator's codes; the earliest cycle that differs."""
    try:
        cycles = simulation.run(codes, stall=stall, reset_after=reset_after).cycles
    except Deadlock as error:
        cycles = error.result.cycles + WINDOW
    if cycles > MOST_TRACED:
        return _Traced(None)
    with tempfile.TemporaryDirectory(prefix="hwsim-trace-") as place:
        full = Path(place) / "full.vcd"
        simulation.waveform(codes, full, first=0, last=cycles, stall=stall, reset_after=reset_after)
        seen = vcd.handshakes(full)
    emulator = planned(graph)
    edges = emulator.run({p.tensor: codes[p.name] for p in graph.inputs}, keep=True)
    names = edge_identifiers(graph)
    found: list[tuple[int, int, Mismatch]] = []
    makers = {p.tensor: (0, f"input {p.name!r}") for p in graph.inputs}
    makers |= {n.output: (k, f"node {n.name!r}") for k, n in enumerate(graph.nodes, start=1)}
    for edge, (order, maker) in makers.items():
        beats = seen.get(names[edge])
        if beats is None:
            continue
        kind = graph.types()[edge]
        want = np.asarray(edges[edge]).astype(np.int64).reshape(-1).tolist()
        place_ = _difference(beats, want, kind.format)
        if place_ is None:
            continue
        index, cycle, got = place_
        sample, element = divmod(index, kind.size)
        where = tuple(int(i) for i in np.unravel_index(element, kind.shape))
        found.append(
            (
                cycle,
                order,
                Mismatch(name, offset + sample, maker, edge, where, cycle, want[index], got),
            )
        )
    if not found:
        stuck = [(edge, beats) for edge, beats in seen.items() if beats.waiting]
        who = {names[edge]: maker for edge, (_, maker) in makers.items()}
        waiting = [f"{who[name]} after {len(beats.words)} beats" for name, beats in stuck[:NAMED]]
        return _Traced(None, tuple(waiting))
    cycle, _, first = min(found, key=lambda f: f[:2])
    path = folder / WAVEFORM
    simulation.waveform(
        codes,
        path,
        first=max(cycle - WINDOW, 0),
        last=cycle + WINDOW // 4,
        stall=stall,
        reset_after=reset_after,
    )
    return _Traced(Mismatch(**{**asdict(first), "waveform": str(path)}))


def _difference(beats: vcd.Handshakes, want: list[int], fmt: Format) -> tuple[int, int, int] | None:
    """(index, cycle, code) of the first code that differs among those that passed."""
    if not beats.words or not want:
        return None
    index, mask, top = 0, (1 << fmt.width) - 1, 1 << (fmt.width - 1)
    lanes = beats.bits // fmt.width
    for cycle, word in zip(beats.cycles, beats.words, strict=True):
        for lane in range(lanes):
            code = (word >> (lane * fmt.width)) & mask
            code = code - (1 << fmt.width) if fmt.signed and code & top else code
            if index >= len(want):
                return None
            if code != want[index]:
                return index, cycle, code
            index += 1
    return None
