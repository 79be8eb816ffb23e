"""The commands: each checks its call, does its work through the library and shows the result."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from hwsim import defaults
from hwsim.cli import exports
from hwsim.cli.console import (
    Progress,
    print_json,
    print_note,
)
from hwsim.cli.options import (
    Classes,
    Commands,
    Data,
    DataOrNone,
    Folder,
    Inputs,
    Json,
    Labels,
    Like,
    Mean,
    Model,
    Output,
    Outputs,
    Resize,
    Scale,
    Std,
    examples,
)
from hwsim.errors import HwsimError
from hwsim.extras import hardware

app = typer.Typer(
    name="hwsim",
    cls=Commands,
    help="A quantized network: the same integers in NumPy, in RTL and on an FPGA.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class CheckFailed(HwsimError):
    """A check that failed, after its result went to stdout."""

    def __init__(self, message: str) -> None:
        super().__init__(message, exit_status=1)


def _version(wanted: bool) -> None:
    if wanted:
        from hwsim import __version__

        sys.stdout.write(f"hwsim {__version__}\n")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """A quantized network: the same integers in NumPy, in RTL and on an FPGA."""


@app.command(epilog=examples("inspect model.onnx"))
def inspect(model: Model, like: Like = None, as_json: Json = False) -> None:
    """Show a model as the graph of integer operators that everything else works on.

    Formats, scales, rounding, work, weights and state, and what has no hardware and why.
    Of a model that cannot be read its operators are listed, with status 1.
    """
    from hwsim.cli import inspection

    with Progress(f"reading {model}"):
        try:
            facts = inspection.facts_of(model, like)
        except HwsimError as error:
            facts = inspection.outline_of(model, error)
    if as_json:
        print_json(facts)
    else:
        inspection.show(facts)
    if "unread" in facts:
        raise CheckFailed(facts["unread"])


@app.command(
    epilog=examples(
        "emulate model.onnx -i x.npy -o y.npy", "emulate model.onnx -i data.npz:x_test -o y.npy"
    )
)
def emulate(
    model: Model,
    inputs: Inputs,
    outputs: Outputs,
    codes: Annotated[
        bool, typer.Option("--codes", help="Integer codes in and out, not reals.")
    ] = False,
    like: Like = None,
    as_json: Json = False,
) -> None:
    """Run a model bit-exactly on a batch."""
    from hwsim.cli.batch import emulate_files
    from hwsim.frontends import load

    with Progress(f"reading {model}") as progress:
        graph = load(model, like=like)
        started = time.monotonic()
        samples, written = emulate_files(graph, inputs, outputs, codes=codes, progress=progress)
        seconds = time.monotonic() - started
    if as_json:
        facts = {"model": str(model), "samples": samples, "codes": codes, "outputs": written}
        print_json(facts | {"seconds": round(seconds, 3)})
        return
    for name, one in written.items():
        sys.stdout.write(f"{name} {tuple(one['shape'])} {one['dtype']}: {one['path']}\n")


@app.command(
    epilog=examples(
        "accuracy model.onnx -i x.npy --labels y.npy",
        "accuracy model.onnx -i test.npz --reference float.onnx",
        "accuracy model.onnx -i images/ --resize --mean 0.5 --std 0.5",
    )
)
def accuracy(
    model: Model,
    inputs: Data,
    labels: Labels = None,
    classes: Classes = None,
    output: Output = None,
    reference: Annotated[
        Path | None,
        typer.Option(metavar="FLOAT.onnx", help="A float model to put beside it, same samples."),
    ] = None,
    scale: Scale = None,
    mean: Mean = None,
    std: Std = None,
    resize: Resize = False,
    like: Like = None,
    as_json: Json = False,
) -> None:
    """Count how often a classifier is right on labelled data: top-1, top-5, by class.

    Data are .npy or .npz arrays, a folder of images (one folder a class, or
    flat with --labels), or a .csv of numbers with the label last.
    """
    from hwsim.cli.labelled import accuracy_of_files
    from hwsim.data import Preparation
    from hwsim.frontends import load

    prepare = Preparation.parse(scale, mean, std, resize=resize)
    with Progress(f"reading {model}") as progress:
        found, says = accuracy_of_files(
            load(model, like=like), inputs, labels, classes, prepare, output, reference, progress
        )
    if as_json:
        source = {"model": str(model), "input": inputs, "prepared": says or None}
        print_json({**source, **found.to_dict()})
        return
    from hwsim.cli.scores import show_accuracy

    show_accuracy(str(model), found, says, reference)


@app.command(
    epilog=examples("hazards model.hwsim -i x.npy", "hazards model.onnx -i data.npz:x_test --top 5")
)
def hazards(
    model: Model,
    inputs: Inputs,
    top: Annotated[
        int | None, typer.Option(help="Rows to show: the places with the largest effect.")
    ] = None,
    effect_samples: Annotated[
        int, typer.Option(help="Samples on which effects are measured, evenly over the batch.")
    ] = 1000,
    wanted: Annotated[
        bool,
        typer.Option("--suggest", help="Print hls4ml's precisions that lose nothing, as YAML."),
    ] = False,
    margin: Annotated[
        str, typer.Option(help="Integer bits more than the data need, or `intervals`.")
    ] = "0",
    overflow_only: Annotated[
        bool, typer.Option("--overflow-only", help="Suggest no more fraction bits.")
    ] = False,
    like: Like = None,
    as_json: Json = False,
) -> None:
    """Count on real data where numbers wrap, saturate or lose bits, and what that changes."""
    from hwsim.cli.batch import open_inputs
    from hwsim.cli.losses import show_hazards, show_suggestion
    from hwsim.frontends import load
    from hwsim.losses.find import find
    from hwsim.losses.suggest import suggest

    if top is not None and top < 1:
        raise HwsimError(f"--top must be at least 1, not {top}")
    more = int(margin) if margin.isdecimal() else margin
    with Progress(f"reading {model}") as progress:
        graph = load(model, like=like)
        arrays = open_inputs(graph, inputs)
        if wanted:
            made = suggest(
                graph, arrays, margin=more, overflow_only=overflow_only, say=progress.update
            )
        else:
            found = find(graph, arrays, effect_samples=effect_samples, say=progress.update)
    if wanted:
        show_suggestion(str(model), made, as_json=as_json)
        return
    facts = {"model": str(model), **found.to_dict()}
    facts["hazards"] = facts["hazards"][:top]
    if as_json:
        print_json(facts)
        return
    show_hazards(facts, len(found.rows))


@app.command(
    epilog=examples(
        "plan model.onnx",
        "plan model.onnx --target ecp5-85k --clock 40MHz --picture plans.svg",
    )
)
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


@app.command(
    epilog=examples(
        "build model.onnx -o build --rtl-only",
        "build model.onnx -o build --target ecp5-25k --clock 50MHz --fps 1000",
    )
)
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


@app.command(
    name="to-hls4ml",
    epilog=examples(
        "to-hls4ml model.hwsim -o project",
        "to-hls4ml model.onnx -o project --io io_stream --strategy Resource --reuse-factor 8",
    ),
)
def to_hls4ml(
    model: Model,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="The folder of the project.")
    ],
    backend: Annotated[str, typer.Option(help="Vitis or Vivado.")] = "Vitis",
    io: Annotated[str, typer.Option(help="io_parallel or io_stream.")] = "io_parallel",
    strategy: Annotated[
        str, typer.Option(help="Latency or Resource, of layers whose sums take any order.")
    ] = "Latency",
    reuse_factor: Annotated[int, typer.Option(help="Of the same layers.")] = 1,
    integers: Annotated[
        bool, typer.Option("--integers", help="Leave out scales and float32 at both ends.")
    ] = False,
    like: Like = None,
    as_json: Json = False,
) -> None:
    """Write a model as an hls4ml project whose C++ simulation gives the same codes."""
    from hwsim.frontends import load
    from hwsim.hls4ml_project import write_project

    with Progress(f"writing {out}"):
        facts = write_project(
            load(model, like=like),
            out,
            backend=backend,
            io_type=io,
            strategy=strategy,
            reuse_factor=reuse_factor,
            integers=integers,
        )
    if as_json:
        print_json({"model": str(model), **facts})
        return
    from hwsim.cli.tables import show_layers

    show_layers(facts)


app.command(
    name="to-onnx",
    epilog=examples("to-onnx model.tflite -o m.onnx", "to-onnx model.hwsim -o m.onnx --as qonnx"),
)(exports.to_onnx)

app.command(
    epilog=examples("explore model.tflite -o folder", "explore model.onnx -o folder -i x.npy"),
)(exports.explore)


@app.command(
    epilog=examples(
        "verify build",
        "verify build -i x.npy --samples 64",
        "verify build -i x.npy --labels y.npy",
    )
)
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
    scale: Scale = None,
    mean: Mean = None,
    std: Std = None,
    resize: Resize = False,
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
    from hwsim.data import Preparation
    from hwsim.verification import record, run

    hardware("rtl.sim.verify")
    done = Preparation.parse(scale, mean, std, resize=resize)
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


@app.command(epilog=examples("report build"))
def report(folder: Folder, as_json: Json = False) -> None:
    """Write DIR/report.html, one page about a build that opens from disk."""
    from hwsim.reporting import write_report

    path = write_report(folder)
    if as_json:
        print_json({"folder": str(folder), "report": str(path)})
    else:
        sys.stdout.write(f"{path}\n")


@app.command(epilog=examples("doctor", "doctor --group rtl"))
def doctor(
    groups: Annotated[
        list[str] | None,
        typer.Option("--group", help="Only core, rtl, test, hls, train or gpu; may be repeated."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Say which engines and tools work here, by running each on something tiny.

    Status 0 where all of the named groups work; without --group, where the core does.
    """
    from hwsim.doctor.checks import CORE, examine

    with Progress("trying engines and tools") as progress:
        tried: list[str] = []

        def done(check: Any) -> None:
            tried.append(check.name)
            progress.update(f"tried {', '.join(tried)}")

        checks = examine(groups, done=done)
    needed = [c for c in checks if groups or c.group == CORE]
    ok = all(check.works for check in needed)
    if as_json:
        print_json({"ok": ok, "checks": [check.as_dict() for check in checks]})
    else:
        from hwsim.cli.tables import show_checks

        show_checks(checks)
    if not ok:
        broken = ", ".join(check.name for check in needed if not check.works)
        raise CheckFailed(f"every needed tool must work, and not fail as {broken}")
