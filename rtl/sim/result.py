"""What a run of the simulator saw: codes, cycle stamps and broken rules of AXI4-Stream."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.build_folder import Manifest, StreamPort
from hwsim.errors import HwsimError
from rtl.sim.words import Codes, unpack

Cycles = NDArray[np.int64]

MOST_OF_A_KIND = 100
"""Violations that are listed for each rule and port."""


class Rule(enum.Enum):
    """A rule of the output ports that a design broke; the value says it in words."""

    VALID_DROPPED = "tvalid fell before tready"
    DATA_CHANGED = "tdata or tlast changed before tready"
    LAST_MISPLACED = "tlast was not set on the last beat of a sample, and there only"
    SURPLUS = "a beat came after the last expected one"
    BAD_EXTENSION = "a code was not extended to its whole lane"
    RESTART_DIFFERS = "a beat before the reset in mid-stream differs from the same beat after it"


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken rule: where, in which cycle, and at which output beat of the stream (from 0)."""

    rule: Rule
    port: str
    cycle: int
    beat: int | None = None

    def __str__(self) -> str:
        beat = "" if self.beat is None else f", beat {self.beat}"
        return f"{self.rule.value}: output {self.port!r}, cycle {self.cycle}{beat}"


@dataclass(frozen=True, slots=True)
class Result:
    """One run of a design; every mapping goes from the port's name in the manifest.

    `codes`: int64, (samples, *shape) of each output. `input_cycles`, `output_cycles`: int64,
    (samples, beats), the cycle of each handshake, counted from the end of the last reset; after a
    deadlock both hold whole samples only. `cycles`: until the last handshake. `reset_cycle`: cycle
    of the reset in mid-stream, counted from the end of the first one. `simulated_cycles`: all
    cycles out of reset. `seconds`, `cpu_seconds`: wall and processor time of the simulator alone,
    without its start.
    """

    codes: Mapping[str, Codes]
    input_cycles: Mapping[str, Cycles]
    output_cycles: Mapping[str, Cycles]
    cycles: int
    violations: tuple[Violation, ...]
    reset_cycle: int | None
    simulated_cycles: int
    seconds: float
    cpu_seconds: float

    @property
    def output(self) -> Codes:
        """The codes of the only output."""
        (codes,) = self.codes.values()
        return codes

    @property
    def latency(self) -> int:
        """Cycles from the first handshake of an input to the end of the first sample."""
        begin = min(int(cycles[0, 0]) for cycles in self.input_cycles.values())
        return int(self._ends()[0]) - begin

    @property
    def cycles_per_inference(self) -> float | None:
        """Steady-state cycles from one sample's end to the next; None for a single sample.

        The mean over the second half of the samples, when every FIFO has filled.
        """
        ends = self._ends()
        if len(ends) < 2:
            return None
        first = (len(ends) - 1) // 2
        return float(ends[-1] - ends[first]) / (len(ends) - 1 - first)

    def check(self) -> None:
        """Raise HwsimError, exit status 1, naming the first broken rule, if there is one."""
        if self.violations:
            first = min(self.violations, key=lambda violation: violation.cycle)
            raise HwsimError(
                f"the design must keep the rules of AXI4-Stream, but {first}", exit_status=1
            )

    def _ends(self) -> Cycles:
        """The cycle in which each sample was complete at all outputs."""
        ends: Cycles = np.max([cycles[:, -1] for cycles in self.output_cycles.values()], axis=0)
        return ends


class Deadlock(HwsimError):
    """The design stopped: no handshake for as long as the watchdog waits.

    `cycle` is when it was given up; `result` holds the samples that were complete.
    """

    def __init__(self, message: str, cycle: int, result: Result) -> None:
        super().__init__(message, exit_status=1)
        self.cycle = cycle
        self.result = result


