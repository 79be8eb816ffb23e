"""Commands that read a model and run it: what it is, what it gives, how good that is."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from hwsim.cli.console import CheckFailed, Progress, print_json
from hwsim.cli.groups import PreparationOptions, grouped
from hwsim.cli.options import (
    Classes,
    Data,
    Inputs,
    Json,
    Labels,
    Like,
    Model,
    Output,
    Outputs,
)
from hwsim.errors import HwsimError


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


@grouped
def accuracy(
    model: Model,
    inputs: Data,
    labels: Labels = None,
    classes: Classes = None,
    output: Output = None,
    reference: Annotated[
        Path | None,
        typer.Option(metavar="FLOAT", help="A float model to put beside it, same samples."),
    ] = None,
    *,
    preparation: PreparationOptions,
    like: Like = None,
    as_json: Json = False,
) -> None:
    """Count how often a classifier is right on labelled data: top-1, top-5, by class.

    Data are .npy or .npz arrays, a folder of images (one folder a class, or
    flat with --labels), or a .csv of numbers with the label last.
    """
    from hwsim.cli.labelled import accuracy_of_files
    from hwsim.frontends import load

    prepare = preparation.parse()
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
