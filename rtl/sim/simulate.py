"""Outside the simulator: stream codes through a built design in Verilator under cocotb."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.build_folder import Manifest
from hwsim.errors import HwsimError
from rtl.sim import wrapper
from rtl.sim.compiled import cocotb_run, simulator
from rtl.sim.result import Deadlock, Result, Rule, Violation, judge
from rtl.sim.words import Codes, checked, pack, word_size

__all__ = ["Deadlock", "Result", "Rule", "Simulation", "Stall", "Violation"]

WATCHDOG = 1 << 18
"""Cycles without a handshake after which a run is given up, where the folder names no latency."""

PATIENCE = 4
"""Latencies of a design, as its plan bounds them, that pass without a handshake before that."""

SHORTEST = 1 << 16
"""The least number of cycles to wait: pauses of the streams count too."""

SLOWEST = 10_000
"""Cycles a second that any simulator reaches, so that a long run is no failure."""

AT_LEAST = 3600.0
"""Seconds that a run may take, however short it should be."""

DRAIN = 1 << 10
"""Cycles that a run goes on after the last expected beat, to catch surplus ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stall:
    """Random pauses of the streams: `idle` of every input, `backpressure` of every output.

    Both are the probability, 0 to below 1, that a pause starts in a cycle; each is 1 to `burst`
    cycles long (a power of two up to 256). The same `seed` (32 bits) gives the same pauses.
    """

    idle: float = 0.0
    backpressure: float = 0.0
    burst: int = 1
    seed: int = 1

    def __post_init__(self) -> None:
        for name in ("idle", "backpressure"):
            if not 0 <= getattr(self, name) < 1:
                raise HwsimError(f"{name} must be 0 to below 1, not {getattr(self, name)!r}")
        if self.burst not in {1 << n for n in range(9)}:
            raise HwsimError(f"burst must be a power of two up to 256, not {self.burst!r}")
        if not 0 <= self.seed < 1 << 32:
            raise HwsimError(f"the seed must be 0 to 2**32 - 1, not {self.seed!r}")

    def knobs(self) -> dict[str, int]:
        """The settings of the wrapper's inputs."""
        rate = {name: int(getattr(self, name) * 65536) for name in ("idle", "backpressure")}
        return rate | {"burst": self.burst - 1, "seed": self.seed}


def default_watchdog(manifest: Manifest) -> int:
    """Cycles without a handshake that only a design that hangs reaches."""
    if manifest.latency is None:
        return WATCHDOG
    return min(max(PATIENCE * manifest.latency, SHORTEST), (1 << 32) - 1)


