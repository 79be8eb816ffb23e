"""The command that takes weights or channels out of a network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwsim import defaults
from hwsim.cli.console import Progress, console, print_json
from hwsim.cli.groups import PreparationOptions, grouped
from hwsim.cli.labelled import named_files
from hwsim.cli.options import Json, Labels, Like, Model, Output
from hwsim.cli.prune_samples import SampleFiles
from hwsim.cli.targets import expect_target
from hwsim.cli.training_options import Batch, Checkpoint, Device, Rate, Seed, Start
from hwsim.data import Labelled
from hwsim.errors import HwsimError
from hwsim.graph import Graph

if TYPE_CHECKING:
    from hwsim.compress.choice.pruned import PruningAim
    from hwsim.compress.choice.target import ChoiceTarget
    from hwsim.compress.prune.prune import Pruned, Pruning
    from hwsim.compress.prune.rounds import Rounds


@grouped
def prune(
    model: Model,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="The .hwsim file to write, or of a float ONNX model the .onnx file.",
        ),
    ],
    amount: Annotated[
        float | None,
        typer.Option(metavar="A", help="The share that goes, from 0 to below 1 (0.5)."),
    ] = None,
    by: Annotated[
        str,
        typer.Option(
            "--by",
            metavar="SCORE",
            help="magnitude; on data activation or zeros; with labels taylor or movement.",
        ),
    ] = "magnitude",
    pattern: Annotated[
        str,
        typer.Option(
            metavar="PATTERN",
            help="unstructured, channels, N:M (2:4, whatever the amount) or PExSIMD (4x8).",
        ),
    ] = "unstructured",
    scope: Annotated[
        str, typer.Option(metavar="SCOPE", help="Of each layer, or global: of all together.")
    ] = "layer",
    layers: Annotated[
        list[str] | None,
        typer.Option("--layer", metavar="NODE", help="A layer to prune; all where none is named."),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data",
            "--input",
            "-i",
            metavar="D",
            help="Samples: .npy, .npz, .csv or a folder of images; NAME=D for each input.",
        ),
    ] = None,
    labels: Labels = None,
    target_accuracy: Annotated[
        str | None,
        typer.Option(
            metavar="A",
            help="Choose amounts by layer: all that an accuracy of 0.915 or 91.5% lets go.",
        ),
    ] = None,
    target_bits: Annotated[
        int | None,
        typer.Option(
            metavar="B", help="Choose amounts by layer: the best in B bits of weights that stay."
        ),
    ] = None,
    target_cycles: Annotated[
        int | None,
        typer.Option(
            metavar="C", help="Choose amounts by layer: the best in C cycles (hwsim plan)."
        ),
    ] = None,
    target: Annotated[
        str, typer.Option(metavar="NAME", help="The device that --target-cycles is about.")
    ] = defaults.TARGET,
    test: Annotated[
        list[str] | None,
        typer.Option(metavar="X", help="Samples for --target-accuracy, where not those of --data."),
    ] = None,
    schedule: Annotated[
        str,
        typer.Option(
            metavar="HOW",
            help="How the amount goes in rounds: one-shot, iterative (the same share of what is "
            "left) or gradual (most at the start).",
        ),
    ] = "gradual",
    rounds: Annotated[int, typer.Option(metavar="N", help="In so many rounds.")] = 1,
    epochs: Annotated[
        int,
        typer.Option(
            "--epochs-a-round", metavar="E", help="Of training on the data after each round."
        ),
    ] = 0,
    rate: Rate = 1e-3,
    batch: Batch = 128,
    seed: Seed = 0,
    device: Device = "cpu",
    teacher: Annotated[
        Path | None,
        typer.Option(metavar="TEACHER", help="A model to answer like: float, or any larger one."),
    ] = None,
    start: Start = None,
    checkpoint: Checkpoint = None,
    output: Output = None,
    *,
    preparation: PreparationOptions,
    like: Like = None,
    as_json: Json = False,
) -> None:
    """Take the weights or channels out of a network that matter least.

    Weights become 0. Channels go with all that makes and reads them: what is
    left has the codes of the whole network that finds real zero in them.
    With --rounds and --epochs-a-round it is trained meanwhile.
    With a target amounts are chosen by layer, on --data, before any training.
    """
    from hwsim.compress.choice.pruned import AMOUNT, parse_pruning_target
    from hwsim.compress.prune.masks import parse_pattern
    from hwsim.compress.prune.prune import Pruning, facts_of
    from hwsim.compress.prune.rounds import Rounds, expect_trained, expect_used
    from hwsim.frontends import load
    from hwsim.verbs.designs import fewest_cycles

    prepare = preparation.parse()
    asked = parse_pruning_target(
        target_accuracy, target_bits, target_cycles, amount=amount, scope=scope
    )
    how = Pruning(
        amount=AMOUNT if amount is None else amount,
        by=by,
        pattern=parse_pattern(pattern),
        scope=scope,
        layers=None if layers is None else tuple(layers),
        seed=seed,
        output=output,
    )
    planned = Rounds.of(schedule, rounds, epochs, rate=rate, batch=batch, seed=seed, device=device)
    expect_trained(planned, checkpoint)
    expect_used(how, planned, start=start is not None, teacher=teacher is not None)
    if out.suffix.lower() == ".onnx":
        _expect_of_floats(like=like, output=output, data=data, labels=labels, target=asked)
    read = (model, *(data or ()), labels, start, teacher, *(test or ()))
    expect_target(out, (".hwsim", ".onnx"), read=read)
    if checkpoint is not None:
        expect_target(checkpoint, option="--checkpoint", read=(out, *read))
    cycles = None if target_cycles is None else fewest_cycles(target)
    files = SampleFiles(data, test, labels, prepare)
    with Progress(f"pruning {model}") as progress:
        if out.suffix.lower() == ".onnx":
            facts = _prune_float(model, out, how, planned, asked, files, progress)
        else:
            graph = load(model, like=like)
            given = files.of(graph)
            aim = files.aim(asked, graph, given, cycles, progress)
            try:
                found = _in_rounds(
                    graph, how, planned, aim, given, teacher, start, checkpoint, progress
                )
            except HwsimError as error:
                if not data or error.exit_status == 1:
                    raise
                raise HwsimError(f"{named_files(data, labels)}: {error}") from None
            found.graph.save(out)
            if checkpoint is not None:
                checkpoint.unlink(missing_ok=True)
            facts = facts_of(graph, found.graph, found.whole)
            facts["hash"] = found.graph.hash()
            facts["choice"] = None if found.choice is None else found.choice.to_dict()
    if as_json:
        print_json({"model": str(model), "out": str(out), **facts})
        return
    if facts["choice"] is not None:
        from hwsim.cli.choosing import show_choice

        show_choice(facts["choice"])
    _show(facts)


def _expect_of_floats(*, target: ChoiceTarget | None, like: str | None, **given: Any) -> None:
    """Raise HwsimError for options that say nothing of a float model."""
    if like is not None:
        raise HwsimError(f"--like must come with a quantized model, not with a float one: {like}")
    if target is None and (named := [f"--{name}" for name, one in given.items() if one]):
        raise HwsimError(
            f"{named[0]} must come with a target where a float model is pruned, by the magnitude "
            "of its weights, not without"
        )


def _in_rounds(
    graph: Graph,
    how: Pruning,
    rounds: Rounds,
    aim: PruningAim | None,
    given: Labelled | None,
    teacher: Path | None,
    start: Path | None,
    checkpoint: Path | None,
    progress: Progress,
) -> Pruned:
    from hwsim.compress.any_float import any_float
    from hwsim.compress.choice.pruned import prune_to
    from hwsim.compress.training.start import float_weights
    from hwsim.compress.training.teachers import any_teacher

    return prune_to(
        graph,
        how,
        rounds,
        aim,
        None if given is None else given.arrays,
        None if given is None else given.labels,
        teacher=None if teacher is None else any_teacher(teacher, graph, how.output, {}),
        reals=None if start is None else float_weights(graph, any_float(start)),
        checkpoint=checkpoint,
        say=lambda one: progress(str(one)),
    )


def _prune_float(
    model: Path,
    out: Path,
    how: Pruning,
    rounds: Rounds,
    asked: ChoiceTarget | None,
    files: SampleFiles,
    progress: Progress,
) -> dict[str, Any]:
    """Write a float model with weights of 0; figures."""
    from hwsim.compress.any_float import any_float
    from hwsim.compress.choice.pruned import prune_floats_to
    from hwsim.compress.prune.float_weights import facts_of_float
    from hwsim.storage import write_atomically

    if rounds.training is not None or rounds.count > 1:
        raise HwsimError(
            "a float model must be pruned in one round without training; quantize it first"
        )
    before = any_float(model)
    given = None if asked is None else files.of(before)
    found = prune_floats_to(before, how, files.aim(asked, before, given, None, progress))
    write_atomically(out, found.proto.SerializeToString())
    choice = None if found.choice is None else found.choice.to_dict()
    return {**facts_of_float(before, found), "choice": choice}


def _show(facts: Mapping[str, Any]) -> None:
    """A line a layer, and what all of them come to."""
    from hwsim.cli.sheet import table

    named = (*facts["layers"].items(), ("total", facts["totals"]))
    rows = [(name, *_row(one), one.get("whole") or "") for name, one in named]
    heads = ("layer", "outputs", "weights", "of them 0", "products", "why it stays whole")
    console().print(table("", heads, rows, ("outputs", "weights", "of them 0", "products")))


def _row(one: Mapping[str, Any]) -> tuple[str, ...]:
    keys = ("outputs", "weights", "zeros", "macs")
    return tuple(" → ".join(f"{n:,}" for n in one[key]) if key in one else "" for key in keys)
