"""A trained model to a bitstream, with the same integers on every rung: `make demo`.

Takes the int8 digits CNN and its held-out images through ONNX Runtime, the emulator, the RTL in
Verilator and place and route; writes a report page and `report.json`. Ends with status 1 where any
integer differs.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import demo_build
import digits
import numpy as np
import reference

import hwsim
from hwsim.build_folder import REPORT, BuildFacts, Manifest
from hwsim.cli.console import Progress, console, print_error, warnings_shown
from hwsim.cli.sheet import table
from hwsim.emulator.run import planned
from hwsim.evaluation.scores import Comparison, accuracy, compare, predictions
from hwsim.reporting import Page, Rung, RungState, Sample
from hwsim.reporting.folder import (
    implementation_rungs,
    links,
    provenance,
    rtl_rung,
    write_page,
)
from hwsim.storage import write_atomically
from hwsim.verification import record
from rtl.build import Request
from rtl.flow import tools
from rtl.flow.clock import parse_clock
from rtl.sim import wrapper
from rtl.sim.simulate import Simulation
from rtl.sim.verify import Outcome, verify

MODELS = Path(__file__).resolve().parent / "models"
SEED = 1
SHOWN, WRONG = 12, 4  # images on the page; of them at most so many that a rung gets wrong


@dataclass(frozen=True, slots=True, kw_only=True)
class Software:
    """What needs no hardware: outputs of each rung for the same images, and how they compare.

    `float_outputs` and `runtime_codes` are None without ONNX Runtime; then `float_accuracy` is the
    one that was recorded when the model was trained.
    """

    float_accuracy: float
    float_outputs: Any
    runtime_codes: Any
    codes: Any
    comparison: Comparison | None


def run_software(graph: hwsim.Graph, model: Path, data: digits.Digits, say: Progress) -> Software:
    """The float model, the quantized one in ONNX Runtime, and the emulator."""
    say("emulating the held-out images")
    emulator = planned(graph)
    codes = emulator.decode(emulator.run_chunked(emulator.encode(data.test_images)), as_codes=True)
    if not reference.installed():
        recorded = json.loads((MODELS / "digits.json").read_text(encoding="utf-8"))
        known = recorded["models"][model.stem]["float_onnx_accuracy"]
        return Software(
            float_accuracy=known,
            float_outputs=None,
            runtime_codes=None,
            codes=codes,
            comparison=None,
        )
    say("running the float and the int8 model in ONNX Runtime")
    reals = reference.run(model.with_suffix(".float.onnx"), data.test_images)
    runtime = reference.codes(graph, reference.run(model, data.test_images))
    return Software(
        float_accuracy=accuracy(reals, data.test_labels),
        float_outputs=reals,
        runtime_codes=runtime,
        codes=codes,
        comparison=compare(runtime, codes),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """The build, and what its RTL gave in Verilator; `reused` names what an earlier run made."""

    facts: BuildFacts
    outcome: Outcome
    codes: Any
    reused: tuple[str, ...]


def run_hardware(
    graph: hwsim.Graph, images: Any, folder: Path, request: Request, say: Progress, *, fresh: bool
) -> Hardware:
    """Build, compile the simulator, compare, and take the codes that left the RTL."""
    facts, same = demo_build.built(graph, folder, request, fresh=fresh, log=say)
    reused = ["bitstream"] if same else []
    edges = planned(graph).encode(images)
    codes = {p.name: np.asarray(edges[p.tensor]).astype(np.int64) for p in graph.inputs}
    say("compiling the RTL with Verilator")
    started, simulation = time.time(), Simulation(folder)
    program = simulation.build() / wrapper.TOP
    if program.stat().st_mtime < started:
        say("taking the compiled simulator from the cache: it is of this very RTL")
        reused.append("compiled simulator")
    outcome = verify(folder, codes, seed=SEED, log=say)
    record(folder, {"folder": str(folder), **outcome.to_dict(), "input": "held-out images"})
    say("reading the predictions of the RTL")
    result = simulation.run(codes)
    return Hardware(facts=facts, outcome=outcome, codes=result.output, reused=tuple(reused))


def rungs(software: Software, hardware: Hardware, model: str, labels: Any) -> tuple[Rung, ...]:
    """The chain that the page and the table show."""
    measured = software.comparison is not None
    equal = measured and not software.comparison.different
    name, version = "ONNX Runtime, int8", _version("onnxruntime")
    runtime = Rung(name=name, state=RungState.NOT_RUN, says="ONNX Runtime is not installed.")
    emulator = RungState.REFERENCE
    if measured:
        says = f"{model}, all optimizations on."
        score = accuracy(software.runtime_codes, labels)
        runtime = Rung(
            name=name,
            state=RungState.REFERENCE,
            says=says,
            accuracy=score,
            notes=(f"version {version}",),
        )
        emulator = RungState.EQUAL if equal else RungState.DIFFERENT
    how = "float32 in ONNX Runtime." if measured else "As recorded when it was trained."
    outcome = hardware.outcome.to_dict()
    return (
        Rung(
            name="Float model",
            state=RungState.REFERENCE,
            says=how,
            accuracy=software.float_accuracy,
        ),
        runtime,
        Rung(
            name="Emulator",
            state=emulator,
            says="Every output code against ONNX Runtime's." if measured else "Compared with none.",
            compared=software.comparison.compared if software.comparison else None,
            different=software.comparison.different if software.comparison else None,
            accuracy=accuracy(software.codes, labels),
        ),
        rtl_rung(outcome, _rtl_accuracy(hardware, labels)),
        *implementation_rungs(hardware.facts),
    )


def _rtl_accuracy(hardware: Hardware, labels: Any) -> float:
    return accuracy(hardware.codes, labels)


def samples(software: Software, hardware: Hardware, data: digits.Digits) -> tuple[Sample, ...]:
    """Some images that a rung gets wrong, then the first ones."""
    outputs = {
        "float": software.float_outputs,
        "emulator": software.codes,
        "RTL": hardware.codes,
    }
    found = {name: predictions(x) for name, x in outputs.items() if x is not None}
    wrong = np.any([p != data.test_labels for p in found.values()], axis=0)
    first = np.flatnonzero(wrong)[:WRONG].tolist()
    chosen = first + [n for n in range(len(wrong)) if n not in first][: SHOWN - len(first)]
    return tuple(
        Sample(
            pixels=data.test_images[n, 0],
            label=int(data.test_labels[n]),
            index=n,
            predictions={name: int(p[n]) for name, p in found.items()},
        )
        for n in chosen
    )


def report(
    software: Software,
    hardware: Hardware,
    chain: tuple[Rung, ...],
    out: Path,
    labels: Any,
    *,
    seconds: float,
) -> dict[str, Any]:
    """What goes to `report.json`; paths are relative to the current folder."""
    facts, outcome = hardware.facts, hardware.outcome
    used = facts.implementation
    assert used is not None and facts.bitstream is not None
    folder = out / "build"
    return {
        "accuracy": {
            "float": software.float_accuracy,
            "onnxruntime": None
            if software.runtime_codes is None
            else accuracy(software.runtime_codes, labels),
            "emulator": accuracy(software.codes, labels),
            "rtl": accuracy(hardware.codes, labels),
        },
        "float_accuracy_is": "recorded" if software.float_outputs is None else "measured",
        "images": len(labels),
        "compared": sum(r.compared or 0 for r in chain),
        "different": sum(r.different or 0 for r in chain),
        "rungs": [
            {"name": r.name, "compared": r.compared, "different": r.different} for r in chain
        ],
        "rtl_runs": outcome.to_dict()["runs"],
        "cycles_per_inference": outcome.cycles_per_inference,
        "analytic_cycles": facts.analytic_cycles,
        "latency": outcome.latency,
        "target": facts.target,
        **{key: getattr(used, key) for key in ("lut", "ff", "dsp", "bram")},
        "clock_mhz": facts.clock_mhz,
        "fmax_mhz": used.fmax_mhz,
        "verilog": os.path.relpath(folder / facts.verilog),
        "bitstream": os.path.relpath(folder / facts.bitstream),
        "report": os.path.relpath(out / REPORT),
        "tools": {**used.tools, "verilator": tools.verilator().version},
        "reused": list(hardware.reused),
        "seconds": round(seconds, 1),
    }


def show(facts: dict[str, Any], chain: tuple[Rung, ...], title: str) -> None:
    """The tables at the end."""
    rows = [
        (
            rung.name,
            "" if rung.accuracy is None else f"{100 * rung.accuracy:.2f} %",
            "" if rung.compared is None else f"{rung.compared:,}",
            "" if rung.different is None else f"{rung.different:,}",
            rung.state.value,
        )
        for rung in chain
    ]
    columns = ("rung", "accuracy", "integers compared", "different", "")
    out = console()
    out.print(table(title, columns, rows, columns[1:4]))
    cycles, bound = facts["cycles_per_inference"], facts["analytic_cycles"]
    pairs = [
        ("cycles per inference", f"{cycles:,.1f} (bottleneck {bound:,}, {cycles / bound - 1:+.1%})")
        if cycles
        else ("cycles per inference", "not measured"),
        ("LUT, DSP, BRAM", f"{facts['lut']:,}, {facts['dsp']:,}, {facts['bram']:,}"),
        ("Fmax", f"{facts['fmax_mhz']:.1f} MHz ({facts['clock_mhz']:g} MHz asked)"),
        *((key, facts[key]) for key in ("verilog", "bitstream", "report")),
        ("from an earlier run", ", ".join(facts["reused"]) or "nothing"),
        ("time", f"{facts['seconds']:.0f} s"),
    ]
    out.print(table("", ("", ""), pairs))


def demo(arguments: argparse.Namespace) -> bool:
    """Run it all; whether every integer is the same and every rule of the ports is kept."""
    started = time.monotonic()
    out, model = Path(arguments.out), MODELS / f"{arguments.model}.onnx"
    request = Request(target=arguments.target, clock_mhz=parse_clock(arguments.clock))
    out.mkdir(parents=True, exist_ok=True)
    with Progress(f"reading {model.name} and the images", patience=0.0) as say:
        graph, data = hwsim.load(model), digits.load()
        software = run_software(graph, model, data, say)
        hardware = run_hardware(
            graph, data.test_images, out / "build", request, say, fresh=arguments.fresh
        )
        say("writing the report")
        manifest = Manifest.read(out / "build")
        chain = rungs(software, hardware, model.name, data.test_labels)
        facts = report(
            software,
            hardware,
            chain,
            out,
            data.test_labels,
            seconds=time.monotonic() - started,
        )
        page = Page(
            title=f"Handwritten digits on {request.target}",
            lead=f"{model.name}: from the model file to the bitstream, on {facts['images']} images "
            "that training never saw.",
            graph=graph,
            build=hardware.facts,
            rungs=chain,
            cycles_per_inference=hardware.outcome.cycles_per_inference,
            latency=hardware.outcome.latency,
            samples=samples(software, hardware, data),
            samples_note=f"Up to {WRONG} that some rung takes for another digit, then the first.",
            links=links(manifest, hardware.facts, prefix="build/") | {"Facts": "report.json"},
            provenance=provenance(hardware.facts, manifest)
            | {"Verilator": facts["tools"]["verilator"], "ONNX Runtime": _version("onnxruntime")},
        )
        write_page(page, out / REPORT)
        write_atomically(out / "report.json", (json.dumps(facts, indent=2) + "\n").encode())
    show(facts, chain, page.title)
    if hardware.outcome.failure:
        print_error(hardware.outcome.failure)
    return hardware.outcome.ok and facts["different"] == 0


def _version(distribution: str) -> str:
    from importlib import metadata

    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "not installed"


def main() -> int:
    """Read the call and run the demo."""
    parser = argparse.ArgumentParser(description="A trained model to a bitstream.")
    parser.add_argument("--out", default="out/demo", help="the folder for everything that is made")
    parser.add_argument("--model", default="digits_cnn_int8", choices=sorted(MODEL_NAMES))
    parser.add_argument("--target", default="ecp5-25k", choices=("ecp5-25k", "ecp5-85k"))
    parser.add_argument("--clock", default="50MHz")
    parser.add_argument("--fresh", action="store_true", help="build again, whatever is there")
    arguments = parser.parse_args()
    try:
        with warnings_shown():
            return 0 if demo(arguments) else 1
    except hwsim.HwsimError as error:
        print_error(str(error))
        return error.exit_status
    except KeyboardInterrupt:
        print_error("interrupted")
        return 130


MODEL_NAMES = ("digits_cnn_int8", "digits_cnn_asym", "digits_dw_skip")

if __name__ == "__main__":
    sys.exit(main())