class Simulation:
    """A design in a build folder, compiled for Verilator at the first run.

    Only `manifest.json` and the files that it names are read. Compiled simulators are kept in the
    cache by content, so a second Simulation of the same design compiles nothing; any number of runs
    may go on at once. Raises HwsimError for a folder that no build wrote.
    """

    def __init__(self, folder: Path | str) -> None:
        self.manifest = Manifest.read(Path(folder)).check_files()

    def build(self, *, traced: bool = False, timeout: float = 1800) -> Path:
        """Compile the simulator if it never was; return its folder in the cache.

        Raises HwsimError where Verilator or g++ is missing, fails, or takes over `timeout` seconds.
        """
        return simulator(self.manifest, traced=traced, timeout=timeout)

    def run(
        self,
        codes: Mapping[str, Any] | Any,
        *,
        stall: Stall | None = None,
        reset_after: int | None = None,
        watchdog: int | None = None,
        drain: int = DRAIN,
        timeout: float | None = None,
    ) -> Result:
        """Stream a batch through the design and return what came out, and when.

        `codes`: integers of shape (samples, *shape), for several inputs by the input's name.
        `reset_after`: so many input beats (all inputs together) are accepted, then comes a reset
        and all streams start again. Registers without an initial value start at random, by the
        stall's seed. `watchdog` is several times what the plan allows for one inference, `timeout`
        an hour or what so many cycles may take, unless given. Raises HwsimError for unusable codes,
        a failing tool or after `timeout` seconds, and Deadlock where nothing moved for `watchdog`
        cycles; all else that the design does wrong is in `Result.violations`.
        """
        return self._run(
            codes, stall or Stall(), reset_after, watchdog=watchdog, drain=drain, timeout=timeout
        )

    def waveform(
        self,
        codes: Mapping[str, Any] | Any,
        path: Path | str,
        *,
        first: int,
        last: int,
        stall: Stall | None = None,
        reset_after: int | None = None,
        timeout: float | None = None,
    ) -> Path:
        """Run once more up to cycle `last` and write a VCD of cycles `first` to `last`.

        All other arguments as in `run`, which gives the same cycles again. Compiles a second,
        traced simulator at first use. The VCD shows the readable netlist if the folder has one;
        10 ns are a cycle, and `hwsim_bench.cycle` counts them. Raises HwsimError as `run` does, or
        where the window is none or the file cannot be written; a Deadlock ends it normally.
        """
        path = Path(path).absolute()
        if not 0 <= first <= last:
            raise HwsimError(f"the window must be two cycles in order, not {first} to {last}")
        if not path.parent.is_dir():
            raise HwsimError(f"the waveform's folder must exist: {str(path.parent)!r}")
        self._run(codes, stall or Stall(), reset_after, timeout=timeout, vcd=(path, first, last))
        return path

    def _run(
        self,
        codes: Mapping[str, Any] | Any,
        stall: Stall,
        reset_after: int | None,
        *,
        watchdog: int | None = None,
        drain: int = DRAIN,
        timeout: float | None,
        vcd: tuple[Path, int, int] | None = None,
    ) -> Result:
        arrays = self._arrays(codes)
        watchdog = watchdog or default_watchdog(self.manifest)
        samples = len(arrays[0])
        self._check_reset(reset_after, samples)
        timeout = timeout or self._timeout(samples)
        program = self.build(traced=vcd is not None, timeout=timeout)
        with tempfile.TemporaryDirectory(prefix="hwsim-run-") as place:
            folder = Path(place)
            self._link_memories(folder, traced=vcd is not None)
            knobs = stall.knobs() | {"watchdog": watchdog, "drain": drain, "stop": 0}
            plusargs = ["+verilator+rand+reset+2", f"+verilator+seed+{stall.seed % 2**31 or 1}"]
            if vcd is not None:
                # The window's last cycle has to be over before the run ends.
                knobs["stop"] = vcd[2] + 1
                plusargs += [f"+hwsim_from={vcd[1]}", f"+hwsim_to={vcd[2]}"]
            job = {
                "top": wrapper.TOP,
                "build_dir": str(program),
                "test_dir": place,
                "plusargs": plusargs,
                "inputs": [
                    self._save(folder, number, array) for number, array in enumerate(arrays)
                ],
                "outputs": [
                    {"expected": samples * port.beats, "word_size": word_size(port)}
                    for port in self.manifest.outputs
                ],
                "reset_after": reset_after or 0,
                "knobs": knobs,
            }
            path = folder / "job.json"
            path.write_text(json.dumps(job), encoding="utf-8")
            cocotb_run("test", path, timeout=timeout, simulate=False)
            with np.load(folder / "seen.npz") as seen:
                if vcd is not None:
                    _move(folder / "dump.vcd", vcd[0])
                    seen = dict(seen) | {"stuck": 0}
                return judge(self.manifest, seen, samples=samples, watchdog=watchdog)

    def _arrays(self, codes: Mapping[str, Any] | Any) -> list[Codes]:
        ports = self.manifest.inputs
        names = [port.name for port in ports]
        if not isinstance(codes, Mapping):
            if len(ports) > 1:
                raise HwsimError(f"codes must be given by input name ({', '.join(names)})")
            codes = {names[0]: codes}
        if set(codes) != set(names):
            raise HwsimError(f"codes must be those of {', '.join(names)}, not {', '.join(codes)}")
        arrays = [checked(codes[port.name], port) for port in ports]
        if len({len(array) for array in arrays}) > 1:
            raise HwsimError(
                f"all inputs must have one number of samples, not {[len(a) for a in arrays]}"
            )
        return arrays

    def _timeout(self, samples: int) -> float:
        """Seconds for so many samples, with pauses and a second start."""
        interval, latency = self.manifest.interval or 1, self.manifest.latency or 1
        return max(AT_LEAST, PATIENCE * (samples * interval + latency) / SLOWEST)

    def _check_reset(self, reset_after: int | None, samples: int) -> None:
        total = samples * sum(port.beats for port in self.manifest.inputs)
        if reset_after is not None and not 1 <= reset_after < total:
            raise HwsimError(
                f"reset_after must be 1 to {total - 1} beats, so that some are left,"
                f" not {reset_after}"
            )

    def _save(self, folder: Path, number: int, codes: Codes) -> dict[str, object]:
        port = self.manifest.inputs[number]
        np.save(folder / f"s{number}.npy", pack(codes, port))
        return {"file": f"s{number}.npy", "beats": port.beats}

    def _link_memories(self, folder: Path, *, traced: bool) -> None:
        """The Verilog reads its memories by bare name from the folder it runs in."""
        readable = traced and self.manifest.sources_readable
        for path in self.manifest.memories_readable if readable else self.manifest.memories:
            os.symlink(path, folder / path.name)


def _move(source: Path, target: Path) -> None:
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        shutil.move(source, draft)
        os.replace(draft, target)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise HwsimError(
            f"the waveform {str(target)!r} must be writable: {error.strerror}"
        ) from error
