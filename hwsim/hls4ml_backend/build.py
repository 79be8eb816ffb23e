"""`hls_model.build(…)`: the build folder, and a report with the keys of hls4ml's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hwsim import defaults
from hwsim.build_folder import BuildFacts
from hwsim.extras import hardware
from hwsim.graph import Graph
from hwsim.hls4ml_backend.options import BuildOptions

RESOURCES = {"BRAM_18K": "bram", "DSP": "dsp", "FF": "ff", "LUT": "lut"}


def build(graph: Graph, chosen: BuildOptions, folder: Path, project: str) -> dict[str, Any]:
    """Build `graph` into the folder that was asked for, or `folder`, and report on it.

    `CSynthesisReport` has hls4ml's keys and, as hls4ml's, text for values; what is not known is
    left out. `CosimReport` is there after a comparison in Verilator. `Build` holds all that
    `build.json` does and `Folder`, `Verilog` and `Bitstream` are paths (the last may be None).
    """
    targets, rtl_build = hardware("rtl.targets"), hardware("rtl.build")
    out = Path(chosen.output_dir) if chosen.output_dir is not None else folder
    request = rtl_build.Request(
        target=targets.find_target(chosen.target or defaults.TARGET).name,
        clock_mhz=hardware("rtl.flow.clock").parse_clock(str(chosen.clock or defaults.CLOCK)),
        fps=chosen.fps,
        max_dsp=chosen.max_dsp,
        rtl_only=chosen.rtl_only or not chosen.vsynth,
        pins=Path(chosen.pins) if chosen.pins is not None else None,
        top=hardware("rtl.names").top_name(project),
    )
    if chosen.output_dir is None:
        out.parent.mkdir(parents=True, exist_ok=True)
    log: Callable[[str], None] | None = _say if chosen.log_to_stdout else None
    rtl_build.build(graph, out, request, log=log)
    outcome = None
    if chosen.simulate:
        verify = hardware("rtl.sim.verify").verify
        outcome = verify(out, samples=chosen.samples, log=log).to_dict()
    return summary(BuildFacts.read(out), outcome, out)


def summary(facts: BuildFacts, outcome: Mapping[str, Any] | None, folder: Path) -> dict[str, Any]:
    """The report of a build and, where there was one, of its comparison in Verilator."""
    report = {
        "CSynthesisReport": _synthesis(facts, outcome),
        "Build": facts.to_dict(),
        "Folder": str(folder),
        "Verilog": str(folder / facts.verilog),
        "Bitstream": str(folder / facts.bitstream) if facts.bitstream else None,
    }
    return report if outcome is None else report | {"CosimReport": _cosim(outcome)}


def _synthesis(facts: BuildFacts, outcome: Mapping[str, Any] | None) -> dict[str, str]:
    cycles, used = str(facts.analytic_cycles), facts.implementation
    found = {"IntervalMin": cycles, "IntervalMax": cycles}
    if facts.clock_mhz:
        found["TargetClockPeriod"] = f"{1000 / facts.clock_mhz:.4g}"
    if used is not None and used.fmax_mhz:
        found["EstimatedClockPeriod"] = f"{1000 / used.fmax_mhz:.3f}"
    if outcome and outcome["latency"] is not None:
        found |= dict.fromkeys(("BestLatency", "WorstLatency"), str(outcome["latency"]))
    if used is not None:
        for name, key in RESOURCES.items():
            found[name] = str(getattr(used, key))
            if key in used.available:
                found[f"Available{name}"] = str(used.available[key])
    return found


def _cosim(outcome: Mapping[str, Any]) -> dict[str, Any]:
    """As hls4ml's, for the run without pauses."""
    found: dict[str, Any] = {"RTL": "Verilog", "Status": "Pass" if outcome["ok"] else "Fail"}
    for name in ("Min", "Max"):
        if outcome["latency"] is not None:
            found[f"Latency{name}"] = str(outcome["latency"])
        if outcome["cycles_per_inference"] is not None:
            found[f"Interval{name}"] = f"{outcome['cycles_per_inference']:g}"
    return (
        found
        | {"Compared": outcome["compared"], "Different": outcome["different"]}
        | ({"Failure": outcome["failure"]} if outcome["failure"] else {})
    )


def _say(text: str) -> None:
    print(text, flush=True)
