"""What a build folder says about itself, as a report page."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.build_folder import (
    BUILD,
    MANIFEST,
    README,
    REPORT,
    VERIFY,
    BuildFacts,
    Manifest,
    plain,
    read_json,
)
from hwsim.errors import HwsimError
from hwsim.graph import Graph
from hwsim.reporting.page import Page, Rung, RungState, render
from hwsim.reporting.samples import Sample
from hwsim.storage import write_atomically

NOT_CHOSEN = "Nobody chose its pins: for no board before you give yours with --pins."


def write_report(folder: Path) -> Path:
    """Write `report.html` into a build folder and return its path.

    Raises HwsimError for a folder that no build wrote or that cannot be written.
    """
    page = read_page(folder)
    path = folder / REPORT
    write_page(page, path)
    return path


def write_page(page: Page, path: Path) -> None:
    """Write a page whole or not at all."""
    write_atomically(path, render(page).encode())


def read_graph(folder: Path) -> Graph:
    """The Graph that a folder was built from."""
    return Graph.load(Manifest.read(folder).graph_file)


def read_page(folder: Path) -> Page:
    """The page about a build folder: its own files, and `verify.json` if that is of this build."""
    manifest, build = Manifest.read(folder), BuildFacts.read(folder)
    graph = Graph.load(manifest.graph_file)
    outcome = read_outcome(folder, manifest)
    with _as_written(folder / VERIFY, "verify"):
        measured: dict[str, Any] = {
            "samples": labelled_samples(outcome),
            "samples_note": _samples_note(outcome),
            "cycles_per_inference": _number(outcome, "cycles_per_inference"),
            "latency": _number(outcome, "latency"),
        }
        emulator = Rung(
            name="Emulator",
            state=RungState.REFERENCE,
            says="The integers that the model file stands for, computed in NumPy.",
            **_score(outcome, "emulator"),
        )
        rtl = rtl_rung(outcome)
    with _as_written(folder / BUILD, "build"):
        page = Page(
            title=build.name or manifest.top,
            lead=lead(graph, build),
            graph=graph,
            build=build,
            rungs=(emulator, rtl, *implementation_rungs(build)),
            links=links(manifest, build, prefix="") | _waveform(folder, outcome),
            provenance=provenance(build, manifest),
            **measured,
        )
        render(page)
    return page


@contextmanager
def _as_written(path: Path, command: str) -> Iterator[None]:
    """Refuse a file whose content does not fit with a sentence that names it."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise HwsimError(
            f"{path} must be as `hwsim {command}` wrote it, but does not fit ({error!r})"
        ) from None


def _number(outcome: Mapping[str, Any] | None, key: str) -> Any:
    """A number or None; TypeError for anything else."""
    found = (outcome or {}).get(key)
    return None if found is None else found + 0


def read_outcome(folder: Path, manifest: Manifest) -> dict[str, Any] | None:
    """What `hwsim verify` found about this very build, if it ran."""
    if not (folder / VERIFY).is_file():
        return None
    outcome = read_json(folder / VERIFY)
    return outcome if outcome.get("hashes") == plain(manifest.hashes) else None


def rtl_rung(outcome: Mapping[str, Any] | None, accuracy: float | None = None) -> Rung:
    """The generated Verilog in Verilator against the emulator."""
    name = "RTL in Verilator"
    if outcome is None:
        return Rung(
            name=name,
            state=RungState.NOT_RUN,
            says="Run hwsim verify to compare it with the emulator.",
        )
    runs = outcome["runs"]
    notes = [
        f"{run['name']}: {run['different']:,} of {run['compared']:,} differ (seed {run['seed']})"
        + (f", {len(run['violations'])} broken rules" if run["violations"] else "")
        for run in runs
    ]
    return Rung(
        name=name,
        state=RungState.EQUAL if outcome["ok"] else RungState.DIFFERENT,
        says=str(outcome.get("failure") or "Every output code against the emulator's."),
        compared=outcome["compared"],
        different=outcome["different"],
        notes=tuple(notes),
        **({"accuracy": accuracy} if accuracy is not None else _score(outcome, "rtl")),
    )


