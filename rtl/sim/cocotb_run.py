"""Build or run a simulation with cocotb's Python runner, in a process of its own.

Started as `python -m rtl.sim.cocotb_run build|test JOB` by `rtl.sim.compiled` and
`rtl.sim.simulate`. The runner reads the whole environment, changes its behaviour under pytest
and ends the process on some errors, so it never runs in the caller's process.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from cocotb_tools.check_results import get_results
from cocotb_tools.runner import get_runner


def build(job: dict[str, Any]) -> None:
    """Verilate and compile; the program is `build_dir/<top>`."""
    get_runner("verilator").build(
        sources=job["sources"],
        build_args=job["build_args"],
        hdl_toplevel=job["top"],
        build_dir=job["build_dir"],
        waves=job["waves"],
        always=True,
        timescale=("1ns", "1ps"),
    )


def test(job: dict[str, Any]) -> None:
    """Run the one test of `rtl.sim.testbench`; ends the process with status 1 unless it passed."""
    results = get_runner("verilator").test(
        test_module="rtl.sim.testbench",
        hdl_toplevel=job["top"],
        hdl_toplevel_lang="verilog",
        build_dir=job["build_dir"],
        test_dir=job["test_dir"],
        results_xml=str(Path(job["test_dir"]) / "results.xml"),
        plusargs=job["plusargs"],
    )
    # Outside pytest the runner returns normally where tests failed, or where none was found.
    tests, failures = get_results(results)
    if (tests, failures) != (1, 0):
        sys.exit(f"Error: {failures} of {tests} cocotb tests failed, 1 had to pass")


def main() -> None:
    """Do what the command line says; errors of the tools are on its output already."""
    action, path = sys.argv[1:]
    job = json.loads(Path(path).read_text(encoding="utf-8"))
    try:
        {"build": build, "test": test}[action](job)
    except (subprocess.CalledProcessError, SystemExit) as error:
        sys.exit(str(error) if isinstance(error, SystemExit) and error.code else 1)


if __name__ == "__main__":
    main()
