"""Inside the simulator: the cocotb test that drives a whole run of a design.

cocotb imports this module in the simulator's process. It hands NumPy's buffers to the DPI-C
functions, sets the knobs, raises `go` and waits for `done`; no Python runs in between. What is
right or wrong is judged outside, by `rtl.sim.simulate`.
"""

from __future__ import annotations

import ctypes
import json
import os
import time
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge, Timer

JOB = "HWSIM_JOB"
"""Environment variable with the path of the job, a JSON file that `rtl.sim.simulate` wrote.

It holds `inputs` (`file`, `beats`), `outputs` (`expected`, `word_size`), `reset_after`
(beats, 0 for none) and `knobs`; what was seen goes to `seen.npz` beside it.
"""

SPARE_ROWS = 64
"""How many surplus output beats are kept; all are counted."""

MOST_VIOLATIONS = 1000


@cocotb.test()
async def stream(dut: Any) -> None:
    """Stream all samples in, take all results out, and write what was seen beside the job."""
    path = Path(os.environ[JOB])
    job = json.loads(path.read_text(encoding="utf-8"))
    library = ctypes.CDLL(None)  # the simulator itself, which is this process
    for name in (
        "hwsim_accepted",
        "hwsim_taken",
        "hwsim_attempts",
        "hwsim_reset_cycle",
        "hwsim_violations",
    ):
        getattr(library, name).restype = ctypes.c_uint64
    inputs = [_bind_source(library, path.parent, port) for port in job["inputs"]]
    outputs = [_bind_sink(library, port, bool(job["reset_after"])) for port in job["outputs"]]
    library.hwsim_reset_after(ctypes.c_uint64(job["reset_after"]))

    dut.go.value = 0
    await Timer(100, "step")
    for name, value in job["knobs"].items():
        getattr(dut, name).value = value
    dut.go.value = 1
    begin, begin_cpu = time.perf_counter(), time.process_time()
    await RisingEdge(dut.done)

    saved: dict[str, Any] = {
        "seconds": time.perf_counter() - begin,
        "cpu_seconds": time.process_time() - begin_cpu,
        "reset_cycle": library.hwsim_reset_cycle(),
        "stuck": int(dut.stuck.value),
        "cycle": int(dut.cycle.value),
        "attempts": library.hwsim_attempts(),
        "violations": _violations(library),
    }
    for number, (_, stamps) in enumerate(inputs):
        saved[f"s{number}_accepted"] = _pair(library.hwsim_accepted, number)
        saved[f"s{number}_stamps"] = stamps
    for number, (words, last, stamps) in enumerate(outputs):
        first, taken = saved[f"m{number}_taken"] = _pair(library.hwsim_taken, number)
        kept = min(first + taken, len(words)) if saved["attempts"] > 1 else taken
        saved[f"m{number}_words"] = words[:kept]
        saved[f"m{number}_last"] = last[:kept]
        saved[f"m{number}_stamps"] = stamps[:kept]
    np.savez(path.parent / "seen.npz", **saved)


def _pair(function: Any, port: int) -> tuple[int, int]:
    """Counts of the first attempt and of the last one, the same if there was one only."""
    return int(function(ctypes.c_uint64(port), 0)), int(function(ctypes.c_uint64(port), 1))


def _bind_source(library: Any, folder: Path, port: dict[str, Any]) -> tuple[Any, Any]:
    words = np.load(folder / port["file"])
    stamps = np.zeros(len(words), np.uint64)
    library.hwsim_bind_source(
        _address(words), _address(stamps), *map(ctypes.c_uint64, (words.shape[1], port["beats"])),
        ctypes.c_uint64(len(words)),
    )  # fmt: skip
    return words, stamps


def _bind_sink(library: Any, port: dict[str, Any], again: bool) -> tuple[Any, Any, Any]:
    expected, size = port["expected"], port["word_size"]
    rows = expected * (2 if again else 1) + SPARE_ROWS
    words, last = np.zeros((rows, size), np.uint32), np.zeros(rows, np.uint8)
    stamps = np.zeros(rows, np.uint64)
    library.hwsim_bind_sink(
        _address(words), _address(last), _address(stamps),
        *map(ctypes.c_uint64, (size, expected, rows)),
    )  # fmt: skip
    return words, last, stamps


def _violations(library: Any) -> Any:
    rows = np.zeros((MOST_VIOLATIONS, 4), np.uint64)
    return rows[: library.hwsim_violations(_address(rows), ctypes.c_uint64(MOST_VIOLATIONS))]


def _address(array: Any) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