def lead(graph: Graph, build: BuildFacts) -> str:
    """What was built, in one sentence."""
    work = [node.op.work(graph.input_types(node)).macs for node in graph.nodes]
    clock = f" at {build.clock_mhz:g} MHz" if build.clock_mhz else ""
    return (
        f"A network of {len(graph.nodes):,} integer operators and {sum(work):,} multiplications an"
        f" inference, built for {build.device}{clock}."
    )


def labelled_samples(outcome: Mapping[str, Any] | None) -> tuple[Sample, ...]:
    """The samples that `hwsim verify --labels` kept, with what emulator and RTL take them for."""
    labels = (outcome or {}).get("labels") or {}
    names = labels.get("names")

    def named(code: int) -> int | str:
        return str(names[code]) if names and 0 <= code < len(names) else int(code)

    return tuple(
        Sample(
            pixels=None if one.get("image") is None else np.asarray(one["image"], np.float64),
            label=named(one["label"]),
            predictions={"emulator": named(one["emulator"]), "RTL": named(one["rtl"])},
            index=int(one["index"]),
        )
        for one in labels.get("shown", ())
    )


def _samples_note(outcome: Mapping[str, Any] | None) -> str:
    labels = (outcome or {}).get("labels")
    if not labels:
        return ""
    return (
        f"Measured on {labels['samples'] + 0:,} labelled samples of {labels['classes']:,} classes"
        f" (output {labels['output']}); some of them:"
    )


def _score(outcome: Mapping[str, Any] | None, rung: str) -> dict[str, Any]:
    """The accuracies of a rung, where `hwsim verify` was given labels."""
    found = ((outcome or {}).get("labels") or {}).get(rung)
    return {} if not found else {"accuracy": float(found["top1"]), "top5": found.get("top5")}


def implementation_rungs(build: BuildFacts) -> tuple[Rung, ...]:
    """Place and route, and the bitstream."""
    placed, packed = "Place and route", "Bitstream"
    used = build.implementation
    if build.problem:
        return (
            Rung(name=placed, state=RungState.NOT_MET, says=build.problem),
            Rung(
                name=packed,
                state=RungState.NOT_RUN,
                says="None is written of a design that fails.",
            ),
        )
    if used is None or not used.fmax_mhz:
        why = "Counted by synthesis alone." if used else "The build stopped at the Verilog."
        return tuple(Rung(name=n, state=RungState.NOT_RUN, says=why) for n in (placed, packed))
    return (
        Rung(
            name=placed,
            state=RungState.DONE,
            says=f"Timing met: {used.fmax_mhz:.1f} MHz, {build.clock_mhz:g} MHz asked.",
            notes=(f"{build.device}, seed {used.seed}",),
        ),
        Rung(
            name=packed,
            state=RungState.DONE,
            says=str(build.bitstream),
            notes=(NOT_CHOSEN,) if build.pins_not_chosen else (),
        ),
    )


def links(manifest: Manifest, build: BuildFacts, *, prefix: str) -> dict[str, str]:
    """Files of the folder by what they are, relative to the page."""
    used, readable = build.implementation, manifest.readable
    found: dict[str, object] = {"Verilog": build.verilog, "Bitstream": build.bitstream}
    found["Readable Verilog"] = readable and readable.relative_to(manifest.folder).as_posix()
    if used is not None:
        found["Constraints"] = used.constraints
        found |= {f"Log: {Path(name).name}": name for name in used.logs}
    found |= {"Manifest": MANIFEST, "Build facts": BUILD, "Ports (README)": README}
    return {text: f"{prefix}{name}" for text, name in found.items() if name}


def _waveform(folder: Path, outcome: Mapping[str, Any] | None) -> dict[str, str]:
    """The waveform that `hwsim verify` left, where it is still in the folder."""
    name = Path(str((outcome or {}).get("waveform") or "")).name
    return {"Waveform": name} if name and (folder / name).is_file() else {}


def provenance(build: BuildFacts, manifest: Manifest) -> dict[str, str]:
    """Versions of the tools and hashes of what was built."""
    found = {"hwsim": _own_version(), "Python": sys.version.split()[0]}
    found |= build.implementation.tools if build.implementation else {}
    hashes: dict[str, str] = plain(manifest.hashes) or {}
    return found | {f"{what} SHA-256": value for what, value in hashes.items()}


def _own_version() -> str:
    try:
        return metadata.version("hwsim")
    except metadata.PackageNotFoundError:
        return "not installed"  # run from a checkout