def judge(manifest: Manifest, seen: Mapping[str, Any], *, samples: int, watchdog: int) -> Result:
    """Turn what the test bench wrote into a Result. Raises Deadlock where the watchdog struck."""
    stuck = bool(seen["stuck"])
    restarted = int(seen["attempts"]) > 1
    violations = _violations(manifest, seen["violations"])
    codes, output_cycles, input_cycles = {}, {}, {}
    last_cycle = -1
    for number, port in enumerate(manifest.outputs):
        rows, cycles, found = _output(port, number, seen, samples, restarted=restarted)
        whole = len(rows) // port.beats
        codes[port.name] = rows[: whole * port.beats].reshape(whole, *port.shape)
        output_cycles[port.name] = _by_sample(cycles, port)
        last_cycle = max(last_cycle, *cycles[-1:].tolist(), -1)
        violations += found
    for number, port in enumerate(manifest.inputs):
        cycles = seen[f"s{number}_stamps"][: int(seen[f"s{number}_accepted"][1])].astype(np.int64)
        input_cycles[port.name] = _by_sample(cycles, port)
        last_cycle = max(last_cycle, *cycles[-1:].tolist(), -1)
    reset_cycle = int(seen["reset_cycle"]) if restarted else None
    result = Result(
        codes=codes,
        input_cycles=input_cycles,
        output_cycles=output_cycles,
        cycles=last_cycle + 1,
        violations=tuple(violations),
        reset_cycle=reset_cycle,
        simulated_cycles=int(seen["cycle"]) + (reset_cycle or 0),
        seconds=float(seen["seconds"]),
        cpu_seconds=float(seen["cpu_seconds"]),
    )
    if stuck:
        raise _deadlock(manifest, seen, result, samples=samples, watchdog=watchdog)
    return result


def _output(
    port: StreamPort, number: int, seen: Mapping[str, Any], samples: int, *, restarted: bool
) -> tuple[Codes, Cycles, list[Violation]]:
    """Codes (rows, lanes) and cycles of the expected rows of one output, and what is wrong."""
    before, taken = (int(count) for count in seen[f"m{number}_taken"])
    before = before if restarted else 0
    words, last = seen[f"m{number}_words"], seen[f"m{number}_last"].astype(bool)
    cycles = seen[f"m{number}_stamps"].astype(np.int64)
    final = slice(before, before + min(taken, samples * port.beats))
    rows, wrong = unpack(words[final], port)
    ends = np.arange(len(rows)) % port.beats == port.beats - 1
    violations = [
        *_at(Rule.LAST_MISPLACED, port, last[final] != ends, cycles[final]),
        *_at(Rule.BAD_EXTENSION, port, wrong.any(axis=1), cycles[final]),
    ]
    if taken > samples * port.beats:
        beat = samples * port.beats
        violations.append(Violation(Rule.SURPLUS, port.name, int(cycles[before + beat]), beat))
    both = min(before, len(rows))
    differs = (words[:both] != words[final][:both]).any(axis=1)
    differs |= last[:both] != last[final][:both]
    violations += _at(Rule.RESTART_DIFFERS, port, differs, cycles)
    return rows, cycles[final], violations


def _at(rule: Rule, port: StreamPort, wrong: Any, cycles: Cycles) -> list[Violation]:
    return [
        Violation(rule, port.name, int(cycles[beat]), int(beat))
        for beat in np.flatnonzero(wrong)[:MOST_OF_A_KIND]
    ]


def _violations(manifest: Manifest, rows: Any) -> list[Violation]:
    rules = (Rule.VALID_DROPPED, Rule.DATA_CHANGED)  # as numbered in streams.sv
    return [
        Violation(rules[kind], manifest.outputs[port].name, cycle)
        for port, kind, cycle, _ in rows.tolist()
    ]


def _by_sample(cycles: Cycles, port: StreamPort) -> Cycles:
    whole = len(cycles) // port.beats
    return cycles[: whole * port.beats].reshape(whole, port.beats)


def _deadlock(
    manifest: Manifest, seen: Mapping[str, Any], result: Result, *, samples: int, watchdog: int
) -> Deadlock:
    def counts(ports: Sequence[StreamPort], what: str) -> str:
        return ", ".join(
            f"{int(seen[what.format(n)][1])} of {samples * port.beats} ({port.name})"
            for n, port in enumerate(ports)
        )

    cycle = int(seen["cycle"])
    text = (
        f"the design must go on, but in cycle {cycle} nothing had moved for {watchdog} cycles:"
        f" input beats {counts(manifest.inputs, 's{}_accepted')},"
        f" output beats {counts(manifest.outputs, 'm{}_taken')}"
    )
    if result.violations:
        text += f"; before that, {min(result.violations, key=lambda v: v.cycle)}"
    return Deadlock(text, cycle, result)
