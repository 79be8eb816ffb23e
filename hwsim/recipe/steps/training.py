"""Steps that train: by labels, and by a teacher."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hwsim.compress.any_float import any_float
from hwsim.compress.training.fit import LabelledBatch, Wishes, expect_patience, fit
from hwsim.compress.training.loop import Epoch, Training
from hwsim.compress.training.start import float_weights
from hwsim.compress.training.teachers import any_teacher
from hwsim.errors import HwsimError
from hwsim.extras import expect_libraries
from hwsim.recipe.job import INTEGERS, Job, StepResult, Weights
from hwsim.recipe.keys import Values, arguments_of


def training(values: Values) -> Training:
    """How it is trained."""
    given = arguments_of(Training, values)
    if "share" in values:
        given["distil"] = values["share"]
    return Training(**given)


def check_training(values: Values) -> None:
    """Raise HwsimError for values that mean nothing."""
    expect_patience(training(values), Wishes(best=values["best"]))


def expect_training() -> None:
    """Raise HwsimError where what trains is not installed."""
    expect_libraries("torch", "array_api_compat", extra="train", what="training")


def run_training(job: Job) -> StepResult:
    """The network trained, its pruned weights at 0 still."""
    graph, how, values = job.before.graph(), training(job.values), job.values
    taught = None
    if "teacher" in values:
        teacher = values["teacher"] or job.before.source or job.setting.model
        taught = any_teacher(teacher, graph, job.data.output, values["feature"] or {})

    def batch(part: str) -> LabelledBatch:
        data = job.data.of_graph(graph, part, required=taught is None)
        if taught is None:
            return LabelledBatch.read(data.arrays, data.labels, data.names)
        return LabelledBatch.taught(graph, job.data.output, data.arrays, data.labels, data.names)

    data, held = batch("train"), batch("test") if job.data.has("test") else None
    reals, note = float_start(job)
    given = {
        **arguments_of(Wishes, values),
        "output": job.data.output,
        "checkpoint": job.checkpoint,
    }
    wishes = Wishes(**given)

    def told(epoch: Epoch) -> None:
        said = f"epoch {epoch.number} of {how.epochs}: loss {epoch.loss:.4f}"
        if epoch.score is not None:
            said += f", accuracy {100 * epoch.score:.2f} %"
        job.say(said)

    found = fit(
        graph,
        data,
        held,
        how,
        wishes,
        reals=reals,
        masks=job.before.held_masks() or None,
        teacher=taught,
        say=told,
        progress=job.say,
    )
    found.graph.save(job.folder / INTEGERS)
    begun = "float weights" if reals is not None else "codes"
    return StepResult(
        network=replace(job.before, path=job.folder / INTEGERS, origin=None),
        facts={"begins_with": begun, "trained_on": _count(data)},
        notes=note,
    )


def float_start(job: Job) -> tuple[Weights | None, tuple[str, ...]]:
    """The float weights where the codes are those, rounded; why not, where they are not.

    They are those of the file that the step names, or of the model that was quantized.
    """
    given = job.values["from"]
    if given is not None:
        known = isinstance(given, Path)
        return (float_weights(job.before.graph(), any_float(given)) if known else None), ()
    try:
        return job.before.float_weights(), ()
    except HwsimError as error:
        return None, (f"training begins with the codes: {error}",)


def _count(data: LabelledBatch) -> int:
    return len(next(iter(data.arrays.values())))
