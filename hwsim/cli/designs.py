"""Commands that plan a design, build it, compare it with the emulator and report on it."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from hwsim import defaults
from hwsim.cli.console import CheckFailed, Progress, print_json, print_note
from hwsim.cli.groups import PreparationOptions, grouped
from hwsim.cli.options import (
    Classes,
    DataOrNone,
    Folder,
    Json,
    Labels,
    Like,
    Model,
    Output,
)
from hwsim.errors import HwsimError
from hwsim.extras import hardware


def plan(
    model: Model,
    target: Annotated[
        str, typer.Option(help="ecp5-25k, ecp5-85k, or a family without limits: xc7 or xcup.")
    ] = defaults.TARGET,
    clock: Annotated[
        str, typer.Option(help="A frequency such as 50MHz, or a period such as 20ns.")
    ] = defaults.CLOCK,
    picture: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="An .svg of frames per second against multipliers."),
    ] = None,
    like: Like = None,
    as_json: Json = False,
) -> None:
    """Show what can be had: plans from the smallest to the fastest, without synthesis."""
    from hwsim.frontends import load
    from hwsim.verbs import plan as find

    if picture is not None and picture.suffix.lower() != ".svg":
        raise HwsimError(f"the picture must be an .svg file, not {str(picture)!r}")
    with Progress(f"planning {model}"):
        found = find(load(model, like=like), target=target, clock=clock)
    facts = {"model": str(model), **found.to_dict()}
    chosen = found.fastest or next(option for option in found.options if option["default"])
    facts["next"] = (
        f"hwsim build {shlex.quote(str(model))} --out build --target {facts['target']} "
        f"--clock {facts['clock_mhz']:g}MHz --fps {chosen['rate']}"
        + ("" if like is None else f" --like {shlex.quote(like)}")
    )
    if picture is not None:
        from hwsim.reporting.tradeoff import draw
        from hwsim.storage import write_atomically

        write_atomically(picture, draw(facts, alone=True).encode())
        facts["picture"] = str(picture)
    if as_json:
        print_json(facts)
        return
    from hwsim.cli.tables import show_plans

    show_plans(facts)


def build(
    model: Model,
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="DIR", help="The folder to write; replaced whole."),
    ],
    target: Annotated[
        str, typer.Option(help="ecp5-25k, ecp5-85k, or, for estimates only, xc7 or xcup.")
    ] = defaults.TARGET,
    clock: Annotated[
        str, typer.Option(help="A frequency such as 50MHz, or a period such as 20ns.")
    ] = defaults.CLOCK,
    fps: Annotated[
        float | None, typer.Option(help="Inferences a second; the smallest design that reaches it.")
    ] = None,
    max_dsp: Annotated[
        int | None, typer.Option(help="Multipliers to use; the fastest design within them.")
    ] = None,
    rtl_only: Annotated[bool, typer.Option("--rtl-only", help="Stop at the Verilog.")] = False,
    pins: Annotated[
        Path | None, typer.Option(metavar="FILE", help="An LPF file that locates every port.")
    ] = None,
    like: Like = None,
    as_json: Json = False,
) -> None:
    """Write Verilog, memories and manifest, and make the bitstream."""
    from hwsim.frontends import load
    from hwsim.verbs import build as make

    with Progress(f"reading {model}") as progress:
        made = make(
            load(model, like=like),
            out,
            target=target,
            clock=clock,
            fps=fps,
            max_dsp=max_dsp,
            rtl_only=rtl_only,
            pins=pins,
            log=progress,
        )
    facts = {"model": str(model), "folder": str(out), **made}
    for key in ("verilog", "bitstream"):
        facts[key] = str(out / facts[key]) if facts[key] else None
    if as_json:
        print_json(facts)
        return
    from hwsim.cli.tables import show_build

    show_build(facts)


@grouped
def verify(
    folder: Folder,
    samples: Annotated[
        int | None,
        typer.Option(help="So many random samples, or so many of --input, evenly over it."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of random samples, idle and backpressure.")] = 1,
    inputs: DataOrNone = None,
    labels: Labels = None,
    classes: Classes = None,
    output: Output = None,
    *,
    preparation: PreparationOptions,
    waves: Annotated[
        bool, typer.Option("--waves", help="Leave DIR/verify.vcd, a waveform of the first sample.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Compare a built design in Verilator with the emulator, integer by integer.

    With labels the accuracy of both is counted too, and the report shows it beside some samples.
    """
    from hwsim.cli.labelled import read_trial
    from hwsim.cli.scores import show_both
    from hwsim.cli.tables import show_outcome
    from hwsim.verification import record, run

    hardware("rtl.sim.verify")
    done = preparation.parse()
    with Progress(f"reading {folder}") as progress:
        trial = read_trial(folder, inputs, labels, classes, done, output, samples)
        found = run(folder, trial, samples=samples, seed=seed, waves=waves, log=progress)
    outcome = found.outcome
    facts = {"folder": str(folder), **found.to_dict(), "seed": seed, "input": inputs or "random"}
    if as_json:
        print_json(facts)
    else:
        show_outcome(facts)
        show_both(found)
    try:
        record(folder, facts)
    except HwsimError as error:  # a folder that is only read is verified all the same
        print_note(f"not recorded for the report: {error}")
    if not outcome.ok:
        what = outcome.failure or f"{outcome.different} of {outcome.compared} integers differ"
        raise CheckFailed(f"the RTL must equal the emulator, but {what}")


def report(folder: Folder, as_json: Json = False) -> None:
    """Write DIR/report.html, one page about a build that opens from disk."""
    from hwsim.reporting import write_report

    path = write_report(folder)
    if as_json:
        print_json({"folder": str(folder), "report": str(path)})
    else:
        sys.stdout.write(f"{path}\n")
