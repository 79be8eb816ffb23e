"""Steps that leave the network as it is: where accuracy went, plans, a build and its check."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hwsim.compress.attribution.find import find
from hwsim.compress.attribution.page import whole
from hwsim.compress.float_model import FloatModel
from hwsim.compress.quantize.equalize import equalized
from hwsim.compress.training.fit import LabelledBatch
from hwsim.data import Labelled
from hwsim.errors import HwsimError
from hwsim.extras import expect_libraries, hardware
from hwsim.graph import Graph
from hwsim.recipe.job import Job, StepResult
from hwsim.recipe.keys import Values, arguments_of
from hwsim.reporting.tradeoff import draw
from hwsim.storage import write_atomically

BUILD = "build"


def run_attribution(job: Job) -> StepResult:
    """Each layer's error against the recipe's float model, as a page and as data."""
    graph = job.before.graph()
    assert job.before.source is not None
    floats = FloatModel.read(job.before.source)
    if job.before.equalized or job.values["equalize"]:
        floats = equalized(floats)[0]
    part = "test" if job.data.has("test") else "calibration"
    data = job.data.of_graph(graph, part)
    job.say("comparing")
    found = find(
        graph,
        floats,
        data.arrays,
        _classes(job, graph, data),
        names=data.names,
        output=job.data.output,
        say=job.say,
    ).to_dict()
    model = str(job.setting.model.name)
    write_atomically(job.folder / "attribution.html", whole(found, model).encode())
    _write(job.folder / "attribution.json", found)
    layers = [one for one in found["layers"] if one["share_of_output"] is not None]
    layers.sort(key=lambda one: -one["share_of_output"])
    facts = {
        "samples": found["samples"],
        "largest": [
            {"node": one["edge"], "share_of_output": one["share_of_output"]} for one in layers[:3]
        ],
        "page": "attribution.html",
    }
    return StepResult(network=job.before, facts=facts)


def check_plan(values: Values) -> None:
    """Raise HwsimError for a target and a clock that there is not."""
    hardware("rtl.targets").find_target(values["target"])
    hardware("rtl.flow.clock").parse_clock(values["clock"])


def run_plan(job: Job) -> StepResult:
    """Plans from the smallest to the fastest."""
    from hwsim.verbs import plan

    found = plan(job.before.graph(), **arguments_of(plan, job.values)).to_dict()
    write_atomically(job.folder / "plans.svg", draw(found, alone=True).encode())
    _write(job.folder / "plans.json", found)
    kept = ("fps", "cycles", "multipliers", "block_rams", "fits", "default")
    options = [{key: option[key] for key in kept} for option in found["options"]]
    facts = {"target": found["target"], "clock_mhz": found["clock_mhz"], "options": options}
    return StepResult(network=job.before, facts={**facts, "picture": "plans.svg"})


def check_build(values: Values) -> None:
    """Raise HwsimError for a target, a clock and a rate that there is not."""
    check_plan(values)
    for name in ("fps", "max_dsp"):
        if values[name] is not None and values[name] <= 0:
            raise HwsimError(f"{name} must be more than 0, not {values[name]:g}")


def expect_building(values: Values) -> None:
    """Raise HwsimError where what writes Verilog, or synthesizes it, is not installed."""
    expect_libraries("amaranth", extra="rtl", what="hardware")
    if not values["rtl_only"]:
        hardware("rtl.flow.tools").yosys()


def run_build(job: Job) -> StepResult:
    """Verilog, and unless only that is wanted a bitstream."""
    from hwsim.verbs import build

    graph, name = job.before.graph(), job.setting.model.stem
    folder = job.folder / BUILD
    made = build(graph, folder, name=name, log=job.say, **arguments_of(build, job.values))
    kept = ("target", "clock_mhz", "planned_dsp", "fps", "analytic_cycles", "bitstream")
    facts: dict[str, Any] = {key: made.get(key) for key in kept}
    used = made.get("implementation") or {}
    facts |= {key: used.get(key) for key in ("used", "fmax_mhz", "estimate")}
    return StepResult(network=replace(job.before, build=folder), facts={**facts, "folder": BUILD})


def check_verification(values: Values) -> None:
    """Raise HwsimError for no samples."""
    if values["samples"] is not None and values["samples"] < 1:
        raise HwsimError(f"samples must be at least 1, not {values['samples']}")


def expect_verifying() -> None:
    """Raise HwsimError where Verilator, or what compiles for it, is missing."""
    tools = hardware("rtl.flow.tools")
    tools.require_programs("perl", "make", "g++")
    tools.verilator()


def run_verification(job: Job) -> StepResult:
    """The last build in Verilator against the emulator, integer by integer."""
    from hwsim.reporting.folder import read_graph, write_report
    from hwsim.verification import prepare, record, run

    folder = job.before.build
    assert folder is not None
    trial, values = None, job.values
    if job.data.has("test"):
        graph = read_graph(folder)
        data = job.data.of_graph(graph, "test")
        trial = prepare(
            folder,
            dict(data.arrays),
            labels=_classes(job, graph, data),
            samples=values["samples"],
            output=job.data.output,
            names=data.names,
        )
    found = run(
        folder,
        trial,
        samples=values["samples"],
        seed=values["seed"],
        waves=values["waves"],
        log=job.say,
    )
    source = "random" if trial is None else "the recipe's test data"
    told = {**found.to_dict(), "seed": values["seed"], "input": source}
    record(folder, {"folder": str(folder), **told})
    write_report(folder)
    facts: dict[str, Any] = {
        key: told[key] for key in ("compared", "different", "samples", "seconds") if key in told
    }
    failed = None
    if not found.ok:
        what = found.failure or f"{found.different} of {found.compared} integers differ"
        failed = f"the RTL must equal the emulator, but {what}"
    return StepResult(
        network=job.before,
        facts={**facts, "equal": found.ok, "input": source},
        failed=failed,
    )


def _classes(job: Job, graph: Graph, data: Labelled) -> Any:
    """Class numbers of samples; None where there are none, or where the output is no classes."""
    if data.labels is None:
        return None
    told = data.arrays, data.labels, data.names
    return LabelledBatch.taught(graph, job.data.output, *told).labels


def _write(path: Path, facts: Mapping[str, Any]) -> None:
    write_atomically(path, (json.dumps(facts, indent=1) + "\n").encode())
