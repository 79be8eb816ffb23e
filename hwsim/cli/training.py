"""Commands that train a quantized model on labelled data, by labels and by a teacher."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwsim import defaults
from hwsim.cli.compression import Data
from hwsim.cli.console import Progress, console, print_json
from hwsim.cli.groups import PreparationOptions, grouped
from hwsim.cli.labelled import check_inferred, named_files, read_data
from hwsim.cli.options import Classes, Json, Labels, Like, Model, Output
from hwsim.cli.targets import expect_target
from hwsim.cli.training_options import TrainingOptions
from hwsim.data import Preparation
from hwsim.errors import HwsimError, NotWritten
from hwsim.graph import Graph

if TYPE_CHECKING:
    from hwsim.compress.training.fingerprint import Teacher
    from hwsim.compress.training.fit import Fitted, LabelledBatch, Wishes
    from hwsim.compress.training.loop import Epoch, Training

Out = Annotated[
    Path, typer.Option("--out", "-o", metavar="M.hwsim", help="Where the trained model goes.")
]


@grouped
def finetune(
    model: Model,
    inputs: Data,
    out: Out,
    labels: Labels = None,
    *,
    options: TrainingOptions,
    classes: Classes = None,
    output: Output = None,
    preparation: PreparationOptions,
    like: Like = None,
    as_json: Json = False,
) -> None:
    """Train a quantized model: forward with the emulator's integers, weights in reals behind.

    Data are as `accuracy` takes them. Accuracies are those of the emulator.
    """
    how, wishes = options.training(), options.wishes(output)
    files = LabelledFiles(inputs, labels, classes, preparation.parse(), output)
    found = _trained(model, like, out, files, options, how, wishes)
    _show(str(model), out, found, as_json=as_json)


@grouped
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
    ] = defaults.TAUGHT,
    temperature: Annotated[float, typer.Option(help="By which the scores are softened.")] = 4.0,
    features: Annotated[
        list[str] | None,
        typer.Option("--feature", metavar="EDGE=TENSOR", help="An edge to be like the teacher's."),
    ] = None,
    *,
    options: TrainingOptions,
    classes: Classes = None,
    output: Output = None,
    preparation: PreparationOptions,
    like: Like = None,
    as_json: Json = False,
) -> None:
    """Train a quantized model to answer as a teacher does, and by labels where there are some.

    The teacher is a float ONNX model, or any model that hwsim reads. Data are
    as `accuracy` takes them. Accuracies are those of the emulator.
    """
    from hwsim.compress.training.teachers import any_teacher

    how = options.training(distil=share, temperature=temperature)
    wishes, pairs = options.wishes(output), _pairs(features or ())
    files = LabelledFiles(inputs, labels, classes, preparation.parse(), output)
    found = _trained(
        model, like, out, files, options, how, wishes,
        lambda graph: any_teacher(teacher, graph, output, pairs),
    )  # fmt: skip
    _show(str(model), out, found, as_json=as_json)


@dataclass(frozen=True, slots=True)
class LabelledFiles:
    """Files with samples of a model and their labels, as the command line names them."""

    inputs: Sequence[str]
    labels: Path | None
    classes: Path | None
    prepare: Preparation
    output: str | None

    def __str__(self) -> str:
        return named_files(self.inputs, self.labels)

    def read(self, graph: Graph, *, required: bool, taught: bool) -> LabelledBatch:
        """The samples; HwsimError names the files. Labels may be missing unless `required`.

        Where a model is `taught`, labels that mean nothing to it are left out.
        """
        from hwsim.compress.training.fit import LabelledBatch

        data = read_data(
            graph, self.inputs, self.labels, self.classes, self.prepare, required=required
        )
        try:
            if taught:
                told = data.arrays, data.labels, data.names
                found = LabelledBatch.taught(graph, self.output, *told)
                if found.labels is None:
                    return found
            check_inferred(graph, self.output, data)
            return LabelledBatch.read(data.arrays, data.labels, data.names)
        except HwsimError as error:
            raise HwsimError(f"{self}: {error}") from None


def _trained(
    model: Path,
    like: str | None,
    out: Path,
    files: LabelledFiles,
    options: TrainingOptions,
    how: Training,
    wishes: Wishes,
    teach: Callable[[Graph], Teacher] | None = None,
) -> Fitted:
    """The model trained and written; labels may be missing where something teaches."""
    from hwsim.compress.training.fit import expect_patience
    from hwsim.frontends import load

    expect_patience(how, wishes)
    read = (model, *files.inputs, files.labels, *options.files)
    _expect_targets(out, options.checkpoint, *read)
    with Progress(f"reading {model}") as progress:
        graph = load(model, like=like)
        taught = None if teach is None else teach(graph)
        _expect_widths(graph, options.accumulator)
        data = files.read(graph, required=taught is None, taught=taught is not None)
        held = _tested(graph, files, options, taught=taught is not None)
        found = _fit(graph, data, held, how, wishes, taught, progress, str(files))
        _write(found, out, options.checkpoint)
    return found


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
    graph: Graph, files: LabelledFiles, options: TrainingOptions, *, taught: bool
) -> LabelledBatch | None:
    if options.test:
        tested = replace(files, inputs=options.test, labels=options.test_labels)
        return tested.read(graph, required=True, taught=taught)
    if options.test_labels is not None:
        raise HwsimError("--test-labels must come with --test, the samples that they belong to")
    return None


def _fit(
    graph: Graph,
    data: LabelledBatch,
    test: LabelledBatch | None,
    how: Training,
    wishes: Wishes,
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
