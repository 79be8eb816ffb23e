"""Commands that train a quantized model on labelled data, by labels and by a teacher."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwsim.cli.compression import Data, Sums
from hwsim.cli.console import Progress, console, print_json
from hwsim.cli.labelled import check_inferred, named_files, read_data
from hwsim.cli.options import (
    Classes,
    Json,
    Labels,
    Like,
    Mean,
    Model,
    Output,
    Resize,
    Scale,
    Std,
)
from hwsim.cli.targets import expect_target
from hwsim.data import Preparation
from hwsim.errors import HwsimError, NotWritten
from hwsim.graph import Graph

if TYPE_CHECKING:
    from hwsim.compress.training.fingerprint import Teacher
    from hwsim.compress.training.fit import Fitted, LabelledBatch
    from hwsim.compress.training.loop import Epoch, Training

TestData = Annotated[
    list[str] | None,
    typer.Option(
        "--test", metavar="X", help="Samples to count accuracy on; a tenth of the data otherwise."
    ),
]
TestLabels = Annotated[
    Path | None, typer.Option(metavar="Y", help="Their labels, where the samples have none.")
]
Out = Annotated[
    Path, typer.Option("--out", "-o", metavar="M.hwsim", help="Where the trained model goes.")
]
Start = Annotated[
    Path | None,
    typer.Option("--from", metavar="FLOAT", help="The float model it was quantized from."),
]
Epochs = Annotated[int, typer.Option(help="How often all samples are seen.")]
Rate = Annotated[float, typer.Option(help="The largest step of the weights.")]
Batch = Annotated[int, typer.Option(help="Samples a step.")]
Seed = Annotated[int, typer.Option(help="Of the samples' order, and of those held out.")]
Check = Annotated[
    bool, typer.Option("--check", help="Compare each batch with the emulator, edge by edge.")
]
Device = Annotated[
    str, typer.Option(metavar="D", help="Where PyTorch computes: cpu, cuda, cuda:1.")
]
LearnSteps = Annotated[
    bool, typer.Option("--learn-steps", help="Learn the requantizers' multipliers too.")
]
LearnEntries = Annotated[
    bool, typer.Option("--learn-entries", help="Learn the entries of codebooks too.")
]
KeepZeros = Annotated[
    bool, typer.Option("--keep-zeros", help="Weights that are 0 stay so, as pruning left them.")
]
Best = Annotated[
    bool, typer.Option("--best", help="Keep the epoch of the highest accuracy, not the last.")
]
Patience = Annotated[
    int | None,
    typer.Option(metavar="N", help="With --best: end after N epochs without a better."),
]
Checkpoint = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Keeps the state after each epoch; a call goes on from it."),
]


def finetune(
    model: Model,
    inputs: Data,
    out: Out,
    labels: Labels = None,
    test: TestData = None,
    test_labels: TestLabels = None,
    start: Start = None,
    epochs: Epochs = 5,
    rate: Rate = 1e-3,
    batch: Batch = 128,
    seed: Seed = 0,
    device: Device = "cpu",
    learn_steps: LearnSteps = False,
    learn_entries: LearnEntries = False,
    keep_zeros: KeepZeros = False,
    best: Best = False,
    patience: Patience = None,
    accumulator: Sums = None,
    check: Check = False,
    checkpoint: Checkpoint = None,
    classes: Classes = None,
    output: Output = None,
    scale: Scale = None,
    mean: Mean = None,
    std: Std = None,
    resize: Resize = False,
    like: Like = None,
    as_json: Json = False,
) -> None:
    """Train a quantized model: forward with the emulator's integers, weights in reals behind.

    Data are as `accuracy` takes them. Accuracies are those of the emulator.
    """
    from hwsim.compress.training.fit import Wishes
    from hwsim.compress.training.loop import Training
    from hwsim.frontends import load

    wishes = Wishes(
        output=output, start=start, learn_steps=learn_steps, best=best, checkpoint=checkpoint,
        learn_entries=learn_entries, keep_zeros=keep_zeros, accumulator=accumulator,
    )  # fmt: skip
    how = Training(
        epochs=epochs, rate=rate, batch=batch, seed=seed, check=check, patience=patience,
        device=device,
    )  # fmt: skip
    prepare = Preparation.parse(scale, mean, std, resize=resize)
    _expect_targets(out, checkpoint, model, *inputs, labels, *(test or ()), test_labels, start)
    with Progress(f"reading {model}") as progress:
        graph = load(model, like=like)
        _expect_widths(graph, accumulator)
        data = _read(graph, inputs, labels, classes, prepare, output, required=True)
        held = _tested(graph, test, test_labels, classes, prepare, output)
        found = _fit(graph, data, held, how, wishes, None, progress, named_files(inputs, labels))
        _write(found, out, checkpoint)
    _show(str(model), out, found, as_json=as_json)


def distil(
    model: Model,
    inputs: Data,
    teacher: Annotated[
        Path,
        typer.Option(metavar="TEACHER", help="A float .onnx or .pt2 model, or any larger one."),
    ],
    out: Out,
    labels: Labels = None,
    share: Annotated[
        float, typer.Option(help="Of the loss, that the teacher has; the labels have the rest.")
    ] = 0.7,
    temperature: Annotated[float, typer.Option(help="By which the scores are softened.")] = 4.0,
    features: Annotated[
        list[str] | None,
        typer.Option("--feature", metavar="EDGE=TENSOR", help="An edge to be like the teacher's."),
    ] = None,
    test: TestData = None,
    test_labels: TestLabels = None,
    start: Start = None,
    epochs: Epochs = 5,
    rate: Rate = 1e-3,
    batch: Batch = 128,
    seed: Seed = 0,
    device: Device = "cpu",
    learn_steps: LearnSteps = False,
    learn_entries: LearnEntries = False,
    keep_zeros: KeepZeros = False,
    best: Best = False,
    patience: Patience = None,
    accumulator: Sums = None,
    check: Check = False,
    checkpoint: Checkpoint = None,
    classes: Classes = None,
    output: Output = None,
    scale: Scale = None,
    mean: Mean = None,
    std: Std = None,
    resize: Resize = False,
    like: Like = None,
    as_json: Json = False,
) -> None:
    """Train a quantized model to answer as a teacher does, and by labels where there are some.

    The teacher is a float ONNX model, or any model that hwsim reads. Data are
    as `accuracy` takes them. Accuracies are those of the emulator.
    """
    from hwsim.compress.training.fit import Wishes
    from hwsim.compress.training.loop import Training
    from hwsim.compress.training.teachers import any_teacher
    from hwsim.frontends import load

    wishes = Wishes(
        output=output, start=start, learn_steps=learn_steps, best=best, checkpoint=checkpoint,
        learn_entries=learn_entries, keep_zeros=keep_zeros, accumulator=accumulator,
    )  # fmt: skip
    how = Training(
        epochs=epochs, rate=rate, batch=batch, seed=seed, check=check, patience=patience,
        distil=share, temperature=temperature, device=device,
    )  # fmt: skip
    prepare = Preparation.parse(scale, mean, std, resize=resize)
    pairs = _pairs(features or ())
    read = (model, *inputs, labels, *(test or ()), test_labels, start)
    _expect_targets(out, checkpoint, *read)
    with Progress(f"reading {model}") as progress:
        graph = load(model, like=like)
        taught = any_teacher(teacher, graph, output, pairs)
        _expect_widths(graph, accumulator)
        data = _read(graph, inputs, labels, classes, prepare, output, required=False)
        held = _tested(graph, test, test_labels, classes, prepare, output)
        found = _fit(graph, data, held, how, wishes, taught, progress, named_files(inputs, labels))
        _write(found, out, checkpoint)
    _show(str(model), out, found, as_json=as_json)


def _pairs(values: Sequence[str]) -> dict[str, str]:
    found = {}
    for value in values:
        edge, equals, tensor = value.partition("=")
        if not (edge and equals and tensor):
            raise HwsimError(f"--feature must be EDGE=TENSOR, not {value!r}")
        found[edge] = tensor
    return found


def _expect_targets(out: Path, checkpoint: Path | None, *read: Path | str | None) -> None:
    """Raise HwsimError where what a training leaves could not be written, before hours of it."""
    expect_target(out, (".hwsim",), read=read)
    if checkpoint is not None:
        expect_target(checkpoint, option="--checkpoint", read=(out, *read))


def _expect_widths(graph: Graph, accumulator: str | None) -> None:
    """Raise HwsimError for narrow sums that the model cannot have, before data are read."""
    if accumulator is not None:
        from hwsim.compress.sums.narrow import expect_widths
        from hwsim.compress.sums.width import sum_widths

        expect_widths(graph, sum_widths(graph, accumulator))


def _tested(
    graph: Graph,
    inputs: Sequence[str] | None,
    labels: Path | None,
    classes: Path | None,
    prepare: Preparation,
    output: str | None,
) -> LabelledBatch | None:
    if inputs:
        return _read(graph, inputs, labels, classes, prepare, output, required=True)
    if labels is not None:
        raise HwsimError("--test-labels must come with --test, the samples that they belong to")
    return None


def _read(
    graph: Graph,
    inputs: Sequence[str],
    labels: Path | None,
    classes: Path | None,
    prepare: Preparation,
    output: str | None,
    *,
    required: bool,
) -> LabelledBatch:
    from hwsim.compress.training.fit import LabelledBatch

    data = read_data(graph, inputs, labels, classes, prepare, required=required)
    try:
        check_inferred(graph, output, data)
        return LabelledBatch.read(data.arrays, data.labels, data.names)
    except HwsimError as error:
        raise HwsimError(f"{named_files(inputs, labels)}: {error}") from None


def _fit(
    graph: Graph,
    data: LabelledBatch,
    test: LabelledBatch | None,
    how: Training,
    wishes: Any,
    teacher: Teacher | None,
    progress: Progress,
    files: str,
) -> Fitted:
    from hwsim.compress.training.fit import fit

    def told(epoch: Epoch) -> None:
        said = f"epoch {epoch.number} of {how.epochs}: loss {epoch.loss:.4f}"
        if epoch.score is not None:
            said += f", accuracy {100 * epoch.score:.2f} %"
        progress.update(said)
        progress(f"after {said}" if epoch.number < how.epochs else "emulating")

    progress("training")
    try:
        return fit(
            graph, data, test, how, wishes, teacher=teacher, say=told, progress=progress.update
        )
    except NotWritten:
        raise
    except HwsimError as error:
        raise HwsimError(f"{files}: {error}", exit_status=error.exit_status) from None


def _write(found: Fitted, out: Path, checkpoint: Path | None) -> None:
    found.graph.save(out)
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)


def _show(model: str, out: Path, found: Fitted, *, as_json: bool) -> None:
    if as_json:
        print_json({"model": model, "out": str(out), **found.to_dict()})
        return
    from hwsim.cli.sheet import table

    sheet = console()
    rows = [
        (name, f"{one.samples:,}", f"{one.right:,}", f"{100 * one.top1:.2f} %")
        for name, one in (("before", found.before), ("after", found.after))
        if one is not None
    ]
    if rows:
        heads = ("emulator", "samples", "right", "top-1")
        sheet.print(table(f"accuracy on {found.tested}", heads, rows, heads[1:]))
    sheet.print(f"{len(found.epochs)} epochs, written: {out}", markup=False, soft_wrap=True)
