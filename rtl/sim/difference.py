"""Find where a difference between a design and the emulator begins: node, element, cycle."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.build_folder import MISMATCH_WAVES
from hwsim.emulator.run import planned
from hwsim.fixed import Format
from hwsim.graph import Graph
from rtl.names import edge_identifiers
from rtl.sim import vcd
from rtl.sim.simulate import Deadlock, Result, Simulation, Stall

Codes = Mapping[str, Any]
WINDOW = 64  # cycles before a difference that its waveform shows
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


def emulated(graph: Graph, codes: Codes) -> dict[str, Any]:
    """The emulator's codes of every output, by its name, for codes by input name."""
    emulator = planned(graph)
    out = emulator.run_chunked({p.tensor: codes[p.name] for p in graph.inputs})
    return {p.name: out[p.tensor].astype(np.int64) for p in graph.outputs}


@dataclass(frozen=True, slots=True)
class Traced:
    """What a waveform shows: the first difference, and the nodes whose codes nobody takes."""

    mismatch: Mismatch | None
    waiting: tuple[str, ...] = ()


def first_difference(
    simulation: Simulation,
    graph: Graph,
    codes: Codes,
    result: Result,
    name: str,
    stall: Stall,
    reset_after: int | None,
    folder: Path,
) -> Traced:
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


def at_output(graph: Graph, expected: Codes, result: Result, run: str) -> Mismatch | None:
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
    expected = emulated(graph, codes)
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
) -> Traced:
    """Compare every edge's beats with the emulator's codes; the earliest cycle that differs."""
    try:
        cycles = simulation.run(codes, stall=stall, reset_after=reset_after).cycles
    except Deadlock as error:
        cycles = error.result.cycles + WINDOW
    if cycles > MOST_TRACED:
        return Traced(None)
    with tempfile.TemporaryDirectory(prefix="hwsim-trace-") as place:
        full = Path(place) / "full.vcd"
        simulation.waveform(codes, full, first=0, last=cycles, stall=stall, reset_after=reset_after)
        seen = vcd.handshakes(full)
    emulator = planned(graph)
    edges = emulator.run({p.tensor: codes[p.name] for p in graph.inputs}, keep=True)
    names = edge_identifiers(graph)
    found: list[tuple[int, int, Mismatch]] = []
    makers = {p.tensor: (0, f"input {p.name!r}") for p in graph.inputs}
    makers |= {
        edge: (k, f"node {n.name!r}")
        for k, n in enumerate(graph.nodes, start=1)
        for edge in n.outputs
    }
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
        return Traced(None, tuple(waiting))
    cycle, _, first = min(found, key=lambda f: f[:2])
    path = folder / MISMATCH_WAVES
    simulation.waveform(
        codes,
        path,
        first=max(cycle - WINDOW, 0),
        last=cycle + WINDOW // 4,
        stall=stall,
        reset_after=reset_after,
    )
    return Traced(Mismatch(**{**asdict(first), "waveform": str(path)}))


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
